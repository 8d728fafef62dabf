"""The Responses API: its JSON to our records. Pure: bytes in, a reply out, or one of our errors.

An answer is a list of items. Messages and function calls are understood; thoughts, searches and whatever else the server did on its own
are kept as they came, in their place.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot.core._tool_calls import checked_tool_call, is_runnable
from surefoot.providers.http.answers import lenient
from surefoot.providers.http.answers.counts import count
from surefoot.providers.http.answers.lenient import text_of
from surefoot.providers.http.body import sound_type
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.reading import ReadingContext, apart, check_not_empty, decoded, failed, new_call_id
from surefoot.providers.http.redact import snippet
from surefoot.providers.openai.responses_api.requests import INPUT
from surefoot.text import json_text
from surefoot.types import ChatReply, CitedSource, File, FinishReason, Image, Opaque, Part, Text, TokenLogprob, ToolCall, Usage

BETWEEN = "\n\n"  # summaries of thoughts are paragraphs
CALLS = frozenset({"function_call", "custom_tool_call"})
GAVE_UP: dict[str, FinishReason] = {"max_output_tokens": "length", "max_messages": "length", "content_filter": "content_filter"}
CALL_FIELDS = frozenset({"type", "call_id", "name", "arguments", "input", "status"})  # what a ToolCall says itself


class ResponseBody(Struct):
    """A response, whole or as an event of a stream holds it."""

    id: str | None = None
    status: str | None = None
    model: str | None = None
    object: str | None = None
    output: list[Raw] | None = None
    usage: dict[str, Any] | None = None
    incomplete_details: dict[str, Any] | None = None
    error: Raw = Raw()  # a union with None would refuse an object


class Item(Struct):
    """What is read of one item."""

    type: str | None = None
    id: str | None = None
    phase: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Any = None
    input: str | None = None
    content: Any = None
    summary: Any = None
    result: str | None = None
    output_format: str | None = None


response_body = msgspec.json.Decoder(ResponseBody)
_item = msgspec.json.Decoder(Item)


class Output:
    """What the items of an answer say, one after another."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor
        self.text = ""
        self.reasoning = ""
        self.refusal = ""
        self.calls: list[ToolCall] = []
        self.parts: list[Part] = []
        self.citations: list[CitedSource] = []
        self.logprobs: list[TokenLogprob] = []
        self.is_unusual = False  # more than text, then calls

    def add(self, raw: Raw, *, is_cut: bool = False) -> None:
        """Read one item. Raises ValueError for one that is no object."""
        item = _read(raw)
        if item.type == "message":
            self._message(item)
        elif item.type in CALLS:
            self._call(item, raw, is_cut=is_cut)
        elif item.type == "image_generation_call" and (data := _bytes(item.result)):
            self.is_unusual = True
            self.parts.append(
                Image(data=data, media_type=f"image/{item.output_format or 'png'}", extra=_without(raw, "result"), vendor=self.vendor)
            )
        elif item.type:
            self.is_unusual = True
            if item.type == "reasoning":
                self.reasoning += (BETWEEN if self.reasoning else "") + thoughts_of(item)
            self.parts.append(Opaque(vendor=self.vendor, kind=item.type, data=bytes(raw).decode("utf-8", "replace")))

    def _message(self, item: Item) -> None:
        about = {name: value for name, value in (("id", item.id), ("phase", item.phase)) if value}
        self.is_unusual = self.is_unusual or bool(item.phase or self.calls)
        for part in parts_of(item.content):
            kind = part.get("type", "output_text")
            if kind == "refusal":
                self.refusal += text_of(part.get("refusal"))
            elif kind == "output_audio":
                self._sound(part)
            elif kind in ("output_text", "text"):
                self._text(part, about)

    def _text(self, part: dict[str, Any], about: dict[str, Any]) -> None:
        text = text_of(part.get("text"))
        annotations = part.get("annotations")
        annotations = annotations if isinstance(annotations, list) else []
        for one in annotations:
            self.citations += cited(one, len(self.text))
        self.logprobs += [logprob_of(one) for one in dicts(part.get("logprobs"))]
        self.is_unusual = self.is_unusual or bool(annotations)
        self.text += text
        extra = about | ({"annotations": annotations} if annotations else {})
        self.parts.append(Text(text, extra=json_text(extra), vendor=self.vendor) if extra else Text(text))

    def _sound(self, part: dict[str, Any]) -> None:
        self.is_unusual = True
        self.text += text_of(part.get("transcript"))
        data = _bytes(part.get("data"))
        self.parts.append(File(data=data, media_type=sound_type(data), vendor=self.vendor))

    def _call(self, item: Item, raw: Raw, *, is_cut: bool) -> None:
        arguments = item.arguments
        if item.type == "custom_tool_call":
            arguments = json_text({INPUT: item.input or ""})
        elif not isinstance(arguments, str):
            arguments = "" if arguments is None else json_text(arguments)
        kept = {name: value for name, value in (lenient.value_of(raw) or {}).items() if name not in CALL_FIELDS and value}
        if item.type == "custom_tool_call":
            kept["type"] = item.type
        call = checked_tool_call(
            id=item.call_id or item.id or new_call_id(),
            name=item.name or "",
            arguments=arguments,
            extra=json_text(kept) if kept else "",
            vendor=self.vendor if kept else "",
            after=len(self.parts),
            is_cut=is_cut or item.status == "incomplete",
        )
        self.calls.append(call)


