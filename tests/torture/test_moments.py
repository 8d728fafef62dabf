"""Time and cancellation."""

from __future__ import annotations

import pytest

from tests.torture.figures import check
from tests.torture.scenarios.moments import PATHS, SURFACES, cancel_everywhere, clock, deadlines, hints, impatient, leave_anytime


def test_a_hint_is_a_floor_and_the_deadline_a_ceiling():
    """Earlier than asked is rude and refused again; later than the deadline helps nobody; what fits is waited for."""
    check(hints(1))


@pytest.mark.parametrize("seed", range(5))
def test_no_call_outlives_its_deadline(seed):
    """One deadline over queueing, pacing, retries, five targets and the stream."""
    check(deadlines(seed))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("surface", SURFACES)
def test_whoever_leaves_takes_everything_along(path, surface):
    """Cancelled at every await of the whole stack, once and twice: no place, no claim, no task, no stream stays behind."""
    for twice in (False, True):
        check(cancel_everywhere(path, surface=surface, twice=twice))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("others", [0, 2])
def test_leaving_a_shared_call_hurts_nobody(stream, others):
    """The shared call has a task of its own, so it is left at moments, not at awaits; the last one out ends it."""
    check(leave_anytime(stream=stream, others=others))


def test_callers_who_give_up_are_no_failures_of_the_provider():
    """An impatient user must not open the breaker for everybody, nor send the next one to a dearer model."""
    check(impatient(1))


@pytest.mark.parametrize(("leap_s", "suspended"), [(3600, False), (-3600, False), (3600, True)], ids=["forward", "back", "suspended"])
def test_a_clock_that_leaps_leaves_no_stuck_state(leap_s, suspended):
    """Laptops sleep and clocks are set; a breaker open for ever or a pace in debt for an hour would look like an outage of ours."""
    check(clock(1, leap_s=leap_s, suspended=suspended))
