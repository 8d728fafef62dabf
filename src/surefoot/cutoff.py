"""Await something, but not beyond a moment: the timer under `deadline` and `timeout`.

One `loop.call_at` handle and no task of its own: `asyncio.timeout` costs a context manager, a reschedule and a second frame for the
same thing. Every cancel of ours is taken back on every exit, so a caller's TaskGroup or timeout never sees it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from surefoot.errors import SurefootError
from surefoot.settle import Outcome, Stream
from surefoot.types import Call

R = TypeVar("R")


def deadline_of(call: Call[Any]) -> float | None:
    """The moment by which `call` must be over; None for never.

    Later than `call.deadline` when callers with more time have joined it (coalesce puts theirs into `tally.memo["deadline"]`).
    """
    if call.deadline is None or not call.tally.memo:
        return call.deadline
    moment: float = call.tally.memo.get("deadline", call.deadline)
    return None if moment == math.inf else moment


class _Timer:
    """A moment that either cancels the task that waits for the answer or, once there is a stream, fails the stream."""

    __slots__ = ("_failure", "_stream", "_task", "fired", "handle")

    def __init__(self, task: asyncio.Task[Any], failure: Callable[[], SurefootError]) -> None:
        self._task = task
        self._failure = failure
        self._stream: Stream | None = None
        self.fired = False
        self.handle: asyncio.TimerHandle | None = None

    def fire(self) -> None:
        """The moment has come."""
        if self._stream is not None:
            self._stream.fail(self._failure())
            return
        self.fired = True
        self._task.cancel()

    def follow(self, stream: Stream) -> None:
        """From now on fail `stream`, read or unread, until it is settled."""
        self._stream = stream
        stream.watch(self.stop)

    def stop(self, _outcome: Outcome | None = None) -> None:
        """Nothing is left to cut off."""
        if self.handle is not None:
            self.handle.cancel()  # also one that is due in this very step: the loop skips it
            self.handle = None  # a cancelled handle stays in the loop's heap until its time; it must not hold the call


async def cutoff(answer: Awaitable[R], *, moment: float, failure: Callable[[], SurefootError], settled: bool = False) -> R:
    """Await `answer`; at `moment` (the loop's clock) cancel it and raise `failure()` instead.

    `settled`: if the answer is a Stream, go on watching until it is settled, and close it with `failure()` at `moment` even when nobody
    is reading. A cancellation by anybody else passes through as itself.
    """
    task = asyncio.current_task()
    assert task is not None
    cancels = task.cancelling()
    timer = _Timer(task, failure)
    timer.handle = asyncio.get_running_loop().call_at(moment, timer.fire)
    try:
        value = await answer
    except BaseException as error:
        timer.stop()
        if not timer.fired:
            raise
        ours_alone = task.uncancel() <= cancels
        if isinstance(error, asyncio.CancelledError) and not ours_alone:
            raise  # the caller gave up in the same moment: that wins
        raise failure() from error
    if timer.fired:  # the answer came although it was cancelled; late, but whole
        task.uncancel()
    if settled and isinstance(value, Stream):
        timer.follow(value)
    else:
        timer.stop()
    return value
