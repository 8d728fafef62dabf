"""How much may still be spent: reserve an estimate before, settle the actual after.

Pure: periods are told by the caller's wall clock, because a day on a bill is a calendar's day. A reservation counts as spent until it is
settled, so any number of calls at once never pass the limit together by more than their estimates were short.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

Period = Literal["ever", "day", "month"]


def period_key(period: Period, *, now_epoch_s: float) -> str:
    """The name of the period that holds the moment, in UTC: "2026-11-22", "2026-11", or "" for ever."""
    if period == "ever":
        return ""
    return datetime.fromtimestamp(now_epoch_s, UTC).strftime("%Y-%m-%d" if period == "day" else "%Y-%m")


class Purse:
    """One account with a limit in US dollars: spent, reserved, and what is left. O(1)."""

    __slots__ = ("limit_usd", "reserved_usd", "spent_usd")

    def __init__(self, limit_usd: float, *, spent_usd: float = 0.0) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = spent_usd
        self.reserved_usd = 0.0

    @property
    def left_usd(self) -> float:
        """What is neither spent nor reserved; below 0 when an answer cost more than its estimate."""
        return self.limit_usd - self.spent_usd - self.reserved_usd

    def reserve(self, amount_usd: float) -> bool:
        """Set `amount_usd` aside if it fits (a rounding error of a billionth is forgiven); all or nothing."""
        if amount_usd > self.left_usd + 1e-9 * max(1.0, self.limit_usd):
            return False
        self.reserved_usd += amount_usd
        return True

    def force(self, amount_usd: float) -> None:
        """Set `amount_usd` aside whether it fits or not: a soft limit."""
        self.reserved_usd += amount_usd

    def settle(self, reserved_usd: float, actual_usd: float) -> None:
        """Replace a reservation by what it really cost."""
        self.reserved_usd = max(0.0, self.reserved_usd - reserved_usd)
        self.spent_usd += actual_usd
