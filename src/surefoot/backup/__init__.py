"""Copies of what surefoot keeps in a database: taken while everybody works on, restored into SQLite or Postgres, whichever it came from.

    back_up("postgresql://...", "monday.gz")            # or `surefoot backup postgresql://... --to monday.gz`
    restore("monday.gz", "sqlite:.surefoot/all.db")     # or `surefoot restore monday.gz --to sqlite:...`

The ledger of usage, conversations, jobs with their inputs and results, and shared spend limits, as they were at one moment. Left out is
what means nothing a moment later: shared rate limits, workers' signs of life, and the tables of the engine that delivers chunks, which is
told anew of what is open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from surefoot.backup.copies import Copy, read_copy, write_copy
from surefoot.backup.snapshots import snapshot
from surefoot.backup.tables import LITE_TABLES, TABLES, Table, known_version
from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.storage.sql import BlockingDatabase, Sql, TableSchema, open_blocking
from surefoot.storage.sql.sqlite import APPLICATION_ID

__all__ = ["back_up", "restore"]

ROWS_AT_ONCE = 500  # in memory, and handed over together
NUL = "\x00"  # in no text of Postgres


def back_up(url: str | Secret, file: str | Path) -> dict[str, int]:
    """Copy what is kept in the database at `url` ("sqlite:PATH" or "postgresql://...") into a new `file`; rows by table.

    One moment's state, whoever writes meanwhile; nobody is held up. The file can be read by its owner alone, and stands there only once it
    is whole. Raises Misconfigured, and leaves no file, where there is a file of that name, the database cannot be read, or holds nothing.
    """
    path = Path(file).expanduser()
    if path.exists():
        raise Misconfigured(f"{path} is there already: name another file")
    with snapshot(url) as found:
        return write_copy(path, found)


def restore(file: str | Path, url: str | Secret, *, replace: bool = False) -> dict[str, int]:
    """Put what is in a copy into the database at `url`, in one transaction; rows by table.

    The whole file is checked first. `replace`: delete what is there of the same tables; without it a database that holds any is refused.
    What workers held when the copy was made is open to all. Raises Misconfigured, with nothing written, for a file that is cut, altered, of
    a newer version or no copy, and for a database that cannot take it.
    """
    copy = read_copy(Path(file).expanduser())
    for part, version in copy.versions.items():
        if version > known_version(part):
            raise Misconfigured(f"{copy.path} holds tables of {part} of version {version}, written by a newer surefoot: upgrade this one")
    database = open_blocking(url)
    _adopt(url)
    try:
        tables = [one for one in TABLES if one.name in copy.counts and one.named(database.dialect)]
        for schema in dict.fromkeys(one.part for one in tables):
            _make(database, schema)
        database.run(partial(_fill, copy=copy, tables=tables, replace=replace, where=database.describe()), tables[0].part)
    finally:
        database.close()
    return {one.name: copy.counts[one.name] for one in tables}


def _adopt(url: str | Secret) -> None:
    """An SQLite ledger or history made by itself bears no mark of ours; it gets one where all its tables are ours."""
    said = url.reveal() if isinstance(url, Secret) else url
    path = Path(said.removeprefix("sqlite:").removeprefix("//")).expanduser()
    if not said.startswith("sqlite:") or not path.exists():
        return
    own = {one.named("sqlite") for one in TABLES}
    try:
        with closing(sqlite3.connect(path, timeout=5.0)) as file:
            names = {row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")}
            (mark,) = file.execute("PRAGMA application_id").fetchone()
            if names and names <= own and mark == 0:
                file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    except sqlite3.Error as error:
        raise Misconfigured(f"{path} cannot be used: {error}") from error


def _make(database: BlockingDatabase, part: TableSchema) -> None:
    """The tables of a part, if they are not there."""
    statements = LITE_TABLES.get(part, ()) if database.dialect == "sqlite" else ()
    if not statements:
        database.run(lambda _: None, part)
        return

    def make(sql: Sql) -> None:
        for statement in statements:
            sql.change(statement)

    database.run(make, part)


def _fill(sql: Sql, *, copy: Copy, tables: list[Table], replace: bool, where: str) -> None:
    names = {one.name: str(one.named(sql.dialect)) for one in tables}
    if sql.dialect == "postgresql":
        sql.change(f"LOCK TABLE {', '.join(names.values())} IN EXCLUSIVE MODE")
    for name in names.values():
        if replace:
            sql.change(f"DELETE FROM {name}")  # noqa: S608 - our own words
        elif sql.row(f"SELECT 1 FROM {name} LIMIT 1"):  # noqa: S608
            raise Misconfigured(f"{where} holds rows already (table {name}): name an empty one, or say --replace to lose what is there")
    for table, columns, rows in copy.tables():
        if table in names:
            _insert(sql, names[table], columns, rows)
    for table, name in names.items():
        found = sql.row(f"SELECT count(*) FROM {name}")  # noqa: S608
        if found is None or found[0] != copy.counts[table]:
            raise Misconfigured(f"{where} took {found and found[0]} of {copy.counts[table]} rows of {table}: nothing was kept")
    if "sf_chunk" in names:
        sql.change("UPDATE sf_chunk SET state = 'wait', worker = NULL, lease = 0 WHERE state = 'run'")


def _insert(sql: Sql, name: str, columns: list[str], rows: Iterator[list[Any]]) -> None:
    if not all(column.isidentifier() for column in columns):
        raise Misconfigured(f"the copy's table {name} has columns that are no names: it was altered; nothing was written")
    statement = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - names, as checked
    while some := list(islice(rows, ROWS_AT_ONCE)):
        sql.change_many(statement, some if sql.dialect == "sqlite" else [[_holdable(cell, name) for cell in row] for row in some])


def _holdable(cell: Any, table: str) -> Any:
    """Text without the character that Postgres cannot hold; in a ledger, whose tags are read as JSON, without its escape, too."""
    if isinstance(cell, str) and (NUL in cell or "\\u0000" in cell):
        cell = cell.replace(NUL, "\ufffd")
        return cell.replace("\\u0000", "\\ufffd") if table == "sf_usage" else cell
    return cell
