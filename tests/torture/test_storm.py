"""Faults in every third attempt, at full width."""

from __future__ import annotations

import pytest

from tests.torture.figures import check, worst
from tests.torture.storm import catalogue, storm


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_doubled_or_held_in_a_storm(seed):
    """The promise of the whole: a valid answer or one typed error, in time, once, and nothing left behind."""
    check(storm(seed))


def test_a_large_storm_keeps_the_ratio():
    """Over many calls luck evens out: what success and attempts really are."""
    check(storm(1000, calls=10_000, log=False))


@pytest.mark.parametrize("seed", range(5))
def test_every_fault_comes_out_as_its_one_typed_error(seed):
    """Whoever handles an error must be able to rely on its class, also while other calls fail in other ways."""
    check(catalogue(seed))


def test_the_same_seed_gives_the_same_events():
    """A failure found by seed can be looked at again; another seed is another world."""
    first, again, other = storm(3), storm(3), storm(4)
    assert (first.log, first.figures) == (again.log, again.figures)
    assert first.log != other.log


@pytest.mark.parametrize("kinds", [("rate_limited",), ("overloaded",)])
def test_faults_taken_for_limits_lose_nothing(kinds):
    """A provider short of capacity refuses whoever comes: how many get through is reported, that each call ends well is held."""
    check(worst([storm(seed, share=0.05, given=False, kinds=kinds, calls=1_000, width=50) for seed in range(3)]))
