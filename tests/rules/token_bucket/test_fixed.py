"""Tokens per minute: what a provider that enforces the same limit sees of us. Figures are printed; seeds are fixed."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from surefoot.layers.guards import concurrency
from surefoot.rules.token_bucket import AGEING_S, BURST_S, PACE, PAUSE_CEILING_S, PEAK_S, Reservation, TokenBucket
from tests.rules.token_bucket.quota import (
    PROVIDERS,
    TPM,
    TWO_SECONDS,
    BucketServer,
    ClosedLoopClient,
    FixedWindow,
    SlidingWindow,
    beside,
    offer,
    sizes,
)

# ---- limits given -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_given_limit_is_used_whole_and_never_crossed(name: str) -> None:
    """The promise: twice the limit offered for ten minutes, >= 98 % of it used, no refusal, however the provider enforces it."""
    client = offer(TokenBucket(TPM), PROVIDERS[name](TPM), mean=0.015 * TWO_SECONDS)
    print(f"{name}: {client.used(TPM, 0, 600):.4f} used, {len(client.refused)} refused of {len(client.accepted)}")
    assert client.used(TPM, 0, 600) >= 0.98
    assert not client.refused


@pytest.mark.parametrize("phase_s", [0.0, 0.3, 1.1, 1.9])
def test_it_does_not_matter_when_the_providers_windows_begin(phase_s: float) -> None:
    """Nobody tells: so no two seconds may hold more than two seconds' worth, wherever they begin."""
    client = offer(TokenBucket(TPM), FixedWindow(TPM, window_s=2.0, phase_s=phase_s), mean=0.01 * TWO_SECONDS, seed=3)
    assert client.used(TPM, 0, 600) >= 0.98
    assert not client.refused


def test_requests_per_minute_are_kept_as_well() -> None:
    """Nothing here knows what is counted: each costs one, the provider enforces 40 in 2 s."""
    client = ClosedLoopClient(TokenBucket(1200), FixedWindow(1200, window_s=2.0, phase_s=0.4), 25, lambda _rng: 1.0).run(600.0)
    print(f"1200 requests a minute: {client.used(1200, 0, 600):.4f} used, {len(client.refused)} refused")
    assert client.used(1200, 0, 600) >= 0.98
    assert not client.refused


@pytest.mark.parametrize(("share", "least"), [(0.05, 0.955), (0.3, 0.98)])
def test_coarse_requests_lose_only_what_does_not_fit_between(share: float, least: float) -> None:
    """A request of 5 % of two seconds is still held back whole (half of it is lost on average); one of 30 % is let straddle."""
    client = offer(TokenBucket(TPM), BucketServer(TPM), mean=share * TWO_SECONDS)
    print(f"requests of {share:.0%} of two seconds: {client.used(TPM, 0, 600):.4f} used")
    assert client.used(TPM, 0, 600) >= least
    assert not client.refused


def test_headers_that_show_room_lift_the_watch_over_peaks() -> None:
    """A provider with a minute's worth left enforces no two seconds: the coarse requests of 5 % then lose nothing."""
    client = offer(TokenBucket(TPM), BucketServer(TPM), mean=0.05 * TWO_SECONDS, headers=True)
    assert client.used(TPM, 0, 600) >= 0.99
    assert not client.refused


@pytest.mark.parametrize("name", PROVIDERS)
def test_what_is_left_as_an_answer_tells_it_slows_nobody_who_spends_it_all_himself(name: str) -> None:
    """At a limit used whole nothing is left, in each answer of half a second ago: waiting for each of them took 8 % off a log of 2 s."""
    client = offer(TokenBucket(TPM), PROVIDERS[name](TPM), mean=0.015 * TWO_SECONDS, headers=True)
    print(f"{name}: {client.used(TPM, 0, 600):.4f} used, {len(client.refused)} refused of {len(client.accepted)}")
    assert client.used(TPM, 0, 600) >= 0.98
    assert client.rejected() <= 0.0005


