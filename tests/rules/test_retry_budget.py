"""The retry budget. The table of retry policies is simulated here: ours beside the ones in use elsewhere."""

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from surefoot.rules.backoff import delay_s
from surefoot.rules.retry_budget import CAPACITY, COST, WINDOW_S, ProcessBudget, RetryBudget
from surefoot.settings import DEFAULTS

USUAL = {"base_s": DEFAULTS.backoff_base_s, "ceiling_s": DEFAULTS.backoff_ceiling_s}
draws = st.floats(0.0, 1.0, exclude_max=True)
NOW_EPOCH_S = 1_795_000_000.0  # a day in November 2026


class SimulatedPolicy:
    """What a retry policy does, for the simulation. This one allows everything."""

    def called(self, now_s: float) -> None: ...
    def allow(self, now_s: float) -> float:
        return 1.0

    def succeeded(self, cost: float) -> None: ...
    def failed(self, cost: float) -> None: ...


class Ours(SimulatedPolicy):
    def __init__(self, process: ProcessBudget | None = None) -> None:
        self.budget = RetryBudget(process=process)
        self.called = self.budget.called  # type: ignore[method-assign]
        self.allow = self.budget.allow_retry  # type: ignore[method-assign]
        self.failed = self.budget.failed  # type: ignore[method-assign]

    def succeeded(self, cost: float) -> None:
        self.budget.succeeded()


class Published(SimulatedPolicy):
    """botocore's bucket: the cost is taken at the start and given back if the retry succeeds; a success at first try gives 1."""

    def __init__(self, cost: float = 5.0) -> None:
        self.cost, self.level = cost, 500.0

    def allow(self, now_s: float) -> float:
        if self.level < self.cost:
            return 0.0
        self.level -= self.cost
        return self.cost

    def succeeded(self, cost: float) -> None:
        self.level = min(500.0, self.level + (cost or 1.0))


class Finagle(SimulatedPolicy):
    """20 % of calls plus 10 a second, credits kept for 10 s (simplified: a bucket of 10 s' worth)."""

    def __init__(self) -> None:
        self.level, self.last_s = 100.0, 0.0

    def called(self, now_s: float) -> None:
        self.level = min(300.0, self.level + 0.2 + 10.0 * (now_s - self.last_s))
        self.last_s = now_s

    def allow(self, now_s: float) -> float:
        if self.level < 1.0:
            return 0.0
        self.level -= 1.0
        return 1.0


class Grpc(SimulatedPolicy):
    """10 tokens, a failure takes one, a success gives a tenth; retries only above half."""

    def __init__(self) -> None:
        self.tokens = 10.0

    def succeeded(self, cost: float) -> None:
        self.tokens = min(10.0, self.tokens + 0.1)

    def allow(self, now_s: float) -> float:
        self.tokens = max(0.0, self.tokens - 1.0)
        return 1.0 if self.tokens > 5.0 else 0.0


def simulate(
    policy: SimulatedPolicy, *, rps: float, fail: float, calls: int, attempts: int = 6, warm_s: float = 0.0, seed: int = 1
) -> tuple[float, float]:
    """(attempts per call, success) of independent failures, no delays, after `warm_s` of health."""
    rng, now_s, sent, good = random.Random(seed), 0.0, 0, 0
    for _ in range(int(warm_s * rps)):
        now_s += 1.0 / rps
        policy.called(now_s)
        policy.succeeded(0.0)
    for _ in range(calls):
        now_s += 1.0 / rps
        policy.called(now_s)
        cost = 0.0
        for attempt in range(attempts):
            if attempt:
                cost = policy.allow(now_s)
                if not cost:
                    break
            sent += 1
            if rng.random() >= fail:
                policy.succeeded(cost)
                good += 1
                break
            policy.failed(cost)
    return sent / calls, good / calls


