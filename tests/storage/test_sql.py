"""Tables of ours in SQLite and Postgres: transactions shared by what comes together, versions, and databases that are away."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from surefoot import runtime
from surefoot.errors import Misconfigured
from surefoot.storage.sql import DatabaseAway, TableSchema, is_database_url, open_blocking, open_database
from surefoot.storage.sql.migrations import read_migrations
from tests.loops import own_home  # noqa: F401 - autouse
from tests.postgres import fresh_url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database."""
    return f"sqlite:{tmp_path / 'deep' / 'a.db'}" if request.param == "sqlite" else fresh_url()


@pytest.fixture
def schema(tmp_path, monkeypatch):
    """A package with migrations of its own; `add` writes another."""
    package = tmp_path / "lib" / f"tables_{os.getpid()}_{abs(hash(tmp_path.name)) % 10**8}"
    (package / "migrations").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "lib")
    add(package, "0001_first.sql", "CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT); -- a comment; of two\nCREATE TABLE u (x INTEGER)")
    yield TableSchema("test", package.name), package
    sys.modules.pop(package.name, None)
    read_migrations.cache_clear()


def add(package: Path, name: str, text: str) -> None:
    (package / "migrations" / name).write_text(text)
    read_migrations.cache_clear()


def insert(number, word="x"):
    return lambda sql: sql.change("INSERT INTO t (id, word) VALUES (?, ?)", (number, word))


def rows(sql):
    return sql.rows("SELECT id, word FROM t ORDER BY id")


def test_what_comes_together_is_one_transaction_and_one_failure_costs_no_other(url, schema):
    """Each hears of its own end."""
    said, _ = schema

    async def go():
        database = open_database(url)
        await database.run(insert(5, "there"), said)
        told = await asyncio.gather(*(database.run(insert(number), said) for number in range(10)), return_exceptions=True)
        found = await database.run(rows, said, reads=True)
        await database.aclose()
        again = await database.run(rows, said, reads=True)
        await database.aclose()
        return told, found, again

    told, found, again = runtime.run(go())
    assert [type(one) for one in told if one != 1] == [
        sqlite3.IntegrityError if url.startswith("sqlite") else psycopg.errors.UniqueViolation
    ]
    assert found == again == [(number, "there" if number == 5 else "x") for number in range(10)]


def test_tables_of_an_older_version_are_brought_up_while_others_use_them(url, schema):
    """By whoever comes first; the others, who know the old version, go on."""
    said, package = schema

    async def go():
        old = open_database(url)
        await old.run(insert(1), said)
        dialect = "postgresql" if old.dialect == "sqlite" else "sqlite"
        add(package, f"0002_more.{old.dialect}.sql", "ALTER TABLE t ADD COLUMN more INTEGER NOT NULL DEFAULT 7")
        add(package, f"0002_more.{dialect}.sql", "this is not for us")
        new = [open_database(url) for _ in range(4)]
        await asyncio.gather(*(one.run(insert(number), said) for number, one in enumerate([old, *new], 2)))
        found = await new[0].run(lambda sql: sql.rows("SELECT id, more FROM t ORDER BY id"), said)
        version = await old.run(lambda sql: sql.row("SELECT version FROM sf_meta WHERE part = 'test'"), said)
        for one in (old, *new):
            await one.aclose()
        return found, version

    found, version = runtime.run(go())
    assert found == [(number, 7) for number in range(1, 7)]
    assert version == (2,)


def test_tables_of_a_newer_version_are_left_alone(url, schema):
    """With what to do."""
    said, package = schema
    add(package, "0002_more.sql", "CREATE TABLE v (x INTEGER)")

    async def go(expect):
        database = open_database(url)
        try:
            return await database.run(expect, said)
        finally:
            await database.aclose()

    runtime.run(go(insert(1)))
    (package / "migrations" / "0002_more.sql").unlink()
    read_migrations.cache_clear()
    with pytest.raises(Misconfigured, match=r"have version 2, written by a newer surefoot; this knows 1|this one knows 1|knows 1"):
        runtime.run(go(rows))


def test_a_migration_that_fails_changes_nothing(url, schema):
    """All or nothing, and the next start tries again."""
    said, package = schema
    add(package, "0002_more.sql", "CREATE TABLE v (x INTEGER); CREATE TABLE v (x INTEGER)")

    async def go():
        database = open_database(url)
        try:
            return await database.run(rows, said)
        finally:
            await database.aclose()

    with pytest.raises(Exception, match="v"):
        runtime.run(go())
    add(package, "0002_more.sql", "CREATE TABLE v (x INTEGER)")
    assert runtime.run(go()) == []


