"""How much of a provider's limits is used."""

from __future__ import annotations

import pytest

from tests.torture.figures import check
from tests.torture.scenarios.pace import KINDS, capacity, overload, pace, start


@pytest.mark.parametrize("how", KINDS)
def test_a_limit_is_used_to_the_full_and_not_beyond(how):
    """What is paid for should be used, and a refusal costs a round trip and goodwill."""
    check(pace(1, how=how, minutes=5 if how.startswith("refusals") else 10))


def test_a_standing_start_uses_the_limit():
    """Places that are found one after the other must not hold back what the limit allows: it was 66 %."""
    check(start(1))


@pytest.mark.parametrize("seed", range(3))
def test_the_number_in_flight_follows_the_capacity(seed):
    """Down within seconds, or the provider drowns; up again, or the rest of the day is slow."""
    check(capacity(seed))


def test_an_overload_loses_nothing():
    """Beyond what can be served, each call still ends in time with one typed error; how much work is wasted is reported."""
    check(overload(1))
