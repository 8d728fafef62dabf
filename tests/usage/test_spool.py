"""Rows on the disk until the ledger has them: kill -9 and a ledger that is away lose none and double none."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from surefoot.errors import Misconfigured
from surefoot.usage.ledger import Ledger
from surefoot.usage.rows import spool as spools
from surefoot.usage.rows.spool import Spool
from surefoot.usage.rows.sqlite import FORGET, SqliteRows
from tests.postgres import fresh_url

WRITER = """
import sys, time
from surefoot.events import AttemptEnded
from surefoot.types import AttemptRecord, Usage
from surefoot.usage import ledger
ledger.WRITE_S = float(sys.argv[3])
book = ledger.Ledger(sys.argv[1], spool=sys.argv[2])
for number in range(int(sys.argv[4])):
    record = AttemptRecord(number=1, target="openai:m", usage=Usage(output_tokens=1), cost_usd=0.01)
    book(AttemptEnded(call_id=f"{sys.argv[5]}-{number}", at_s=0.0, attempt=record))
    if number % 50 == 0:
        time.sleep(0.002)
print("done", flush=True)
time.sleep(60)
"""


def killed(place: str, folder: Path, *, write_s: float, rows: int, name: str) -> None:
    """A process that puts down rows and is killed with -9."""
    said = [sys.executable, "-c", WRITER, place, str(folder), str(write_s), str(rows), name]
    process = subprocess.Popen(said, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_kill_loses_no_row_and_doubles_none(kind: str, tmp_path: Path):
    """One was killed before it wrote, one in the midst of writing; whoever starts next writes what they left."""
    place = fresh_url() if kind == "postgresql" else f"sqlite:{tmp_path}/usage.db"
    killed(place, tmp_path / "spool", write_s=60, rows=500, name="a")
    killed(place, tmp_path / "spool", write_s=0.001, rows=500, name="b")
    ledger = Ledger(place, spool=tmp_path / "spool")
    (total,) = ledger.sums(by=())
    assert (total.attempts, total.output_tokens, round(total.cost_usd, 6)) == (1_000, 1_000, 10.0)
    ledger.close()
    assert not list((tmp_path / "spool").glob("*.rows"))
    assert Ledger(place).sums(by=())[0].attempts == 1_000


def test_a_segment_that_was_written_and_not_deleted_is_not_written_twice(tmp_path: Path):
    """The kill came between the two."""
    killed(f"sqlite:{tmp_path}/usage.db", tmp_path / "spool", write_s=60, rows=3, name="a")
    kept = {path: path.read_bytes() for path in (tmp_path / "spool").iterdir()}
    for _ in range(2):
        for path, content in kept.items():
            path.write_bytes(content)
        ledger = Ledger(f"sqlite:{tmp_path}/usage.db", spool=tmp_path / "spool")
        assert ledger.sums(by=())[0].attempts == 3
        ledger.close()


def test_the_segments_of_a_process_that_lives_are_its_own(tmp_path: Path):
    one = Spool(tmp_path)
    one.append(segment := one.next(), ("x",) * 15)
    assert list(Spool(tmp_path).left_behind()) == []
    one.close()
    assert [(name, len(rows)) for name, rows in Spool(tmp_path).left_behind()] == [(segment, 1)]


def test_a_full_disk_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """It is said once, and the rows go on in memory."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    one = Spool(tmp_path)
    segment = one.next()
    monkeypatch.setattr(spools.os, "write", full)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            one.append(segment, ("x",) * 15)
    assert len(caplog.records) == 1
    assert "wait in memory" in caplog.text
    monkeypatch.undo()
    one.append(segment, ("y",) * 15)
    one.close()
    assert [len(rows) for _, rows in Spool(tmp_path).left_behind()] == [1]


def test_locks_of_those_who_left_nothing_are_deleted(tmp_path: Path):
    """Else the folder would grow with each start."""
    one = Spool(tmp_path)
    one.append(one.next(), ("x",) * 15)
    one.close()
    Spool(tmp_path).close()
    found = Spool(tmp_path)
    assert [len(rows) for _, rows in found.left_behind()] == [1]
    assert len(list(tmp_path.glob("*.lock"))) == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="spool of the ledger"):
        Spool(tmp_path / "file")


def test_what_was_written_is_known_for_days_and_then_forgotten(tmp_path: Path):
    """By an index: each write looks, and there are two a second."""
    rows = SqliteRows(tmp_path / "usage.db")
    rows.prepare()
    rows.write([], "new")
    with closing(sqlite3.connect(rows.path)) as database:
        database.execute("INSERT INTO usage_batch VALUES ('old', 1.0)")
        database.commit()
        plan = database.execute(f"EXPLAIN QUERY PLAN {FORGET}", (1.0,)).fetchone()[3]
        assert "usage_batch_at" in plan
    rows.write([], "newer")
    with closing(sqlite3.connect(rows.path)) as database:
        assert {name for (name,) in database.execute("SELECT id FROM usage_batch")} == {"new", "newer"}
