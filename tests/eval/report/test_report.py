"""What a report says is what the run found, in one file that needs nobody; and other programs read the same figures."""

from __future__ import annotations

import csv
import re
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import ir_measures
import pytest
from msgspec.structs import replace

from surefoot_eval import run_suite as running
from surefoot_eval.__main__ import main
from surefoot_eval.data.records import Cost, Record
from surefoot_eval.report.costs import CostPoint, pareto, taken
from surefoot_eval.report.exports import floors_missed
from surefoot_eval.report.report import html, markdown, pairs
from surefoot_eval.report.tables import frame, read_views, views, write_tables
from surefoot_eval.run.results import read
from tests.eval.small import SUITE, write

TWO = SUITE + '\n[[system]]\nname = "narrow <b>"\nframework = "lexical"\nk = 3\n'.replace(" <b>", "")


@pytest.fixture
def done(tmp_path):
    """A run from the command line, with its folder."""
    file = write(tmp_path, suite=TWO)
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


def records_of(out):
    planned = running.plan(out.parent / "small.toml")
    return planned, running.run(planned, out)


def test_the_page_is_one_file_that_asks_nobody(done):
    """No script, no address, no picture from elsewhere; every system and metric is in it."""
    page = (done / "report.html").read_text("utf-8")
    assert not re.findall(r"<script|https?://|src=|@import|url\(", page)
    assert page.count("<svg") >= 1  # of latencies; plots of quality only where systems differ
    results = read(done)
    for word in (*results.metrics, *results.systems, *(f"{one.summaries['right'].mean:.3f}" for one in results.systems.values())):
        assert word in page


def test_what_documents_and_models_say_is_escaped(done):
    """An answer is data: it must not become part of the page."""
    planned, records = records_of(done)
    evil = "<script>alert(1)</script>"
    bad = [replace(one, answer=evil, refused=False) if one.question == "none-1" else one for one in records]
    results = running.results(planned, bad)
    page = html(results, bad, views(results, bad, planned.material, [0]))
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page


def test_an_independent_program_finds_the_same_figures_in_the_trec_files(done):
    """ir-measures over the exported run and judgements."""
    results = read(done)
    for name, system in results.systems.items():
        run = list(ir_measures.read_trec_run(str(done / f"trec/{name}.run")))
        qrels = list(ir_measures.read_trec_qrels(str(done / "trec/qrels")))
        got = {
            (unquote(one.query_id), str(one.measure)): one.value
            for one in ir_measures.iter_calc([ir_measures.nDCG @ 3, ir_measures.R @ 3], qrels, run)
        }
        for metric in ("nDCG@3", "R@3"):
            wanted = system.columns[metric].values
            assert len(wanted) == 12
            assert {key: got[key, metric] for key in wanted} == pytest.approx(wanted)


def test_junit_has_a_case_a_question_and_tells_errors_and_floors(done):
    """A failed question is an error; a floor clearly missed is a failure; one inside the interval is not."""
    planned, records = records_of(done)
    broken = [replace(one, error="Overloaded: \x00busy", answer="") if one.question == "museum-0" else one for one in records]
    from surefoot_eval.report.exports import junit

    results = running.results(planned, broken)
    low = results.systems["lexical"].summaries["right"]
    results = replace(results, floors={"right": 1.01, "refusal": 0.0})
    junit(results, broken, done / "junit.xml")
    root = ET.parse(done / "junit.xml").getroot()
    suite = root.find("testsuite[@name='lexical']")
    assert (suite.get("errors"), suite.get("failures"), suite.get("tests")) == ("1", "1", "15")
    assert [case.get("name") for case in suite.iter("testcase") if case.find("error") is not None] == ["museum-0"]
    assert [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None] == ["right"]
    assert set(floors_missed(replace(results, floors={"right": low.mean}))) == set()


def test_a_missed_floor_is_exit_code_1(tmp_path, capsys):
    """CI reads nothing else."""
    file = write(tmp_path, suite=SUITE + "\n[floors]\nanswer_f1 = 0.99\n")
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 1
    assert "FLOOR MISSED: lexical: answer_f1" in capsys.readouterr().out


