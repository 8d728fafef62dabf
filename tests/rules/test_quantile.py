"""A streaming quantile: right to 5 %, forgetful, and silent until it knows."""

import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from surefoot.rules.quantile import LEAST, WINDOW_S, Quantile


def exact(values: list[float], q: float) -> float:
    """The smallest value with a share of at least `q` at or below it."""
    return sorted(values)[max(0, math.ceil(q * len(values) - 1e-9) - 1)]


@settings(deadline=None)
@given(values=st.lists(st.floats(0.001, 1000.0), min_size=50, max_size=300), q=st.floats(0.05, 0.99))
def test_it_is_right_to_five_percent(values: list[float], q: float) -> None:
    """Against sorting, for any values at any scale."""
    quantile = Quantile(q)
    for value in values:
        quantile.record(value, 1.0)
    got = quantile.value(1.0)
    assert got is not None
    assert got == pytest.approx(exact(values, q), rel=0.0501)


@pytest.mark.parametrize("seed", range(3))
def test_the_p95_of_a_slow_tail(seed: int) -> None:
    """Log-normal answers of half a second, the kind we hedge: followed without sorting, asked after every value."""
    rng, quantile, values = random.Random(seed), Quantile(), []
    for n in range(5000):
        values.append(rng.lognormvariate(math.log(0.5), 0.6))
        quantile.record(values[-1], n * 0.01)
        got = quantile.value(n * 0.01)
    want = exact(values, 0.95)
    print(f"seed {seed}: p95 {got:.4f} s, exact {want:.4f} s")
    assert got == pytest.approx(want, rel=0.03)


def test_hedging_at_it_asks_twice_for_one_in_twenty() -> None:
    """The share of calls slower than the p95 known before them: what the hedge costs."""
    rng, quantile, late, asked = random.Random(4), Quantile(), 0, 0
    for n in range(50_000):
        value = rng.lognormvariate(math.log(0.5), 0.6)
        delay = quantile.value(n * 0.01)
        if delay is not None:
            asked += 1
            late += value > delay
        quantile.record(value, n * 0.01)
    print(f"{late / asked:.4f} slower than the p95 before them")
    assert late / asked == pytest.approx(0.05, abs=0.005)


def test_it_says_nothing_until_it_knows() -> None:
    """Of 49 values the p95 is hearsay."""
    quantile = Quantile()
    for n in range(LEAST):
        assert quantile.value(n * 0.1) is None
        quantile.record(1.0, n * 0.1)
    assert quantile.value(5.0) == pytest.approx(1.0, rel=0.05)


def test_it_forgets() -> None:
    """Slow this morning, fast now: after the window the morning is gone; and after a silence it says nothing at all."""
    quantile = Quantile()
    for n in range(200):
        quantile.record(20.0, n * 1.0)
    for n in range(int(WINDOW_S)):
        quantile.record(0.2, 200.0 + n)
    assert quantile.value(200.0 + WINDOW_S) == pytest.approx(0.2, rel=0.05)
    assert quantile.value(200.0 + 3 * WINDOW_S) is None


def test_it_follows_a_provider_that_gets_slow() -> None:
    """Once a twentieth of the window is slow, so is the p95."""
    quantile = Quantile()
    for n in range(3000):
        quantile.record(0.2, n * 0.1)
    for n in range(200):
        quantile.record(5.0, 300.0 + n * 0.1)
    assert quantile.value(320.0) == pytest.approx(5.0, rel=0.05)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_what_is_no_duration_is_left_out(value: float) -> None:
    """A clock set back must not become a delay of nothing."""
    quantile = Quantile(least=1)
    quantile.record(value, 0.0)
    assert quantile.value(0.0) is None


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e9, 1e300])
def test_any_duration_has_a_place(value: float) -> None:
    """Beyond twenty minutes all is one."""
    quantile = Quantile(least=1)
    quantile.record(value, 0.0)
    got = quantile.value(0.0)
    assert got is not None
    assert 0.0 <= got < 2000.0


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 1e9, -1e9])
def test_a_clock_that_jumps_leaves_it_working(jump_s: float) -> None:
    """Fifty values later it knows again, of the time after the jump once the window has passed."""
    quantile = Quantile()
    for n in range(500):
        quantile.record(9.0, float(n))
    for n in range(int(2 * WINDOW_S)):
        quantile.record(0.1, 500.0 + jump_s + n)
    assert quantile.value(500.0 + jump_s + 2 * WINDOW_S) == pytest.approx(0.1, rel=0.05)


class QuantileMachine(RuleBasedStateMachine):
    """Values and waits in any order, against a list of what is surely in the window and what may be."""

    def __init__(self) -> None:
        super().__init__()
        self.quantile = Quantile(0.9, least=1)
        self.now_s = 0.0
        self.values: list[tuple[float, float]] = []

    @rule(value=st.floats(0.001, 100.0), n=st.integers(1, 10))
    def record(self, value: float, n: int) -> None:
        for _ in range(n):
            self.quantile.record(value, self.now_s)
            self.values.append((self.now_s, value))

    @rule(by_s=st.floats(0.0, WINDOW_S))
    def wait(self, by_s: float) -> None:
        self.now_s += by_s

    @invariant()
    def it_counts_the_window_and_no_more_than_a_slice_less(self) -> None:
        got = self.quantile.value(self.now_s)
        surely = [value for at_s, value in self.values if at_s > self.now_s - WINDOW_S * 0.8]
        perhaps = [value for at_s, value in self.values if at_s >= self.now_s - WINDOW_S]
        assert len(surely) <= self.quantile.total <= len(perhaps)
        assert (got is None) == (self.quantile.total == 0)
        if got is not None and len(surely) == len(perhaps):
            assert got == pytest.approx(exact(surely, 0.9), rel=0.0501)


TestQuantileMachine = QuantileMachine.TestCase
TestQuantileMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_good_path_is_cheap() -> None:
    """Record and ask; a bound far above the measured cost, so that a busy machine does not fail it."""
    rng, quantile, n = random.Random(1), Quantile(), 20_000
    values = [rng.lognormvariate(0.0, 0.6) for _ in range(n)]
    begin = time.perf_counter()
    for i, value in enumerate(values):
        quantile.value(i * 0.001)
        quantile.record(value, i * 0.001)
    each_us = (time.perf_counter() - begin) / n * 1e6
    print(f"value + record: {each_us:.2f} us")
    assert each_us < 40.0