def simulate_in_flight(
    budget: RetryBudget, *, in_flight: int, calls: int, fail: float, ok_s: float, fault_s: float, seed: int, attempts: int = 6
) -> tuple[float, int, int, int]:
    """(attempts per call, calls lost after the start and at it, most extras under way), `in_flight` calls at once, real backoff.

    Answers take about `ok_s`, faults about `fault_s`; the start is the time in which none has been answered yet.
    """
    rng = random.Random(seed)
    begun = min(in_flight, calls)
    sent = lost = lost_first = under_way = most = 0
    heap: list[tuple[float, int, int, float, str]] = []

    def send(now_s: float, number: int, attempt: int, cost: float) -> None:
        nonlocal sent, under_way, most
        sent += 1
        under_way += cost > 0
        most = max(most, under_way)
        bad = rng.random() < fail
        took_s = (fault_s if bad else ok_s) * rng.uniform(0.5, 1.5)
        heapq.heappush(heap, (now_s + took_s, number, attempt, cost, "bad" if bad else "good"))

    for number in range(begun):
        budget.called(0.0)
        send(0.0, number, 1, 0.0)
    while heap:
        now_s, number, attempt, cost, what = heapq.heappop(heap)
        if what == "wake":
            cost = budget.allow_retry(now_s)
            if cost:
                send(now_s, number, attempt, cost)
                continue
            lost, lost_first = lost + (now_s >= ok_s), lost_first + (now_s < ok_s)
        else:
            under_way -= cost > 0
            if what == "good":
                budget.succeeded()
            else:
                budget.failed(cost)
                if attempt < attempts:
                    wake_s = now_s + delay_s(attempt, base_s=0.5, ceiling_s=8.0, draw=rng.random())
                    heapq.heappush(heap, (wake_s, number, attempt + 1, 0.0, "wake"))
                    continue
                lost, lost_first = lost + (now_s >= ok_s), lost_first + (now_s < ok_s)
        if begun < calls:
            begun += 1
            budget.called(now_s)
            send(now_s, begun, 1, 0.0)
    return sent / calls, lost, lost_first, most


@pytest.mark.parametrize(
    ("name", "make", "attempts", "outage", "faults"),
    [
        ("SDK (3) x wrapper (4)", SimulatedPolicy, 12, 12.0, None),
        ("plain 3 attempts", SimulatedPolicy, 3, 3.0, (1.39, 0.973)),
        ("Finagle 20 % + 10/s", Finagle, 3, 1.30, (1.30, 0.908)),
        ("gRPC 10 / 0.1", Grpc, 4, 1.0001, (1.00, 0.702)),
        ("bucket 500, cost 5, refund", Published, 6, 1.002, (1.43, 0.9991)),
        ("ours", Ours, 6, 1.002, (1.43, 0.9993)),
    ],
)
def test_the_table_of_retry_policies(
    name: str, make: Callable[[], SimulatedPolicy], attempts: int, outage: float, faults: tuple[float, float] | None
) -> None:
    """Only a cost refunded on success survives 30 % faults and stays near 1.0x in a total outage; the others show why."""
    out, _ = simulate(make(), rps=100, fail=1.0, calls=60_000, attempts=attempts)
    sent, good = simulate(make(), rps=100, fail=0.3, calls=60_000, attempts=attempts)
    print(f"{name:27s} outage {out:.4f}x   30 % faults {sent:.3f} attempts, {good:.4f} success")
    assert out == pytest.approx(outage, rel=0.015)
    if faults is not None:
        assert (sent, good) == pytest.approx(faults, rel=0.01)


def test_ours_tips_between_a_third_and_two_fifths_of_faults() -> None:
    """Past 36 % retries would more than pay for themselves in load; before it, no call may be lost to a run of bad luck."""
    for fail, least, most in ((0.30, 0.9988, 1.0), (0.33, 0.998, 1.0), (0.40, 0.0, 0.93), (0.5, 0.0, 0.75)):
        sent, good = simulate(Ours(), rps=100, fail=fail, calls=60_000)
        print(f"{fail:.0%} faults: {sent:.3f} attempts, {good:.4f} success")
        assert least <= good <= most


@pytest.mark.parametrize("seed", range(3))
def test_thirty_percent_faults_end_well(seed: int) -> None:
    """The promise: success >= 99.9 % with six attempts, at most 1.45 attempts a call, with a budget new-born."""
    sent, good = simulate(Ours(), rps=100, fail=0.3, calls=100_000, seed=seed)
    print(f"seed {seed}: {sent:.4f} attempts, {good:.5f} success")
    assert sent <= 1.45
    assert good >= 0.999


@pytest.mark.parametrize(("ok_s", "fault_s"), [(1.0, 1.0), (2.0, 0.2), (0.2, 2.0)])
def test_five_hundred_in_flight_do_not_starve_the_budget(ok_s: float, fault_s: float) -> None:
    """More than 100 retries are under way at once at 30 % faults: were their costs held meanwhile, calls would be lost for nothing.

    The start is counted apart: 500 calls begun in one instant whose faults arrive before any answer look like a total outage, and are
    bound by its promise.
    """
    calls = 30_000
    sent, lost, lost_first, most = simulate_in_flight(
        RetryBudget(), in_flight=500, calls=calls, fail=0.3, ok_s=ok_s, fault_s=fault_s, seed=5
    )
    print(f"answers {ok_s} s, faults {fault_s} s: {sent:.4f} attempts, {lost} lost + {lost_first} at the start, {most} extras at once")
    assert most > 100
    assert sent <= 1.45
    assert lost / calls <= 0.001
    if fault_s >= ok_s:
        assert (lost + lost_first) / calls <= 0.001


