"""Tokens per minute: what a provider that enforces the same limit sees of us. Figures are printed; seeds are fixed."""

import math
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from surefoot.rules.bucket import BURST_S, PACE, PAUSE_CEILING_S, PEAK_S, Bucket, Learned, Reservation
from tests.rules.quota import Client, FixedWindow, Provider, SlidingWindow, TokenBucket

TPM = 1_000_000.0
TWO_SECONDS = TPM / 30.0
PROVIDERS: dict[str, Callable[[float], Provider]] = {
    "token bucket of a minute": TokenBucket,
    "token bucket of 2 s": lambda per_minute: TokenBucket(per_minute, holds_s=2.0),
    "windows of 2 s": lambda per_minute: FixedWindow(per_minute, window_s=2.0, phase_s=0.7),
    "windows of 60 s": lambda per_minute: FixedWindow(per_minute, phase_s=20.0),
    "log of 60 s": SlidingWindow,
}


def sizes(mean: float) -> Callable[[random.Random], float]:
    """Requests between half and one and a half of `mean`."""
    return lambda rng: rng.uniform(0.5, 1.5) * mean


def offer(gate: Bucket | Learned, provider: Provider, *, mean: float, times: float = 2.0, **options: object) -> Client:
    """Ten minutes of `times` the limit."""
    workers = max(3, math.ceil(times * TPM / 60.0 / mean * 0.55))
    return Client(gate, provider, workers, sizes(mean), **options).run(600.0)  # type: ignore[arg-type]


# ---- limits given -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_given_limit_is_used_whole_and_never_crossed(name: str) -> None:
    """The promise: twice the limit offered for ten minutes, >= 98 % of it used, no refusal, however the provider enforces it."""
    client = offer(Bucket(TPM), PROVIDERS[name](TPM), mean=0.015 * TWO_SECONDS)
    print(f"{name}: {client.used(TPM, 0, 600):.4f} used, {len(client.refused)} refused of {len(client.accepted)}")
    assert client.used(TPM, 0, 600) >= 0.98
    assert not client.refused


@pytest.mark.parametrize("phase_s", [0.0, 0.3, 1.1, 1.9])
def test_it_does_not_matter_when_the_providers_windows_begin(phase_s: float) -> None:
    """Nobody tells: so no two seconds may hold more than two seconds' worth, wherever they begin."""
    client = offer(Bucket(TPM), FixedWindow(TPM, window_s=2.0, phase_s=phase_s), mean=0.01 * TWO_SECONDS, seed=3)
    assert client.used(TPM, 0, 600) >= 0.98
    assert not client.refused


def test_requests_per_minute_are_kept_as_well() -> None:
    """Nothing here knows what is counted: each costs one, the provider enforces 40 in 2 s."""
    client = Client(Bucket(1200), FixedWindow(1200, window_s=2.0, phase_s=0.4), 25, lambda _rng: 1.0).run(600.0)
    print(f"1200 requests a minute: {client.used(1200, 0, 600):.4f} used, {len(client.refused)} refused")
    assert client.used(1200, 0, 600) >= 0.98
    assert not client.refused


@pytest.mark.parametrize(("share", "least"), [(0.05, 0.955), (0.3, 0.98)])
def test_coarse_requests_lose_only_what_does_not_fit_between(share: float, least: float) -> None:
    """A request of 5 % of two seconds is still held back whole (half of it is lost on average); one of 30 % is let straddle."""
    client = offer(Bucket(TPM), TokenBucket(TPM), mean=share * TWO_SECONDS)
    print(f"requests of {share:.0%} of two seconds: {client.used(TPM, 0, 600):.4f} used")
    assert client.used(TPM, 0, 600) >= least
    assert not client.refused


def test_headers_that_show_room_lift_the_watch_over_peaks() -> None:
    """A provider with a minute's worth left enforces no two seconds: the coarse requests of 5 % then lose nothing."""
    client = offer(Bucket(TPM), TokenBucket(TPM), mean=0.05 * TWO_SECONDS, headers=True)
    assert client.used(TPM, 0, 600) >= 0.99
    assert not client.refused


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
    client = offer(Bucket(TPM), TokenBucket(TPM), mean=0.01 * TWO_SECONDS, estimate=estimate)
    print(f"estimates {name}: {client.used(TPM, 0, 600):.4f} used")
    assert 0.97 <= client.used(TPM, 60, 600) <= 1.0
    assert not client.refused


