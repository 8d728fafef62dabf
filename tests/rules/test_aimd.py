"""How many in flight: the limit follows a provider's capacity down and up again."""

import heapq
import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from surefoot.rules.aimd import MOST, PACED, SHRINK, START, Limit


def drive(
    limit: Limit, *, capacity: list[tuple[float, int]], until_s: float, demand: int = 10_000, refusal_s: float = 0.05, seed: int = 1
) -> tuple[list[tuple[float, int]], int, int]:
    """Callers before a provider that answers in about 1 s and refuses above its capacity: (time and in flight, answered, refused)."""
    rng = random.Random(seed)
    heap: list[tuple[float, int, str, float]] = []
    seq = in_flight = answered = refused = 0
    series: list[tuple[float, int]] = []
    now_s = 0.0
    while now_s < until_s:
        while in_flight < min(limit.limit, demand):
            holds = next(n for from_s, n in reversed(capacity) if now_s >= from_s)
            fits = sum(what == "answer" for _, _, what, _ in heap) < holds
            seq += 1
            in_flight += 1
            took_s = rng.uniform(0.5, 1.5) if fits else refusal_s
            heapq.heappush(heap, (now_s + took_s, seq, "answer" if fits else "refuse", now_s))
        series.append((now_s, in_flight))
        now_s, _, what, started_s = heapq.heappop(heap)
        if what == "answer":
            answered += 1
            limit.on_success(in_flight)
        else:
            refused += 1
            limit.on_overload(started_s, now_s)
        in_flight -= 1
    return series, answered, refused


def mean(series: list[tuple[float, int]], from_s: float, to_s: float) -> float:
    """Mean in flight, weighted by time."""
    area = 0.0
    for (at_s, n), (next_s, _) in itertools.pairwise(series):
        area += n * max(0.0, min(next_s, to_s) - max(at_s, from_s))
    return area / (to_s - from_s)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("refusal_s", [0.05, 1.0])
def test_it_follows_the_capacity_down_and_up(seed: int, refusal_s: float) -> None:
    """The promise: 50, 10, 50; thirty windows (of 1 s) after each change the mean of ten windows is within a fifth of the capacity."""
    series, answered, refused = drive(
        Limit(), capacity=[(0.0, 50), (100.0, 10), (200.0, 50)], until_s=300.0, refusal_s=refusal_s, seed=seed
    )
    means = [mean(series, from_s + 30.0, from_s + 40.0) for from_s in (0.0, 100.0, 200.0)]
    print(f"seed {seed}, refusals in {refusal_s} s: in flight {[round(m, 1) for m in means]}, {refused / (answered + refused):.4f} refused")
    assert means == [pytest.approx(50, rel=0.2), pytest.approx(10, rel=0.2), pytest.approx(50, rel=0.2)]
    assert refused / (answered + refused) <= 0.03


def test_room_that_opens_is_found_in_twenty_windows() -> None:
    """From 10 up to 50 by one a window would take forty; the steps grow while nothing is refused."""
    series, _, _ = drive(Limit(), capacity=[(0.0, 10), (100.0, 50)], until_s=200.0)
    found_s = next(at_s for at_s, n in series if n >= 45) - 100.0
    print(f"10 to 45 in {found_s:.1f} windows")
    assert found_s <= 22.0


def test_the_start_is_quick() -> None:
    """From 8 to the most in nine windows, while nothing is refused."""
    series, _, _ = drive(Limit(), capacity=[(0.0, 1000)], until_s=30.0)
    reached_s = next(at_s for at_s, n in series if n >= MOST)
    print(f"{START:g} to {MOST:g} in {reached_s:.1f} windows")
    assert reached_s <= 12.0


@pytest.mark.parametrize(("per_minute", "places"), [(None, START), (60.0, START), (1200.0, 20), (4800.0, PACED), (1e9, PACED)])
def test_it_starts_at_a_second_of_a_limit_that_is_given(per_minute: float | None, places: float) -> None:
    """Within reason: what is not given, or little, starts as ever, and nothing starts with hundreds."""
    assert Limit.paced(per_minute).limit == places


