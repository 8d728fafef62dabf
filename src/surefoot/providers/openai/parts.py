"""What an answer of the protocol holds beside text and tool calls: thoughts, pictures, sounds, sources, a server's own fields.

Nothing is dropped: what is not understood becomes an Opaque part of the server that sent it. Sources: the API references of OpenAI (audio,
annotations, logprobs), OpenRouter (reasoning_details, images), Mistral (thinking in lists), DeepSeek, Moonshot and vLLM
(reasoning_content, reasoning), Perplexity and xAI (citations, search_results), as of 2026-11.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

import msgspec
from msgspec import Raw

from surefoot.providers.http.answers import lenient
from surefoot.providers.http.body import sound_type
from surefoot.providers.openai.shapes import NO_RAW, AnswerChoice, ChatAnswer, OpenAICall, Said, Unknown, is_plain, is_said
from surefoot.text import json_text
from surefoot.types import AnswerEnd, CitedSource, File, Image, Opaque, Part, Reasoning, Text, TokenLogprob

TEXTS = ("text", "output_text", None)  # types of parts that are the answer's text
THOUGHTS = ("reasoning_content", "reasoning")


def thoughts_of(said: Said) -> str:
    """The thoughts as text, wherever the server puts them."""
    thoughts = said.reasoning_content or said.reasoning or ""
    if thoughts or not isinstance(said.content, list):
        return thoughts
    return "".join(block_thoughts(block) for block in map(block_of, said.content))


def text_of(said: Said) -> str:
    """The text, joined of its parts where there are several; of a spoken answer what was said."""
    content = said.content
    if isinstance(content, list):
        return "".join(block["text"] for block in map(block_of, content) if block.get("type") == "text")
    return content or (_text(_object(said.audio), "transcript") if said.audio else "")


def block_of(raw: Raw) -> dict[str, Any]:
    """One part of a content list; text without a type is text, and so is an object that holds it."""
    value = lenient.value_of(raw)
    if not isinstance(value, dict):
        return {"type": "text", "text": lenient.text_of(value)}
    if value.get("type", "text") in TEXTS and not (value.get("type") == "text" and isinstance(value.get("text"), str)):
        return {**value, "type": "text", "text": lenient.text_of(value.get("text"))}
    return value


def block_thoughts(block: dict[str, Any]) -> str:
    """The text of a thinking block (Mistral)."""
    inner = block.get("thinking") if block.get("type") == "thinking" else None
    if isinstance(inner, list):
        return "".join(_text(one, "text") for one in inner)
    return inner if isinstance(inner, str) else ""


def is_unusual(answer: ChatAnswer, choice: AnswerChoice, said: Said, unknown: Unknown | None) -> bool:
    """Whether there is anything beside text, tool calls and usage."""
    return bool(
        unknown is not None
        or said.reasoning_content is not None
        or said.reasoning is not None
        or not is_plain(said)
        or (choice.logprobs is not NO_RAW and is_said(choice.logprobs))
        or answer.citations is not NO_RAW
        or answer.search_results is not NO_RAW
    )


def end_of(
    answer: ChatAnswer, choice: AnswerChoice, said: Said, unknown: Unknown | None, *, vendor: str, raw_json: bytes = b""
) -> AnswerEnd:
    """All of that, as a reply has it. `vendor` is whose it is (see `Opaque.vendor`)."""
    return AnswerEnd(
        content=content_of(said, unknown, vendor),
        raw_json=raw_json,
        response_id=id_of(answer),
        citations=citations_of(answer, said),
        logprobs=logprobs_of(choice.logprobs),
    )


def id_of(answer: ChatAnswer) -> str:
    """The answer's id, as text."""
    return answer.id if isinstance(answer.id, str) else "" if answer.id is None else str(answer.id)


def extra_of(unknown: Unknown | None, number: int, call: OpenAICall) -> str:
    """A server's own fields of tool call `number`, as JSON object text; empty: none."""
    found: dict[str, Any] = {}
    if unknown is not None and number < len(unknown.calls):
        found = {name: value for name, value in unknown.calls[number].items() if is_said(value)}
    if is_own_type(call):
        found["type"] = call.type
    return _json(found)


def is_own_type(call: OpenAICall) -> bool:
    """Whether a call is of another type than a function: Moonshot's servers want theirs back as what it was."""
    return call.type not in {"function", "", None}


