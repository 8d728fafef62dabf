"""The ledger's rows in Postgres, written by the processes of many machines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import psycopg

from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.storage.sql import DatabaseAway, Sql, open_blocking
from surefoot.usage.rows import BATCHES_S, COLUMNS, SET_ASIDE, SET_ASIDE_CHARS, USAGE, Cells, UsageRow
from surefoot.usage.rows.rollups import Rollup, RollupsWanted, rollup_of, rollup_query, rollups, upsert
from surefoot.usage.rows.sums import sum_query

logger = logging.getLogger("surefoot.usage.ledger")

T = TypeVar("T")

INSERT = f"INSERT INTO sf_usage VALUES ({','.join('?' * len(COLUMNS))})"  # noqa: S608 - question marks
NUL = "\x00"  # in no text of Postgres, as itself or escaped in JSON
_TEXTS = [number for number, name in enumerate(COLUMNS) if name in {"call", "kind", "target", "tenant", "tags", "error"}]


class PostgresRows:
    """The tables `sf_usage` in the database that `url` names."""

    def __init__(self, url: Secret) -> None:
        self._database = open_blocking(url)

    def describe(self) -> str:
        """Server and database."""
        return f"in {self._database.describe()}"

    def prepare(self) -> None:
        """Make the tables; a server that is away may come back, and they are made with the first rows."""
        try:
            self._database.run(lambda sql: sql.rows("SELECT 1 FROM sf_usage LIMIT 1"), USAGE, reads=True)
        except DatabaseAway as away:
            logger.warning("%s; rows wait in memory", away)

    def write(self, rows: Sequence[Cells], batch: str) -> None:
        """In one transaction, unless `batch` was written before; if a row is refused, each under a savepoint of its own."""
        held = [_holdable(row) for row in rows]
        try:
            self._run(partial(_insert, rows=held, batch=batch))
        except Exception as fault:
            if not _is_row_fault(fault):
                raise
            poison: list[tuple[str, Exception]] = []
            self._run(partial(_insert_each, rows=held, batch=batch, poison=poison))
            if poison:
                more = f" and {len(poison) - 1} more" if len(poison) > 1 else ""
                logger.warning("the ledger %s cannot hold a row of call %s (%s)%s: set aside", self.describe(), *poison[0], more)

    def set_aside(self, why: str, said: str) -> None:
        """A row of the table `sf_usage_set_aside`."""
        self._run(lambda sql: _set_aside(sql, sql.now(), why, said))

    def sums(self, by: Sequence[str], since_day: str) -> list[UsageRow]:
        """Sums by group."""
        query = sum_query(by, since_day, table="sf_usage", dialect="postgresql")
        return query.rows(self._run(lambda sql: sql.rows(query.statement, query.values), reads=True))

    def rollups(self, wanted: Sequence[RollupsWanted]) -> list[Rollup]:
        """Sums that were written with the rows."""
        statement, values = rollup_query(wanted, "sf_usage_sum")
        return [rollup_of(row) for row in self._run(lambda sql: sql.rows(statement, values), reads=True)]

    def count_set_aside(self) -> int:
        """Rows that are in no sum."""
        (found,) = self._run(lambda sql: sql.rows("SELECT count(*) FROM sf_usage_set_aside"), reads=True)
        return int(found[0])

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _run(self, fn: Callable[[Sql], T], *, reads: bool = False) -> T:
        try:
            return self._database.run(fn, USAGE, reads=reads)
        except DatabaseAway as away:
            raise Misconfigured(f"the ledger cannot be used: {away}") from (away.__cause__ or away)


def _insert(sql: Sql, *, rows: Sequence[Cells], batch: str) -> None:
    if _is_new(sql, batch):
        sql.change_many(INSERT, rows)
        sql.change_many(upsert("sf_usage_sum"), rollups(rows))


def _insert_each(sql: Sql, *, rows: Sequence[Cells], batch: str, poison: list[tuple[str, Exception]]) -> None:
    poison.clear()
    if not _is_new(sql, batch):
        return
    held = []
    for row in rows:
        sql.change("SAVEPOINT one")
        try:
            sql.change(INSERT, row)
            held.append(row)
        except Exception as fault:
            if not _is_row_fault(fault):
                raise
            sql.change("ROLLBACK TO SAVEPOINT one")
            _set_aside(sql, row[0], ascii(fault), ascii(row))
            poison.append((row[2], fault))
        sql.change("RELEASE SAVEPOINT one")
    sql.change_many(upsert("sf_usage_sum"), rollups(held))


def _is_new(sql: Sql, batch: str) -> bool:
    """Note the batch; False if it is there already: the answer to its commit was lost."""
    now = sql.now()
    sql.change("DELETE FROM sf_usage_batch WHERE at < ?", (now - BATCHES_S,))
    return sql.change("INSERT INTO sf_usage_batch (id, at) VALUES (?, ?) ON CONFLICT DO NOTHING", (batch, now)) == 1


def _holdable(row: Cells) -> Cells:
    """The row without the character that no text of Postgres holds."""
    if any(NUL in row[number] or "\\u0000" in row[number] for number in _TEXTS):
        cells = list(row)
        for number in _TEXTS:
            cells[number] = row[number].replace(NUL, "\ufffd").replace("\\u0000", "\\ufffd")
        return tuple(cells)
    return row


def _is_row_fault(fault: Exception) -> bool:
    """Whether it was said of a row, or by what was to send it, and not of the tables."""
    if isinstance(fault, psycopg.ProgrammingError):
        return fault.sqlstate is None  # a value of a kind that cannot be sent
    return isinstance(fault, psycopg.DataError | psycopg.IntegrityError | OverflowError | TypeError | UnicodeError)


def _set_aside(sql: Sql, at: float, why: str, said: str) -> None:
    sql.change("INSERT INTO sf_usage_set_aside (at, why, said) VALUES (?, ?, ?)", (at, why[:SET_ASIDE_CHARS], said[:SET_ASIDE_CHARS]))
    sql.change("DELETE FROM sf_usage_set_aside WHERE id <= (SELECT max(id) FROM sf_usage_set_aside) - ?", (SET_ASIDE,))
