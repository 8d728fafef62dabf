"""What a database is to those who use one: statements, connections, and how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Row = tuple[Any, ...]


class Sql(Protocol):
    """What a function gets: statements on one connection, inside a transaction. `?` stands for a value."""

    dialect: str

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows that the statement gives."""

    def row(self, statement: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row, or None."""

    def change(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""

    def change_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row of values."""

    def script(self, text: str) -> None:
        """Run statements of another library's, as they are: no marks for values, several in one text."""

    def now(self) -> float:
        """Seconds since 1970, by the clock that all who share the database share."""


class SqlConnection(Sql, Protocol):
    """A connection, used by one thread."""

    schemas: set[str]

    def begin(self, *, reads: bool) -> None:
        """Begin a transaction; one that only reads waits for no writer."""

    def commit(self) -> None:
        """End it."""

    def rollback(self) -> None:
        """Take it back, if one has begun."""

    def close(self) -> None:
        """Let go of the connection."""


class DatabaseConnector(Protocol):
    """How a database is reached."""

    dialect: str

    def describe(self) -> str:
        """One phrase, without user or password."""

    def connect(self) -> SqlConnection:
        """A new connection; blocks."""

    def is_away(self, error: BaseException) -> bool:
        """Whether `error` says that the database cannot be reached now, rather than that the statement was wrong."""

    def explained(self, error: Exception) -> Exception:
        """What to raise for `error`, which will not pass by itself: Misconfigured where the user can mend it, else the error."""
