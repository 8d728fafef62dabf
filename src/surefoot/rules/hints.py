"""How long a provider asks us to wait, in all the forms in which it is said: headers, durations, dates, words.

Sources: RFC 9110, 10.2.3 (Retry-After); the IETF's draft-ietf-httpapi-ratelimit-headers in its older and newer forms; OpenAI, Anthropic and
Azure OpenAI, "Rate limits"; Groq, OpenRouter and Hugging Face, error references, all as of November 2026.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

HINT_CEILING_S = 86_400.0  # a day: no deadline reaches so far, and a finite number can be printed, stored and compared
_LONGEST_HINT = 64  # characters; the longest HTTP date has 33, so anything longer is junk and not worth parsing
_EPOCH_S, _EPOCH_MS = 1e9, 1e12  # above this a number is no wait, but a moment
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": HINT_CEILING_S}
_UNITS_S |= {"millisecond": 0.001, "msec": 0.001, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "hr": 3600.0, "hour": 3600.0}
_UNITS_S |= {"day": HINT_CEILING_S}
_STEP = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]+)", re.ASCII)
_STRUCTURED = re.compile(r"(?:^|[;,\s])(?:t|reset)\s*=\s*(\d{1,9})")
_STRUCTURED_LEFT = re.compile(r"(?:^|[;,\s])(?:r|remaining)\s*=\s*(\d{1,18})")
# A limit that is used up, and when it is whole again.
_LIMITS = (
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset-after"),
    *((f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}") for what in ("requests", "tokens")),
    *(
        (f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset")
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)


def retry_after_s(headers: Mapping[str, str], *, now_epoch_s: float) -> float | None:
    """Seconds the provider asks us to wait; None if it does not say.

    Read from `retry-after-ms` or Azure's `x-ms-retry-after-ms`, else `retry-after`: seconds, whole or decimal, a duration ("1m30s") or an
    HTTP date. A date is measured from the answer's own `date` header where there is one (two clocks never agree), else from `now_epoch_s`;
    a date gone by is 0. Junk, negative numbers, nan and words for infinity are no hint: None, and the next source is read. A number too
    large for a float ("1e400") is a number all the same: everything above a day is a day. Names match in any case.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        ms = _seconds(_header(headers, name), unit_s=0.001)
        if ms is not None:
            return ms
    text = _header(headers, "retry-after")
    seconds = _seconds(text, unit_s=1.0)
    if seconds is None:
        seconds = duration_s(text)
    if seconds is not None:
        return seconds
    at_s = _epoch_s(text)
    if at_s is None:
        return None
    return _until_s(at_s, headers, now_epoch_s)


def reset_s(headers: Mapping[str, str], *, now_epoch_s: float) -> float | None:
    """Seconds until the limits that an answer names as used up are whole again, the longest of them; None if it names none.

    `headers` have lower-case names. Resets are seconds, durations ("6m0s"), dates, or seconds or milliseconds since 1970.
    """
    waits = [wait_s for left, reset in _LIMITS if (wait_s := _wait_s(headers, left, reset, now_epoch_s)) is not None]
    structured = headers.get("ratelimit", "")[:256]
    if (left := _STRUCTURED_LEFT.search(structured)) and left[1].strip("0") == "" and (reset := _STRUCTURED.search(structured)):
        waits.append(min(float(reset[1]), HINT_CEILING_S))
    return max(waits, default=None)


def duration_s(text: str, *, unit_s: float = 1.0) -> float | None:
    """432.0 for "7m12s", "7 minutes 12 seconds" or "432"; None for what is no duration. A number without a unit counts `unit_s`."""
    text = text.strip().rstrip(".,").lower()
    if not text or len(text) > _LONGEST_HINT or not text.isascii():
        return None
    plain = _seconds(text, unit_s=unit_s)
    if plain is not None:
        return plain
    total_s, at = 0.0, 0
    while at < len(text):
        step = _STEP.match(text, at)
        unit = _UNITS_S.get(step[2], _UNITS_S.get(step[2].removesuffix("s"))) if step else None
        if step is None or unit is None:
            return None
        total_s += float(step[1]) * unit
        at = step.end()
    return min(total_s, HINT_CEILING_S)


def _wait_s(headers: Mapping[str, str], left: str, reset: str, now_epoch_s: float) -> float | None:
    """When a limit is whole again, if nothing is left of it; where nothing is said of what is left, it is the one that is meant."""
    said = headers.get(reset)
    if said is None or headers.get(left, "0").strip() not in {"0", "0.0"}:
        return None
    found = duration_s(said)
    if found is not None and _seconds(said.strip(), unit_s=1e-6) is not None:  # a plain number: perhaps a moment
        number = min(float(said), _EPOCH_MS * 1e6)
        if number >= _EPOCH_S:
            return _until_s(number / (1000.0 if number >= _EPOCH_MS else 1.0), headers, now_epoch_s)
    if found is not None:
        return found
    at_s = _epoch_s(said)
    return None if at_s is None else _until_s(at_s, headers, now_epoch_s)


def _until_s(at_s: float, headers: Mapping[str, str], now_epoch_s: float) -> float:
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
    """A date as seconds since 1970: an HTTP date in any of its three forms, or ISO 8601; None if it is none. Without a zone it is UTC."""
    if not text or len(text) > _LONGEST_HINT:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            return None
    try:
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
