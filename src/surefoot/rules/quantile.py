"""A streaming quantile over a sliding window, for hedging delays.

A rotating histogram, as tower's hedge keeps: bins 5 % apart from a millisecond to twenty minutes, so the answer is right to 5 % at any
scale and memory is bounded (six times 290 counters); one slice a minute, the oldest dropped. P-square needs less memory but cannot
forget: a provider that was slow an hour ago would delay its hedges today. The place of the quantile is kept from call to call and moves a
bin or two, so both operations are O(1), amortised. Nothing is random: the same values give the same answer.

Sources: tower, `hedge/rotating_histogram.rs`; G. Tene, HdrHistogram (relative error by logarithmic bins).
"""

import math

P95 = 0.95  # hedging there asks twice for one call in twenty, which is what the retry budget allows
WINDOW_S = 300.0  # at one call in six seconds still fifty samples; a model server's habits last longer than five minutes
LEAST = 50  # samples: failsafe-go and Envoy trust no percentile of fewer; of fifty, two and a half are above the p95
_SLICES = 5
_LOW_S = 0.001
_RATIO = 1.05
_BINS = 289  # the last begins at 20 min
_SCALE = 1.0 / math.log(_RATIO)
_EDGES = [0.0, *(_LOW_S * _RATIO**n for n in range(_BINS))]  # bin n holds the values from edge n up to edge n + 1


class Quantile:
    """The quantile `q` of the values recorded in the last `window_s` seconds (right to one slice, a fifth of it).

    None until `least` values are there: a delay guessed from fewer hedges either everything or nothing.
    """

    __slots__ = ("_at", "_below", "_bin", "_counts", "_from_s", "_least", "_q", "_slices", "_until_s", "_width_s", "total")

    def __init__(self, q: float = P95, *, window_s: float = WINDOW_S, least: int = LEAST) -> None:
        self._q = q
        self._least = least
        self._width_s = window_s / _SLICES
        self._from_s = math.inf
        self._until_s = -math.inf
        self._at = 0
        self._bin = 0  # where the quantile was last found,
        self._below = 0  # and how many values are in lower bins
        self.total = 0
        self._counts = [0] * _BINS
        self._slices: list[list[int]] = []
        self._clear()

    def record(self, value_s: float, now_s: float) -> None:
        """Count one value, in seconds. Negative values, nan and inf are no durations and are left out."""
        if not 0.0 <= value_s < math.inf:
            return
        if not self._from_s <= now_s < self._until_s:
            self._turn(now_s)
        n = min(int(math.log(value_s / _LOW_S) * _SCALE) + 1, _BINS - 1) if value_s >= _LOW_S else 0
        self._counts[n] += 1
        self._slices[self._at][n] += 1
        self.total += 1
        if n < self._bin:
            self._below += 1

    def value(self, now_s: float) -> float | None:
        """The quantile in seconds, within 5 %; None while there are too few values."""
        if not self._from_s <= now_s < self._until_s:
            self._turn(now_s)
        if self.total < self._least or not self.total:
            return None
        rank, counts = self._q * self.total, self._counts
        n, below = self._bin, self._below
        while below >= rank and n:
            n -= 1
            below -= counts[n]
        while below + counts[n] < rank:
            below += counts[n]
            n += 1
        self._bin, self._below = n, below
        return _EDGES[n] + (_EDGES[n + 1] - _EDGES[n]) * (rank - below) / counts[n]

    def _clear(self) -> None:
        self._counts = [0] * _BINS
        self._slices = [[0] * _BINS for _ in range(_SLICES)]
        self._at = self._bin = self._below = self.total = 0

    def _turn(self, now_s: float) -> None:
        """Move the window on to `now_s`. A clock that stepped back begins its slice anew; one that leapt ahead finds the window empty."""
        steps = (now_s - self._from_s) / self._width_s if now_s > self._from_s else 0.0
        if steps >= _SLICES:
            self._clear()
        for _ in range(int(steps) if steps < _SLICES else 0):
            self._at = (self._at + 1) % _SLICES
            old = self._slices[self._at]
            self._slices[self._at] = [0] * _BINS
            self._counts = [count - gone for count, gone in zip(self._counts, old, strict=True)]
            self._below -= sum(old[: self._bin])
            self.total -= sum(old)
        self._from_s = self._from_s + int(steps) * self._width_s if 0.0 < steps < _SLICES else now_s
        self._until_s = self._from_s + self._width_s
