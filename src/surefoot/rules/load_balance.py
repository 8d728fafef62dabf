"""Which of several equal targets to ask: power of two choices on load and latency, with outliers ejected for a while, but never all.

Two targets are drawn, the one with the lower cost is asked. Cost is latency times calls in flight plus one, times a penalty for failures.
The latency rises to a peak at once and sinks with time (peak EWMA), the failure rate sinks likewise: a target that stalls is felt before
its average is, one that is shunned gets another chance, and failures never count as fast answers.

Two choices alone cannot keep away from five bad targets of ten: both draws are bad in two cases of nine. So a target that is plainly
worse than its equals is ejected: five failures in a row and a failure rate 0.45 above the better quarter of the others, or five times
their latency. Worse than the others, not worse than a number: what all have in common is the network's fault or ours. It comes back by
one trial call when its time is over, up to a quarter later by a draw, and later after each ejection.

Sources: M. Mitzenmacher, "The Power of Two Choices", 2001; Finagle, `PeakEwma`; Envoy, outlier detection (five in a row, 30 s times the
number of ejections up to 300 s, jitter) and panic threshold (half: below it the fault is not the hosts'). `pick` is O(1); ejecting is O(n
log n), and rare.
"""

import math
from collections.abc import Collection

from surefoot.rules import SteadyTime

DECAY_S = 10.0  # a peak is half forgotten in 7 s: Finagle's default
COLD_S = 0.001  # an unknown target is taken for fast, so that it gets to be known
FAILURE_WEIGHT = 0.1  # of the newest call in the failure rate: ten calls' memory, as many as a breaker asks for
FAILURE_COST = 10.0  # a target failing every call looks eleven times as slow
STREAK = 5  # Envoy's consecutive 5xx
WORSE_BY = 0.45  # of failure rate: six in a row from none; where all fail three in ten it takes eight, once in 15,000 calls
SLOWER_BY = 5.0  # of latency: answers of equals differ in length, hardly by so much on average
MEAN_WEIGHT = 0.1  # of the newest answer in a target's mean latency
SLOW_LEAST = 10  # calls before an average latency is believed
EJECT_S = 30.0  # Envoy's base ejection time
EJECT_CEILING_S = 300.0  # and its maximum
JITTER = 0.25  # Envoy's default is none, and its documentation says to set one
SHARE = 0.5  # Envoy's panic threshold


class _Target:
    """What is known of one target."""

    __slots__ = ("at_s", "calls", "ejections", "failure", "in_flight", "latency_s", "mean_s", "streak", "trial", "until_s")

    def __init__(self) -> None:
        self.in_flight = 0
        self.until_s = -math.inf  # ejected until
        self.trial = False  # its trial call is under way
        self.ejections = 0
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.calls = 0
        self.latency_s = self.mean_s = self.failure = 0.0
        self.at_s = -math.inf
        self.streak = 0

    def failing(self, now_s: float) -> float:
        """The failure rate, faded."""
        return self.failure * math.exp((self.at_s - now_s) / DECAY_S)

    def cost(self, now_s: float) -> float:
        """What asking it now may cost: seconds, times penalties."""
        fade = math.exp((self.at_s - now_s) / DECAY_S)
        return (COLD_S + self.latency_s * fade) * (self.in_flight + 1) * (1.0 + FAILURE_COST * self.failure * fade)


