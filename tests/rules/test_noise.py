"""Whether refusals follow what we do. Seeds are fixed; figures are printed."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.rules.noise import EXCESS, RARE, SpuriousRefusals


def slow_down(spurious: SpuriousRefusals, *, refused: float, calls: int, seed: int = 1) -> float:
    """A setting that is cut by 2 % at each lesson, before a provider that refuses this share whatever we do: where it ends."""
    rng, setting = random.Random(seed), 100.0
    for _ in range(calls):
        if rng.random() >= refused:
            spurious.passed()
            continue
        was = setting
        if spurious.is_lesson(was):
            setting *= 0.98
            back = spurious.put_back()
            setting = max(setting, back or 0.0)
    return setting


@pytest.mark.parametrize("refused", [0.01, 0.05, 0.3])
def test_refusals_that_do_not_fall_are_background(refused: float) -> None:
    """Without it a hundred lessons of 2 % leave 13 of 100, and so on without end."""
    ends = [slow_down(SpuriousRefusals(), refused=refused, calls=int(400 / refused), seed=seed) for seed in range(20)]
    print(f"{refused:.0%} refused: from 100 to {min(ends):.0f}..{max(ends):.0f} after 400 refusals")
    assert min(ends) >= 60.0
    assert sum(ends) / len(ends) >= 85.0


def test_a_verdict_that_luck_spoilt_is_tried_again_soon() -> None:
    """Four refusals in a row, and then one call in ten: the later half is compared with what comes next, not thrown away with the rest."""
    spurious, lessons, setting = SpuriousRefusals(), 0, 100.0
    for gap in (0, 0, 0, 0, *[9] * 20):
        for _ in range(gap):
            spurious.passed()
        assert spurious.is_lesson(setting)
        lessons, setting = lessons + 1, setting * 0.9
        if (back := spurious.put_back()) is not None:
            break
    assert (lessons, back) == (12, pytest.approx(100.0 * 0.9**4))


def test_refusals_that_fall_are_lessons() -> None:
    """A limit at half: each refusal above it counts, and none is put back."""
    rng, spurious, setting = random.Random(2), SpuriousRefusals(), 100.0
    for _ in range(20_000):
        if rng.random() * setting <= 50.0:
            spurious.passed()
        else:
            assert spurious.is_lesson(setting)
            assert spurious.put_back() is None
            setting = max(50.0, setting * 0.9)
        setting *= 1.00004
    assert spurious.share == 0.0


def test_too_much_on_top_of_background_is_a_lesson_soon() -> None:
    """Noise must not deafen: at 5 % background a limit that refuses half is heard after some twenty calls."""
    spurious = SpuriousRefusals()
    slow_down(spurious, refused=0.05, calls=5_000)
    assert spurious.share == pytest.approx(0.05, rel=0.6)
    calls = 0
    while True:
        calls += 1
        if calls % 2 and spurious.is_lesson(100.0):
            break
        if not calls % 2:
            spurious.passed()
    print(f"heard after {calls} calls")
    assert EXCESS <= calls <= 25


def test_after_a_lesson_the_next_takes_as_many_refusals_again() -> None:
    """What has been heard counts no more."""
    spurious = SpuriousRefusals()
    slow_down(spurious, refused=0.05, calls=5_000)
    spurious._excess = 0.0

    def refusals() -> int:
        spurious.share = 0.05
        return next(n for n in range(1, 100) if spurious.is_lesson(100.0))

    assert [refusals() for _ in range(3)] == [math.floor(EXCESS / 0.9) + 1] * 3


def test_background_that_ends_is_forgotten() -> None:
    """A bad day at the provider must not make every later lesson six times as slow."""
    spurious = SpuriousRefusals()
    slow_down(spurious, refused=0.05, calls=5_000)
    for _ in range(6_000):
        spurious.passed()
    assert spurious.share == 0.0
    assert spurious.is_lesson(100.0)


def test_more_than_half_is_never_background() -> None:
    """From far above a limit nearly all is refused until it is reached: that is no noise, and the setting must go on sinking."""
    assert slow_down(SpuriousRefusals(), refused=0.9, calls=400) < 1.0


def test_rare_refusals_are_left_alone() -> None:
    """One in a thousand costs less than what is grown back meanwhile."""
    spurious = SpuriousRefusals()
    slow_down(spurious, refused=RARE / 2, calls=50_000)
    assert spurious.share == 0.0


def test_what_was_seen_before_a_reset_counts_no_more() -> None:
    """One who lets nobody in is shut: its refusals are none of the pace, and no noise."""
    spurious = SpuriousRefusals()
    for _ in range(100):
        assert spurious.is_lesson(math.inf)
        spurious.reset()
        assert spurious.put_back() is None


@settings(deadline=None)
@given(
    enough=st.integers(2, 10),
    sunk=st.floats(0.1, 1.0),
    steps=st.lists(st.tuples(st.integers(0, 40), st.floats(0.001, 1e9) | st.just(math.inf)), max_size=80),
)
def test_whatever_happens_the_setting_goes_back_only_to_where_it_has_been(enough: int, sunk: float, steps: list[tuple[int, float]]) -> None:
    """Never above the highest at which a lesson was drawn, only with a background named, and a share is a share."""
    spurious, drawn = SpuriousRefusals(enough=enough, sunk=sunk), set[float]()
    for passes, setting in steps:
        for _ in range(passes):
            spurious.passed()
        if spurious.is_lesson(setting):
            drawn.add(setting)
            back = spurious.put_back()
            if back is not None:
                assert back in drawn
                assert back == max(drawn) or back >= setting
                assert spurious.share > 0.0
        assert 0.0 <= spurious.share <= 1.0
