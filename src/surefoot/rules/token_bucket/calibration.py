"""What a claim will come to: a line through the claims settled lately, since each is known only when its answer has come.

A claim is an estimate, and estimates err alike: so much for each token of a prompt, and by the same output reckoned for every answer. So
the line has a slope and a height, by least squares; a mere share would take short requests for dearer than they are and long ones for
cheaper, or the other way round. All operations are O(1).

What it is worth, in virtual time, at twice a limit of a million tokens a minute: where 256 output tokens are reckoned and 30 come, .99 of
the limit is used with it and .78 without; where claims are twice or half of what comes, .99 and .75 or .85, and at half 4 % are refused.
"""

LATELY = 0.98  # what each claim that is settled leaves of the weight of those before: the last fifty decide
ALIKE = 1e-6  # claims that differ by less than a thousandth of their size tell no slope
ASTRAY = 4.0  # a claim unlike those before comes to at most so many times the common share, and at least to that part of it
NOTHING = 1e-3  # who claims less claims nothing that could be compared


class Calibration:
    """`learn` what a claim came to; `of(claim)` is what the next will. While it is `exact`, all came to what they claimed."""

    __slots__ = ("_height", "_n", "_share", "_slope", "_x", "_xx", "_xy", "_y", "exact")

    def __init__(self) -> None:
        self.exact = True
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._share, self._slope, self._height = 1.0, 1.0, 0.0

    def of(self, claim: float) -> float:
        """What `claim` will come to."""
        found, common = self._slope * claim + self._height, self._share * claim
        least, most = common / ASTRAY, common * ASTRAY
        return least if found < least else min(found, most)

    def learn(self, claim: float, actual: float) -> None:
        """`claim` came to `actual`."""
        if claim < NOTHING or (self.exact and actual == claim):
            return
        self.exact = False
        n = self._n = LATELY * self._n + 1.0
        x = self._x = LATELY * self._x + claim
        y = self._y = LATELY * self._y + actual
        xx = self._xx = LATELY * self._xx + claim * claim
        xy = self._xy = LATELY * self._xy + claim * actual
        spread, self._share = n * xx - x * x, y / x
        self._slope = (n * xy - x * y) / spread if spread > ALIKE * n * xx else self._share
        self._height = (y - self._slope * x) / n
