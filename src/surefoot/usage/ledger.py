"""What was used and what it cost, kept in SQLite: one row an attempt that was billed, one a cache hit that was not.

The ledger listens to a model's events. Rows are written by a thread of its own every WRITE_S seconds, so a slow disk delays nobody; the
rest is written when the process ends. Several processes may share one file (WAL). `surefoot usage` shows it.

While the file cannot be written (a full disk, another program's lock) the rows wait in memory, up to MAX_WAITING_BYTES. Beyond that they
are counted and their cost is summed: a row of the table `set_aside` tells it once the file can be written again.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from msgspec import Struct

from surefoot import runtime
from surefoot._documented import Documented
from surefoot.errors import Misconfigured
from surefoot.events import AttemptEnded, CallEnded
from surefoot.rules.failure_log import FailureLog
from surefoot.settings import Target
from surefoot.storage._sqlite import ROW_FAULTS, AtWork, cause_of, create_private, execute_patiently, is_busy, make_private
from surefoot.types import Usage, clean
from surefoot.usage.prices import FALLBACK_USD_PER_MTOK, Price

logger = logging.getLogger("surefoot.usage.ledger")

WRITE_S = 0.5  # what a kill -9 may cost in rows; a commit costs about a millisecond
IDLE_S = 10.0  # without a row for so long the writer's thread ends; the next row starts another
BUSY_S = 0.8  # waiting for another process's commit; twice that is less than what the exit callbacks get
ROWS_AT_ONCE = 5_000  # in one commit, some 20 ms: no other process waits longer
MAX_WAITING_BYTES = 64 * 2**20  # rows in memory: two minutes of a thousand calls a second, two hours of fifteen
ROW_BYTES = 500  # what a row takes in memory beside its texts
SET_ASIDE = 1_000  # rows of that table; older ones leave
SET_ASIDE_CHARS = 2_000  # of each: enough to see what it was
FIRST_PAUSE_S = 10.0  # between the first and the second log line of an outage
UNPRICED = 1_000  # names that have been warned of, and names whose price is remembered
SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    at REAL NOT NULL, day TEXT NOT NULL, call TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, tenant TEXT NOT NULL,
    tags TEXT NOT NULL, error TEXT NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cached INTEGER NOT NULL,
    reasoning INTEGER NOT NULL, estimated INTEGER NOT NULL, cost_usd REAL, saved_usd REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS usage_day ON usage (day);
CREATE TABLE IF NOT EXISTS set_aside (at REAL NOT NULL, why TEXT NOT NULL, said TEXT NOT NULL);
"""
COLUMNS = (
    "at", "day", "call", "kind", "target", "tenant", "tags", "error",
    "input", "output", "cached", "reasoning", "estimated", "cost_usd", "saved_usd",
)  # fmt: skip
COST_AT = COLUMNS.index("cost_usd")
COST = f"coalesce(cost_usd, (input * {FALLBACK_USD_PER_MTOK[0]} + output * {FALLBACK_USD_PER_MTOK[1]}) / 1e6)"
_Cells: TypeAlias = tuple[Any, ...]


class UsageRow(Struct, Documented, frozen=True, kw_only=True):
    """Sums over one group: `estimated` counts rows whose tokens we counted ourselves, `unpriced` those whose price nobody knows.

    What is unpriced stands in `cost_usd` at FALLBACK_USD_PER_MTOK: an estimate above today's middle models, never 0.
    """

    group: tuple[str, ...]
    """What the rows have in common: a value for each word of `by`, in its order."""
    attempts: int
    """Wire attempts that were billed."""
    cache_hits: int
    """Answers that came from the cache instead."""
    input_tokens: int
    """Tokens of the prompts, cache hits not included."""
    output_tokens: int
    """Tokens of the answers, cache hits not included."""
    cost_usd: float
    """US dollars; what is unpriced is in it at FALLBACK_USD_PER_MTOK."""
    saved_usd: float
    """US dollars that the cache hits would have cost."""
    estimated: int
    """Rows whose tokens we counted ourselves."""
    unpriced: int
    """Rows whose price nobody knows."""


