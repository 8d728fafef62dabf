"""Limits that are not given: found from headers, or from refusals alone. Figures are printed; seeds are fixed."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from surefoot.rules.token_bucket import LearnedTokenBucket, Reservation
from tests.rules.token_bucket.quota import PROVIDERS, TPM, TWO_SECONDS, BucketServer, offer


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_limit_learned_from_headers_is_used_within_the_first_minute(name: str) -> None:
    """The promise: >= 95 % within 60 s, <= 0.5 % refused, though nothing is known before the first answer."""
    client = offer(LearnedTokenBucket(), PROVIDERS[name](TPM), mean=0.015 * TWO_SECONDS, headers=True)
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
    client = offer(LearnedTokenBucket(), PROVIDERS[name](TPM), mean=0.015 * TWO_SECONDS, hints=hints)
    first, rest = client.used(TPM, 0, 60), client.used(TPM, 60, 600)
    print(f"{name}, hints {hints}: {first:.3f} used in the first minute, {rest:.4f} after, {client.rejected():.5f} refused")
    assert rest >= least
    assert client.rejected() <= most


def test_below_the_limit_nobody_waits() -> None:
    """Learning must cost nothing where there is nothing to learn."""
    client = offer(LearnedTokenBucket(), BucketServer(TPM), mean=0.015 * TWO_SECONDS, times=0.5)
    assert not client.refused
    assert client.gate.per_minute == math.inf


def test_a_raised_limit_is_found_again() -> None:
    """Tiers change: without refusals the pace grows ever faster."""

    class Raised(BucketServer):
        def accepts(self, amount: float, now_s: float) -> bool:
            if now_s > 200.0 and self.rate < TPM / 40.0:
                self.rate *= 2.0
            return super().accepts(amount, now_s)

    client = offer(LearnedTokenBucket(), Raised(TPM, holds_s=2.0), mean=0.015 * TWO_SECONDS, times=4.0)
    print(f"limit doubled at 200 s: {client.used(2 * TPM, 400, 600):.3f} of the new one used from 400 s on")
    assert client.used(2 * TPM, 400, 600) >= 0.85


def test_a_provider_that_refuses_everything_is_tried_ever_more_rarely_and_found_again() -> None:
    """Shut for two minutes, no hint: trials one at a time, and the pace of before once it is open."""

    class Shut(BucketServer):
        def accepts(self, amount: float, now_s: float) -> bool:
            return not 100.0 <= now_s < 220.0 and super().accepts(amount, now_s)

    client = offer(LearnedTokenBucket(), Shut(TPM, holds_s=2.0), mean=0.015 * TWO_SECONDS, hints=False)
    while_shut = sum(100.0 <= at_s < 220.0 for at_s in client.refused)
    print(f"shut for 120 s: {while_shut} refused meanwhile, {client.used(TPM, 270, 600):.3f} used from 50 s after it")
    assert while_shut <= 60
    assert client.used(TPM, 270, 600) >= 0.9


def test_a_refusal_after_a_quiet_hour_does_not_silence_the_client() -> None:
    """One request in an hour, refused for others' traffic: the hour measured nothing, so fifty then get away within forty seconds."""
    gate = LearnedTokenBucket()
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
    gate = LearnedTokenBucket()
    gate.on_refusal(gate.reserve(500.0, 0.0), 3600.0)
    now_s = 3600.0
    for reservation in [gate.reserve(500.0, now_s) for _ in range(10)]:
        while sleep_s := gate.ready(reservation, now_s):
            now_s += sleep_s
    assert now_s - 3600.0 <= 60.0


def test_a_limit_that_was_none_is_lifted() -> None:
    """Back to what headers name, or to nothing; and what follows is measured anew."""
    gate = LearnedTokenBucket()
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
    gate = LearnedTokenBucket()
    sent = [gate.reserve(100.0, 0.02 * n) for n in range(100)]
    gate.on_refusal(sent[-50], 2.0)
    pace = gate.per_minute
    assert pace < math.inf
    for reservation in sent[-49:]:
        gate.on_refusal(reservation, 2.1)
    assert gate.per_minute == pace


class LearnedMachine(RuleBasedStateMachine):
    """A bucket that learns must let everyone through in the end, whatever it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = LearnedTokenBucket()
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
        asked = self.gone[0] if self.gone else None
        self.gate.observe(self.now_s, limit=limit, remaining=remaining, reset_s=reset_s, asked=asked)

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


def test_the_first_refusal_after_one_answer_is_a_lesson_and_no_shutdown() -> None:
    """One was let through: there is a pace. Only where nothing was accepted are trials all that is sent."""
    for accepted in (1, 0):
        bucket = LearnedTokenBucket()
        for _ in range(accepted):
            first = bucket.reserve(1.0, 0.0)
            assert bucket.ready(first, 0.0) <= 0.0
            bucket.settle(first, 1.0, 0.1)
        second = bucket.reserve(1.0, 1.0)
        assert bucket.ready(second, 1.0) <= 0.0
        bucket.on_refusal(second, 1.1)
        assert bucket.shut is not bool(accepted)
