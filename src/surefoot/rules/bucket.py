# long: the bucket and what learns its limit share one clock, one log and one queue; apart, each would be written twice
"""Tokens per minute: reserve an estimate, settle the actual; given limits, or limits learned from the provider's answers.

`Bucket` keeps a given limit. Two rules bind at once. A token bucket that holds one second of the limit sets the long-run pace, and into
it go refunds and debts. A sliding window of two seconds holds down the peaks, because a token bucket alone lets up to three seconds'
worth into two: a provider that enforces 60 a minute as 2 in 2 s would refuse. `Learned` finds the limit where none is given.

Nothing here knows what is counted: requests pass the same gate, each costing one. What ready-made limiters lack is why it is our own:
amounts, refunds (also of a request that was refused further in), debts, and a limit that changes under way.

Sources: OpenAI, "Rate limits" (a limit per minute may be enforced over shorter periods); Azure OpenAI, "Manage quota" (evaluated over 1
or 10 s); RFC 2697 (token bucket). All operations are O(1), amortised.
"""

import math
from collections import deque

BURST_S = 1.0  # what an idle client may send at once: one second of its limit, half of the shortest window we know to be enforced on tokens
PEAK_S = 2.0  # no two seconds, wherever they begin, hold more than two seconds of the limit
PEAK_MARGIN_S = 0.01  # requests overtake one another on the way by some milliseconds
PACE = PEAK_S / (PEAK_S + PEAK_MARGIN_S)  # the long run gives up the same half percent, so that no minute holds more than a minute's worth
FINE_SHARE = 1 / 10  # a request larger than this part of two seconds may straddle: who enforced so short a window could not serve it well
ROOM_S = 4.0  # a provider that says it has so many seconds' worth left does not enforce two seconds
ROOM_HOLDS_S = 10.0  # and is believed for so long
PAUSE_CEILING_S = 300.0  # Envoy's cap for reset headers: one absurd Retry-After must not silence a target for a day
_STEP_S = 1.0  # a clock behind by less is a reading some microseconds old; by more, it was set back
FIRST_CUT = 0.7  # at the first refusal all that is known is that it was too much: AWS and CUBIC keep 0.7
SHRINK = 0.98  # below what was measured: the 2 % pay back what the provider is owed and put the next refusal some hundred requests away
STEP_DOWN = 0.9  # a refusal too soon after the last one to measure anything
GROWTH_EACH = 4e-5  # for each request let go under pressure: 2 % in 500 requests, so a refusal found out is one in 500
GROWTH_CEILING = 0.001  # a second: what was learned from a busy client's refusal shall last for 20 s at least
KNOWN_GROWTH = 0.005  # a second, where headers name the limit: there is less to find out
BLIND_GROWTH = 0.05  # a second, after the first cut, which was a guess; halved by each refusal until the ceiling above holds
QUIET_S = 30.0  # after each such time without refusal the pace grows that much faster: the limit may have been raised
LEAST_SPAN_S = 2.0  # a measurement over less says more about the provider's window than about its limit
LEAST_EACH_S = 10.0  # the slowest pace is one request of the size refused in so many seconds
TRIAL_S = 1.0  # between trials, while all is refused
PATIENCE_S = (0.5, 30.0)  # pauses double from, to; where the provider gives a Retry-After, that is the pause
MINUTE_S = 61.0  # what takes longer to become whole is no limit per minute
_TEND_S = 1.0
_TURN_S = 0.02  # one who is not first asks no oftener: it cannot go before the first has gone
_SOON_S = 1e-6  # waits below the resolution of an event loop's timer are none


class Reservation:
    """A place in the queue, then a claim on the limit.

    `wait_s` is how long until its turn, as of the last question (0.0: go), so that a deadline nearer than that can be told at once;
    `at_s` when it was let go, on the bucket's clock. `waiter` is the acting layer's own, never read here.
    """

    __slots__ = ("amount", "at_s", "before", "state", "wait_s", "waiter")

    def __init__(self, amount: float, at_s: float, wait_s: float, state: int, before: float) -> None:
        self.amount = amount
        self.at_s = at_s
        self.wait_s = wait_s
        self.waiter: object = None
        self.state = state
        self.before = before


