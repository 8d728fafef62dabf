"""A bucket that spends slices which somebody leases for it: who goes, who waits, and what is told in the next turn."""

from __future__ import annotations

import math

import pytest

from surefoot.rules.token_bucket.leased import AHEAD, ASK_S, BEHIND_S, LeasedBucket
from surefoot.rules.token_bucket.queue import GONE, OVER, QUEUED


def leased(amount=0.0, *, until_s=10.0, per_minute=600.0):
    """A bucket with a slice in hand, and how often it has asked for one."""
    kicks = []
    bucket = LeasedBucket(lambda: kicks.append(1))
    bucket.grant(amount, until_s, per_minute=per_minute)
    return bucket, kicks


def test_calls_go_until_the_slice_is_used_up():
    """Without asking anybody; the next one waits and asks, and goes with the next slice."""
    bucket, kicks = leased(3.0)
    assert [bucket.reserve(1.0, 0.0).state for _ in range(3)] == [GONE] * 3
    assert not kicks
    waiting, behind = bucket.reserve(1.0, 0.0), bucket.reserve(1.0, 0.0)
    assert (waiting.state, behind.state, len(kicks)) == (QUEUED, QUEUED, 2)
    assert (bucket.ready(waiting, 0.1), bucket.ready(behind, 0.1)) == (ASK_S, BEHIND_S)
    bucket.grant(1.0, 10.0, per_minute=600.0)
    assert (bucket.ready(waiting, 0.2), waiting.state, bucket.head) == (0.0, GONE, behind)
    assert bucket.ready(behind, 0.2) == ASK_S
    assert bucket.take_back() == (0.0, 4.0)
    assert not bucket.idle()


def test_nobody_overtakes_who_waits():
    """A small call would find room where a large one does not."""
    bucket, _ = leased(2.0)
    large, small = bucket.reserve(5.0, 0.0), bucket.reserve(1.0, 0.0)
    assert (large.state, small.state) == (QUEUED, QUEUED)
    bucket.cancel(large, 0.0)
    assert (bucket.head, bucket.ready(small, 0.0)) == (small, 0.0)


def test_a_slice_that_is_too_old_is_given_back_and_never_used():
    """Somebody else may have been given it."""
    bucket, _ = leased(3.0, until_s=1.0)
    assert bucket.reserve(1.0, 1.0).state == QUEUED
    assert bucket.take_back() == (3.0, 0.0)
    assert bucket.take_back() == (0.0, 0.0)


def test_what_was_reserved_too_much_is_given_back_once():
    """What was too little is owed by all; a call that never left gives everything back."""
    bucket, _ = leased(100.0)
    one, two, three = (bucket.reserve(10.0, 0.0) for _ in range(3))
    bucket.settle(one, 4.0, 1.0)
    bucket.settle(one, 4.0, 1.0)
    assert bucket.take_back() == (6.0, 24.0)
    bucket.settle(two, 15.0, 1.0)
    assert bucket.take_back() == (-5.0, 5.0)
    bucket.cancel(three, 1.0)
    assert (bucket.take_back(), three.state) == ((10.0, -10.0), OVER)
    bucket.void()
    assert bucket.take_back() == (70.0, 0.0)
    bucket.grant(5.0, 10.0, per_minute=600.0)
    bucket.drop()
    bucket.void()
    assert bucket.take_back() == (0.0, 0.0)
    assert bucket.idle()


def test_without_a_limit_all_go_and_are_counted():
    """None is known yet; what was sent is what one is learned from."""
    bucket, kicks = leased(per_minute=0)
    assert bucket.per_minute == math.inf
    assert [bucket.reserve(5.0, 0.0).state for _ in range(4)] == [GONE] * 4
    assert (bucket.take_back(), kicks) == ((0.0, 20.0), [])
    bucket.observe(0.0, limit=900.0)
    bucket.observe(0.0, limit=90_000.0, reset_s=86_400.0)  # of a day
    assert (bucket.take_news(), len(kicks)) == ((900.0, 0, 0.0), 1)
    assert bucket.take_news() == (0.0, 0, 0.0)
    told = LeasedBucket(lambda: None, per_minute=600.0, learns=False)
    told.observe(0.0, limit=900.0)
    assert told.take_news() == (0.0, 0, 0.0)


def test_a_refusal_pauses_and_is_told():
    """With the longest pause of several; it costs no place in the slice."""
    bucket, kicks = leased(5.0)
    one, two = bucket.reserve(1.0, 0.0), bucket.reserve(1.0, 0.0)
    bucket.on_refusal(one, 1.0, retry_after_s=4.0)
    bucket.on_refusal(two, 1.0)
    assert (bucket.take_news(), bucket.take_back(), len(kicks)) == ((0.0, 2, 4.0), (2.0, 0.0), 2)
    waiting, behind = bucket.reserve(1.0, 4.9), bucket.reserve(1.0, 4.9)
    assert (waiting.state, behind.state) == (QUEUED, QUEUED)
    assert [bucket.sure_wait_s(one, 4.0) for one in (waiting, behind)] == pytest.approx([1.0, 1.0 + 60 / 600])
    assert bucket.ready(waiting, 5.0) == 0.0
    assert bucket.sure_wait_s(waiting, 5.0) == 0.0
    assert bucket.ready(behind, 5.0) == 0.0
    bucket.pause(1e9, 5.0)
    assert bucket.reserve(1.0, 304.0).state == QUEUED


def test_a_turn_asks_for_those_who_wait_and_what_usually_comes():
    """Interactive calls ahead of time, batch calls when they are there; what is in hand is not asked for again."""
    bucket, _ = leased(0.0, until_s=100.0)
    assert bucket.wants(0.0, 0.1) == (0.0, 0.0, 0.0)
    for at in range(5):
        bucket.reserve(2.0, at / 10)
    bucket.reserve(3.0, 0.5, low_priority=True)
    high, low, need = bucket.wants(1.0, 0.1)
    assert (high, low, need) == (pytest.approx(10.0 + 10.0 * 0.1 * AHEAD), 3.0, 2.0)
    bucket.grant(11.5, 100.0, per_minute=600.0)
    high, low, need = bucket.wants(1.0, 0.1)
    assert (high, low, need) == (0.0, pytest.approx(3.0 - 0.25), 0.0)


def test_a_rare_caller_asks_for_nothing_ahead():
    """It would give most of it back."""
    bucket, _ = leased(0.0, until_s=100.0)
    bucket.wants(0.0, 0.1)
    bucket.cancel(bucket.reserve(1.0, 0.5), 0.6)
    assert bucket.wants(1.0, 0.1) == (0.0, 0.0, 0.0)


def test_what_comes_in_while_nobody_can_be_asked_is_bounded():
    """And pays what is owed first."""
    bucket, _ = leased(1.0)
    for _ in range(10):
        bucket.accrue(0.5, most=3.0, until_s=10.0, per_minute=600.0)
    bucket.void()
    assert bucket.take_back() == (3.0, 0.0)
    bucket.grant(5.0, 10.0, per_minute=600.0)
    bucket.accrue(0.5, most=3.0, until_s=10.0, per_minute=0)
    assert bucket.per_minute == math.inf
    bucket.void()
    assert bucket.take_back() == (5.0, 0.0)
