"""What an answer takes in memory, for caches that are bounded in bytes."""

from __future__ import annotations

from operator import attrgetter
from sys import getsizeof

from msgspec.structs import fields

from surefoot.types import ChatReply

RECORD_BYTES = 400  # a reply's record, or a tool call's, with its usage and short names

_texts_of = attrgetter(*(field.name for field in fields(ChatReply) if field.type in {str, bytes}))


def size_bytes_of(reply: ChatReply) -> int:
    """What `reply` takes in memory, about: its texts, and a record for each part."""
    size = RECORD_BYTES + sum(map(getsizeof, _texts_of(reply)))
    records = (*reply.tool_calls, *reply.content, *reply.citations)
    if records or reply.logprobs:
        texts = [one for record in records for name in record.__struct_fields__ if isinstance(one := getattr(record, name), str | bytes)]
        size += RECORD_BYTES * (len(records) + len(reply.logprobs)) + sum(map(getsizeof, texts))
    return size
