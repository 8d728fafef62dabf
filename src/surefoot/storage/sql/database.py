"""A database behind one thread: functions of a connection, run in transactions, those that come together in one.

A commit costs more than most statements, so what waits when the thread is free shares one. If a function raises, the transaction is taken
back and its functions are run again one by one: they must not mind being run twice before the commit.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from surefoot.errors import Refused
from surefoot.storage._sqlite import AtWork
from surefoot.storage.sql.migrations import TableSchema, migrate
from surefoot.storage.sql.protocols import DatabaseConnector, Sql, SqlConnection

T = TypeVar("T")

GROUP = 256  # functions a transaction: a commit's cost is nothing to so many, and nobody waits for more


class DatabaseAway(Refused):
    """The database cannot be reached or is locked by somebody else; nothing was changed. It may be back a moment later."""


class _Asked:
    __slots__ = ("alone", "fn", "future", "loop", "reads", "schema")

    def __init__(self, fn: Callable[[Sql], Any], schema: TableSchema, *, reads: bool, alone: bool) -> None:
        self.fn = fn
        self.schema = schema
        self.reads = reads
        self.alone = reads or alone
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()


_Told = tuple[_Asked, Any, BaseException | None]
_left_behind: list[Any] = []  # a parent process's connections: closed here, they would say goodbye in its name


class Database:
    """One database of this process: `await database.run(fn, schema)`. It opens with its first use, and again after `aclose()`."""

    def __init__(self, connector: DatabaseConnector) -> None:
        self._connector = connector
        self.dialect = connector.dialect
        """What it speaks: "sqlite" or "postgresql"."""
        self._busy = AtWork()
        self._start_over()

    def _start_over(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Asked | None] | None = None
        self._connection: SqlConnection | None = None

    def describe(self) -> str:
        """One phrase for people, without user or password."""
        return self._connector.describe()

    async def run(self, fn: Callable[[Sql], T], schema: TableSchema, *, reads: bool = False, alone: bool = False) -> T:
        """What `fn` gives, called in a transaction on the database's thread, once the tables of `schema` are there.

        `reads`: it changes nothing, and shall wait for nobody who does. `alone`: in a transaction of its own, as it locks rows that others
        want: two who hold one each and want the other's would wait in a circle. Raises what `fn` raises, DatabaseAway (nothing was changed)
        while the database cannot be reached, Misconfigured for one that is no database of ours.
        """
        work = _Asked(fn, schema, reads=reads, alone=alone)
        self._submit(work)
        return await work.future  # type: ignore[no-any-return]

    def _submit(self, work: _Asked) -> None:
        if self._process != os.getpid():
            _left_behind.append(self._connection)
            self._start_over()
        with self._lock:
            if self._queue is None:
                self._queue = SimpleQueue()
                threading.Thread(target=self._serve, args=(self._queue,), name="surefoot-database", daemon=True).start()
            self._queue.put(work)

    async def aclose(self) -> None:
        """Close once all that was asked before is done."""
        with self._lock:
            queue, self._queue = self._queue, None
        if queue is not None:
            queue.put(None)

    def _serve(self, queue: SimpleQueue[_Asked | None]) -> None:
        """The thread: until it is told None."""
        held: _Asked | None = None
        while True:
            first = held or queue.get()
            held = None
            if first is None:
                break
            group, is_over = [first], False
            while not first.alone and len(group) < GROUP and not queue.empty():
                more = queue.get()
                if more is None or more.alone:
                    held, is_over = more, more is None
                    break
                group.append(more)
            self._told(self._done(group))
            if is_over:
                break
        with self._busy:
            self._drop()

    def _done(self, group: list[_Asked]) -> list[_Told]:
        """What came of each: all in one transaction, or, if one fails, each in its own."""
        with self._busy:
            try:
                return self._transact(group)
            except Exception as error:  # noqa: BLE001 - whoever asked hears it
                if len(group) == 1 or self._connector.is_away(error):
                    return [(work, None, self._failure(error)) for work in group]
        return [told for work in group for told in self._done([work])]

    def _transact(self, group: list[_Asked]) -> list[_Told]:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connector.connect()
        try:
            for work in group:
                if work.schema.part not in connection.schemas:
                    migrate(connection, work.schema)
            connection.begin(reads=group[0].reads)
            told: list[_Told] = [(work, work.fn(connection), None) for work in group]
            connection.commit()
        except BaseException as error:
            if self._connector.is_away(error):
                self._drop()
            else:
                connection.rollback()
            raise
        return told

    def _failure(self, error: Exception) -> Exception:
        if not self._connector.is_away(error):
            return self._connector.explained(error)
        away = DatabaseAway(
            f"{self.describe()} cannot be used now ({type(error).__name__}: {error}); nothing was changed", retry_after_s=1.0
        )
        away.__cause__ = error
        return away

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it may be broken already
                connection.close()

    def _told(self, told: list[_Told]) -> None:
        """Tell those who wait, each loop once."""
        loops: dict[asyncio.AbstractEventLoop, list[_Told]] = {}
        for one in told:
            loops.setdefault(one[0].loop, []).append(one)
        for loop, some in loops.items():
            with suppress(RuntimeError):  # a loop that has closed meanwhile: nobody is there to hear
                loop.call_soon_threadsafe(_tell, some)


def _tell(some: list[_Told]) -> None:
    for work, value, error in some:
        if work.future.done():  # who asked has left
            continue
        if error is not None:
            work.future.set_exception(error)
        else:
            work.future.set_result(value)
