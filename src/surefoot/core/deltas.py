"""A reply as deltas, and deltas as a reply."""

from __future__ import annotations

from typing import Any

from surefoot.core._tool_calls import checked_tool_call, is_runnable
from surefoot.types import AnswerEnd, ChatReply, Delta, Reasoning, Text, ToolCall, ToolCallDelta, Usage

NO_END = AnswerEnd()


class Replay:
    """A Source that yields deltas already at hand: a cached answer, served as the stream it was."""

    __slots__ = ("_deltas", "_next")

    def __init__(self, deltas: list[Delta] | tuple[Delta, ...]) -> None:
        self._deltas = deltas
        self._next = 0

    async def __anext__(self) -> Delta:
        """The next delta at hand."""
        if self._next >= len(self._deltas):
            raise StopAsyncIteration
        self._next += 1
        return self._deltas[self._next - 1]

    async def aclose(self) -> None:
        """Nothing to close."""
        self._next = len(self._deltas)


def to_deltas(reply: ChatReply) -> tuple[Delta, ...]:
    """A whole reply as the deltas of a stream: content first, the terminal marker with usage last."""
    calls = tuple(
        ToolCallDelta(
            index=i, id=call.id, name=call.name, arguments=call.arguments, signature=call.signature,
            extra=call.extra, vendor=call.vendor, after=call.after,
        )
        for i, call in enumerate(reply.tool_calls)
    )  # fmt: skip
    others = tuple(part for part in reply.content if not isinstance(part, Text | Reasoning))
    head = Delta(
        text=reply.text, reasoning=reply.reasoning, signature=reply.signature, tool_calls=calls, model=reply.model, parts=others
    )  # fmt: skip
    tail = Delta(
        finish_reason=reply.finish_reason, usage=reply.usage, model=reply.model, request_id=reply.request_id, end=_end_of(reply)
    )  # fmt: skip
    return (head, tail) if head.is_content or head.signature else (tail,)


def _end_of(reply: ChatReply) -> AnswerEnd | None:
    end = AnswerEnd(
        content=reply.content,
        raw_json=reply.raw_json,
        response_id=reply.response_id,
        citations=reply.citations,
        logprobs=reply.logprobs,
    )
    return None if end == NO_END else end


def from_deltas(deltas: list[Delta] | tuple[Delta, ...], *, target: str = "") -> ChatReply:
    """The whole reply out of a stream's deltas. Usage snapshots are cumulative: the last one wins. After a restart only what came since."""
    usage = Usage()
    finish: Any = None
    end = NO_END
    model = request_id = signature = ""
    calls: dict[int, list[ToolCallDelta]] = {}
    for at, delta in enumerate(deltas):
        if delta.is_restart:
            return from_deltas(deltas[at + 1 :], target=delta.model or target)  # never a splice of two answers
        usage = delta.usage or usage
        finish = delta.finish_reason or finish
        model = delta.model or model
        request_id = delta.request_id or request_id
        signature += delta.signature
        end = delta.end or end
        for piece in delta.tool_calls:
            calls.setdefault(piece.index, []).append(piece)
    return ChatReply(
        text="".join([delta.text for delta in deltas]),
        reasoning="".join([delta.reasoning for delta in deltas]),
        signature=signature,
        tool_calls=tuple(_tool_call(calls[index], is_cut=not is_runnable(finish)) for index in sorted(calls)),
        finish_reason=finish or "other",
        usage=usage,
        model=model,
        target=target,
        request_id=request_id,
        content=end.content,
        raw_json=end.raw_json,
        response_id=end.response_id,
        citations=end.citations,
        logprobs=end.logprobs,
    )


def _tool_call(pieces: list[ToolCallDelta], *, is_cut: bool) -> ToolCall:
    return checked_tool_call(
        is_cut=is_cut,
        id="".join([piece.id for piece in pieces[:1]]) or next((piece.id for piece in pieces if piece.id), ""),
        name="".join([piece.name for piece in pieces]),
        arguments="".join([piece.arguments for piece in pieces]),
        signature="".join([piece.signature for piece in pieces]),
        extra="".join([piece.extra for piece in pieces]),
        vendor=next((piece.vendor for piece in pieces if piece.vendor), ""),
        after=next((piece.after for piece in pieces if piece.after is not None), None),
    )
