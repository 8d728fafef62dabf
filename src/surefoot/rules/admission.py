"""Whether a call that has to wait can still be answered in time; if not, it is refused while nothing is spent.

Under sustained overload, first come, first served lets every call wait until nothing of its deadline is left: all places are then busy
with answers that are cut off unread. So whoever cannot make it is turned away, at entry if the queue shows it, else at its turn.

What must be left at a call's turn is what an answer usually takes, the 99th percentile: in an overload everybody gets his turn at the
last moment allowed, so of a hundred answers one is cut off; with the median it would be every second one. But never more than half of
the time the call came with: a short question with a short deadline, among long ones, must not be refused for what the others take. A
call that need not wait is not judged at all: it takes nobody's place, and its caller may know better.

An answer cut off by its deadline is counted with twice the time it had: else only quick answers would be seen, what is left would seem
enough, and ever more would be cut off.

Sources: M. Maurer, "Fail at Scale", ACM Queue 13(8), 2015 (queues that outlive their callers); K. Nichols and V. Jacobson, "Controlling
Queue Delay", ACM Queue 10(5), 2012 (drop at the head, by time waited, not by length). Those shorten the wait for all; here calls carry
their deadlines, so each is judged by its own, and first come, first served stays true.
"""

from typing import Protocol

USUAL = 0.99  # see above
LEAST = 20  # answers before anything is called usual
MEAN_WEIGHT = 0.05  # of the newest call in the mean: twenty calls' memory, about as many as are under way
CUT = 2.0  # an answer that was cut off would have taken longer: twice as long, until it is known better


class Durations(Protocol):
    """A quantile of durations over recent time, as `rules.quantile.Quantile`."""

    def record(self, value_s: float, now_s: float) -> None:
        """Count one value."""

    def value(self, now_s: float) -> float | None:
        """The quantile, None while unknown."""


class Admission:
    """Judges those who wait, by what those before them took: `Admission(Quantile(USUAL, least=LEAST))`. O(1), amortised.

    Tell it of every call that had to wait, when it is over. Nothing is refused before it has seen some.
    """

    __slots__ = ("_durations", "mean_s")

    def __init__(self, durations: Durations) -> None:
        self._durations = durations
        self.mean_s = 0.0  # a call holds its place so long, answered or not; 0.0 while unknown

    def note(self, took_s: float, now_s: float, *, answered: bool, cut_off: bool = False) -> None:
        """A call is over, `took_s` after its turn; `cut_off` by its own deadline. Faults and callers who left count for the mean only."""
        self.mean_s += (took_s - self.mean_s) * (MEAN_WEIGHT if self.mean_s else 1.0)
        if answered:
            self._durations.record(took_s, now_s)
        elif cut_off:
            self._durations.record(CUT * took_s, now_s)

    def need_s(self, whole_s: float, now_s: float) -> float:
        """What must be left at its turn to a call that came with `whole_s` seconds."""
        return min(self._durations.value(now_s) or 0.0, whole_s / 2.0)

    def may_wait(self, wait_s: float, whole_s: float, now_s: float) -> bool:
        """Whether a call that came with `whole_s` seconds may spend `wait_s` of them waiting."""
        return whole_s - wait_s >= self.need_s(whole_s, now_s)
