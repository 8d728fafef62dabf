"""What the tests of the background loop share: a home per test that nothing may leak on, and things to wait for without sleeping."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from surefoot import runtime

WAIT_S = 20  # an upper bound for what takes milliseconds: a hang must fail, not hang the suite
CLOSING_S = 20.0  # closing takes milliseconds, on a machine at a load of 20 seconds; a task that stays longer has been left behind

# A coroutine never awaited is a call lost; it is reported from a destructor, hence the second.
QUIET = ("error::RuntimeWarning", "error::pytest.PytestUnraisableExceptionWarning")

asked_by: contextvars.ContextVar[str] = contextvars.ContextVar("asked_by", default="nobody")


@pytest.fixture(autouse=True)
def own_home() -> Iterator[None]:
    """Each test its own home; none may leave a task or a crossing on it."""
    runtime.reset_for_tests()
    yield
    current = runtime._process.home
    if current is not None and not current.adopted:
        assert runtime.run(tasks_at_home()) == []
        assert current.crossings == set()
    runtime.reset_for_tests()


async def tasks_at_home() -> list[str]:
    """All tasks on the background loop but the one that asks; those that close a collected model's connections are given time to end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, others = await asyncio.wait(others, timeout=CLOSING_S)
    return [repr(task) for task in others]


async def nothing() -> None:
    """A call that does nothing."""


async def identity() -> tuple[int, int]:
    """The thread and the task a call runs in."""
    return threading.get_ident(), id(asyncio.current_task())


def in_a_thread(work: Callable[[], object]) -> threading.Thread:
    """Start `work` in a thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ended(*threads: threading.Thread) -> bool:
    """All threads ended, in time."""
    for thread in threads:
        thread.join(WAIT_S)
    return not any(thread.is_alive() for thread in threads)


async def heard(event: threading.Event) -> None:
    """Wait for a thread's event without blocking the loop."""
    assert await asyncio.to_thread(event.wait, WAIT_S)


@contextmanager
def home_busy() -> Iterator[None]:
    """The background loop is held up: what is posted inside this block is taken up after it, all at once."""
    held, go_on = threading.Event(), threading.Event()

    async def hold_up() -> None:
        held.set()
        go_on.wait(WAIT_S)

    holder = in_a_thread(lambda: runtime.run(hold_up()))
    assert held.wait(WAIT_S)
    yield
    go_on.set()
    assert ended(holder)


def settle_at_home() -> None:
    """Let the background loop run until nothing on it can go on by itself. Blocks the calling loop, which hears no news meanwhile."""
    for _ in range(400):
        runtime.run(asyncio.sleep(0))


class Hanging:
    """A call that hangs until cancelled, then cleans up when it may, and tells of each thing that happens to it."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.cleaning = threading.Event()
        self.may_clean = threading.Event()
        self.cancels = 0
        self.over = False

    async def __call__(self) -> None:
        try:
            self.begun.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancels += 1
            self.cleaning.set()
            try:
                await asyncio.to_thread(self.may_clean.wait, WAIT_S)
            except asyncio.CancelledError:
                self.cancels += 1
            raise
        finally:
            self.over = True


class Feed:
    """A stream on the background loop: yields `count` numbers (for ever if None), then `failure` or the end.

    Hangs before number `hang_at`.
    """

    def __init__(self, count: int | None = None, *, failure: Exception | None = None, hang_at: int | None = None) -> None:
        self.count = count
        self.failure = failure
        self.hang_at = hang_at
        self.asked = 0
        self.waiting = False  # for the provider: what a silence timer would count
        self.closes = 0
        self.cancels = 0
        self.hanging = threading.Event()
        self.closed = threading.Event()
        self.tasks: set[asyncio.Task[object] | None] = set()
        self.close_failure: Exception | None = None
        self.on_item: Callable[[int], None] = lambda _number: None

    async def opened(self) -> Feed:
        self.tasks.add(asyncio.current_task())
        return self

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> int:
        self.tasks.add(asyncio.current_task())
        number, self.asked, self.waiting = self.asked, self.asked + 1, True
        try:
            if number == self.hang_at:
                self.hanging.set()
                await asyncio.get_running_loop().create_future()
            if number == self.count:
                raise self.failure or StopAsyncIteration
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancels += 1
            raise
        finally:
            self.waiting = False
        self.on_item(number)
        return number

    async def aclose(self) -> None:
        self.tasks.add(asyncio.current_task())
        await asyncio.sleep(0)
        self.closes += 1
        self.closed.set()
        if self.close_failure is not None:
            raise self.close_failure
