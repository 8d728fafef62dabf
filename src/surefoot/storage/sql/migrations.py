"""Tables by version: numbered files of SQL, one for each version and dialect, each applied once.

`0001_first.sqlite.sql` and `0001_first.postgresql.sql` are version 1; a file without the dialect's name serves both. Each version is one
transaction, under the database's lock, so that of many processes that start at once one does it and the others find it done.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from surefoot.errors import Misconfigured
from surefoot.storage.sql.protocols import SqlConnection

LOCK = 0x5F5F  # the number of Postgres's advisory lock under which tables are changed
META = "CREATE TABLE IF NOT EXISTS sf_meta (part TEXT PRIMARY KEY, version INTEGER NOT NULL)"


class TableSchema(NamedTuple):
    """Tables that belong together, with one version: `TableSchema("jobs", "surefoot.jobs")`."""

    part: str
    """What they are called in `sf_meta`, the table of versions."""
    package: str
    """The package in whose folder `migrations` their files are."""


def migrate(connection: SqlConnection, schema: TableSchema) -> None:
    """Bring the tables of `schema` to the version this code knows; noted in `connection.schemas`.

    Raises Misconfigured if a newer version of surefoot wrote them.
    """
    steps = read_migrations(schema, connection.dialect)
    if _version(connection, schema) != len(steps):
        connection.begin(reads=False)
        if connection.dialect == "postgresql":
            connection.rows("SELECT pg_advisory_xact_lock(?)", (LOCK,))
        connection.change(META)
        found = connection.row("SELECT version FROM sf_meta WHERE part = ?", (schema.part,))
        version = found[0] if found else 0
        if version > len(steps):
            connection.rollback()
            raise Misconfigured(
                f"the tables of {schema.part} have version {version}, written by a newer surefoot; this knows {len(steps)}: upgrade it"
            )
        for step in steps[version:]:
            for statement in step:
                connection.change(statement)
        connection.change("DELETE FROM sf_meta WHERE part = ?", (schema.part,))
        connection.change("INSERT INTO sf_meta (part, version) VALUES (?, ?)", (schema.part, len(steps)))
        connection.commit()
    connection.schemas.add(schema.part)


def _version(connection: SqlConnection, schema: TableSchema) -> int:
    """The version of the tables, 0 where there are none: the usual look, which locks nothing."""
    is_there = (
        "SELECT 1 FROM sqlite_master WHERE name = 'sf_meta'"
        if connection.dialect == "sqlite"
        else "SELECT to_regclass('sf_meta') IS NOT NULL"
    )
    connection.begin(reads=True)
    there = connection.row(is_there)
    found = connection.row("SELECT version FROM sf_meta WHERE part = ?", (schema.part,)) if there and there[0] else None
    connection.commit()
    return int(found[0]) if found else 0


@cache
def read_migrations(schema: TableSchema, dialect: str) -> tuple[tuple[str, ...], ...]:
    """The statements of each version, in order."""
    found: dict[int, tuple[str, ...]] = {}
    for file in files(schema.package).joinpath("migrations").iterdir():
        stem, _, ending = file.name.partition(".")
        if ending in {"sql", f"{dialect}.sql"}:
            text = "\n".join(line.partition("--")[0] for line in file.read_text(encoding="utf-8").splitlines())
            found[int(stem.partition("_")[0])] = tuple(one.strip() for one in text.split(";") if one.strip())
    return tuple(found[number] for number in range(1, len(found) + 1))
