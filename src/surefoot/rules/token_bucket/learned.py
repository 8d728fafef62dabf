"""A limit that is not given, found from the provider's answers.

Headers name the limit: it is paced like a given one. Without them the limit is unknown until the first refusal. Between two refusals
the provider went from empty to empty, so what it accepted meanwhile is exactly what it grants: the pace becomes 2 % less than that,
and grows again, slowly at first, while requests wait for it, until the next refusal is the next measurement. A provider that refuses
everything is shut, not slow: the pace stays, single trials go out at doubling distances.
"""

import math

from surefoot.rules.token_bucket.fixed import MINUTE_S, TokenBucket
from surefoot.rules.token_bucket.queue import QUEUED, Reservation

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
_TEND_S = 1.0


class LearnedTokenBucket:
    """The same as `TokenBucket` where no limit is given: `LearnedTokenBucket()`."""

    __slots__ = (
        "_asked", "_before", "_blind", "_bucket", "_ceiling", "_cut_s", "_gave_up", "_got", "_mark", "_patience_s", "_pressed", "_quiet_s",
        "_recent", "_tended_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self._bucket = TokenBucket()
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
        """As `TokenBucket.sure_wait_s`; while the pace is a guess, only the pause is sure."""
        pause_s = self._bucket._paused_s - self._bucket.refill(now_s)  # noqa: SLF001 - one bucket, two files
        return min(reservation.wait_s, max(0.0, pause_s)) if math.isinf(self._ceiling) else reservation.wait_s

    @property
    def shut(self) -> bool:
        """Whether all was refused of late, and only trials go out."""
        return self._patience_s > 0.0

    @property
    def head(self) -> Reservation | None:
        """As `TokenBucket.head`."""
        return self._bucket.head

    def reserve(self, amount: float, now_s: float, *, low_priority: bool = False) -> Reservation:
        """As `TokenBucket.reserve`."""
        if not 0.0 <= now_s - self._tended_s < _TEND_S:
            self._tend(now_s)
        self._asked += 1
        return self._bucket.reserve(amount, now_s, low_priority=low_priority)

    def ready(self, reservation: Reservation, now_s: float) -> float:
        """As `TokenBucket.ready`."""
        if not 0.0 <= now_s - self._tended_s < _TEND_S:
            self._tend(now_s)
        return self._bucket.ready(reservation, now_s)

    def settle(self, reservation: Reservation, actual: float, now_s: float) -> None:
        """As `TokenBucket.settle`; an answer also ends the trials."""
        if self._patience_s and reservation.at_s > self._cut_s:
            self._open()
        self._bucket.settle(reservation, actual, now_s)

    def cancel(self, reservation: Reservation, now_s: float) -> None:
        """As `TokenBucket.cancel`."""
        self._gave_up = self._gave_up or reservation.state == QUEUED
        self._bucket.cancel(reservation, now_s)

    def observe(
        self,
        now_s: float,
        *,
        limit: float | None = None,
        remaining: float | None = None,
        reset_s: float = 60.0,
        asked: Reservation | None = None,
    ) -> None:
        """As `TokenBucket.observe`, of answers and refusals: the limit named is the one to keep."""
        if limit is not None and 0.0 < limit != self._ceiling and reset_s <= MINUTE_S:
            at_ceiling = math.isinf(self._ceiling) or self.per_minute >= self._ceiling
            self._ceiling, self._blind = limit, 0.0
            if at_ceiling or self.per_minute > limit:
                self._bucket.retune(limit, now_s)
        self._bucket.observe(now_s, remaining=remaining, reset_s=reset_s, asked=asked)

    def on_refusal(self, reservation: Reservation, now_s: float, *, retry_after_s: float | None = None) -> None:
        """As `TokenBucket.on_refusal`, and a lesson, unless it had been let go before the last lesson was drawn."""
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
