"""Copies of a database: whole whatever goes on meanwhile, restored into either kind, refused where anything is wrong with them."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sqlite3
import stat
import threading
from functools import partial
from pathlib import Path

import pytest

from surefoot import ChatModel, jobs, runtime
from surefoot.backup import back_up, restore
from surefoot.backup.snapshots import snapshot
from surefoot.backup.tables import TABLES
from surefoot.cli.main import main
from surefoot.errors import Misconfigured
from surefoot.gateway.batches.store import FILES
from surefoot.gateway.calls import CALLS
from surefoot.gateway.keys.store import KEYS
from surefoot.history import History
from surefoot.jobs import claims
from surefoot.jobs.ledger import JOBS
from surefoot.jobs.records import ItemRow
from surefoot.rules.spending import Claim
from surefoot.secret import Secret
from surefoot.storage.sql import open_database
from surefoot.testing import Scripted
from surefoot.types import Message
from surefoot.usage.accounts.sql import SqlSpendStore
from surefoot.usage.rows.postgres import PostgresRows
from surefoot.usage.rows.sqlite import SqliteRows
from tests.loops import own_home  # noqa: F401 - autouse
from tests.postgres import fresh_url

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("sqlite", "postgresql")
ROW = (1.5, "2026-11-30", "c\x00all", "chat", "openai:m", "t", '{"a": "\\u0000"}', "", 1, 2, 0, 0, 0, None, 0.25)


def address(kind, folder, name):
    return f"sqlite:{folder / name}.db" if kind == "sqlite" else fresh_url()


def place(url):
    return url.removeprefix("sqlite:")


def ledger(url):
    return SqliteRows(Path(place(url))) if url.startswith("sqlite:") else PostgresRows(Secret(url))


def content(url):
    """Every row of every table that has any, in no order."""
    with snapshot(url) as found:
        tables = {name: (columns, list(rows)) for name, columns, rows in found.tables() if name != "sf_usage_batch"}
    return {name: sorted(repr(dict(zip(columns, row, strict=True))) for row in rows) for name, (columns, rows) in tables.items() if rows}


def fill(url):
    """A job that is done and kept for ever, one that waits, a conversation, a ledger, a spend limit."""
    with jobs.open(url, models=ChatModel(Scripted("fine", ValueError("odd")))) as q:
        q.submit("chat", ["a", "b", "c\u2028ü"], chunk=2, ttl_days=None, tags={"team": "blue"}, key="one")
        q.work_sync()
        q.submit("chat", ["later", "much later"], not_before=4e9)

    async def spend():
        database = open_database(url)
        store = SqlSpendStore(database)
        held = await store.reserve("team", Claim.exactly(500), limit_usd=1.0, force=False)
        store.settle(held, 250e-9)
        await store.aclose()
        await database.run(lambda sql: sql.change("INSERT INTO sf_batch VALUES ('j', 0, 1, 'batch_1', '[0]', 'open', 1.5)"), JOBS)
        await database.run(lambda sql: sql.change("INSERT INTO sf_team VALUES ('blue', '{}', 1.5)"), KEYS)
        key = "INSERT INTO sf_key VALUES ('k1', 'abc', 'sf-12345678', 'one', 'blue', 0, '{}', 1.5, NULL, 2.5, NULL, NULL)"
        await database.run(lambda sql: sql.change(key), KEYS)
        await database.run(lambda sql: sql.change("INSERT INTO sf_setup VALUES ('def', 3.5)"), KEYS)
        content = ("f1", "k1", "in.jsonl", "batch", 4, 1.5, b"\x00{}\n")
        await database.run(lambda sql: sql.change("INSERT INTO sf_file VALUES (?, ?, ?, ?, ?, ?, ?)", content), FILES)
        await database.run(lambda sql: sql.change("INSERT INTO sf_asked_batch VALUES ('b1', 'k1', 'j', '{}', 1.5)"), FILES)
        call = "INSERT INTO sf_call VALUES (1.5, 'r1', 'chat', 'm', 't', 'k1', 'blue', 'ok', 200, '', 9, 0, NULL, 1, 2, 250, 0, '[]')"
        await database.run(lambda sql: sql.change(call), CALLS)
        await database.run(lambda sql: sql.change("INSERT INTO sf_hour VALUES (7, 'call', 'm', 'ok', 3, 1)"), CALLS)
        await database.aclose()

    runtime.run(spend())
    history = History(place(url))
    for n in range(3):
        history.add(f"talk {n % 2}", Message.user(f"said {n}"))
    history.close()
    rows = ledger(url)
    rows.prepare()
    rows.write([ROW, (*ROW[:-2], 0.5, 0.0)], "batch")
    rows.set_aside("why", "what")
    rows.close()


LEFT_OUT = {"sf_worker", "sf_limit", "sf_minute", "sf_session"}  # mean nothing a moment later; who was signed in signs in again


def test_a_table_that_comes_with_a_later_version_is_not_forgotten():
    """Whoever adds one says whether it belongs into a copy."""
    made = [re.findall(r"CREATE TABLE (\w+)", file.read_text()) for file in (ROOT / "src").rglob("migrations/*.sql")]
    assert {name for names in made for name in names} == {one.name for one in TABLES} | LEFT_OUT


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_all_that_is_kept_comes_back_in_either_kind_of_database(source, target, tmp_path, capsys):
    """Sums, errors, orders; and work goes on where it was, in a database that was never there before."""
    here, there, copy = address(source, tmp_path, "here"), address(target, tmp_path, "there"), tmp_path / "one.gz"
    fill(here)
    assert main(["backup", here, "--to", str(copy)]) == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert main(["restore", str(copy), "--to", there]) == 0
    told = capsys.readouterr().out
    assert "sf_result: 3\n" in told
    assert "sf_turn: 3\n" in told
    assert "sf_key: 1\n" in told
    before, after = content(here), content(there)
    if source != target:  # Postgres cannot hold NUL, and does not keep 2.0 and 2 apart from SQLite in the same way
        for found in (before, after):
            found["sf_usage"] = [one.replace("\\x00", "\ufffd").replace("u0000", "ufffd") for one in found["sf_usage"]]
    assert before == after
    assert set(before) == {one.name for one in TABLES} - {"sf_usage_batch"}
    assert History(place(there)).all("talk 0")[-1].text == "said 2"
    (sums,) = ledger(there).sums(("day",), "")
    assert (sums.attempts, sums.unpriced, sums.output_tokens) == (2, 1, 4)
    with jobs.open(there, models=ChatModel(Scripted("on"))) as q:
        same = q.submit("chat", ["other"], key="one")
        assert sorted(type(value).__name__ for _, value in q.results(same)) == ["ChatReply", "SurefootError", "SurefootError"]
        new = q.submit("chat", ["new"])
        q.work_sync(new)
        assert q.status(new).done == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_one_moment_while_everybody_writes(kind, tmp_path):
    """A result and its chunk's counter are written together, so they must be copied together; what was held is open again."""
    url, stop = address(kind, tmp_path, "busy"), threading.Event()
    with jobs.open(url) as q:
        job = q.submit("chat", [f"q{n}" for n in range(4000)], chunk=1000)

        def write():
            database = open_database(url)
            runtime.run(database.run(partial(claims.claim, worker="alive", lease_s=60.0), JOBS))
            for n in range(4000):
                if not stop.is_set():
                    row = ItemRow(job, n // 1000, n, ok=True, body=b"{}", cost_nano=7)
                    runtime.run(database.run(partial(claims.put, outcomes=[row]), JOBS))
            runtime.run(database.aclose())

        writer = threading.Thread(target=write)
        writer.start()
        seen = []
        try:
            for n in range(6):
                there = address(kind, tmp_path, f"there{n}")
                back_up(url, tmp_path / f"{n}.gz")
                counts = restore(tmp_path / f"{n}.gz", there)
                with jobs.open(there) as restored:
                    status = restored.status(job)
                    assert status.done == counts["sf_result"] == sum(1 for _ in restored.results(job))
                    assert status.cost_usd == pytest.approx(7e-9 * status.done)
                seen.append(status.done)
                with snapshot(there) as found:
                    chunks = next(list(rows) for name, _, rows in found.tables() if name == "sf_chunk")
                assert all("run" not in row and "alive" not in row for row in chunks)
        finally:
            stop.set()
            writer.join()
    assert len(set(seen)) > 1  # there was somebody writing


def test_a_database_that_holds_rows_is_kept_unless_it_shall_be_replaced(tmp_path, capsys):
    """A restore into the wrong database must not cost it, nor the other way round."""
    here, copy = f"sqlite:{tmp_path / 'here.db'}", tmp_path / "one.gz"
    fill(here)
    back_up(here, copy)
    for there in (f"sqlite:{tmp_path / 'there.db'}", fresh_url()):
        with jobs.open(there) as q:
            q.submit("chat", ["mine"])
        mine = content(there)
        assert main(["restore", str(copy), "--to", there]) == 1
        assert "--replace" in capsys.readouterr().err
        assert content(there) == mine
        assert main(["restore", str(copy), "--to", there, "--replace"]) == 0
        assert content(there)["sf_job"] == content(here)["sf_job"]
    with pytest.raises(Misconfigured, match="is there already"):
        back_up(here, copy)


def test_a_ledger_of_its_own_takes_a_copy_and_gets_no_other_tables(tmp_path):
    """It was made without jobs; another program's file is refused."""
    here, there = f"sqlite:{tmp_path / 'ledger.db'}", f"sqlite:{tmp_path / 'other.db'}"
    for url in (here, there):
        ledger(url).prepare()
    ledger(here).write([ROW], "one")
    back_up(here, tmp_path / "one.gz")
    restore(tmp_path / "one.gz", there)
    assert content(there) == content(here)
    with sqlite3.connect(tmp_path / "other.db") as file:
        assert {row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} == {
            "usage",
            "usage_sum",
            "usage_batch",
            "set_aside",
        }
    with sqlite3.connect(tmp_path / "foreign.db") as file:
        file.execute("CREATE TABLE theirs (a)")
    with pytest.raises(Misconfigured, match="another program"):
        restore(tmp_path / "one.gz", f"sqlite:{tmp_path / 'foreign.db'}")
    with pytest.raises(Misconfigured, match="no table of surefoot's"):
        back_up(f"sqlite:{tmp_path / 'foreign.db'}", tmp_path / "two.gz")
    with pytest.raises(Misconfigured, match="there is no file"):
        back_up(f"sqlite:{tmp_path / 'nowhere.db'}", tmp_path / "two.gz")
    assert not (tmp_path / "two.gz").exists()
    assert not (tmp_path / "nowhere.db").exists()


def newer(lines):
    """The lines of a copy whose tables are of a later version, with a checksum that fits."""
    head = json.loads(lines[0])
    head["versions"]["jobs"] = 99
    rest = [json.dumps(head).encode() + b"\n", *lines[1:-1]]
    return [*rest, json.dumps(json.loads(lines[-1]) | {"sha256": hashlib.sha256(b"".join(rest)).hexdigest()}).encode() + b"\n"]


LINES = {
    "a row changed": lambda lines: [line.replace(b"blue", b"grey") for line in lines],
    "a row gone": lambda lines: [line for line in lines if b'"open"' not in line],
    "the end gone": lambda lines: lines[:-1],
    "more after the end": lambda lines: [*lines, b"[1]\n"],
    "another layout": lambda lines: [lines[0].replace(b'"format":1', b'"format":2'), *lines[1:]],
    "a newer schema": newer,
    "no copy": lambda _: [b"text\n"],
}
BYTES = {
    "cut": lambda raw: raw[: len(raw) * 2 // 3],
    "flipped": lambda raw: raw[:200] + bytes([raw[200] ^ 1]) + raw[201:],
    "emptied": lambda _: b"",
}


SAID = {
    "a row changed": "checksum", "a row gone": "checksum", "the end gone": "it was cut", "more after the end": "after its end",
    "another layout": "layout 2", "a newer schema": "newer surefoot", "no copy": "no copy", "cut": "is cut", "flipped": "cut, altered",
    "emptied": "cut, altered", "missing": "no file",
}  # fmt: skip


@pytest.mark.parametrize("how", SAID)
def test_a_copy_that_was_cut_or_altered_is_refused_before_anything_is_written(how, tmp_path):
    """Not even the database is made."""
    here, copy, there = f"sqlite:{tmp_path / 'here.db'}", tmp_path / "one.gz", tmp_path / "there.db"
    fill(here)
    back_up(here, copy)
    raw = copy.read_bytes()
    copy.unlink()
    if how in BYTES:
        copy.write_bytes(BYTES[how](raw))
    elif how in LINES:
        copy.write_bytes(gzip.compress(b"".join(LINES[how](gzip.decompress(raw).splitlines(keepends=True)))))
    with pytest.raises(Misconfigured, match=SAID[how]):
        restore(copy, f"sqlite:{there}")
    assert not there.exists()
