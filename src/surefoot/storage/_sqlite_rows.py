"""The table of a cache in SQLite: keys, values, when they expire and when they were last used. Blocking; for a thread of the store's.

Raises sqlite3.Error.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from surefoot.storage._sqlite import ROW_FAULTS, Transaction, give_back, used_bytes

TABLE = "kept_1"  # the number is the schema's version: another version's rows stand in another table and are not looked at
LAYOUT = (
    """CREATE TABLE IF NOT EXISTS kept_1
    (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, expires_s REAL NOT NULL, used_s INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS kept_1_used ON kept_1 (used_s)",
    "CREATE INDEX IF NOT EXISTS kept_1_expires ON kept_1 (expires_s) WHERE expires_s < 9e999",  # 9e999 is infinity: never
)
BUNCH_BYTES = 4 * 2**20  # committed at once: long enough to be cheap, short enough that another process's write waits milliseconds
SLACK = 0.9  # once full, room is made down to this share of the bound, so that not every write makes room
TOUCH_S = 3600.0  # "used" is true to the hour
KEYS_AT_ONCE = 500  # below SQLite's default bound of 999 variables
SWEPT_AT_ONCE = 500  # expired rows deleted in one commit

Row: TypeAlias = "tuple[bytes | None, float]"  # a value and when it expires; None: the key is to be forgotten


def lay_out(connection: sqlite3.Connection) -> None:
    """Make the table and its indexes, unless they are there."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", ("kept_1_expires",)).fetchone():
        with Transaction(connection):
            for statement in LAYOUT:
                connection.execute(statement)


def select(connection: sqlite3.Connection, keys: Sequence[str], now_s: float, touched: dict[str, int]) -> list[bytes | None]:
    """The value under each key, None where there is none or it has expired; whose use is worth noting is added to `touched`."""
    rows = []
    for at in range(0, len(keys), KEYS_AT_ONCE):
        part = keys[at : at + KEYS_AT_ONCE]
        marks = ",".join("?" * len(part))
        rows += connection.execute(f"SELECT key, value, expires_s, used_s FROM kept_1 WHERE key IN ({marks})", part).fetchall()  # noqa: S608 - question marks
    found: dict[str, bytes] = {}
    for key, value, expires_s, used_s in rows:
        if expires_s > now_s:
            found[key] = value
            if used_s < now_s - TOUCH_S:
                touched[key] = int(now_s)
    return [found.get(key) for key in keys]


def write(connection: sqlite3.Connection, rows: Iterable[tuple[str, Row]], now_s: int, max_bytes: int) -> int:
    """Keep or forget `rows`, a bunch at a time, and stay below the bound; how many could not be held at all."""
    refused = 0
    for bunch in _bunches(rows, min(BUNCH_BYTES, max_bytes // 16)):
        try:
            with Transaction(connection):
                _keep(connection, bunch, now_s)
        except ROW_FAULTS:
            for row in bunch:
                try:
                    with Transaction(connection):
                        _keep(connection, [row], now_s)
                except ROW_FAULTS:
                    refused += 1
        _make_space(connection, max_bytes, now_s)
    return refused


def touch(connection: sqlite3.Connection, touched: Mapping[str, int]) -> None:
    """Note when rows were used."""
    if touched:
        with Transaction(connection):
            connection.executemany("UPDATE kept_1 SET used_s = ? WHERE key = ?", [(used_s, key) for key, used_s in touched.items()])


def sweep(connection: sqlite3.Connection, now_s: float) -> float:
    """Delete what has expired, a part at a time, and give free space back; when the next row expires."""
    while (first_s := _first_expiry(connection)) <= now_s:
        with Transaction(connection):
            connection.execute(
                "DELETE FROM kept_1 WHERE id IN (SELECT id FROM kept_1 WHERE expires_s <= ? AND expires_s < 9e999 LIMIT ?)",
                (now_s, SWEPT_AT_ONCE),
            )
    give_back(connection)
    return first_s


def _first_expiry(connection: sqlite3.Connection) -> float:
    found = connection.execute("SELECT min(expires_s) FROM kept_1 WHERE expires_s < 9e999").fetchone()[0]
    return math.inf if found is None else float(found)


def _bunches(rows: Iterable[tuple[str, Row]], bound: int) -> Iterator[list[tuple[str, Row]]]:
    bunch, size = [], 0
    for row in rows:
        bunch.append(row)
        size += len(row[1][0] or b"")
        if size >= bound:
            yield bunch
            bunch, size = [], 0
    if bunch:
        yield bunch


def _keep(connection: sqlite3.Connection, bunch: Sequence[tuple[str, Row]], now_s: int) -> None:
    connection.executemany(
        "INSERT INTO kept_1 (key, value, expires_s, used_s) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
        "value = excluded.value, expires_s = excluded.expires_s, used_s = excluded.used_s",
        [(key, value, expires_s, now_s) for key, (value, expires_s) in bunch if value is not None],
    )
    connection.executemany("DELETE FROM kept_1 WHERE key = ?", [(key,) for key, (value, _) in bunch if value is None])


def _make_space(connection: sqlite3.Connection, max_bytes: int, now_s: float) -> None:
    """Below the bound again: expired rows first, then the longest unused."""
    if used_bytes(connection) <= max_bytes:
        return
    sweep(connection, now_s)
    while (used := used_bytes(connection)) > max_bytes * SLACK:
        with Transaction(connection):
            count = connection.execute("SELECT count(*) FROM kept_1").fetchone()[0]
            share = max(1, math.ceil(count * (1 - max_bytes * SLACK / used)))
            connection.execute("DELETE FROM kept_1 WHERE id IN (SELECT id FROM kept_1 ORDER BY used_s, id LIMIT ?)", (share,))
        if count == 0:
            break
    give_back(connection)
