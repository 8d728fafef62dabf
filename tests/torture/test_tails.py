"""Slow answers, bad targets, long days."""

from __future__ import annotations

import pytest

from tests.torture.figures import check
from tests.torture.scenarios.tails import broken_streams, outliers, soak, tail


@pytest.mark.parametrize("seed", range(3))
def test_hedging_cuts_the_tail_for_a_few_requests(seed):
    """One slow answer in fifty is what people remember; five requests in a hundred are what it may cost."""
    check(tail(seed))


@pytest.mark.parametrize("resume", [False, True])
def test_a_stream_that_breaks_is_never_spliced(resume):
    """Before the first token invisible, after it a typed error with what came; a restart only if asked for, and never in secret."""
    check(broken_streams(1, resume=resume, calls=2_000))


@pytest.mark.parametrize("bad", [1, 5])
def test_bad_targets_are_left_out_and_never_all(bad):
    """Who fails gets no traffic but trials; and whatever happens, somebody is asked."""
    check(outliers(1, bad=bad))


@pytest.mark.parametrize("per_s", [0.5, pytest.param(2.0, marks=pytest.mark.heavy)])
def test_half_an_hour_leaves_nothing_behind(per_s):
    """A leak of a hundred bytes a call is a gigabyte in a week."""
    check(soak(1, per_s=per_s))  # by command: 5 a second
