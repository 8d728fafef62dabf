"""The shapes of the protocol's answers, and what a server adds to them.

The usual message is decoded at once into the fields that all servers share. One with a field that nobody knows here (`reasoning_details`,
a call's `extra_content`) is taken apart first: the unknown fields are kept as they were written, the rest is read as any other.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from surefoot.providers.http.answers import lenient

Fields: TypeAlias = dict[str, Raw]

NO_RAW = Raw()  # a field that is not there: compared by identity, which costs nothing at each event of a stream
EMPTY = frozenset({b"", b"null", b"{}", b"[]", b'""', b"false"})  # what says nothing


class OpenAIFunction(Struct, forbid_unknown_fields=True):
    """A call's function."""

    name: str | None = None
    arguments: Raw = Raw()  # text by the protocol; some servers send the object itself


class OpenAICall(Struct, forbid_unknown_fields=True):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: OpenAIFunction | None = None


class Said(Struct, forbid_unknown_fields=True):
    """A message, or a piece of one."""

    role: str | None = None
    content: str | list[Raw] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[OpenAICall] | None = None
    function_call: OpenAIFunction | None = None  # before there were tools
    audio: Raw = NO_RAW
    images: Raw = NO_RAW
    annotations: Raw = NO_RAW


class AnswerChoice(Struct):
    """One answer; further ones (n > 1) stand in `raw` alone."""

    index: int | None = None
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    logprobs: Raw = NO_RAW
    usage: dict[str, Any] | None = None  # Moonshot's, at a stream's end
    error: Raw = NO_RAW  # a union with None would refuse an object


class ChatAnswer(Struct):
    """A whole answer, or a chunk of a stream."""

    id: str | int | None = None
    choices: list[AnswerChoice] | None = None
    usage: dict[str, Any] | None = None
    x_groq: Raw = NO_RAW  # Groq's, with the usage at a stream's end
    model: str | None = None
    object: str | None = None
    citations: Raw = NO_RAW  # Perplexity's and xAI's addresses
    search_results: Raw = NO_RAW  # the same with titles
    error: Raw = NO_RAW  # a union with None would refuse an object


class Unknown(Struct):
    """What the first choice's message holds beside the fields above, each value as it was written."""

    said: Fields = {}
    calls: list[Fields] = []  # of each tool call; under "function" those of its function


KNOWN_SAID = frozenset(Said.__struct_fields__)
KNOWN_CALL = frozenset(OpenAICall.__struct_fields__)
KNOWN_FUNCTION = frozenset(OpenAIFunction.__struct_fields__)

ANSWER = msgspec.json.Decoder(ChatAnswer)
_fields = msgspec.json.Decoder(Fields)
_list = msgspec.json.Decoder(list[Fields])


def decoded(data: bytes, halves: lenient.Halves | None = None) -> tuple[ChatAnswer, Unknown | None]:
    """The answer or chunk `data`, and what its message holds beside what is read here; None for the usual one.

    What a strict reading refuses is read leniently; for `halves` see `lenient.read`. Raises ValueError or RecursionError where it is none.
    """
    try:
        return ANSWER.decode(data), None
    except msgspec.ValidationError as error:
        if "unknown field" in str(error):
            with suppress(ValueError, RecursionError):
                known, unknown = _taken_apart(data)
                return ANSWER.decode(known), unknown
    except (ValueError, RecursionError):
        pass
    value = lenient.cleaned(data, halves)
    return lenient.fitted(value, ChatAnswer), _unknown(value)


def is_plain(said: Said) -> bool:
    """Whether a message that was read strictly has nothing beside text, thoughts and calls."""
    return (
        said.audio is NO_RAW
        and said.images is NO_RAW
        and (said.annotations is NO_RAW or len(said.annotations) == len(b"[]"))
        and type(said.content) is not list
    )


def is_text(said: Said) -> bool:
    """Whether a message that was read strictly is text alone."""
    return (
        type(said.content) is str
        and said.reasoning_content is said.reasoning is said.refusal is None
        and said.tool_calls is None
        and said.function_call is None
        and said.audio is said.images is said.annotations is NO_RAW
    )


def is_said(value: Raw) -> bool:
    """Whether `value` says anything: it is there, and neither null nor empty."""
    return bytes(value) not in EMPTY


def _taken_apart(data: bytes) -> tuple[bytes, Unknown]:
    """`data` without the unknown fields of its messages, and those of the first choice's."""
    whole = _fields.decode(data)
    choices = _list.decode(whole["choices"])
    found = Unknown()
    for choice in choices:
        told = Unknown()
        for where in ("message", "delta"):
            if where in choice and is_said(choice[where]):
                choice[where] = _known(choice[where], told)
        if bytes(choice.get("index", Raw(b"0"))) in {b"0", b"null"}:
            found = told
    whole["choices"] = Raw(msgspec.json.encode(choices))
    return msgspec.json.encode(whole), found


def _known(message: Raw, told: Unknown) -> Raw:
    said = _fields.decode(message)
    told.said = {name: said.pop(name) for name in [*said] if name not in KNOWN_SAID}
    if "tool_calls" in said and is_said(said["tool_calls"]):
        calls = _list.decode(said["tool_calls"])
        for call in calls:
            others = {name: call.pop(name) for name in [*call] if name not in KNOWN_CALL}
            if is_said(call.get("function", Raw())):
                function = _fields.decode(call["function"])
                inner = {name: function.pop(name) for name in [*function] if name not in KNOWN_FUNCTION}
                call["function"] = Raw(msgspec.json.encode(function))
                others |= {"function": Raw(msgspec.json.encode(inner))} if inner else {}
            told.calls.append(others)
        said["tool_calls"] = Raw(msgspec.json.encode(calls))
    return Raw(msgspec.json.encode(said))


def _unknown(value: Any) -> Unknown | None:
    """The same of an answer that was read leniently."""
    choices = value.get("choices") if isinstance(value, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict) or choice.get("index") not in (0, None, "0"):
            continue
        said = next((one for where in ("message", "delta") if isinstance(one := choice.get(where), dict)), {})
        calls = said.get("tool_calls")
        found = Unknown(
            said=_others(said, KNOWN_SAID),
            calls=[_others(one, KNOWN_CALL) for one in calls if isinstance(one, dict)] if isinstance(calls, list) else [],
        )
        return found if found.said or any(found.calls) else None
    return None


def _others(value: dict[str, Any], known: frozenset[str]) -> Fields:
    return {name: Raw(json.dumps(one, ensure_ascii=False).encode()) for name, one in value.items() if name not in known}
