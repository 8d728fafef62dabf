"""Both reference pipelines are examined by their public names, with the same questions and the same records."""

from __future__ import annotations

from pathlib import Path

import pytest

from surefoot.errors import Misconfigured
from surefoot.testing.wire import OK, OpenAISim, fault
from surefoot_eval import run_suite as running
from surefoot_eval.__main__ import main
from surefoot_eval.data.suite import System
from surefoot_eval.run.answers import mark_of, models
from tests.eval.small import SUITE, write

BOTH = SUITE.replace('framework = "lexical"', 'framework = "langchain"').replace('name = "lexical"', 'name = "one"') + (
    '\n[[system]]\nname = "other"\nframework = "llamaindex"\nk = 3\n'
)


def test_both_frameworks_give_the_same_answers_through_the_harness(tmp_path):
    """Same passages, same citations, same verdicts; with several questions in flight; an index that is there is used again."""
    planned = running.plan(write(tmp_path, suite=BOTH.replace("in_flight = 1", "in_flight = 3")))
    records = running.run(planned, tmp_path / "out", place=tmp_path / "index")
    assert [record.error for record in records if record.error] == []
    results = running.results(planned, records)
    one, other = results.systems["one"], results.systems["other"]
    assert one.scores == other.scores
    assert one.outcomes == other.outcomes
    assert one.summaries["right"].measured == 13
    assert (one.summaries["R@3"].mean or 0.0) > 0.9
    assert all(record.cost.calls == 1 and record.cost.attempts == 1 and record.cost.usd == 0.0 for record in records)
    held = sorted(file.name for file in (tmp_path / "index").iterdir())
    running.run(planned, tmp_path / "again", place=tmp_path / "index")
    assert sorted(file.name for file in (tmp_path / "index").iterdir()) == held


def test_retrieval_alone_asks_no_model(tmp_path):
    """No answer, no cost; the passages and their order."""
    suite = SUITE.replace('kind = "rag"', 'kind = "retrieval"')
    suite = suite.replace(suite[suite.index("metrics") : suite.index("in_flight")], 'metrics = ["nDCG@3", "R@3", "Success@1"]\n')
    planned = running.plan(write(tmp_path, suite=suite))
    records = running.run(planned, tmp_path / "out")
    assert all(record.cost.calls == 0 and not record.answer for record in records)
    got = running.results(planned, records).systems["lexical"].summaries["nDCG@3"]
    assert (got.measured, got.not_applicable) == (12, 1)
    assert (got.mean or 0.0) > 0.9


def test_a_model_that_cannot_be_had_is_told_before_anything_is_asked(tmp_path):
    """An unknown provider, a missing key, a surefoot.toml without the entry."""
    with pytest.raises(Misconfigured, match="opnai"):
        running.plan(write(tmp_path, suite=SUITE + 'chat = ["opnai:gpt-5-mini"]\n'))
    (tmp_path / "surefoot.toml").write_text('[chat.default]\ntargets = ["local:extractive"]\n', "utf-8")
    (tmp_path / "small.toml").write_text(SUITE + 'chat = ["fast"]\nmodels = "surefoot.toml"\n', "utf-8")
    with pytest.raises(Misconfigured, match=r"no \[chat.fast\] in the file"):
        running.plan(tmp_path / "small.toml")
    (tmp_path / "small.toml").write_text(SUITE + 'chat = ["default"]\nmodels = "surefoot.toml"\n', "utf-8")
    planned = running.plan(tmp_path / "small.toml")
    assert len(running.run(planned, tmp_path / "out")) == 13


def test_a_mark_changes_with_what_answers():
    """Policy, temperature, depth and target; it is the key of tapes and the guard of comparisons."""
    base = System(name="s", framework="lexical")
    marks = set()
    for system in (
        base,
        System(name="s", framework="lexical", k=4),
        System(name="s", framework="lexical", temperature=0.5),
        System(name="s", framework="lexical", max_tokens=9),
        System(name="s", framework="lexical", policy={"attempts": 7}),
    ):
        marks.add(mark_of(models(system, near=Path()), system, near=Path()))
    assert len(marks) == 5
    assert mark_of(models(base, near=Path()), base, near=Path()) in marks


TOML = """
[chat.default]
targets = ["openai:gpt-5-mini"]
[chat.default.policy]
backoff_base_s = 0.001
deadline_s = false
connect_s = false
first_token_s = false
idle_s = false
[target."openai:gpt-5-mini"]
base_url = "{url}/v1"
api_key = "test"
input_usd_per_mtok = 1.0
output_usd_per_mtok = 4.0
"""


def test_a_vendors_sdk_on_the_wire_is_measured_by_its_own_events(tmp_path):
    """Retries, tokens and money of each question; a question that fails for good is an error and costs no other its value."""
    with OpenAISim(answer="The harbour office opens at 08:15. [1]") as sim:
        sim.script([fault("status_503"), OK, *[OK] * 5, *[fault("status_400")], *[OK] * 20])
        (tmp_path / "surefoot.toml").write_text(TOML.format(url=sim.url), "utf-8")
        planned = running.plan(write(tmp_path, suite=SUITE + 'chat = ["default"]\nmodels = "surefoot.toml"\n'))
        records = running.run(planned, tmp_path / "out")
        assert len(sim.requests) == 14
    first, bad = records[0], next(record for record in records if record.error)
    assert (first.cost.attempts, first.cost.retries, first.cost.calls) == (2, 1, 1)
    assert first.cost.input_tokens > first.cost.output_tokens > 0
    assert first.cost.usd == pytest.approx((first.cost.input_tokens + 4 * first.cost.output_tokens) / 1e6)
    assert first.model == "openai:gpt-5-mini"
    assert bad.error.startswith("BadRequest")
    assert [record.question for record in records if record.error] == [records[6].question]
    right = running.results(planned, records).systems["lexical"].summaries["right"]
    assert (right.measured, right.errors) == (12, 1)
    assert right.mean == pytest.approx(1 / 12)  # only the harbour's question is answered so


def test_what_is_yours_to_mend_ends_the_run_as_itself(tmp_path, capsys):
    """A recording that lacks a question, in replay: exit code 2 and one line, not a group of tracebacks; what was answered is kept."""
    file = write(tmp_path)
    tape = ["--tape", str(tmp_path / "tape.jsonl")]
    assert main(["run", str(file), "--out", str(tmp_path / "one"), *tape]) == 0
    lines = (tmp_path / "tape.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "tape.jsonl").write_bytes(b"".join(lines[:5]))
    assert main(["run", str(file), "--out", str(tmp_path / "two"), *tape, "--tape-mode", "replay"]) == 2
    assert "not in the recording" in capsys.readouterr().err
    assert len((tmp_path / "two/records.jsonl").read_bytes().splitlines()) == 5
    assert main(["run", str(file), "--out", str(tmp_path / "two"), *tape]) == 0
    assert (tmp_path / "two/scores.json").read_bytes() == (tmp_path / "one/scores.json").read_bytes()
