"""What was promised of the cache, in figures: one upstream call for a thousand.

What a hit costs is told by  python -m surefoot_eval bench cache.
"""

from __future__ import annotations

import asyncio

import pytest

from surefoot import ChatModel
from surefoot.testing import Scripted

pytestmark = pytest.mark.figures


@pytest.mark.parametrize("cache", ["memory", "sqlite"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_thousand_identical_calls_ask_once(cache, stream, tmp_path):
    """In one process, all at once, as the public models build the layers; a second thousand asks nobody."""
    provider = Scripted("one two three", latency_s=0.3)
    chat = ChatModel(provider, cache=cache if cache == "memory" else f"sqlite:{tmp_path}/c.db")

    async def ask():
        if not stream:
            return (await chat.ainvoke("What is asked by all?")).text
        return "".join([delta.text async for delta in chat.astream("What is asked by all?")])

    async def thousand():
        return await asyncio.gather(*(ask() for _ in range(1000)))

    for _ in range(2):
        assert set(asyncio.run(thousand())) == {"one two three"}
    print(f"{cache}: 2,000 identical calls, {provider.calls} upstream")
    assert provider.calls == 1
    chat.close()
