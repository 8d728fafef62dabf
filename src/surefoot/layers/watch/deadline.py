"""One deadline over everything: queueing, retries, fallbacks, hedges and the stream.

A deadline per attempt multiplies (3 attempts of 600 s are half an hour); gRPC, Envoy and the SRE book all span the whole call. It
travels in the Call, so whoever waits inside knows how long waiting can help. It starts when the caller asks: a call that reached a busy
background loop late has less time left there.
"""

from __future__ import annotations

import math
import time
from typing import Any

from msgspec.structs import replace

from surefoot.core.deadlines import CancelScope
from surefoot.core.stack import Handler
from surefoot.errors import DeadlineExceeded, DeadlineTooNear, SurefootError
from surefoot.runtime.timers import TimerQueues
from surefoot.settings import DEFAULTS
from surefoot.types import Call
from surefoot.types.calls import loop_of


class Deadline:
    """Ends the call at its deadline: `Deadline(deadline_s=60)`, None is none; a call's own `deadline_s` goes first, infinity is none.

    Raises DeadlineTooNear if nothing had been sent by then, DeadlineExceeded otherwise; a stream under way is closed with it, also when
    nobody reads it. No task, no lock, and one timer for a whole line of calls.
    """

    def __init__(self, *, deadline_s: float | None = DEFAULTS.deadline_s) -> None:
        self.deadline_s = deadline_s
        self._timers = TimerQueues()

    def describe(self) -> str:
        """The setting, for `describe()`."""
        return "deadline: none" if self.deadline_s is None else f"deadline: {self.deadline_s:g} s over the whole call"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask with `call.deadline` set."""
        seconds = self.deadline_s if call.deadline_s is None else call.deadline_s
        if seconds == math.inf:
            seconds = None
        if seconds is None and call.deadline is None:
            return await inner(call)
        loop = loop_of(call)
        now = loop.time()
        late_s = 0.0 if call.state.asked_s is None else max(0.0, time.monotonic() - call.state.asked_s)
        expires_at = _earlier(None if seconds is None else now + seconds - late_s, call.deadline)
        if expires_at <= now:
            raise DeadlineTooNear(f"the deadline of {expires_at - now + late_s:g} s leaves no time to ask; nothing was sent")

        scope = CancelScope(expires_at, expires_at - now + late_s, _passed, call)
        self._timers.put(scope, loop)
        try:
            answer = await inner(replace(call, deadline=expires_at))
        except BaseException as error:
            scope.raised(error)
            raise
        scope.answered(answer, until_finished=True)
        return answer


def _earlier(one: float | None, other: float | None) -> float:
    """The earlier of two moments, of which one may be missing."""
    if one is None or other is None:
        return one if one is not None else other or 0.0
    return min(one, other)


def _passed(call: Call[Any], seconds: float, _target: str) -> SurefootError:
    """The error that says what the time went into."""
    state = call.state
    if state.attempts == 0:
        return DeadlineTooNear(f"the deadline of {seconds:g} s passed before the call could be sent; nothing was spent")
    last = next((attempt for attempt in reversed(state.trail) if attempt.error not in {"", "CancelledError"}), None)
    after = f", the last failure was {last.error} at {last.target}" if last is not None else ""
    return DeadlineExceeded(f"the deadline of {seconds:g} s passed during attempt {state.attempts}{after}")