@pytest.mark.parametrize("latency_s", [0.2, 2.0])
@pytest.mark.parametrize("per_minute", [600.0, 4800.0])
def test_nor_does_it_where_requests_are_counted(per_minute: float, latency_s: float) -> None:
    """Twenty in two seconds, or 160: after each the provider has none left, or one."""
    provider, workers = SlidingWindow(per_minute, window_s=2.0), int(per_minute / 60.0 * (latency_s + 1.0))
    client = ClosedLoopClient(TokenBucket(per_minute), provider, workers, lambda _rng: 1.0, latency_s=latency_s, headers=True).run(300.0)
    print(f"{per_minute:g} a minute, answers in {latency_s:g} s: {client.used(per_minute, 0, 300):.4f} used")
    assert client.used(per_minute, 0, 300) >= 0.98
    assert not client.refused


@pytest.mark.parametrize("name", ["token bucket of a minute", "token bucket of 2 s"])
@pytest.mark.parametrize("workers", [(74, 74), (74, 4)], ids=["as much", "a twentieth"])
def test_what_others_spend_is_heeded(name: str, workers: tuple[int, int]) -> None:
    """Two clients, each given the whole limit: what is left, as answers tell it, is all that either knows of the other."""
    refused = {}
    for heeds in (True, False):
        provider = PROVIDERS[name](TPM)
        clients = [
            ClosedLoopClient(TokenBucket(TPM), provider, n, sizes(0.015 * TWO_SECONDS), headers=heeds, hints=False, seed=n) for n in workers
        ]
        beside(clients, 300.0)
        refused[heeds] = sum(len(client.refused) for client in clients) / sum(len(client.accepted) for client in clients)
    print(f"{name}, {workers}: {refused[True]:.4f} refused for each accepted, {refused[False]:.4f} without headers")
    assert refused[True] <= refused[False] / 2


def test_a_large_request_waits_until_there_is_enough_for_it() -> None:
    """What is left is less than it needs: sent before, it would be refused, whoever spent the rest."""
    bucket = TokenBucket(600.0)
    first = [bucket.reserve(1.0, 0.0) for _ in range(9)]
    large = bucket.reserve(100.0, 0.5)
    bucket.observe(0.5, remaining=20.0, asked=first[-1])
    now_s = 0.5
    while sleep_s := bucket.ready(large, now_s):
        now_s += sleep_s
    assert now_s >= 8.0


@pytest.mark.parametrize(
    ("name", "estimate"),
    [
        ("twice too high", lambda actual, _rng: 2.0 * actual),
        ("half too low", lambda actual, _rng: 0.5 * actual),
        ("anything", lambda actual, rng: actual * rng.uniform(0.3, 1.7)),
    ],
)
def test_wrong_estimates_are_made_good(name: str, estimate: Callable[[float, random.Random], float]) -> None:
    """Refund and debt: what counts in the long run is what was really used."""
    client = offer(TokenBucket(TPM), BucketServer(TPM), mean=0.01 * TWO_SECONDS, estimate=estimate)
    print(f"estimates {name}: {client.used(TPM, 0, 600):.4f} used")
    assert 0.97 <= client.used(TPM, 60, 600) <= 1.0
    assert not client.refused


@pytest.mark.parametrize("latency_s", [0.2, 5.0])
@pytest.mark.parametrize(
    ("name", "estimate"),
    [
        ("twice too high", lambda actual, _rng: 2.0 * actual),
        ("half too low", lambda actual, _rng: 0.5 * actual),
        ("an output too high", lambda actual, _rng: 0.9 * actual + 0.004 * TWO_SECONDS),
    ],
)
def test_wrong_estimates_cross_no_window(name: str, estimate: Callable[[float, random.Random], float], latency_s: float) -> None:
    """Estimates that err alike: refunds put down when they came, not where they belonged, were refused 0.6 to 5 % by a log of 2 s."""
    options = {"estimate": estimate, "latency_s": latency_s, "times": 2.0 * max(1.0, latency_s / 0.5)}
    client = offer(TokenBucket(TPM), SlidingWindow(TPM, window_s=2.0), mean=0.01 * TWO_SECONDS, **options)
    print(f"estimates {name}, answers in {latency_s:g} s: {client.used(TPM, 60, 600):.4f} used, {client.rejected():.5f} refused")
    assert client.used(TPM, 60, 600) >= 0.98
    assert client.rejected() <= 0.001


