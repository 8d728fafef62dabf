"""Who waits at a limit, and in which order: first come, first served within a priority.

Two classes, as for places (`layers.concurrency`): an interactive call goes before a batch call, unless the batch call has waited
AGEING_S longer. That order is fixed when a call comes: a batch call stands where an interactive one would that came AGEING_S later. So
there are two lines, and a batch call that has waited AGEING_S joins the end of the first. All operations are O(1), amortised.
"""

from collections import deque

from msgspec import Struct

AGEING_S = 10.0  # as where places are waited for: a nightly job can spare it; where interactive calls wait so long, first come is fairer
QUEUED, GONE, OVER = 0, 1, 2


class Reservation(Struct, eq=False, gc=False):
    """A place in the queue, then a claim on the limit.

    `wait_s` is how long until its turn, as of the last question (0.0: go), so that a deadline nearer than that can be told at once;
    `at_s` when it was let go, on the bucket's clock, `counts` how much it counts for among the peaks, and `recent` what counted then, with
    it. `low_priority`: those who are not wait no longer for it. `waiter` is the acting layer's own, never read here: a weak reference,
    for the garbage collector does not look in here. Thousands live for two seconds each, and it would visit them all.
    """

    amount: float
    since_s: float
    at_s: float
    low_priority: bool = False
    wait_s: float = 0.0
    waiter: object = None
    state: int = GONE
    before: float = 0.0
    counts: float = 0.0
    recent: float = 0.0


class _WaitQueue:
    """First come, first served, with the amounts that stand before each."""

    __slots__ = ("_joined", "_left", "_places")

    def __init__(self) -> None:
        self._places: deque[Reservation] = deque()
        self._joined = 0.0  # amounts that ever joined; a reservation notes the figure when it comes,
        self._left = 0.0  # amounts that left at the head: the difference stands before it

    @property
    def amount(self) -> float:
        """What all who stand here want."""
        return self._joined - self._left

    @property
    def first(self) -> Reservation | None:
        """Who has stood here longest."""
        return self._places[0] if self._places else None

    def join(self, reservation: Reservation) -> None:
        """Stand at the end."""
        reservation.before = self._joined
        self._joined += reservation.amount
        self._places.append(reservation)

    def ahead(self, reservation: Reservation) -> float:
        """What those before it want."""
        return reservation.before - self._left

    def leave(self) -> None:
        """The first goes elsewhere."""
        self._left += self._places.popleft().amount

    def trim(self) -> None:
        """Drop who is done at either end: nobody behind the last counts on it."""
        places = self._places
        while places and places[-1].state != QUEUED:
            self._joined -= places.pop().amount
        while places and places[0].state != QUEUED:
            self._left += places.popleft().amount
        if not places:
            self._joined = self._left = 0.0


class Queue:
    """Both lines: `Queue()`; `head` is who goes next, None if nobody waits."""

    __slots__ = ("_low_priority", "_main", "head")

    def __init__(self) -> None:
        self._main = _WaitQueue()
        self._low_priority = _WaitQueue()
        self.head: Reservation | None = None

    @property
    def amounts(self) -> tuple[float, float]:
        """What those who wait want: all but batch calls, and batch calls that have not waited long."""
        return self._main.amount, self._low_priority.amount

    def join(self, reservation: Reservation, now_s: float) -> None:
        """Wait from now on. `now_s` must not run back."""
        low_priority = self._low_priority
        while (first := low_priority.first) is not None and now_s >= first.since_s + AGEING_S:  # before anybody else joins, so in order
            low_priority.leave()
            if first.state == QUEUED:
                first.low_priority = False
                self._main.join(first)
        (low_priority if reservation.low_priority else self._main).join(reservation)
        self.head = self._main.first or low_priority.first

    def ahead(self, reservation: Reservation) -> float:
        """What those before it want, as far as they have come."""
        return self._main.amount + self._low_priority.ahead(reservation) if reservation.low_priority else self._main.ahead(reservation)

    def trim(self) -> None:
        """Those who are done leave."""
        if self.head is not None:
            self._main.trim()
            self._low_priority.trim()
            self.head = self._main.first or self._low_priority.first
