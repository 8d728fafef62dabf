"""When a failure that goes on is worth another line in the log: at once, then ever more rarely."""

from __future__ import annotations

import math

FIRST_PAUSE_S = 1.0  # between a cause's first and second line
LONGEST_PAUSE_S = 300.0  # an outage of a day is told some 290 times
CALM_S = 60.0  # without a failure for so long, the next one is told at once
CAUSES = 64  # remembered; causes are named by us, so there are a handful


class FailureLog:
    """Decides which failures are worth a line: a cause's first, then after pauses that double up to LONGEST_PAUSE_S."""

    def __init__(self, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._causes: dict[str, _Cause] = {}
        self._first_pause_s = first_pause_s

    def count(self, key: str, now_s: float) -> int:
        """How many failures of `key` there were since its last line, this one included; 0 if no line is due."""
        cause = self._causes.get(key)
        if cause is None and len(self._causes) >= CAUSES:
            self._causes.clear()
        if cause is None or now_s - cause.failed_at_s > CALM_S + cause.pause_s:
            cause = self._causes[key] = _Cause(self._first_pause_s)
        cause.failed_at_s = now_s
        cause.untold += 1
        if now_s < cause.due_at_s:
            return 0
        told, cause.untold = cause.untold, 0
        cause.due_at_s = now_s + cause.pause_s
        cause.pause_s = min(LONGEST_PAUSE_S, 2 * cause.pause_s)
        return told


class _Cause:
    """One cause's lines so far."""

    __slots__ = ("due_at_s", "failed_at_s", "pause_s", "untold")

    def __init__(self, pause_s: float) -> None:
        self.due_at_s = -math.inf
        self.failed_at_s = 0.0
        self.pause_s = pause_s
        self.untold = 0
