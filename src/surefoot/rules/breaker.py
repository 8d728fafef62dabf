"""Whether a target may be asked at all: closed, open, half-open, ramp, over a sliding window of time.

Closed: everything passes, until half of at least ten calls let in within 30 s have failed. Calls count when they are let in, not when
they end: faults are often faster than answers, and a client that starts with 500 calls at 30 % faults would see 150 failures before the
first answer. Open: nothing passes for a while, not the same while for everybody. Half-open: up to three trials, a second apart; the first
verdict counts. Ramp: a tenth of the traffic, a quarter, half, all, and for ten seconds no more than before the failure, whoever has been
waiting meanwhile; then closed.

Sources: M. Nygard, "Release It!", 2007 (the states); Google SRE book, "Handling Overload" (requests are counted before they are sent);
Polly v8 (30 s sampling, 5 s break); LiteLLM (half of the calls); Envoy, `max_ejection_time_jitter` (why all must not come back at once).
All operations are O(1), amortised; `admit` when closed is two additions.
"""

import math

from surefoot.rules import SteadyTime

BEARABLE = 0.3  # faults that retries still make good: among few calls half may fail by chance (of ten, once in 7),
SURE = 4.0  # so the failures must also be four standard deviations above these: 9 of 10, 15 of 20; from 84 calls on half is enough
ROW = 5  # failures one after the other: Envoy's consecutive_5xx
OPEN_CEILING_S = 7.0  # doubling ends here, not at the usual 60: it is what a recovery within 15 s leaves after jitter, a trial and the ramp
JITTER = 0.2  # the next trial is up to a fifth later, each client by its own draw: 50 who opened together come back over a second
TRIALS = 3  # at once, so that one hanging trial does not keep the target shut for a minute
TRIAL_GAP_S = 1.0  # apart: the first usually has its verdict before the second leaves
TRIAL_FORGOTTEN_S = 60.0  # a trial that never ends (a suspended machine, a lost permit) is given up
RAMP = (0.10, 0.25, 0.50)  # shares admitted, a step each: caches, connections and autoscalers warm up under a growing load
RAMP_STEP_S = 1.0
HOLD_S = 10.0  # since the ramp began: so long the inflow is held near what it was before the failure
HOLD_SHARE, HOLD_BURST_S = 1.1, 0.1  # together at most 1.2 times the steady inflow in any second
STEADY_LEAST_S = 5.0  # a steady inflow measured over less is not known
STEADY_LEAST = 2.0  # calls a second: who asks more rarely cannot flood anybody, and would wait for seconds if held
_LEAST_WAIT_S = 0.001  # who asks again as told must find the clock moved on
_SLOTS = 10

CLOSED, OPEN, HALF_OPEN, RAMPING = "closed", "open", "half-open", "ramp"


class Permit:
    """Leave to ask; ends in `record` or `drop`. One object serves all calls between two openings."""

    __slots__ = ()


class Refusal:
    """Not now: seconds until the next chance, and what had been seen (`failed` of `begun` calls) when it opened."""

    __slots__ = ("begun", "failed", "wait_s")

    def __init__(self, wait_s: float, failed: int, begun: int) -> None:
        self.wait_s = wait_s
        self.failed = failed
        self.begun = begun