def content_of(said: Said, unknown: Unknown | None, vendor: str) -> tuple[Part, ...]:
    """The message's parts in order; none where it is plain text."""
    found: list[Part] = []
    for kind in THOUGHTS:
        thought = getattr(said, kind)
        if thought or (thought is not None and said.tool_calls):  # an empty one is missed, too, beside calls
            is_first = not any(isinstance(part, Reasoning) for part in found)
            found.append(Reasoning(text=thought, kind=kind, vendor=vendor) if is_first else Opaque.of(vendor, thought, kind=kind))
    own = {} if unknown is None else unknown.said
    for name, value in (*own.items(), ("annotations", said.annotations)):
        if is_said(value):
            found.append(Opaque(vendor=vendor, kind=name, data=lenient.raw_text(value)))
    if said.audio and is_said(said.audio) and (sound := _sound(_object(said.audio), vendor)) is not None:
        found.append(sound)
    blocks = map(block_of, said.content) if isinstance(said.content, list) else ()
    texts: list[Part] = [_part(block, vendor) for block in blocks]
    if not texts and (text := text_of(said)):
        texts = [Text(text)]
    found += texts
    found += [picture for one in _rows(said.images) if (picture := _picture(one, vendor)) is not None]
    return tuple(found) if any(type(part) is not Text or part.extra for part in found) else ()


def _part(block: dict[str, Any], vendor: str) -> Part:
    kind = block.get("type")
    if kind == "text":
        others = {name: value for name, value in block.items() if name not in {"type", "text"} and value}
        return Text(block["text"], extra=_json(others), vendor=vendor if others else "")
    if kind == "image_url" and (picture := _picture(block, vendor)) is not None:
        return picture
    return Opaque(vendor=vendor, kind=str(kind or "block"), data=json_text(block))


def _picture(item: dict[str, Any], vendor: str) -> Image | None:
    """A picture of `images`; its address may carry its bytes."""
    where = item.get("image_url")
    url = where if isinstance(where, str) else _text(where, "url") or _text(item, "url")
    if not url:
        return None
    head, _, data = url.partition(",")
    if not head.startswith("data:"):
        return Image(url=url, vendor=vendor)
    try:
        return Image(data=b64decode(data), media_type=head[5:].partition(";")[0], vendor=vendor)
    except binascii.Error:
        return None


def _sound(audio: dict[str, Any], vendor: str) -> File | None:
    """What was spoken; its id stands for it in the next turn. A stream's sound is a list of pieces, each in base64 of its own."""
    data = audio.get("data") or ""
    try:
        sound = b"".join(map(b64decode, data)) if isinstance(data, list) else b64decode(data)
    except (binascii.Error, TypeError, ValueError):
        sound = b""
    if not sound and not audio.get("id"):
        return None
    own = {name: value for name, value in audio.items() if name != "data"}
    return File(data=sound, media_type=sound_type(sound), extra=_json(own), vendor=vendor)


def citations_of(answer: ChatAnswer, said: Said) -> tuple[CitedSource, ...]:
    """Sources: annotations of the message, or a list beside the choices."""
    found = [_cited(one) for one in _rows(said.annotations)]
    if not found:
        found = [CitedSource(url=_text(one, "url"), title=_text(one, "title")) for one in _rows(answer.search_results)]
    if not found and answer.citations:
        listed = lenient.value_of(answer.citations)
        found = [CitedSource(url=url) for url in listed if isinstance(url, str)] if isinstance(listed, list) else []
    return tuple(found)


def _cited(annotation: dict[str, Any]) -> CitedSource:
    inner = annotation.get(str(annotation.get("type")))
    told = inner if isinstance(inner, dict) else annotation
    start, end = told.get("start_index"), told.get("end_index")
    return CitedSource(
        url=_text(told, "url"),
        title=_text(told, "title") or _text(told, "filename"),
        text=_text(told, "content"),
        source=_text(told, "file_id"),
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
    )


def logprobs_of(logprobs: Raw) -> tuple[TokenLogprob, ...]:
    """The tokens with their probabilities."""
    return tuple(
        TokenLogprob(
            token=_text(one, "token"),
            logprob=lenient.float_of(one.get("logprob")),
            top=tuple((_text(other, "token"), lenient.float_of(other.get("logprob"))) for other in _dicts(one.get("top_logprobs"))),
        )
        for one in _dicts(_object(logprobs).get("content"))
    )


def _rows(raw: Raw) -> list[dict[str, Any]]:
    return _dicts(lenient.value_of(raw)) if raw else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _object(raw: Raw) -> dict[str, Any]:
    value = lenient.value_of(raw) if raw else None
    return value if isinstance(value, dict) else {}


def _text(where: Any, name: str) -> str:
    value = where.get(name) if isinstance(where, dict) else None
    return value if isinstance(value, str) else ""


def _json(fields: dict[str, Any]) -> str:
    return lenient.raw_text(Raw(msgspec.json.encode(fields))) if fields else ""
