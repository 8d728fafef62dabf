"""Loops that end, and processes that fork, through every provider's real client: nothing is sent twice, no loop is found closed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from surefoot.testing.wire import SimProcess

ROOT = Path(__file__).parent.parent.parent.parent
VENDORS = {"openai": ("openai:gpt-4.1", "/v1"), "anthropic": ("anthropic:claude-haiku-4-5", ""), "google": ("google:gemini-3-flash", "")}

HEAD = """
import asyncio, os, sys, threading, traceback, warnings
warnings.simplefilter("error", ResourceWarning)
from surefoot import ChatModel, Target, runtime
name, url, lane = sys.argv[1:4]
chat = ChatModel(Target(name, base_url=url, api_key="k", lane=lane))

async def ask(word):
    whole = (await chat.ainvoke(f"whole {word}")).text
    streamed = "".join([delta.text async for delta in chat.astream(f"streamed {word}")])
    assert f"whole {word}" in whole and f"streamed {word}" in streamed, (whole, streamed)
"""
LIVES = """
async def served(word):
    runtime.adopt()
    await ask(word)

for life in range(3):  # each its own home: 6 calls
    asyncio.run(served(f"in adopted life {life}"))

async def left():
    runtime.adopt()
    await ask("before")
    asyncio.get_running_loop().create_task(chat.ainvoke("never awaited"))
    await asyncio.sleep(0)

asyncio.run(left())  # closed with a call in flight: 2 calls, and one that may have gone out
for life in range(3):  # callers' loops come and go, the background loop stays: 6 calls
    asyncio.run(ask(f"in life {life}"))
assert chat.invoke("sync").text  # 1 call
thread = threading.Thread(target=lambda: asyncio.run(ask("in a thread")))
thread.start()  # 2 calls
thread.join()
child = os.fork()
if child == 0:  # with open connections and a home of the parent's: 2 calls
    try:
        asyncio.run(ask("in the child"))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, "the child failed"
asyncio.run(ask("in the parent again"))  # 2 calls
"""
CALLS = 21


@pytest.fixture(scope="module", params=VENDORS)
def served(request) -> Iterator[tuple[str, SimProcess]]:
    with SimProcess(request.param) as sim:
        yield request.param, sim


@pytest.mark.parametrize("lane", ["sdk", "direct"])
def test_every_life_of_a_process_is_served(served, lane):
    """Three loops in a row, a closed loop, a thread, a fork: each call is answered, each sent once, and nobody speaks of a closed loop."""
    vendor, sim = served
    name, path = VENDORS[vendor]
    sim.reset()
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", HEAD + LIVES, name, sim.url + path, lane],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=300,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    for word in ("Event loop is closed", "never retrieved", "Unclosed", "ResourceWarning", "Traceback"):
        assert word not in said, said
    sent = sim.stats()["requests"]
    assert sent in {CALLS, CALLS + 1}, f"{sent} requests for {CALLS} calls and one that was left behind"
