"""The Responses API's event stream: typed events to deltas; the last one holds the whole answer once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot.providers.http.answers.lenient import Halves, text_of
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.reading import ReadingContext, apart, check_not_empty, failed, own_id, read_event
from surefoot.providers.http.sse import is_end_mark
from surefoot.providers.openai.responses_api.answers import (
    BETWEEN,
    Output,
    ResponseBody,
    finish_of,
    output_of,
    response_body,
    usage_of,
)
from surefoot.types import AnswerEnd, Delta, Opaque, Reasoning, Text, ToolCall, ToolCallDelta

THINKS = Delta(marker="thinking")
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class ResponseEvent(Struct):
    """What is read of one event."""

    type: str | None = None
    delta: Any = None
    output_index: int | None = None
    summary_index: int | None = None
    item: Raw = Raw()
    response: Raw = Raw()
    error: Raw = Raw()


class _BegunItem(Struct):
    type: str | None = None
    call_id: str | None = None
    id: str | None = None
    name: str | None = None


_event = msgspec.json.Decoder(ResponseEvent)
_begun = msgspec.json.Decoder(_BegunItem)


class ResponsesReader:
    """Reads the events of one streamed answer. The last delta waits for the event that ends it."""

    __slots__ = (
        "_asked", "_calls", "_end", "_halves", "_ids", "_items", "_model", "_output", "_refusal", "_seen", "_spoke", "done", "finished",
    )  # fmt: skip

    def __init__(self, asked: ReadingContext) -> None:
        self._asked = asked
        self._calls: dict[int, int] = {}  # the server's index of an item -> ours of the call
        self._ids: set[str] = set()
        self._seen: dict[int, str] = {}  # arguments of each call so far
        self._items: dict[int, Raw] = {}  # whole items, for a server whose last event does not repeat them
        self._output = Output(asked.vendor)
        self._spoke = False
        self._refusal = ""
        self._model = ""
        self._end: ResponseBody | None = None
        self._halves = Halves()
        self.finished = False
        self.done = False

    def read(self, data: bytes, out: list[Delta]) -> None:
        """One event. Raises the error that it tells of."""
        try:
            event = _event.decode(data)
        except (ValueError, RecursionError):
            if is_end_mark(data):
                self.done = True
                return
            event = read_event(data, ResponseEvent, self._asked, self._halves)
        kind = event.type or ""
        handle = HANDLERS.get(kind)
        if handle is not None:
            handle(self, event, out)
        elif kind in ENDS:
            self._finish(event, data)
        elif kind == "error" or (failed(event.error) and not kind.startswith("response.")):
            raise self._asked.emit(data)
        elif bytes(event.response):
            self._model = self._body(event.response).model or self._model

    def _thought(self, event: ResponseEvent, out: list[Delta]) -> None:
        out.append(Delta(reasoning=text_of(event.delta)))

    def _paragraph(self, event: ResponseEvent, out: list[Delta]) -> None:
        if event.summary_index or self._output.reasoning:
            out.append(Delta(reasoning=BETWEEN))

    def _refuse(self, event: ResponseEvent, out: list[Delta]) -> None:
        del out
        self._refusal += text_of(event.delta)

    def _text(self, event: ResponseEvent, out: list[Delta]) -> None:
        if text := text_of(event.delta):
            self._spoke = True
            out.append(Delta(text=text))

    def _begin(self, event: ResponseEvent, out: list[Delta]) -> None:
        """A call has begun: its name and id come first, so that it can be shown. Or thoughts, a search: a sign of life, and no more."""
        at = event.output_index or 0
        item = self._begun(event.item) if bytes(event.item) else _BegunItem()
        if item.type == "function_call" and at not in self._calls:
            out.append(Delta(tool_calls=(self._open(at, item.call_id or item.id or "", item.name or ""),)))
        elif item.type not in {"message", "function_call", None}:
            out.append(THINKS)

    def _begun(self, raw: Raw) -> _BegunItem:
        try:
            return _begun.decode(raw)
        except (ValueError, RecursionError):
            return read_event(bytes(raw), _BegunItem, self._asked, self._halves)

    def _open(self, at: int, call_id: str, name: str) -> ToolCallDelta:
        number = self._calls[at] = len(self._calls)
        self._seen[at] = ""
        self._spoke = True
        return ToolCallDelta(index=number, id=own_id(call_id, self._ids), name=name, after=len(self._output.parts))

    def _piece(self, event: ResponseEvent, out: list[Delta]) -> None:
        at = event.output_index or 0
        if at in self._calls and (piece := text_of(event.delta)):
            self._seen[at] += piece
            out.append(Delta(tool_calls=(ToolCallDelta(index=self._calls[at], arguments=piece),)))

    def _whole(self, event: ResponseEvent, out: list[Delta]) -> None:
        """An item is whole: of a call what has not come in pieces, of what a server did on its own all of it."""
        at = event.output_index if event.output_index is not None else len(self._items)
        if not bytes(event.item) or at in self._items:
            return
        self._items[at] = event.item
        before = len(self._output.parts), len(self._output.calls)
        try:
            self._output.add(event.item)
        except (ValueError, TypeError) as error:
            raise malformed(self._asked.target, f"an item that cannot be read: {error}", request_id=self._asked.request_id) from error
        if len(self._output.calls) > before[1]:
            self._rest(at, self._output.calls[-1], out)
        others = tuple(part for part in self._output.parts[before[0] :] if not isinstance(part, Text | Reasoning))
        others = tuple(part for part in others if not (isinstance(part, Opaque) and part.kind == "reasoning"))
        if others:
            self._spoke = True
            out.append(Delta(parts=others))

    def _rest(self, at: int, call: ToolCall, out: list[Delta]) -> None:
        pieces: list[ToolCallDelta] = []
        if at not in self._calls:
            pieces.append(self._open(at, call.id, call.name))
        seen = self._seen[at]
        missing = call.arguments[len(seen) :] if call.arguments.startswith(seen) else ""
        if missing or call.extra:
            pieces.append(ToolCallDelta(index=self._calls[at], arguments=missing, extra=call.extra, vendor=call.vendor))
        if pieces:
            out.append(Delta(tool_calls=tuple(pieces)))

    def _body(self, raw: Raw) -> ResponseBody:
        try:
            return response_body.decode(raw)
        except (ValueError, RecursionError):
            return read_event(bytes(raw), ResponseBody, self._asked, self._halves)

    def _finish(self, event: ResponseEvent, data: bytes) -> None:
        answer = self._body(event.response) if bytes(event.response) else ResponseBody(status=(event.type or "").partition(".")[2])
        if failed(answer.error):
            raise self._asked.emit(b'{"error":%b}' % bytes(answer.error))
        if event.type in {"response.failed", "response.cancelled"}:
            raise self._asked.emit(data)
        if not answer.output:
            answer.output = [self._items[at] for at in sorted(self._items)]
        answer.status = answer.status or (event.type or "").partition(".")[2]
        self._end = answer
        self._raw(event)
        self.finished = self.done = True

    def _raw(self, event: ResponseEvent) -> None:
        self._items[-1] = event.response

    def end(self, out: list[Delta]) -> None:
        """The last delta, with all that is known of the answer, if the event that ends it was seen."""
        answer = self._end
        if answer is None:
            return
        found = output_of(answer, self._asked)
        refusal = found.refusal or self._refusal
        finish = finish_of(answer, has_calls=bool(found.calls or self._calls), refusal=refusal)
        usage = usage_of(answer.usage) if answer.usage else None
        model, number = answer.model or self._model, self._asked.request_id
        if not self._spoke:
            if found.text or found.calls:  # a server that says it all at the end
                out += _all_at_once(found)
            else:
                check_not_empty(finish, refusal, self._asked, usage=usage, model=model)
        end = AnswerEnd(
            content=tuple(found.parts) if found.is_unusual else (),
            raw_json=bytes(self._items[-1]),
            response_id=answer.id or "",
            citations=tuple(found.citations),
            logprobs=tuple(found.logprobs),
        )
        out.append(Delta(finish_reason=finish, usage=usage, model=model, request_id=number, end=end))


def _all_at_once(found: Output) -> list[Delta]:
    calls = tuple(
        ToolCallDelta(
            index=at, id=call.id, name=call.name, arguments=call.arguments, extra=call.extra, vendor=call.vendor, after=call.after
        )
        for at, call in enumerate(apart(tuple(found.calls)))
    )
    return [Delta(text=found.text, reasoning=found.reasoning, tool_calls=calls)]


HANDLERS: dict[str, Callable[[ResponsesReader, ResponseEvent, list[Delta]], None]] = {
    "response.output_text.delta": ResponsesReader._text,  # noqa: SLF001 - its own
    "response.audio.transcript.delta": ResponsesReader._text,  # noqa: SLF001
    "response.function_call_arguments.delta": ResponsesReader._piece,  # noqa: SLF001
    "response.reasoning_summary_text.delta": ResponsesReader._thought,  # noqa: SLF001
    "response.reasoning_text.delta": ResponsesReader._thought,  # noqa: SLF001
    "response.reasoning_summary_part.added": ResponsesReader._paragraph,  # noqa: SLF001
    "response.refusal.delta": ResponsesReader._refuse,  # noqa: SLF001
    "response.output_item.added": ResponsesReader._begin,  # noqa: SLF001
    "response.output_item.done": ResponsesReader._whole,  # noqa: SLF001
}
