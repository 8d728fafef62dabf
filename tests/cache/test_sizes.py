"""sizes: what an answer takes in memory."""

from __future__ import annotations

import pytest

from surefoot.cache.sizes import RECORD_BYTES, size_bytes_of
from surefoot.types import ChatReply, CitedSource, Text, ToolCall

LONG = "x" * 100_000


@pytest.mark.parametrize(
    "reply",
    [
        ChatReply(text=LONG),
        ChatReply(reasoning=LONG),
        ChatReply(signature=LONG),
        ChatReply(raw_json=LONG.encode()),
        ChatReply(text="a", tool_calls=(ToolCall(id="1", name="f", arguments=LONG),)),
        ChatReply(text="a", content=(Text(LONG),)),
        ChatReply(text="a", citations=(CitedSource(text=LONG),)),
    ],
)
def test_long_text_is_counted_wherever_it_stands(reply):
    """A cache bounded in bytes must not hold a hundred times its bound, because thoughts or a vendor's own JSON were overlooked."""
    assert len(LONG) < size_bytes_of(reply) < len(LONG) + 4 * RECORD_BYTES


def test_each_part_counts_as_a_record():
    """Ten thousand empty parts take memory, too."""
    assert size_bytes_of(ChatReply(content=(Text("a"),) * 50)) > 50 * RECORD_BYTES