_QUEUED, _GONE, _OVER = 0, 1, 2


class Bucket:
    """A limit of `per_minute`, spent in order of arrival; inf is no limit.

    Reserve, then ask `ready` and sleep as long as it says, until it says 0.0; then send, and `settle` with what it really cost. `cancel`
    if nothing was sent. A request larger than a second of the limit goes when its turn comes and leaves a debt, so it never starves and
    never overtakes. Sleeping and asking is enough; to lose no millisecond, wake the `waiter` of `head` when one leaves the queue. A
    reservation must end in settle, cancel or on_refusal, or those behind it wait for ever.
    """

    __slots__ = (
        "_burst", "_fine", "_fine_share", "_given", "_left", "_level", "_log", "_paused_s", "_peak", "_per_minute", "_queue",
        "_queued", "_rate", "_roomy_s", "_skew_s", "_stamp_s", "_used", "gap_s", "gone_s", "sent",
    )  # fmt: skip

    def __init__(self, per_minute: float = math.inf, *, fine_share: float = FINE_SHARE) -> None:
        self.sent = 0.0  # let go so far, less what was cancelled or refused, corrected by what was settled
        self.gone_s = -math.inf  # when the last was let go
        self.gap_s = 0.0  # least time between two requests let go, for trials
        self._fine_share = fine_share
        self._queue: deque[Reservation] = deque()
        self._queued = 0.0  # amounts ever queued; a reservation notes the figure when it joins,
        self._left = 0.0  # amounts that left the queue: the difference stands before it
        self._log: deque[tuple[float, float]] = deque()  # (when, amount) of the last two seconds
        self._used = 0.0  # their sum
        self._paused_s = -math.inf
        self._roomy_s = -math.inf
        self._skew_s = 0.0
        self._stamp_s = -math.inf
        self._level = 0.0
        self._given = per_minute
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
        return self._queue[0] if self._queue else None

    def reserve(self, amount: float, now_s: float) -> Reservation:
        """Claim `amount` (an estimate, >= 0). It may go at once if its `wait_s` is 0.0."""
        now_s = self.refill(now_s)
        if not self._queue:
            wait_s = self._wait_s(amount, now_s)
            if not wait_s:
                self._let_go(amount, now_s)
                return Reservation(amount, now_s, 0.0, _GONE, 0.0)
        reservation = Reservation(amount, math.inf, 0.0, _QUEUED, self._queued)
        self._queue.append(reservation)
        self._queued += amount
        self._asleep_s(reservation, now_s)
        return reservation

    def ready(self, reservation: Reservation, now_s: float) -> float:
        """0.0: go now. Else seconds to sleep before asking again (at most 1: limits, pauses and those ahead may change meanwhile)."""
        if reservation.state != _QUEUED:
            return 0.0
        now_s = self.refill(now_s)
        if self._queue[0] is reservation and not self._wait_s(reservation.amount, now_s):
            self._let_go(reservation.amount, now_s)
            reservation.state = _GONE
            reservation.at_s, reservation.wait_s = now_s, 0.0
            self._move_up()
            return 0.0
        return self._asleep_s(reservation, now_s)

    def settle(self, reservation: Reservation, actual: float, now_s: float) -> None:
        """What it really cost: the difference is refunded, or owed by those who come."""
        if reservation.state == _GONE:
            reservation.state = _OVER
            if actual != reservation.amount:
                self._add(actual - reservation.amount, self.refill(now_s))

    def cancel(self, reservation: Reservation, now_s: float) -> None:
        """Nothing was sent, or it was refused: the claim is given back whole. After settle it does nothing."""
        if reservation.state == _GONE:
            self._add(-reservation.amount, self.refill(now_s))
        reservation.state, queue = _OVER, self._queue
        while queue and queue[-1].state == _OVER:  # nobody behind it counts on it
            self._queued -= queue.pop().amount
        self._move_up()

    def on_refusal(self, reservation: Reservation, now_s: float, *, retry_after_s: float | None = None) -> None:
        """The provider refused it for its limit: give back, let what was saved up go, and wait as told."""
        self.cancel(reservation, now_s)
        self.pause(retry_after_s or 0.0, now_s)

    def observe(self, now_s: float, *, limit: float | None = None, remaining: float | None = None, reset_s: float = 60.0) -> None:
        """What an answer's headers say: `limit` per minute, how much `remaining` of it, whole again in `reset_s`.

        A limit below the given one counts. Plenty left: the provider enforces no short windows, so the peaks need no watching for a while.
        Too little for who is next: wait, as others spend too.
        """
        now_s = self.refill(now_s)
        if limit is not None and reset_s <= MINUTE_S and (limit := min(limit, self._given)) != self._per_minute and limit > 0.0:
            self._tune(limit)
        if remaining is None:
            return
        if remaining > ROOM_S * self._rate:
            self._roomy_s = now_s + ROOM_HOLDS_S
        elif self._queue and remaining < self._queue[0].amount:
            self.pause(min(reset_s, (self._queue[0].amount - remaining) / self._rate), now_s - self._skew_s)

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
        since_s = now_s - max(before_s, self._paused_s)
        if since_s > 0.0:
            level = self._level + self._rate * since_s
            self._level = min(level, self._burst)
        return now_s

    def _wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `amount` could go if nothing stood before it; 0.0 is now."""
        need = min(amount, self._burst)
        wait_s = (need - self._level) / self._rate if self._level < need else 0.0
        if now_s < self._paused_s:
            wait_s += self._paused_s - now_s
        log, old_s = self._log, now_s - (PEAK_S + PEAK_MARGIN_S)
        while log and log[0][0] <= old_s:
            self._used -= log.popleft()[1]
        if not log:
            self._used = 0.0
        elif now_s >= self._roomy_s and (over := self._used - self._peak + (amount if amount <= self._fine else 0.0)) > 0.0:
            for gone_s, spent in log:
                over -= spent
                if over <= 0.0:
                    wait_s = max(wait_s, gone_s - old_s)
                    break
        return wait_s if wait_s > _SOON_S else 0.0

    def _asleep_s(self, reservation: Reservation, now_s: float) -> float:
        """How long one in the queue may sleep: not beyond its turn, and not so long that the bucket overflows meanwhile."""
        head = self._queue[0]
        wait_s, least_s = self._wait_s(head.amount, now_s), _SOON_S
        if head is not reservation:
            ahead = reservation.before - self._left + min(reservation.amount, self._burst)
            wait_s, least_s = max(wait_s, (ahead - self._level) / self._rate), _TURN_S
        reservation.wait_s = max(wait_s, least_s)
        return min(reservation.wait_s, BURST_S)

    def _move_up(self) -> None:
        """Take those who are done from the head of the queue."""
        queue = self._queue
        while queue and queue[0].state != _QUEUED:
            self._left += queue.popleft().amount

    def _let_go(self, amount: float, now_s: float) -> None:
        self._add(amount, now_s)
        self.gone_s = now_s
        if self.gap_s:
            self._paused_s = max(self._paused_s, now_s + self.gap_s)

    def _add(self, amount: float, now_s: float) -> None:
        """Spend `amount` (negative: give back)."""
        self.sent += amount
        self._level = min(self._level - amount, self._burst)
        self._used += amount
        self._log.append((now_s, amount))


class Learned:
    """The same gate where no limit is given: found from the provider's headers, or from its refusals alone.

    Headers name the limit: it is paced like a given one. Without them the limit is unknown until the first refusal. Between two refusals
    the provider went from empty to empty, so what it accepted meanwhile is exactly what it grants: the pace becomes 2 % less than that,
    and grows again, slowly at first, while requests wait for it, until the next refusal is the next measurement. A provider that refuses
    everything is shut, not slow: the pace stays, single trials go out at doubling distances.
    """

    __slots__ = (
        "_asked", "_before", "_blind", "_bucket", "_ceiling", "_cut_s", "_gave_up", "_got", "_mark", "_patience_s", "_pressed", "_quiet_s",
        "_recent", "_tended_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self._bucket = Bucket()
        self._ceiling = math.inf  # per minute, named by headers
        self._mark = (-math.inf, 0.0)  # (when, sent) at the refusal from which the next measurement counts; (-inf, 0.0): none yet
        self._blind = 0.0  # growth while the pace is still a guess
        self._asked = 0  # requests since last tended
        self._gave_up = False  # somebody had no time to wait since last tended
        self._pressed = True  # requests have waited ever since the mark
        self._cut_s = -math.inf  # requests let go before this carry no news
        self._got = 0.0  # sent at the last refusal that counted
        self._quiet_s = 0.0  # seconds under pressure without refusal
        self._patience_s = 0.0  # > 0.0: shut, trials only
        self._tended_s = -math.inf
        self._before = self._recent = (-math.inf, 0.0)  # (when, sent) 5 to 10 s and 0 to 5 s ago, while there is no limit

    @property
    def per_minute(self) -> float:
        """The limit now in force; inf while none is known."""
        return self._bucket.per_minute

    def sure_wait_s(self, reservation: Reservation, now_s: float) -> float:
        """As `Bucket.sure_wait_s`; while the pace is a guess, only the pause is sure."""
        pause_s = self._bucket._paused_s - self._bucket.refill(now_s)  # noqa: SLF001 - one file, two classes
        return min(reservation.wait_s, max(0.0, pause_s)) if math.isinf(self._ceiling) else reservation.wait_s

    @property
    def shut(self) -> bool:
        """Whether all was refused of late, and only trials go out."""
        return self._patience_s > 0.0

    @property
    def head(self) -> Reservation | None:
        """As `Bucket.head`."""
        return self._bucket.head

    def reserve(self, amount: float, now_s: float) -> Reservation:
        """As `Bucket.reserve`."""
        if not 0.0 <= now_s - self._tended_s < _TEND_S:
            self._tend(now_s)
        self._asked += 1
        return self._bucket.reserve(amount, now_s)

    def ready(self, reservation: Reservation, now_s: float) -> float:
        """As `Bucket.ready`."""
        if not 0.0 <= now_s - self._tended_s < _TEND_S:
            self._tend(now_s)
        return self._bucket.ready(reservation, now_s)

    def settle(self, reservation: Reservation, actual: float, now_s: float) -> None:
        """As `Bucket.settle`; an answer also ends the trials."""
        if self._patience_s and reservation.at_s > self._cut_s:
            self._open()
        self._bucket.settle(reservation, actual, now_s)

    def cancel(self, reservation: Reservation, now_s: float) -> None:
        """As `Bucket.cancel`."""
        self._gave_up = self._gave_up or reservation.state == _QUEUED
        self._bucket.cancel(reservation, now_s)

    def observe(self, now_s: float, *, limit: float | None = None, remaining: float | None = None, reset_s: float = 60.0) -> None:
        """As `Bucket.observe`, of answers and refusals: the limit named is the one to keep."""
        if limit is not None and 0.0 < limit != self._ceiling and reset_s <= MINUTE_S:
            at_ceiling = math.isinf(self._ceiling) or self.per_minute >= self._ceiling
            self._ceiling, self._blind = limit, 0.0
            if at_ceiling or self.per_minute > limit:
                self._bucket.retune(limit, now_s)
        self._bucket.observe(now_s, remaining=remaining, reset_s=reset_s)

    def on_refusal(self, reservation: Reservation, now_s: float, *, retry_after_s: float | None = None) -> None:
        """As `Bucket.on_refusal`, and a lesson, unless it had been let go before the last lesson was drawn."""
        bucket = self._bucket
        bucket.cancel(reservation, now_s)
        if retry_after_s:
            bucket.pause(retry_after_s, now_s)
        if not self.is_news(reservation):
            return
        clock_s = self._cut_s = bucket.refill(now_s)
        self._quiet_s = 0.0
        got, self._got = bucket.sent - self._got, bucket.sent
        if got <= 0.0:
            self._shut(now_s, clock_s - reservation.at_s, hinted=bool(retry_after_s))
            return
        self._open()
        bucket.retune(max(self._lesson(reservation.amount, clock_s), reservation.amount / LEAST_EACH_S) * 60.0, now_s)
        bucket.pause(0.0, now_s)

    def is_news(self, reservation: Reservation) -> bool:
        """Whether it was let go after the last lesson was drawn."""
        return reservation.at_s > self._cut_s

    def lift(self, now_s: float) -> None:
        """The refusals were not about the pace (`rules.noise`): no limit is known but what headers name."""
        self._open()
        clock_s = self._bucket.refill(now_s)
        self._before = self._recent = (clock_s, self._bucket.sent)
        self._mark, self._blind = (-math.inf, 0.0), 0.0
        self._bucket.retune(self._ceiling, now_s)

    def _lesson(self, amount: float, now_s: float) -> float:
        """The pace from now on, per second, after a refusal of `amount`."""
        sent, pace = self._bucket.sent, self.per_minute / 60.0
        (at_s, before), pressed = self._mark, self._pressed
        if math.isinf(pace):
            at_s, before = self._before
            self._mark, self._pressed, self._blind = (now_s, sent), True, BLIND_GROWTH
            return FIRST_CUT * max((sent - before) / max(now_s - at_s, 1.0), amount)  # a quiet time measures nothing: one a second
        self._blind /= 2.0
        if now_s - at_s < LEAST_SPAN_S:
            return pace * STEP_DOWN
        self._mark, self._pressed = (now_s, sent), True
        granted = (sent - before) / (now_s - at_s)
        if granted > STEP_DOWN * pace:  # near the mark: a provider of windows grants the pace itself, one that saves up what was measured
            return SHRINK * min(max(granted, 0.985 * pace), pace)
        return max(SHRINK * granted, pace * (FIRST_CUT if pressed else STEP_DOWN))

    def _shut(self, now_s: float, took_s: float, *, hinted: bool) -> None:
        """Nothing was accepted since the last refusal: try one at a time, ever more rarely unless the provider says when."""
        self._patience_s = min(max(PATIENCE_S[0], 2.0 * self._patience_s), PATIENCE_S[1])
        self._bucket.gap_s = min(max(TRIAL_S, 2.0 * took_s), 10.0 * TRIAL_S)
        if not hinted:
            self._bucket.pause(self._patience_s, now_s)

    def _open(self) -> None:
        self._patience_s = self._bucket.gap_s = 0.0

    def _tend(self, now_s: float) -> None:
        """Once a second: open after a trial that was not refused, note the throughput, grow while requests wait."""
        bucket = self._bucket
        clock_s, self._tended_s = bucket.refill(now_s), now_s
        if self._patience_s and bucket.gone_s > self._cut_s and clock_s >= bucket.gone_s + bucket.gap_s:
            self._open()
        if math.isinf(bucket.per_minute):
            if clock_s - self._recent[0] >= 5.0:
                self._before = self._recent if self._recent[0] > -math.inf else (clock_s, 0.0)
                self._recent = (clock_s, bucket.sent)
            return
        asked, self._asked = self._asked, 0
        wanted, self._gave_up = self._gave_up or bucket.head is not None, False
        if not wanted:
            self._pressed = False
        elif not (self._patience_s or bucket.paused) and bucket.per_minute < self._ceiling:
            self._quiet_s += _TEND_S
            growth = min(GROWTH_CEILING, GROWTH_EACH * asked) if math.isinf(self._ceiling) else KNOWN_GROWTH
            growth = max(growth, self._blind) * (1.0 + self._quiet_s / QUIET_S)
            bucket.retune(min(bucket.per_minute * (1.0 + growth), self._ceiling), now_s)
