"""The ledger equals the bill."""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import subprocess
import sys
import time
import weakref
from contextlib import closing

import pytest

import surefoot
from surefoot import ChatModel, Policy, Target
from surefoot.cli.main import main
from surefoot.errors import Misconfigured
from surefoot.events import AttemptEnded
from surefoot.testing.wire import OK, OpenAISim, fault
from surefoot.types import AttemptRecord, Usage
from surefoot.usage import ledger as module
from surefoot.usage.ledger import Ledger
from surefoot.usage.rows import COLUMNS, waiting
from surefoot.usage.rows import sqlite as rows_sqlite
from tests.storage.helping import locked


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "usage.db")


def test_the_ledger_equals_the_providers_own_count_to_the_token(ledger):
    """Completed, streamed and retried calls: wherever usage was sent."""
    with OpenAISim() as sim:
        chat = ChatModel(
            Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k"), policy=Policy(backoff_base_s=0.001), ledger=ledger
        )
        sim.script([OK, fault("status_503"), OK, OK])
        with surefoot.scope(tenant="acme", tags={"job": "nightly"}):
            chat.invoke("one")
            chat.invoke("two, after a failure")
        for _ in chat.stream("three, streamed"):
            pass
        total = ledger.sums(by=())[0]
        assert total.input_tokens == sum(one.input_tokens for one in sim.usage_log.values())
        assert total.output_tokens == sum(one.output_tokens for one in sim.usage_log.values())
        assert total.attempts == 3
        assert total.cost_usd > 0
        assert (total.estimated, total.unpriced) == (0, 0)
    assert [row.group for row in ledger.sums(by=("tenant", "tag:job"))] == [("", ""), ("acme", "nightly")]


def test_an_unknown_price_is_an_estimate_that_is_flagged_and_warned_of(ledger, caplog):
    """Never 0: that is how bills nobody saw coming begin. One warning a target."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:no-such-model-9000", base_url=f"{sim.url}/v1", api_key="k"), ledger=ledger)
        for _ in range(3):
            assert chat.invoke("hi").cost_usd is None
    row = ledger.sums(by=())[0]
    assert (row.attempts, row.unpriced, row.estimated) == (3, 3, 0)
    assert row.cost_usd == pytest.approx((5 * row.input_tokens + 20 * row.output_tokens) / 1e6)
    assert len([record for record in caplog.records if "nobody knows what openai:no-such-model-9000 costs" in record.message]) == 1


def test_a_cache_hit_is_a_saving_and_no_attempt(ledger):
    """What was not paid is worth showing."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k"), cache="memory", ledger=ledger)
        chat.invoke("same", temperature=0)
        chat.invoke("same", temperature=0)
    row = ledger.sums(by=("target",))[0]
    assert (row.attempts, row.cache_hits) == (1, 1)
    assert row.saved_usd == pytest.approx(row.cost_usd)


@pytest.mark.parametrize("own", [{}, {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}], ids=["listed", "own prices"])
@pytest.mark.parametrize("said", [{"model": "gpt-4o"}, {"extra": {"model": "gpt-4o"}}], ids=["model", "extra"])
def test_another_model_asked_is_booked_as_that_model(ledger, own, said):
    """In the reply, the trail, the budget and the ledger: ten and more times the price, which used to be the target's own."""
    with OpenAISim() as sim:
        target = Target("openai:gpt-4o-mini", base_url=f"{sim.url}/v1", api_key="k", **own)
        chat = ChatModel(target, cache="memory", policy=Policy(budget_usd=5), ledger=ledger)
        reply = chat.invoke("hi", temperature=0, **said)
        chat.invoke("hi", temperature=0, **said)
        spent = chat._stack.spend_store.spent_usd("all|ever|hard|5.0|")
        (used,) = sim.usage_log.values()
        chat.close()
    usd = (2.5 * used.input_tokens + 10 * used.output_tokens) / 1e6
    assert (reply.cost_usd, reply.trail[0].cost_usd, spent) == (pytest.approx(usd), pytest.approx(usd), pytest.approx(usd))
    assert (reply.trail[0].target, reply.trail[0].model) == ("openai:gpt-4o-mini", "gpt-4o")
    (row,) = ledger.sums(by=("target",))
    assert (row.group, row.attempts, row.cache_hits) == (("openai:gpt-4o",), 1, 1)
    assert (row.cost_usd, row.saved_usd) == (pytest.approx(usd), pytest.approx(usd))


