"""A provider that is gone, and comes back."""

from __future__ import annotations

import pytest

from tests.torture.figures import check
from tests.torture.scenarios.outage import herd, outage, quota, recovery, told_to_wait


@pytest.mark.parametrize("per_s", [1, 10, 100])
def test_an_outage_costs_little_and_fails_fast(per_s):
    """Retries into a dead provider help nobody, and a caller would rather know now."""
    check(outage(1, per_s=per_s, dead_s=600.0 if per_s < 100 else 200.0))  # the full ten minutes by command


def test_an_outage_from_the_first_call_on_costs_little():
    """A process that starts into an outage has no traffic behind it that would afford retries."""
    check(outage(1, per_s=10, healthy_s=0.0))


def test_an_outage_that_lets_the_last_answers_through_costs_little():
    """Each of them says that this is no outage yet, so retries are bounded by the ratio alone until the last has come."""
    check(outage(1, per_s=100, dead_s=120.0, drops=False))


def test_two_targets_that_fail_together_cost_little():
    """The extra attempts are bounded for the process, however many targets it has."""
    check(outage(1, per_s=10, targets=2))


@pytest.mark.parametrize("seed", range(1))
def test_a_provider_that_is_back_is_used_again_and_not_stormed(seed):
    """Both at once: within seconds, and never above the traffic of before."""
    check(recovery(seed))


@pytest.mark.parametrize("seed", range(3))
def test_a_fleet_does_not_come_back_all_at_once(seed):
    """What opened in one moment must not close in one."""
    check(herd(seed))


@pytest.mark.parametrize("hint_s", [30.0, 121.0])
def test_a_target_that_asks_for_time_gets_it_and_nobody_is_lost_meanwhile(hint_s):
    """Its hint is for all calls, not for the one that heard it; who cannot wait so long is answered by the next target."""
    check(told_to_wait(1, hint_s=hint_s))


def test_an_empty_account_is_asked_once_and_left():
    """Asking again costs time and never helps: the vendors' SDKs send three."""
    check(quota(1))