@pytest.mark.parametrize("wakes", [True, False])
def test_those_who_walk_away_leave_no_hole(wakes: bool) -> None:
    """Half of the waiting are cancelled; with or without waking the next, the limit is used."""
    client = offer(Bucket(TPM), TokenBucket(TPM), mean=0.01 * TWO_SECONDS, cancels=0.5, wakes=wakes)
    assert client.used(TPM, 0, 600) >= 0.97
    assert not client.refused


def test_a_large_request_waits_its_turn_and_no_longer() -> None:
    """Ten seconds' worth among small ones: it is not overtaken, it goes after a second's pause, those after it pay its debt."""
    bucket, rate = Bucket(60.0), PACE
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
    bucket = Bucket(60.0)
    bucket.reserve(1.0, 0.0)
    wait_s = bucket.reserve(1.0, 0.0).wait_s
    for _ in range(100):
        bucket.cancel(bucket.reserve(1.0, 0.0), 0.0)
    assert bucket.reserve(1.0, 0.0).wait_s == pytest.approx(wait_s + 1.0 / PACE)


def test_a_pause_of_a_day_is_not_believed_and_the_longer_of_two_holds() -> None:
    """One absurd Retry-After must not silence a target; and a second, shorter one must not cut the first short."""
    bucket = Bucket(60.0)
    bucket.pause(1e9, 0.0)
    bucket.pause(1.0, 0.0)
    assert PAUSE_CEILING_S <= bucket.reserve(1.0, 0.0).wait_s <= PAUSE_CEILING_S + 1.1


def test_headers_below_the_given_limit_count_and_a_daily_limit_does_not() -> None:
    """Who was given 1000 and granted 500 would only be refused; 'x-ratelimit-limit: 200' with a reset of minutes is not per minute."""
    bucket = Bucket(1000.0)
    bucket.observe(0.0, limit=500.0, reset_s=30.0)
    assert bucket.per_minute == 500.0
    bucket.observe(0.0, limit=2000.0, reset_s=30.0)
    assert bucket.per_minute == 1000.0
    bucket.observe(0.0, limit=200.0, reset_s=432.0)
    assert bucket.per_minute == 1000.0


# ---- limits learned ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_limit_learned_from_headers_is_used_within_the_first_minute(name: str) -> None:
    """The promise: >= 95 % within 60 s, <= 0.5 % refused, though nothing is known before the first answer."""
    client = offer(Learned(), PROVIDERS[name](TPM), mean=0.015 * TWO_SECONDS, headers=True)
    first, rest = client.used(TPM, 0, 60), client.used(TPM, 60, 600)
    print(f"{name}: {first:.3f} used in the first minute, {rest:.4f} after, {client.rejected():.5f} refused")
    assert first >= 0.95
    assert rest >= 0.95
    assert client.rejected() <= 0.005


@pytest.mark.parametrize("hints", [True, False], ids=["with Retry-After", "without"])
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("token bucket of a minute", 0.98, 0.005),
        ("token bucket of 2 s", 0.98, 0.005),
        ("windows of 2 s", 0.95, 0.005),
        ("windows of 60 s", 0.92, 0.012),
        ("log of 60 s", 0.85, 0.012),
    ],
)
def test_a_limit_learned_from_refusals_alone(name: str, hints: bool, least: float, most: float) -> None:
    """As good as it gets without headers: what limits it is that a refusal is the only news, and that minute windows tell it late."""
    client = offer(Learned(), PROVIDERS[name](TPM), mean=0.015 * TWO_SECONDS, hints=hints)
    first, rest = client.used(TPM, 0, 60), client.used(TPM, 60, 600)
    print(f"{name}, hints {hints}: {first:.3f} used in the first minute, {rest:.4f} after, {client.rejected():.5f} refused")
    assert rest >= least
    assert client.rejected() <= most


