"""How a target stands at this moment: for pages and logs."""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct

from surefoot._documented import Documented


class TargetStatus(Struct, Documented, frozen=True, kw_only=True):
    """One target, as this process sees it."""

    target: str
    """Its name, "provider:model"."""
    breaker: str
    """What the breaker says: "closed" (it is asked), "open" (left alone), "half-open" (on trial) or "ramp" (coming back)."""
    in_flight: int
    """Requests that are under way."""
    limit: float | None
    """How many may be at once; None: no limit, or none learned."""
    waiting: int
    """Calls that wait for a place."""
    requests_per_minute: float | None
    """What is sent at most; None: no limit is set."""
    tokens_per_minute: float | None
    """Tokens at most; None: no limit is set."""


def state_of(endpoint: Any) -> TargetStatus:
    """How the target of an endpoint stands."""
    limit = endpoint.concurrency.limit
    return TargetStatus(
        target=endpoint.name,
        breaker=endpoint.breaker.rule.state,
        in_flight=endpoint.concurrency.in_flight,
        limit=None if math.isinf(limit) else limit,
        waiting=endpoint.concurrency.waiting,
        requests_per_minute=endpoint.rate.requests_per_minute,
        tokens_per_minute=endpoint.rate.tokens_per_minute,
    )
