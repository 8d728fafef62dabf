"""A limit that is given.

Two rules bind at once. A token bucket that holds one second of the limit sets the long-run pace, and into it go refunds and debts. A
sliding window of two seconds holds down the peaks, because a token bucket alone lets up to three seconds' worth into two: a provider that
enforces 60 a minute as 2 in 2 s would refuse. There a claim counts when it was let go, as the provider counts it, and at what claims have
lately come to: a refund put down when it was settled would leave too much room two seconds after a burst, and too little in between.
All operations are O(1), amortised. Each call passes here four times, so what it passes compares instead of calling `min` and `max`.
"""

import math
from collections import deque

from surefoot.rules.token_bucket.calibration import Calibration
from surefoot.rules.token_bucket.queue import GONE, OVER, QUEUED, Queue, Reservation

BURST_S = 1.0  # what an idle client may send at once: one second of its limit, half of the shortest window we know to be enforced on tokens
PEAK_S = 2.0  # no two seconds, wherever they begin, hold more than two seconds of the limit
PEAK_MARGIN_S = 0.01  # requests overtake one another on the way by some milliseconds
PACE = PEAK_S / (PEAK_S + PEAK_MARGIN_S)  # the long run gives up the same half percent, so that no minute holds more than a minute's worth
FINE_SHARE = 1 / 10  # a request larger than this part of two seconds may straddle: who enforced so short a window could not serve it well
SPARE_S = 4.0  # a provider that says it has so many seconds' worth left does not enforce two seconds
SPARE_HOLDS_S = 10.0  # and is believed for so long
OWN_SHARE = 0.95  # of two seconds' worth: whoever spent so much himself learns nothing of others from a provider that has nothing left
PAUSE_CEILING_S = 300.0  # Envoy's cap for reset headers: one absurd Retry-After must not silence a target for a day
MINUTE_S = 61.0  # what takes longer to become whole is no limit per minute
_STEP_S = 1.0  # a clock behind by less is a reading some microseconds old; by more, it was set back
_TURN_S = 0.02  # one who is not first asks no oftener: it cannot go before the first has gone
_SOON_S = 1e-6  # waits below the resolution of an event loop's timer are none