@pytest.mark.parametrize("fault_s", [0.05, 5.0])
def test_five_hundred_in_flight_owe_at_most_a_hundred_in_a_total_outage(fault_s: float) -> None:
    """The absolute promise, where it is hardest: all fail together, and none has failed yet when the first retries go."""
    budget = RetryBudget(process=ProcessBudget())
    sent, *_ = simulate_in_flight(budget, in_flight=500, calls=20_000, fail=1.0, ok_s=1.0, fault_s=fault_s, seed=5)
    extra = round((sent - 1) * 20_000)
    print(f"faults after {fault_s} s: {extra} extra attempts, {sent:.4f}x")
    assert extra <= 100


@pytest.mark.parametrize(
    ("cost", "fail", "success"),
    [(5, 0.2, 0.9999), (5, 0.3, 0.9991), (5, 0.4, 0.787), (2, 0.4, 0.996), (2, 0.5, 0.756), (14, 0.3, 0.818)],
)
def test_the_cost_decides_up_to_which_fault_rate_calls_are_saved(cost: float, fail: float, success: float) -> None:
    """The published sweep. Why 5: it holds through 30 % faults and gives up before it doubles the load on one that refuses half."""
    _, good = simulate(Published(cost), rps=100, fail=fail, calls=60_000)
    assert good == pytest.approx(success, abs=0.006)


@pytest.mark.parametrize(
    ("rps", "seconds", "at_most"), [(100, 600, 1.1), (10, 600, 1.1), (1, 600, 1.1), (100, 60, 1.02), (1, 60, 2.0), (0.2, 60, 2.0)]
)
def test_a_total_outage_costs_little(rps: float, seconds: float, at_most: float) -> None:
    """Capacity follows traffic: 1.1x over ten minutes also at one call a second, and never more than 100 extra."""
    calls = int(rps * seconds)
    sent, _ = simulate(Ours(), rps=rps, fail=1.0, calls=calls, warm_s=600)
    print(f"{rps:g} calls/s, {seconds:g} s: {sent:.3f}x, {round((sent - 1) * calls)} extra")
    assert sent <= at_most
    assert round((sent - 1) * calls) <= 100


def test_a_process_never_owes_more_than_a_hundred_attempts() -> None:
    """Ten targets die together: the ceiling is the process's, not ten times the target's."""
    process = ProcessBudget()
    budgets = [RetryBudget(process=process) for _ in range(10)]
    now_s, extras = 0.0, 0
    for n in range(4000):
        now_s += 0.1
        for budget in budgets:
            budget.called(now_s)
            if n < 2000:
                budget.succeeded()
                continue
            cost = budget.allow_retry(now_s)
            extras += cost > 0
            budget.failed(cost)
    assert extras == 100


def test_one_dead_target_does_not_take_the_retries_of_the_others() -> None:
    """The ceiling counts from the last success of any target, so a living one is never held up by a dead one."""
    process = ProcessBudget()
    dead, living = Ours(process=process), Ours(process=process)
    simulate(dead, rps=100, fail=0.0, calls=1000)
    simulate(dead, rps=100, fail=1.0, calls=1000)
    _, good = simulate(living, rps=100, fail=0.3, calls=10_000, seed=7)
    assert good >= 0.998


def test_half_open_retries_cost_more() -> None:
    """While the breaker is trying the target, the first attempts are the trial: 15 tokens pay for one retry, not three."""
    budget = RetryBudget()
    assert budget.allow_retry(0.0, half_open=True) == 14.0
    assert budget.allow_retry(0.0, half_open=True) == 0.0
    assert budget.level == 1.0


def test_what_failed_is_paid_back_by_successes() -> None:
    """Five for one lost retry."""
    budget = RetryBudget()
    for _ in range(7):
        budget.failed(budget.allow_retry(0.0))
        budget.succeeded()
    assert budget.level == 2.0
    assert budget.allow_retry(0.0) == 0.0
    for _ in range(3):
        budget.succeeded()
    assert budget.allow_retry(0.0) == COST


def test_an_idle_client_forgets_what_it_owed_in_busier_days() -> None:
    """Else an outage in the morning leaves a quiet afternoon without retries."""
    policy = Ours()
    simulate(policy, rps=100, fail=0.0, calls=2000)
    simulate(policy, rps=100, fail=1.0, calls=2000)
    policy.called(100_000.0)
    assert policy.budget.level == 0.0
    for _ in range(20):
        policy.budget.succeeded()
    assert policy.budget.level == policy.budget.capacity == 15.0


