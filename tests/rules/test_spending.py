"""Spend counters: never past the limit, whatever is reserved, settled or written off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from surefoot.rules.spending import AMPLE, FULL, WAIT, Claim, SpendCounter, grant, nano, period_key

amounts = st.integers(0, 10_000)
claims = st.lists(amounts, min_size=3, max_size=3).map(sorted).map(lambda three: Claim(three[2], three[0], three[1]))


def test_periods_are_calendar_periods_in_utc():
    """A bill's day does not depend on where the process stands."""
    moment = 1_795_391_999.0  # 2026-11-22T23:59:59Z
    assert period_key("day", now_epoch_s=moment) == "2026-11-22"
    assert period_key("day", now_epoch_s=moment + 1) == "2026-11-23"
    assert period_key("month", now_epoch_s=moment) == "2026-11"
    assert period_key("ever", now_epoch_s=moment) == ""


def test_ten_dimes_are_a_dollar():
    """Also where the parts do not add up in binary."""
    counter = SpendCounter(nano(1.0))
    assert sum(counter.reserve(Claim.exactly(nano(0.1))) >= 0 for _ in range(1000)) == 10


def test_the_worst_case_counts_and_is_bounded_only_where_it_does_not_fit():
    """A limit with room cuts no answer short; a small one bounds it to what is left, as long as the usual answer fits."""
    claim = Claim(worst=1000, least=10, bounded=100)
    assert grant(claim, limit=1000, spent=0, reserved=0) == 1000
    assert grant(claim, limit=1000, spent=1, reserved=0) == 100
    assert grant(claim, limit=1000, spent=950, reserved=0) == 50
    assert grant(claim, limit=1000, spent=990, reserved=0) == 10
    assert grant(claim, limit=1000, spent=991, reserved=0) == FULL


def test_what_calls_under_way_hold_may_be_waited_for():
    """It is refused only what would not fit even if they all turned out to cost nothing."""
    claim = Claim(worst=1000, least=10, bounded=100)
    assert grant(claim, limit=1000, spent=0, reserved=1000) == WAIT
    assert grant(claim, limit=1000, spent=991, reserved=9) == FULL
    assert grant(Claim.exactly(600), limit=1000, spent=0, reserved=600) == WAIT
    assert grant(Claim.exactly(600), limit=1000, spent=500, reserved=400) == FULL


def test_an_ample_limit_waits_before_it_bounds():
    """From twenty worst cases on; below, all would run one after the other."""
    claim = Claim(worst=100, least=1, bounded=10)
    assert grant(claim, limit=AMPLE * 100, spent=0, reserved=AMPLE * 100 - 50) == WAIT
    assert grant(claim, limit=AMPLE * 100 - 1, spent=0, reserved=AMPLE * 100 - 51) == 10
    assert grant(claim, limit=AMPLE * 100, spent=AMPLE * 100 - 50, reserved=0) == 10, "the last worst case but a half can still be spent"


def test_what_costs_nothing_always_fits():
    """A model in this process sends no bill."""
    assert grant(Claim.exactly(0), limit=10, spent=10, reserved=0) == 0


@given(claims, amounts, amounts, amounts)
def test_a_grant_is_within_what_is_left_and_within_the_claim(claim, limit, spent, reserved):
    """And whoever waits or is refused would not have fitted."""
    granted = grant(claim, limit=limit, spent=spent, reserved=reserved)
    left = limit - spent - reserved
    if granted >= 0:
        assert claim.least <= granted <= min(claim.worst, left)
        assert granted == claim.worst or granted <= claim.bounded
    elif granted == WAIT:
        assert reserved
        assert claim.worst > left
    else:
        assert claim.least > left


@given(claims, amounts)
def test_a_second_limit_is_asked_for_no_more_than_the_first_one_granted(claim, amount):
    """The answer is bounded to the smaller of the two."""
    within = claim.within(amount)
    assert within.least <= within.bounded <= within.worst <= amount or amount >= claim.worst


class Counter(RuleBasedStateMachine):
    """Reserve, settle for less or all, give back, write off, correct: the books agree, and the limit holds."""

    def __init__(self):
        super().__init__()
        self.counter = SpendCounter(10_000)
        self.open: list[int] = []
        self.written_off: list[int] = []
        self.paid = 0

    @rule(claim=claims)
    def reserve(self, claim):
        granted = self.counter.reserve(claim)
        if granted >= 0:
            self.open.append(granted)

    @rule(share=st.floats(0, 1))
    def settle(self, share):
        if self.open:
            amount = self.open.pop()
            self.counter.settle(amount, int(amount * share))
            self.paid += int(amount * share)

    @rule()
    def write_off(self):
        self.counter.write_off()
        self.written_off += self.open
        self.open = []

    @rule(share=st.floats(0, 1))
    def correct(self, share):
        if self.written_off:
            amount = self.written_off.pop()
            self.counter.correct(amount, int(amount * share))
            self.paid += int(amount * share)

    @invariant()
    def books_agree(self):
        assert self.counter.spent == self.paid + sum(self.written_off)
        assert self.counter.reserved == sum(self.open)
        assert self.counter.spent + self.counter.reserved <= 10_000


TestCounter = Counter.TestCase
