"""A cache file that is spoilt, locked, deleted, on a full disk, or full of what has expired."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from surefoot.runtime.clock import wall_s
from surefoot.storage import sqlite as module
from surefoot.storage.sqlite import SQLiteStore
from tests.storage.helping import locked
from tests.storage.test_sqlite import ended_well, in_child, needs_fork, table

ROWS = 60


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.db"


async def kept(path, prefix="k", count=ROWS):
    """A file with rows in it, closed."""
    store = SQLiteStore(path)
    await store.set_many([(f"{prefix}{i}", os.urandom(3000)) for i in range(count)])
    await store.aclose()


def overwrite(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


SPOILS = {
    "head": lambda path: overwrite(path, 0, b"garbage" * 50),
    "zeros": lambda path: overwrite(path, 0, bytes(4096)),
    "middle": lambda path: overwrite(path, 4096, os.urandom(path.stat().st_size - 4096)),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2 - 100),
    "short": lambda path: os.truncate(path, 90),
}


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_spoilt_file_is_set_aside_and_begun_anew(path, caplog, spoil):
    """A power cut or a bad disk costs what was kept, once; the file is there for whoever wants to look at it."""
    await kept(path)
    SPOILS[spoil](path)
    spoilt = path.read_bytes()
    store = SQLiteStore(path)
    with caplog.at_level(logging.WARNING):
        for i in range(ROWS):
            await store.get(f"k{i}")
        await store.set_many([(f"new{i}", b"n" * 3000) for i in range(ROWS)])
        await store.flush()
        assert all([await store.get(f"new{i}") == b"n" * 3000 for i in range(ROWS)])
    await store.aclose()
    aside = path.with_name("cache.db.spoilt")
    assert aside.read_bytes() == spoilt
    assert aside.stat().st_mode & 0o077 == 0
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == ["it is set aside as cache.db.spoilt and begun anew"]
    assert table(path, "PRAGMA integrity_check") == [("ok",)]
    assert table(path, "SELECT count(*) FROM kept_1 WHERE key LIKE 'new%'") == [(ROWS,)]


async def test_a_file_spoilt_while_it_is_used_loses_nothing_that_is_being_written(path):
    """What was handed over goes into the new file."""
    store = SQLiteStore(path)
    await store.set_many([(f"k{i}", os.urandom(3000)) for i in range(ROWS)])
    await store.flush()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    SPOILS["head"](path)
    for i in range(10):
        await store.set(f"new{i}", b"n")
        await store.flush()
    assert [await store.get(f"new{i}") for i in range(10)] == [b"n"] * 10
    await store.aclose()
    assert table(path, "SELECT count(*) FROM kept_1 WHERE key LIKE 'new%'") == [(10,)]


async def test_a_disk_that_spoils_every_file_is_left_alone(path, caplog):
    """Else each write would leave a file aside; only the last one is kept, and not more than one a minute."""
    for _ in range(3):
        await kept(path)
        SPOILS["head"](path)
        store = SQLiteStore(path)
        await store.get("k1")
        await store.aclose()
    assert sorted(one.name for one in path.parent.iterdir()) == ["cache.db", "cache.db.spoilt"]
    await kept(path)
    store = SQLiteStore(path)
    for is_down in (False, True):
        SPOILS["head"](path)
        await store.get("k1")
        assert store.is_down is is_down
        await store.aclose()


@needs_fork
async def test_processes_that_meet_a_spoilt_file_together_set_it_aside_once(path):
    """None of them takes the new file for the spoilt one."""
    await kept(path, count=20)
    SPOILS["middle"](path)
    spoilt = path.read_bytes()

    async def work():
        store = SQLiteStore(path)
        for i in range(20):
            await store.get(f"k{i}")
            await store.set(f"{os.getpid()}:{i}", b"v")
            await store.flush()
        await store.aclose()

    assert ended_well([in_child(work) for _ in range(4)])
    assert path.with_name("cache.db.spoilt").read_bytes() == spoilt
    assert table(path, "PRAGMA integrity_check") == [("ok",)]
    assert table(path, "SELECT count(*) FROM kept_1") == [(80,)]


async def test_a_deleted_file_is_made_anew(path):
    """Somebody emptied the cache by hand: the rows to come do not vanish into a file that nobody sees."""
    store = SQLiteStore(path)
    await store.set("a", b"1")
    await store.flush()
    for one in path.parent.iterdir():
        one.unlink()
    await store.set("b", b"2")
    await store.flush()
    assert await store.get("a") is None
    assert table(path, "SELECT key FROM kept_1") == [("b",)]
    await store.aclose()


async def test_what_is_written_during_a_lock_waits_and_is_found(path, monkeypatch, caplog):
    """Vectors that were paid for must not be paid for again because somebody looks at the file with a tool."""
    monkeypatch.setattr("surefoot.storage._sqlite.connect.__kwdefaults__", {"busy_s": 0.02})
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    await kept(path)
    store = SQLiteStore(path)
    with locked(path), caplog.at_level(logging.WARNING):
        for i in range(20):
            await store.set(f"new{i}", b"n")
            await store.flush()
            await asyncio.sleep(0.03)
        assert [await store.get(f"new{i}") for i in range(20)] == [b"n"] * 20
    assert [record.levelname for record in caplog.records if "cannot be used" in record.message] == ["WARNING"]
    assert "waits in memory" in caplog.text
    async with asyncio.timeout(20):
        while store._pending or store._writing:
            await asyncio.sleep(0.01)
    await store.aclose()
    assert table(path, "SELECT count(*) FROM kept_1 WHERE key LIKE 'new%'") == [(20,)]


async def test_what_waits_is_bounded(path, monkeypatch):
    """A lock that is never released takes no more memory than PENDING_BYTES, whatever the keys and however small the values."""
    monkeypatch.setattr("surefoot.storage._sqlite.connect.__kwdefaults__", {"busy_s": 0.02})
    monkeypatch.setattr(module, "PENDING_BYTES", 100_000)
    await kept(path)
    store = SQLiteStore(path)
    with locked(path):
        for i in range(2000):
            await store.set(f"new{i}", b"n")
            await store.delete(f"old{i}")
            if i % 500 == 0:
                await store.flush()
        assert 100 < len(store._pending) < 100_000 / module.ROW_BYTES + 2
    await store.aclose()


FULL_DISK = """
import asyncio, resource, sys
from surefoot.storage.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.set("first", b"1")
    await store.flush()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
    for i in range(50):
        await store.set(f"k{i}", b"v" * 3000)
        await store.flush()
    found = [await store.get(f"k{i}") for i in range(50)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    async with asyncio.timeout(20):
        while store._pending or store._writing:
            await asyncio.sleep(0.05)
    await store.aclose()
    print(found.count(b"v" * 3000))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files is POSIX")
def test_a_full_disk_costs_no_row_that_memory_holds(path):
    """Its size is limited by the system here; a full disk answers the same way."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["50"], done.stderr
    assert done.stderr.count("cannot be used") == 1
    assert table(path, "SELECT count(*) FROM kept_1") == [(51,)]


@pytest.mark.parametrize("poison", [("\ud800", b"x"), ("key", {"no": "bytes"})], ids=["surrogate", "a dict"])
async def test_a_row_that_cannot_be_held_costs_no_other_row(path, caplog, poison):
    """It used to cost all that was handed over with it, and a second without a cache."""
    store = SQLiteStore(path)
    rows = [(f"k{i}", b"v") for i in range(10)]
    with caplog.at_level(logging.WARNING):
        key, value = poison
        store._hand_over([(key, (value, float("inf"))) if i == 5 else (k, (v, float("inf"))) for i, (k, v) in enumerate(rows)])
        await store.flush()
    assert not store.is_down
    await store.aclose()
    assert table(path, "SELECT count(*) FROM kept_1") == [(9,)]
    assert "cannot hold 1 rows" in caplog.text


async def test_expired_rows_are_deleted_and_space_is_given_back(path):
    """Answers that nobody may be served any more do not stay on the disk until a gigabyte is full."""
    seconds = [wall_s()]
    store = SQLiteStore(path, clock=lambda: seconds[0])
    await store.set_many([(f"short{i}", os.urandom(8000)) for i in range(2000)], ttl_s=10)
    await store.set_many([(f"long{i}", b"l") for i in range(10)])
    await store.flush()
    seconds[0] += 20
    await store.set("one more", b"1")
    await store.flush()
    assert table(path, "SELECT count(*) FROM kept_1") == [(11,)]
    await store.aclose()
    assert path.stat().st_size < 3 * 2**20
    assert table(path, "PRAGMA integrity_check") == [("ok",)]


async def test_expired_rows_leave_where_nobody_writes_any_more(path):
    """Prompts with a time to live are gone from the disk when it is over, whether or not the next call comes."""
    store = SQLiteStore(path)
    await store.set("a", b"1", ttl_s=1.5)
    await store.set("b", b"2")
    await store.flush()
    async with asyncio.timeout(20):
        while table(path, "SELECT key FROM kept_1") != [("b",)]:
            await asyncio.sleep(0.05)
    await store.aclose()


async def test_rows_of_a_process_that_has_gone_leave_too(path, monkeypatch):
    """Whoever still has the file open looks from time to time."""
    monkeypatch.setattr(module, "SWEEP_S", 0.02)
    seconds = [1000.0]
    store = SQLiteStore(path, clock=lambda: seconds[0])
    await store.set("a", b"1", ttl_s=10)
    await store.set("b", b"2")
    await store.flush()
    seconds[0] += 11
    async with asyncio.timeout(20):
        while table(path, "SELECT key FROM kept_1") != [("b",)]:
            await asyncio.sleep(0.01)
    await store.aclose()


async def test_a_bound_that_was_lowered_gives_space_back(path):
    """The file shrinks with the bound."""
    store = SQLiteStore(path, max_bytes=32 * 2**20)
    await store.set_many([(f"k{i}", os.urandom(8000)) for i in range(2000)])
    await store.aclose()
    assert path.stat().st_size > 14 * 2**20
    store = SQLiteStore(path, max_bytes=2 * 2**20)
    await store.set("new", b"n")
    await store.aclose()
    assert path.stat().st_size < 4 * 2**20


async def test_a_file_of_an_older_version_goes_on(path):
    """It has no index by expiry and cannot shrink; its free pages are used again."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute(f"PRAGMA application_id = {module.APPLICATION_ID}")
        other.execute(
            "CREATE TABLE kept_1 (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, "
            "expires_s REAL NOT NULL, used_s INTEGER NOT NULL)"
        )
        other.execute("CREATE INDEX kept_1_used ON kept_1 (used_s)")
        other.executemany(
            "INSERT INTO kept_1 (key, value, expires_s, used_s) VALUES (?, ?, 10, 1)", [(f"k{i}", b"x" * 8000) for i in range(500)]
        )
        other.execute("INSERT INTO kept_1 (key, value, expires_s, used_s) VALUES ('kept', x'31', 9e999, 1)")
        other.commit()
    store = SQLiteStore(path)
    assert await store.get("kept") == b"1"
    await store.set("new", b"n")
    await store.aclose()
    assert table(path, "SELECT key FROM kept_1 ORDER BY key") == [("kept",), ("new",)]
