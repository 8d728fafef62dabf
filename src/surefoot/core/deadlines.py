"""Await something, but not beyond a point in time: the timer under `deadline` and `timeout`.

No task of its own, no context manager, and for most calls no timer of the loop's either (`surefoot.timers`). Every cancel of ours is taken
back on every exit, so a caller's TaskGroup or timeout never sees it.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.core.stream import READ_FIRST_S, STOOD_STILL_S, Outcome, Stream
from surefoot.errors import SurefootError
from surefoot.runtime.timers import TimerQueue
from surefoot.types import Call

TIMED_OUT = "surefoot: the time is over"  # the message of a cancellation by a timer, for whoever has to tell it from a caller's

R = TypeVar("R")


def deadline_of(call: Call[Any]) -> float | None:
    """The loop time by which `call` must be over; None for never.

    Later than `call.deadline` when callers with more time have joined it (coalesce puts theirs into `state.deadline_at`).
    """
    expires_at = call.state.deadline_at
    if call.deadline is None or expires_at is None:
        return call.deadline
    return None if expires_at == math.inf else expires_at


class CancelScope(Struct, Documented, eq=False):
    """A timer that cancels the task that waits for the answer or, once there is a stream, fails the stream.

    The failure is `why(call, delay_s, target)`, made when it happens: its message may tell what happened meanwhile.
    """

    expires_at: float
    """When it fires: a moment of the loop's clock."""
    delay_s: float
    """From when it was set until then, in seconds."""
    _why: Callable[[Any, float, str], SurefootError]
    _call: Any = None
    _target: str = ""
    reads_first: bool = False
    """Whether what has arrived is read before it fires, should this process have stood still."""
    fired: bool = False
    """Whether it has cancelled its task."""
    is_over: bool = False
    """Whether it need not fire any more."""
    _task: asyncio.Task[Any] | None = None
    _cancels: int = 0
    _stream: Stream | None = None
    _context: contextvars.Context | None = None  # the caller's, in which the stream is ended
    _handle: asyncio.TimerHandle | None = None
    _queue: TimerQueue | None = None

    def __post_init__(self) -> None:
        """It is about the running task."""
        task = self._task = asyncio.current_task(None if self._call is None else self._call.state.loop)
        assert task is not None
        self._cancels = task.cancelling()

    def own_timer(self, loop: asyncio.AbstractEventLoop) -> CancelScope:
        """Set with a timer of its own."""
        self._handle = loop.call_at(self.expires_at, self.fire)
        return self

    def enqueue(self, queue: TimerQueue) -> None:
        """Set, in `queue`."""
        self._queue = queue

    def fire(self) -> None:
        """Called when the timer fires, after removal from its queue."""
        self._queue = None
        if self.is_over:
            return
        if self.reads_first and (loop := asyncio.get_running_loop()).time() - self.expires_at > STOOD_STILL_S:
            self.reads_first = False
            self._handle = loop.call_later(READ_FIRST_S, self.fire)
            return
        if self._stream is not None and self._context is not None:
            self._context.run(self._stream.fail, self._why(self._call, self.delay_s, self._target))
            return
        self.fired = True
        if self._task is not None:
            self._task.cancel(TIMED_OUT)

    def raised(self, error: BaseException) -> None:
        """No answer came but `error`. Raises the failure if that was our doing; else nothing, and `error` is to be raised again."""
        task, failure = self._task, (self._why, self._call, self.delay_s, self._target)
        self.stop()
        if not self.fired or task is None:
            return
        ours_alone = task.uncancel() <= self._cancels
        if isinstance(error, asyncio.CancelledError) and not ours_alone:
            return  # the caller gave up in the same moment: that wins
        why, *what = failure
        raise why(*what) from error

    def answered(self, value: Any, *, until_finished: bool) -> None:
        """The answer is here; if it is a stream and `until_finished`, go on until that is over, read or unread."""
        if self.fired and self._task is not None:  # it came although it was cancelled; late, but whole
            self._task.uncancel()
        if until_finished and isinstance(value, Stream):
            self._task, self._context = None, contextvars.copy_context()
            self._stream = value
            value.watch(self.stop)
        else:
            self.stop()

    def stop(self, _outcome: Outcome | None = None) -> None:
        """Nothing is left to cut off; nothing of the call is held."""
        if self.is_over:
            return
        self.is_over = True
        self._task = self._stream = self._call = self._context = None
        if self._handle is not None:
            self._handle.cancel()  # also one that is due in this very step: the loop skips it
            self._handle = None
        elif self._queue is not None:
            self._queue.count_over()
            self._queue = None


async def run_until(answer: Awaitable[R], *, expires_at: float, failure: Callable[[], SurefootError], until_finished: bool = False) -> R:
    """Await `answer`; at `expires_at` (the loop's clock) cancel it and raise `failure()` instead.

    `until_finished`: if the answer is a Stream, go on watching until it has finished, and close it with `failure()` at `expires_at` even
    when nobody is reading. A cancellation by anybody else passes through as itself.
    """
    cut = CancelScope(expires_at, 0.0, lambda *_: failure()).own_timer(asyncio.get_running_loop())
    try:
        value = await answer
    except BaseException as error:
        cut.raised(error)
        raise
    cut.answered(value, until_finished=until_finished)
    return value
