"""The last minute of a key or team, for all processes: who asks is given some seconds' worth in advance. Pure: the clock is an argument.

What is given at second s may be used until LEASE_S later, so it counts for so much longer: whatever 60 seconds one looks at, no more than
the limit was used in them.
"""

from __future__ import annotations

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.gateway.minutes.windows import SECONDS

LEASE_S = 1.0  # how long what was given may be used
KEPT_S = SECONDS + int(LEASE_S) + 1  # how long it counts: from the second it was given in until nobody can have used it within a minute
PARTS = 32  # what is given in advance is at most such a part of the limit


class MinuteState(Struct, Documented):
    """What is kept of one limit."""

    bins: dict[int, int] = {}
    """Given, by the second since 1970."""
    seen: dict[str, int] = {}
    """When each process last asked, in seconds since 1970."""


class MinuteAsked(Struct, Documented, frozen=True, kw_only=True):
    """What a process asks of one limit."""

    name: str
    """Of the limit."""
    least: int
    """What it needs now; 0: nothing, it only gives back."""
    limit: int
    """What all together may use in any 60 seconds."""
    back: int = 0
    """What it does not use of what it was given; below 0: what it used beyond."""
    back_at: int = 0
    """The second in which that was given."""


class MinuteGiven(Struct, Documented, frozen=True, kw_only=True):
    """What it is given."""

    amount: int
    """At least what it needs, or 0."""
    at: int
    """The second in which it is given."""
    wait_s: float = 0.0
    """Seconds until there may be enough; 0.0 where it was given."""
    processes: int = 1
    """How many have asked in the last minute."""


def give(state: MinuteState, asked: MinuteAsked, member: str, now_s: float) -> MinuteGiven:
    """Settle what comes back, and give from what is left of the minute; `state` is changed."""
    second = int(now_s)
    state.bins = {at: amount for at, amount in state.bins.items() if at > second - KEPT_S}
    state.seen = {one: at for one, at in state.seen.items() if at > second - SECONDS} | {member: second}
    if asked.back > 0 and asked.back_at in state.bins:
        state.bins[asked.back_at] = max(0, state.bins[asked.back_at] - asked.back)
    elif asked.back < 0:
        state.bins[second] = state.bins.get(second, 0) - asked.back
    left = asked.limit - sum(state.bins.values())
    if not asked.least:
        return MinuteGiven(amount=0, at=second)
    if asked.least > left:
        return MinuteGiven(amount=0, at=second, wait_s=_until(state, asked.least - left, now_s), processes=len(state.seen))
    amount = max(asked.least, min(left // len(state.seen), asked.limit // PARTS))
    state.bins[second] = state.bins.get(second, 0) + amount
    return MinuteGiven(amount=amount, at=second, processes=len(state.seen))


def _until(state: MinuteState, over: int, now_s: float) -> float:
    """Seconds until `over` has left the window; that of an empty one where it never fits."""
    for at, amount in sorted(state.bins.items()):
        over -= amount
        if over <= 0:
            return max(0.001, at + KEPT_S - now_s)
    return float(KEPT_S)
