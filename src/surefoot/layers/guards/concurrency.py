"""How many calls of one target may be in flight, and who waits for a place.

Waiting is first come, first served within a priority. Two classes: an interactive call goes before a batch call, unless the batch call
has waited AGEING_S longer; so a person waits for nobody's nightly job, and the job never starves. The queue is bounded: beyond it
QueueFull says at once what a wait of minutes would say late. A place is held until the call has finished; a stream's until it ends.

Who has to wait is asked for his deadline (rules.admission): one who will not get his turn in time, as a fixed limit tells, hears so at
once, and one whose turn comes with too little time left makes way for the next. So what is sent under overload is answered, not cut off.

With an adaptive limit the end of each call is a lesson or none: cancelled calls, refusals further in and the caller's own mistakes say
nothing about the provider, and faults that come however few are in flight say nothing about the limit (rules.noise). Rate-limit headers
are left to `rate`: a quota used to its last request is no overload.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from surefoot.core.deadlines import deadline_of
from surefoot.core.stack import Guard
from surefoot.core.stream import Outcome
from surefoot.errors import AttemptTimedOut, DeadlineTooNear, Interrupted, Overloaded, QueueFull, RateLimited
from surefoot.events import LimitChanged, Waited, emit
from surefoot.rules.admission import LEAST, USUAL, Admission
from surefoot.rules.aimd import Limit
from surefoot.rules.noise import SpuriousRefusals
from surefoot.rules.quantile import Quantile
from surefoot.rules.token_bucket import AGEING_S
from surefoot.settings import DEFAULTS
from surefoot.types import Call
from surefoot.types.calls import loop_of

OVERLOADS = (RateLimited, Overloaded, AttemptTimedOut)  # 429, 529 and 5xx, timeouts
CUTS = 6  # of a quarter each, with growth between: after as many it is looked at whether they changed anything
SUNK = 0.6  # a limit that has found its capacity is refused within a tenth of it; one that is refused at random, anywhere


class _Place(Struct, gc=False):
    """A place that a call has, in the `life` of a loop, since `started_s`."""

    life: object
    started_s: float
    has_waited: bool = False


class _Waiter:
    """Somebody in the queue; told True when it has a place, False when it is too late for one."""

    __slots__ = ("call", "future", "since_s")

    def __init__(self, call: Call[Any], future: asyncio.Future[bool], since_s: float) -> None:
        self.call = call
        self.future = future
        self.since_s = since_s


class Concurrency(Guard):
    """At most so many calls in flight: `Concurrency(target="openai:m", limit=20)`, shared by everybody who asks that target.

    `limit` fixed, or `adaptive` (rules.aimd), or neither: unbounded. Raises QueueFull when `queue_size` calls are waiting already,
    DeadlineTooNear when a call that has to wait could not be answered in time (nothing sent, either way); QueueFull also when it would wait
    for a target from which, as `failing()` says, only failures come while another one is at hand (`call.others`). Without contention a call
    costs two additions: no lock, no future.
    """

    def __init__(
        self,
        *,
        target: str = "",
        limit: int | None = None,
        adaptive: Limit | None = None,
        queue_size: int = DEFAULTS.queue_size,
        ageing_s: float = AGEING_S,
        failing: Callable[[], bool] | None = None,
    ) -> None:
        self.target = target
        self.queue_size = queue_size
        self.ageing_s = ageing_s
        self.failing = failing
        self.adaptive = adaptive if limit is None else None
        self.in_flight = 0
        self.on_wait: Callable[[], None] | None = None  # told when somebody has to wait: places may be had elsewhere
        self._fixed = limit
        self._urgent: deque[_Waiter] = deque()
        self._low_priority: deque[_Waiter] = deque()
        self._spurious = SpuriousRefusals(enough=CUTS, sunk=SUNK)
        self._admission = Admission(Quantile(USUAL, least=LEAST))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life = object()  # a permit given out on a loop that has died is not given back to its successor

    @property
    def limit(self) -> float:
        """Places at this moment."""
        if self._fixed is not None:
            return self._fixed
        return math.inf if self.adaptive is None else self.adaptive.limit

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._urgent) + len(self._low_priority)

    @property
    def waiting_by_class(self) -> tuple[int, int]:
        """(interactive, batch) calls in the queue."""
        return len(self._urgent), len(self._low_priority)

    def set_limit(self, places: int) -> None:
        """So many places from now on, fixed until the next time; those who wait take what has become free."""
        self._fixed, self.adaptive = places, None
        self._admit()

    def idle(self) -> bool:
        """True if nothing is in flight and nobody waits."""
        return self.in_flight == 0 and not self.waiting

    def describe(self) -> str:
        """The settings, for `describe()`."""
        if self.adaptive is not None:
            return f"concurrency: adaptive, now {self.limit:g} places, queue of {self.queue_size}"
        return "concurrency: unbounded" if self._fixed is None else f"concurrency: {self.limit:g} places, queue of {self.queue_size}"

    def acquire(self, call: Call[Any], now: float) -> Any:
        """Take a place, or wait for one."""
        loop = loop_of(call)
        if loop is not self._loop:
            self._move(loop)
        if self.in_flight < self.limit and not self._urgent and not self._low_priority:
            self.in_flight += 1
            return _Place(self._life, now)
        if call.others and call.priority != "batch" and self.failing is not None and self.failing():
            raise QueueFull(f"{self.target}: nothing but failures, no place free, and another target at hand; nothing was sent")
        return self._wait(call, loop)

    async def _wait(self, call: Call[Any], loop: asyncio.AbstractEventLoop) -> _Place:
        """Queue until a place is given; whoever gives it has counted it already."""
        if self.waiting >= self.queue_size:
            raise QueueFull(f"{self.target}: {self.waiting} calls are waiting for {self.limit:g} places; ask again later or elsewhere")
        life, now = self._life, loop.time()
        waiter = _Waiter(call, loop.create_future(), now)
        queue = self._low_priority if call.priority == "batch" else self._urgent
        ahead = len(self._urgent) + (len(self._low_priority) if queue is self._low_priority else 0)
        if self.on_wait is not None:
            self.on_wait()
        wait_s = 0.0 if not self._fixed else ahead * self._admission.mean_s / self._fixed  # a limit being learned may soon be another
        if ahead and self._is_late(waiter, now + wait_s):
            raise DeadlineTooNear(
                f"{self.target}: {ahead} calls are ahead and would take {wait_s:.1f} s on {self.limit:g} places, "
                "too long for the deadline; nothing was sent"
            )
        queue.append(waiter)
        try:
            has_place = await waiter.future
        except asyncio.CancelledError:
            if not waiter.future.cancelled():
                if waiter.future.result():  # the place was given in the very moment the caller gave up
                    self._give_back(life)
            elif life is self._life:
                with suppress(ValueError):  # it may have been passed over already
                    queue.remove(waiter)
            raise
        wait_s = loop.time() - now
        emit(call, Waited, target=self.target, layer="concurrency", wait_s=wait_s)
        if not has_place:
            raise DeadlineTooNear(f"{self.target}: after {wait_s:.1f} s in the queue too little is left for an answer; nothing was sent")
        return _Place(life, now + wait_s, True)

    def _is_late(self, waiter: _Waiter, turn_s: float) -> bool:
        """Whether a turn at `turn_s` comes too late for its deadline."""
        deadline, since_s = deadline_of(waiter.call), waiter.since_s
        return deadline is not None and not self._admission.may_wait(turn_s - since_s, deadline - since_s, turn_s)

    def release(self, call: Call[Any], held: _Place, outcome: Outcome, now: float) -> None:
        """The call has finished: its place goes to the next, and if it had to wait, those who wait now are judged by it."""
        life, started_s = held.life, held.started_s
        if held.has_waited:
            self._admission.note(now - started_s, now, answered=outcome.complete, cut_off=_is_cut_off(call, outcome, now))
        rule = self.adaptive
        if rule is not None and life is self._life:
            self._learn(call, rule, started_s, outcome, now)
        self._give_back(life)

    def _learn(self, call: Call[Any], rule: Limit, started_s: float, outcome: Outcome, now: float) -> None:
        """What does a finished call say about the limit? Whatever is neither success nor overload says nothing."""
        was, error = rule.limit, outcome.error
        if outcome.complete:
            rule.on_success(self.in_flight)
            if rule.is_news(started_s, now):
                self._spurious.passed()
        elif isinstance(error.__cause__ if isinstance(error, Interrupted) else error, OVERLOADS) or _is_cut_off(call, outcome, now):
            self._heed(rule, started_s, now)
        if rule.limit != was:
            emit(call, LimitChanged, target=self.target, limit=rule.limit, cause=type(error).__name__ if error is not None else "")

    def _heed(self, rule: Limit, started_s: float, now: float) -> None:
        """An overload: a cut, unless it would have come with fewer in flight, too; then earlier cuts are undone."""
        was = rule.limit
        if rule.is_news(started_s, now) and self._spurious.is_lesson(was):
            rule.on_overload(started_s, now)
            if (limit := self._spurious.put_back()) is not None:
                rule.put_back(limit)

    def _give_back(self, life: object) -> None:
        if life is not self._life:
            return
        self.in_flight -= 1
        if self._urgent or self._low_priority:
            self._admit()

    def _admit(self) -> None:
        """Give places to those who wait, as far as there are some."""
        while self.in_flight < self.limit and (waiter := self._next()) is not None:
            if not waiter.future.done():  # else: cancelled, and about to remove itself
                is_late = self._is_late(waiter, waiter.future.get_loop().time())
                self.in_flight += not is_late
                waiter.future.set_result(not is_late)

    def _next(self) -> _Waiter | None:
        """The next in the queue: interactive first, unless the oldest batch call has waited `ageing_s` longer."""
        urgent, low_priority = self._urgent, self._low_priority
        if low_priority and (not urgent or urgent[0].since_s - low_priority[0].since_s >= self.ageing_s):
            return low_priority.popleft()
        return urgent.popleft() if urgent else None

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """A new background loop. If the old one has died, whatever it held died with it."""
        if self._loop is not None and self._loop.is_closed():
            self.in_flight = 0
            self._urgent.clear()
            self._low_priority.clear()
            self._life = object()
        self._loop = loop


def _is_cut_off(call: Call[Any], outcome: Outcome, now: float) -> bool:
    """Whether its own deadline ended the call: a timeout, where a caller who leaves earlier is none."""
    deadline = deadline_of(call)
    return not outcome.complete and deadline is not None and now >= deadline
