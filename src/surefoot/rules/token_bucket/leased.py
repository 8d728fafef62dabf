"""A limit that is shared with other processes: spent here from slices that somebody leases for us (`rules.token_bucket.slices`).

The same to use as `TokenBucket`. Calls in hand are let go without asking anybody: two subtractions. Who finds the slice used up waits in
the queue, `kick` is called, and the next slice lets it go.
"""

import math
from collections.abc import Callable

from surefoot.rules.token_bucket.queue import GONE, OVER, QUEUED, Queue, Reservation

ASK_S, BEHIND_S = 1.0, 30.0  # who is first looks so often by itself, and those behind; slices wake it much earlier
AHEAD = 1.25  # times what usually comes in a turn is asked for before it comes
AHEAD_LEAST = 0.25  # calls a turn: who asks more rarely would mostly give slices back
SMOOTH_S = 0.5
ROUNDING = 1e-6  # slices are added up: whoever is short of a millionth of a token is not short


class LeasedBucket:
    """`LeasedBucket(kick)`; `learns`: no limit was given, so what headers and refusals say of it is passed on.

    `per_minute` is the limit that all share, infinity while none is known. Slices come by `grant`, and what is to be said in a turn is
    taken by `wants`, `take_back` and `take_news`.
    """

    __slots__ = (
        "_ahead", "_asked", "_back", "_kick", "_level", "_mean", "_news", "_paused_s", "_queue", "_sent", "_since_s", "_until_s", "learns",
        "per_minute",
    )  # fmt: skip

    def __init__(self, kick: Callable[[], None], *, per_minute: float = math.inf, learns: bool = True) -> None:
        self.per_minute = per_minute
        self.learns = learns
        self._kick = kick
        self._queue = Queue()
        self._level = 0.0
        self._until_s = -math.inf
        self._paused_s = -math.inf
        self._back = 0.0
        self._sent = 0.0
        self._asked = 0.0  # since the last turn, by interactive calls
        self._ahead = 0.0  # comes in a second, lately
        self._mean = 0.0  # of one claim
        self._since_s = -math.inf
        self._news = (0.0, 0, 0.0)  # the limit that headers named, refusals, the pause they asked for

    @property
    def head(self) -> Reservation | None:
        """Who goes next; None if nobody waits."""
        return self._queue.head

    def sure_wait_s(self, reservation: Reservation, now_s: float) -> float:
        """Seconds until its turn that nothing will shorten: if all that there is came to this process."""
        pause_s = max(0.0, self._paused_s - now_s)
        return pause_s + 60.0 * self._queue.ahead(reservation) / self.per_minute if reservation.state == QUEUED else 0.0

    def reserve(self, amount: float, now_s: float, *, low_priority: bool = False) -> Reservation:
        """As `TokenBucket.reserve`."""
        if not low_priority:  # a batch call can spare a turn
            self._asked += amount
        reservation = Reservation(amount, now_s, now_s, low_priority)
        if self._queue.head is None and self._has(amount, now_s):
            self._let_go(reservation, now_s)
            return reservation
        reservation.state, reservation.at_s = QUEUED, math.inf
        self._queue.join(reservation, now_s)
        reservation.wait_s = ASK_S
        self._kick()
        return reservation

    def ready(self, reservation: Reservation, now_s: float) -> float:
        """0.0: go now. Else seconds to sleep before asking again; a slice wakes it earlier."""
        if reservation.state != QUEUED:
            return 0.0
        if self._queue.head is not reservation:  # it is woken when it comes first
            return BEHIND_S
        if self._has(reservation.amount, now_s):
            self._let_go(reservation, now_s)
            reservation.wait_s = 0.0
            self._queue.trim()
            return 0.0
        self._kick()
        return ASK_S

    def _has(self, amount: float, now_s: float) -> bool:
        if now_s < self._paused_s:
            return False
        if now_s >= self._until_s:  # stale: given back, never used
            self.void()
        return self._level >= amount - ROUNDING or self.per_minute == math.inf

    def _let_go(self, reservation: Reservation, now_s: float) -> None:
        amount = reservation.amount
        if self.per_minute != math.inf:
            self._level -= amount
        self._sent += amount
        reservation.state, reservation.at_s = GONE, now_s

    def settle(self, reservation: Reservation, actual: float, now_s: float) -> None:
        """As `TokenBucket.settle`: the difference is given back, or owed by all, with the next turn."""
        del now_s
        if reservation.state == GONE:
            reservation.state = OVER
            self._back += reservation.amount - actual
            self._sent += actual - reservation.amount

    def cancel(self, reservation: Reservation, now_s: float) -> None:
        """As `TokenBucket.cancel`."""
        if reservation.state == GONE:
            self.settle(reservation, 0.0, now_s)
        reservation.state = OVER
        self._queue.trim()

    def on_refusal(self, reservation: Reservation, now_s: float, *, retry_after_s: float | None = None) -> None:
        """As `TokenBucket.on_refusal`; all other processes are told."""
        self.cancel(reservation, now_s)
        limit, refusals, pause_s = self._news
        self._news = (limit, refusals + 1, max(pause_s, retry_after_s or 0.0))
        if retry_after_s:
            self.pause(retry_after_s, now_s)
        self._kick()

    def observe(
        self,
        now_s: float,
        *,
        limit: float | None = None,
        remaining: float | None = None,
        reset_s: float = 60.0,
        asked: Reservation | None = None,
    ) -> None:
        """As `TokenBucket.observe`: a limit that is named holds for all. What remains of it is everybody's, and says nothing here."""
        del now_s, remaining, asked
        if self.learns and limit and limit != self.per_minute and reset_s <= 61.0:
            self._news = (limit, *self._news[1:])
            if self.per_minute == math.inf:
                self._kick()

    def pause(self, seconds: float, now_s: float) -> None:
        """Let nothing go for `seconds`, at most 300."""
        self._paused_s = max(self._paused_s, now_s + min(seconds, 300.0))

    # Turns

    def wants(self, now_s: float, turn_s: float) -> tuple[float, float, float]:
        """(for interactive calls, for batch calls, the head's need), beyond what is in hand. Once a turn."""
        since_s = now_s - self._since_s
        if since_s > 0.0:
            share = min(1.0, since_s / SMOOTH_S)
            self._ahead += (self._asked / since_s - self._ahead) * share
            self._since_s, self._asked = now_s, 0.0
        if now_s >= self._until_s:
            self.void()
        high, low = self._queue.amounts
        ahead = self._ahead * turn_s * AHEAD
        head = self._queue.head
        if head is not None:
            self._mean = head.amount
        if ahead < AHEAD_LEAST * max(1.0, self._mean):
            ahead = 0.0
        need = 0.0 if head is None else max(0.0, head.amount - self._level)
        have = self._level
        high, have = max(0.0, high + ahead - have), max(0.0, have - high - ahead)
        return high, max(0.0, low - have), need

    def take_back(self) -> tuple[float, float]:
        """(to give back, sent) since it was last asked."""
        back, sent = self._back, self._sent
        self._back = self._sent = 0.0
        return back, sent

    def take_news(self) -> tuple[float, int, float]:
        """(the limit that headers named or 0, refusals, the pause they asked for) since it was last asked."""
        news, self._news = self._news, (0.0, 0, 0.0)
        return news

    def grant(self, amount: float, until_s: float, *, per_minute: float) -> None:
        """A slice, valid until then. `per_minute` is the limit that all share now; 0: none is known."""
        self.per_minute = per_minute or math.inf
        self._level += amount
        self._until_s = until_s

    def accrue(self, amount: float, *, most: float, until_s: float, per_minute: float) -> None:
        """What comes in while nobody can be asked: added to what is in hand, up to `most`."""
        self.per_minute = per_minute or math.inf
        self._level = min(max(self._level, 0.0) + amount, most) if self._level < most else self._level
        self._until_s = until_s

    def void(self) -> None:
        """What is in hand is to be given back."""
        self._back += self._level
        self._level = 0.0

    def drop(self) -> None:
        """Nothing is in hand any more: the store has forgotten it, or us."""
        self._level = 0.0

    def idle(self) -> bool:
        """Nobody waits, and nothing is to be told."""
        return self._queue.head is None and not self._back and not self._sent and self._news == (0.0, 0, 0.0)
