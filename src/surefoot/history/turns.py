"""Where conversations are kept: an SQLite file, or Postgres for the processes of many machines."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.storage._sqlite import create_private, make_private
from surefoot.storage.sql import BlockingDatabase, DatabaseAway, Sql, TableSchema, open_blocking

SCHEMA = "CREATE TABLE IF NOT EXISTS turns (conversation TEXT NOT NULL, at INTEGER PRIMARY KEY AUTOINCREMENT, message BLOB NOT NULL)"
INDEX = "CREATE INDEX IF NOT EXISTS turns_by_conversation ON turns (conversation, at)"
HISTORY = TableSchema("history", "surefoot.history")

T = TypeVar("T")
Place = int
"""The number of a message's row; messages of one conversation have growing ones."""


class ConversationStore(Protocol):
    """Where messages are kept, as bytes. Every method blocks, and raises Misconfigured while the place cannot be used."""

    def add(self, conversation: str, new: Sequence[bytes], after: Place) -> tuple[bool, list[tuple[Place, bytes]]]:
        """Put `new` behind what was said. Whether the message at `after` is still there, and what stands behind it; if not, all."""

    def all(self, conversation: str) -> list[bytes]:
        """Everything, in order."""

    def forget(self, conversation: str) -> None:
        """Delete the conversation."""

    def close(self) -> None:
        """Let go of what is open; the next use opens it again."""


class SqliteTurns:
    """The file at `path`, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._database() as database, database:
            database.execute(SCHEMA)
            database.execute(INDEX)
            make_private(path)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        try:
            create_private(self._path)
            database = sqlite3.connect(str(self._path), timeout=5.0)
        except (OSError, sqlite3.Error) as error:
            raise Misconfigured(f"the history {self._path} cannot be opened: {error}") from error
        try:
            with closing(database):
                database.execute("PRAGMA journal_mode=WAL")
                yield database
        except sqlite3.Error as error:
            raise Misconfigured(f"the history {self._path} cannot be used: {error}") from error

    def add(self, conversation: str, new: Sequence[bytes], after: Place) -> tuple[bool, list[tuple[Place, bytes]]]:
        """In one transaction."""
        with self._database() as database, database:
            if new:
                database.executemany("INSERT INTO turns (conversation, message) VALUES (?, ?)", [(conversation, one) for one in new])
            look = "SELECT 1 FROM turns WHERE at = ? AND conversation = ?"
            goes_on = bool(after) and database.execute(look, (after, conversation)).fetchone() is not None
            said = "SELECT at, message FROM turns WHERE conversation = ? AND at > ? ORDER BY at"
            return goes_on, database.execute(said, (conversation, after if goes_on else 0)).fetchall()

    def all(self, conversation: str) -> list[bytes]:
        """Everything, in order."""
        with self._database() as database:
            rows = database.execute("SELECT message FROM turns WHERE conversation = ? ORDER BY at", (conversation,)).fetchall()
        return [row[0] for row in rows]

    def forget(self, conversation: str) -> None:
        """Delete the conversation."""
        with self._database() as database, database:
            database.execute("DELETE FROM turns WHERE conversation = ?", (conversation,))

    def close(self) -> None:
        """Nothing is open between two uses."""


class PostgresTurns:
    """The table `sf_turn` in the database that `url` names."""

    def __init__(self, url: Secret) -> None:
        self._database: BlockingDatabase = open_blocking(url)
        self._run(lambda sql: sql.rows("SELECT 1 FROM sf_turn LIMIT 1"), reads=True)

    def _run(self, fn: Callable[[Sql], T], *, reads: bool = False) -> T:
        try:
            return self._database.run(fn, HISTORY, reads=reads)
        except DatabaseAway as away:
            raise Misconfigured(f"the history cannot be used: {away}") from away

    def add(self, conversation: str, new: Sequence[bytes], after: Place) -> tuple[bool, list[tuple[Place, bytes]]]:
        """In one transaction, one at a time for each conversation: numbers are given in the order in which they are committed."""

        def write(sql: Sql) -> tuple[bool, list[tuple[Place, bytes]]]:
            if new:
                sql.rows("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (f"sf_turn {conversation}",))
                sql.change_many("INSERT INTO sf_turn (conversation, message) VALUES (?, ?)", [(conversation, one) for one in new])
            goes_on = bool(after) and sql.row("SELECT 1 FROM sf_turn WHERE id = ? AND conversation = ?", (after, conversation)) is not None
            said = "SELECT id, message FROM sf_turn WHERE conversation = ? AND id > ? ORDER BY id"
            rows = sql.rows(said, (conversation, after if goes_on else 0))
            return goes_on, [(int(place), bytes(message)) for place, message in rows]

        return self._run(write, reads=not new)

    def all(self, conversation: str) -> list[bytes]:
        """Everything, in order."""
        rows = self._run(
            lambda sql: sql.rows("SELECT message FROM sf_turn WHERE conversation = ? ORDER BY id", (conversation,)), reads=True
        )
        return [bytes(row[0]) for row in rows]

    def forget(self, conversation: str) -> None:
        """Delete the conversation."""
        self._run(lambda sql: sql.change("DELETE FROM sf_turn WHERE conversation = ?", (conversation,)))

    def close(self) -> None:
        """Close the connection."""
        self._database.close()