def test_below_the_limit_nobody_waits() -> None:
    """Learning must cost nothing where there is nothing to learn."""
    client = offer(Learned(), TokenBucket(TPM), mean=0.015 * TWO_SECONDS, times=0.5)
    assert not client.refused
    assert client.gate.per_minute == math.inf


def test_a_raised_limit_is_found_again() -> None:
    """Tiers change: without refusals the pace grows ever faster."""

    class Raised(TokenBucket):
        def accepts(self, amount: float, now_s: float) -> bool:
            if now_s > 200.0 and self.rate < TPM / 40.0:
                self.rate *= 2.0
            return super().accepts(amount, now_s)

    client = offer(Learned(), Raised(TPM, holds_s=2.0), mean=0.015 * TWO_SECONDS, times=4.0)
    print(f"limit doubled at 200 s: {client.used(2 * TPM, 400, 600):.3f} of the new one used from 400 s on")
    assert client.used(2 * TPM, 400, 600) >= 0.85


def test_a_provider_that_refuses_everything_is_tried_ever_more_rarely_and_found_again() -> None:
    """Shut for two minutes, no hint: trials one at a time, and the pace of before once it is open."""

    class Shut(TokenBucket):
        def accepts(self, amount: float, now_s: float) -> bool:
            return not 100.0 <= now_s < 220.0 and super().accepts(amount, now_s)

    client = offer(Learned(), Shut(TPM, holds_s=2.0), mean=0.015 * TWO_SECONDS, hints=False)
    while_shut = sum(100.0 <= at_s < 220.0 for at_s in client.refused)
    print(f"shut for 120 s: {while_shut} refused meanwhile, {client.used(TPM, 270, 600):.3f} used from 50 s after it")
    assert while_shut <= 60
    assert client.used(TPM, 270, 600) >= 0.9


def test_a_refusal_after_a_quiet_hour_does_not_silence_the_client() -> None:
    """One request in an hour, refused for others' traffic: the hour measured nothing, so fifty then get away within forty seconds."""
    gate = Learned()
    gate.settle(gate.reserve(500.0, 0.0), 500.0, 1.0)
    gate.on_refusal(gate.reserve(500.0, 3600.0), 3600.1)
    now_s = 3601.0
    for reservation in [gate.reserve(500.0, now_s) for _ in range(50)]:
        while sleep_s := gate.ready(reservation, now_s):
            now_s += sleep_s
    print(f"fifty away in {now_s - 3601.0:.1f} s")
    assert now_s - 3601.0 <= 40.0


def test_a_machine_suspended_between_sending_and_refusal_does_not_slow_the_trials() -> None:
    """An hour between the two is not how long a refusal takes."""
    gate = Learned()
    gate.on_refusal(gate.reserve(500.0, 0.0), 3600.0)
    now_s = 3600.0
    for reservation in [gate.reserve(500.0, now_s) for _ in range(10)]:
        while sleep_s := gate.ready(reservation, now_s):
            now_s += sleep_s
    assert now_s - 3600.0 <= 60.0


def test_a_limit_that_was_none_is_lifted() -> None:
    """Back to what headers name, or to nothing; and what follows is measured anew."""
    gate = Learned()
    sent = [gate.reserve(100.0, 0.02 * n) for n in range(100)]
    gate.on_refusal(sent[-1], 2.0)
    assert gate.per_minute < math.inf
    gate.lift(3.0)
    assert (gate.per_minute, gate.shut) == (math.inf, False)
    assert gate.reserve(1e6, 3.0).wait_s == 0.0
    gate.observe(3.0, limit=600.0)
    gate.lift(4.0)
    assert gate.per_minute == 600.0


def test_old_refusals_teach_nothing() -> None:
    """Fifty in flight refused together are one piece of news, not fifty cuts."""
    gate = Learned()
    sent = [gate.reserve(100.0, 0.02 * n) for n in range(100)]
    gate.on_refusal(sent[-50], 2.0)
    pace = gate.per_minute
    assert pace < math.inf
    for reservation in sent[-49:]:
        gate.on_refusal(reservation, 2.1)
    assert gate.per_minute == pace


# ---- any order of events ----------------------------------------------------------------------------------------------------

LIMIT = 600.0  # 10 a second


