"""How many calls of one target may be in flight, and who waits for a place.

Waiting is first come, first served within a priority. Two classes: an interactive call goes before a batch call, unless the batch call
has waited AGEING_S longer; so a person waits for nobody's nightly job, and the job never starves. The queue is bounded: beyond it
QueueFull says at once what a wait of minutes would say late. A place is held until the call is settled; a stream's until it ends.

With an adaptive limit the end of each call is a lesson or none: cancelled calls, refusals further in and the caller's own mistakes say
nothing about the provider. Rate-limit headers are left to `rate`: a quota used to its last request is no overload.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

from surefoot.errors import AttemptTimedOut, Interrupted, Overloaded, QueueFull, RateLimited
from surefoot.events import LimitChanged, Waited, tell
from surefoot.rules.aimd import Limit
from surefoot.settle import Outcome, settle
from surefoot.stack import Handler
from surefoot.types import Call

QUEUE_SIZE = 1000  # at 1 s a call on 20 places that is 50 s of work; beyond it, waiting is a lie
OVERLOADS = (RateLimited, Overloaded, AttemptTimedOut)  # 429, 529 and 5xx, timeouts
AGEING_S = 10.0  # a nightly job can spare it; and where interactive calls themselves wait so long, first come is fairer


class _Waiter:
    """Somebody in the queue."""

    __slots__ = ("future", "since_s")

    def __init__(self, future: asyncio.Future[None], since_s: float) -> None:
        self.future = future
        self.since_s = since_s


class Concurrency:
    """At most so many calls in flight: `Concurrency(target="openai:m", limit=20)`, shared by everybody who asks that target.

    `limit` fixed, or `adaptive` (rules.aimd), or neither: unbounded. Raises QueueFull (nothing sent) when `queue_size` calls are waiting
    already. Without contention a call costs two additions: no lock, no future.
    """

    def __init__(
        self,
        *,
        target: str = "",
        limit: int | None = None,
        adaptive: Limit | None = None,
        queue_size: int = QUEUE_SIZE,
        ageing_s: float = AGEING_S,
    ) -> None:
        self.target = target
        self.queue_size = queue_size
        self.ageing_s = ageing_s
        self.adaptive = adaptive if limit is None else None
        self.in_flight = 0
        self._fixed = limit
        self._urgent: deque[_Waiter] = deque()
        self._patient: deque[_Waiter] = deque()
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
        return len(self._urgent) + len(self._patient)

    def idle(self) -> bool:
        """True if nothing is in flight and nobody waits."""
        return self.in_flight == 0 and not self.waiting

    def describe(self) -> str:
        """The settings, for `describe()`."""
        if self.adaptive is not None:
            return f"concurrency: adaptive, now {self.limit:g} places, queue of {self.queue_size}"
        return "concurrency: unbounded" if self._fixed is None else f"concurrency: {self.limit:g} places, queue of {self.queue_size}"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask when there is a place."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move(loop)
        if self.in_flight < self.limit and not self._urgent and not self._patient:
            self.in_flight += 1
        else:
            await self._wait(call, loop)
        if self.adaptive is None:
            return await settle(inner(call), partial(self._leave, self._life))
        return await settle(inner(call), partial(self._learn, call, self._life, loop.time()))

    async def _wait(self, call: Call[Any], loop: asyncio.AbstractEventLoop) -> None:
        """Queue until a place is given; whoever gives it has counted it already."""
        if self.waiting >= self.queue_size:
            raise QueueFull(f"{self.target}: {self.waiting} calls are waiting for {self.limit:g} places; ask again later or elsewhere")
        life = self._life
        waiter = _Waiter(loop.create_future(), loop.time())
        queue = self._patient if call.priority == "batch" else self._urgent
        queue.append(waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            if not waiter.future.cancelled():  # the place was given in the very moment the caller gave up
                self._give_back(life)
            elif life is self._life:
                with suppress(ValueError):  # it may have been passed over already
                    queue.remove(waiter)
            raise
        tell(call, Waited, target=self.target, room="concurrency", wait_s=loop.time() - waiter.since_s)

    def _leave(self, life: object, _outcome: Outcome) -> None:
        """The call is settled: its place goes to the next."""
        self._give_back(life)

    def _learn(self, call: Call[Any], life: object, started_s: float, outcome: Outcome) -> None:
        """The call is settled: what does it say about the limit? Whatever is neither success nor overload says nothing."""
        rule, error = self.adaptive, outcome.error
        if rule is not None and life is self._life:
            was = rule.limit
            if outcome.complete:
                rule.on_success(self.in_flight)
            elif isinstance(error.__cause__ if isinstance(error, Interrupted) else error, OVERLOADS):
                rule.on_overload(started_s, asyncio.get_running_loop().time())
            if rule.limit != was:
                tell(call, LimitChanged, target=self.target, limit=rule.limit, cause=type(error).__name__ if error is not None else "")
        self._give_back(life)

    def _give_back(self, life: object) -> None:
        if life is not self._life:
            return
        self.in_flight -= 1
        while self.in_flight < self.limit and (waiter := self._next()) is not None:
            if not waiter.future.done():  # else: cancelled, and about to remove itself
                self.in_flight += 1
                waiter.future.set_result(None)

    def _next(self) -> _Waiter | None:
        """The next in the queue: interactive first, unless the oldest batch call has waited `ageing_s` longer."""
        urgent, patient = self._urgent, self._patient
        if patient and (not urgent or urgent[0].since_s - patient[0].since_s >= self.ageing_s):
            return patient.popleft()
        return urgent.popleft() if urgent else None

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """A new home loop. If the old one has died, whatever it held died with it."""
        if self._loop is not None and self._loop.is_closed():
            self.in_flight = 0
            self._urgent.clear()
            self._patient.clear()
            self._life = object()
        self._loop = loop
