"""The kind `eval` of durable jobs: a suite's questions by any number of workers, and the report that a plain run would write."""

from __future__ import annotations

import json
import threading

import pytest

from surefoot import jobs
from surefoot.cli.main import main
from surefoot.errors import Misconfigured
from surefoot_eval import run_suite
from surefoot_eval.eval_job import EvalKind
from surefoot_eval.run.results import write
from tests.eval import small

SYSTEM = small.SUITE.replace("in_flight = 1", "in_flight = 3") + 'chat = ["local:extractive"]\n'
WORDS = ["--store", "sqlite:jobs.db"]


def scores(folder):
    """All figures of a run, without times."""
    found = json.loads((folder / "scores.json").read_text())
    return {name: one["summaries"] for name, one in found["systems"].items()}


def test_a_suite_as_a_job_gives_the_figures_of_a_plain_run(tmp_path, monkeypatch):
    """Two workers share it; each question is asked once."""
    monkeypatch.chdir(tmp_path)
    suite = small.write(tmp_path, suite=SYSTEM)
    items, options = EvalKind().from_path(suite, {})
    with jobs.open("sqlite:jobs.db") as q, jobs.open("sqlite:jobs.db") as other:
        job = q.submit("eval", items, chunk=4, **options)
        second = threading.Thread(target=other.work_sync)
        second.start()
        q.work_sync()
        second.join()
        status = q.status(job)
        assert (status.state, status.done, status.failed) == ("done", len(items), 0)
    assert main(["jobs", "results", job, *WORDS, "--to", "report"]) == 0
    planned = run_suite.plan(suite)
    write(run_suite.results(planned, run_suite.run(planned, tmp_path / "plain")), tmp_path / "plain")
    assert scores(tmp_path / "report") == scores(tmp_path / "plain")
    assert (tmp_path / "report" / "report.html").exists()


def test_a_suite_that_changed_is_left_to_others(tmp_path, monkeypatch):
    """Its figures would be of two things at once."""
    monkeypatch.chdir(tmp_path)
    suite = small.write(tmp_path, suite=SYSTEM)
    with jobs.open("sqlite:jobs.db") as q:
        items, options = EvalKind().from_path(suite, {})
        job = q.submit("eval", items, **options)
        suite.write_text(SYSTEM.replace("k = 3", "k = 4"))
        with pytest.raises(Misconfigured, match="is not what was submitted"):
            q.work_sync()
        assert (q.status(job).state, q.status(job).done) == ("open", 0)


def test_mistakes_are_told_before_anything_is_written(tmp_path, capsys, monkeypatch):
    """A suite that is none, and options that are none."""
    monkeypatch.chdir(tmp_path)
    suite = small.write(tmp_path, suite=SYSTEM)
    one = {"system": "x", "seed": 0, "questions": ["a"]}
    with jobs.open("sqlite:jobs.db") as q:
        with pytest.raises(Misconfigured, match="suite is missing"):
            q.submit("eval", [one])
        with pytest.raises(Misconfigured, match="unknown option 'tape'"):
            q.submit("eval", [one], suite=str(suite), tape="x")
        assert q.jobs() == []
    assert main(["jobs", "submit", "--kind", "eval", "--from", "gone.toml", *WORDS]) == 1
    assert "gone.toml cannot be read" in capsys.readouterr().err
