"""Backoff, with the provider's hint as a floor."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.rules.backoff import HINT_JITTER, delay_s, wait_s
from surefoot.rules.hints import HINT_CEILING_S
from surefoot.settings import DEFAULTS

USUAL = {"base_s": DEFAULTS.backoff_base_s, "ceiling_s": DEFAULTS.backoff_ceiling_s}
draws = st.floats(0.0, 1.0, exclude_max=True)
NOW_EPOCH_S = 1_795_000_000.0  # a day in November 2026


@settings(deadline=None)
@given(attempt=st.integers(-3, 5000), base_s=st.floats(0.0, 10.0), ceiling_s=st.floats(0.0, 100.0), draw=draws)
def test_a_delay_is_between_nothing_and_the_ceiling(attempt: int, base_s: float, ceiling_s: float, draw: float) -> None:
    """Full jitter: any moment up to the exponential; a huge attempt number must not overflow."""
    assert 0.0 <= delay_s(attempt, base_s=base_s, ceiling_s=ceiling_s, draw=draw) <= ceiling_s


def test_the_delay_doubles_until_the_ceiling() -> None:
    """Exponential from the base: 0.5, 1, 2, 4, 8, 8 at the same draw."""
    assert [delay_s(n, base_s=0.5, ceiling_s=8.0, draw=0.5) * 2 for n in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


@settings(deadline=None)
@given(
    attempt=st.integers(1, 12),
    hint_s=st.none() | st.floats(0.0, HINT_CEILING_S),
    left_s=st.floats(-1.0, 200.0) | st.just(math.inf),
    need_s=st.floats(0.0, 5.0),
    draw=draws,
)
def test_a_wait_is_never_before_the_hint_and_never_beyond_the_deadline(
    attempt: int, hint_s: float | None, left_s: float, need_s: float, draw: float
) -> None:
    """The two promises about Retry-After; None exactly when both cannot be kept."""
    wait = wait_s(attempt, hint_s=hint_s, left_s=left_s, need_s=need_s, draw=draw, **USUAL)
    fits = (hint_s or 0.0) < left_s - need_s
    assert (wait is not None) == fits
    if wait is not None:
        assert (hint_s or 0.0) <= wait <= left_s - need_s
        assert wait <= max((hint_s or 0.0) * (1 + HINT_JITTER), USUAL["ceiling_s"])


def test_a_hint_of_nan_is_no_hint() -> None:
    """Bodies carry hints too, and not every reader checks them."""
    assert wait_s(1, hint_s=math.nan, left_s=10.0, draw=0.5, **USUAL) == pytest.approx(0.25)
