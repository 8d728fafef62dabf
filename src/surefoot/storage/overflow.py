"""Numbers by name, more of them than memory should hold: in a temporary SQLite database.

SQLite keeps CACHE_KIB of it in memory and the rest in a file without a name, which nobody else can open and which is gone when the process
ends. Reading or writing one number takes some microseconds, so it may be done on an event loop.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Sequence

CACHE_KIB = 2000  # some 20,000 numbers
SCHEMA = "CREATE TABLE numbers (name BLOB PRIMARY KEY, number INTEGER NOT NULL, class TEXT NOT NULL) WITHOUT ROWID"

_left_behind: list[sqlite3.Connection] = []  # of a parent process, which goes on writing to the file


class OverflowNumbers:
    """Whole numbers below 2**63 in size, each with a name and a class."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None
        self._process = os.getpid()

    def put(self, rows: Sequence[tuple[str, int, str]]) -> None:
        """Keep each (name, number, class). Raises sqlite3.Error where there is no room; then nothing was kept."""
        with self._opened() as database:  # all or none
            database.executemany("INSERT OR REPLACE INTO numbers VALUES (?, ?, ?)", [(_raw(name), *rest) for name, *rest in rows])

    def get(self, name: str) -> int | None:
        """The number called `name`, or None."""
        if self._is_empty():
            return None
        row = self._opened().execute("SELECT number FROM numbers WHERE name = ?", (_raw(name),)).fetchone()
        return None if row is None else int(row[0])

    def take(self, name: str) -> int | None:
        """The same, and forget it here."""
        number = self.get(name)
        if number is not None:
            with self._opened() as database:
                database.execute("DELETE FROM numbers WHERE name = ?", (_raw(name),))
        return number

    def add(self, name: str, amount: int) -> None:
        """Change the number called `name`, if there is one."""
        if not self._is_empty():
            with self._opened() as database:
                database.execute("UPDATE numbers SET number = number + ? WHERE name = ?", (amount, _raw(name)))

    def drop_classes_before(self, latest: str) -> None:
        """Forget all of classes that are as long as `latest` and come before it: past days are not past months."""
        if not self._is_empty():
            with self._opened() as database:
                database.execute("DELETE FROM numbers WHERE length(class) = ? AND class < ?", (len(latest), latest))

    def _is_empty(self) -> bool:
        return self._database is None or self._process != os.getpid()

    def _opened(self) -> sqlite3.Connection:
        """The database; a forked child begins one of its own, as the parent's file is the parent's."""
        if self._database is not None and self._process != os.getpid():
            _left_behind.append(self._database)
            self._database = None
        if self._database is None:
            self._process = os.getpid()
            self._database = sqlite3.connect("", check_same_thread=False)
            weakref.finalize(self, _close, self._database, self._process)
            for setting in ("journal_mode = MEMORY", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
                self._database.execute(f"PRAGMA {setting}")
            self._database.execute(SCHEMA)
        return self._database


def _close(database: sqlite3.Connection, process: int) -> None:
    if process == os.getpid():
        database.close()


def _raw(name: str) -> bytes:
    """As bytes, in which any text fits."""
    return name.encode("utf-8", "surrogatepass")
