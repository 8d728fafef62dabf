"""Hints in every form in which providers give them: what is not heard is asked again too soon, or not at all."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.rules.hints import HINT_CEILING_S, duration_s, reset_s, retry_after_s

NOW_EPOCH_S = 1_795_000_000.0  # a day in November 2026


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "0.3"}, 0.3),
        ({"retry-after": "5"}, 5.0),
        ({"Retry-After": " 119 "}, 119.0),
        ({"RETRY-AFTER": "121"}, 121.0),
        ({"retry-after": ".5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "junk", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "-5"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-Infinity"}, None),
        ({"retry-after": "1_000"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "1e400"}, HINT_CEILING_S),
        ({"retry-after": "9" * 40}, HINT_CEILING_S),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": formatdate(NOW_EPOCH_S + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW_EPOCH_S - 30, usegmt=True)}, 0.0),
        ({"retry-after": formatdate(NOW_EPOCH_S + 90, usegmt=True), "date": formatdate(NOW_EPOCH_S + 60, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW_EPOCH_S + 90, usegmt=True), "date": "yesterday"}, 90.0),
        ({"retry-after": "Sun Nov  6 08:49:37 2044"}, HINT_CEILING_S),
        ({"retry-after": "Sunday, 06-Nov-94 08:49:37 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Nov 2026 99:99:99 GMT"}, None),
    ],
)
def test_hints_are_read_in_every_form(headers: dict[str, str], expected: float | None) -> None:
    """LiteLLM drops floats and long waits, and so retries after 0.9 s where it was told 90: each form is read, or is known to be junk."""
    got = retry_after_s(headers, now_epoch_s=NOW_EPOCH_S)
    assert got == (None if expected is None else pytest.approx(expected))


@settings(max_examples=300, deadline=None)
@given(ms=st.text(max_size=70), seconds=st.text(max_size=70), date=st.text(max_size=70))
def test_no_header_can_break_the_parser(ms: str, seconds: str, date: str) -> None:
    """Headers are foreign text: the answer is None or a number that can be slept and compared."""
    got = retry_after_s({"retry-after-ms": ms, "Retry-After": seconds, "date": date}, now_epoch_s=NOW_EPOCH_S)
    assert got is None or 0.0 <= got <= HINT_CEILING_S


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20", 20.0), ("20s", 20.0), ("1m30.5s", 90.5), ("7m12s", 432.0), ("350ms", 0.35), ("1h", 3600.0), ("2d", HINT_CEILING_S),
        ("23 seconds.", 23.0), ("2 minutes", 120.0), ("1 hour 5 min", 3900.0), (" 5 Secs ", 5.0), ("", None), ("soon", None),
        ("3 times", None), ("1m30x", None), ("-5s", None), ("5" * 80, None), ("1" * 15 + "h" + "1" * 15 + "h", HINT_CEILING_S),
    ],
)  # fmt: skip
def test_durations_are_read(text, seconds):
    """As Go prints them, as people write them."""
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"ratelimit-reset": "7"}, 7.0),
        ({"ratelimit-reset": "7", "ratelimit-remaining": "1"}, None),
        ({"ratelimit": "limit=10, remaining=0, reset=8"}, 8.0),
        ({"ratelimit": '"default";r=3;t=8'}, None),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-tokens": "1s"}, 360.0),
        ({"x-ratelimit-reset": f"{NOW_EPOCH_S + 60:.0f}", "x-ratelimit-remaining": "0"}, 60.0),
        ({"x-ratelimit-reset": f"{(NOW_EPOCH_S + 60) * 1000:.0f}", "x-ratelimit-remaining": "0"}, 60.0),
        ({"x-ratelimit-reset": formatdate(NOW_EPOCH_S + 5, usegmt=True)}, 5.0),
        ({"anthropic-ratelimit-input-tokens-reset": "2020-01-01T00:00:00Z", "anthropic-ratelimit-input-tokens-remaining": "0"}, 0.0),
        ({"x-ratelimit-reset": "junk"}, None),
    ],
)
def test_a_limit_that_is_used_up_says_when_to_come_back(headers, seconds):
    """Only where nothing is left: a reset beside something left is no reason to wait."""
    assert reset_s(headers, now_epoch_s=NOW_EPOCH_S) == (None if seconds is None else pytest.approx(seconds))


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80) | st.from_regex(r"[0-9.]{1,40}[smhd]?", fullmatch=True))
def test_any_text_is_a_duration_or_none(text):
    """Headers and wordings are foreign text."""
    for found in (duration_s(text), reset_s({"x-ratelimit-reset": text, "ratelimit": text}, now_epoch_s=NOW_EPOCH_S)):
        assert found is None or 0.0 <= found <= HINT_CEILING_S


@settings(deadline=None)
@given(
    words=st.lists(
        st.sampled_from(["Wed,", "Sunday,", "06-Nov-94", "25", "Nov", "2026", "08:49:37", "8:4", "GMT", "+0300", "-", "99", "-0000"]),
        max_size=8,
    )
)
def test_no_almost_date_can_break_the_parser(words: list[str]) -> None:
    """The standard library's date parser is known for odd exceptions on odd dates."""
    got = retry_after_s({"retry-after": " ".join(words)}, now_epoch_s=NOW_EPOCH_S)
    assert got is None or 0.0 <= got <= HINT_CEILING_S
