"""A database as one moment saw it: every table read in the same transaction, which waits for nobody and holds nobody up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from surefoot.backup.tables import TABLES, known_version
from surefoot.errors import Misconfigured, SurefootError
from surefoot.secret import Secret
from surefoot.storage.sql import is_postgres_url, open_blocking

ROWS_AT_ONCE = 500  # asked of Postgres together


class _Reader(Protocol):
    dialect: str

    def names(self) -> set[str]:
        """The tables that are there."""

    def columns(self, name: str) -> list[str]:
        """The columns of a table."""

    def rows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, a few in memory at a time."""


class Snapshot:
    """What is there of our tables."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        there = reader.names()
        self._tables = [one for one in TABLES if one.named(reader.dialect) in there]
        self.versions = {one.part.part: known_version(one.part.part) for one in self._tables}
        """The version of each part's tables."""
        if "sf_meta" in there:
            found = reader.rows("SELECT part, version FROM sf_meta")
            self.versions |= {part: version for part, version in found if part in self.versions}

    def check(self, where: str) -> None:
        """Raise Misconfigured if nothing of ours is there, or what a newer surefoot wrote."""
        if not self._tables:
            raise Misconfigured(f"{where} holds no table of surefoot's: nothing was copied")
        for part, version in self.versions.items():
            if version > known_version(part):
                raise Misconfigured(f"the tables of {part} have version {version}, written by a newer surefoot: upgrade this one")

    def tables(self) -> Iterator[tuple[str, list[str], Iterator[tuple[Any, ...]]]]:
        """(name, columns, rows) of each."""
        for table in self._tables:
            name, order = str(table.named(self._reader.dialect)), table.ordered_by(self._reader.dialect)
            columns = [one for one in self._reader.columns(name) if one != order]
            behind = f" ORDER BY {order}" if order else ""
            yield table.name, columns, self._reader.rows(f"SELECT {', '.join(columns)} FROM {name}{behind}")  # noqa: S608 - our own words


class _SqliteReader:
    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("BEGIN")

    def names(self) -> set[str]:
        return {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def columns(self, name: str) -> list[str]:
        return [row[1] for row in self._connection.execute(f"PRAGMA table_info({name})")]

    def rows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        return self._connection.execute(statement)


class _PostgresReader:
    dialect = "postgresql"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def names(self) -> set[str]:
        names = [one.name for one in TABLES] + ["sf_meta"]
        found = self._connection.execute("SELECT n FROM unnest(%s::text[]) AS n WHERE to_regclass(n) IS NOT NULL", (names,))
        return {row[0] for row in found}

    def columns(self, name: str) -> list[str]:
        return [one.name for one in self._connection.execute(f"SELECT * FROM {name} LIMIT 0").description]  # noqa: S608 - our own words

    def rows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        with self._connection.cursor(name="surefoot_backup") as cursor:  # on the server: a table need not fit into memory
            cursor.itersize = ROWS_AT_ONCE
            cursor.execute(statement.encode())
            yield from cursor


@contextmanager
def snapshot(url: str | Secret) -> Iterator[Snapshot]:
    """The database at `url`, as it is now. Raises Misconfigured where it cannot be read."""
    said = url.reveal() if isinstance(url, Secret) else url
    where = open_blocking(url).describe()
    try:
        with closing(_postgres(said) if is_postgres_url(said) else _sqlite(said)) as connection:
            found = Snapshot(_PostgresReader(connection) if is_postgres_url(said) else _SqliteReader(connection))
            found.check(where)
            yield found
    except (SurefootError, OSError):
        raise
    except Exception as error:  # the drivers'
        raise Misconfigured(f"{where} cannot be read: {error}") from error


def _postgres(url: str) -> Any:
    import psycopg

    connection = psycopg.connect(url, connect_timeout=5)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    return connection


def _sqlite(url: str) -> sqlite3.Connection:
    path = Path(url.removeprefix("sqlite:").removeprefix("//")).expanduser()
    if not path.is_file():
        raise Misconfigured(f"there is no file {path}")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0, isolation_level=None)
