"""Tables of ours in SQLite or Postgres, by the same statements: one thread a database, transactions shared by what comes together.

`open_database(url)` gives the Database that "sqlite:PATH" or "postgresql://..." names. Whoever has tables writes functions of one `Sql`,
in statements both dialects know (`?` for values), and says by a `TableSchema` where the numbered files of its tables are.
"""

from __future__ import annotations

from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.storage.sql.blocking import BlockingDatabase
from surefoot.storage.sql.database import Database
from surefoot.storage.sql.migrations import TableSchema
from surefoot.storage.sql.protocols import DatabaseConnector, Sql
from surefoot.storage.sql.transactions import DatabaseAway

__all__ = [
    "BlockingDatabase",
    "Database",
    "DatabaseAway",
    "Sql",
    "TableSchema",
    "is_database_url",
    "is_postgres_url",
    "open_blocking",
    "open_database",
]

POSTGRES = ("postgresql://", "postgres://")


def is_database_url(url: str) -> bool:
    """Whether `url` names a database: "sqlite:PATH" or "postgresql://..."."""
    return (url.startswith("sqlite:") and bool(url.removeprefix("sqlite:").strip())) or url.startswith(POSTGRES)


def is_postgres_url(url: object) -> bool:
    """Whether `url` is text that names a Postgres database."""
    return isinstance(url, str) and url.startswith(POSTGRES)


def open_database(url: str | Secret) -> Database:
    """The database that `url` names; nothing is opened before the first use.

    Raises Misconfigured for an address that is neither "sqlite:PATH" nor "postgresql://...", or where psycopg is missing.
    """
    return Database(_connector(url))


def open_blocking(url: str | Secret) -> BlockingDatabase:
    """The same for code that may block, on the threads of its callers. Raises as `open_database`."""
    return BlockingDatabase(_connector(url))


def _connector(url: str | Secret) -> DatabaseConnector:
    said = url.reveal() if isinstance(url, Secret) else url
    if not is_database_url(said):
        raise Misconfigured(f'{_masked(said)!r} names no database: write "sqlite:PATH" or "postgresql://USER@HOST/NAME"')
    if said.startswith(POSTGRES):
        try:
            from surefoot.storage.sql.postgres import PostgresConnector
        except ModuleNotFoundError as error:
            raise Misconfigured(f'postgresql:// needs {error.name}, not installed here: run  pip install "surefoot[postgres]"') from error
        return PostgresConnector(said)
    from surefoot.storage.sql.sqlite import SqliteConnector

    return SqliteConnector(said.removeprefix("sqlite:").removeprefix("//"))


def _masked(url: str) -> str:
    """An address may hold a password."""
    return f"{url.partition(':')[0]}:***" if "@" in url else url
