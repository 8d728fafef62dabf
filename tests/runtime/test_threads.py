"""Blocking work in worker threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from surefoot import runtime
from surefoot.runtime._threads import Threads
from tests.loops import QUIET, WAIT_S, asked_by, heard, identity, own_home  # noqa: F401 - a fixture

pytestmark = pytest.mark.filterwarnings(*QUIET)


async def test_blocking_work_runs_off_the_loop_in_the_callers_context():
    """SQLite, models and callbacks must not block the background loop, and keep their trace parents."""
    asked_by.set("a loop")

    def block(word: str, *, mark: str) -> tuple[int, str]:
        return threading.get_ident(), f"{word} {asked_by.get()}{mark}"

    async def at_home() -> tuple[int, str]:
        return await runtime.in_thread(block, "by", mark="!")

    thread, said = await runtime.arun(at_home())
    home_thread, _ = await runtime.arun(identity())
    assert said == "by a loop!"
    assert thread not in {home_thread, threading.get_ident()}


async def test_errors_of_blocking_work_reach_who_awaits_it():
    """StopIteration is the odd one: a future refuses to carry it."""

    def stop() -> None:
        raise StopIteration

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await runtime.in_thread(fail)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await runtime.in_thread(stop)


async def test_cancelling_blocking_work_returns_at_once_and_drops_what_has_not_begun(monkeypatch):
    """A deadline must not wait for a disk; and what nobody waits for need not be done."""
    monkeypatch.setattr(runtime._process, "threads", Threads(limit=1))
    begun, go_on, did = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        go_on.wait(WAIT_S)
        did.append("first")

    running = asyncio.create_task(runtime.in_thread(first))
    queued = asyncio.create_task(runtime.in_thread(did.append, "second"))
    await heard(begun)
    for task in (running, queued):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert did == []
    go_on.set()
    await runtime.in_thread(did.append, "third")
    assert did == ["first", "third"]


def test_workers_that_wait_for_other_work_are_replaced(monkeypatch):
    """A subscriber in a worker thread may make a sync call; sixteen of them must not starve the calls they wait for."""
    threads = Threads(limit=1)
    monkeypatch.setattr(runtime._process, "threads", threads)

    def nest(depth: int) -> int:
        return 1 + runtime.run(runtime.in_thread(nest, depth - 1)) if depth else 0

    assert runtime.run(runtime.in_thread(nest, 5)) == 5
    assert threads._limit == 1