class TokenBucket:
    """A limit of `per_minute`, spent in the order of `Queue`; inf is no limit.

    Reserve, then ask `ready` and sleep as long as it says, until it says 0.0; then send, and `settle` with what it really cost. `cancel`
    if nothing was sent. A request larger than a second of the limit goes when its turn comes and leaves a debt, so it never starves and
    overtakes none of its class. Sleeping and asking is enough; to lose no millisecond, wake the `waiter` of `head` when one leaves the
    queue. A reservation must end in settle, cancel or on_refusal, or those behind it wait for ever.
    """

    __slots__ = (
        "_burst",
        "_calibration",
        "_fine",
        "_fine_share",
        "_fixed",
        "_level",
        "_log",
        "_paused_s",
        "_peak",
        "_per_minute",
        "_queue",
        "_rate",
        "_skew_s",
        "_spare_until_s",
        "_stamp_s",
        "_used",
        "_watched_s",
        "gap_s",
        "gone_s",
        "sent",
    )  # fmt: skip

    def __init__(self, per_minute: float = math.inf, *, fine_share: float = FINE_SHARE) -> None:
        self.sent = 0.0  # let go so far, less what was cancelled or refused, corrected by what was settled
        self.gone_s = -math.inf  # when the last was let go
        self.gap_s = 0.0  # least time between two requests let go, for trials
        self._fine_share = fine_share
        self._queue = Queue()
        self._log: deque[Reservation] = deque()  # let go in the last two seconds
        self._used = 0.0  # what they count for
        self._watched_s = -math.inf  # since when they were let go
        self._calibration = Calibration()
        self._paused_s = -math.inf
        self._spare_until_s = -math.inf
        self._skew_s = 0.0
        self._stamp_s = -math.inf
        self._level = 0.0
        self._fixed = per_minute
        self._tune(per_minute)
        self._level = self._burst

    @property
    def per_minute(self) -> float:
        """The limit now in force."""
        return self._per_minute

    @property
    def paused(self) -> bool:
        """Whether a pause holds, as of the last operation."""
        return self._stamp_s < self._paused_s

    def sure_wait_s(self, reservation: Reservation, now_s: float) -> float:
        """Seconds until its turn that nothing will shorten but others who leave."""
        del now_s
        return reservation.wait_s

    @property
    def head(self) -> Reservation | None:
        """Who goes next; None if nobody waits."""
        return self._queue.head

    def reserve(self, amount: float, now_s: float, *, low_priority: bool = False) -> Reservation:
        """Claim `amount` (an estimate, >= 0); it may go at once if its `wait_s` is 0.0. `low_priority`: others go first (`Queue`)."""
        now_s = self.refill(now_s)
        reservation = Reservation(amount, now_s, now_s, low_priority)
        if self._queue.head is None and not self._wait_s(amount, now_s):
            self._let_go(reservation, now_s)
            return reservation
        reservation.state, reservation.at_s = QUEUED, math.inf
        self._queue.join(reservation, now_s)
        self._go_or_sleep_s(reservation, now_s)
        return reservation

    def ready(self, reservation: Reservation, now_s: float) -> float:
        """0.0: go now. Else seconds to sleep before asking again (at most 1: limits, pauses and those ahead may change meanwhile)."""
        return 0.0 if reservation.state != QUEUED else self._go_or_sleep_s(reservation, self.refill(now_s))

    def settle(self, reservation: Reservation, actual: float, now_s: float) -> None:
        """What it really cost: the difference is refunded, or owed by those who come."""
        if reservation.state == GONE:
            reservation.state = OVER
            if actual != reservation.amount or not self._calibration.exact:
                if actual > 0.0:
                    self._calibration.learn(reservation.amount, actual)
                self._correct(reservation, actual, now_s)

    def cancel(self, reservation: Reservation, now_s: float) -> None:
        """Nothing was sent, or it was refused: the claim is given back whole. After settle it does nothing."""
        if reservation.state == GONE:
            self._correct(reservation, 0.0, now_s)
        reservation.state = OVER
        self._queue.trim()

    def on_refusal(self, reservation: Reservation, now_s: float, *, retry_after_s: float | None = None) -> None:
        """The provider refused it for its limit: give back, let what was saved up go, and wait as told."""
        self.cancel(reservation, now_s)
        self.pause(retry_after_s or 0.0, now_s)

    def observe(
        self,
        now_s: float,
        *,
        limit: float | None = None,
        remaining: float | None = None,
        reset_s: float = 60.0,
        asked: Reservation | None = None,
    ) -> None:
        """What the headers of the answer to `asked` say: `limit` per minute, how much `remaining` of it, whole again in `reset_s`.

        A limit below the given one counts. Plenty left: the provider enforces no short windows, so the peaks need no watching for a while.
        Too little for who is next: wait, as others spend too; unless it was spent here in the two seconds before `asked` was let go, for
        then it is told of a peak that is watched, and is as old as the answer.
        """
        now_s = self.refill(now_s)
        if limit is not None and reset_s <= MINUTE_S and (limit := min(limit, self._fixed)) != self._per_minute and limit > 0.0:
            self._tune(limit)
        if remaining is None:
            return
        if remaining > SPARE_S * self._rate:
            self._spare_until_s = now_s + SPARE_HOLDS_S
        elif (head := self._queue.head) is not None and remaining < head.amount and not self._is_own(asked, remaining, head.amount):
            self.pause(min(reset_s, (head.amount - remaining) / self._rate), now_s - self._skew_s)

    def _is_own(self, asked: Reservation | None, remaining: float, amount: float) -> bool:
        """Whether `amount` was missing for what was spent here in the two seconds before `asked` was let go."""
        return asked is not None and self._calibration.of(amount) <= self._fine and asked.recent + remaining >= OWN_SHARE * self._peak

    def pause(self, seconds: float, now_s: float) -> None:
        """Let nothing go for `seconds` (at most 300), then begin from nothing saved up. The longer of two pauses holds."""
        now_s = self.refill(now_s)
        self._paused_s = max(self._paused_s, now_s + min(seconds, PAUSE_CEILING_S))
        self._level = min(self._level, 0.0)

    def retune(self, per_minute: float, now_s: float) -> None:
        """Another limit from now on; nothing saved up under the old one is lost or multiplied."""
        self.refill(now_s)
        self._tune(per_minute)

    def _tune(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self._rate = per_minute / 60.0 * PACE
        self._burst = self._rate * BURST_S
        self._peak = per_minute / 60.0 * PEAK_S
        self._fine = self._peak * self._fine_share
        self._level = min(self._level, self._burst)

    def refill(self, now_s: float) -> float:
        """Add what has accrued; returns the bucket's own time, which neither runs back nor stands still when the clock does."""
        now_s += self._skew_s
        before_s = self._stamp_s
        if now_s < before_s:
            if before_s - now_s > _STEP_S:
                self._skew_s += before_s - now_s
            return before_s
        self._stamp_s = now_s
        since_s = now_s - (self._paused_s if self._paused_s > before_s else before_s)  # noqa: FURB136 - every call passes here
        if since_s > 0.0:
            level = self._level + self._rate * since_s
            self._level = self._burst if self._burst < level else level  # noqa: FURB136 - every call passes here
        return now_s

    def _wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `amount` could go if nothing stood before it; 0.0 is now."""
        need = self._burst if self._burst < amount else amount  # noqa: FURB136 - every call passes here
        wait_s = (need - self._level) / self._rate if self._level < need else 0.0
        if now_s < self._paused_s:
            wait_s += self._paused_s - now_s
        log, old_s = self._log, now_s - (PEAK_S + PEAK_MARGIN_S)
        self._watched_s = old_s
        while log and log[0].at_s <= old_s:
            self._used -= log.popleft().counts
        if not log:
            self._used = 0.0
        elif self._used > self._peak - self._fine and now_s >= self._spare_until_s:
            wait_s = max(wait_s, self._held_s(amount))
        return wait_s if wait_s > _SOON_S else 0.0

    def _held_s(self, amount: float) -> float:
        """Seconds until enough of the last two seconds is past for `amount` to make no peak."""
        counts = self._calibration.of(amount)
        over = self._used - self._peak + (counts if counts <= self._fine else 0.0)
        if over > 0.0:
            for one in self._log:
                over -= one.counts
                if over <= 0.0:
                    return one.at_s - self._watched_s
        return 0.0

    def _go_or_sleep_s(self, reservation: Reservation, now_s: float) -> float:
        """0.0 and gone; or how long it may sleep: not beyond its turn, and not so long that the bucket overflows meanwhile."""
        head = self._queue.head
        wait_s, least_s = 0.0 if head is None else self._wait_s(head.amount, now_s), _SOON_S
        if head is not reservation:
            ahead = self._queue.ahead(reservation) + min(reservation.amount, self._burst)
            wait_s, least_s = max(wait_s, (ahead - self._level) / self._rate), _TURN_S
        elif not wait_s:
            self._let_go(reservation, now_s)
            reservation.state, reservation.wait_s = GONE, 0.0
            self._queue.trim()
            return 0.0
        reservation.wait_s = max(wait_s, least_s)
        return min(reservation.wait_s, BURST_S)

    def _let_go(self, reservation: Reservation, now_s: float) -> None:
        amount = reservation.amount
        self.sent += amount
        self._level -= amount
        counts = reservation.counts = amount if self._calibration.exact else self._calibration.of(amount)
        self._used += counts
        self._log.append(reservation)
        reservation.recent, reservation.at_s = self._used, now_s
        self.gone_s = now_s
        if self.gap_s:
            self._paused_s = max(self._paused_s, now_s + self.gap_s)

    def _correct(self, reservation: Reservation, actual: float, now_s: float) -> None:
        """It came to `actual`: give back the rest, or take what is missing."""
        more = actual - reservation.amount
        if more:
            self.refill(now_s)
            self.sent += more
            self._level = min(self._level - more, self._burst)
        if reservation.at_s > self._watched_s:
            self._used += actual - reservation.counts
            reservation.counts = actual
