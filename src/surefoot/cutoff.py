"""Await something, but not beyond a moment: the timer under `deadline` and `timeout`.

No task of its own, no context manager, and for most calls no timer of the loop's either (`surefoot.lines`). Every cancel of ours is taken
back on every exit, so a caller's TaskGroup or timeout never sees it.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from surefoot.errors import SurefootError
from surefoot.lines import Line
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


class Cut:
    """A moment that either cancels the task that waits for the answer or, once there is a stream, fails the stream.

    The failure is `why(call, seconds, target)`, made when it happens: its message may tell what happened meanwhile.
    """

    __slots__ = (
        "_call", "_cancels", "_context", "_handle", "_line", "_stream", "_target", "_task", "_why", "fired", "is_over", "moment", "seconds",
    )  # fmt: skip

    def __init__(
        self, moment: float, seconds: float, why: Callable[[Any, float, str], SurefootError], call: Any = None, target: str = ""
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.moment = moment
        self.seconds = seconds
        self._why = why
        self._call = call
        self._target = target
        self._task: asyncio.Task[Any] | None = task
        self._cancels = task.cancelling()
        self._stream: Stream | None = None
        self._context: contextvars.Context | None = None  # the caller's, in which his stream is ended
        self._handle: asyncio.TimerHandle | None = None
        self._line: Line | None = None
        self.fired = False
        self.is_over = False

    def alone(self, loop: asyncio.AbstractEventLoop) -> Cut:
        """Set, with a timer of its own."""
        self._handle = loop.call_at(self.moment, self.come)
        return self

    def stand(self, line: Line) -> None:
        """Set, in `line`."""
        self._line = line

    def come(self) -> None:
        """The moment is here; a line has let go of it."""
        self._line = None
        if self.is_over:
            return
        if self._stream is not None and self._context is not None:
            self._context.run(self._stream.fail, self._why(self._call, self.seconds, self._target))
            return
        self.fired = True
        if self._task is not None:
            self._task.cancel()

    def raised(self, error: BaseException) -> None:
        """No answer came but `error`. Raises the failure if that was our doing; else nothing, and `error` is to be raised again."""
        task, failure = self._task, (self._why, self._call, self.seconds, self._target)
        self.stop()
        if not self.fired or task is None:
            return
        ours_alone = task.uncancel() <= self._cancels
        if isinstance(error, asyncio.CancelledError) and not ours_alone:
            return  # the caller gave up in the same moment: that wins
        why, *what = failure
        raise why(*what) from error

    def answered(self, value: Any, *, settled: bool) -> None:
        """The answer is here; if it is a stream and `settled`, go on until that is over, read or unread."""
        if self.fired and self._task is not None:  # it came although it was cancelled; late, but whole
            self._task.uncancel()
        if settled and isinstance(value, Stream):
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
        elif self._line is not None:
            self._line.one_is_over()
            self._line = None


async def cutoff(answer: Awaitable[R], *, moment: float, failure: Callable[[], SurefootError], settled: bool = False) -> R:
    """Await `answer`; at `moment` (the loop's clock) cancel it and raise `failure()` instead.

    `settled`: if the answer is a Stream, go on watching until it is settled, and close it with `failure()` at `moment` even when nobody
    is reading. A cancellation by anybody else passes through as itself.
    """
    cut = Cut(moment, 0.0, lambda *_: failure()).alone(asyncio.get_running_loop())
    try:
        value = await answer
    except BaseException as error:
        cut.raised(error)
        raise
    cut.answered(value, settled=settled)
    return value
