"""Asks the same target again after a passing failure.

The first attempt is plain; tenacity is imported, and drives the loop, only after a failure. `rules.backoff` decides how long to wait and
whether there is a budget; this layer knows what bounds it: the policy's attempts over all targets together, fewer at one target when
another is at hand, the deadline, and the provider's hint. After the first token nobody asks again: by then `inner` has returned.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from surefoot.core.deadlines import deadline_of
from surefoot.core.stack import Handler
from surefoot.errors import Exhausted, RateLimited, SurefootError
from surefoot.events import Retried, emit
from surefoot.rules.backoff import THROTTLED_BASE_S, wait_s
from surefoot.rules.retry_budget import COST, RetryBudget
from surefoot.settings import DEFAULTS
from surefoot.types import Call
from surefoot.types.calls import loop_of

if TYPE_CHECKING:
    from tenacity import RetryCallState

HINT_CEILING_S = 120.0  # the OpenAI SDK's: a longer Retry-After is not slept out, it is handed to the caller or the next target


class Retry:
    """Asks again after a Transient fault: `Retry(target="openai:m", attempts=6, budget=RetryBudget())`.

    `attempts` bounds the wire attempts of the call over all targets (`call.state.attempts`); `attempts_per_target` those to this one when
    `call.others`. Waits are full jitter between 0 and `base_s * 2**n`, at most `ceiling_s`; a 429 without a hint starts from
    `throttled_base_s`; a hint is a floor. What cannot begin before the deadline is not waited for, nor a hint above `hint_ceiling_s` (above
    `ceiling_s` when `call.others`: the next target may answer now): the fault is raised at once, so that fallback moves on. `budget` is
    shared with the target's hedges; `half_open()` says whether its breaker is on trial (retries cost more then), `shut_s()` for how many
    seconds it lets nobody in: no backoff ends while the breaker is open, and `failing()` whether nothing but failures comes: then who has
    another target at hand waits for none of them. Raises the fault itself after one attempt, Exhausted with every failure in order after
    several.
    """

    def __init__(  # noqa: PLR0913 - one number of the policy each
        self,
        *,
        target: str = "",
        attempts: int = DEFAULTS.attempts,
        attempts_per_target: int = DEFAULTS.attempts_per_target,
        base_s: float = DEFAULTS.backoff_base_s,
        throttled_base_s: float = THROTTLED_BASE_S,
        ceiling_s: float = DEFAULTS.backoff_ceiling_s,
        hint_ceiling_s: float = HINT_CEILING_S,
        budget: RetryBudget | None = None,
        half_open: Callable[[], bool] | None = None,
        shut_s: Callable[[], float] | None = None,
        failing: Callable[[], bool] | None = None,
        draw: Callable[[], float] | None = None,
    ) -> None:
        self.target = target
        self.attempts = attempts
        self.attempts_per_target = attempts_per_target
        self.base_s = base_s
        self.throttled_base_s = throttled_base_s
        self.ceiling_s = ceiling_s
        self.hint_ceiling_s = hint_ceiling_s
        self.budget = budget
        self.half_open = half_open
        self.shut_s = shut_s
        self.failing = failing
        self.draw = draw or random.Random().random  # noqa: S311 - jitter, not a secret

    def describe(self) -> str:
        """The settings, for `describe()`."""
        budget = "with a budget" if self.budget is not None else "no budget"
        return (
            f"retry: {self.attempts} attempts a call, {self.attempts_per_target} here if another target is at hand, "
            f"full jitter {self.base_s:g} s to {self.ceiling_s:g} s, {budget}"
        )

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask, and again if that may help."""
        budget = self.budget
        if budget is not None:
            budget.called(loop_of(call).time())
            budget.under_way += 1
        try:
            answer = await inner(call)
        except SurefootError as error:
            if not error.retryable:
                raise
            first = error
        else:
            if budget is not None:
                budget.succeeded()
            return answer
        finally:
            if budget is not None:
                budget.under_way -= 1
        return await _Course(self, call, inner, first).run()


