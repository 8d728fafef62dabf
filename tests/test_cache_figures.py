"""What was promised of the cache, in figures: CPU of a hit, one upstream call for a thousand. Each prints what it measured."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot import ChatModel
from surefoot.testing import Scripted

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.figures


def measured(subject):
    """The benchmark's own figures for one subject, the best of three runs: other work on the machine only adds."""
    command = [sys.executable, "-m", "eval.bench.cache", "--subject", subject]
    runs = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout) for _ in range(3)]
    return {key: min(run[key] for run in runs) for key in runs[0]}


def test_a_memory_hit_costs_at_most_20_us_and_3_per_1000_characters():
    """Through ChatModel.ainvoke on an adopted home loop."""
    us = measured("surefoot memory, in-loop")
    print(f"memory hit, CPU-us by characters of prompt: {us}")
    for size in (20, 1_000, 16_000):
        assert us[str(size)] <= 20 + 3 * size / 1000


def test_an_sqlite_hit_costs_at_most_300_us():
    """Through ChatModel.ainvoke, threads included."""
    us = measured("surefoot SQLite, in-loop")
    print(f"SQLite hit, CPU-us by characters of prompt: {us}")
    assert max(us[str(size)] for size in (20, 1_000, 16_000)) <= 300


@pytest.mark.parametrize("cache", ["memory", "sqlite"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_thousand_identical_calls_ask_once(cache, stream, tmp_path):
    """In one process, all at once, as the front door builds the rooms; a second thousand asks nobody."""
    edge = Scripted("one two three", latency_s=0.3)
    chat = ChatModel(edge, cache=cache if cache == "memory" else f"sqlite:{tmp_path}/c.db")

    async def ask():
        if not stream:
            return (await chat.ainvoke("What is asked by all?")).text
        return "".join([delta.text async for delta in chat.astream("What is asked by all?")])

    async def thousand():
        return await asyncio.gather(*(ask() for _ in range(1000)))

    for _ in range(2):
        assert set(asyncio.run(thousand())) == {"one two three"}
    print(f"{cache}: 2,000 identical calls, {edge.calls} upstream")
    assert edge.calls == 1
    chat.close()
