"""A database for code that may block: one connection, used by one thread at a time, opened at the first use and again after it broke."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from surefoot.storage._sqlite import AtWork
from surefoot.storage.sql.database import DatabaseAway
from surefoot.storage.sql.migrations import TableSchema, migrate
from surefoot.storage.sql.protocols import DatabaseConnector, Sql, SqlConnection

T = TypeVar("T")

_left_behind: list[Any] = []  # a parent process's connections: closed here, they would say goodbye in its name


class BlockingDatabase:
    """`database.run(fn, schema)`: what `fn` gives, called in a transaction of its own, on the caller's thread."""

    def __init__(self, connector: DatabaseConnector) -> None:
        self._connector = connector
        self._busy = AtWork()
        self._process = os.getpid()
        self._connection: SqlConnection | None = None

    def describe(self) -> str:
        """One phrase for people, without user or password."""
        return self._connector.describe()

    def run(self, fn: Callable[[Sql], T], schema: TableSchema, *, reads: bool = False) -> T:
        """What `fn` gives, once the tables of `schema` are there. `reads`: it changes nothing.

        A kept connection that turns out to be cut is replaced and `fn` called once more, unless the commit was already sent. Raises what
        `fn` raises, DatabaseAway while the database cannot be reached, Misconfigured for one that is not for us.
        """
        with self._busy:
            if self._process != os.getpid():
                _left_behind.append(self._connection)
                self._connection, self._process = None, os.getpid()
            kept = self._connection is not None
            while True:
                try:
                    return self._transact(fn, schema, reads=reads)
                except _CutBeforeCommit as cut:
                    if not kept:
                        raise self._away(cut.error) from cut.error
                    kept = False

    def _transact(self, fn: Callable[[Sql], T], schema: TableSchema, *, reads: bool) -> T:
        is_sent = False
        try:
            if self._connection is None:
                self._connection = self._connector.connect()
            if schema.part not in self._connection.schemas:
                migrate(self._connection, schema)
            self._connection.begin(reads=reads)
            value = fn(self._connection)
            is_sent = True
            self._connection.commit()
        except BaseException as error:
            if not isinstance(error, Exception) or not self._connector.is_away(error):
                if self._connection is not None:
                    self._connection.rollback()
                if not isinstance(error, Exception) or (told := self._connector.explained(error)) is error:
                    raise
                raise told from error
            self._drop()
            if is_sent and not reads:
                raise self._away(error, "whether it took what was sent last is not known") from error
            raise _CutBeforeCommit(error) from error
        return value

    def _away(self, error: Exception, known: str = "nothing was changed") -> DatabaseAway:
        return DatabaseAway(f"{self.describe()} cannot be used now ({type(error).__name__}: {error}); {known}", retry_after_s=1.0)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it may be broken already
                connection.close()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._busy:
            if self._process == os.getpid():
                self._drop()

    def __del__(self) -> None:
        """Whoever forgets it leaves no connection behind."""
        if getattr(self, "_connection", None) is not None and self._process == os.getpid():
            self._drop()


class _CutBeforeCommit(Exception):
    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
