"""OpenAI's chat completions: a body as a request, a reply as a body, deltas as chunks.

What an OpenAI-speaking server said is passed on byte for byte; what came from elsewhere (another vendor, the cache) is written in the same
words. Source: the API reference, "Create chat completion", as of 2026-11.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot._documented import Documented
from surefoot.facts import protocol_of
from surefoot.gateway.errors import HttpError
from surefoot.gateway.wire.bodies import Fields, fields_of, flag, rest_of, text_field, value_of
from surefoot.gateway.wire.events import object_type
from surefoot.text import json_text
from surefoot.types import ChatReply, Delta, ToolCall, ToolCallDelta, Usage

PLAIN = ("temperature", "top_p", "seed", "reasoning_effort", "parallel_tool_calls", "stop", "tools")
LIMIT = "max_completion_tokens"  # OpenAI's own word, which other servers of its protocol may not know
# Fields that other vendors' APIs would refuse, and that change nothing of what is asked where they are left out.
OPENAI_ALONE = frozenset({
    "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "n", "user", "store", "metadata", "service_tier",
    "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "verbosity", "modalities", "prediction", "stream_options",
})  # fmt: skip
FINISH = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "content_filter": "content_filter", "refusal": "stop", "paused": "stop",
    "malformed_tool_call": "stop", "other": "stop",
}  # fmt: skip


class ChatAsked(Struct, Documented, frozen=True):
    """What a body asks."""

    model: str
    """The model's name in the configuration."""
    messages: Any
    """The conversation, as dicts that `ChatModel` reads."""
    options: dict[str, Any]
    """Options of `ChatModel.invoke`; fields that are not known are in `extra`."""
    stream: bool = False
    """The answer is wanted in pieces."""
    include_usage: bool = False
    """The stream shall end with what was used."""


def chat_asked(body: bytes) -> ChatAsked:
    """The body of POST /v1/chat/completions. Raises HttpError (400), naming the field."""
    fields = fields_of(body)
    model = text_field(fields, "model")
    messages = value_of(fields, "messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise HttpError(400, "invalid_request", "messages must be a list of objects, at least one", param="messages")
    stream = flag(fields, "stream")
    options = {name: value for name in PLAIN if (value := value_of(fields, name)) is not None}
    limit = value_of(fields, "max_tokens")
    if limit is not None:
        options["max_tokens"] = limit
    include_usage = _include_usage(fields)
    _tool_choice(fields, options)
    _response_format(fields, options)
    extra = rest_of(fields)
    if extra:
        options["extra"] = extra
    return ChatAsked(model, messages, options, stream, include_usage)


def options_for(asked: ChatAsked, targets: Sequence[str]) -> dict[str, Any]:
    """The options for such targets ("provider:model"): what another vendor's API would refuse is left out, or said in its words."""
    options = asked.options
    if "extra" not in options or {name.partition(":")[0] for name in targets} == {"openai"}:
        return options
    fields: Fields = msgspec.json.decode(options["extra"], type=Fields)
    limit = value_of(fields, LIMIT)
    speaks = {protocol_of(name) for name in targets} == {"openai"}
    extra = rest_of(fields, without=() if speaks else OPENAI_ALONE)
    found = {name: value for name, value in options.items() if name != "extra"}
    if limit is not None:
        found["max_tokens"] = limit
    return {**found, "extra": extra} if extra else found


def _include_usage(fields: Fields) -> bool:
    """Whether the client wants the usage at a stream's end; the other stream options go on as they are."""
    said = value_of(fields, "stream_options")
    if said is None:
        return False
    if not isinstance(said, dict):
        raise HttpError(400, "invalid_request", "stream_options is an object", param="stream_options")
    others = {name: value for name, value in said.items() if name != "include_usage"}
    if others:
        fields["stream_options"] = Raw(json_text(others).encode())
    return bool(said.get("include_usage"))


def _tool_choice(fields: Fields, options: dict[str, Any]) -> None:
    raw = fields.get("tool_choice")
    choice = value_of(fields, "tool_choice")
    if isinstance(choice, str):
        options["tool_choice"] = choice
    elif isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name") if isinstance(choice.get("function"), dict) else None
        if choice.get("type") == "function" and isinstance(name, str):
            options["tool_choice"] = name
        elif raw is not None:
            fields["tool_choice"] = raw  # a list of allowed tools, a custom one


def _response_format(fields: Fields, options: dict[str, Any]) -> None:
    raw = fields.get("response_format")
    shape = value_of(fields, "response_format")
    if shape is None:
        return
    if not isinstance(shape, dict) or not isinstance(shape.get("type"), str):
        raise HttpError(400, "invalid_request", "response_format is an object with a type", param="response_format")
    inner = shape.get("json_schema")
    if shape["type"] in {"json_object", "text"} or (shape["type"] == "json_schema" and isinstance(inner, dict)):
        options["schema"] = shape
        if not (isinstance(inner, dict) and set(inner) - {"name", "schema", "strict"}):
            return
    if raw is not None:
        fields["response_format"] = raw


# Answers


def completion(reply: ChatReply, model: str) -> bytes:
    """The body of a whole answer: the server's own where it spoke this protocol, else one in its words."""
    if reply.raw_json and object_type(reply.raw_json).is_chat:
        return reply.raw_json
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [_call(call) for call in reply.tool_calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH[reply.finish_reason]}
    return msgspec.json.encode({
        "id": reply.response_id or new_id(), "object": "chat.completion", "created": now_s(), "model": reply.model or model,
        "choices": [choice], "usage": usage_body(reply.usage),
    })  # fmt: skip


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}


