"""How many extra attempts a target and a process may owe.

Sources: botocore's retry quota; SRE book, "Handling Overload".
"""

from __future__ import annotations

import math

CAPACITY = 500.0  # botocore's: at a cost of 5 it is 100 attempts, the most a process ever owes


COST = 5.0  # simulated at 100 calls/s, 6 attempts: 5 holds 99.9 % success at 30 % faults, 2 needs a longer outage to stop, 14 stops at 20 %


HALF_OPEN_COST = 14.0  # botocore's for passing faults: while the breaker is trying, the first attempts are the trial


GAIN = 1.0  # paid back by a success (botocore: by one at first try); five of them pay for one lost attempt


OWED_SHARE = 2.0  # where faults are slower than answers, those in flight at the end of a batch are mostly faults


LEAST_EXTRAS = 3.0  # an idle client may still retry one call to the end (3 more attempts)


SHARE = 0.1  # retries may add a tenth to recent traffic (SRE book, "Handling Overload": clients stay below 10 %)


UNDER_WAY = 3.0  # calls of traffic that a first attempt under way stands for: of 500 begun at once, many fail before any is answered


WINDOW_S = 600.0  # what "recent" means: LLM calls last minutes, so a window of seconds would forget the calls still under way


HEDGE_SHARE = 0.05  # at most one call in twenty is asked twice: what a hedge at the p95 needs and no more


HEDGE_BURST = 20.0  # hedges saved up for a clump of slow answers; a fifth of what the process may owe


_SLOTS = 20  # the window is counted in slots of 30 s, so it is right to within half a minute


class ProcessBudget:
    """The ceiling over all retry budgets of a process: at most 100 extra attempts since anything last succeeded.

    However many targets fail at once, a total outage costs no more; while one target lives, its successes keep the others free. O(1).
    """

    __slots__ = ("_since", "capacity")

    def __init__(self, capacity: float = CAPACITY) -> None:
        self.capacity = capacity
        self._since = 0.0

    def allow(self, cost: float) -> bool:
        """Whether one more extra attempt of `cost` may go out; if so it is counted."""
        since = self._since + cost
        if since > self.capacity:
            return False
        self._since = since
        return True

    def succeeded(self) -> None:
        """Something succeeded somewhere: this is no total outage."""
        self._since = 0.0


class RetryBudget:
    """How many extra attempts (retries and hedges together) one target's traffic affords.

    A token bucket: an extra attempt costs 5 unless it succeeds, any success pays 1 back. So isolated faults are always retried and a long
    failure is not: the balance tips at 36 % faults. (botocore pays only for successes at first try and tips at 31 %: no margin for a
    provider with 30 % faults.) The capacity follows the traffic, `max(3 * cost, min(500, cost * 0.1 * calls in the last 10 min))`: a
    fixed 500 lets a client of 0.2 calls/s send six times its traffic into an outage of a minute. Each first attempt under way counts as
    three calls more: many that begin at once have no traffic behind them, and a dead provider leaves none under way for long.

    Two accounts are kept. *Owed*: costs of extras that failed, up to twice the capacity. A cost falls due at the failure, not at the
    start with a refund to follow: with 500 calls in flight at 30 % faults some 150 retries are under way at any moment, and held costs of
    750 would starve a bucket of 500. *Since*: costs of extras begun since the last success of any kind, up to the capacity. It is what
    bounds a total outage absolutely, at capacity / cost <= 100 attempts, however many were under way when it began.

    Tell it of every call begun and of every attempt's end, but not of cancelled ones, nor of the caller's own mistakes: they prove
    nothing. Every operation is O(1), amortised.
    """

    __slots__ = (
        "_at", "_ceiling", "_cost", "_from_s", "_hedges", "_owed", "_process", "_recent", "_since", "_slots", "_until_s", "under_way",
    )  # fmt: skip

    def __init__(self, *, ceiling: float = CAPACITY, cost: float = COST, process: ProcessBudget | None = None) -> None:
        self._ceiling = ceiling
        self._cost = cost
        self._process = process
        self._owed = 0.0
        self._since = 0.0
        self._hedges = 0.0
        self.under_way = 0  # first attempts begun and not ended; kept by whoever makes them
        self._slots = [0] * _SLOTS
        self._at = 0
        self._recent = 0
        self._from_s = math.inf
        self._until_s = -math.inf

    @property
    def capacity(self) -> float:
        """The most this budget affords, in tokens, given the calls of the last 10 minutes and those whose first attempt is under way."""
        return max(LEAST_EXTRAS * self._cost, min(self._ceiling, self._cost * SHARE * (self._recent + UNDER_WAY * self.under_way)))

    @property
    def level(self) -> float:
        """Tokens left."""
        capacity = self.capacity
        return max(0.0, min(capacity - self._since, OWED_SHARE * capacity - self._owed))

    def called(self, now_s: float) -> None:
        """A call begins (its first attempt, never its retries): it widens the capacity and earns a twentieth of a hedge."""
        if not self._from_s <= now_s < self._until_s:
            self._turn(now_s)
        self._slots[self._at] += 1
        self._recent += 1
        if self._hedges < HEDGE_BURST:
            self._hedges = min(HEDGE_BURST, self._hedges + HEDGE_SHARE)

    def allow_retry(self, now_s: float, *, half_open: bool = False) -> float:
        """The cost of one retry, to be handed to `failed` if it fails; 0.0 if the budget does not afford it.

        Ask just before sending, after the backoff: answers that arrived meanwhile count. `half_open`: the breaker is trying the target,
        the cost is 14.
        """
        if not self._from_s <= now_s < self._until_s:
            self._turn(now_s)
        cost = HALF_OPEN_COST if half_open else self._cost
        if self.level < cost or not (self._process is None or self._process.allow(cost)):
            return 0.0
        self._since += cost
        return cost

    def allow_hedge(self, now_s: float, *, half_open: bool = False) -> float:
        """The cost of one hedge, to be handed to `failed` if it fails; 0.0 if the budget does not afford it.

        Hedges are never more than 5 % of the calls so far, and stop while the budget is less than half full (what is left belongs to
        retries) or the breaker is trying the target.
        """
        if half_open or self._hedges < 1.0 or self.level < self.capacity / 2.0:
            return 0.0
        cost = self.allow_retry(now_s)
        if cost:
            self._hedges -= 1.0
        return cost

    def succeeded(self) -> None:
        """An attempt succeeded, first or extra: it pays back 1, and an extra one costs nothing after all."""
        self._since = 0.0
        if self._owed:  # what an idle client owed beyond its capacity is forgiven
            self._owed = max(0.0, min(self._owed, OWED_SHARE * self.capacity) - GAIN)
        if self._process is not None:
            self._process.succeeded()

    def failed(self, cost: float) -> None:
        """An extra attempt that was to cost `cost` failed: the cost is due. Nothing for a first attempt (0.0)."""
        self._owed += cost

    def _turn(self, now_s: float) -> None:
        """Move the window on to `now_s`. A clock that stepped back begins its slot anew; one that leapt ahead finds the window empty."""
        width_s = WINDOW_S / _SLOTS
        steps = int(min((now_s - self._from_s) / width_s, _SLOTS)) if now_s > self._from_s else 0
        for _ in range(steps):
            self._at = (self._at + 1) % _SLOTS
            self._recent -= self._slots[self._at]
            self._slots[self._at] = 0
        self._from_s = self._from_s + steps * width_s if 0 < steps < _SLOTS else now_s
        self._until_s = self._from_s + width_s
