"""The Messages API's event streams: events to deltas, and at the end the whole answer as it would have come without a stream."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot.providers._merge import merged
from surefoot.providers.anthropic.blocks import content_of, sealed
from surefoot.providers.anthropic.responses import AnthropicContext, StopDetails, check_not_empty, usage_of
from surefoot.providers.http import finish as _finish
from surefoot.providers.http.answers import lenient
from surefoot.providers.http.answers.counts import larger
from surefoot.providers.http.answers.lenient import Halves, raw_text
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.reading import decoded, failed, is_error_instead, own_id, read_event
from surefoot.providers.http.redact import snippet
from surefoot.providers.http.sse import is_end_mark
from surefoot.types import AnswerEnd, Delta, Opaque, ToolCallDelta

_NOTHING = {b"", b"null", b"{}"}


class _Begun(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw()


class _Head(Struct):
    content: list[Raw] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    id: str | None = None


class _Piece(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: Raw = Raw()
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: dict[str, Any] | None = None  # beside the delta, by the API


class _Event(Struct):
    type: str = ""
    index: int | None = None
    message: Raw = Raw()
    content_block: Raw = Raw()
    delta: _Piece | None = None
    stop_reason: str | None = None  # in the delta, by the API
    usage: dict[str, Any] | None = None
    error: Raw = Raw()


class _Open(Struct):
    """A block under way: how it began, and what has come since."""

    kind: str
    begun: Raw
    number: int = -1  # of the caller's call that it is
    pieces: list[str] = []
    seals: list[str] = []
    citations: list[Raw] = []
    others: dict[str, Any] = {}


_event = msgspec.json.Decoder(_Event)
_begun = msgspec.json.Decoder(_Begun)
_head = msgspec.json.Decoder(_Head)


class AnthropicChatReader:
    """Reads the events of one streamed answer. Holds the last delta back until the end mark is in."""

    __slots__ = (
        "_asked", "_blocks", "_calls", "_content", "_details", "_halves", "_head", "_id", "_ids", "_is_over", "_model", "_stop", "_tail",
        "_usage", "done", "finished",
    )  # fmt: skip

    def __init__(self, asked: AnthropicContext) -> None:
        self._asked = asked
        self._blocks: dict[int, _Open] = {}  # by the API's index
        self._calls = 0
        self._content = False
        self._details: StopDetails | None = None
        self._halves: Halves = {}
        self._head = Raw()
        self._tail = b""
        self._id = ""
        self._ids: set[str] = set()
        self._model = ""
        self._stop: str | None = None
        self._usage: dict[str, Any] = {}
        self._is_over = False  # the API's own end mark has come
        self.finished = False
        self.done = False  # that, or OpenAI's, which proxies write after a stream that broke off, too

    def read(self, data: bytes, out: list[Delta]) -> None:
        """One event of the API; unknown kinds are skipped, as it asks of clients."""
        try:
            event = _event.decode(data)
        except (ValueError, RecursionError):
            if is_end_mark(data):
                self.done = True
                return
            event = read_event(data, _Event, self._asked, self._halves)
        kind = event.type
        if kind == "content_block_delta" and event.delta is not None:
            self._delta(event.index or 0, event.delta, data, out)
        elif kind == "content_block_start" and event.content_block:
            self._start(event.index or 0, event.content_block, out)
        elif kind == "content_block_stop":
            self._stopped(event.index or 0, out)
        elif kind == "message_start" and event.message:
            self._begin(event.message, out)
        elif kind == "message_delta":
            self._told(event, data)
        elif kind == "message_stop":
            self._ended(event.stop_reason, None, b"")
            self.done = self._is_over = True
        elif kind == "error" or failed(event.error):
            raise self._asked.emit(data)
        elif kind == "message":  # the whole answer in one piece
            self._begin(Raw(data), out)
            self.done = self._is_over = True
        elif not kind:
            why = f"an event that is no answer: {snippet(data)}"
            is_error = is_error_instead(data)
            raise self._asked.emit(data) if is_error else malformed(self._asked.target, why, request_id=self._asked.request_id)

    def _begin(self, raw: Raw, out: list[Delta]) -> None:
        """The message as it begins, or all of it: some servers send what they have of it at once."""
        self._head = raw
        message = decoded(_head, bytes(raw), "", target=self._asked.target, request_id=self._asked.request_id)
        self._count(message.usage)
        self._model, self._id = message.model or "", message.id or ""
        for index, block in enumerate(message.content or ()):
            self._start(index, block, out)
        self._ended(message.stop_reason, message.stop_details, b"")

    def _told(self, event: _Event, data: bytes) -> None:
        """Why it ended, and what was billed so far."""
        self._count(event.usage)
        self._ended(event.stop_reason, None, data)
        if event.delta is not None:
            self._count(event.delta.usage)
            self._ended(event.delta.stop_reason, event.delta.stop_details, data)

    def _ended(self, reason: str | None, details: StopDetails | None, data: bytes) -> None:
        if reason:
            self._stop, self._details, self.finished, self._tail = reason, details, True, data

    def _count(self, usage: dict[str, Any] | None) -> None:
        """Counts are cumulative: of two the larger, what is not named again stays."""
        self._usage = larger(self._usage, usage) or {}

    def _start(self, index: int, raw: Raw, out: list[Delta]) -> None:
        block = decoded(_begun, bytes(raw), "", target=self._asked.target, request_id=self._asked.request_id)
        known = self._blocks.get(index)
        if known is not None and bytes(known.begun) == bytes(raw) and (block.id or block.type != "tool_use"):
            return  # said twice: what has come of it stays
        begun = self._blocks[index] = _Open(block.type, raw)
        if block.type == "text":
            if block.text:
                self._text(begun, block.text, out)
        elif block.type == "tool_use":
            self._content = True
            arguments = "" if bytes(block.input) in _NOTHING else raw_text(block.input)
            if block.name == self._asked.answer_tool:
                if arguments:
                    self._text(begun, arguments, out)
                return
            begun.number, self._calls = self._calls, self._calls + 1
            begun.pieces += [arguments] if arguments else []
            piece = ToolCallDelta(index=begun.number, id=own_id(block.id, self._ids), name=block.name or "", arguments=arguments)
            out.append(Delta(tool_calls=(piece,)))
        elif block.type in {"thinking", "redacted_thinking"}:
            begun.pieces += [block.thinking] if block.thinking else []
            begun.seals += [block.signature] if block.signature else []
            out.append(Delta(reasoning=block.thinking) if block.thinking else Delta(marker="thinking"))

    def _text(self, block: _Open, text: str, out: list[Delta]) -> None:
        self._content = True
        block.pieces.append(text)
        out.append(Delta(text=text))

    def _delta(self, index: int, delta: _Piece, data: bytes, out: list[Delta]) -> None:
        block = self._blocks.get(index)
        if block is None:  # a server that does not say where a block begins
            block = self._blocks[index] = _Open({"text_delta": "text", "thinking_delta": "thinking"}.get(delta.type, ""), Raw())
        if delta.text:
            self._text(block, delta.text, out)
        elif delta.partial_json:
            if block.number >= 0:
                block.pieces.append(delta.partial_json)
                out.append(Delta(tool_calls=(ToolCallDelta(index=block.number, arguments=delta.partial_json),)))
            elif block.kind == "tool_use":
                self._text(block, delta.partial_json, out)
            else:  # the vendor's own tools at work
                block.pieces.append(delta.partial_json)
        elif delta.thinking or delta.signature:
            if delta.signature:
                block.seals.append(delta.signature)
            if delta.thinking:
                block.pieces.append(delta.thinking)
                out.append(Delta(reasoning=delta.thinking))
        elif delta.citation:
            block.citations.append(delta.citation)
        elif delta.type not in {"text_delta", "input_json_delta", "thinking_delta", "signature_delta"}:
            block.others = merged(block.others, {name: one for name, one in _fields(Raw(data), "delta").items() if name != "type"})

    def _stopped(self, index: int, out: list[Delta]) -> None:
        """A block is whole: one that is not understood is shown now."""
        block = self._blocks.get(index)
        if block is not None and block.kind not in {"text", "tool_use", "thinking", "redacted_thinking"}:
            self._content = True
            out.append(Delta(parts=(Opaque.of(self._asked.vendor, _whole(block), kind=block.kind or "block"),)))

    def end(self, out: list[Delta]) -> None:
        """The last delta, with stop reason, usage, the thoughts' seals, ids and blocks, if the stop or the end mark was seen."""
        if self._stop is None and not self._is_over:
            return
        finish = _finish.finish_of(self._stop, self._asked.target, request_id=self._asked.request_id)
        if self._stop is None and self._calls:
            finish = "tool_calls"
        if finish == "tool_calls" and self._asked.answer_tool:
            finish = "stop"
        usage = usage_of(self._usage) if self._usage else None
        if not self._content:
            check_not_empty(finish, self._stop, self._details, self._asked, usage=usage, model=self._model)
        pieces, signature, end = self._end()
        out.append(
            Delta(
                tool_calls=pieces,
                finish_reason=finish,
                usage=usage,
                signature=signature,
                model=self._model,
                request_id=self._asked.request_id,
                end=end,
            )
        )

    def _end(self) -> tuple[tuple[ToolCallDelta, ...], str, AnswerEnd]:
        """The answer as it would have come whole, read as such; what a call has beside name and arguments, and the seals in one."""
        blocks = [Raw(msgspec.json.encode(_whole(block))) for _, block in sorted(self._blocks.items())]
        whole = _fields(self._head) | {name: value for name, value in _fields(Raw(self._tail), "delta").items() if value is not None}
        whole |= {"content": blocks, "stop_reason": self._stop, "usage": self._usage}
        raw_json = msgspec.json.encode(whole)
        if len(blocks) == 1 and _is_plain(*self._blocks.values()):
            return (), "", AnswerEnd(raw_json=raw_json, response_id=self._id)
        vendor = self._asked.vendor
        content = content_of(blocks, answer_tool=self._asked.answer_tool, vendor=vendor)
        pieces = tuple(
            ToolCallDelta(index=number, extra=call.extra, vendor=vendor if call.extra else "", after=content.place(call))
            for number, call in enumerate(content.calls)
            if call.extra or content.place(call) is not None
        )
        end = AnswerEnd(
            content=tuple(content.parts) if content.is_unusual else (),
            raw_json=raw_json,
            response_id=self._id,
            citations=tuple(content.citations),
        )
        return pieces, sealed(content.thoughts), end


def _is_plain(block: _Open) -> bool:
    return block.kind == "text" and not block.citations and not block.others


def _whole(block: _Open) -> dict[str, Any]:
    """A block with all that came after its beginning."""
    found: dict[str, Any] = _fields(block.begun) or {"type": block.kind}
    text = "".join(block.pieces)
    if block.kind == "text":
        found["text"] = text
    elif block.kind == "thinking":
        found |= {"thinking": text, "signature": "".join(block.seals)}
    elif text:
        found["input"] = _arguments(text)
    if block.citations:
        before = found.get("citations")
        found["citations"] = [*(before if isinstance(before, list) else ()), *block.citations]
    return merged(found, block.others) if block.others else found


def _arguments(text: str) -> Any:
    """The pieces' JSON as it was written; broken JSON as the text it is, so that nothing looks whole that is not."""
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
    return Raw(text.encode())


def _fields(raw: Raw, name: str = "") -> dict[str, Any]:
    """The fields of an object, or of the one under `name` in it; none where there is no such thing."""
    value = lenient.value_of(raw) if raw else None
    if name:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