def test_a_wrong_word_is_exit_code_2_and_leaves_nothing(tmp_path, capsys):
    """Before anything is asked."""
    file = write(tmp_path, suite=SUITE.replace('"covered"', '"coverd"'))
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "did you mean 'covered'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_report_writes_the_same_page_again(done):
    """From the files alone."""
    before = {name: (done / name).read_bytes() for name in ("report.html", "report.md", "junit.xml")}
    for name in before:
        (done / name).unlink()
    assert main(["report", str(done)]) == 0
    assert {name: (done / name).read_bytes() for name in before} == before


def test_the_page_begins_with_the_verdict_and_holds_every_question(done):
    """Verdict, date and fingerprints on top; of each question what was said, accepted, gold, found, and its id."""
    page = (done / "report.html").read_text("utf-8")
    results = read(done)
    top = page[page.index("<body>") : page.index("<h2>")]
    assert "NO VERDICT" in top
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", top)
    assert all(mark[:12] in top for mark in (results.marks.data, results.marks.corpus, results.marks.pipeline))
    detail = page[page.index("<code>harbour-0</code>") :]
    detail = detail[: detail.index("</details>")]
    assert "08:15" in detail
    assert 'class="gold"><code>harbour.txt [0:' in detail
    _, records = records_of(done)
    missed = html(replace(results, floors={"right": 1.01}), records)
    assert 'class="bad verdict">FAIL' in missed


def test_every_question_is_a_row_of_the_table(done):
    """CSV for a spreadsheet, in which no answer becomes a formula; JSON lines and a data frame for programs."""
    with (done / "questions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(read_views(done)) == 26
    first = next(row for row in rows if row["id"] == "harbour-0")
    assert (first["right"], first["gold_rank"], first["accepted"], first["outcome"]) == ("1.0", "1", "08:15", "answered right")
    one = read_views(done)[0]
    write_tables([replace(one, answer="=1+1")], done)
    assert "'=1+1" in (done / "questions.csv").read_text("utf-8")
    pd = pytest.importorskip("pandas")
    assert isinstance(frame(done), pd.DataFrame)
    assert list(frame(done)["id"]) == [one.id]


def test_markdown_and_pairs_name_every_system(done):
    """The same system twice is within its own interval everywhere."""
    planned, records = records_of(done)
    results = running.results(planned, records)
    found = pairs(results)
    assert {one.metric for one in found} == set(results.metrics)
    assert all(one.within and one.paired.difference == 0 for one in found)
    said = markdown(results, records)
    assert "| metric | lexical | narrow |" in said
    assert "| right |" in said


def test_latency_is_of_the_answered_and_money_of_all():
    """A failure in a millisecond is no quick answer, and an unknown price is never 0."""
    slow = Record(system="s", question="a", cost=Cost(calls=1, seconds=2.0, usd=0.002, attempts=1))
    quick = Record(system="s", question="b", cost=Cost(calls=1, seconds=0.001, usd=0.001, attempts=3), error="Overloaded: busy")
    got = taken([slow, quick], "s")
    assert (got.p50_s, got.longest_s, got.failed, got.attempts) == (2.0, 2.0, 1, 2.0)
    assert got.usd_per_1k == pytest.approx(1.5)
    assert taken([replace(slow, cost=Cost(calls=1, seconds=1.0, usd=None))], "s").usd_per_1k is None
    assert taken([slow], "nobody") is None


def test_the_front_is_what_nobody_is_ahead_of():
    """Better in one and no worse in the others is ahead; equal is not; an unknown price is compared with nothing."""
    best = CostPoint(name="best", quality=0.9, usd_per_1k=1.0, p95_s=1.0)
    dear = CostPoint(name="dear", quality=0.9, usd_per_1k=2.0, p95_s=1.0)
    quick = CostPoint(name="quick", quality=0.5, usd_per_1k=1.0, p95_s=0.1)
    twin = CostPoint(name="twin", quality=0.9, usd_per_1k=1.0, p95_s=1.0)
    unknown = CostPoint(name="unknown", quality=0.1, usd_per_1k=None, p95_s=9.0)
    assert {one.name: one.behind for one in pareto([best, dear, quick, twin, unknown])} == {
        "best": "", "dear": "best", "quick": "", "twin": "", "unknown": "",
    }  # fmt: skip
