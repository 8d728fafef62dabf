"""Rehearsals are the real layers in virtual time: the same by seed, and the faults are felt."""

from __future__ import annotations

import pytest

from surefoot.errors import Misconfigured
from surefoot_eval import run_suite as running
from surefoot_eval.report.costs import points, taken
from surefoot_eval.report.report import html
from surefoot_eval.run.results import write as write_results
from tests.eval.small import write

SUITE = """
name = "weather"
kind = "resilience"
metrics = ["served", "right"]
per_s = 0.5
seeds = [0, 1]

[data]
path = "questions"

[[provider]]
name = "sim:first"
input_usd_per_mtok = 2.0
output_usd_per_mtok = 8.0

[[provider]]
name = "sim:spare"
median_s = 2.0
input_usd_per_mtok = 20.0

[[schedule]]
name = "calm"

[[schedule]]
name = "outage"
outages = [[0.0, 10000.0]]
providers = ["sim:first"]

[[schedule]]
name = "faults"
passing = 0.3

[[system]]
name = "bare"
framework = "lexical"
chat = ["sim:first"]
[system.policy]
attempts = 1
breaker = false

[[system]]
name = "fallback"
framework = "lexical"
chat = ["sim:first", "sim:spare"]
"""


@pytest.fixture
def planned(tmp_path):
    return running.plan(write(tmp_path, suite=SUITE))


def test_the_weather_is_felt_and_the_same_by_seed(planned, tmp_path):
    """Twice the same bytes, latencies and money included."""
    first = running.run(planned, tmp_path / "one")
    again = running.run(planned, tmp_path / "two")
    assert first == again
    results = running.results(planned, first)
    served = {name: one.summaries["served"].mean for name, one in results.systems.items()}
    assert served["bare / calm"] == served["fallback / calm"] == served["fallback / outage"] == 1.0
    assert served["bare / outage"] == 0.0
    assert served["bare / faults"] < served["fallback / faults"]
    calm, outage, bare = (taken(first, name) for name in ("fallback / calm", "fallback / outage", "bare / faults"))
    assert outage.fallbacks > 0 == calm.fallbacks
    assert outage.p50_s > calm.p50_s  # the spare one is slower
    assert outage.usd_per_1k > calm.usd_per_1k > 0  # and dearer
    assert bare.attempts == 1.0
    assert bare.failed > 0


def test_an_interrupted_rehearsal_goes_on_where_it_was(planned, tmp_path):
    """Records that are there stay; the others come out as they would have."""
    whole = running.run(planned, tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    lines = (tmp_path / "whole/records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut/records.jsonl").write_bytes(b"".join(lines[:40]) + lines[40][:30])
    assert running.run(planned, tmp_path / "cut") == whole
    one, other = (write_results(running.results(planned, whole), tmp_path / name).read_bytes() for name in ("whole", "cut"))
    assert one == other


def test_the_map_is_of_systems_over_all_weather(planned, tmp_path):
    """A failed question counts 0 there, so failing early is no virtue."""
    records = running.run(planned, tmp_path / "out")
    results = running.results(planned, records)
    found = {one.name: one for one in points(results, {name: taken(records, name) for name in results.systems})}
    assert set(found) == {"bare", "fallback"}
    assert found["bare"].quality < found["fallback"].quality
    assert found["bare"].usd_per_1k < found["fallback"].usd_per_1k
    page = html(results, records)
    assert "the mean over all schedules" in page


def test_failures_of_a_rehearsal_are_not_asked_again(planned, tmp_path):
    """They are what it is about."""
    with pytest.raises(Misconfigured, match="its subject"):
        running.run(planned, tmp_path / "out", only_failed=True)
