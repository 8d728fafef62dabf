"""How long to wait before the next attempt, and whether there may be one at all.

Full-jitter exponential backoff, the provider's hint (Retry-After) as a floor, and a retry budget in which a retry that succeeds is free.

Sources: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015; botocore `retries/quota.py` (the token
bucket with refund); gRPC A6 (extras only while the bucket is more than half full, here for hedges).
"""

THROTTLED_BASE_S = 1.0  # a 429 without a hint: AWS waits 1 s for throttling where it waits 0.05 s for a passing fault
HINT_JITTER = 0.1  # up to 10 % later than told: all who were refused together are told the same second


def delay_s(attempt: int, *, base_s: float, ceiling_s: float, draw: float) -> float:
    """Seconds to wait before attempt `attempt + 1`.

    `attempt` counts from 1; `draw` is uniform in [0, 1) and comes from the caller, so tests need no luck.
    """
    return draw * min(ceiling_s, base_s * 2.0 ** min(max(attempt, 1) - 1, 63))


def wait_s(
    attempt: int,
    *,
    hint_s: float | None,
    left_s: float,
    draw: float,
    base_s: float,
    ceiling_s: float,
    need_s: float = 0.0,
) -> float | None:
    """Seconds to wait before attempt `attempt + 1`, or None if it cannot begin `need_s` before the deadline.

    `hint_s` is the provider's and a floor: never earlier, and of its own accord at most 10 % later (a longer backoff still wins).
    `left_s` is the time to the deadline (may be inf), `need_s` what the attempt itself wants of it. The part of our own choosing
    (backoff, jitter) shrinks to fit; the hint does not, so a hint beyond the deadline is None: fail over, or say so at once.
    """
    floor_s = hint_s if hint_s is not None and hint_s > 0.0 else 0.0
    budget_s = left_s - need_s
    if not floor_s < budget_s:
        return None
    backoff_s = delay_s(attempt, base_s=base_s, ceiling_s=min(ceiling_s, budget_s), draw=draw)
    return max(backoff_s, min(floor_s * (1.0 + HINT_JITTER * draw), budget_s))
