"""Choosing among equals: the bad ones are left alone, the last one never."""

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from surefoot.rules.load_balance import EJECT_CEILING_S, EJECT_S, JITTER, LoadBalancer

Fate = Callable[[int, float, random.Random], tuple[bool, float]]  # target, time -> (ok, seconds)


def healthy(rng: random.Random) -> tuple[bool, float]:
    return True, rng.lognormvariate(math.log(0.5), 0.5)


def drive(picker: LoadBalancer, fate: Fate, *, rps: float, until_s: float, seed: int = 1) -> list[tuple[float, int]]:
    """Poisson traffic: (time, target) of each call."""
    rng, now_s, seq = random.Random(seed), 0.0, 0
    ends: list[tuple[float, int, int, bool, float]] = []
    picked: list[tuple[float, int]] = []
    while now_s < until_s:
        now_s += rng.expovariate(rps)
        while ends and ends[0][0] <= now_s:
            end_s, _, target, ok, took_s = heapq.heappop(ends)
            picker.record(target, latency_s=took_s, ok=ok, now_s=end_s, draw=rng.random())
        target = picker.pick(now_s, rng.random())
        picked.append((now_s, target))
        ok, took_s = fate(target, now_s, rng)
        seq += 1
        heapq.heappush(ends, (now_s + took_s, seq, target, ok, took_s))
    return picked


def share(picked: list[tuple[float, int]], targets: set[int], from_s: float, to_s: float) -> float:
    """Share of the calls between two times that went to `targets`."""
    window = [target for at_s, target in picked if from_s <= at_s < to_s]
    return sum(target in targets for target in window) / len(window)