@pytest.mark.parametrize("wakes", [True, False])
def test_those_who_walk_away_leave_no_hole(wakes: bool) -> None:
    """Half of the waiting are cancelled; with or without waking the next, the limit is used."""
    client = offer(TokenBucket(TPM), BucketServer(TPM), mean=0.01 * TWO_SECONDS, cancels=0.5, wakes=wakes)
    assert client.used(TPM, 0, 600) >= 0.97
    assert not client.refused


def test_a_large_request_waits_its_turn_and_no_longer() -> None:
    """Ten seconds' worth among small ones: it is not overtaken, it goes after a second's pause, those after it pay its debt."""
    bucket, rate = TokenBucket(60.0), PACE
    assert bucket.reserve(1.0, 0.0).wait_s == 0.0
    large, small = bucket.reserve(10.0, 0.0), bucket.reserve(0.1, 0.0)
    assert large.wait_s == pytest.approx(1.0 / rate)
    assert small.wait_s == pytest.approx(10.1 / rate, rel=0.01)
    assert bucket.ready(small, 0.9) > 0.0
    now_s = 0.0
    while sleep_s := bucket.ready(large, now_s):
        now_s += sleep_s
    assert now_s == pytest.approx(1.0 / rate)
    while sleep_s := bucket.ready(small, now_s):
        now_s += sleep_s
    assert now_s == pytest.approx(10.1 / rate, rel=0.01)


def test_those_who_leave_the_end_of_the_queue_hold_up_nobody() -> None:
    """Refused at entry, they were never really in it: the next one's wait must not count them."""
    bucket = TokenBucket(60.0)
    bucket.reserve(1.0, 0.0)
    wait_s = bucket.reserve(1.0, 0.0).wait_s
    for _ in range(100):
        bucket.cancel(bucket.reserve(1.0, 0.0), 0.0)
    assert bucket.reserve(1.0, 0.0).wait_s == pytest.approx(wait_s + 1.0 / PACE)


def test_a_pause_of_a_day_is_not_believed_and_the_longer_of_two_holds() -> None:
    """One absurd Retry-After must not silence a target; and a second, shorter one must not cut the first short."""
    bucket = TokenBucket(60.0)
    bucket.pause(1e9, 0.0)
    bucket.pause(1.0, 0.0)
    assert PAUSE_CEILING_S <= bucket.reserve(1.0, 0.0).wait_s <= PAUSE_CEILING_S + 1.1


def test_headers_below_the_given_limit_count_and_a_daily_limit_does_not() -> None:
    """Who was given 1000 and granted 500 would only be refused; 'x-ratelimit-limit: 200' with a reset of minutes is not per minute."""
    bucket = TokenBucket(1000.0)
    bucket.observe(0.0, limit=500.0, reset_s=30.0)
    assert bucket.per_minute == 500.0
    bucket.observe(0.0, limit=2000.0, reset_s=30.0)
    assert bucket.per_minute == 1000.0
    bucket.observe(0.0, limit=200.0, reset_s=432.0)
    assert bucket.per_minute == 1000.0


# ---- two classes ------------------------------------------------------------------------------------------------------------


def drained(bucket: TokenBucket, waiting: list[Reservation], now_s: float) -> list[float]:
    """The moments at which `waiting` may go, in their order."""
    gone: dict[int, float] = {}
    while len(gone) < len(waiting):
        sleep_s = min(bucket.ready(one, now_s) for one in waiting if id(one) not in gone)
        for one in waiting:
            if one.at_s < math.inf:
                gone.setdefault(id(one), now_s)
        now_s += sleep_s
    return [gone[id(one)] for one in waiting]


