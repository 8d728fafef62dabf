"""What was used and what it cost: one row an attempt that was billed, one a cache hit that was not, in an SQLite file or in Postgres.

The ledger listens to a model's events. Rows are written by a thread of its own every WRITE_S seconds, so a slow disk delays nobody; the
rest is written when the process ends. Several processes may share one file (WAL) or database. `surefoot usage` shows it.

While it cannot be written (a full disk, another program's lock, a server that is away) the rows wait in memory, up to MAX_WAITING_BYTES.
Beyond that they are counted and their cost is summed: a row that is set aside tells it once the ledger can be written again.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from surefoot import runtime
from surefoot.errors import Misconfigured
from surefoot.events import AttemptEnded, CallEnded
from surefoot.rules.failure_log import FailureLog
from surefoot.secret import Secret
from surefoot.settings import Target
from surefoot.storage._sqlite import AtWork, cause_of
from surefoot.storage.sql import is_postgres_url
from surefoot.types import Usage, clean
from surefoot.usage.prices import FALLBACK_USD_PER_MTOK, Price
from surefoot.usage.rows import RowStore, UsageRow
from surefoot.usage.rows.rollups import Rollup, RollupsWanted
from surefoot.usage.rows.spool import Spool
from surefoot.usage.rows.sqlite import SqliteRows
from surefoot.usage.rows.waiting import WaitingRows

logger = logging.getLogger("surefoot.usage.ledger")

WRITE_S = 0.5  # what a kill -9 may cost in rows; a commit costs about a millisecond
IDLE_S = 10.0  # without a row for so long the writer's thread ends; the next row starts another
FIRST_PAUSE_S = 10.0  # between the first and the second log line of an outage
UNPRICED = 1_000  # names that have been warned of, and names whose price is remembered
DEFAULT_LEDGER = Path(".surefoot/usage.db")


class Ledger:
    """Rows in a file, or in the database that "postgresql://USER@HOST/NAME" names (`surefoot[postgres]`), in its tables `sf_usage`.

    Pass it to `subscribe(ledger, inline=True)`, or name its place as `ledger=` of a model. A file is readable by its owner alone. A row
    that cannot be held (a count beyond 64 bits) costs no other row: it is set aside as text, with a warning. `spool` is a folder where rows
    stand until they are written, so that a kill -9 loses none; without it half a second's. Raises Misconfigured if the
    place cannot be opened, is no database, or has a table `usage` of another program's; not for a lock or a server that is away, which
    pass.
    """

    def __init__(self, path: str | Path | Secret, *, spool: str | Path | None = None) -> None:
        place = _place(path)
        self._spool = None if spool is None else Path(spool).expanduser()
        self.path: Path | None = None if isinstance(place, Secret) else place
        """The SQLite file; None for a ledger in Postgres."""
        self._start_over()
        self._prices: dict[str, Price] = {}
        self._unpriced: set[str] = set()
        self._failures = FailureLog(first_pause_s=FIRST_PAUSE_S)
        self._rows: RowStore = _postgres_rows(place) if isinstance(place, Secret) else SqliteRows(place)
        self._rows.prepare()
        self._close_unused()
        if self._waiting:  # of a process that died
            self._start()
            self._wake.set()

    def describe(self) -> str:
        """Where it is, without user or password."""
        return self._rows.describe()

    def _start_over(self) -> None:
        """Nothing waits and nobody writes: at the beginning, and in a forked child, whose parent writes what had not been written."""
        self._waiting = WaitingRows(None if self._spool is None else Spool(self._spool))
        self._wake = threading.Event()
        self._leave = threading.Event()
        self._writing = AtWork()
        self._starting = threading.Lock()
        self._process = os.getpid()
        self._thread: threading.Thread | None = None
        self._off_exit: Callable[[], None] | None = None

    @classmethod
    def at(cls, path: str | Path | Secret, *, spool: str | Path | None = None) -> Ledger:
        """The ledger for `path` in this process: models that name one place share its thread and its waiting rows.

        The first to name it says whether there is a spool.
        """
        place = _place(path)
        key = place.reveal() if isinstance(place, Secret) else str(place.resolve())
        ledger = _by_path.get(key)
        if ledger is None:
            ledger = _by_path[key] = cls(place, spool=spool)
        return ledger

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
        tags = "{}"
        if event.tags:  # as text, for Python writes a NaN as no JSON reads it
            tags = json.dumps({name: said if isinstance(said, str) else str(said) for name, said in event.tags}, ensure_ascii=False)
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
                logger.exception("the ledger %s failed; %d rows wait", self.describe(), len(self._waiting))
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
        self._rows.close()
        return True

    def _tell(self, error: Misconfigured) -> None:
        """Say that rows wait: the first time at once, then ever more rarely."""
        if self._failures.count(cause_of(error.__cause__), time.monotonic()):
            logger.warning("%s; %d rows wait in memory and are written as soon as it can be", error, len(self._waiting))

    async def _write_at_exit(self) -> None:
        try:
            await runtime.in_thread(self.flush)
        except Misconfigured as error:
            how = "are lost with the end of this process" if self._spool is None else f"are left in {self._spool} for the next to start"
            logger.error("%s; %d rows %s", error, len(self._waiting), how)  # noqa: TRY400 - no traceback
        finally:
            self._waiting.close()

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
        """Write what has not been written; blocks for about a millisecond, or for a second while another program holds the file.

        Raises Misconfigured if it cannot be written; the rows then wait for the next time.
        """
        if self._process != os.getpid():
            self._start_over()
        with self._writing:
            while self._waiting:
                batch, rows = self._waiting.take()
                try:
                    self._rows.write(rows, batch)
                except BaseException:
                    self._waiting.put_back(batch, rows)
                    raise
                self._waiting.written(batch)
                if lost := self._waiting.lost():
                    self._rows.set_aside("it could not be written", lost)
                    self._waiting.lost_was_told()
                    logger.error("the ledger %s could not be written for so long that %s", self.describe(), lost)

    def sums(self, *, by: Sequence[str] = ("day",), since_day: str = "") -> list[UsageRow]:
        """Sums grouped by "day", "target", "tenant" or "tag:NAME", in that order; days are UTC. Raises Misconfigured for another word."""
        self.flush()
        try:
            return self._rows.sums(by, since_day)
        finally:
            self._close_unused()

    def rollups(self, *wanted: RollupsWanted) -> list[Rollup]:
        """Sums by hour, day or month that are kept beside the rows: one statement, whatever the number of rows.

        What has not been written yet is written first, if it can be. Raises Misconfigured while the ledger cannot be read.
        """
        try:
            self.flush()
        except Misconfigured as error:
            self._tell(error)
        try:
            return self._rows.rollups(wanted)
        finally:
            self._close_unused()

    def count_set_aside(self) -> int:
        """Rows that are in no sum: they could not be held, or there was no room for them while the ledger could not be written."""
        try:
            return self._rows.count_set_aside()
        finally:
            self._close_unused()

    def _close_unused(self) -> None:
        if self._thread is None:  # else it closes what is open when it ends
            self._rows.close()


def _place(said: str | Path | Secret) -> Secret | Path:
    """Where a ledger is: the address of a database, or a file. Raises Misconfigured for an address of anything else."""
    text = said.reveal() if isinstance(said, Secret) else str(said)
    if is_postgres_url(text):
        return Secret(text)
    scheme, sign, _ = text.partition("://")
    if sign and isinstance(said, str | Secret):
        raise Misconfigured(f"ledger: {scheme}:// is no place for one; write a file's path, sqlite:PATH or postgresql://...")
    return Path(text.removeprefix("sqlite:")).expanduser()


def _postgres_rows(url: Secret) -> RowStore:
    try:
        from surefoot.usage.rows.postgres import PostgresRows
    except ModuleNotFoundError as error:
        raise Misconfigured(f'postgresql:// needs {error.name}, not installed here: run  pip install "surefoot[postgres]"') from error
    return PostgresRows(url)


_by_path: WeakValueDictionary[str, Ledger] = WeakValueDictionary()


@lru_cache(maxsize=4)
def _day(number: int) -> str:
    """Day `number` since 1970, as it stands in every row of that day."""
    return time.strftime("%Y-%m-%d", time.gmtime(number * 86400))


def _asked(target: str, model: str) -> str:
    """The target's name with the model that was asked in place of its own: a bill is that model's."""
    return f"{target.partition(':')[0]}:{model}" if model else target