BADNESS: dict[str, Callable[[random.Random], tuple[bool, float]]] = {
    "fails fast": lambda _rng: (False, 0.02),
    "fails late": lambda _rng: (False, 2.0),
    "20 times as slow": lambda rng: (True, 20.0 * healthy(rng)[1]),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("bad", BADNESS)
@pytest.mark.parametrize("rps", [50.0, 200.0])
def test_bad_targets_get_less_than_a_hundredth_after_ten_seconds(rps: float, bad: str, seed: int) -> None:
    """The promise: ten targets, one bad from 60 s, five from 120 s; and never none left."""

    def fate(target: int, now_s: float, rng: random.Random) -> tuple[bool, float]:
        sick = (target == 0 and now_s >= 60.0) or (target < 5 and now_s >= 120.0)
        return BADNESS[bad](rng) if sick else healthy(rng)

    picker = LoadBalancer(10)
    picked = drive(picker, fate, rps=rps, until_s=240.0, seed=seed)
    settle_s = 10.0 if bad != "20 times as slow" else 25.0  # such an answer takes 10 s, and nothing is known before
    one, five = share(picked, {0}, 60.0 + settle_s, 120.0), share(picked, {0, 1, 2, 3, 4}, 120.0 + settle_s, 240.0)
    print(f"{rps:g} calls/s, {bad}, seed {seed}: {one:.4f} of calls to the one, {five:.4f} to the five, {len(picker.live)} live")
    assert one < 0.01
    assert five < 0.01
    assert len(picker.live) >= 5


def test_equals_share_the_load() -> None:
    """No favourite: each of ten gets a tenth, and with no favourite none is ejected."""
    picker = LoadBalancer(10)
    counts = Counter(target for _, target in drive(picker, lambda _t, _n, rng: healthy(rng), rps=100.0, until_s=200.0))
    print("calls each", sorted(counts.values()))
    assert min(counts.values()) >= 0.07 * counts.total()
    assert max(counts.values()) <= 0.13 * counts.total()
    assert len(picker.live) == 10


def test_faults_that_all_have_in_common_eject_hardly_anyone() -> None:
    """30 % faults everywhere are the network's or ours; ejecting half of the targets would double the load on the rest."""
    picker, fewest = LoadBalancer(10), 10

    def fate(_target: int, _now_s: float, rng: random.Random) -> tuple[bool, float]:
        nonlocal fewest
        fewest = min(fewest, len(picker.live))
        return (False, 0.1) if rng.random() < 0.3 else healthy(rng)

    drive(picker, fate, rps=100.0, until_s=300.0)
    print(f"fewest live at 30 % faults: {fewest} of 10")
    assert fewest >= 8


def test_all_bad_leaves_half() -> None:
    """Never none left, whatever happens."""
    picker = LoadBalancer(10)
    drive(picker, lambda target, _n, _rng: (False, 0.05 + 0.01 * target), rps=100.0, until_s=120.0)
    assert len(picker.live) >= 5


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_targets_keep_one(count: int) -> None:
    """One alone is never ejected; of two, one."""
    picker = LoadBalancer(count)
    drive(picker, lambda target, _n, rng: (False, 0.05) if target == 0 else healthy(rng), rps=50.0, until_s=60.0)
    assert len(picker.live) == max(1, count - 1)


def test_a_target_that_recovers_comes_back() -> None:
    """By one trial call after its ejection; then it bears its share again, without a rush to it."""

    def fate(target: int, now_s: float, rng: random.Random) -> tuple[bool, float]:
        return (False, 0.05) if target < 3 and 20.0 <= now_s < 60.0 else healthy(rng)

    picker = LoadBalancer(10)
    picked = drive(picker, fate, rps=100.0, until_s=300.0)
    back = share(picked, {0, 1, 2}, 200.0, 300.0)
    rush = max(share(picked, {n}, t, t + 5.0) for n in range(3) for t in range(60, 200, 5))
    print(f"three recovered: {back:.3f} of calls; most in any 5 s to one of them {rush:.3f}")
    assert back == pytest.approx(0.3, abs=0.03)
    assert rush <= 0.2


def test_ejections_get_longer_and_end_apart() -> None:
    """30 s, 60, 90 up to 300, each up to a quarter later: those ejected together do not return together."""
    ends = []
    for draw in (0.0, 0.5, 0.99):
        picker, now_s = LoadBalancer(2), 0.0
        for _ in range(3):
            for _ in range(20):
                if 0 not in picker.live:
                    break
                picker._targets[0].in_flight += 1
                picker.record(0, latency_s=0.1, ok=False, now_s=now_s, draw=draw)
            assert picker.live == (1,)
            waited_s = next(s for s in range(1000) if picker.pick(now_s + s, 0.5) == 0)
            ends.append(waited_s)
            now_s += waited_s
            picker.record(0, latency_s=0.1, ok=True, now_s=now_s, draw=draw)
            assert set(picker.live) == {0, 1}
    print("ejected for", ends)
    assert ends == [math.ceil(EJECT_S * n * (1 + JITTER * draw)) for draw in (0.0, 0.5, 0.99) for n in (1, 2, 3)]


def test_a_trial_walked_away_from_is_repeated_at_once() -> None:
    """A cancelled trial proves nothing, and must not cost the target another half minute."""
    picker = LoadBalancer(2)
    for _ in range(10):
        picker._targets[0].in_flight += 1
        picker.record(0, latency_s=0.1, ok=False, now_s=0.0, draw=0.0)
    assert picker.pick(EJECT_S, 0.5) == 0
    assert picker.pick(EJECT_S, 0.5) == 1
    picker.drop(0)
    assert picker.pick(EJECT_S, 0.5) == 0


def test_those_asked_before_are_avoided_if_there_is_another() -> None:
    """A retry goes elsewhere; with nowhere else to go it goes back."""
    picker = LoadBalancer(3)
    assert {picker.pick(0.0, n / 100, avoid={0, 1}) for n in range(100)} == {2}
    picker = LoadBalancer(3)
    assert {picker.pick(0.0, n / 100, avoid={0, 1, 2}) for n in range(100)} == {0, 1, 2}


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 1e9, -1e9])
def test_a_clock_that_jumps_keeps_nobody_out(jump_s: float) -> None:
    """Ejected before, tried again within the longest ejection after."""
    picker = LoadBalancer(3)
    for _ in range(10):
        picker._targets[0].in_flight += 1
        picker.record(0, latency_s=0.1, ok=False, now_s=100.0, draw=0.5)
    assert 0 not in picker.live
    now_s = 100.0 + jump_s
    for n in range(int(EJECT_S * 2)):
        target = picker.pick(now_s + n, 0.5)
        picker.record(target, latency_s=0.1, ok=True, now_s=now_s + n, draw=0.5)
    assert 0 in picker.live


