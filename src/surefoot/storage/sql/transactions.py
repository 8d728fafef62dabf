"""One connection to a database: opened by its first transaction, its tables made, and opened again after it broke."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from surefoot.errors import Refused
from surefoot.storage.sql.migrations import TableSchema, migrate
from surefoot.storage.sql.protocols import DatabaseConnector, Sql, SqlConnection

_left_behind: list[Any] = []  # a parent process's connections: closed here, they would say goodbye in its name


class DatabaseAway(Refused):
    """The database cannot be reached or is locked by somebody else; it may be back a moment later. The message says what was changed."""


class Transactions:
    """Transactions on one connection, for one thread at a time."""

    def __init__(self, connector: DatabaseConnector) -> None:
        self._connector = connector
        self._process = os.getpid()
        self._connection: SqlConnection | None = None
        self.is_in_doubt = False
        """Whether the last transaction was cut off after its commit had been sent: it may or may not have been written."""

    @property
    def is_open(self) -> bool:
        """Whether a connection is kept."""
        return self._connection is not None

    @property
    def is_inherited(self) -> bool:
        """Whether it was made by the process that this one was forked from."""
        return self._process != os.getpid()

    def leave_behind(self) -> None:
        """Begin anew in a forked child."""
        _left_behind.append(self._connection)
        self._connection, self._process = None, os.getpid()

    def transact(self, work: Sequence[tuple[Callable[[Sql], Any], TableSchema]], *, reads: bool) -> list[Any]:
        """What each function gives, all in one transaction, once their tables are there. Raises what went wrong, for `told`.

        A connection that is cut is let go of; whatever else goes wrong takes the transaction back.
        """
        self.is_in_doubt = False
        try:
            if self._connection is None:
                self._connection = self._connector.connect()
            for _, schema in work:
                if schema.part not in self._connection.schemas:
                    migrate(self._connection, schema)
            self._connection.begin(reads=reads)
            values = [fn(self._connection) for fn, _ in work]
            self.is_in_doubt = not reads
            self._connection.commit()
        except BaseException as error:
            if self._connector.is_away(error):
                self.drop()
            else:
                self.is_in_doubt = False
                if self._connection is not None:
                    self._connection.rollback()
            raise
        self.is_in_doubt = False
        return values

    def told(self, error: Exception) -> Exception:
        """What to say of an error of the last transaction: DatabaseAway, Misconfigured where the user can mend it, else the error."""
        if not self._connector.is_away(error):
            return self._connector.explained(error)
        known = "whether it took what was sent last is not known" if self.is_in_doubt else "nothing was changed"
        said = f"{self._connector.describe()} cannot be used now ({type(error).__name__}: {error}); {known}"
        away = DatabaseAway(said, retry_after_s=1.0)
        away.__cause__ = error
        return away

    def drop(self) -> None:
        """Close the connection; the next transaction opens another. A parent's is left alone."""
        connection, self._connection = self._connection, None
        if connection is not None and not self.is_inherited:
            with suppress(Exception):  # it may be broken already
                connection.close()
