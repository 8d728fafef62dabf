"""Values in one file, shared by several processes, bounded in size, whole after kill -9.

The database runs in WAL mode (readers and the writer do not wait for each other) with synchronous=NORMAL: what was committed outlives a
killed process; a power cut may lose the last commits, never the file. Two threads of this store do all the work, one reads, one writes, so
the background loop never waits for a disk. Writes are handed over and committed in bunches; until then they are read from memory. When the
file reaches its bound, expired rows leave first, then the longest unused (to the hour: a hit is not a write). Expired rows are deleted when
they expire, also where nobody writes; free space goes back to the system.

A file that is no database is a Misconfigured when the store is made. One that cannot be used later makes the store a miss; what is written
during a lock or on a full disk waits in memory, where it is found. A spoilt file is set aside as PATH.spoilt and begun anew. Each is a line
in the log; what goes on is told ever more rarely.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias
from weakref import WeakSet, WeakValueDictionary

from surefoot import runtime
from surefoot.errors import Misconfigured
from surefoot.rules.failure_log import FailureLog
from surefoot.runtime.clock import wall_s
from surefoot.storage import _sqlite_rows as table
from surefoot.storage._sqlite import (
    AtWork,
    cause_of,
    close,
    connect,
    create_private,
    identity,
    is_damage,
    is_database,
    is_ours,
    passes,
    put_aside,
)
from surefoot.storage._sqlite_rows import TABLE, Row

MAX_BYTES = 2**30  # a gigabyte: a million answers, or 160,000 vectors of 1,536 numbers
PENDING_BYTES = 64 * 2**20  # writes waiting for the disk; beyond this a disk is stuck, and a write not made is only a later miss
TOUCHED = 1000  # rows whose use is still to be noted; usually that is done with the next write
RETRY_S = 1.0  # a database that failed is left alone so long
FIRST_PAUSE_S = 10.0  # between the first and the second log line of an outage
SWEEP_S = 60.0  # how long rows of another process may stay on the disk after they expired, where that process has gone
SWEEP_AT_LEAST_S = 0.2  # between two sweeps where nobody writes: rows that expire one after the other leave together
ANEW_S = 60.0  # between two files set aside: a disk that spoils them faster is left alone
ROW_BYTES = 200  # what a waiting row takes in memory beside its key and its value
FLUSH_S = 1.5  # at exit, what the background loop grants its exit callbacks less a margin
APPLICATION_ID = 0x73667431  # "sft1" in the file's header, so that nobody else's database is taken for ours

Waiting: TypeAlias = "tuple[Sequence[str], asyncio.Future[list[bytes | None]], asyncio.AbstractEventLoop]"
Wake: TypeAlias = "tuple[asyncio.Future[None], asyncio.AbstractEventLoop] | bool | None"  # who waits for the commit; None: stop

_log = logging.getLogger("surefoot.storage")
_by_path: WeakValueDictionary[str, SQLiteStore] = WeakValueDictionary()
_all: WeakSet[SQLiteStore] = WeakSet()


class SQLiteStore:
    """Keeps bytes in `path`: `SQLiteStore(".surefoot/cache.db", max_bytes=2**30)`.

    Folders and the file (readable by its owner alone) are made at the first use. `clock` is the wall clock, by which rows expire.
    """

    def __init__(self, path: str | Path, *, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = wall_s) -> None:
        if max_bytes < 2**20:
            raise Misconfigured(f"SQLite cache {path}: max_bytes = {max_bytes} must be at least {2**20}, one mebibyte")
        self.path = Path(path)
        self.max_bytes = max_bytes
        self.clock = clock
        self._down_until_s = 0.0
        self._outage_passes = False
        self._anew_at_s = -math.inf
        self._failures = FailureLog(first_pause_s=FIRST_PAUSE_S)
        if not (is_database(self.path) or is_ours(self.path, application_id=APPLICATION_ID, table=TABLE)):
            raise Misconfigured(f"SQLite cache {path}: the file is no database; name another one")
        self._start_over()
        _all.add(self)

    @classmethod
    def at(cls, path: str) -> SQLiteStore:
        """The store for `path` in this process: two models that name one file share its threads and its waiting writes."""
        place = str(Path(path).expanduser().resolve())
        store = _by_path.get(place)
        if store is None:
            store = _by_path[place] = cls(place)
        return store

    @property
    def is_down(self) -> bool:
        """True while the database is left alone after a failure."""
        return time.monotonic() < self._down_until_s

    def describe(self) -> str:
        """One phrase for `describe()`."""
        return f"SQLite {self.path.name}, at most {self.max_bytes / 2**20:g} MiB"

    async def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes under each key, None where there are none; what is not written yet is read from memory."""
        if self._pending or self._writing:
            waiting = [self._unwritten(key) for key in keys]
            if None not in waiting:
                return [value for value, _ in waiting]  # type: ignore[misc]  # none is None
            rest = [key for key, row in zip(keys, waiting, strict=True) if row is None]
            read = iter(await self._ask(rest))
            return [next(read) if row is None else row[0] for row in waiting]
        return await self._ask(keys)

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Hand `value` to the writer; it is committed within milliseconds and can be read at once."""
        await self.set_many(((key, value),), ttl_s=ttl_s)

    async def set_many(self, rows: Iterable[tuple[str, bytes]], *, ttl_s: float | None = None) -> None:
        """Hand every (key, value) to the writer."""
        expires_s = math.inf if ttl_s is None else self.clock() + ttl_s
        self._hand_over((key, (value, expires_s)) for key, value in rows)

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        self._hand_over([(key, (None, 0.0))])

    async def flush(self) -> None:
        """Wait until everything handed over so far is committed, at most FLUSH_S."""
        if self._pending or self._writing:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            self._wake((future, loop))
            await asyncio.wait({future}, timeout=FLUSH_S)

    async def aclose(self) -> None:
        """Commit what is waiting and close the file; a later call opens it again."""
        await self.flush()
        for thread in self._stop():
            await runtime.in_thread(thread.join, FLUSH_S)

    # On the background loop

    def _hand_over(self, rows: Iterable[tuple[str, Row]]) -> None:
        with self._lock:
            for key, row in rows:
                if self._pending_bytes > PENDING_BYTES or (self.is_down and not self._outage_passes):
                    break
                self._pending[key] = row
                self._pending_bytes += _size(key, row)
        self._wake()

    def _start_over(self) -> None:
        """No threads, nothing waiting: at the beginning, and in a forked child, whose connections are its parent's."""
        self._lock = threading.Lock()
        self._pending: dict[str, Row] = {}
        self._writing: dict[str, Row] = {}
        self._pending_bytes = 0
        self._touched: dict[str, int] = {}
        self._expiry_s = math.inf  # when the next row expires
        self._threads: list[threading.Thread] = []
        self._connections: dict[sqlite3.Connection, tuple[int, int] | None] = {}  # and which file each was opened on
        self._beginning_anew = threading.Lock()
        self._reads: SimpleQueue[Waiting | None] | None = None
        self._wakes: SimpleQueue[Wake] | None = None
        self._off_exit: Callable[[], None] | None = None

    def _unwritten(self, key: str) -> Row | None:
        row = self._pending.get(key) or self._writing.get(key)
        return None if row is None else row if row[1] > self.clock() else (None, 0.0)

    async def _ask(self, keys: Sequence[str]) -> list[bytes | None]:
        if self.is_down:
            return [None] * len(keys)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[bytes | None]] = loop.create_future()
        reads = self._reads
        if reads is None:
            reads = self._start()
        reads.put((keys, future, loop))
        return await future

    def _start(self) -> SimpleQueue[Waiting | None]:
        with self._lock:
            if self._reads is None or self._wakes is None:
                self._reads, self._wakes = SimpleQueue(), SimpleQueue()
                for name, work, queue in (("read", self._read, self._reads), ("write", self._write, self._wakes)):
                    self._threads.append(threading.Thread(target=work, args=(queue,), name=f"surefoot-sqlite-{name}", daemon=True))
                    self._threads[-1].start()
                self._off_exit = runtime.on_exit(self.flush)
            return self._reads

    def _wake(self, wake: Wake = True) -> None:  # noqa: FBT002 - what goes into the queue
        if self._wakes is None:
            self._start()
        assert self._wakes is not None
        self._wakes.put(wake)

    def _stop(self) -> list[threading.Thread]:
        """Let the threads end; those that will."""
        with self._lock:
            if self._reads is not None and self._wakes is not None:
                self._reads.put(None)
                self._wakes.put(None)
            if self._off_exit is not None:
                self._off_exit()
            self._reads = self._wakes = self._off_exit = None
            threads, self._threads = self._threads, []
        return threads

    # On the reader's thread

    def _read(self, queue: SimpleQueue[Waiting | None]) -> None:
        """Answer what is asked, as much as has come at once; each loop is woken once for all its answers."""
        connection: sqlite3.Connection | None = None
        at_work = AtWork()
        while True:
            bunch = [queue.get()]
            while not queue.empty():
                bunch.append(queue.get())
            answers: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], list[bytes | None]]]] = {}
            with at_work:
                for asked in bunch:
                    if asked is None:
                        continue
                    keys, future, loop = asked
                    found: list[bytes | None] = [None] * len(keys)
                    try:
                        connection = self._current(connection) or self._connect()
                        found = table.select(connection, keys, self.clock(), self._touched)
                    except Exception as error:  # noqa: BLE001 - a thread that dies of it would leave every caller waiting
                        self._failed(error, connection)
                        connection = None
                    answers.setdefault(loop, []).append((future, found))
                if None in bunch:
                    self._disconnect(connection)
            if len(self._touched) > TOUCHED:
                self._wake()
            for loop, done in answers.items():
                with suppress(RuntimeError):  # the loop closed meanwhile; nobody waits
                    loop.call_soon_threadsafe(_deliver, done)
            if None in bunch:
                return

    # On the writer's thread

    def _write(self, queue: SimpleQueue[Wake]) -> None:
        """Commit what is waiting, a bunch at a time, then tell who waits for it."""
        connection: sqlite3.Connection | None = None
        at_work = AtWork()
        while True:
            wakes: list[Wake] = []
            wait_s = RETRY_S if self._pending else max(SWEEP_AT_LEAST_S, min(SWEEP_S, self._expiry_s - self.clock()))
            with suppress(Empty):
                wakes.append(queue.get(timeout=wait_s))
            while not queue.empty():
                wakes.append(queue.get())
            with at_work:
                if not self.is_down:
                    connection = self._write_waiting(connection)
                if None in wakes:
                    self._disconnect(connection)
            for wake in wakes:
                if isinstance(wake, tuple):
                    with suppress(RuntimeError):
                        wake[1].call_soon_threadsafe(_deliver, [(wake[0], None)])
            if None in wakes:
                return

    def _write_waiting(self, connection: sqlite3.Connection | None) -> sqlite3.Connection | None:
        """Commit what is waiting and delete what has expired; the connection, None if that failed."""
        with self._lock:
            self._writing, self._pending, self._pending_bytes = self._pending, {}, 0
        touched, self._touched = self._touched, {}
        try:
            connection = self._current(connection) or self._connect()
            self._commit(connection, list(self._writing.items()))
            table.touch(connection, touched)
            self._expiry_s = table.sweep(connection, self.clock())
        except Exception as error:  # noqa: BLE001 - as above
            if self._failed(error, connection):
                with self._lock:  # the next time; what is newer goes first
                    self._pending = self._writing | self._pending
                    self._pending_bytes = sum(map(_size, self._pending, self._pending.values()))
            connection = None
        self._writing = {}
        return connection

    def _commit(self, connection: sqlite3.Connection, rows: list[tuple[str, Row]]) -> None:
        refused = table.write(connection, rows, int(self.clock()), self.max_bytes)
        if refused and self._failures.count("rows", time.monotonic()):
            _log.warning("the cache %s cannot hold %d rows: a key or a value that is no text, no bytes, or too large", self.path, refused)

    # On either

    def _connect(self) -> sqlite3.Connection:
        """Open the file, made and laid out if it is new, set aside first if it is spoilt. Raises sqlite3.Error for another program's."""
        file = identity(self.path)
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if not self._begin_anew(error, file):
                raise
        return self._open()

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        create_private(self.path)
        file = identity(self.path)  # before opening it: one that is replaced meanwhile is noticed later
        connection = connect(self.path, application_id=APPLICATION_ID)
        try:
            table.lay_out(connection)
        except BaseException:
            close(connection)
            raise
        self._connections[connection] = file
        return connection

    def _current(self, connection: sqlite3.Connection | None) -> sqlite3.Connection | None:
        """`connection`, if the file it was opened on is still the one at our path; else it is closed."""
        if connection is None or self._connections[connection] == identity(self.path):
            return connection
        self._disconnect(connection)
        return None

    def _disconnect(self, connection: sqlite3.Connection | None) -> None:
        if connection is not None:
            close(connection)
            self._connections.pop(connection, None)

    def _begin_anew(self, error: Exception, file: tuple[int, int] | None) -> bool:
        """Set `file` aside if `error` says that it is spoilt and it was ours; True if it may be opened again at once."""
        if not is_damage(error):
            return False
        with self._beginning_anew:
            if identity(self.path) != file:
                return True  # another thread or process has set it aside
            now_s = time.monotonic()
            if now_s - self._anew_at_s < ANEW_S or not is_ours(self.path, application_id=APPLICATION_ID, table=TABLE):
                return False
            self._anew_at_s = now_s
            try:
                aside = put_aside(self.path)
            except OSError:
                return False
        _log.warning("the cache %s was spoilt (%s): it is set aside as %s and begun anew", self.path, error, aside.name)
        return True

    def _failed(self, error: Exception, connection: sqlite3.Connection | None) -> bool:
        """Begin a spoilt file anew, else leave the database alone for a while and say so; True if what was to be written is kept."""
        file = None if connection is None else self._connections.get(connection)
        self._disconnect(connection)
        if connection is not None and self._begin_anew(error, file):
            return True
        now_s = time.monotonic()
        self._outage_passes = passes(error)
        self._down_until_s = now_s + RETRY_S
        if self._failures.count(cause_of(error), now_s):
            what = "what is asked waits in memory" if self._outage_passes else "every call is a miss"
            _log.warning("the cache %s cannot be used, so %s: %s", self.path, what, error)
        return self._outage_passes


def _size(key: str, row: Row) -> int:
    return ROW_BYTES + len(key) + len(row[0] or b"")


def _deliver(done: Sequence[tuple[asyncio.Future[Any], object]]) -> None:
    for future, found in done:
        if not future.done():
            future.set_result(found)


def _after_fork() -> None:
    """In the child: the parent's connections are kept from the garbage collector, which would close them, and never used."""
    for store in list(_all):
        _left_behind.append(store._connections)  # noqa: SLF001 - same module
        store._start_over()  # noqa: SLF001


_left_behind: list[Any] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
