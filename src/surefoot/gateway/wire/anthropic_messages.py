"""Anthropic's messages: a body as a request, a reply as a message, deltas as events.

What a server of this protocol said is passed on as it is; what came from elsewhere is written in the same words. Source: the API reference,
"Messages" and "Streaming messages", as of 2026-11.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.gateway.errors import HttpError
from surefoot.gateway.wire.bodies import Fields, fields_of, flag, rest_of, text_field, value_of
from surefoot.gateway.wire.events import event_type, object_type
from surefoot.types import ChatReply, Delta, ToolCallDelta, Usage

FINISH = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal", "refusal": "refusal",
    "paused": "pause_turn", "malformed_tool_call": "end_turn", "other": "end_turn",
}  # fmt: skip
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
ALONE = frozenset({
    "metadata", "service_tier", "thinking", "top_k", "container", "mcp_servers", "context_management", "output_config", "inference_geo",
})  # fmt: skip


class MessagesAsked(Struct, Documented, frozen=True):
    """What a body asks."""

    model: str
    """The model's name in the configuration."""
    messages: list[dict[str, Any]]
    """The conversation, as dicts that `ChatModel` reads."""
    options: dict[str, Any]
    """Options of `ChatModel.invoke`."""
    stream: bool = False
    """The answer is wanted in pieces."""


def messages_asked(body: bytes, *, is_own: bool, counts_only: bool = False) -> MessagesAsked:
    """The body of POST /v1/messages, or of its count_tokens. `is_own`: only servers of this protocol are asked, which know all fields.

    Raises HttpError (400), naming the field.
    """
    fields = fields_of(body)
    model = text_field(fields, "model")
    given = value_of(fields, "messages")
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise HttpError(400, "invalid_request", "messages must be a list of objects, at least one", param="messages")
    system = value_of(fields, "system")
    messages = [{"role": "system", "content": system}] if system else []
    for one in given:
        messages += _turns(one)
    options: dict[str, Any] = {name: value for name in ("temperature", "top_p") if (value := value_of(fields, name)) is not None}
    limit = value_of(fields, "max_tokens")
    if not counts_only and (not isinstance(limit, int) or limit < 1):
        raise HttpError(400, "invalid_request", "max_tokens must be a whole number of at least 1", param="max_tokens")
    if limit is not None:
        options["max_tokens"] = limit
    for name, word in (("stop_sequences", "stop"), ("tools", "tools")):
        value = value_of(fields, name)
        if value:
            options[word] = value
    stream = flag(fields, "stream")
    _tool_choice(fields, options)
    extra = rest_of(fields, without=() if is_own else ALONE)
    if extra:
        options["extra"] = extra
    return MessagesAsked(model, messages, options, stream)


def _turns(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """A turn as messages: each tool's result is one of its own."""
    content = turn.get("content")
    if not isinstance(content, list) or turn.get("role") != "user":
        return [turn]
    results = [block for block in content if isinstance(block, dict) and block.get("type") == "tool_result"]
    rest = [block for block in content if block not in results]
    found = [
        {
            "role": "tool",
            "content": block.get("content") or "",
            "tool_call_id": block.get("tool_use_id"),
            "is_error": block.get("is_error", False),
            "cache": bool(block.get("cache_control")),
        }
        for block in results
    ]
    return [*found, {"role": "user", "content": rest}] if rest or not found else found


def _tool_choice(fields: Fields, options: dict[str, Any]) -> None:
    choice = value_of(fields, "tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "tool" and isinstance(choice.get("name"), str):
        options["tool_choice"] = choice["name"]
    elif kind in CHOICES:
        options["tool_choice"] = CHOICES[kind]
    else:
        raise HttpError(400, "invalid_request", "tool_choice is an object of type auto, any, tool or none", param="tool_choice")
    if choice.get("disable_parallel_tool_use") is not None:
        options["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]


def message_body(reply: ChatReply, model: str) -> bytes:
    """The body of a whole answer: the server's own where it spoke this protocol, else one in its words."""
    if reply.raw_json and object_type(reply.raw_json).type == "message":
        return reply.raw_json
    content: list[dict[str, Any]] = []
    if reply.reasoning and reply.signature:
        content.append({"type": "thinking", "thinking": reply.reasoning, "signature": reply.signature})
    if reply.text or not reply.tool_calls:
        content.append({"type": "text", "text": reply.text})
    for call in reply.tool_calls:
        if call.error:
            raise HttpError(502, "upstream_malformed_reply", f"the model called the tool {call.name!r} with arguments that are no JSON")
        content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed()})
    return msgspec.json.encode({
        "id": _new_id(), "type": "message", "role": "assistant", "model": reply.model or model, "content": content,
        "stop_reason": FINISH[reply.finish_reason], "stop_sequence": None, "usage": _usage(reply.usage),
    })  # fmt: skip


def _usage(usage: Usage) -> dict[str, int]:
    """Tokens in Anthropic's words: its input does not hold what the cache read or wrote."""
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
    }


