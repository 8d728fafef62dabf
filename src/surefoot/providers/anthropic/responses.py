"""The Anthropic Messages API: its JSON to our records. Pure: bytes in, replies and deltas out, or one of our errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot.core._tool_calls import checked_tool_call, is_runnable
from surefoot.errors import SurefootError
from surefoot.providers.http import finish as _finish
from surefoot.providers.http.answers.lenient import Halves, raw_text
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.reading import decoded, failed, read_event
from surefoot.providers.http.redact import snippet
from surefoot.providers.http.sse import is_end_mark
from surefoot.types import ChatReply, ChatRequest, Delta, FinishReason, ToolCallDelta, Usage

ANSWER, SERVERS = -1, -2  # whose arguments a stream's pieces are, if no call's of the caller's
_NOTHING = {b"", b"null", b"{}"}


class _Block(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw()


class _Details(Struct):
    explanation: str | None = None
    category: str | None = None


class _Message(Struct):
    type: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    stop_details: _Details | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    error: Raw = Raw()


class _Piece(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: _Details | None = None
    usage: dict[str, Any] | None = None  # beside the delta, by the API


class _Event(Struct):
    type: str = ""
    index: int | None = None
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Piece | None = None
    stop_reason: str | None = None  # in the delta, by the API
    usage: dict[str, Any] | None = None
    error: Raw = Raw()


_message = msgspec.json.Decoder(_Message)
_event = msgspec.json.Decoder(_Event)


class AnthropicContext(Struct, frozen=True):
    """What an answer is read with: the target's name, the request id, the request, the tool that is the answer, how errors are told."""

    target: str
    request_id: str
    request: ChatRequest
    answer_tool: str
    emit: Callable[[bytes], SurefootError]


def usage_of(usage: dict[str, Any] | None) -> Usage:
    """Tokens billed. The API counts cached input apart; ours include it."""
    if not usage:
        return Usage(estimated=True)

    def count(where: Any, name: str) -> int:
        value = where.get(name) if isinstance(where, dict) else None
        return int(value) if isinstance(value, int | float) and value > 0 else 0

    read, written = count(usage, "cache_read_input_tokens"), count(usage, "cache_creation_input_tokens")
    return Usage(
        input_tokens=count(usage, "input_tokens") + read + written,
        output_tokens=count(usage, "output_tokens"),
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count(usage.get("output_tokens_details"), "thinking_tokens"),
    )


def sealed(blocks: Sequence[tuple[str, str, str]]) -> str:
    """Thinking blocks (kind, text, seal) as one signature: the vendor's own for one block, a JSON list of blocks for several.

    They must go back untouched, each with its own seal; texts joined under the seals joined would be refused.
    """
    if len(blocks) == 1 and blocks[0][0] == "thinking":
        return blocks[0][2]
    kept: list[dict[str, str]] = [
        {"type": kind, "thinking": text, "signature": seal} if kind == "thinking" else {"type": kind, "data": seal}
        for kind, text, seal in blocks
        if seal
    ]
    return msgspec.json.encode(kept).decode() if kept else ""


def chat_reply(body: bytes, content_type: str, asked: AnthropicContext) -> ChatReply:
    """A whole answer. Raises MalformedReply if it is none, the error it carries, or ContentRefused if nothing but a refusal came."""
    answer = decoded(_message, body, content_type, target=asked.target, request_id=asked.request_id)
    if answer.type == "error" or failed(answer.error):
        raise asked.emit(body)
    if answer.content is None or (not answer.content and answer.stop_reason is None):
        raise malformed(asked.target, f"the answer holds no content: {snippet(body, content_type)}", request_id=asked.request_id)
    finish = _finish.finish_of(answer.stop_reason, asked.target, request_id=asked.request_id)
    is_cut = not is_runnable(finish)
    texts, thoughts, calls = [], [], []
    for block in answer.content:
        if block.type == "text":
            texts.append(block.text or "")
        elif block.type in {"thinking", "redacted_thinking"}:
            thoughts.append((block.type, block.thinking or "", block.signature or block.data or ""))
        elif block.type == "tool_use" and block.name == asked.answer_tool:
            texts.append(raw_text(block.input))
            finish = "stop" if finish == "tool_calls" else finish
        elif block.type == "tool_use":
            arguments = raw_text(block.input)
            calls.append(checked_tool_call(id=block.id or "", name=block.name or "", arguments=arguments, is_cut=is_cut))
    text = "".join(texts)
    if not text and not calls:
        check_not_empty(finish, answer.stop_reason, answer.stop_details, asked)
    return ChatReply(
        text=text,
        tool_calls=tuple(calls),
        reasoning="".join(said for _, said, _ in thoughts),
        signature=sealed(thoughts),
        finish_reason=finish,
        usage=usage_of(answer.usage),
        model=answer.model or "",
        target=asked.target,
        request_id=asked.request_id,
    )


def check_not_empty(finish: FinishReason, reason: str | None, details: _Details | None, asked: AnthropicContext) -> None:
    """Raise what an answer with neither text nor tool calls is, unless it is the answer, or a stop sequence came first."""
    why = (details.explanation or details.category or "") if details else ""
    error = _finish.check_not_empty(
        finish, asked.request, why=why or "the model declines to answer", target=asked.target, request_id=asked.request_id
    )
    if error is not None and reason != "stop_sequence":
        raise error


