"""Tables of ours in SQLite or Postgres, by the same statements: one thread a database, transactions shared by what comes together.

`open_database(url)` gives the Database that "sqlite:PATH" or "postgresql://..." names. Whoever has tables writes functions of one `Sql`,
in statements both dialects know (`?` for values), and says by a `TableSchema` where the numbered files of its tables are.
"""

from __future__ import annotations

from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.storage.sql.database import Database, DatabaseAway
from surefoot.storage.sql.migrations import TableSchema
from surefoot.storage.sql.protocols import Sql

__all__ = ["Database", "DatabaseAway", "Sql", "TableSchema", "is_database_url", "open_database"]

POSTGRES = ("postgresql://", "postgres://")


def is_database_url(url: str) -> bool:
    """Whether `url` names a database: "sqlite:PATH" or "postgresql://..."."""
    return (url.startswith("sqlite:") and bool(url.removeprefix("sqlite:").strip())) or url.startswith(POSTGRES)


def open_database(url: str | Secret) -> Database:
    """The database that `url` names; nothing is opened before the first use.

    Raises Misconfigured for an address that is neither "sqlite:PATH" nor "postgresql://...", or where psycopg is missing.
    """
    said = url.reveal() if isinstance(url, Secret) else url
    if not is_database_url(said):
        raise Misconfigured(f'{_masked(said)!r} names no database: write "sqlite:PATH" or "postgresql://USER@HOST/NAME"')
    if said.startswith(POSTGRES):
        try:
            from surefoot.storage.sql.postgres import PostgresConnector
        except ModuleNotFoundError as error:
            raise Misconfigured(f'postgresql:// needs {error.name}, not installed here: run  pip install "surefoot[postgres]"') from error
        return Database(PostgresConnector(said))
    from surefoot.storage.sql.sqlite import SqliteConnector

    return Database(SqliteConnector(said.removeprefix("sqlite:").removeprefix("//")))


def _masked(url: str) -> str:
    """An address may hold a password."""
    return f"{url.partition(':')[0]}:***" if "@" in url else url
