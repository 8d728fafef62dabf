"""Faults in every third attempt, at full width."""

from __future__ import annotations

import pytest

from surefoot import errors
from surefoot.testing.wire import CATALOGUE
from tests.torture.figures import check, together, worst
from tests.torture.scenarios.faults import ALL, BY_SURFACE, LOST, WIRE
from tests.torture.scenarios.storm import catalogue, storm


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_lost_doubled_or_held_in_a_storm(seed):
    """The promise of the whole: a valid answer or one typed error, in time, once, and nothing left behind."""
    check(storm(seed))


def test_a_large_storm_keeps_the_ratio():
    """Over many calls luck evens out: what success and attempts really are."""
    check(storm(1000, calls=10_000, log=False))


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_of_every_fault_loses_nothing_and_names_each(seed):
    """Whatever strikes, among whatever else: each attempt's fault stands in the trail by its own name."""
    check(storm(seed, mixture="catalogue"))


@pytest.mark.parametrize("seed", range(3))
def test_every_fault_comes_out_as_its_one_typed_error(seed):
    """Whoever handles an error must be able to rely on its class, also while other calls fail in other ways."""
    check(catalogue(seed))


def test_every_row_of_the_wire_catalogue_is_served_as_its_class():
    """A fault that is known but never served is not tortured with; a class that says another thing about asking again would lie."""
    assert len(WIRE) == len(CATALOGUE) >= 83
    assert len({kind.name for kind in ALL}) == len(ALL)
    assert all(BY_SURFACE.values())
    for row, kind in zip(CATALOGUE, WIRE, strict=True):
        assert kind.surfaces == row.surfaces
        assert bool(kind.means) == bool(row.means), row.name
        if kind.means and kind.means != LOST:
            assert issubclass(getattr(errors, kind.means), errors.Fault), row.name
            says_no = ("x-should-retry", "false") in row.headers  # a server may forbid for itself what its error's class would allow
            assert (getattr(errors, kind.means).retryable and not says_no) == row.retryable, row.name


def test_the_same_seed_gives_the_same_events():
    """A failure found by seed can be looked at again; another seed is another world."""
    first, again, other = storm(3), storm(3), storm(4)
    assert (first.log, first.figures) == (again.log, again.figures)
    assert first.log != other.log


@pytest.mark.parametrize("fault", ["rate_limited", "overloaded"])
def test_faults_taken_for_limits_lose_nothing(fault):
    """A provider short of capacity refuses whoever comes: how many get through is reported, that each call ends well is held."""
    check(worst([storm(seed, share=0.05, given=False, mixture=fault, calls=1_000, width=50) for seed in range(3)]))


@pytest.mark.heavy
@pytest.mark.parametrize("first", range(0, 60, 15))
def test_sixty_storms_together_keep_every_goal(first):
    """Over many seeds luck evens out: what fifteen of 2,000 calls each hold together."""
    check(together([storm(seed, log=False) for seed in range(first, first + 15)]))


@pytest.mark.heavy
@pytest.mark.parametrize("mixture", ["passing", "catalogue"])
def test_a_storm_of_full_size_keeps_every_goal(mixture):
    """30,000 calls, with the passing faults and with every fault of the catalogue."""
    check(storm(1, calls=30_000, mixture=mixture, log=False))
