"""Each request with its attempts, and how many there were by hour: what the page shows of calls. No prompt, answer or key is in it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.storage.sql import TableSchema

CALLS = TableSchema("calls", "surefoot.gateway.calls")
COLUMNS = (
    "at", "request", "route", "model", "target", "key_id", "team", "outcome", "status", "error", "ms", "queued_ms", "first_ms",
    "input", "output", "cost_nano", "hit", "trail",
)  # fmt: skip
STEPS = 4  # buckets of durations a doubling: a percentile is right to 9 %
LAST_BUCKET = 4 * 24  # 2**24 ms: four hours and a half


class AttemptLine(Struct, Documented, frozen=True, array_like=True):
    """One wire attempt, as it is kept: times in milliseconds from when the call began."""

    kind: str
    """Why it was made: "first", "retry", "fallback", "hedge" or "resume"."""
    target: str
    """Which target was asked."""
    error: str
    """The class name of its error; empty: it answered."""
    wait_ms: int
    """It was wanted and not yet sent: backoff and queues."""
    started_ms: int
    """When it was sent."""
    ms: int
    """How long it took."""
    input: int
    """Tokens of the prompt that were billed."""
    output: int
    """Tokens of the answer that were billed."""
    cost_nano: int | None
    """Billionths of a dollar; None: nothing was billed, or nobody knows the price."""


class CallRow(Struct, Documented, frozen=True, kw_only=True):
    """A request that has ended."""

    at: float
    """When it ended: seconds since 1970."""
    request: str
    """Its id, as in the answer's header `x-request-id`."""
    route: str
    """The route's name."""
    model: str
    """The model that was asked, by its name in the configuration; empty: none."""
    target: str
    """The target that answered; empty: none did."""
    key_id: str
    """Whose key it was."""
    team: str
    """The key's team; empty: none."""
    outcome: str
    """One of "ok", "refused", "failed" and "left"."""
    status: int
    """The HTTP status that was sent; 0: the client left before."""
    error: str
    """The code of the error; empty: none."""
    ms: int
    """Milliseconds from its first byte to the answer's last."""
    queued_ms: int
    """Milliseconds it waited to be admitted."""
    first_ms: int | None
    """Milliseconds to the first piece of a stream; None: it was none."""
    input: int
    """Tokens of the prompt that its client was told."""
    output: int
    """Tokens of the answer that its client was told."""
    cost_nano: int | None
    """Billionths of a dollar of all attempts; None: not known, or nothing was asked."""
    hit: int
    """1: it was answered from the cache."""
    trail: str
    """Its attempts, as JSON."""

    def attempts(self) -> list[AttemptLine]:
        """Its attempts, in order."""
        return _trail.decode(self.trail)


_trail = msgspec.json.Decoder(list[AttemptLine])


def call_of(cells: tuple[Any, ...]) -> CallRow:
    """A row of the table."""
    return CallRow(**dict(zip(COLUMNS, cells, strict=True)))


def bucket_of(ms: float) -> int:
    """The bucket of a duration."""
    return 0 if ms <= 1 else min(LAST_BUCKET, int(STEPS * math.log2(ms)))


def ms_of(bucket: int) -> float:
    """The middle of a bucket, in milliseconds."""
    return float(2 ** ((bucket + 0.5) / STEPS))


def percentile_ms(counts: dict[int, int], share: float) -> float | None:
    """The duration below which `share` of the counted lie, in milliseconds; None where nothing was counted."""
    left = share * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return ms_of(bucket)
    return None