class AnthropicChatReader:
    """Reads the events of one streamed answer. Holds the last delta back until the end mark is in."""

    __slots__ = ("_asked", "_calls", "_content", "_details", "_halves", "_model", "_stop", "_thoughts", "_usage", "done", "finished")

    def __init__(self, asked: AnthropicContext) -> None:
        self._asked = asked
        self._calls: dict[int, int] = {}  # the block's index -> our tool call's; ANSWER or SERVERS for those that are none
        self._thoughts: dict[int, list[str]] = {}  # the block's index -> kind, text, seal
        self._content = False
        self._details: _Details | None = None
        self._halves: Halves = {}
        self._model = ""
        self._stop: str | None = None
        self._usage: dict[str, Any] = {}
        self.finished = False
        self.done = False

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
            self._delta(event.index or 0, event.delta, out)
        elif kind == "content_block_start" and event.content_block is not None:
            self._start(event.index or 0, event.content_block, out)
        elif kind == "message_start" and event.message is not None:
            self._begin(event.message, out)
        elif kind == "message_delta":
            self._count(event.usage)
            self._ended(event.stop_reason, None)
            if event.delta is not None:
                self._count(event.delta.usage)
                self._ended(event.delta.stop_reason, event.delta.stop_details)
        elif kind == "message_stop":
            self._ended(event.stop_reason, None)
            self.done = True
        elif kind == "error" or failed(event.error):
            raise self._asked.emit(data)
        elif kind == "message":  # the whole answer in one piece
            self._begin(decoded(_message, data, "", target=self._asked.target, request_id=self._asked.request_id), out)
            self.done = True
        elif not kind:
            raise malformed(self._asked.target, f"an event that is no answer: {snippet(data)}", request_id=self._asked.request_id)

    def _begin(self, message: _Message, out: list[Delta]) -> None:
        """The message as it begins, or all of it: some servers send what they have of it at once."""
        self._count(message.usage)
        self._model = message.model or ""
        for index, block in enumerate(message.content or ()):
            self._start(index, block, out)
        self._ended(message.stop_reason, message.stop_details)

    def _ended(self, reason: str | None, details: _Details | None) -> None:
        if reason:
            self._stop, self._details, self.finished = reason, details, True

    def _count(self, usage: dict[str, Any] | None) -> None:
        """Counts are cumulative: a later one replaces an earlier one, what is not named again stays."""
        self._usage.update({name: value for name, value in (usage or {}).items() if value is not None})

    def _start(self, index: int, block: _Block, out: list[Delta]) -> None:
        if block.type == "tool_use":
            is_answer = block.name == self._asked.answer_tool
            number = ANSWER if is_answer else sum(one >= 0 for one in self._calls.values())
            self._calls[index] = number
            arguments = "" if bytes(block.input) in _NOTHING else raw_text(block.input)
            self._content = True
            if not is_answer:
                out.append(Delta(tool_calls=(ToolCallDelta(index=number, id=block.id or "", name=block.name or "", arguments=arguments),)))
            elif arguments:
                out.append(Delta(text=arguments))
        elif block.type in {"thinking", "redacted_thinking"}:
            self._thoughts[index] = [block.type, block.thinking or "", block.signature or block.data or ""]
            if block.thinking:
                out.append(Delta(reasoning=block.thinking))
        elif block.type != "text":  # the vendor's own tools at work: their input comes in pieces, too
            self._calls[index] = SERVERS
        elif block.text:
            self._content = True
            out.append(Delta(text=block.text))

    def _delta(self, index: int, delta: _Piece, out: list[Delta]) -> None:
        if delta.text:
            self._content = True
            out.append(Delta(text=delta.text))
        elif delta.partial_json:
            number = self._calls.get(index, SERVERS)
            if number == ANSWER:
                out.append(Delta(text=delta.partial_json))
            elif number != SERVERS:
                out.append(Delta(tool_calls=(ToolCallDelta(index=number, arguments=delta.partial_json),)))
        elif delta.thinking or delta.signature:
            thought = self._thoughts.setdefault(index, ["thinking", "", ""])
            thought[1] += delta.thinking or ""
            thought[2] += delta.signature or ""
            if delta.thinking:
                out.append(Delta(reasoning=delta.thinking))

    def end(self, out: list[Delta]) -> None:
        """The last delta, with stop reason, usage, the thoughts' seals and ids, if the stop or the end mark was seen."""
        if self._stop is None and not self.done:
            return
        finish = _finish.finish_of(self._stop, self._asked.target, request_id=self._asked.request_id)
        if self._stop is None and any(number >= 0 for number in self._calls.values()):
            finish = "tool_calls"
        if finish == "tool_calls" and self._asked.answer_tool:
            finish = "stop"
        if not self._content:
            check_not_empty(finish, self._stop, self._details, self._asked)
        signature = sealed([(kind, said, seal) for kind, said, seal in self._thoughts.values()])
        usage = usage_of(self._usage) if self._usage else None
        out.append(Delta(finish_reason=finish, usage=usage, signature=signature, model=self._model, request_id=self._asked.request_id))
