"""What a provider's rate-limit headers say: how much there is, how much is left, when it is whole again.

OpenAI and those who speak its protocol: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, resets as durations ("6m0s", "20ms",
"1.5"). Anthropic: `anthropic-ratelimit-{requests,tokens,input-tokens}-{limit,remaining,reset}`, resets as dates, which are not read: two
clocks never agree, and its limits are per minute. Sources: OpenAI, "Rate limits"; Anthropic, "Rate limits", both as of November 2026.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

MINUTE_S = 60.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_LONGEST = 32  # characters; anything longer is no number and no duration


@dataclass(frozen=True, slots=True)
class RateHeader:
    """`limit` and `remaining` of requests or tokens, None where not said; whole again in `reset_s` seconds."""

    limit: float | None
    remaining: float | None
    reset_s: float = MINUTE_S


def rate_header(headers: Mapping[str, str], what: str) -> RateHeader | None:
    """What is left of `what` ("requests" or "tokens"); None if the headers do not speak of it. Header names in lower case."""
    limit = _number(headers.get(f"x-ratelimit-limit-{what}"))
    remaining = _number(headers.get(f"x-ratelimit-remaining-{what}"))
    if limit is not None or remaining is not None:
        return RateHeader(limit, remaining, _seconds(headers.get(f"x-ratelimit-reset-{what}")))
    for name in (what, f"input-{what}"):  # the overall figure first; where only the input is limited, that one
        limit = _number(headers.get(f"anthropic-ratelimit-{name}-limit"))
        remaining = _number(headers.get(f"anthropic-ratelimit-{name}-remaining"))
        if limit is not None or remaining is not None:
            return RateHeader(limit, remaining)
    return None


def _number(text: str | None) -> float | None:
    """A plain non-negative number; None for anything else."""
    if text is None or len(text) > _LONGEST:
        return None
    text = text.strip()
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else None


def _seconds(text: str | None) -> float:
    """A duration ("6m0s", "20ms", "1.5") in seconds; a minute where it is missing or junk."""
    plain = _number(text)
    if plain is not None:
        return plain
    if text is None or len(text) > _LONGEST or not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        return MINUTE_S
    return sum(float(amount) * _SECONDS[unit] for amount, unit in _DURATION.findall(text))
