"""How long to wait before the next attempt, and whether there may be one at all.

Full-jitter exponential backoff, the provider's hint (Retry-After) as a floor, and a retry budget in which a retry that succeeds is free.

Sources: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015; RFC 9110, 10.2.3 (Retry-After); botocore
`retries/quota.py` (the token bucket with refund); gRPC A6 (extras only while the bucket is more than half full, here for hedges).
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

THROTTLED_BASE_S = 1.0  # a 429 without a hint: AWS waits 1 s for throttling where it waits 0.05 s for a passing fault
HINT_JITTER = 0.1  # up to 10 % later than told: all who were refused together are told the same second
HINT_CEILING_S = 86_400.0  # a day: no deadline reaches so far, and a finite number can be printed, stored and compared
_LONGEST_HINT = 64  # characters; the longest HTTP date has 33, so anything longer is junk and not worth parsing


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


def retry_after_s(headers: Mapping[str, str], *, now_epoch_s: float) -> float | None:
    """Seconds the provider asks us to wait; None if it does not say.

    Read from `retry-after-ms`, else `retry-after`: seconds, whole or decimal, or an HTTP date. A date is measured from the answer's own
    `date` header where there is one (two clocks never agree), else from `now_epoch_s`; a date gone by is 0. Junk, negative numbers, nan
    and words for infinity are no hint: None, and the next source is read. A number too large for a float ("1e400") is a number all the
    same: everything above a day is a day. Names match in any case.
    """
    ms = _seconds(_header(headers, "retry-after-ms"), unit_s=0.001)
    if ms is not None:
        return ms
    text = _header(headers, "retry-after")
    seconds = _seconds(text, unit_s=1.0)
    if seconds is not None:
        return seconds
    at_s = _epoch_s(text)
    if at_s is None:
        return None
    sent_s = _epoch_s(_header(headers, "date"))
    return min(max(at_s - (now_epoch_s if sent_s is None else sent_s), 0.0), HINT_CEILING_S)


def _header(headers: Mapping[str, str], name: str) -> str:
    """The header `name` (lower case), stripped; "" if missing or absurdly long."""
    text = headers.get(name)
    if text is None:
        text = next((value for key, value in headers.items() if key.lower() == name), "")
    return text.strip() if len(text) <= _LONGEST_HINT else ""


def _seconds(text: str, *, unit_s: float) -> float | None:
    """A plain non-negative decimal number, in units of `unit_s`, at most a day; None for what `float` takes besides ("nan", "1_0", "٣")."""
    if not text or text[0] not in "0123456789." or not text.isascii() or "_" in text:
        return None
    try:
        return min(float(text) * unit_s, HINT_CEILING_S)
    except ValueError:
        return None


def _epoch_s(text: str) -> float | None:
    """An HTTP date in any of its three forms as seconds since 1970; None if it is none. A date without a zone is UTC (RFC 9110, 5.6.7)."""
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
