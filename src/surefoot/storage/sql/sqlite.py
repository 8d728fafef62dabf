"""A database of ours in an SQLite file: WAL, owner-only, shared by the processes of one machine."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from surefoot.errors import Misconfigured
from surefoot.storage._sqlite import ROW_FAULTS, connect, execute_patiently, passes
from surefoot.storage.sql.protocols import Row

APPLICATION_ID = 0x5F10B5
BUSY_S = 5.0  # how long a statement waits for another process's write


class SqliteConnector:
    """The file at `path`, made with its folders at the first use."""

    dialect = "sqlite"

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()

    def describe(self) -> str:
        """The file."""
        return f"the SQLite file {self.path}"

    def connect(self) -> SqliteConnection:
        """A connection with the write-ahead log on."""
        return SqliteConnection(connect(self.path, application_id=APPLICATION_ID, busy_s=BUSY_S))

    def is_away(self, error: BaseException) -> bool:
        """Locked by somebody, or a full disk."""
        return passes(error)

    def explained(self, error: Exception) -> Exception:
        """A file that is no database, or cannot be made, is the user's to mend; a row it cannot hold is not."""
        if isinstance(error, (sqlite3.Error, OSError)) and not isinstance(error, ROW_FAULTS):
            wrong = Misconfigured(f"{self.describe()} cannot be used: {error}")
            wrong.__cause__ = error
            return wrong
        return error


class SqliteConnection:
    """Statements on one open file."""

    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.schemas: set[str] = set()

    def begin(self, *, reads: bool) -> None:
        """Take the write lock at once, unless nothing will be written."""
        if reads:
            self._connection.execute("BEGIN")
        else:
            execute_patiently(self._connection, "BEGIN IMMEDIATE", BUSY_S)

    def commit(self) -> None:
        """End the transaction."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Take back what has begun."""
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows."""
        return self._connection.execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row; the statement runs to its end."""
        found = self._connection.execute(statement, values).fetchall()
        return found[0] if found else None

    def change(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run it; rows changed."""
        return self._connection.execute(statement, values).rowcount

    def change_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run it for each row."""
        self._connection.executemany(statement, rows)

    def script(self, text: str) -> None:
        """Run it as it is. SQLite ends the transaction that was under way before."""
        self._connection.executescript(text)

    def now(self) -> float:
        """The machine's clock: all who share the file share it."""
        return time.time()  # noqa: TID251 - moments in a file outlive every loop's clock