def usage_body(usage: Usage) -> dict[str, Any]:
    """Tokens in OpenAI's words."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": usage.audio_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.audio_output_tokens},
    }


def new_id() -> str:
    """An id for an answer whose vendor's is of another kind, or that has none."""
    return f"chatcmpl-{secrets.token_hex(12)}"


def now_s() -> int:
    """Seconds since 1970, as answers say when they were made."""
    return int(time.time())  # noqa: TID251 - the wire's clock is the calendar's


DONE = b"data: [DONE]\n\n"
NO_USAGE = b',"usage":null'


class ChunkWriter:
    """Deltas as the events of one streamed answer."""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self._id = new_id()
        self._created = now_s()
        self._model = model
        self._include_usage = include_usage
        self._began = False
        self._usage: Usage | None = None
        self._verbatim: bool | None = None  # whether the server speaks this protocol; known with the first delta

    def write(self, delta: Delta) -> bytes:
        """The events of a delta: the server's own, where it spoke this protocol; "" where there is nothing to tell."""
        if self._verbatim is None:
            self._verbatim = bool(delta.events) and object_type(delta.events[0]).is_chat
        if self._verbatim:
            return b"".join(map(self._own, delta.events))
        self._model = delta.model or self._model
        self._usage = delta.usage or self._usage
        if delta.end is not None and delta.end.response_id.startswith("chatcmpl"):
            self._id = delta.end.response_id
        said: dict[str, Any] = {}
        if delta.text:
            said["content"] = delta.text
        if delta.reasoning:
            said["reasoning_content"] = delta.reasoning
        if delta.tool_calls and (calls := [found for piece in delta.tool_calls if (found := _piece(piece))]):
            said["tool_calls"] = calls
        chunks = b""
        if not self._began and (said or delta.finish_reason):
            self._began = True
            said = {"role": "assistant", "content": "", **said}
        if said:
            chunks += self._chunk([{"index": 0, "delta": said, "logprobs": None, "finish_reason": None}])
        if delta.finish_reason is not None:
            chunks += self._chunk([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": FINISH[delta.finish_reason]}])
            if self._include_usage:
                chunks += self._chunk([], usage=usage_body(self._usage or Usage()))
        return chunks

    def _own(self, event: bytes) -> bytes:
        if not self._include_usage and b'"usage"' in event:
            event = event.replace(NO_USAGE, b"")
            if b'"usage"' in event:
                event = _without_usage(event)
                if not event:
                    return b""
        return b"data: %b\n\n" % event

    def _chunk(self, choices: list[Any], usage: Any = None) -> bytes:
        body: dict[str, Any] = {
            "id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model, "choices": choices,
        }  # fmt: skip
        if usage is not None:
            body["usage"] = usage
        return b"data: %b\n\n" % msgspec.json.encode(body)


def _without_usage(event: bytes) -> bytes:
    """b"" for a chunk of nothing but usage, for which its client did not ask; usage beside words is the server's own way, and stays."""
    try:
        fields = fields_of(event)
    except HttpError:
        return event
    return b"" if bytes(fields.get("choices", b"")) == b"[]" and bytes(fields.get("usage", b"null")) != b"null" else event


def _piece(piece: ToolCallDelta) -> dict[str, Any]:
    """A piece of a tool call; empty where it says only what this protocol has no word for."""
    function: dict[str, Any] = {"name": piece.name} if piece.name else {}
    if piece.arguments or piece.name:
        function["arguments"] = piece.arguments
    if not function and not piece.id:
        return {}
    found: dict[str, Any] = {"index": piece.index, "function": function}
    return {**found, "id": piece.id, "type": "function"} if piece.id else found
