"""Leaves a target alone that fails too often, and comes back to it gently. The decisions are in `rules.breaker`.

What counts as the target's failure: overload, lost connections, timeouts, malformed answers, also in the middle of a stream. What proves
nothing: the caller's own mistakes, accounts (auth, quota), cancellations, readers who leave, refusals further in; and 429s, which are an
answer of a healthy provider and belong to rate and concurrency.

It stands inside the queue: 500 calls queued for a dead host on 20 places cost 20 wire calls, not 500.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from surefoot.core.stack import Guard
from surefoot.core.stream import Outcome
from surefoot.errors import AttemptTimedOut, CircuitOpen, ConnectionLost, Exhausted, Interrupted, MalformedReply, Overloaded
from surefoot.events import BreakerClosed, BreakerOpened, emit
from surefoot.rules.breaker import HALF_OPEN, Permit, Refusal
from surefoot.rules.breaker import BreakerRule as Rule
from surefoot.settings import DEFAULTS
from surefoot.types import Call

FAILURES = (Overloaded, ConnectionLost, AttemptTimedOut, MalformedReply)


class Breaker(Guard):
    """One target's breaker: `Breaker(target="openai:m", window_s=30, least_calls=10, ratio=0.5, open_s=5)`.

    Shared by everybody who asks that target. Raises CircuitOpen (nothing sent) with the seconds until the next chance in
    `retry_after_s`. The defaults are those of `Policy`, with their reasons.
    """

    def __init__(
        self,
        *,
        target: str = "",
        window_s: float = DEFAULTS.breaker_window_s,
        least_calls: int = DEFAULTS.breaker_min_calls,
        ratio: float = DEFAULTS.breaker_ratio,
        open_s: float = DEFAULTS.breaker_open_s,
        draw: Callable[[], float] | None = None,
    ) -> None:
        self.target = target
        self.rule = Rule(window_s=window_s, least_calls=least_calls, ratio=ratio, open_s=open_s)
        self.draw = draw or random.Random().random  # noqa: S311 - jitter, not a secret
        self._settings = f"{ratio:.0%} of at least {least_calls} calls in {window_s:g} s, then {open_s:g} s"
        self._out = 0

    def idle(self) -> bool:
        """True if no call it let in is under way."""
        return self._out == 0

    def is_on_trial(self) -> bool:
        """True while the target is being tried: retries cost more then."""
        return self.rule.on_trial

    def is_failing(self) -> bool:
        """True while nothing but failures comes from the target: who has another one at hand need not wait for this one."""
        return self.rule.failing

    def shut_s(self) -> float:
        """Seconds for which the target is asked by nobody: whoever would wait for less need not wait at all."""
        return self.rule.shut_s(asyncio.get_running_loop().time())

    def heed_others(self, failed: int, begun: int) -> None:
        """What all processes together have seen lately: too many failures open it here as well."""
        self.rule.heed(failed, begun, asyncio.get_running_loop().time())

    def describe(self) -> str:
        """The settings, for `describe()`."""
        return f"breaker: opens at {self._settings}; now {self.rule.state}"

    def acquire(self, call: Call[Any], now: float) -> Permit:
        """Let the call go, if the target is to be asked."""
        del call
        permit = self.rule.admit(now, self.draw())
        if isinstance(permit, Refusal):
            raise CircuitOpen(
                f"{self.target}: {permit.failed} of the last {permit.begun} calls failed; next trial in {permit.wait_s:.1f} s",
                retry_after_s=permit.wait_s,
            )
        self._out += 1
        return permit

    def release(self, call: Call[Any], held: Permit, outcome: Outcome, now: float) -> None:
        """The call has finished: was it the target's doing?"""
        self._out -= 1
        rule, error = self.rule, outcome.error
        if isinstance(error, Interrupted):
            error = error.__cause__
        elif isinstance(error, Exhausted):
            error = error.last
        if not outcome.complete and not isinstance(error, FAILURES):
            rule.drop(held)
            return
        was = rule.state
        opened = rule.record(held, ok=outcome.complete, now_s=now)
        if opened:
            failures, calls, wait_s = rule.last_opening
            emit(call, BreakerOpened, target=self.target, failures=failures, calls=calls, wait_s=wait_s)
        elif was is HALF_OPEN and rule.state is not HALF_OPEN:
            emit(call, BreakerClosed, target=self.target)