def test_the_patient_let_others_pass_and_each_class_keeps_its_order() -> None:
    """Whoever comes later but is not patient goes first."""
    bucket = TokenBucket(60.0)
    bucket.reserve(1.0, 0.0)
    jobs = [bucket.reserve(1.0, 0.1 * n, low_priority=True) for n in range(3)]
    people = [bucket.reserve(1.0, 0.5 + 0.1 * n) for n in range(3)]
    assert [one.wait_s for one in people] == pytest.approx([n / PACE - 0.4 - 0.1 * n for n in (1, 2, 3)], abs=0.02)
    at_s = drained(bucket, [*people, *jobs], 0.8)
    assert at_s == sorted(at_s)
    assert at_s == pytest.approx([n / PACE for n in range(1, 7)], abs=0.05)


def test_the_wait_of_the_patient_counts_all_who_are_there() -> None:
    """Else one with a near deadline would be let in to wait for nothing."""
    bucket = TokenBucket(60.0)
    bucket.reserve(1.0, 0.0)
    for _ in range(5):
        bucket.reserve(1.0, 0.0)
    waits_s = [bucket.reserve(1.0, 0.0, low_priority=True).wait_s for _ in range(2)]
    assert waits_s == pytest.approx([6 / PACE, 7 / PACE])


def test_the_patient_who_have_waited_long_enough_stand_where_they_would_have_then() -> None:
    """Before all who come AGEING_S after them; so who keeps coming cannot starve them, however large they are."""
    bucket = TokenBucket(60.0)
    bucket.reserve(1.0, 0.0)
    job = bucket.reserve(5.0, 0.0, low_priority=True)
    before = [bucket.reserve(1.0, 0.5 * n) for n in range(20)]
    after = [bucket.reserve(1.0, AGEING_S + 0.5 * n) for n in range(5)]
    at_s = drained(bucket, [*before, job, *after], AGEING_S + 2.5)
    assert at_s == sorted(at_s)
    assert not job.low_priority


def test_clocks_that_leap_neither_stop_nor_shuffle_the_patient() -> None:
    """An hour ahead, all there have waited long enough; an hour back, time goes on from where it was."""
    for leap_s in (3600.0, -3600.0):
        bucket = TokenBucket(60.0)
        bucket.reserve(1.0, 0.0)
        jobs, people = [bucket.reserve(1.0, 0.0, low_priority=True) for _ in range(2)], [bucket.reserve(1.0, 0.0)]
        person = bucket.reserve(1.0, leap_s)
        order = [*people, *jobs, person] if leap_s > 0.0 else [*people, person, *jobs]
        at_s = drained(bucket, order, leap_s)
        assert at_s == sorted(at_s)
        assert at_s[-1] <= leap_s + 5.0


def test_both_queues_age_alike() -> None:
    """Whoever waits for a place and whoever waits for the limit are told the same."""
    assert AGEING_S == concurrency.AGEING_S


# ---- any order of events ----------------------------------------------------------------------------------------------------

LIMIT = 600.0  # 10 a second