class Ledger:
    """A file of rows. Pass it to `subscribe(ledger, inline=True)`, or name its path as `ledger=` of a model.

    The file is readable by its owner alone. A row that SQLite cannot hold (a count beyond 64 bits) costs no other row: it is set aside
    as text in the table `set_aside`, with a warning. Raises Misconfigured if the file cannot be opened, is no database, or has a table
    `usage` of another program's; not for a lock, which passes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        """The SQLite file."""
        self._start_over()
        self._prices: dict[str, Price] = {}
        self._unpriced: set[str] = set()
        self._failures = FailureLog(first_pause_s=FIRST_PAUSE_S)
        try:
            with self._connection() as database:
                execute_patiently(database, "PRAGMA journal_mode=WAL", BUSY_S)  # once: it is kept in the file
                database.executescript(SCHEMA)
                make_private(self.path)
                found = [row[1] for row in database.execute("PRAGMA table_info(usage)")]
        except Misconfigured as error:
            if not is_busy(error.__cause__):
                raise
            self._tell(error)
            return
        if tuple(found) != COLUMNS:
            raise Misconfigured(f"the ledger {self.path} has a table usage that is no ledger's ({', '.join(found)}); name another file")

    def _start_over(self) -> None:
        """Nothing waits and nobody writes: at the beginning, and in a forked child, whose parent writes what had not been written."""
        self._waiting = _Waiting()
        self._wake = threading.Event()
        self._leave = threading.Event()
        self._writing = AtWork()
        self._starting = threading.Lock()
        self._process = os.getpid()
        self._thread: threading.Thread | None = None
        self._off_exit: Callable[[], None] | None = None

    @classmethod
    def at(cls, path: str | Path) -> Ledger:
        """The ledger for `path` in this process: models that name one file share its thread and its waiting rows."""
        place = Path(path).expanduser().resolve()
        ledger = _by_path.get(place)
        if ledger is None:
            ledger = _by_path[place] = cls(place)
        return ledger

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            create_private(self.path)
            database = sqlite3.connect(self.path, timeout=BUSY_S)
        except (OSError, ValueError, sqlite3.Error) as error:
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
        if target not in self._unpriced and len(self._unpriced) < UNPRICED:  # a caller may make names up
            self._unpriced.add(target)
            logger.warning(
                "nobody knows what %s costs: it is put down at $%g and $%g a million tokens; set input_usd_per_mtok and "
                "output_usd_per_mtok of its Target", target, *FALLBACK_USD_PER_MTOK
            )  # fmt: skip

    def _would_have_cost(self, target: str, usage: Usage) -> float:
        price = self._prices.get(target)
        if price is None:
            if len(self._prices) >= UNPRICED:
                self._prices.clear()
            known = ":" in target.strip(":")
            price = self._prices[target] = Price(Target(target if known else "unknown:unknown"), is_local=target.startswith("local:"))
        return price.cost(usage) or 0.0

    def _add(self, event: Any, kind: str, target: str, error: str, usage: Usage, cost: float | None, saved: float) -> None:
        if self._process != os.getpid():
            self._start_over()
        now = time.time()  # noqa: TID251 - a bill knows dates
        tags = json.dumps(dict(event.tags), ensure_ascii=False, sort_keys=True, default=str) if event.tags else "{}"
        words = (event.call_id, kind, target, event.tenant, tags, error)
        numbers = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens, int(usage.estimated))
        self._waiting.add((now, _day(int(now // 86400)), *map(clean, words), *numbers, cost, saved))  # a database holds no lone surrogates
        if self._thread is None:
            self._start()
        self._wake.set()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._off_exit = self._off_exit or runtime.on_exit(self._write_at_exit)
                self._thread = threading.Thread(target=self._write_on, name="surefoot-ledger", daemon=True)
                self._thread.start()

    def _write_on(self) -> None:
        while (self._wake.wait(IDLE_S) and not self._leave.is_set()) or not self._ends():
            self._wake.clear()
            try:
                self.flush()
            except Misconfigured as error:
                self._tell(error)
                self._wake.set()
            except Exception:
                logger.exception("the ledger %s failed; %d rows wait", self.path, len(self._waiting))
                self._wake.set()
            self._leave.wait(WRITE_S)

    def _ends(self) -> bool:
        """The thread has had nothing to do; True if it ends. A row that comes in this moment finds no thread, or is found here."""
        with self._starting:
            thread, self._thread = self._thread, None
            self._leave.clear()
            if self._waiting:
                self._thread = thread
                return False
            off_exit, self._off_exit = self._off_exit, None
        if off_exit is not None:
            off_exit()
        return True

    def _tell(self, error: Misconfigured) -> None:
        """Say that rows wait: the first time at once, then ever more rarely."""
        if self._failures.count(cause_of(error.__cause__), time.monotonic()):
            logger.warning("%s; %d rows wait in memory and are written as soon as it can be", error, len(self._waiting))

    async def _write_at_exit(self) -> None:
        try:
            await runtime.in_thread(self.flush)
        except Misconfigured as error:
            logger.error("%s; %d rows are lost with the end of this process", error, len(self._waiting))  # noqa: TRY400 - no traceback

    def close(self) -> None:
        """Write what has not been written and end the thread; a later row starts another. What cannot be written goes on waiting."""
        try:
            self.flush()
        except Misconfigured as error:
            self._tell(error)
        if self._thread is not None:
            self._leave.set()
            self._wake.set()

    def flush(self) -> None:
        """Write what has not been written; blocks for about a millisecond, or BUSY_S while another program holds the file.

        Raises Misconfigured if it cannot be written; the rows then wait for the next time.
        """
        if self._process != os.getpid():
            self._start_over()
        with self._writing:
            while rows := self._waiting.take():
                try:
                    with self._connection() as database:
                        database.executescript(SCHEMA)  # the file may have been taken away meanwhile
                        _write(database, rows, self.path)
                        rows = []  # written, whatever comes
                        lost = self._waiting.tell_lost(database)
                except BaseException:
                    self._waiting.put_back(rows)
                    raise
                if lost:
                    logger.error("the ledger %s could not be written for so long that %s", self.path, lost)

    def sums(self, *, by: Sequence[str] = ("day",), since_day: str = "") -> list[UsageRow]:
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
        fields = UsageRow.__struct_fields__[1:]
        return [UsageRow(group=tuple(map(str, one[:width])), **dict(zip(fields, one[width:], strict=True))) for one in found]

    def count_set_aside(self) -> int:
        """Rows that are in no sum: SQLite could not hold them, or there was no room for them while the file could not be written."""
        with self._connection() as database:
            database.executescript(SCHEMA)
            return int(database.execute("SELECT count(*) FROM set_aside").fetchone()[0])


_by_path: WeakValueDictionary[Path, Ledger] = WeakValueDictionary()


class _Waiting:
    """Rows on their way to the disk, at most MAX_WAITING_BYTES of them; of what comes beyond, the count and the cost are kept."""

    def __init__(self) -> None:
        self._rows: deque[_Cells] = deque()
        self._size = 0
        self._lost = self._lost_usd = 0.0

    def __len__(self) -> int:
        """Rows that wait."""
        return len(self._rows)

    def add(self, row: _Cells) -> None:
        """Put `row` behind the others, or count it where there is no room."""
        size = _size(row)
        if self._size + size > MAX_WAITING_BYTES:
            self._lost, self._lost_usd = self._lost + 1, self._lost_usd + (row[COST_AT] or 0.0)
            return
        self._size += size
        self._rows.append(row)

    def take(self) -> list[_Cells]:
        """The first ROWS_AT_ONCE rows, which are then in the caller's hands."""
        rows = [self._rows.popleft() for _ in range(min(ROWS_AT_ONCE, len(self._rows)))]
        self._size -= sum(map(_size, rows))
        return rows

    def put_back(self, rows: list[_Cells]) -> None:
        """`rows` were not written: they come first the next time."""
        self._rows.extendleft(reversed(rows))
        self._size += sum(map(_size, rows))

    def tell_lost(self, database: sqlite3.Connection) -> str:
        """Note in the table `set_aside` what there was no room for; what to say of it, or "" if nothing was lost."""
        if not self._lost:
            return ""
        said = f"{self._lost:.0f} rows of ${self._lost_usd:.6f} found no room in memory and are in no sum"
        with database:
            _set_aside(database, time.time(), "the file could not be written", said)  # noqa: TID251 - a bill knows dates
        self._lost = self._lost_usd = 0.0
        return said


