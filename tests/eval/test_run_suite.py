"""A run that is killed goes on; what it finds in the end is what it would have found."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot.errors import Misconfigured, Overloaded
from surefoot_eval import run_suite as running
from surefoot_eval.data.records import Record
from surefoot_eval.run.answers import OpenedSystem, _Lexical
from surefoot_eval.run.journal import Journal
from surefoot_eval.run.results import read, write
from tests.eval.small import SUITE
from tests.eval.small import write as write_suite

ROOT = Path(__file__).resolve().parents[2]
KILLS = [(1, 0), (1, 20), (2, 0), (1, 1), (1, 150), (2, 3), (1, 0), (1, 60), (1, 0), (1, 7)]  # whole records, then bytes of the next one
CHILD = """
import os, signal, sys
from pathlib import Path
from surefoot_eval import run_suite as run
from surefoot_eval.run.journal import Journal

whole, torn = int(sys.argv[3]), int(sys.argv[4])
written = Journal._write

def deadly(self, line):
    global whole
    if whole == 0:
        os.write(self._file, line[:torn])
        os.kill(os.getpid(), signal.SIGKILL)
    whole -= 1
    written(self, line)

Journal._write = deadly
planned = run.plan(Path(sys.argv[1]))
run.run(planned, Path(sys.argv[2]))
"""


def finished(file: Path, out: Path) -> bytes:
    planned = running.plan(file)
    return write(running.results(planned, running.run(planned, out)), out).read_bytes()


def test_killed_ten_times_it_finds_the_same(tmp_path):
    """SIGKILL after a record or in the middle of one, ten times; scores and verdicts are the same to the byte."""
    file = write_suite(tmp_path)
    whole = finished(file, tmp_path / "whole")
    out = tmp_path / "killed"
    for kill in KILLS:
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(file), str(out), *map(str, kill)], cwd=ROOT, check=False, capture_output=True
        )
        assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    records = (out / "records.jsonl").read_bytes()
    assert records.count(b"\n") == sum(records for records, _ in KILLS) < 13
    assert not records.endswith(b"\n")  # the last kill left its torn line
    assert finished(file, out) == whole
    lines = [json.loads(line) for line in (out / "records.jsonl").read_bytes().splitlines()]
    assert len(lines) == len({line["question"] for line in lines}) == 13  # nothing was asked twice, nothing lost


def test_a_finished_run_asks_nobody_again(tmp_path, monkeypatch):
    """The same command once more is a report."""
    file = write_suite(tmp_path)
    first = finished(file, tmp_path / "out")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(OpenedSystem, "ask", never)
    assert finished(file, tmp_path / "out") == first


def test_a_folder_of_another_run_is_refused_naming_what_differs(tmp_path):
    """Records of two data sets in one journal would be a lie."""
    file = write_suite(tmp_path)
    finished(file, tmp_path / "out")
    lines = (tmp_path / "questions/questions.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "questions/questions.jsonl").write_text("\n".join(lines[1:]), "utf-8")
    with pytest.raises(Misconfigured, match=r"holds a run of something else \(data"):
        running.run(running.plan(file), tmp_path / "out")


def test_only_failed_asks_what_failed_and_no_more_than_five_times(tmp_path, monkeypatch):
    """A failure is a record; it counts as an error, not as a zero, until it is asked again."""
    file = write_suite(tmp_path)
    planned, out = running.plan(file), tmp_path / "out"
    answer, asked = _Lexical.answer, []

    def broken(self, question, earlier=()):
        asked.append(question)
        if "museum" in question:
            raise Overloaded("busy")
        return answer(self, question)

    monkeypatch.setattr(_Lexical, "answer", broken)
    records = running.run(planned, out)
    right = running.results(planned, records).systems["lexical"].summaries["right"]
    assert (right.errors, right.measured, right.coverage) == (3, 10, 10 / 13)
    assert sum("Overloaded: busy" in record.error for record in records) == 3
    asked.clear()
    running.run(planned, out)
    assert not asked  # a plain resume leaves failures alone
    for _ in range(6):
        running.run(planned, out, only_failed=True)
    assert len(asked) == 3 * 4  # five tries in all
    monkeypatch.setattr(_Lexical, "answer", answer)
    monkeypatch.setattr(running, "MOST_TRIES", 6)
    mended = running.results(planned, running.run(planned, out, only_failed=True))
    assert mended.systems["lexical"].summaries["right"].coverage == 1.0


def test_two_processes_cannot_write_one_run(tmp_path):
    """The second is told, not interleaved."""
    file = write_suite(tmp_path)
    planned = running.plan(file)
    (tmp_path / "out").mkdir()
    held = Journal(tmp_path / "out/records.jsonl", Record)
    with pytest.raises(Misconfigured, match="another run is writing"):
        running.run(planned, tmp_path / "out")
    held.close()
    assert len(running.run(planned, tmp_path / "out")) == 13


def test_an_edited_journal_is_refused_with_its_line(tmp_path):
    """Only a torn end is mended; a whole line that is no record is somebody's doing."""
    file = tmp_path / "records.jsonl"
    file.write_bytes(b'{"system":"a","question":"b"}\n{"oops"\n{"system":"a","question":"c"}\n')
    with pytest.raises(Misconfigured, match="line 2"):
        Journal(file, Record)


def test_seeds_are_questions_of_one_group(tmp_path):
    """Replicates of a question are not independent: they are resampled together."""
    planned = running.plan(write_suite(tmp_path, suite=SUITE.replace("in_flight = 1", "in_flight = 1\nseeds = [0, 1]")))
    results = running.results(planned, running.run(planned, tmp_path / "out"))
    assert len(results.systems["lexical"].scores["right"]) == 26
    assert results.groups["harbour-0#0"] == results.groups["harbour-0#1"] == "harbour.txt"


def test_results_are_read_back_as_they_were(tmp_path):
    """Also the order of systems and questions."""
    planned = running.plan(write_suite(tmp_path))
    results = running.results(planned, running.run(planned, tmp_path / "out"))
    write(results, tmp_path / "out")
    again = read(tmp_path / "out")
    assert again == results
    assert list(again.questions) == list(results.questions)