def _new_id() -> str:
    return f"msg_{secrets.token_hex(12)}"


def named_event(data: bytes, name: str) -> bytes:
    """An event with its name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


class MessageWriter:
    """Deltas as the events of one streamed message."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._verbatim: bool | None = None
        self._open = ""  # the kind of block under way
        self._index = -1
        self._calls: dict[int, int] = {}  # of ours -> of a block
        self._began = False
        self._is_over = False
        self._usage = Usage()

    def write(self, delta: Delta) -> bytes:
        """The events of a delta."""
        if self._verbatim is None:
            self._verbatim = bool(delta.events) and event_type(delta.events[0]).startswith("message_")
        if self._verbatim:
            return b"".join(map(self._own, delta.events))
        self._usage = delta.usage or self._usage
        self._model = delta.model or self._model
        out: list[bytes] = []
        if not self._began:
            self._began = True
            start: dict[str, Any] = {
                "id": _new_id(), "type": "message", "role": "assistant", "model": self._model, "content": [], "stop_reason": None,
                "stop_sequence": None, "usage": _usage(self._usage),
            }  # fmt: skip
            out.append(_event("message_start", message=start))
        if delta.text:
            self._begin("text", {"type": "text", "text": ""}, out)
            out.append(self._piece({"type": "text_delta", "text": delta.text}))
        for piece in delta.tool_calls:
            self._call(piece, out)
        if delta.finish_reason is not None:
            self._end_block(out)
            stop = {"stop_reason": FINISH[delta.finish_reason], "stop_sequence": None}
            out.append(_event("message_delta", delta=stop, usage=_usage(self._usage)))
        return b"".join(out)

    def last(self) -> bytes:
        """The event that says that the message is whole, unless the server has said it."""
        return b"" if self._is_over else _event("message_stop")

    def _own(self, event: bytes) -> bytes:
        kind = event_type(event)
        self._is_over = self._is_over or kind == "message_stop"
        return named_event(event, kind)

    def _call(self, piece: ToolCallDelta, out: list[bytes]) -> None:
        if piece.index not in self._calls:
            self._begin(f"call {piece.index}", {"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}}, out)
            self._calls[piece.index] = self._index
        if piece.arguments:
            data = {"type": "input_json_delta", "partial_json": piece.arguments}
            out.append(_event("content_block_delta", index=self._calls[piece.index], delta=data))

    def _begin(self, kind: str, block: dict[str, Any], out: list[bytes]) -> None:
        if self._open == kind:
            return
        self._end_block(out)
        self._open = kind
        self._index += 1
        out.append(_event("content_block_start", index=self._index, content_block=block))

    def _piece(self, data: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=data)

    def _end_block(self, out: list[bytes]) -> None:
        if self._open:
            out.append(_event("content_block_stop", index=self._index))
        self._open = ""


def _event(kind: str, **fields: Any) -> bytes:
    return named_event(msgspec.json.encode({"type": kind, **fields}), kind)


def broken_event(error: HttpError, request_id: str) -> bytes:
    """What a stream that broke off ends with."""
    return named_event(error.anthropic(request_id), "error")
