"""Pure decisions: no await, no clock, no luck. Time (`now_s`) and draws (uniform in [0, 1)) come in as arguments."""

import math

STEP_S = 1.0  # a clock behind by less is a reading some microseconds old; by more, it was set back


class SteadyTime:
    """A rule's own time, which neither runs back nor stands still when the clock that it is told does."""

    __slots__ = ("last_s", "skew_s")

    def __init__(self) -> None:
        self.skew_s = 0.0
        """What is added to the clock: by so much it was set back so far."""
        self.last_s = -math.inf

    def at(self, now_s: float) -> float:
        """The time at `now_s` of the clock."""
        now_s += self.skew_s
        if now_s < self.last_s:
            if self.last_s - now_s > STEP_S:
                self.skew_s += self.last_s - now_s
            return self.last_s
        self.last_s = now_s
        return now_s
