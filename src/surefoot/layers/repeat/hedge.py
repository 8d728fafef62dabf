"""A second runner for a call that takes unusually long; whoever answers first is heard, the other one is closed.

The first runner runs in the caller's own task; a task is made only when the timer fires. The delay is the target's own p95 (then one
call in twenty asks twice, which is what the budget allows) or a fixed number of seconds, and counts from dispatch: a call that waits in
our own queue is not slow, and a second one would only make the queue longer. Extras come from the budget shared with the retries: at
most 5 % of the calls, none while the target is in trouble. Never for local models: two runners on one machine take twice as long.

Source: J. Dean and L. A. Barroso, "The Tail at Scale", CACM 56(2), 2013.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from msgspec.structs import replace

from surefoot.core.stack import Handler
from surefoot.core.stream import Stream
from surefoot.errors import SurefootError
from surefoot.events import Hedged, HedgeWon, emit
from surefoot.rules.quantile import Quantile
from surefoot.rules.retry_budget import RetryBudget
from surefoot.types import Call


class Hedge:
    """Hedges one target's calls: `Hedge(target="openai:m", after="p95", budget=budget)`.

    Needs `attempt` further in, which tells when the call was really sent. `budget` is the target's RetryBudget (None: every call may be
    hedged); `half_open()` says whether its breaker is on trial. `is_local` switches it off. With "p95" nothing is hedged before fifty
    answers are known. If both runners fail, the first one's error is raised.
    """

    def __init__(
        self,
        *,
        target: str = "",
        after: Literal["p95"] | float = "p95",
        budget: RetryBudget | None = None,
        half_open: Callable[[], bool] | None = None,
        is_local: bool = False,
    ) -> None:
        self.target = target
        self.after = after
        self.budget = budget
        self.half_open = half_open
        self.is_local = is_local
        self._seconds = {False: Quantile(), True: Quantile()}  # whole answers and first tokens are not one distribution
        self._losers: set[asyncio.Task[Any]] = set()  # strong references, else a closing loser may be collected

    def idle(self) -> bool:
        """True if no second runner is under way or being closed."""
        return not self._losers

    def describe(self) -> str:
        """The setting, for `describe()`."""
        if self.is_local:
            return "hedge: never for a local model"
        return f"hedge: a second runner after {'its p95' if self.after == 'p95' else f'{self.after:g} s'}, at most 5 % of calls"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask; ask again if the answer is late."""
        if self.is_local:
            return await inner(call)
        return await _Race(self, call, inner).run()

    def delay_s(self, call: Call[Any], now: float) -> float | None:
        """Seconds from dispatch to the second runner; None where not yet known."""
        return self.after if self.after != "p95" else self._seconds[call.stream].value(now)

    def note(self, call: Call[Any], seconds: float, now: float) -> None:
        """A first runner took so long, or at least so long before it was cut short."""
        self._seconds[call.stream].record(seconds, now)

    def allow(self, now: float) -> float | None:
        """What the budget asks for one more runner; None if it has no room."""
        if self.budget is None:
            return 0.0
        return self.budget.allow_hedge(now, half_open=self.half_open is not None and self.half_open()) or None

    def close(self, runner: asyncio.Task[Any]) -> None:
        """Cancel a runner that lost, and close what it may have got: a provider bills until its stream is dropped."""
        self._losers.add(runner)
        if runner.done():
            self._closed(runner)
        else:
            runner.cancel()
            runner.add_done_callback(self._closed)

    def _closed(self, runner: asyncio.Task[Any]) -> None:
        self._losers.discard(runner)
        if not runner.cancelled() and runner.exception() is None and isinstance(runner.result(), Stream):
            closing = runner.get_loop().create_task(runner.result().aclose())
            self._losers.add(closing)
            closing.add_done_callback(self._losers.discard)


class _Race:
    """One call and its runners."""

    __slots__ = ("_call", "_cost", "_inner", "_layer", "_loop", "_news", "_over", "_second", "_sent_s", "_task", "_timer", "_won")

    def __init__(self, layer: Hedge, call: Call[Any], inner: Handler) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._layer = layer
        self._call = call
        self._inner = inner
        self._task = task
        self._loop = task.get_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._second: asyncio.Task[Any] | None = None
        self._news: asyncio.Future[None] | None = None  # the first has failed and waits for the second
        self._sent_s: float | None = None
        self._cost = 0.0
        self._won = False
        self._over = False  # callbacks already queued cannot be unscheduled

    async def run(self) -> Any:
        """The first answer of the two."""
        task, state = self._task, self._call.state
        waiting = state.on_dispatch
        if waiting is None:
            waiting = state.on_dispatch = {}
        cancels = task.cancelling()
        waiting[task] = self._sent
        try:
            answer = await self._inner(self._call)
        except BaseException as error:
            ours_alone = self._won and task.uncancel() <= cancels
            if not isinstance(error, SurefootError) and not ours_alone:
                self._end()
                raise
            return await self._outcome_of_second(error)
        finally:
            waiting.pop(task, None)
        if self._won:  # it answered although it was cancelled
            task.uncancel()
        self._note()
        self._end()
        return answer

    async def _outcome_of_second(self, error: BaseException) -> Any:
        """The first runner is out, by `error`; the second one's answer, if there is one to come."""
        second = self._second
        if second is None:
            self._end()
            raise error
        if not second.done():
            self._news = self._loop.create_future()
            try:
                await self._news
            except BaseException:
                self._end()
                raise
        if second.cancelled() or second.exception() is not None:
            self._end()
            raise error
        self._note()
        self._over = True
        self._stop_timer()
        emit(self._call, HedgeWon, target=self._layer.target)
        return second.result()

    def _sent(self) -> None:
        """The first runner went out on the wire: from here its time counts."""
        self._sent_s = now = self._loop.time()
        delay_s = self._layer.delay_s(self._call, now)
        if delay_s is not None:
            self._timer = self._loop.call_at(now + delay_s, self._late, delay_s)

    def _late(self, delay_s: float) -> None:
        """The first runner is late: send a second one, if there is a budget for it."""
        self._timer = None
        if self._over:
            return
        cost = self._layer.allow(self._loop.time())
        if cost is None:
            return
        self._cost = cost
        call = self._call
        call.state.hedges += 1
        emit(call, Hedged, target=self._layer.target, delay_s=delay_s)
        self._second = self._loop.create_task(self._run_second())
        self._second.add_done_callback(self._arrived)

    async def _run_second(self) -> Any:
        return await self._inner(replace(self._call, hedged=True))

    def _arrived(self, second: asyncio.Task[Any]) -> None:
        """The second runner is back."""
        if self._over:
            return  # whoever ended the race has seen to it
        if second.cancelled() or (error := second.exception()) is not None:
            if not second.cancelled() and isinstance(error, SurefootError) and error.retryable and self._layer.budget is not None:
                self._layer.budget.failed(self._cost)
        elif self._news is None:
            self._won = True
            self._task.cancel()  # the first runner, deep in its own awaits; taken back in run()
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _note(self) -> None:
        if self._sent_s is not None:
            now = self._loop.time()
            self._layer.note(self._call, now - self._sent_s, now)

    def _end(self) -> None:
        """The race is over; a second runner still out there has lost."""
        self._over = True
        self._stop_timer()
        if self._second is not None:
            self._layer.close(self._second)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