class BreakerRule:
    """One target's breaker.

    `open_s` doubles with each failed trial up to `open_ceiling_s`. A higher ceiling spares a target trials, at one client's one call in
    `open_ceiling_s`, and costs as many seconds of recovery. Only the target's failures are recorded; the caller's own mistakes and
    cancelled calls are dropped.
    """

    __slots__ = (
        "_at", "_begun", "_begun_now", "_born_s", "_credit", "_credit_s", "_end_s", "_failed", "_failed_now", "_from_s",
        "_least_calls", "_open_ceiling_s", "_open_s", "_opened_s", "_permit", "_ramp_s", "_ratio", "_row", "_since", "_steady",
        "_time", "_trial_s", "_trials", "_until_s", "_wait_s", "_was", "_width_s", "state",
    )  # fmt: skip

    def __init__(
        self,
        *,
        window_s: float,
        least_calls: int,
        ratio: float,
        open_s: float,
        open_ceiling_s: float = OPEN_CEILING_S,
    ) -> None:
        self.state = CLOSED
        self._width_s = window_s / _SLOTS
        self._least_calls = least_calls
        self._ratio = ratio
        self._open_s = open_s
        self._open_ceiling_s = max(open_s, open_ceiling_s)
        self._permit = Permit()  # a new one each time it opens: what was let in before says nothing about after
        self._wait_s = open_s  # for the next opening
        self._was = (0, 0)  # (failed, begun) when it opened
        self._time = SteadyTime()
        self._born_s = self._from_s = self._end_s = -math.inf  # when the window began to fill; its present slot begins, ends
        self._at = 0
        self._begun, self._failed = [0] * _SLOTS, [0] * _SLOTS
        self._begun_now = self._failed_now = 0  # their sums
        self._row = self._since = 0  # failures, and calls let in, since the last success
        self._opened_s = self._until_s = -math.inf
        self._trials = 0  # begun and not ended, in this half-open time
        self._trial_s = self._ramp_s = self._credit_s = -math.inf
        self._steady = math.inf  # calls a second before the failure
        self._credit = 0.0

    def admit(self, now_s: float, draw: float) -> Permit | Refusal:
        """Leave to ask, or not. `draw` is uniform in [0, 1)."""
        if self.state is CLOSED:
            if not self._from_s <= now_s + self._time.skew_s < self._end_s:
                self._turn(self._time.at(now_s))
            self._begun[self._at] += 1
            self._begun_now += 1
            self._since += 1
            return self._permit
        now_s = self._time.at(now_s)
        if self.state is OPEN:
            if math.isinf(self._until_s):  # the first to ask since it opened brings the luck
                self._until_s = self._opened_s + self._wait_s * (1.0 + JITTER * draw)
            if now_s < self._until_s:
                return self._refuse(self._until_s - now_s)
            self.state, self._trials, self._trial_s = HALF_OPEN, 0, -math.inf
        if self.state is HALF_OPEN:
            return self._try(now_s, draw)
        return self._ramp(now_s, draw)

    def record(self, permit: Permit, *, ok: bool, now_s: float) -> bool:
        """The call ended; `ok` False is the target's failure. True if this failure opened the breaker."""
        if permit is not self._permit:
            return False
        if ok:
            self._row = self._since = 0
        if self.state is HALF_OPEN:
            now_s = self._time.at(now_s)
            if not ok:
                self._row += 1
                self._open(now_s)
                return True
            self.state, self._ramp_s, self._credit, self._credit_s = RAMPING, now_s, 1.0, now_s
            self._clear(now_s)
            return False
        if ok:
            return False
        if not self._from_s <= now_s + self._time.skew_s < self._end_s:
            self._turn(self._time.at(now_s))
        self._failed[self._at] += 1
        self._failed_now += 1
        self._row += 1
        if not self._too_many(self._failed_now, max(self._begun_now, self._failed_now)):
            return False
        self._open(self._time.at(now_s))
        return True

    def heed(self, failed: int, begun: int, now_s: float) -> bool:
        """What many processes saw together: True if it opened the breaker. Only while closed: who is on trial believes his own eyes."""
        if self.state is not CLOSED or not self._too_many(failed, begun):
            return False
        self._open(self._time.at(now_s))
        self._was = (failed, begun)
        return True

    def drop(self, permit: Permit) -> None:
        """The call proved nothing: cancelled, or the caller's own mistake. A trial's place is free again."""
        if permit is not self._permit:
            return
        if self.state is HALF_OPEN:
            self._trials = max(0, self._trials - 1)
        elif self._begun[self._at]:
            self._begun[self._at] -= 1
            self._begun_now -= 1

    @property
    def on_trial(self) -> bool:
        """Whether the target is being tried: half-open or ramp. Retries cost more then."""
        return self.state is HALF_OPEN or self.state is RAMPING

    @property
    def failing(self) -> bool:
        """Whether the last calls failed one after the other: too little to shut the target, enough not to wait for it.

        Faults are faster than answers: of a burst nothing but faults comes at first. So half of all calls let in since the last success
        must have failed.
        """
        return self._row >= ROW and 2 * self._row >= self._since

    def shut_s(self, now_s: float) -> float:
        """Seconds for which nobody at all is let in, as far as known now; 0.0 when not open."""
        if self.state is not OPEN:
            return 0.0
        until_s = self._opened_s + self._wait_s if math.isinf(self._until_s) else self._until_s
        return max(0.0, until_s - self._time.at(now_s))

    @property
    def last_opening(self) -> tuple[int, int, float]:
        """(failed, begun, seconds it stays open at least) of the last time it opened."""
        return (*self._was, self._wait_s)

    def _too_many(self, failed: int, calls: int) -> bool:
        """Whether the failures are half of the calls, and more than bad luck."""
        lucky = BEARABLE * calls + SURE * math.sqrt(BEARABLE * (1.0 - BEARABLE) * calls)
        return calls >= self._least_calls and failed >= max(self._ratio * calls, lucky)

    def _refuse(self, wait_s: float) -> Refusal:
        return Refusal(max(wait_s, _LEAST_WAIT_S), *self._was)

    def _try(self, now_s: float, draw: float) -> Permit | Refusal:
        """Half-open: one trial now, another each second, three at most, until one of them has a verdict."""
        if now_s >= self._trial_s + TRIAL_FORGOTTEN_S:
            self._trials = 0
        if self._trials:
            wait_s = self._trial_s + (TRIAL_GAP_S if self._trials < TRIALS else TRIAL_FORGOTTEN_S) - now_s
            if wait_s > 0.0:
                return self._refuse(min(wait_s, TRIAL_GAP_S) + TRIAL_GAP_S * draw)
        self._trials += 1
        self._trial_s = now_s
        return self._permit

    def _ramp(self, now_s: float, draw: float) -> Permit | Refusal:
        """A growing share of the traffic, and no more than before the failure."""
        since_s = now_s - self._ramp_s
        if since_s >= HOLD_S:
            self.state, self._wait_s = CLOSED, self._open_s
        else:
            step = int(since_s / RAMP_STEP_S)
            share = RAMP[step] if step < len(RAMP) else 1.0
            if draw >= share:
                return self._refuse((step + 1) * RAMP_STEP_S - since_s + RAMP_STEP_S * draw)  # not all at the step
            rate = HOLD_SHARE * self._steady * share
            if rate < math.inf:
                self._credit = min(max(1.0, HOLD_BURST_S * self._steady), self._credit + rate * (now_s - self._credit_s))
                self._credit_s = now_s
                if self._credit < 1.0:
                    return self._refuse(min((1.0 - self._credit) / rate, RAMP_STEP_S) + RAMP_STEP_S * draw)
                self._credit -= 1.0
        if not self._from_s <= now_s < self._end_s:
            self._turn(now_s)
        self._begun[self._at] += 1
        self._begun_now += 1
        return self._permit

    def _open(self, now_s: float) -> None:
        self._was = (self._failed_now, self._begun_now)
        if self.state is CLOSED:
            covered_s = min(now_s - self._born_s, self._width_s * _SLOTS)
            known = covered_s >= STEADY_LEAST_S and self._begun_now >= STEADY_LEAST * covered_s
            self._steady = self._begun_now / covered_s if known else math.inf
            self._wait_s = self._open_s
        else:
            self._wait_s = min(2.0 * self._wait_s, self._open_ceiling_s)
        self.state, self._opened_s, self._until_s = OPEN, now_s, math.inf
        self._permit = Permit()

    def _clear(self, now_s: float) -> None:
        self._begun, self._failed = [0] * _SLOTS, [0] * _SLOTS
        self._begun_now = self._failed_now = self._row = self._since = 0
        self._born_s = self._from_s = now_s
        self._end_s = now_s + self._width_s

    def _turn(self, now_s: float) -> None:
        """Move the window on to `now_s`, on the breaker's own clock."""
        steps = (now_s - self._from_s) / self._width_s
        if steps >= _SLOTS:
            self._clear(now_s)
            return
        for _ in range(int(steps)):
            self._at = at = (self._at + 1) % _SLOTS
            self._begun_now -= self._begun[at]
            self._failed_now -= self._failed[at]
            self._begun[at] = self._failed[at] = 0
            self._from_s += self._width_s
        self._end_s = self._from_s + self._width_s
