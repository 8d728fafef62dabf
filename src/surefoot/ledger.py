"""What was used and what it cost, kept in SQLite: one row an attempt that was billed, one a cache hit that was not.

The ledger listens to a model's events. Rows are written by a thread of its own every WRITE_S seconds, so a slow disk delays nobody; the
rest is written when the process ends. Several processes may share one file (WAL). `surefoot usage` shows it.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from surefoot import runtime
from surefoot._sqlite import create_private, make_private
from surefoot.errors import Misconfigured
from surefoot.events import AttemptEnded, CallEnded
from surefoot.prices import FALLBACK_USD_PER_MTOK, Price
from surefoot.target import Target
from surefoot.types import Usage, clean

logger = logging.getLogger("surefoot.ledger")

WRITE_S = 0.5  # what a kill -9 may cost in rows; a commit costs about a millisecond
BUSY_S = 5.0  # waiting for another process's commit
SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    at REAL NOT NULL, day TEXT NOT NULL, call TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, tenant TEXT NOT NULL,
    tags TEXT NOT NULL, error TEXT NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cached INTEGER NOT NULL,
    reasoning INTEGER NOT NULL, estimated INTEGER NOT NULL, cost_usd REAL, saved_usd REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS usage_day ON usage (day);
CREATE TABLE IF NOT EXISTS set_aside (at REAL NOT NULL, why TEXT NOT NULL, said TEXT NOT NULL);
"""
# What SQLite says of a row it cannot hold; anything else is said of the file, and the rows wait.
ROW_FAULTS = (
    UnicodeError, OverflowError, TypeError,
    sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.IntegrityError,
)  # fmt: skip
COLUMNS = 15
COST = f"coalesce(cost_usd, (input * {FALLBACK_USD_PER_MTOK[0]} + output * {FALLBACK_USD_PER_MTOK[1]}) / 1e6)"
By = Literal["day", "target", "tenant", "total"]


class Row(Struct, frozen=True, kw_only=True):
    """Sums over one group: `estimated` counts rows whose tokens we counted ourselves, `unpriced` those whose price nobody knows.

    What is unpriced stands in `cost_usd` at FALLBACK_USD_PER_MTOK: an estimate above today's middle models, never 0.
    """

    group: tuple[str, ...]
    attempts: int
    cache_hits: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    saved_usd: float
    estimated: int
    unpriced: int


