"""A hard budget is hard: the matrix of answers, limits and mishaps."""

from __future__ import annotations

import pytest

from tests.torture.figures import check
from tests.torture.scenarios.money import spend

LIMITS = (0.5, 2.0, 5.0, 15.0, 50.0)
TOKENS = (200, 2000, 8000, 60_000, 0)
MANY = 1500  # calls; a run of so many takes some seconds
MISHAPS = (
    {"faults": 0.3},
    {"faults": 0.3, "stream": True},
    {"hedged": True},
    {"faults": 0.3, "hedged": True, "targets": 2},
    {"faults": 0.3, "hedged": True, "targets": 2, "stream": True},
)


def cases(*limits):
    for tokens in TOKENS:
        for limit_usd in limits:
            marks = [pytest.mark.heavy] if limit_usd / ((tokens or 3400) * 1e-5) > MANY else []
            yield pytest.param(tokens, limit_usd, marks=marks)


@pytest.mark.parametrize("stream", [False, True], ids=["chat", "stream"])
@pytest.mark.parametrize(("tokens", "limit_usd"), cases(*LIMITS))
def test_the_bill_stays_within_the_limit(tokens, limit_usd, stream):
    """And with twenty worst cases or more no answer is cut short, and 98 % can be spent.

    Where answers cost a twenty-fifth of the limit each, a whole number of them may leave more than 2 %: then the rest goes to shorter ones.
    """
    check(spend(1, tokens=tokens, limit_usd=limit_usd, stream=stream))


@pytest.mark.parametrize("mishap", MISHAPS, ids=str)
@pytest.mark.parametrize(("tokens", "limit_usd"), cases(0.5, 5.0, 15.0))
def test_mishaps_do_not_pass_the_limit(tokens, limit_usd, mishap):
    """What breaks, is left or comes twice is on the bill as well."""
    check(spend(2, tokens=tokens, limit_usd=limit_usd, **mishap))