class PickerMachine(RuleBasedStateMachine):
    """Any order of picks, verdicts, waits and clock jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.picker = LoadBalancer(4)
        self.now_s = 0.0
        self.out: list[int] = []

    @rule(draw=st.floats(0.0, 1.0, exclude_max=True), n=st.integers(1, 10), avoid=st.sets(st.integers(0, 3)))
    def pick(self, draw: float, n: int, avoid: set[int]) -> None:
        for _ in range(n):
            live = set(self.picker.live)
            target = self.picker.pick(self.now_s, draw, avoid=avoid)
            assert 0 <= target < 4
            assert target not in avoid or live <= avoid
            self.out.append(target)

    @precondition(lambda self: self.out)
    @rule(
        n=st.integers(1, 10),
        ok=st.sampled_from([True, False, False, None]),
        latency_s=st.floats(0.0, 100.0),
        draw=st.floats(0.0, 1.0, exclude_max=True),
    )
    def end(self, n: int, ok: bool | None, latency_s: float, draw: float) -> None:
        for _ in range(min(n, len(self.out))):
            target = self.out.pop()
            before = set(self.picker.live)
            if ok is None:
                self.picker.drop(target)
                assert set(self.picker.live) == before
            elif self.picker.record(target, latency_s=latency_s, ok=ok, now_s=self.now_s, draw=draw):
                assert target not in self.picker.live

    @rule(by_s=st.floats(0.0, 100.0))
    def wait(self, by_s: float) -> None:
        self.now_s += by_s

    @rule(to_s=st.sampled_from([3600.0, -3600.0]))
    def jump(self, to_s: float) -> None:
        self.now_s += to_s

    @invariant()
    def half_are_left(self) -> None:
        assert len(self.picker.live) >= 2
        assert len(set(self.picker.live)) == len(self.picker.live)

    @invariant()
    def in_flight_is_what_is_out(self) -> None:
        assert [target.in_flight for target in self.picker._targets] == [self.out.count(n) for n in range(4)]

    def teardown(self) -> None:
        """Whatever happened: with all healthy, all are back within the longest ejection."""
        for _ in range(int(EJECT_CEILING_S * (1 + JITTER)) + 60):
            self.now_s += 1.0
            target = self.picker.pick(self.now_s, 0.5)
            self.picker.record(target, latency_s=0.0, ok=True, now_s=self.now_s, draw=0.5)
        assert len(self.picker.live) == 4


TestPickerMachine = PickerMachine.TestCase
TestPickerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_trial_that_fails_costs_a_longer_ejection() -> None:
    """Two times the shortest after the first, three times after the second; up to a quarter more by the draw."""
    picker, now_s = LoadBalancer(2), 0.0
    for _ in range(10):
        picker._targets[0].in_flight += 1
        picker.record(0, latency_s=0.1, ok=False, now_s=now_s, draw=0.0)
    now_s += EJECT_S
    for number, draw in ((2, 0.0), (3, 0.8)):
        assert picker.pick(now_s, 0.5) == 0
        picker.record(0, latency_s=0.1, ok=False, now_s=now_s, draw=draw)
        waits_s = EJECT_S * number * (1 + JITTER * draw)
        assert {picker.pick(now_s + waits_s - 0.1, n / 10) for n in range(10)} == {1}
        now_s += waits_s


def test_a_target_that_fails_every_call_looks_eleven_times_as_slow() -> None:
    """And one that fails half of them six times; the failures fade with the latency."""
    targets = LoadBalancer(3)._targets
    for target, failure in zip(targets, (0.0, 0.5, 1.0), strict=True):
        target.latency_s, target.at_s, target.failure = 1.0, 0.0, failure
    good, half, bad = (target.cost(0.0) for target in targets)
    assert (half, bad) == (pytest.approx(6 * good), pytest.approx(11 * good))
    assert targets[2].cost(1000.0) == pytest.approx(targets[0].cost(1000.0))


def test_a_success_ends_a_row_of_failures() -> None:
    """Five in a row are asked for, however many there were before the success."""
    picker = LoadBalancer(2)
    ended = [False] * 5 + [True] + [False] * 5
    ejected = []
    for ok in ended:
        assert picker.pick(1.0, 0.5, avoid={1}) == 0
        ejected.append(picker.record(0, latency_s=0.5, ok=ok, now_s=1.0, draw=0.5))
    assert ejected == [False] * 10 + [True]


def test_of_two_that_cost_the_same_the_first_drawn_is_asked() -> None:
    """So that the draw alone shares out what is cold."""
    asked = [LoadBalancer(4).pick(0.0, n / 400) for n in range(400)]
    assert asked == sorted(asked)