def test_fifty_refused_together_shrink_it_once() -> None:
    """They were all sent before the first refusal came back: one piece of news."""
    limit = Limit(50.0)
    assert [limit.on_overload(1.0, 2.0) for _ in range(50)] == [True] + [False] * 49
    assert limit.limit == int(50 * SHRINK)
    assert limit.on_overload(2.5, 3.0)


def test_cuts_that_were_none_are_undone() -> None:
    """Back where it was, growing as at the start, and never beyond the most."""
    limit = Limit(50.0)
    limit.on_overload(1.0, 2.0)
    assert not limit.is_news(1.5, 3.0)
    assert limit.is_news(2.5, 3.0)
    limit.put_back(50)
    assert limit.limit == 50
    for _ in range(4):
        limit.on_success(50)
    assert limit.limit == 52
    limit.put_back(10_000)
    assert limit.limit == MOST


def test_what_nobody_uses_does_not_grow() -> None:
    """Two in flight say nothing about sixty."""
    limit = Limit(8.0)
    for _ in range(1000):
        limit.on_success(5)
    assert limit.limit == 8


def test_a_fixed_limit_learns_nothing() -> None:
    """What the user set stays."""
    limit = Limit.fixed(7)
    for n in range(100):
        limit.on_success(7)
        limit.on_overload(n + 0.5, n + 1.0)
    assert limit.limit == 7


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_clock_that_jumps_does_not_deafen_it(jump_s: float) -> None:
    """Set back an hour, every call began before the last cut; it must shrink all the same."""
    limit = Limit(64.0)
    assert limit.on_overload(5000.0, 5001.0)
    assert limit.on_overload(5001.0 + jump_s, 5002.0 + jump_s)


@settings(deadline=None)
@given(start=st.floats(-5.0, 1e4), least=st.floats(-5.0, 1e3), most=st.floats(-5.0, 1e3))
def test_bounds_hold_whatever_they_are(start: float, least: float, most: float) -> None:
    """Never below one: a limit of nothing would wait for ever."""
    limit = Limit(start, least=least, most=most)
    low, high = max(1, int(least)), max(1, int(max(least, most, 1.0)))
    assert low <= limit.limit <= high
    for _ in range(30):
        limit.on_success(limit.limit)
        assert low <= limit.limit <= high
    for n in range(30):
        limit.on_overload(float(n), float(n))
        assert low <= limit.limit <= high


class LimitMachine(RuleBasedStateMachine):
    """Any order of news: bounded, one cut a window, growth only by use."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = Limit(10.0, least=2.0, most=40.0)
        self.now_s = 0.0
        self.cut_s = -math.inf

    @rule(by_s=st.floats(0.001, 5.0))
    def wait(self, by_s: float) -> None:
        self.now_s += by_s

    @rule(share=st.floats(0.0, 1.0), n=st.integers(1, 60))
    def succeed(self, share: float, n: int) -> None:
        for _ in range(n):
            before = self.limit.limit
            in_flight = math.ceil(share * before)
            self.limit.on_success(in_flight)
            assert before <= self.limit.limit <= before + 4
            if in_flight < 0.8 * before:
                assert self.limit.limit == before

    @rule(ago_s=st.floats(0.0, 10.0))
    def refuse(self, ago_s: float) -> None:
        before, started_s = self.limit.limit, self.now_s - ago_s
        shrank = self.limit.on_overload(started_s, self.now_s)
        assert shrank == (started_s > self.cut_s)
        assert self.limit.limit >= int(before * SHRINK)
        if shrank:
            self.cut_s = self.now_s

    @rule(to=st.floats(0.0, 100.0))
    def undo(self, to: float) -> None:
        before = self.limit.limit
        self.limit.put_back(to)
        assert self.limit.limit >= before

    @invariant()
    def bounded(self) -> None:
        assert 2 <= self.limit.limit <= 40


TestLimitMachine = LimitMachine.TestCase
TestLimitMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