class BucketMachine(RuleBasedStateMachine):
    """Any order of reserving, sleeping, walking away, settling, refusals and clock jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.bucket = Bucket(LIMIT)
        self.now_s = self.true_s = 0.0  # what the clock says; how long it has really been
        self.waiting: list[Reservation] = []
        self.gone: list[Reservation] = []
        self.log: list[tuple[float, float]] = []
        self.net = 0.0
        self.estimates_only = True
        self.order = 0

    def note_gone(self, reservation: Reservation) -> None:
        self.gone.append(reservation)
        self.log.append((self.true_s, reservation.amount))
        self.net += reservation.amount

    @rule(amount=st.floats(0.0, 40.0))
    def reserve(self, amount: float) -> None:
        reservation = self.bucket.reserve(amount, self.now_s)
        if reservation.wait_s == 0.0:
            assert not self.waiting, "a newcomer overtook"
            self.note_gone(reservation)
        else:
            self.waiting.append(reservation)

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


class LearnedMachine(RuleBasedStateMachine):
    """A gate that learns must let everyone through in the end, whatever it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Learned()
        self.now_s = 0.0
        self.waiting: list[Reservation] = []
        self.gone: list[Reservation] = []

    @rule(amount=st.floats(0.1, 1000.0), n=st.integers(1, 20))
    def reserve(self, amount: float, n: int) -> None:
        for _ in range(n):
            reservation = self.gate.reserve(amount, self.now_s)
            (self.waiting if reservation.wait_s else self.gone).append(reservation)

    @rule(by_s=st.floats(0.0, 30.0))
    def sleep(self, by_s: float) -> None:
        until_s = self.now_s + by_s
        while self.waiting:
            sleep_s = self.gate.ready(self.waiting[0], self.now_s)
            if not sleep_s:
                self.gone.append(self.waiting.pop(0))
            elif self.now_s + sleep_s > until_s:
                break
            else:
                self.now_s += sleep_s
        self.now_s = until_s

    @precondition(lambda self: self.gone)
    @rule(hint_s=st.none() | st.floats(0.0, 5.0), n=st.integers(1, 20))
    def refuse(self, hint_s: float | None, n: int) -> None:
        for reservation in self.gone[-n:]:
            self.gate.on_refusal(reservation, self.now_s, retry_after_s=hint_s)
        del self.gone[-n:]

    @precondition(lambda self: self.gone)
    @rule(n=st.integers(1, 20))
    def settle(self, n: int) -> None:
        for reservation in self.gone[:n]:
            self.gate.settle(reservation, reservation.amount, self.now_s)
        del self.gone[:n]

    @rule(limit=st.none() | st.floats(10.0, 1e6), remaining=st.none() | st.floats(0.0, 1e6), reset_s=st.floats(0.0, 600.0))
    def observe(self, limit: float | None, remaining: float | None, reset_s: float) -> None:
        self.gate.observe(self.now_s, limit=limit, remaining=remaining, reset_s=reset_s)

    @rule()
    def lift(self) -> None:
        self.gate.lift(self.now_s)

    @rule(to_s=st.sampled_from([3600.0, -3600.0]))
    def jump(self, to_s: float) -> None:
        self.now_s += to_s

    @invariant()
    def the_pace_is_a_pace(self) -> None:
        assert self.gate.per_minute > 0.0

    def teardown(self) -> None:
        """Nothing more is refused: then all get away, at the slowest at one such request a minute each."""
        for _ in range(10_000):
            if not self.waiting:
                break
            self.sleep(by_s=60.0)
        assert not self.waiting


TestLearnedMachine = LearnedMachine.TestCase
TestLearnedMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("gate", [Bucket(6e7), Learned()], ids=["given", "unknown"])
def test_the_good_path_is_cheap(gate: Bucket | Learned) -> None:
    """Reserve, ready and settle; a bound far above the measured cost, so that a busy machine does not fail it."""
    n, begin = 20_000, time.perf_counter()
    for i in range(n):
        reservation = gate.reserve(500.0, i * 0.001)
        gate.ready(reservation, i * 0.001)
        gate.settle(reservation, 480.0, i * 0.001)
    each_us = (time.perf_counter() - begin) / n * 1e6
    print(f"reserve + ready + settle: {each_us:.2f} us")
    assert each_us < 40.0
