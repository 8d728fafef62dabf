"""streams: what `astream` and `stream` give, and what is left when a reader walks away."""

from __future__ import annotations

import asyncio
import gc

import pytest

from surefoot import ChatModel, runtime
from surefoot.testing import Scripted
from tests.loops import own_home  # noqa: F401 - a fixture

WORDS = "one two three four five six"


async def _left_after(deltas: int, chat: ChatModel) -> None:
    """Read so many deltas, and let go of the stream without closing it."""
    stream = chat.astream("count")
    for _ in range(deltas):
        await stream.__anext__()


@pytest.mark.parametrize("adopted", [True, False], ids=["on the background loop", "across"])
@pytest.mark.parametrize("deltas", [1, 3])
async def test_a_stream_that_is_dropped_gives_everything_back(adopted, deltas):
    """`break` out of `async for` closes nothing: its place and its connection would be held for as long as the process lives."""
    if adopted:
        runtime.adopt()
    provider = Scripted(WORDS, delta_gap_s=0.01, times=20)
    chat = ChatModel(provider)
    try:
        for _ in range(20):
            await _left_after(deltas, chat)
        gc.collect()
        place = chat._stack._endpoints[0].concurrency
        for _ in range(1000):
            if place.idle() and provider.closed == 20:
                break
            await asyncio.sleep(0.01)
        assert (place.in_flight, provider.closed) == (0, 20)
    finally:
        await chat.aclose()


async def test_a_stream_that_was_read_to_its_end_is_not_closed_twice():
    """Its connection may serve the next call already."""
    runtime.adopt()
    provider = Scripted(WORDS)
    async with ChatModel(provider) as chat:
        stream = chat.astream("count")
        assert "".join([delta.text async for delta in stream]) == WORDS
        assert stream.reply is not None
        del stream
        gc.collect()
        await asyncio.sleep(0)
        assert provider.closed <= 1
