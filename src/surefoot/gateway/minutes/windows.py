"""How much was taken in the last minute: whatever 60 seconds one looks at, no more than the limit was. Pure: the clock is an argument."""

from __future__ import annotations

SECONDS = 60  # of a minute


class MinuteWindow:
    """At most a limit in any 60 seconds, counted by the second: at worst a second too careful, and 500 bytes however large the limit."""

    __slots__ = ("_bins", "_sum", "_upto")

    def __init__(self) -> None:
        self._bins = [0] * (SECONDS + 1)
        self._sum = 0
        self._upto = 0  # the second that the newest bin counts

    def take(self, amount: int, limit: int, now_s: float) -> float:
        """Take `amount` and return 0.0; or take nothing, and return the seconds until there may be enough."""
        self._move(now_s)
        if self._sum + amount <= limit:
            self._bins[self._upto % (SECONDS + 1)] += amount
            self._sum += amount
            return 0.0
        return self._until(self._sum + amount - limit, now_s)

    def add(self, amount: int, now_s: float) -> None:
        """What is known only now; below 0: what was taken and not needed."""
        self._move(now_s)
        at = self._upto % (SECONDS + 1)
        if self._sum + amount < 0:
            amount = -self._sum
        self._bins[at] += amount
        self._sum += amount

    def _move(self, now_s: float) -> None:
        second = int(now_s)
        if second <= self._upto:
            return
        for one in range(max(self._upto + 1, second - SECONDS), second + 1):
            self._sum -= self._bins[one % (SECONDS + 1)]
            self._bins[one % (SECONDS + 1)] = 0
        self._upto = second

    def _until(self, over: int, now_s: float) -> float:
        """Seconds until `over` has left the window; that of an empty window where it never fits."""
        for age in range(SECONDS, -1, -1):
            over -= self._bins[(self._upto - age) % (SECONDS + 1)]
            if over <= 0:
                return SECONDS + 1 - age - (now_s - int(now_s))
        return float(SECONDS + 1)