def thoughts_of(item: Item) -> str:
    """The text of a reasoning item: its summary, or the thoughts themselves where the server shows them."""
    texts = [text_of(part.get("text")) for part in parts_of(item.summary) or parts_of(item.content)]
    return BETWEEN.join(text for text in texts if text)


def parts_of(content: Any) -> list[dict[str, Any]]:
    """The parts of a message or of thoughts; some servers send the text itself."""
    if isinstance(content, str):
        return [{"text": content}]
    return [part if isinstance(part, dict) else {"text": part} for part in content] if isinstance(content, list) else []


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none where there is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _read(raw: Raw) -> Item:
    try:
        return _item.decode(raw)
    except (ValueError, RecursionError):
        found: Item = lenient.read(bytes(raw), Item)
        return found


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        return b""
    try:
        return b64decode(text)
    except (ValueError, binascii.Error):
        return b""


def _without(raw: Raw, *names: str) -> str:
    return json_text({name: value for name, value in (lenient.value_of(raw) or {}).items() if name not in {*names, "type"}})


def cited(annotation: Any, offset: int) -> list[CitedSource]:
    """The source that an annotation of a text names; `offset` characters of the answer stand before that text."""
    if not isinstance(annotation, dict):
        return []
    kind, start, end = annotation.get("type"), annotation.get("start_index"), annotation.get("end_index")
    about: dict[str, Any] = {
        "start": start + offset if isinstance(start, int) else None,
        "end": end + offset if isinstance(end, int) else None,
    }
    if kind == "url_citation":
        return [CitedSource(url=text_of(annotation.get("url")), title=text_of(annotation.get("title")), **about)]
    if kind in ("file_citation", "container_file_citation", "file_path"):
        return [CitedSource(source=text_of(annotation.get("file_id")), title=text_of(annotation.get("filename")), **about)]
    return []


def logprob_of(one: dict[str, Any]) -> TokenLogprob:
    """How likely one token was."""
    top = tuple((text_of(other.get("token")), lenient.float_of(other.get("logprob"))) for other in dicts(one.get("top_logprobs")))
    return TokenLogprob(token=text_of(one.get("token")), logprob=lenient.float_of(one.get("logprob")), top=top)


def usage_of(usage: dict[str, Any] | None) -> Usage:
    """Tokens billed, with details; zeros and `estimated` where the server did not say."""
    if not usage:
        return Usage(estimated=True)
    inputs, outputs = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    prompt, answer = count(usage, "input_tokens", "prompt_tokens"), count(usage, "output_tokens", "completion_tokens")
    cached = min(count(inputs, "cached_tokens"), prompt)
    return Usage(
        input_tokens=prompt,
        output_tokens=answer,
        cached_tokens=cached,
        cache_write_tokens=min(count(inputs, "cache_write_tokens"), prompt - cached),
        reasoning_tokens=min(count(outputs, "reasoning_tokens"), answer),
    )


def finish_of(answer: ResponseBody, *, has_calls: bool, refusal: str) -> FinishReason:
    """How the answer ended, in our words."""
    if answer.status == "incomplete":
        return GAVE_UP.get(str((answer.incomplete_details or {}).get("reason")), "other")
    if answer.status not in {"completed", None}:
        return "other"
    if refusal:
        return "refusal"
    return "tool_calls" if has_calls else "stop"


def output_of(answer: ResponseBody, asked: ReadingContext) -> Output:
    """The answer's items, read. Raises MalformedReply for one that is none."""
    finish = finish_of(answer, has_calls=True, refusal="")
    found = Output(asked.vendor)
    try:
        for raw in answer.output or ():
            found.add(raw, is_cut=not is_runnable(finish))
    except (ValueError, TypeError) as error:
        raise malformed(asked.target, f"an item of the answer cannot be read: {error}", request_id=asked.request_id) from error
    return found


def chat_reply(body: bytes, content_type: str, asked: ReadingContext) -> ChatReply:
    """A whole answer. Raises MalformedReply if it is none, the error it carries, or ContentRefused if nothing but a refusal came."""
    answer = decoded(response_body, body, content_type, target=asked.target, request_id=asked.request_id)
    if failed(answer.error) or answer.status == "failed" or answer.object == "error":
        raise asked.emit(body)
    if answer.output is None:
        raise malformed(asked.target, f"the answer holds no output: {snippet(body, content_type)}", request_id=asked.request_id)
    found = output_of(answer, asked)
    finish = finish_of(answer, has_calls=bool(found.calls), refusal=found.refusal)
    if not found.text and not found.calls:
        check_not_empty(finish, found.refusal, asked, usage=usage_of(answer.usage), model=answer.model or "", body=body)
    return ChatReply(
        text=found.text,
        tool_calls=apart(tuple(found.calls)),
        reasoning=found.reasoning,
        finish_reason=finish,
        usage=usage_of(answer.usage),
        model=answer.model or "",
        target=asked.target,
        request_id=asked.request_id,
        content=tuple(found.parts) if found.is_unusual else (),
        raw_json=body,
        response_id=answer.id or "",
        citations=tuple(found.citations),
        logprobs=tuple(found.logprobs),
    )