def _size(row: _Cells) -> int:
    return ROW_BYTES + sum(len(cell) for cell in row if type(cell) is str)


@lru_cache(maxsize=4)
def _day(number: int) -> str:
    """Day `number` since 1970, as it stands in every row of that day."""
    return time.strftime("%Y-%m-%d", time.gmtime(number * 86400))


def _asked(target: str, model: str) -> str:
    """The target's name with the model that was asked in place of its own: a bill is that model's."""
    return f"{target.partition(':')[0]}:{model}" if model else target


def _write(database: sqlite3.Connection, rows: Sequence[_Cells], path: Path) -> None:
    """Insert `rows` in one transaction; those that cannot be held go to the table `set_aside`."""
    insert = f"INSERT INTO usage VALUES ({','.join('?' * len(COLUMNS))})"  # noqa: S608 - question marks
    with suppress(*ROW_FAULTS), database:
        database.executemany(insert, rows)
        return
    poison = []
    with database:
        for row in rows:
            try:
                database.execute(insert, row)
            except ROW_FAULTS as fault:
                _set_aside(database, row[0], ascii(fault), ascii(row))
                poison.append((row[2], fault))
    if poison:
        more = f" and {len(poison) - 1} more" if len(poison) > 1 else ""
        logger.warning("the ledger %s cannot hold a row of call %s (%s)%s: set aside in table set_aside", path, *poison[0], more)


def _set_aside(database: sqlite3.Connection, at: float, why: str, said: str) -> None:
    database.execute("INSERT INTO set_aside VALUES (?, ?, ?)", (at, why[:SET_ASIDE_CHARS], said[:SET_ASIDE_CHARS]))
    database.execute("DELETE FROM set_aside WHERE rowid <= (SELECT max(rowid) FROM set_aside) - ?", (SET_ASIDE,))


DEFAULT_LEDGER = Path(".surefoot/usage.db")
