"""A database behind one thread: functions of a connection, run in transactions, those that come together in one.

A commit costs more than most statements, so what waits when the thread is free shares one. If a function raises, the transaction is taken
back and its functions are run again one by one: they must not mind being run twice before the commit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from surefoot.storage._sqlite import AtWork
from surefoot.storage.sql.migrations import TableSchema
from surefoot.storage.sql.protocols import DatabaseConnector, Sql
from surefoot.storage.sql.transactions import DatabaseAway, Transactions

T = TypeVar("T")

GROUP = 256  # functions a transaction: a commit's cost is nothing to so many, and nobody waits for more


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


class Database:
    """One database of this process: `await database.run(fn, schema)`. It opens with its first use, and again after `aclose()`."""

    def __init__(self, connector: DatabaseConnector) -> None:
        self.dialect = connector.dialect
        """What it speaks: "sqlite" or "postgresql"."""
        self.describe = connector.describe
        """One phrase for people, without user or password."""
        self._busy = AtWork()
        self._transactions = Transactions(connector)
        self._start_over()

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Asked | None] | None = None

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
        if self._transactions.is_inherited:
            self._start_over()
            self._transactions.leave_behind()
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
            self._transactions.drop()

    def _done(self, group: list[_Asked]) -> list[_Told]:
        """What came of each: all in one transaction, or, if one fails, each in its own."""
        with self._busy:
            try:
                values = self._transactions.transact([(work.fn, work.schema) for work in group], reads=group[0].reads)
                return [(work, value, None) for work, value in zip(group, values, strict=True)]
            except Exception as error:  # noqa: BLE001 - whoever asked hears it
                if len(group) == 1 or isinstance(self._transactions.told(error), DatabaseAway):
                    return [(work, None, self._transactions.told(error)) for work in group]
        return [told for work in group for told in self._done([work])]

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