def test_what_was_not_written_is_written_at_exit(tmp_path):
    """A script that asks once and ends has its row."""
    script = (
        "from surefoot import ChatModel, Target\n"
        "from surefoot.testing.wire import OpenAISim\n"
        "with OpenAISim() as sim:\n"
        "    target = Target('openai:gpt-5-mini', base_url=sim.url + '/v1', api_key='k')\n"
        f"    ChatModel(target, ledger={str(tmp_path / 'u.db')!r}).invoke('hi')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert Ledger(tmp_path / "u.db").sums(by=())[0].attempts == 1


def test_usage_is_shown_as_table_csv_and_chart(ledger, capsys):
    """`surefoot usage`."""
    with OpenAISim() as sim:
        ChatModel(Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k"), ledger=ledger).invoke("hi")
    ledger.flush()
    for style, word in (("table", "openai:gpt-5-mini"), ("csv", "target,attempts"), ("chart", "█")):
        assert main(["usage", "--ledger", str(ledger.path), "--by", "target", "--format", style]) == 0
        assert word in capsys.readouterr().out


def test_bad_input_names_what_is_known(ledger, tmp_path, capsys):
    """A typo is not an empty table."""
    with pytest.raises(Misconfigured, match="tag:NAME"):
        ledger.sums(by=("week",))
    with pytest.raises(Misconfigured, match="cannot be opened"):
        Ledger(tmp_path / "deep" / "usage.db" / "below")
    assert main(["usage", "--ledger", str(tmp_path / "none.db")]) == 1
    assert "no ledger" in capsys.readouterr().err


SURROGATE = json.loads('"\\ud800"')  # what a JSON body may hold and no database


def ended(tenant="", tags=(), **usage):
    attempt = AttemptRecord(number=1, target="openai:m", usage=Usage(**usage), cost_usd=0.5)
    return AttemptEnded(call_id="c", at_s=0.0, attempt=attempt, tenant=tenant, tags=tags)


@pytest.mark.parametrize(
    "poison",
    [
        ended(tenant=f"evil{SURROGATE}", input_tokens=1),
        ended(tags=(("session", SURROGATE),), input_tokens=1),
        ended(tags=((SURROGATE, "x"),), input_tokens=1),
        ended(tags=(("n", {1, 2}),), input_tokens=1),  # whoever builds a Call by hand may say anything
    ],
    ids=["tenant", "tag", "tag name", "no text"],
)
def test_text_that_no_database_holds_is_mended_and_costs_no_row(ledger, poison):
    """One tenant's stray character must not cost the others their rows, nor its own tenant the bill."""
    for event in (ended("honest", input_tokens=7), poison, ended("honest", input_tokens=7)):
        ledger(event)
    assert ledger.sums(by=())[0].attempts == 3


@pytest.mark.parametrize("count", [2**63, 10**30, object()], ids=["64 bits", "absurd", "no number"])
def test_a_row_that_cannot_be_held_is_set_aside_and_told(ledger, caplog, capsys, count):
    """A server may count what it likes; the writer goes on, and what it said can still be read."""
    for event in (ended("honest", input_tokens=7), ended("evil", input_tokens=count), ended("honest")):
        ledger(event)
    ledger.flush()
    rows = ledger.sums(by=("tenant",))
    assert [(row.group, row.attempts) for row in rows] == [(("honest",), 2)]
    with closing(sqlite3.connect(ledger.path)) as database:
        ((said,),) = database.execute("SELECT said FROM set_aside").fetchall()
    assert "evil" in said
    assert sum("set aside" in record.message for record in caplog.records) == 1
    assert ledger.count_set_aside() == 1
    assert main(["usage", "--ledger", str(ledger.path)]) == 0
    assert "1 entries" in capsys.readouterr().err


def test_the_writers_thread_outlives_a_poison_row(ledger):
    """It used to end at the first one; what came later stayed in memory until the process ended."""
    ledger(ended("evil", input_tokens=2**63))
    thread = ledger._thread
    ledger.flush()
    ledger(ended("honest"))
    assert ledger._thread is thread
    assert thread.is_alive()


def test_a_file_that_is_no_database_is_told_in_our_words(tmp_path):
    """And left as it is."""
    (tmp_path / "bill.txt").write_text("not a ledger " * 100)
    with pytest.raises(Misconfigured, match=r"bill\.txt.*not a database"):
        Ledger(tmp_path / "bill.txt")
    assert (tmp_path / "bill.txt").read_text() == "not a ledger " * 100


def test_a_ledger_is_readable_by_its_owner_alone(tmp_path):
    """Tenants, tags and money; also where the file is there already, with the files beside it."""
    path = tmp_path / "usage.db"
    umask = os.umask(0o022)
    try:
        with closing(sqlite3.connect(path)) as before:
            before.execute("PRAGMA journal_mode=WAL")
            before.execute("CREATE TABLE other (x)")
            before.commit()
            ledger = Ledger(path)
            ledger(ended("acme"))
            ledger.flush()
            seen = {one.name: one.stat().st_mode & 0o077 for one in tmp_path.iterdir()}
        assert seen == {"usage.db": 0, "usage.db-wal": 0, "usage.db-shm": 0}
        for one in tmp_path.iterdir():
            one.unlink()
        ledger(ended("acme"))  # a file that was taken away is made anew
        assert ledger.sums(by=())[0].attempts == 1
        assert path.stat().st_mode & 0o077 == 0
    finally:
        os.umask(umask)


def until(true, timeout_s=20.0):
    """Wait for what another thread does."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def told(path):
    """What the table of rows set aside says."""
    with closing(sqlite3.connect(path)) as database:
        return [said for (said,) in database.execute("SELECT said FROM set_aside")]


def test_a_locked_file_costs_no_row(ledger, monkeypatch):
    """They wait in memory for as long as the lock is held."""
    monkeypatch.setattr(rows_sqlite, "BUSY_S", 0.02)
    monkeypatch.setattr(ledger, "_start", lambda: None)
    with locked(ledger.path):
        for _ in range(3):
            ledger(ended("acme", input_tokens=1))
            with pytest.raises(Misconfigured, match="locked"):
                ledger.flush()
    assert ledger.sums(by=())[0].attempts == 3


@pytest.mark.parametrize("commits", [1, 3])
def test_a_lock_between_two_commits_repeats_no_row(ledger, monkeypatch, commits):
    """What was committed is not put back; what was not keeps its order."""
    monkeypatch.setattr(waiting, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(ledger, "_start", lambda: None)
    for i in range(50):
        ledger(ended(f"t{i}", input_tokens=1))
    write, done = rows_sqlite.write, []

    def failing(database, rows, path, **said):
        if len(done) == commits:
            raise sqlite3.OperationalError("database or disk is full")
        done.append(rows)
        write(database, rows, path, **said)

    monkeypatch.setattr(rows_sqlite, "write", failing)
    with pytest.raises(Misconfigured, match="disk is full"):
        ledger.flush()
    monkeypatch.setattr(rows_sqlite, "write", write)
    ledger.flush()
    with closing(sqlite3.connect(ledger.path)) as database:
        assert [tenant for (tenant,) in database.execute("SELECT tenant FROM usage ORDER BY rowid")] == [f"t{i}" for i in range(50)]


FULL_DISK = """
import resource, sqlite3, sys
from surefoot.errors import Misconfigured
from surefoot.events import AttemptEnded
from surefoot.usage.ledger import Ledger
from surefoot.types import AttemptRecord, Usage

ledger = Ledger(sys.argv[1])
ledger._start = lambda: None
event = AttemptEnded(call_id="c", at_s=0.0, attempt=AttemptRecord(number=1, target="openai:m", usage=Usage(input_tokens=1), cost_usd=0.5))
ledger(event)
ledger.flush()
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
refused = 0
for _ in range(100):
    ledger(event)
    try:
        ledger.flush()
    except Misconfigured:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
print(refused, ledger.sums(by=())[0].attempts)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files is POSIX")
def test_a_disk_that_takes_no_more_costs_no_row(tmp_path):
    """Its size is limited by the system here; a full disk answers the same way."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "u.db")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["100", "101"], done.stderr


def test_rows_that_wait_are_bounded_and_those_beyond_are_told(ledger, monkeypatch, caplog):
    """A disk that is full for days must not take the memory too; what is lost is counted, with its money."""
    monkeypatch.setattr(waiting, "MAX_WAITING_BYTES", 100 * 600)
    monkeypatch.setattr(ledger, "_start", lambda: None)
    for _ in range(1000):
        ledger(ended("acme", input_tokens=1))
    kept = len(ledger._waiting)
    assert 50 < kept <= 120
    assert ledger.sums(by=())[0].attempts == kept
    assert told(ledger.path) == [f"{1000 - kept} rows of ${(1000 - kept) / 2:.6f} found no room in memory and are in no sum"]
    assert sum("found no room" in record.message for record in caplog.records) == 1
    ledger(ended("acme", input_tokens=1))  # there is room again
    assert ledger.sums(by=())[0].attempts == kept + 1
    assert len(told(ledger.path)) == 1


def test_what_was_lost_is_told_with_the_money_that_is_known(monkeypatch):
    """An attempt without a price is a row, and no dollar; once told, it is counted anew."""
    monkeypatch.setattr(waiting, "MAX_WAITING_BYTES", 0)
    rows = waiting.WaitingRows()
    for cost_usd in (0.25, None, None):
        rows.add(tuple(cost_usd if name == "cost_usd" else "" for name in COLUMNS))
    assert rows.lost() == "3 rows of $0.250000 found no room in memory and are in no sum"
    rows.lost_was_told()
    assert (rows.lost(), len(rows)) == ("", 0)


def test_a_single_huge_row_takes_the_room_of_many(ledger, monkeypatch):
    """Rows are bounded by their bytes: a tag may hold a whole document."""
    monkeypatch.setattr(waiting, "MAX_WAITING_BYTES", 2**20)
    monkeypatch.setattr(ledger, "_start", lambda: None)
    for _ in range(100):
        ledger(ended(tags=(("document", "x" * 100_000),), input_tokens=1))
    assert len(ledger._waiting) == 10


def test_rows_set_aside_are_bounded_on_disk(ledger, monkeypatch, caplog):
    """A server that sends nothing but absurd counts must not fill the disk, nor the log."""
    monkeypatch.setattr(rows_sqlite, "SET_ASIDE", 10)
    monkeypatch.setattr(ledger, "_start", lambda: None)
    for i in range(40):
        ledger(ended(f"{i}" * 5000, input_tokens=2**70))
    ledger.flush()
    said = told(ledger.path)
    assert len(said) == 10
    assert max(map(len, said)) <= rows_sqlite.SET_ASIDE_CHARS
    assert [record.message.split(")")[-1] for record in caplog.records] == [" and 39 more: set aside in table set_aside"]


def test_an_outage_is_told_once_and_then_rarely(tmp_path, monkeypatch, caplog):
    """The writer tries twice a second for as long as it lasts; the log would be full before the disk is."""
    monkeypatch.setattr(module, "WRITE_S", 0.01)
    ledger = Ledger(tmp_path / "u.db")
    tries = []
    flush = ledger.flush
    monkeypatch.setattr(ledger, "flush", lambda: (tries.append(1), flush()))
    for one in tmp_path.iterdir():
        one.unlink()
    ledger.path.mkdir()
    ledger(ended("acme", input_tokens=1))
    until(lambda: len(tries) > 20)
    ledger.path.rmdir()
    until(lambda: not ledger._waiting)
    assert ledger.sums(by=())[0].attempts == 1
    (line,) = [record.message for record in caplog.records]
    assert "1 rows wait in memory" in line


def test_a_lock_while_a_model_is_built_passes(tmp_path, monkeypatch):
    """Somebody reading the bill with an SQLite tool is no mistake in our settings."""
    monkeypatch.setattr(rows_sqlite, "BUSY_S", 0.05)
    Ledger(tmp_path / "u.db")
    with closing(sqlite3.connect(tmp_path / "u.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        ledger = Ledger(tmp_path / "u.db")
        ledger(ended("acme", input_tokens=1))
        other.execute("ROLLBACK")
    assert ledger.sums(by=())[0].attempts == 1


@pytest.mark.parametrize("table", ["usage (day, x)", "usage (at, day, usd)"])
def test_a_table_of_another_program_is_no_ledger(tmp_path, table):
    """Told when the model is built; every row would be refused, for ever."""
    with closing(sqlite3.connect(tmp_path / "u.db")) as other:
        other.execute(f"CREATE TABLE {table}")
        other.commit()
    with pytest.raises(Misconfigured, match="usage"):
        Ledger(tmp_path / "u.db")


@pytest.mark.parametrize("path", ["nul\0byte.db", ".", "/proc/none/u.db"])
def test_what_can_be_no_file_is_told_in_our_words(tmp_path, monkeypatch, path):
    """Never a ValueError of Python's, nor an error of sqlite3's."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Misconfigured, match="the ledger"):
        Ledger(path)


def test_the_writers_thread_ends_when_there_is_nothing_to_write(ledger, monkeypatch):
    """A service that builds a model a request has no thread a model; a ledger nobody holds is collected."""
    monkeypatch.setattr(module, "IDLE_S", 0.02)
    monkeypatch.setattr(module, "WRITE_S", 0.01)
    for count in (1, 2):
        ledger(ended("acme", input_tokens=1))
        until(lambda: ledger._thread is None)
        assert ledger.sums(by=())[0].attempts == count
    other = Ledger(ledger.path)
    other(ended("acme"))
    gone = weakref.ref(other)
    until(lambda one=gone: one()._thread is None)
    del other
    until(lambda: gc.collect() is not None and gone() is None)


def test_closing_writes_what_the_thread_has_not_come_to(ledger, monkeypatch):
    """When it returns the rows are in the file, whatever becomes of the thread."""
    monkeypatch.setattr(ledger, "_start", lambda: None)
    ledger(ended("acme", input_tokens=1))
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as database:
        assert database.execute("SELECT count(*) FROM usage").fetchone() == (1,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_writes_no_row_of_its_parents(ledger, monkeypatch):
    """Else every worker of a server that preloads its application would book them once more."""
    monkeypatch.setattr(ledger, "_start", lambda: None)
    ledger(ended("parent", input_tokens=1))
    child = os.fork()
    if child == 0:
        try:
            ledger.flush()
            ledger(ended("child", input_tokens=1))
            ledger.flush()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert [(row.group, row.attempts) for row in ledger.sums(by=("tenant",))] == [(("child",), 1), (("parent",), 1)]
