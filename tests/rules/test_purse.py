"""The purse: never past its limit by more than estimates were short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from surefoot.rules.purse import Purse, period_key


def test_periods_are_calendar_periods_in_utc():
    """A bill's day does not depend on where the process stands."""
    moment = 1_795_391_999.0  # 2026-11-22T23:59:59Z
    assert period_key("day", now_epoch_s=moment) == "2026-11-22"
    assert period_key("day", now_epoch_s=moment + 1) == "2026-11-23"
    assert period_key("month", now_epoch_s=moment) == "2026-11"
    assert period_key("ever", now_epoch_s=moment) == ""


def test_a_budget_for_ten_admits_exactly_ten():
    """Also when the parts do not add up in binary."""
    purse = Purse(1.0)
    assert sum(purse.reserve(0.1) for _ in range(1000)) == 10


@given(st.floats(0.001, 100), st.lists(st.floats(0.0001, 50), max_size=50))
def test_what_is_admitted_never_passes_the_limit(limit, amounts):
    """Reservations count as spent."""
    purse = Purse(limit)
    admitted = sum(amount for amount in amounts if purse.reserve(amount))
    assert admitted <= limit * (1 + 1e-9) + 1e-9


class Accounts(RuleBasedStateMachine):
    """Reserve, settle for more or less, give back: the books always agree."""

    def __init__(self):
        super().__init__()
        self.purse = Purse(10.0)
        self.open: list[float] = []
        self.paid = 0.0

    @rule(amount=st.floats(0, 5))
    def reserve(self, amount):
        if self.purse.reserve(amount):
            self.open.append(amount)

    @rule(share=st.floats(0, 1.5))
    def settle(self, share):
        if self.open:
            amount = self.open.pop()
            self.purse.settle(amount, amount * share)
            self.paid += amount * share

    @invariant()
    def books_agree(self):
        assert self.purse.spent_usd == pytest.approx(self.paid)
        assert self.purse.reserved_usd == pytest.approx(sum(self.open), abs=1e-6)


TestAccounts = Accounts.TestCase