class BucketMachine(RuleBasedStateMachine):
    """Any order of reserving, sleeping, walking away, settling, refusals and clock jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.bucket = TokenBucket(LIMIT)
        self.now_s = self.true_s = 0.0  # what the clock says; how long it has really been
        self.waiting: list[Reservation] = []  # in the order in which they are to go
        self.turns: dict[int, tuple[float, bool, int]] = {}
        self.gone: list[Reservation] = []
        self.log: list[tuple[float, float]] = []
        self.net = 0.0
        self.estimates_only = True
        self.order = 0

    def note_gone(self, reservation: Reservation) -> None:
        self.gone.append(reservation)
        self.log.append((self.true_s, reservation.amount))
        self.net += reservation.amount

    @rule(amount=st.floats(0.0, 40.0), low_priority=st.booleans())
    def reserve(self, amount: float, low_priority: bool) -> None:
        reservation = self.bucket.reserve(amount, self.now_s, low_priority=low_priority)
        self.order += 1
        self.turns[id(reservation)] = (reservation.since_s + AGEING_S * low_priority, not low_priority, self.order)
        self.waiting.append(reservation)
        self.waiting.sort(key=lambda one: self.turns[id(one)])
        if reservation.wait_s == 0.0:
            assert self.waiting.pop(0) is reservation, "a newcomer overtook"
            self.note_gone(reservation)

    @rule(by_s=st.floats(0.0, 30.0))
    def sleep(self, by_s: float) -> None:
        until_s = self.true_s + by_s
        while self.waiting:
            sleep_s = self.bucket.ready(self.waiting[0], self.now_s)
            if not sleep_s:
                self.note_gone(self.waiting.pop(0))
                continue
            assert 0.0 < sleep_s <= BURST_S
            if self.true_s + sleep_s > until_s:
                break
            self.now_s += sleep_s
            self.true_s += sleep_s
        for other in self.waiting[1:]:
            assert self.bucket.ready(other, self.now_s) > 0.0, "overtook"
        self.now_s += until_s - self.true_s
        self.true_s = until_s

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 1000))
    def walk_away(self, which: int) -> None:
        self.bucket.cancel(self.waiting.pop(which % len(self.waiting)), self.now_s)

    @precondition(lambda self: self.gone)
    @rule(which=st.integers(0, 1000), factor=st.floats(0.0, 3.0))
    def settle(self, which: int, factor: float) -> None:
        reservation = self.gone.pop(which % len(self.gone))
        self.bucket.settle(reservation, reservation.amount * factor, self.now_s)
        self.bucket.cancel(reservation, self.now_s)  # twice is harmless
        self.net += reservation.amount * (factor - 1.0)
        self.estimates_only = False

    @precondition(lambda self: self.gone)
    @rule(which=st.integers(0, 1000), hint_s=st.none() | st.floats(0.0, 5.0))
    def refuse(self, which: int, hint_s: float | None) -> None:
        reservation = self.gone.pop(which % len(self.gone))
        self.bucket.on_refusal(reservation, self.now_s, retry_after_s=hint_s)
        self.net -= reservation.amount
        self.estimates_only = False

    @rule(to_s=st.sampled_from([3600.0, -3600.0, 1e6, -1e6, 0.5, -0.5]))
    def jump(self, to_s: float) -> None:
        """A suspended machine, a clock set back: time goes on from there."""
        self.now_s += to_s
        self.true_s += max(0.0, to_s)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.bucket.sent == pytest.approx(self.net, abs=1e-6)

    @invariant()
    def no_two_seconds_hold_more_than_two_seconds_worth(self) -> None:
        if self.estimates_only:
            recent = [amount for at_s, amount in self.log if at_s > self.true_s - PEAK_S]
            coarse = max((amount for amount in recent if amount > LIMIT / 60.0 * PEAK_S / 10.0), default=0.0)
            assert sum(recent) <= LIMIT / 60.0 * PEAK_S + coarse + 1e-6

    @invariant()
    def the_long_run_keeps_the_limit(self) -> None:
        if self.estimates_only:
            largest = max((amount for _, amount in self.log), default=0.0)
            assert sum(amount for _, amount in self.log) <= LIMIT / 60.0 * (self.true_s + BURST_S) + largest + 1e-6

    def teardown(self) -> None:
        """Whatever happened, whoever still waits gets away in the time its turn takes."""
        owed = sum(reservation.amount for reservation in self.waiting) + sum(n for _, n in self.log) * 3.0
        self.sleep(by_s=PAUSE_CEILING_S + owed / (LIMIT / 60.0 * PACE) + 10.0 + 3.0 * len(self.waiting))
        assert not self.waiting
        assert self.bucket.head is None


TestBucketMachine = BucketMachine.TestCase
TestBucketMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_what_is_whole_again_in_about_a_minute_is_a_limit_per_minute() -> None:
    """Headers say 60 s and a little more; a quota of an hour says nothing of the pace."""
    for reset_s, per_minute in ((60.0, 300.0), (61.0, 300.0), (61.1, 600.0), (3600.0, 600.0)):
        bucket = TokenBucket(600.0)
        bucket.observe(0.0, limit=300.0, reset_s=reset_s)
        assert bucket.per_minute == per_minute
