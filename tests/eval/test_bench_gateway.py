"""The gateway's measurements: clients that leave leave nothing behind, and a load test tells what became of its calls."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn")

from surefoot.errors import Misconfigured
from surefoot_eval.bench.sections import gateway
from surefoot_eval.bench.sections.gateway.load_test import report, run_load
from surefoot_eval.bench.sections.gateway.subjects import ours
from surefoot_eval.bench.server import server


@pytest.mark.heavy
def test_a_thousand_who_leave_leave_nothing_behind():
    """`surefoot serve` in a process of its own, with keys, budgets and ledger."""
    found = gateway.run(parts="aborts")
    one = found["aborts"]
    assert (one["in_flight"], one["held"], one["open_upstream"]) == (0, 0, 0)
    assert one["heard"] > 900, "the others had been sent whole before their client left"
    assert "client gone until upstream is closed" in gateway.table(found)


@pytest.mark.heavy
def test_a_gateway_that_is_told_to_end_finishes_what_it_began():
    """SIGTERM under 200 streams."""
    found = gateway.run(parts="drain")["drain"]
    assert found["cut"] == 0
    assert found["under_way"] > 20, "else nothing was tested"
    assert found["not_ready_s"] < 5


def test_a_load_test_tells_what_became_of_its_calls(monkeypatch: pytest.MonkeyPatch):
    with server() as upstream:
        subject = ours(upstream.address)
        try:
            monkeypatch.setenv("THE_KEY", subject.headers["authorization"].partition(" ")[2])
            said = {"model": "default", "rate": 40.0, "seconds": 0.5, "stream": True}
            found = run_load(f"{subject.address}/v1/", key="env:THE_KEY", **said)
            refused = run_load(subject.address, key="sf-nobody", **said)
        finally:
            subject.stop()
    assert found["ended"] == {"200": found["begun"]}
    assert found["begun"] >= 10
    assert len(found["first_ms"]) == 4
    assert "answered whole a second" in report(found)
    assert set(refused["ended"]) == {"401"}
    assert "invalid_api_key" in report(refused)
    with pytest.raises(Misconfigured, match="NO_SUCH_KEY"):
        run_load(subject.address, key="env:NO_SUCH_KEY", **said)
    with pytest.raises(Misconfigured, match="--rate 0"):
        run_load(subject.address, key="x", **{**said, "rate": 0.0})
