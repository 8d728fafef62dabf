"""How much may still be spent: reserve what a call may cost before it is sent, settle what it did cost after.

A reservation counts as spent until it has finished, and it is never less than what the call can cost: either the worst case, or what a
bound on the answer's length, sent with the request, leaves possible. So any number of calls at once stay within the limit. Amounts are
whole billionths of a dollar, so that ten dimes are a dollar. Periods are told by the caller's wall clock: a day on a bill is a calendar's
day.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from msgspec import Struct

Period = Literal["ever", "day", "month"]

NANO = 1e9  # billionths in a dollar
AMPLE = 20  # a limit of so many worst cases cuts no answer short: calls wait for each other instead, and so many may still run at once
FULL = -1  # no room, whatever the calls under way come to
WAIT = -2  # no room now; there may be some once calls under way are settled


def nano(usd: float) -> int:
    """Billionths of a dollar in `usd`."""
    return round(usd * NANO)


def period_key(period: Period, *, now_epoch_s: float) -> str:
    """The name of the period that holds the moment, in UTC: "2026-11-22", "2026-11", or "" for ever."""
    if period == "ever":
        return ""
    day = _day(int(now_epoch_s // 86_400))
    return day if period == "day" else day[:7]


@lru_cache(maxsize=8)
def _day(number: int) -> str:
    """Day `number` since 1970."""
    return datetime.fromtimestamp(number * 86_400, UTC).strftime("%Y-%m-%d")


class Claim(Struct, frozen=True, gc=False):
    """What a call asks of a spend limit, in billionths of a dollar: `least` <= `bounded` <= `worst`, equal if it cannot be bounded."""

    worst: int
    """What it may cost at most, sent as it is."""
    least: int
    """The least that is enough for an answer as such calls usually get it, once the answer's length is bounded."""
    bounded: int
    """What to take at most where the answer's length is bounded."""

    @classmethod
    def exactly(cls, amount: int) -> Claim:
        """A claim that cannot be bounded."""
        return cls(amount, amount, amount)

    def within(self, amount: int) -> Claim:
        """The claim of a call that another limit has granted `amount` already."""
        return Claim(min(self.worst, amount), min(self.least, amount), min(self.bounded, amount))


def grant(claim: Claim, *, limit: int, spent: int, reserved: int) -> int:
    """What may be reserved for `claim`; WAIT or FULL where nothing may. Less than `claim.worst`: the answer must be bounded.

    Calls share what is left so: the worst case where it fits. Where it will fit once the calls under way are settled, and the limit is
    ample, the call waits for them. Else a bounded answer, as long as it leaves room for what such calls usually come to.
    """
    left = limit - spent - reserved
    if claim.worst <= left:
        return claim.worst
    later = limit - spent if reserved else left  # what is left if the calls under way turn out to cost nothing
    if limit >= AMPLE * claim.worst and claim.worst <= later:
        return WAIT
    if claim.least <= left:
        return min(left, claim.bounded)
    return WAIT if claim.least <= later else FULL


class SpendCounter:
    """One limit's spending, in billionths of a dollar: spent, reserved, and what is left. O(1)."""

    __slots__ = ("limit", "reserved", "spent")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spent = 0
        self.reserved = 0

    def reserve(self, claim: Claim) -> int:
        """Set aside what `grant` says, and return it; WAIT or FULL if that is nothing."""
        granted = grant(claim, limit=self.limit, spent=self.spent, reserved=self.reserved)
        if granted >= 0:
            self.reserved += granted
        return granted

    def force(self, amount: int) -> int:
        """Set `amount` aside whether it fits or not: a soft limit."""
        self.reserved += amount
        return amount

    def settle(self, reserved: int, actual: int) -> None:
        """Replace a reservation by what the call did cost."""
        self.reserved -= reserved
        self.spent += actual

    def write_off(self) -> None:
        """Count what is reserved as spent: nobody is left who could settle it. `correct` mends it should somebody come back."""
        self.spent += self.reserved
        self.reserved = 0

    def correct(self, reserved: int, actual: int) -> None:
        """Settle a reservation that has been written off."""
        self.spent += actual - reserved
