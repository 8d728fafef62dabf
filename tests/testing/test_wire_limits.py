"""The simulated providers' windows admit what they say, in each of the three manners."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.testing.wire import Limits
from surefoot.testing.wire._server._limits import LimitWindow, Quota

WALKS = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 4)), max_size=60)  # (seconds since the last request, its size)


def admitted(kind, walk, per_minute=10.0):
    """[(time, size)] of what a window lets in."""
    window, now, taken = LimitWindow(per_minute, kind, 60.0), 0.0, []
    for gap, size in walk:
        now += gap
        if window.wait_s(size, now) <= 0:
            window.take(size, now)
            taken.append((now, size))
    return taken


@given(WALKS)
def test_a_sliding_window_never_holds_more_than_its_size(walk):
    """In any sixty seconds."""
    taken = admitted("sliding", walk)
    for end, _ in taken:
        assert sum(size for at, size in taken if end - 60 < at <= end) <= 10


@given(WALKS)
def test_a_bucket_never_gives_more_than_its_size_and_the_refill(walk):
    """Over any stretch of time."""
    taken = admitted("bucket", walk)
    for start, _ in taken:
        for end, _ in taken:
            if end >= start:
                assert sum(size for at, size in taken if start <= at <= end) <= 10 + (end - start) / 6 + 1e-6


@given(WALKS)
def test_a_fixed_window_starts_again_each_minute(walk):
    """Which lets twice its size pass around the turn: clients must live with it."""
    window, now, used = LimitWindow(10.0, "fixed", 60.0), 0.0, {}
    window.wait_s(0, 0.0)
    for gap, size in walk:
        now += gap
        if window.wait_s(size, now) <= 0:
            window.take(size, now)
            used[now // 60] = used.get(now // 60, 0) + size
    assert all(total <= 10 for total in used.values())


@given(st.sampled_from(["fixed", "sliding", "bucket"]), WALKS, st.integers(1, 4))
def test_the_hint_is_true(kind, walk, size):
    """Who waits as long as was said is let in, and not long before."""
    window, now = LimitWindow(10.0, kind, 60.0), 0.0
    for gap, n in walk:
        now += gap
        if window.wait_s(n, now) <= 0:
            window.take(n, now)
    wait = window.wait_s(size, now)
    assert 0 <= wait <= 60 + 1e-6
    assert window.wait_s(size, now + wait + 1e-6) <= 1e-6


def test_what_never_fits_waits_a_whole_window():
    """A request larger than the limit."""
    assert LimitWindow(10.0, "sliding", 60.0).wait_s(11, 0.0) == 60.0


def test_a_refused_request_takes_nothing():
    """Requests are not booked when tokens are short."""
    quota = Quota(Limits(requests_per_minute=2, tokens_per_minute=100, output_tokens_per_minute=10))
    assert quota.admit(200, 1, 0.0)[0] == "tokens"
    assert quota.admit(50, 20, 0.0)[0] == "output tokens"
    assert quota.requests.level(0.0).remaining == 2
    assert quota.admit(50, 5, 0.0) == ("", 0.0)
    assert quota.admit(50, 5, 0.0) == ("", 0.0)
    assert quota.admit(0, 0, 0.0)[0] == "requests"


def test_levels_fall_and_recover():
    """What the headers tell."""
    window = LimitWindow(6.0, "bucket", 60.0)
    window.take(3, 0.0)
    assert (window.level(0.0).remaining, window.level(0.0).reset_s) == (3, 30.0)
    assert window.level(10.0).remaining == 4
    assert window.level(30.0).reset_s == pytest.approx(0.0)
    assert math.isclose(window.size, 6.0)


@pytest.mark.parametrize("kind", ["fixed", "sliding", "bucket"])
def test_the_limit_is_told_per_minute_whatever_the_window(kind):
    """160 in 2 s is called 4,800 a minute; a client told 160 would send 160 a minute."""
    window = LimitWindow(4800.0, kind, 2.0)
    window.take(100, 0.0)
    level = window.level(0.0)
    assert (level.limit, level.remaining) == (4800, 60)
    assert 0.0 < level.reset_s <= 2.0
