"""OpenAI's Responses API, passed through: the body goes on field by field, the answer comes back as it was said.

Only targets that speak this API are asked; its stateful and built-in parts have no counterpart at other vendors. Source: the API reference,
"Create a model response", as of 2026-11.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.core.content import RESPONSES
from surefoot.errors import MalformedReply
from surefoot.gateway.errors import HttpError
from surefoot.gateway.wire.anthropic_messages import named_event
from surefoot.gateway.wire.bodies import fields_of, flag, rest_of, text_field, value_of
from surefoot.gateway.wire.events import event_type, object_type
from surefoot.types import ChatReply, Delta, Message, Text

PROMPT = ("input", "instructions", "tools")  # what the model reads, for the estimate of its tokens
UNTAKEN = frozenset({"background", "conversation", "stream_options"})  # they would outlive the call, or change the events that end it


class ResponsesAsked(Struct, Documented, frozen=True):
    """What a body asks."""

    model: str
    """The model's name in the configuration."""
    messages: list[Message]
    """What the model reads, as one text: for its length alone. What is sent is in `options["extra"]`."""
    options: dict[str, Any]
    """Options of `ChatModel.invoke`."""
    stream: bool = False
    """The answer is wanted in pieces."""


def responses_asked(body: bytes) -> ResponsesAsked:
    """The body of POST /v1/responses. Raises HttpError (400), naming the field."""
    fields = fields_of(body)
    model = text_field(fields, "model")
    stream = flag(fields, "stream")
    if "input" not in fields and "prompt" not in fields:
        raise HttpError(400, "invalid_request", "input is missing", param="input")
    for name in UNTAKEN & fields.keys():
        if bytes(fields[name]) not in {b"null", b"false"}:
            raise HttpError(400, "unsupported", f"{name} is not served here", param=name)
    options: dict[str, Any] = {}
    limit = value_of(fields, "max_output_tokens")
    if limit is not None:
        options["max_tokens"] = limit
    read = b"\n".join(bytes(fields[name]) for name in PROMPT if name in fields).decode("utf-8", "replace")
    store = fields.get("store")
    extra = rest_of(fields)
    if store is None:
        extra = f'{{"store":true,{extra[1:]}'  # the API's own default, which the library's is not
    options["extra"] = extra
    return ResponsesAsked(model, [Message(role="user", content=(Text(read, vendor=RESPONSES),))], options, stream)


def response_body(reply: ChatReply) -> bytes:
    """The body of a whole answer. Raises MalformedReply for one that is in other words."""
    if object_type(reply.raw_json).object != "response":
        raise MalformedReply(f"{reply.target} did not answer in the Responses API", target=reply.target)
    return reply.raw_json


def response_events(delta: Delta) -> bytes:
    """The events of a delta, as they came."""
    return b"".join(named_event(one, event_type(one)) for one in delta.events)
