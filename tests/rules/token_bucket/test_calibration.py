"""What claims come to: learned from those that were settled."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.rules.token_bucket.calibration import ASTRAY, NOTHING, Calibration


def test_claims_that_are_exact_stay_so() -> None:
    """Requests cost one each: nothing is to be learned, and nothing is."""
    calibration = Calibration()
    for _ in range(100):
        calibration.learn(1.0, 1.0)
    assert calibration.of(1.0) == 1.0


def test_a_slope_and_a_height_are_found() -> None:
    """A quarter too many for each token of a prompt, and an output of 256 reckoned where 30 come."""
    rng, calibration = random.Random(1), Calibration()
    for _ in range(100):
        prompt = rng.randint(50, 2000)
        calibration.learn(1.25 * prompt + 256.0, prompt + 30.0)
    for prompt in (50, 400, 2000):
        assert calibration.of(1.25 * prompt + 256.0) == pytest.approx(prompt + 30.0, rel=1e-6)


def test_claims_of_one_size_tell_a_share() -> None:
    """No two differ, so no line goes through them."""
    calibration = Calibration()
    for _ in range(10):
        calibration.learn(300.0, 150.0)
    assert (calibration.of(300.0), calibration.of(3000.0)) == (pytest.approx(150.0), pytest.approx(1500.0))


def test_another_kind_of_work_is_learned_within_a_hundred() -> None:
    """What was settled an hour ago says nothing of tonight's batch."""
    calibration = Calibration()
    for claim in range(300, 1300):
        calibration.learn(claim, 0.2 * claim)
    for claim in range(300, 400):
        calibration.learn(claim, 2.0 * claim)
    assert calibration.of(350.0) == pytest.approx(700.0, rel=0.2)


@given(st.lists(st.tuples(st.floats(0.0, 1e6), st.floats(1e-3, 1e6)), min_size=1, max_size=60), st.floats(0.0, 1e7))
def test_it_never_leads_far_astray(settled: list[tuple[float, float]], claim: float) -> None:
    """A line through a cloud points anywhere: beyond it the common share holds, within a factor."""
    calibration = Calibration()
    for claimed, actual in settled:
        calibration.learn(claimed, actual)
    shares = [actual / claimed for claimed, actual in settled if claimed >= NOTHING] or [1.0]
    assert min(1.0, *shares) / ASTRAY * claim * 0.99 <= calibration.of(claim) <= max(1.0, *shares) * ASTRAY * claim * 1.01
