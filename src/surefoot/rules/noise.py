"""Whether refusals follow what we do: the pace, the number in flight. If not, slowing down costs answers and buys nothing.

A 429 or 529 teaches `rules.bucket.LearnedTokenBucket` and `rules.aimd.Limit` to ask for less. A provider that refuses one call in twenty
whatever we do would teach them so again at each refusal, without end. What tells the two apart: refusals for asking too much stop when less
is asked. So the lessons are watched. If the setting has come down over some lessons, and the later ones came as soon after one another as
the earlier ones, refusals are background: the setting is put back, and from then on only refusals beyond twice that share are a lesson (a
cumulative sum that drops by twice the share with each call and must pass six). Background fades as calls pass without it.

Never background: refusals rarer than one in 500 calls (what growing back costs anyway), and more than half (a limit far exceeded looks
just so until it is reached; that many no retry makes good). Only news counts: calls begun after the last lesson, or fifty that were
refused together would be fifty witnesses of one event.

What it is worth, in virtual time at 10 calls a second (`tests/torture/scenarios/pace.py`, and a provider that refuses at random): where 2 %
and 5 % of all calls are refused whatever is asked, 92 and 99 % are answered, without this 31 and 9 %. Limits learned from headers or from
refusals of windows come to the same with and without. It has a price: a provider that saves up a minute's worth and names no limit refuses
9.8 % of twice its limit instead of 0.4 %, since while it has some left its refusals do not follow the pace.

Sources: E. S. Page, "Continuous Inspection Schemes", Biometrika 41, 1954 (the cumulative sum); R. Jain, "A Delay-Based Approach for
Congestion Avoidance", 1989 (ask whether a lower load changed anything). All operations are O(1).
"""

import math

ENOUGH = 8  # lessons between two verdicts
SUNK = 0.9  # seven cuts of 2 % make 0.87, and a pace that has found its limit stays within 3 % of it
STILL = 3.0  # the later half may come three times as often as the earlier one, or a third as often: by luck alone it does nine times in ten
RARE = 1 / 500  # the share at which a learned pace grows by as much as a refusal takes
TOO_MANY = 0.5  # the breaker's ratio
EXCESS = 6.0  # refusals beyond what is expected: at twice the share, chance passes it once in 1,800 refusals
TWICE = 2.0
FADES = 1e-3  # of the newest call in the background share: a thousand calls' memory


class SpuriousRefusals:
    """Watches one setting (a pace, a limit): `SpuriousRefusals()`. Tell it of each call that was let in and ask it about each refusal.

    `enough` lessons make a verdict, `sunk` is how far the setting must have come down meanwhile, as a share of its highest.
    """

    __slots__ = ("_calls", "_enough", "_excess", "_first_calls", "_highest", "_late", "_lowest", "_refused", "_sunk", "share")

    def __init__(self, *, enough: int = ENOUGH, sunk: float = SUNK) -> None:
        self.share = 0.0  # of calls refused whatever we do; 0.0 while all refusals are ours
        self._enough = enough
        self._sunk = sunk
        self._excess = 0.0
        self.reset()

    def reset(self) -> None:
        """Watch from here: what was seen is about something else (one who lets nobody in is shut, not noisy)."""
        self._highest, self._lowest = 0.0, math.inf
        self._late = (0.0, math.inf)  # the same of the later half alone
        self._calls = self._refused = self._first_calls = 0

    def passed(self) -> None:
        """A call was not refused."""
        self._calls += 1
        if self.share:
            self._excess = max(0.0, self._excess - TWICE * self.share)
            self.share -= FADES * self.share
            if self.share < RARE:
                self.share = 0.0

    def is_lesson(self, setting: float) -> bool:
        """A call was refused, at this `setting` (inf for none): whether it says anything about it."""
        if self.share:
            self._excess += 1.0 - TWICE * self.share
            if self._excess <= EXCESS:
                self._excess = max(0.0, self._excess)
                self.share += FADES * (1.0 - self.share)
                return False
            self._excess = 0.0
            self.reset()
            return True
        self._calls += 1
        self._refused += 1
        if self._refused == 1 or self._calls * RARE > self._refused:  # the first, or so rare that less was enough
            self.reset()
            self._calls = self._refused = 1
        half = self._enough // 2
        if self._refused == half:
            self._first_calls = self._calls
        elif self._refused > half:
            self._late = max(self._late[0], setting), min(self._late[1], setting)
        self._highest, self._lowest = max(self._highest, setting), min(self._lowest, setting)
        return True

    def put_back(self) -> float | None:
        """Ask after each lesson: the setting to return to if the lessons were none; else None."""
        if self._refused < self._enough or self._lowest > self._sunk * self._highest:
            return None
        first, calls, share = self._enough // 2, self._calls, self._refused / self._calls
        highest = self._highest
        earlier, later = first / self._first_calls, (self._refused - first) / max(1, calls - self._first_calls)
        if share > TOO_MANY or not earlier / STILL <= later <= earlier * STILL:
            self._forget_the_first_half()
            return None
        self.reset()
        self.share = share
        return highest

    def _forget_the_first_half(self) -> None:
        """The later half is the earlier one of the next verdict: luck that spoilt this one shall not cost eight lessons more."""
        calls, refused, late = self._calls - self._first_calls, self._refused - self._enough // 2, self._late
        self.reset()
        self._calls = self._first_calls = calls
        self._refused = refused
        self._highest, self._lowest = late
