"""How many requests are in flight at once, and how many wait: beyond both a request is refused at once, which is better than being late."""

from __future__ import annotations

import asyncio
from collections import deque

from surefoot.gateway.errors import HttpError

RETRY_S = 1.0  # what a refused client is told to wait


class AdmissionQueue:
    """Places for requests: `AdmissionQueue(most=512, queue=1024, queue_s=5.0)`. First come, first served; lives on one loop."""

    def __init__(self, *, most: int, queue: int, queue_s: float) -> None:
        self.most = most
        self.queue = queue
        self.queue_s = queue_s
        self.in_flight = 0
        self.refused = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._empty: asyncio.Future[None] | None = None

    @property
    def queued(self) -> int:
        """How many wait."""
        return sum(not one.done() for one in self._waiting)

    def enter(self) -> bool:
        """Take a place, if one is free and nobody waits; else `await wait()`."""
        if self.in_flight < self.most and not self._waiting:
            self.in_flight += 1
            return True
        return False

    async def wait(self) -> None:
        """Wait for a place, at most `queue_s`. Raises HttpError (503, with Retry-After) where too many wait already, or for too long."""
        if self.queued >= self.queue:
            raise self._full(f"{self.in_flight} requests are in flight and {self.queued} wait, which is as many as may")
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self._waiting.append(place)
        timer = loop.call_later(self.queue_s, _give_up, place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()  # it was given one, and its client has left
            place.cancel()
            raise
        except TimeoutError as late:
            raise self._full(f"no place became free within {self.queue_s:g} s") from late
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Give the place to who waits longest, or back."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_flight -= 1
        if not self.in_flight and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    async def until_empty(self, timeout_s: float) -> None:
        """Wait until nothing is in flight, at most `timeout_s`."""
        if self.in_flight:
            self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._empty}, timeout=timeout_s)

    def _full(self, why: str) -> HttpError:
        self.refused += 1
        return HttpError(503, "overloaded", f"the gateway is full: {why}; ask again a little later", retry_after_s=RETRY_S)


def _give_up(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_exception(TimeoutError())