class Ledger:
    """A file of rows. Pass it to `subscribe(ledger, inline=True)`, or name its path as `ledger=` of a model.

    The file is readable by its owner alone. A row that SQLite cannot hold (a count beyond 64 bits) costs no other row: it is set aside
    as text in the table `set_aside`, with a warning. Raises Misconfigured if the file cannot be opened or is no database.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._rows: deque[tuple[Any, ...]] = deque()
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._process = os.getpid()
        self._thread: threading.Thread | None = None
        self._prices: dict[str, Price] = {}
        self._unpriced: set[str] = set()
        with self._connection() as database:
            database.execute("PRAGMA journal_mode=WAL")  # once: it is kept in the file, and asking for it again may meet a lock
            database.executescript(SCHEMA)
            make_private(self.path)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            create_private(self.path)
            database = sqlite3.connect(self.path, timeout=BUSY_S)
        except (OSError, sqlite3.Error) as error:
            raise Misconfigured(f"the ledger {self.path} cannot be opened: {error}") from error
        try:
            with closing(database):
                yield database
        except sqlite3.Error as error:
            raise Misconfigured(f"the ledger {self.path} cannot be used: {error}") from error

    def __call__(self, event: Any) -> None:
        """Hear an event; quick, never waits."""
        if isinstance(event, AttemptEnded):
            one = event.attempt
            if one.usage is not None:
                target = _asked(one.target, one.model)
                if one.cost_usd is None:
                    self._warn(target)
                self._add(event, one.kind, target, one.error, one.usage, one.cost_usd, 0.0)
        elif isinstance(event, CallEnded) and event.cached and event.usage is not None:
            target = _asked(event.target, event.asked)
            self._add(event, "cache", target, "", event.usage, 0.0, self._would_have_cost(target, event.usage))

    def _warn(self, target: str) -> None:
        if target not in self._unpriced:
            self._unpriced.add(target)
            logger.warning(
                "nobody knows what %s costs: it is put down at $%g and $%g a million tokens; set input_usd_per_mtok and "
                "output_usd_per_mtok of its Target", target, *FALLBACK_USD_PER_MTOK
            )  # fmt: skip

    def _would_have_cost(self, target: str, usage: Usage) -> float:
        price = self._prices.get(target)
        if price is None:
            known = ":" in target.strip(":")
            price = self._prices[target] = Price(Target(target if known else "unknown:unknown"), is_local=target.startswith("local:"))
        return price.cost(usage) or 0.0

    def _add(self, event: Any, kind: str, target: str, error: str, usage: Usage, cost: float | None, saved: float) -> None:
        if self._process != os.getpid():  # a forked child: what the parent had not written yet is the parent's
            self._rows, self._process, self._thread = deque(), os.getpid(), None
            self._wake, self._writing = threading.Event(), threading.Lock()
        now = time.time()  # noqa: TID251 - a bill knows dates
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        tags = json.dumps(dict(event.tags), ensure_ascii=False, sort_keys=True, default=str)
        words = (event.call_id, kind, target, event.tenant, tags, error)
        numbers = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens, int(usage.estimated))
        self._rows.append((now, day, *map(clean, words), *numbers, cost, saved))  # lone surrogates have no place in a database
        if self._thread is None or not self._thread.is_alive():
            self._start()
        self._wake.set()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._write_on, name="surefoot-ledger", daemon=True)
        self._thread.start()
        runtime.on_exit(self._last_words)

    def _write_on(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                self.flush()
            except Misconfigured as error:
                logger.warning("the ledger %s cannot be written now (%s); %d rows wait", self.path, error, len(self._rows))
                self._wake.set()
            threading.Event().wait(WRITE_S)

    async def _last_words(self) -> None:
        self.flush()

    def flush(self) -> None:
        """Write what has not been written; blocks for about a millisecond."""
        with self._writing:
            rows = []
            while self._rows:
                rows.append(self._rows.popleft())
            if not rows:
                return
            try:
                with self._connection() as database:
                    database.executescript(SCHEMA)  # the file may have been taken away meanwhile
                    _write(database, rows, self.path)
            except Misconfigured:
                self._rows.extendleft(reversed(rows))  # a full disk or a long lock loses no row; the next flush tries again
                raise

    def sums(self, *, by: Sequence[str] = ("day",), since_day: str = "") -> list[Row]:
        """Sums grouped by "day", "target", "tenant" or "tag:NAME", in that order; days are UTC. Raises Misconfigured for another word."""
        self.flush()
        keys, names = [], []
        for word in by:
            if word in {"day", "target", "tenant"}:
                keys.append(word)
            elif word.startswith("tag:"):
                keys.append("coalesce(json_extract(tags, ?), '')")
                names.append(f'$."{word[4:]}"')
            else:
                raise Misconfigured(f"usage by {word!r}: known are day, target, tenant and tag:NAME")
        group = ", ".join(keys) or "'total'"
        query = (
            f"SELECT {group}, sum(kind != 'cache'), sum(kind = 'cache'), sum(iif(kind = 'cache', 0, input)), "  # noqa: S608 - words from above
            f"sum(iif(kind = 'cache', 0, output)), sum({COST}), sum(saved_usd), sum(estimated), sum(cost_usd IS NULL) "
            f"FROM usage WHERE day >= ? GROUP BY {', '.join(str(n + 1) for n in range(max(1, len(keys))))} ORDER BY 1"
        )
        width = max(1, len(keys))
        with self._connection() as database:
            found = database.execute(query, (*names, since_day)).fetchall()
        fields = Row.__struct_fields__[1:]
        return [Row(group=tuple(map(str, one[:width])), **dict(zip(fields, one[width:], strict=True))) for one in found]


def _asked(target: str, model: str) -> str:
    """The target's name with the model that was asked in place of its own: a bill is that model's."""
    return f"{target.partition(':')[0]}:{model}" if model else target


def _write(database: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], path: Path) -> None:
    """Insert `rows` in one transaction; those that cannot be held go to the table `set_aside`."""
    insert = f"INSERT INTO usage VALUES ({','.join('?' * COLUMNS)})"  # noqa: S608 - question marks
    try:
        with database:
            database.executemany(insert, rows)
    except ROW_FAULTS:
        with database:
            for row in rows:
                try:
                    database.execute(insert, row)
                except ROW_FAULTS as fault:
                    database.execute("INSERT INTO set_aside VALUES (?, ?, ?)", (row[0], ascii(fault), ascii(row)))
                    logger.warning(
                        "the ledger %s cannot hold a row of call %s (%s): it is set aside in table set_aside", path, row[2], fault
                    )
