"""A message as a dict, as OpenAI's clients write it, as a Message: nothing that it says is lost.

A dict may be what a vendor's SDK gave (`response.choices[0].message.model_dump()`): fields that are not known here go back as they are to
servers of OpenAI's protocol. Source: the API reference, "Create chat completion", as of 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from surefoot.core.content import marks_cache, placed
from surefoot.errors import BadRequest
from surefoot.text import exact, json_text, text_of
from surefoot.types import File, Message, Opaque, Part, Reasoning, Role, Text, ToolCall

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant", "ai": "assistant", "tool": "tool",
    "function": "tool", "model": "assistant",
}  # fmt: skip
KNOWN = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal", "audio", "is_error", "cache"})
THOUGHTS = ("reasoning_content", "reasoning")
CALL = frozenset({"id", "type", "function", "index", "name", "arguments"})
USE = frozenset({"id", "type", "name", "input", "index"})  # of Anthropic's call
FUNCTIONS = frozenset({"function", "tool_call"})  # what a call of a function is called
VENDOR = "openai"


def message_of(given: Mapping[str, Any], own: str = "") -> Message:
    """The Message that `given` says; `own` is the vendor that is asked (see `content.parts`). Raises BadRequest, nothing is sent.

    Anthropic's turns are read, too, but for those with a tool's result in them: a result is a message of its own here.
    """
    role = ROLES.get(text_of(given.get("role") or ""))
    if role is None:
        raise BadRequest(
            f"a message cannot be read: the role {given.get('role')!r} is none of {', '.join(ROLES)}; write "
            "{'role': 'user', 'content': '...'}"
        )
    content = given.get("content")
    if content is not None and not isinstance(content, str | list | tuple):
        raise BadRequest(f"a message's content is text or a list of parts, not {type(content).__name__}; nothing was sent")
    if isinstance(content, list | tuple) and not all(isinstance(block, str | Mapping) for block in content):
        raise BadRequest("a message's parts are dicts such as {'type': 'text', 'text': '...'}, or texts; nothing was sent")
    found, places = placed("" if content is None else content, own or VENDOR)
    calls = tuple(_calls(given, content)) if role == "assistant" else ()
    if role == "assistant":
        found = _said(given, found)
        calls = tuple(replace(call, after=places[call.id]) if places.get(call.id, len(found)) < len(found) else call for call in calls)
    fields = [part for name, value in given.items() if name not in KNOWN and value and (part := _field(name, value, role)) is not None]
    if fields:
        found = (*fields, *((Text(found),) if isinstance(found, str) and found else found))
    return Message(
        role=role,
        content=found,
        name=text_of(given.get("name") or ""),
        tool_calls=calls,
        tool_call_id=text_of(given.get("tool_call_id") or (given.get("name") if given.get("role") == "function" else "") or ""),
        is_error=bool(given.get("is_error")),
        cache=bool(given.get("cache")) or (content is not None and marks_cache(content)),
    )


def _said(given: Mapping[str, Any], found: str | tuple[Part, ...]) -> str | tuple[Part, ...]:
    """What an assistant said beside its content: a refusal, a sound that is known by its id."""
    parts = found if isinstance(found, tuple) else (Text(found),) if found else ()
    refusal, audio = given.get("refusal"), given.get("audio")
    if refusal and not parts:
        return text_of(refusal)
    if isinstance(audio, Mapping) and audio.get("id"):
        own = {name: value for name, value in audio.items() if name != "data"}
        spoken = text_of(audio.get("transcript") or "")
        parts = parts or ((Text(spoken),) if spoken else ())
        return (File(media_type="audio/wav", extra=_json(own, "audio"), vendor=VENDOR), *parts)
    return found


def _field(name: str, value: Any, role: Role) -> Part | None:
    """A field that is not known here, as it is; an assistant's thoughts as such."""
    if role == "assistant" and name in THOUGHTS and isinstance(value, str):
        return Reasoning(text=exact(value), kind=name, vendor=VENDOR)
    return Opaque(vendor=VENDOR, kind=text_of(name), data=_json(value, name))


def _calls(given: Mapping[str, Any], content: Any) -> Iterable[ToolCall]:
    told = given.get("tool_calls") or ()
    if not isinstance(told, list | tuple) or not all(isinstance(call, Mapping) for call in told):
        raise BadRequest("a message's tool_calls are a list of dicts; nothing was sent")
    for call in told:
        function = call.get("function")
        yield _call(call, function if isinstance(function, Mapping) else call, call.get("id"))
    legacy = given.get("function_call")
    if not told and isinstance(legacy, Mapping):
        yield _call({}, legacy, legacy.get("name"))
    for block in content if not told and isinstance(content, list | tuple) else ():
        if isinstance(block, Mapping) and block.get("type") == "tool_use":  # Anthropic's
            use = _call({}, {"name": block.get("name"), "arguments": block.get("input")}, block.get("id"))
            own = {name: value for name, value in block.items() if name not in USE and value}
            yield replace(use, extra=_json(own, "a tool call"), vendor="anthropic") if own else use


def _call(call: Mapping[str, Any], function: Mapping[str, Any], call_id: Any) -> ToolCall:
    name, arguments = function.get("name"), function.get("arguments")
    if not (isinstance(name, str) and name):
        raise BadRequest(f"a tool call with the keys {', '.join(map(str, call or function))} names no function; nothing was sent")
    own = {word: value for word, value in call.items() if word not in CALL and value}
    if isinstance(kind := call.get("type"), str) and kind and kind not in FUNCTIONS:
        own["type"] = kind  # Moonshot's servers want theirs back as what it was
    return ToolCall(
        id=text_of(call_id or ""),
        name=name,
        arguments=exact(arguments) if isinstance(arguments, str) else _json(arguments or {}, "arguments"),
        extra=_json(own, "a tool call") if own else "",
        vendor=VENDOR if own else "",
    )


def _json(value: Any, name: str) -> str:
    try:
        return json_text(value)
    except TypeError as error:
        raise BadRequest(f"{name} of a message cannot be written as JSON ({error}); nothing was sent") from error
