"""Whose words a body or an event is in: OpenAI's chat, its Responses API, Anthropic's messages."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct


class _WireKind(Struct):
    type: str = ""
    object: str = ""
    choices: list[Raw] | None = None

    @property
    def is_chat(self) -> bool:
        """It is in OpenAI's chat's words; some servers leave the name of the object out."""
        return self.choices is not None and not self.type


_decoder = msgspec.json.Decoder(_WireKind)
UNKNOWN = _WireKind()


def object_type(body: bytes) -> _WireKind:
    """What a body says of its kind; empty where it says nothing."""
    try:
        return _decoder.decode(body)
    except (ValueError, RecursionError):
        return UNKNOWN


def event_type(event: bytes) -> str:
    """The `type` of an event, or else its `object`; "" where it has neither."""
    found = object_type(event)
    return found.type or found.object
