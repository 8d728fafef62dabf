"""A database for code that may block: one connection, used by one thread at a time, opened at the first use and again after it broke."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from surefoot.storage._sqlite import AtWork
from surefoot.storage.sql.migrations import TableSchema
from surefoot.storage.sql.protocols import DatabaseConnector, Sql
from surefoot.storage.sql.transactions import Transactions

T = TypeVar("T")


class BlockingDatabase:
    """`database.run(fn, schema)`: what `fn` gives, called in a transaction of its own, on the caller's thread."""

    def __init__(self, connector: DatabaseConnector) -> None:
        self.dialect = connector.dialect
        """What it speaks: "sqlite" or "postgresql"."""
        self._busy = AtWork()
        self._transactions = Transactions(connector)
        self.describe = connector.describe
        """One phrase for people, without user or password."""

    def run(self, fn: Callable[[Sql], T], schema: TableSchema, *, reads: bool = False) -> T:
        """What `fn` gives, once the tables of `schema` are there. `reads`: it changes nothing.

        A kept connection that turns out to be cut is replaced and `fn` called once more, unless the commit was already sent. Raises what
        `fn` raises, DatabaseAway while the database cannot be reached, Misconfigured for one that is not for us.
        """
        transactions = self._transactions
        with self._busy:
            if transactions.is_inherited:
                transactions.leave_behind()
            while True:
                was_open = transactions.is_open
                try:
                    return transactions.transact([(fn, schema)], reads=reads)[0]  # type: ignore[no-any-return]
                except Exception as error:
                    if was_open and not transactions.is_open and not transactions.is_in_doubt:
                        continue
                    if (told := transactions.told(error)) is error:
                        raise
                    raise told from error

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._busy:
            self._transactions.drop()

    def __del__(self) -> None:
        """Whoever forgets it leaves no connection behind."""
        if hasattr(self, "_transactions"):
            self._transactions.drop()
