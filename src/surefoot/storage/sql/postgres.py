"""A database of ours in Postgres, through psycopg: shared by the processes of many machines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors

from surefoot.errors import Misconfigured
from surefoot.storage.sql.protocols import Row

CONNECT_S = 5  # a server that takes longer to let somebody in is away
LASTING = ("authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied")  # said to who connects, without a code
SAID: dict[str, Any] = {
    "application_name": "surefoot",
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class PostgresConnector:
    """The server and database that a "postgresql://..." address names."""

    dialect = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            parts = urlsplit(url)
            self._shown = f"Postgres at {parts.hostname or 'this machine'}{f':{parts.port}' if parts.port else ''}{parts.path}"
            psycopg.conninfo.conninfo_to_dict(url)
        except (ValueError, psycopg.Error):
            self._shown = ""
        if not self._shown:  # outside, since the error holds the address, which may hold a password
            raise Misconfigured("the postgresql:// address cannot be read: write postgresql://USER:PASSWORD@HOST:5432/NAME")

    def describe(self) -> str:
        """Where it is."""
        return self._shown

    def connect(self) -> PostgresConnection:
        """A connection in which transactions are said by us."""
        return PostgresConnection(psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_S, **SAID))

    def is_away(self, error: BaseException) -> bool:
        """Down, starting, stopping, or a deadlock that was resolved against us: all pass by themselves."""
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None and any(one in str(error) for one in LASTING):
            return False
        passing = (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            errors.AdminShutdown,
            errors.DeadlockDetected,
            errors.SerializationFailure,
        )
        return isinstance(error, passing)

    def explained(self, error: Exception) -> Exception:
        """A wrong name or password, or a user without rights, is the user's to mend."""
        if isinstance(error, psycopg.OperationalError | errors.InsufficientPrivilege):
            wrong = Misconfigured(f"{self._shown} cannot be used: {str(error).strip()}")
            wrong.__cause__ = error
            return wrong
        return error


class PostgresConnection:
    """Statements on one connection; `?` becomes psycopg's `%s`."""

    dialect = "postgresql"

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._now: float | None = None
        self.schemas: set[str] = set()

    def begin(self, *, reads: bool) -> None:
        """Begin."""
        self._now = None
        self._connection.execute("BEGIN READ ONLY" if reads else "BEGIN")

    def commit(self) -> None:
        """End the transaction."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Take back what has begun."""
        with suppress(psycopg.Error):
            self._connection.rollback()

    def close(self) -> None:
        """Say goodbye to the server."""
        self._connection.close()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows."""
        return self._connection.execute(_translated(statement), values or None).fetchall()

    def row(self, statement: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row."""
        return self._connection.execute(_translated(statement), values or None).fetchone()

    def change(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run it; rows changed."""
        return self._connection.execute(_translated(statement), values or None).rowcount

    def change_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run it for each row, in one round trip."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_translated(statement), rows)

    def script(self, text: str) -> None:
        """Run it as it is."""
        self._connection.execute(text.encode())

    def now(self) -> float:
        """The server's clock, read once a transaction: the one that all machines share."""
        if self._now is None:
            found = self.row("SELECT extract(epoch FROM clock_timestamp())::float8")
            assert found is not None
            self._now = float(found[0])
        return self._now


@lru_cache(maxsize=512)
def _translated(statement: str) -> bytes:
    """`statement` with psycopg's own marks for values."""
    return statement.replace("?", "%s").encode()
