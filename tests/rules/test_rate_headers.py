"""rate_headers: what rate-limit headers say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.rules.rate_headers import MINUTE_S, RateHeader, rate_header


def test_openai_headers_are_read():
    """Limits, what is left, and durations as that API writes them."""
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-tokens": "1500",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert rate_header(headers, "requests") == RateHeader(500, 499, pytest.approx(0.12))
    assert rate_header(headers, "tokens") == RateHeader(200_000, 1500, 360)


def test_anthropic_headers_are_read():
    """The overall figure, else the input's; resets are dates and stay unread."""
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-22T12:00:00Z",
        "anthropic-ratelimit-input-tokens-limit": "40000",
        "anthropic-ratelimit-input-tokens-remaining": "39000",
    }
    assert rate_header(headers, "requests") == RateHeader(50, 49, MINUTE_S)
    assert rate_header(headers, "tokens") == RateHeader(40_000, 39_000, MINUTE_S)


def test_silence_is_none():
    """Most servers say nothing."""
    assert rate_header({}, "requests") is None
    assert rate_header({"retry-after": "3"}, "tokens") is None


@pytest.mark.parametrize("junk", ["", "many", "-5", "nan", "inf", "1e9", "٣", "9" * 50])
def test_junk_is_not_a_limit(junk):
    """A proxy's nonsense must not stop a target."""
    assert rate_header({"x-ratelimit-limit-requests": junk}, "requests") is None


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("1.5", 1.5), ("1h2m3s", 3723), ("0", 0), ("7 days", MINUTE_S), ("s", MINUTE_S)])
def test_resets_are_durations(text, seconds):
    """Junk is a minute: limits are per minute."""
    found = rate_header({"x-ratelimit-limit-requests": "5", "x-ratelimit-reset-requests": text}, "requests")
    assert found.reset_s == seconds


@given(
    st.dictionaries(st.sampled_from(["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]), st.text())
)
def test_no_header_raises_and_numbers_are_never_negative(headers):
    """Whatever a server sends."""
    found = rate_header(headers, "tokens")
    if found is not None:
        assert all(value is None or 0 <= value < 1e33 for value in (found.limit, found.remaining, found.reset_s))
