"""The ledger's rows in an SQLite file, which several processes may share (WAL)."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from surefoot.errors import Misconfigured
from surefoot.storage._sqlite import ROW_FAULTS, create_private, execute_patiently, is_busy, make_private
from surefoot.usage.rows import BATCHES_S, COLUMNS, SET_ASIDE, SET_ASIDE_CHARS, Cells, UsageRow
from surefoot.usage.rows.rollups import SUMS_TABLE, Rollup, RollupsWanted, rollup_of, rollup_query, rollups, upsert
from surefoot.usage.rows.sums import sum_query

logger = logging.getLogger("surefoot.usage.ledger")

BUSY_S = 0.8  # waiting for another process's commit; twice that is less than what the exit callbacks get
LACKS_SUMS = "SELECT NOT EXISTS (SELECT 1 FROM usage_sum) AND EXISTS (SELECT 1 FROM usage)"
FORGET = "DELETE FROM usage_batch WHERE at < ?"
READ_AT_ONCE = 50_000  # rows of a ledger without sums
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS usage (
    at REAL NOT NULL, day TEXT NOT NULL, call TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, tenant TEXT NOT NULL,
    tags TEXT NOT NULL, error TEXT NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cached INTEGER NOT NULL,
    reasoning INTEGER NOT NULL, estimated INTEGER NOT NULL, cost_usd REAL, saved_usd REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS usage_day ON usage (day);
CREATE TABLE IF NOT EXISTS set_aside (at REAL NOT NULL, why TEXT NOT NULL, said TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS usage_batch (id TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS usage_batch_at ON usage_batch (at);
{SUMS_TABLE}
"""


class SqliteRows:
    """The file at `path`, readable by its owner alone; opened for each use, so that it may be moved away or taken."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def describe(self) -> str:
        """The file."""
        return str(self.path)

    def prepare(self) -> None:
        """Make file and tables; a lock passes, and they are made with the first rows."""
        try:
            with self._connection() as database:
                execute_patiently(database, "PRAGMA journal_mode=WAL", BUSY_S)  # once: it is kept in the file
                database.executescript(SCHEMA)
                make_private(self.path)
                found = [row[1] for row in database.execute("PRAGMA table_info(usage)")]
                if tuple(found) == COLUMNS and database.execute(LACKS_SUMS).fetchone()[0]:
                    with database:
                        _sum_up(database)
        except Misconfigured as error:
            if is_busy(error.__cause__):
                return
            raise
        if tuple(found) != COLUMNS:
            raise Misconfigured(f"the ledger {self.path} has a table usage that is no ledger's ({', '.join(found)}); name another file")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            create_private(self.path)
            database = sqlite3.connect(self.path, timeout=BUSY_S)
        except (OSError, ValueError, sqlite3.Error) as error:
            raise Misconfigured(f"the ledger {self.path} cannot be opened: {error}") from error
        try:
            with closing(database):
                yield database
        except sqlite3.Error as error:
            raise Misconfigured(f"the ledger {self.path} cannot be used: {error}") from error

    def write(self, rows: Sequence[Cells], batch: str) -> None:
        """In one transaction, unless `batch` was written before; the file may have been taken away meanwhile."""
        with self._connection() as database:
            database.executescript(SCHEMA)
            write(database, rows, self.path, batch=batch)

    def set_aside(self, why: str, said: str) -> None:
        """A row of the table `set_aside`."""
        with self._connection() as database, database:
            _set_aside(database, time.time(), why, said)  # noqa: TID251 - a bill knows dates

    def sums(self, by: Sequence[str], since_day: str) -> list[UsageRow]:
        """Sums by group."""
        query = sum_query(by, since_day, table="usage", dialect="sqlite")
        with self._connection() as database:
            return query.rows(database.execute(query.statement, query.values).fetchall())

    def rollups(self, wanted: Sequence[RollupsWanted]) -> list[Rollup]:
        """Sums that were written with the rows."""
        statement, values = rollup_query(wanted, "usage_sum")
        with self._connection() as database:
            return [rollup_of(row) for row in database.execute(statement, values)]

    def count_set_aside(self) -> int:
        """Rows that are in no sum."""
        with self._connection() as database:
            database.executescript(SCHEMA)
            return int(database.execute("SELECT count(*) FROM set_aside").fetchone()[0])

    def close(self) -> None:
        """Nothing is open between two uses."""


def write(database: sqlite3.Connection, rows: Sequence[Cells], path: Path, *, batch: str = "") -> None:
    """Insert `rows` and what they add to the sums in one transaction; those that cannot be held go to the table `set_aside`."""
    insert = f"INSERT INTO usage VALUES ({','.join('?' * len(COLUMNS))})"  # noqa: S608 - question marks
    with suppress(*ROW_FAULTS), database:
        _sum_up(database)
        if not _is_new(database, batch):
            return
        database.executemany(insert, rows)
        database.executemany(upsert("usage_sum"), rollups(rows))
        return
    poison, held = [], []
    with database:
        _sum_up(database)
        if not _is_new(database, batch):
            return
        for row in rows:
            try:
                database.execute(insert, row)
                held.append(row)
            except ROW_FAULTS as fault:
                _set_aside(database, row[0], ascii(fault), ascii(row))
                poison.append((row[2], fault))
        database.executemany(upsert("usage_sum"), rollups(held))
    if poison:
        more = f" and {len(poison) - 1} more" if len(poison) > 1 else ""
        logger.warning("the ledger %s cannot hold a row of call %s (%s)%s: set aside in table set_aside", path, *poison[0], more)


def _is_new(database: sqlite3.Connection, batch: str) -> bool:
    """Note the batch; False if it is there already: who wrote it was killed before it could forget it."""
    now = time.time()  # noqa: TID251 - a file is read on other days
    database.execute(FORGET, (now - BATCHES_S,))
    return not batch or database.execute("INSERT OR IGNORE INTO usage_batch VALUES (?, ?)", (batch, now)).rowcount == 1


def _sum_up(database: sqlite3.Connection) -> None:
    """Begin to write; a file with rows and without sums, which an older surefoot wrote or a backup brought, gets them first."""
    database.execute("BEGIN IMMEDIATE")
    if database.execute(LACKS_SUMS).fetchone()[0]:
        rows = database.execute(f"SELECT {', '.join(COLUMNS)} FROM usage")  # noqa: S608 - names of ours
        while some := rows.fetchmany(READ_AT_ONCE):
            database.executemany(upsert("usage_sum"), rollups(some))


def _set_aside(database: sqlite3.Connection, at: float, why: str, said: str) -> None:
    database.execute("INSERT INTO set_aside VALUES (?, ?, ?)", (at, why[:SET_ASIDE_CHARS], said[:SET_ASIDE_CHARS]))
    database.execute("DELETE FROM set_aside WHERE rowid <= (SELECT max(rowid) FROM set_aside) - ?", (SET_ASIDE,))