class _Course:
    """What is left of one call after its first failure; made only then."""

    __slots__ = ("_attempt", "_call", "_fresh", "_inner", "_layer", "_over", "_wait_s", "errors")

    def __init__(self, layer: Retry, call: Call[Any], inner: Handler, first: SurefootError) -> None:
        self._layer = layer
        self._call = call
        self._inner = inner
        self._attempt = 1
        self._wait_s: float | None = None
        self._fresh = True
        self._over = False  # the budget ran dry while we waited
        self.errors = [first]

    async def run(self) -> Any:
        """Let tenacity drive: it asks, waits and stops by the functions below."""
        from tenacity import AsyncRetrying, retry_if_exception

        drive = AsyncRetrying(
            sleep=asyncio.sleep,
            retry=retry_if_exception(self.may_pass),
            wait=self.wait,
            stop=self.stop,
            reraise=True,
        )
        try:
            return await drive(self.ask)
        except SurefootError as last:
            if len(self.errors) == 1:
                raise
            target = self._layer.target or "the target"
            said = str(last).removeprefix(f"{target}: ")
            raise Exhausted(f"{target}: all {len(self.errors)} attempts failed; the last: {said}", self.errors) from None

    async def ask(self) -> Any:
        """One more attempt, if the budget affords it; the first time round, the failure we already have."""
        if self._fresh:
            self._fresh = False
            raise self.errors[0]
        cost = self._pay()
        if cost is None:
            self._over = True
            raise self.errors[-1]
        self._attempt += 1
        self._announce()
        budget = self._layer.budget
        try:
            answer = await self._inner(replace(self._call, attempt=self._attempt))
        except SurefootError as error:
            self.errors.append(error)
            if budget is not None and error.retryable:
                budget.failed(cost)
            raise
        if budget is not None:
            budget.succeeded()
        return answer

    def _pay(self) -> float | None:
        """What the budget asks for one more attempt, now that the wait is over; None if it has no room."""
        layer = self._layer
        if layer.budget is None:
            return 0.0
        on_trial = layer.half_open is not None and layer.half_open()
        return layer.budget.allow_retry(asyncio.get_running_loop().time(), half_open=on_trial) or None

    def may_pass(self, error: BaseException) -> bool:
        """True if asking again can help."""
        return not self._over and isinstance(error, SurefootError) and error.retryable

    def wait(self, _state: RetryCallState) -> float:
        """Seconds to wait, decided by `rules.backoff`."""
        layer, deadline, error = self._layer, deadline_of(self._call), self.errors[-1]
        hint_s: float | None = getattr(error, "retry_after_s", None)
        if hint_s is not None and hint_s > (layer.ceiling_s if self._call.others else layer.hint_ceiling_s):
            self._wait_s = None
            return 0.0
        self._wait_s = wait_s(
            self._attempt,
            hint_s=hint_s,
            left_s=math.inf if deadline is None else deadline - asyncio.get_running_loop().time(),
            draw=layer.draw(),
            base_s=layer.throttled_base_s if hint_s is None and isinstance(error, RateLimited) else layer.base_s,
            ceiling_s=layer.ceiling_s,
        )
        return self._wait_s or 0.0

    def stop(self, _state: RetryCallState) -> bool:
        """True if there is no time, no attempt, no closed breaker or no budget left.

        The budget is paid after the wait; here only a hopeless wait is saved.
        """
        layer, call = self._layer, self._call
        if self._wait_s is None or max(call.state.attempts, self._attempt) >= layer.attempts:
            return True
        if call.others and self._attempt >= layer.attempts_per_target:
            return True
        if layer.shut_s is not None and layer.shut_s() > self._wait_s:
            return True
        if call.others and call.priority != "batch" and layer.failing is not None and layer.failing():
            return True
        return layer.budget is not None and layer.budget.level < COST

    def _announce(self) -> None:
        """Say why and after how long the next attempt is made."""
        waited_s = self._wait_s or 0.0
        state = self._call.state
        state.next_kind = "retry"
        state.next_wait_s = waited_s
        cause = type(self.errors[-1]).__name__
        emit(self._call, Retried, target=self._layer.target, attempt=self._attempt, wait_s=waited_s, cause=cause)