class LoadBalancer:
    """Chooses among `count` equal targets, numbered from 0.

    Each `pick` ends in one `record` (ok False: the target's failure) or one `drop` (cancelled, or the caller's own mistake: proves
    nothing). At most half are ejected at a time, so one is always left.
    """

    __slots__ = ("_due_s", "_live", "_targets", "_time", "_typical_s")

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"{count} targets: there must be one at least")
        self._targets = [_Target() for _ in range(count)]
        self._live = list(range(count))
        self._due_s = math.inf  # when the next ejection ends
        self._typical_s = 0.0  # a running mean over all targets, to look for slow ones only where there may be some
        self._time = SteadyTime()

    @property
    def live(self) -> tuple[int, ...]:
        """Those not ejected."""
        return tuple(self._live)

    def pick(self, now_s: float, draw: float, *, avoid: Collection[int] = ()) -> int:
        """The target to ask. `draw` is uniform in [0, 1); those in `avoid` (asked before) only if there is no other."""
        now_s = self._time.at(now_s)
        if now_s >= self._due_s:
            trial = self._trial(now_s, avoid)
            if trial is not None:
                return trial
        live = self._live
        if avoid:
            live = [n for n in live if n not in avoid] or live
        count, first = len(live), live[0]
        if count > 1:
            place = draw * count
            i = int(place)
            j = int((place - i) * (count - 1))
            first, second = live[i], live[j if j < i else j + 1]
            if self._targets[second].cost(now_s) < self._targets[first].cost(now_s):
                first = second
        self._targets[first].in_flight += 1
        return first

    def record(self, index: int, *, latency_s: float, ok: bool, now_s: float, draw: float) -> bool:
        """The call ended after `latency_s` (to the first token, if answers differ in length). True if this ejected the target."""
        now_s, target = self._time.at(now_s), self._targets[index]
        target.in_flight -= 1
        fade = math.exp((target.at_s - now_s) / DECAY_S)
        target.at_s = now_s
        target.latency_s *= fade
        target.failure *= fade
        if ok:
            target.calls += 1
            target.streak = 0
            target.failure *= 1.0 - FAILURE_WEIGHT
            target.latency_s = max(latency_s, target.latency_s)
            target.mean_s += (latency_s - target.mean_s) * max(1.0 / target.calls, MEAN_WEIGHT)
            self._typical_s += (latency_s - self._typical_s) * MEAN_WEIGHT / len(self._targets)
            bad = target.calls >= SLOW_LEAST and latency_s > 2.0 * self._typical_s and self._slow(index, target.mean_s)
        else:
            target.streak += 1
            target.failure += FAILURE_WEIGHT * (1.0 - target.failure)
            bad = target.streak >= STREAK and self._failing(index, now_s)
        if target.trial:
            good = ok and not self._slow(index, latency_s)
            return self._judge(index, ok=good, latency_s=latency_s, now_s=now_s, draw=draw)
        return bad and self._eject(index, now_s, draw)

    def drop(self, index: int) -> None:
        """The call proved nothing. If it was a trial, the next call is one again."""
        target = self._targets[index]
        target.in_flight -= 1
        if target.trial:
            target.trial = False
            target.until_s = self._due_s = -math.inf

    def _trial(self, now_s: float, avoid: Collection[int]) -> int | None:
        """Give this call to one whose ejection is over. If it never ends, the trial is repeated after the shortest ejection."""
        for index, target in enumerate(self._targets):
            if target.until_s <= now_s and index not in self._live and index not in avoid:
                target.trial = True
                target.until_s = now_s + EJECT_S
                target.in_flight += 1
                self._set_due()
                return index
        return None

    def _judge(self, index: int, *, ok: bool, latency_s: float, now_s: float, draw: float) -> bool:
        """The verdict on a trial: back among the others, or away for longer."""
        target = self._targets[index]
        target.trial = False
        if ok:
            target.forget()
            target.latency_s, target.at_s = latency_s, now_s  # not cold: all would go there at once
            self._live.append(index)
        else:
            target.ejections += 1
            target.until_s = now_s + min(EJECT_S * target.ejections, EJECT_CEILING_S) * (1.0 + JITTER * draw)
        self._set_due()
        return not ok

    def _eject(self, index: int, now_s: float, draw: float) -> bool:
        target = self._targets[index]
        if index not in self._live or len(self._targets) - len(self._live) >= int(len(self._targets) * SHARE):
            return False
        if now_s - target.until_s > EJECT_CEILING_S:
            target.ejections = 0  # long ago
        self._live.remove(index)
        target.ejections += 1
        target.until_s = now_s + min(EJECT_S * target.ejections, EJECT_CEILING_S) * (1.0 + JITTER * draw)
        self._set_due()
        return True

    def _set_due(self) -> None:
        self._due_s = min((target.until_s for n, target in enumerate(self._targets) if n not in self._live), default=math.inf)

    def _failing(self, index: int, now_s: float) -> bool:
        """Whether it fails much more often than the better quarter of the others."""
        others = sorted(self._targets[n].failing(now_s) for n in self._live if n != index)
        return bool(others) and self._targets[index].failing(now_s) >= others[(len(others) - 1) // 4] + WORSE_BY

    def _slow(self, index: int, latency_s: float) -> bool:
        """Whether `latency_s` is much more than the better quarter of the others take."""
        others = sorted(self._targets[n].mean_s for n in self._live if n != index and self._targets[n].calls >= SLOW_LEAST)
        return bool(others) and latency_s > SLOWER_BY * others[(len(others) - 1) // 4]