def test_a_cancelled_retry_costs_nothing_once_anything_succeeds() -> None:
    """Nobody reports a cancelled attempt: if half of all calls are cancelled, the budget must not drain."""
    budget = RetryBudget()
    for n in range(1000):
        budget.called(n * 0.01)
        assert budget.allow_retry(n * 0.01) == COST
        budget.called(n * 0.01)
        budget.succeeded()


def test_hedges_are_one_call_in_twenty_and_give_way_to_retries() -> None:
    """A provider slow for everyone would be asked twice for everything; and what little an outage leaves belongs to retries."""
    budget, hedges = RetryBudget(), 0
    for n in range(10_000):
        budget.called(n * 0.01)
        budget.succeeded()
        cost = budget.allow_hedge(n * 0.01)
        hedges += cost > 0
        assert hedges <= 0.05 * (n + 1)
    assert hedges >= 0.049 * 10_000
    assert budget.allow_hedge(100.0, half_open=True) == 0.0
    while budget.level >= budget.capacity / 2:
        budget.failed(budget.allow_retry(100.0))
    for _ in range(20):
        budget.called(100.0)
    assert budget.allow_hedge(100.0) == 0.0
    assert budget.allow_retry(100.0) > 0.0


def test_many_calls_that_begin_at_once_are_afforded_more_while_they_are_under_way() -> None:
    """A cold start of 500 has nothing behind it; once its first attempts have ended, it counts like any traffic."""
    budget = RetryBudget()
    for _ in range(500):
        budget.called(0.0)
    assert budget.capacity == 250.0
    budget.under_way = 350
    assert budget.capacity == CAPACITY
    assert sum(budget.allow_retry(0.1) > 0.0 for _ in range(200)) == CAPACITY / COST
    budget.under_way = 0
    assert (budget.capacity, budget.level) == (250.0, 0.0)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 1e9, -1e9])
def test_a_clock_that_jumps_leaves_the_budget_working(jump_s: float) -> None:
    """Ahead, the traffic is forgotten; back, it is kept; either way new traffic is counted and old traffic leaves."""
    policy = Ours()
    simulate(policy, rps=1, fail=0.0, calls=600)
    now_s = 600.0 + jump_s
    for n in range(1200):
        policy.called(now_s + n)
        policy.succeeded(0.0)
    assert 570 <= policy.budget.capacity / 0.5 <= 600
    assert policy.budget.level == policy.budget.capacity


class BudgetMachine(RuleBasedStateMachine):
    """Any order of calls, successes, retries, hedges and passing time, against what the budget must never do."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = RetryBudget(process=ProcessBudget())
        self.now_s = 0.0
        self.calls: list[float] = []
        self.pending: list[float] = []
        self.begun_since_success = 0.0
        self.hedges = 0

    def note(self, cost: float) -> None:
        self.begun_since_success += cost
        if cost:
            self.pending.append(cost)

    @rule(by_s=st.floats(0.0, 700.0))
    def pass_time(self, by_s: float) -> None:
        self.now_s += by_s

    @rule(n=st.integers(1, 50))
    def call(self, n: int) -> None:
        for _ in range(n):
            self.budget.called(self.now_s)
            self.calls.append(self.now_s)

    @rule()
    def succeed(self) -> None:
        before = self.budget.level
        self.budget.succeeded()
        self.begun_since_success = 0.0
        assert self.budget.level >= before

    @rule(half_open=st.booleans())
    def retry(self, half_open: bool) -> None:
        cost = self.budget.allow_retry(self.now_s, half_open=half_open)
        assert cost in (0.0, 14.0 if half_open else COST)
        self.note(cost)

    @rule()
    def hedge(self) -> None:
        cost = self.budget.allow_hedge(self.now_s)
        self.hedges += cost > 0
        self.note(cost)
        assert self.hedges <= 0.05 * len(self.calls)

    @precondition(lambda self: self.pending)
    @rule(ok=st.sampled_from([True, False, None]))
    def end(self, ok: bool | None) -> None:
        cost = self.pending.pop()
        if ok:
            self.budget.succeeded()
            self.begun_since_success = 0.0
        elif ok is False:
            self.budget.failed(cost)

    @invariant()
    def within_bounds(self) -> None:
        assert 0.0 <= self.budget.level <= self.budget.capacity <= CAPACITY
        assert self.begun_since_success <= CAPACITY

    @invariant()
    def capacity_is_what_recent_traffic_affords(self) -> None:
        self.budget.called(self.now_s)
        self.calls.append(self.now_s)
        most = sum(at >= self.now_s - WINDOW_S for at in self.calls)
        least = sum(at >= self.now_s - WINDOW_S + WINDOW_S / 20 for at in self.calls)
        assert max(15.0, min(500.0, 0.5 * least)) <= self.budget.capacity <= max(15.0, min(500.0, 0.5 * most))


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
