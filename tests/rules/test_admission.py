"""Whether a wait still leaves time for an answer."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.rules.admission import CUT, LEAST, MEAN_WEIGHT, USUAL, Admission
from surefoot.rules.quantile import Quantile


def seen(*took_s: float) -> Admission:
    """One that has seen these durations."""
    admission = Admission(Quantile(USUAL, least=LEAST))
    for one_s in took_s:
        admission.note(one_s, 0.0, answered=True)
    return admission


def test_nothing_is_refused_before_anything_is_known() -> None:
    """A guess would refuse calls that could be answered."""
    admission = seen(*[5.0] * (LEAST - 1))
    assert admission.may_wait(9.9, 10.0, 0.0)
    assert not seen(*[5.0] * LEAST).may_wait(9.9, 10.0, 0.0)


def test_what_an_answer_usually_takes_must_be_left() -> None:
    """In an overload everybody gets his turn at the last moment allowed: a median would have every second answer cut off."""
    rng = random.Random(1)
    took_s = [0.3 + rng.expovariate(1.5) for _ in range(2_000)]
    need_s = seen(*took_s).need_s(100.0, 0.0)
    print(f"must be left: {need_s:.2f} s; longer take {sum(one > need_s for one in took_s) / 2_000:.4f}")
    assert sum(one > need_s for one in took_s) <= 0.015 * 2_000


def test_a_short_deadline_among_long_answers_may_spend_half_of_its_time_waiting() -> None:
    """Or the quick questions would be refused for what the slow ones take."""
    admission = seen(*[30.0] * 100)
    assert admission.may_wait(0.9, 2.0, 0.0)
    assert not admission.may_wait(1.1, 2.0, 0.0)


def test_answers_cut_off_raise_what_must_be_left() -> None:
    """Only quick answers come back whole; without the others the estimate would sink to what the deadline leaves."""
    admission = seen(*[1.0] * 100)
    for _ in range(20):
        admission.note(3.0, 0.0, answered=False, cut_off=True)
    assert admission.need_s(100.0, 0.0) == pytest.approx(CUT * 3.0, rel=0.06)


def test_faults_count_for_the_places_and_not_for_the_answers() -> None:
    """A fault of 10 ms frees its place soon, and says nothing about how long an answer takes."""
    admission = seen(*[1.0] * 100)
    for _ in range(200):
        admission.note(0.01, 0.0, answered=False)
    assert admission.mean_s < 0.02
    assert admission.need_s(100.0, 0.0) == pytest.approx(1.0, rel=0.06)


@settings(deadline=None)
@given(
    took_s=st.lists(st.tuples(st.floats(0.0, 1e4), st.booleans(), st.booleans()), max_size=60),
    whole_s=st.floats(0.0, 1e4),
    wait_s=st.floats(0.0, 1e4),
    longer_s=st.floats(0.0, 1e4),
    jump_s=st.sampled_from([0.0, 3600.0, -3600.0]),
)
def test_half_of_the_time_may_always_be_waited_and_never_more_than_all(
    took_s: list[tuple[float, bool, bool]], whole_s: float, wait_s: float, longer_s: float, jump_s: float
) -> None:
    """Whatever was seen, and wherever the clock went: bounded both ways, and a longer wait is never better."""
    admission = Admission(Quantile(USUAL, least=LEAST))
    for one_s, answered, cut_off in took_s:
        admission.note(one_s, 0.0, answered=answered, cut_off=cut_off)
    assert 0.0 <= admission.need_s(whole_s, jump_s) <= whole_s / 2.0
    assert admission.may_wait(whole_s / 2.0 * 0.999, whole_s, jump_s)
    assert not admission.may_wait(whole_s + 0.001, whole_s, jump_s)
    if not admission.may_wait(wait_s, whole_s, jump_s):
        assert not admission.may_wait(wait_s + longer_s, whole_s, jump_s)
    if took_s:
        assert min(one for one, _, _ in took_s) - 1e-9 <= admission.mean_s <= max(one for one, _, _ in took_s) * (1 + MEAN_WEIGHT)