def test_a_locked_file_is_away_and_nothing_was_changed(tmp_path, schema, monkeypatch):
    """It passes: the caller may ask again. Reading goes on meanwhile."""
    monkeypatch.setattr("surefoot.storage.sql.sqlite.BUSY_S", 0.05)
    said, _ = schema

    async def go():
        database = open_database(f"sqlite:{tmp_path / 'a.db'}")
        await database.run(insert(1), said)
        lock = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseAway, match="nothing was changed"):
            await database.run(insert(2), said)
        assert await database.run(rows, said, reads=True) == [(1, "x")]
        lock.execute("COMMIT")
        lock.close()
        await database.run(insert(2), said)
        found = await database.run(rows, said, reads=True)
        await database.aclose()
        return found

    assert runtime.run(go()) == [(1, "x"), (2, "x")]


def test_a_server_that_cuts_the_connection_is_asked_again(schema):
    """A restart, or an administrator: away once, and back."""
    url, (said, _) = fresh_url(), schema

    async def go():
        database = open_database(url)
        (pid,) = await database.run(lambda sql: sql.row("SELECT pg_backend_pid()"), said)
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(DatabaseAway):
            await database.run(insert(1), said)
        await database.run(insert(2), said)
        now = await database.run(lambda sql: sql.now(), said)
        await database.aclose()
        return now

    assert runtime.run(go()) > 1.7e9


WRONG = {
    "sqlite:": "names no database",
    "sqlite:  ": "names no database",
    "redis://x": "names no database",
    "postgresql://h:port/x": "cannot be read",
}


@pytest.mark.parametrize("address", WRONG)
def test_addresses_that_cannot_be_read_are_told_without_a_password(address):
    """Before anything is opened."""
    with pytest.raises(Misconfigured, match=WRONG[address]):
        open_database(address)


def test_who_has_no_rights_is_told_and_not_asked_again_for_ever(tmp_path, schema):
    """No database of that name, another program's file: the user's to mend."""
    said, _ = schema
    url = fresh_url().partition("?")[0]

    async def go(address):
        database = open_database(address)
        try:
            await database.run(rows, said)
        finally:
            await database.aclose()

    server = fresh_url()
    with pytest.raises(Misconfigured, match="nowhere"):
        runtime.run(go(server.replace("/postgres?", "/nowhere?", 1)))
    assert is_database_url(url)
    foreign = sqlite3.connect(tmp_path / "b.db")
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    with pytest.raises(Misconfigured, match="another program's"):
        runtime.run(go(f"sqlite:{tmp_path / 'b.db'}"))


def test_without_the_package_it_says_what_to_install(monkeypatch):
    """An extra, not a traceback."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "surefoot.storage.sql.postgres", raising=False)
    with pytest.raises(Misconfigured, match=r'pip install "surefoot\[postgres\]"'):
        open_database("postgresql://h/x")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_opens_its_own(url, schema):
    """The parent's connection is the parent's."""
    said, _ = schema
    database = open_database(url)

    async def put(number):
        await database.run(insert(number), said)

    runtime.run(put(1))
    pid = os.fork()
    if pid == 0:
        try:
            runtime.run(put(2))
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0

    async def look():
        await database.run(insert(3), said)
        found = await database.run(rows, said)
        await database.aclose()
        return [number for number, _ in found]

    assert runtime.run(look()) == [1, 2, 3]
    assert threading.active_count() < 50


@pytest.mark.parametrize("is_blocking", [False, True])
def test_a_commit_whose_answer_was_lost_is_in_doubt_and_not_sent_again(schema, is_blocking):
    """Cut between the last statement and the commit's answer, nobody knows whether it was written; before that, nothing was."""
    url, (said, _) = fresh_url(), schema
    asked = []

    def cut(sql):
        (pid,) = sql.row("SELECT pg_backend_pid()")
        asked.append(pid)
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    def cut_early(sql):
        cut(sql)
        sql.row("SELECT 1")

    if is_blocking:
        database = open_blocking(url)
        run, close = database.run, database.close
    else:
        database = open_database(url)
        run = lambda *args, **options: runtime.run(database.run(*args, **options))  # noqa: E731
        close = lambda: runtime.run(database.aclose())  # noqa: E731
    for fn, known in ((cut, "is not known"), (cut_early, "nothing was changed")):
        with pytest.raises(DatabaseAway, match=known):
            run(fn, said)
    with pytest.raises(DatabaseAway, match="nothing was changed"):
        run(cut, said, reads=True)
    assert len(asked) == 3  # no connection was kept: none of them was a stale one, to be tried again
    run(insert(1), said)
    if is_blocking:
        with pytest.raises(DatabaseAway, match="nothing was changed"):
            run(cut_early, said)
        assert len(asked) == 5  # the kept one might have been stale: once more
    assert run(rows, said, reads=True) == [(1, "x")]
    close()
