"""Values in one file, shared by several processes, bounded in size, whole after kill -9.

The database runs in WAL mode (readers and the writer do not wait for each other) with synchronous=NORMAL: what was committed outlives a
killed process; a power cut may lose the last commits, never the file. Two threads of this store do all the work, one reads, one writes, so
the home loop never waits for a disk. Writes are handed over and committed in bunches; until then they are read from memory. When the file
reaches its bound, expired rows leave first, then the longest unused (to the hour: a hit is not a write).

A file that cannot be opened, or is another program's, makes the store a miss and a log line, at most one a second.
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
from queue import SimpleQueue
from typing import Any, TypeAlias
from weakref import WeakSet, WeakValueDictionary

from surefoot import runtime
from surefoot._sqlite import AtWork, Transaction, close, connect
from surefoot.envelope import wall_s
from surefoot.errors import Misconfigured

MAX_BYTES = 2**30  # a gigabyte: a million answers, or 160,000 vectors of 1,536 numbers
PENDING_BYTES = 64 * 2**20  # writes waiting for the disk; beyond this a disk is stuck, and a write not made is only a later miss
TOUCHED = 1000  # rows whose use is still to be noted; usually that is done with the next write
BUNCH_BYTES = 4 * 2**20  # committed at once: long enough to be cheap, short enough that another process's write waits milliseconds
SLACK = 0.9  # once full, room is made down to this share of the bound, so that not every write makes room
TOUCH_S = 3600.0  # "used" is true to the hour
RETRY_S = 1.0  # a database that failed is left alone so long
FLUSH_S = 1.5  # at exit, what the home loop grants its last words less a margin
KEYS_AT_ONCE = 500  # below SQLite's default bound of 999 variables
APPLICATION_ID = 0x73667431  # "sft1" in the file's header, so that nobody else's database is taken for ours
TABLE = "kept_1"  # the number is the schema's version: another version's rows stand in another table and are not looked at

Waiting: TypeAlias = "tuple[Sequence[str], asyncio.Future[list[bytes | None]], asyncio.AbstractEventLoop]"
Wake: TypeAlias = "tuple[asyncio.Future[None], asyncio.AbstractEventLoop] | bool | None"  # who waits for the commit; None: stop

_log = logging.getLogger("surefoot.stores")
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
        self._logged_s = -math.inf
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
        with self._lock:
            for key, value in rows:
                if self._pending_bytes > PENDING_BYTES or self.is_down:
                    break
                self._pending[key] = (value, expires_s)
                self._pending_bytes += len(value)
        self._wake()

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        with self._lock:
            self._pending[key] = (None, 0.0)
        self._wake()

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

    # On the home loop

    def _start_over(self) -> None:
        """No threads, nothing waiting: at the beginning, and in a forked child, whose connections are its parent's."""
        self._lock = threading.Lock()
        self._pending: dict[str, tuple[bytes | None, float]] = {}
        self._writing: dict[str, tuple[bytes | None, float]] = {}
        self._pending_bytes = 0
        self._touched: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self._connections: list[sqlite3.Connection] = []
        self._reads: SimpleQueue[Waiting | None] | None = None
        self._wakes: SimpleQueue[Wake] | None = None
        self._off_exit: Callable[[], None] | None = None

    def _unwritten(self, key: str) -> tuple[bytes | None, float] | None:
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
                        connection = connection or self._connect()
                        found = self._select(connection, keys)
                    except Exception as error:  # noqa: BLE001 - a thread that dies of it would leave every caller waiting
                        self._failed(error, connection)
                        connection = None
                    answers.setdefault(loop, []).append((future, found))
                if None in bunch:
                    self._disconnect(connection)
            for loop, done in answers.items():
                with suppress(RuntimeError):  # the loop closed meanwhile; nobody waits
                    loop.call_soon_threadsafe(_deliver, done)
            if None in bunch:
                return

    def _select(self, connection: sqlite3.Connection, keys: Sequence[str]) -> list[bytes | None]:
        now_s = self.clock()
        if len(keys) == 1:
            rows = connection.execute(f"SELECT key, value, expires_s, used_s FROM {TABLE} WHERE key = ?", keys).fetchall()  # noqa: S608
        else:
            rows = []
            for at in range(0, len(keys), KEYS_AT_ONCE):
                part = keys[at : at + KEYS_AT_ONCE]
                marks = ",".join("?" * len(part))
                rows += connection.execute(f"SELECT key, value, expires_s, used_s FROM {TABLE} WHERE key IN ({marks})", part)  # noqa: S608
        found: dict[str, bytes] = {}
        for key, value, expires_s, used_s in rows:
            if expires_s > now_s:
                found[key] = value
                if used_s < now_s - TOUCH_S:
                    self._touched[key] = int(now_s)
        if len(self._touched) > TOUCHED:
            self._wake()
        return [found.get(key) for key in keys]

    # On the writer's thread

    def _write(self, queue: SimpleQueue[Wake]) -> None:
        """Commit what is waiting, a bunch at a time, then tell who waits for it."""
        connection: sqlite3.Connection | None = None
        at_work = AtWork()
        while True:
            wakes = [queue.get()]
            while not queue.empty():
                wakes.append(queue.get())
            with self._lock:
                self._writing, self._pending, self._pending_bytes = self._pending, {}, 0
            with at_work:
                try:
                    if not self.is_down:
                        connection = connection or self._connect()
                        self._commit(connection, list(self._writing.items()))
                except Exception as error:  # noqa: BLE001 - as above; what was to be written is a later miss
                    self._failed(error, connection)
                    connection = None
                if None in wakes:
                    self._disconnect(connection)
            self._writing = {}
            for wake in wakes:
                if isinstance(wake, tuple):
                    with suppress(RuntimeError):
                        wake[1].call_soon_threadsafe(_deliver, [(wake[0], None)])
            if None in wakes:
                return

    def _commit(self, connection: sqlite3.Connection, rows: list[tuple[str, tuple[bytes | None, float]]]) -> None:
        now_s = int(self.clock())
        bound = min(BUNCH_BYTES, self.max_bytes // 16)
        while rows:
            size = count = 0
            while count < len(rows) and size < bound:
                size += len(rows[count][1][0] or b"")
                count += 1
            bunch, rows = rows[:count], rows[count:]
            with Transaction(connection):
                connection.executemany(
                    f"INSERT INTO {TABLE} (key, value, expires_s, used_s) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "  # noqa: S608
                    "value = excluded.value, expires_s = excluded.expires_s, used_s = excluded.used_s",
                    [(key, value, expires_s, now_s) for key, (value, expires_s) in bunch if value is not None],
                )
                connection.executemany(
                    f"DELETE FROM {TABLE} WHERE key = ?",  # noqa: S608
                    [(key,) for key, (value, _) in bunch if value is None],
                )
            self._make_room(connection)
        touched, self._touched = self._touched, {}
        if touched:
            with Transaction(connection):
                connection.executemany(
                    f"UPDATE {TABLE} SET used_s = ? WHERE key = ?",  # noqa: S608
                    [(used_s, key) for key, used_s in list(touched.items())],
                )

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Below the bound again: expired rows first, then the longest unused."""
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]

        def used_bytes() -> int:
            pages = connection.execute("PRAGMA page_count").fetchone()[0] - connection.execute("PRAGMA freelist_count").fetchone()[0]
            return int(pages * page_bytes)

        if used_bytes() <= self.max_bytes:
            return
        with Transaction(connection):
            connection.execute(f"DELETE FROM {TABLE} WHERE expires_s <= ?", (self.clock(),))  # noqa: S608
        while (used := used_bytes()) > self.max_bytes * SLACK:
            with Transaction(connection):
                count = connection.execute(f"SELECT count(*) FROM {TABLE}").fetchone()[0]  # noqa: S608
                share = max(1, math.ceil(count * (1 - self.max_bytes * SLACK / used)))
                connection.execute(
                    f"DELETE FROM {TABLE} WHERE id IN (SELECT id FROM {TABLE} ORDER BY used_s, id LIMIT ?)",  # noqa: S608
                    (share,),
                )
            if count == 0:
                return

    # On either

    def _connect(self) -> sqlite3.Connection:
        """Open the file, made and laid out if it is new. Raises sqlite3.Error for another program's."""
        connection = connect(self.path, application_id=APPLICATION_ID)
        try:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (f"{TABLE}_used",)).fetchone():
                with Transaction(connection):
                    connection.execute(
                        f"CREATE TABLE IF NOT EXISTS {TABLE} (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, "
                        "expires_s REAL NOT NULL, used_s INTEGER NOT NULL)"
                    )
                    connection.execute(f"CREATE INDEX IF NOT EXISTS {TABLE}_used ON {TABLE} (used_s)")
        except BaseException:
            close(connection)
            raise
        self._connections.append(connection)
        return connection

    def _disconnect(self, connection: sqlite3.Connection | None) -> None:
        if connection is not None:
            close(connection)
            self._connections.remove(connection)

    def _failed(self, error: Exception, connection: sqlite3.Connection | None) -> None:
        """Leave the database alone for a while, and say so."""
        self._disconnect(connection)
        now_s = time.monotonic()
        self._down_until_s = now_s + RETRY_S
        if now_s - self._logged_s >= RETRY_S:
            self._logged_s = now_s
            _log.warning("the cache %s cannot be used, so every call is a miss: %s", self.path, error)


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
