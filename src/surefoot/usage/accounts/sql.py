"""Spend limits in SQLite or Postgres: one account for many processes.

A reservation is taken and settled in one transaction each, so any number of processes together stay within the limit. It is a lease:
whoever holds it renews it. What a killed process held counts as spent after LEASE_S, as nobody can tell what its calls cost; one that comes
back settles all the same, and the account is corrected. Settling waits for nobody and is done once, however often it is sent. While the
database cannot be reached a hard limit refuses, and a soft one sends and is booked later.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from surefoot.errors import BudgetExceeded
from surefoot.rules.spending import FULL, NANO, WAIT, Claim, grant, nano
from surefoot.storage.sql import Database, DatabaseAway, Sql, TableSchema
from surefoot.usage.spend import BUSY, Busy, Hold, Waiters

SPEND = TableSchema("spend", "surefoot.usage.accounts")
LEASE_S = 60.0  # what a killed or stopped process had reserved counts as spent after so long
KEPT_S = 86_400.0  # how long a settlement is known to have been made, so that sending it again changes nothing
RETRY_S = 1.0
UNSENT = 10_000  # settlements kept while the database is away; beyond that the oldest are dropped, and their leases run out
SWEPT = 100  # old rows deleted at a reservation, at most


class SqlSpendStore:
    """Accounts in `database`, shared by everybody who names the same one. `account`: all limits are one, of this name."""

    def __init__(self, database: Database, *, account: str = "", lease_s: float = LEASE_S) -> None:
        self._database = database
        self._account = account
        self._lease_s = lease_s
        self.waiters = Waiters()
        self._start_over()

    def _start_over(self) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: set[str] = set()
        self._unsent: deque[tuple[Hold, float]] = deque(maxlen=UNSENT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_sending = False
        self._is_renewing = False

    def describe(self) -> str:
        """One phrase for `describe()`."""
        return f"accounts in {self._database.describe()}"

    def idle(self) -> bool:
        """True if nothing is reserved by this process, everything is booked, and nobody waits."""
        return not self._held and not self._unsent and not self._is_sending and self.waiters.idle()

    async def reserve(self, account: str, claim: Claim, *, limit_usd: float, force: bool) -> Hold | Busy | None:
        """Set aside; None if it does not fit. Raises BudgetExceeded while the database cannot be reached, unless `force`."""
        self._at_home()
        account = self._account or account
        hold = Hold(account=account, amount_usd=claim.worst / NANO, id=secrets.token_hex(8))
        self._held.add(hold.id)
        take = partial(_reserve, account=account, hold=hold.id, claim=claim, limit=nano(limit_usd), force=force, lease_s=self._lease_s)
        try:
            granted, spent, total = await self._database.run(take, SPEND)
        except DatabaseAway as error:
            self.settle(hold, 0.0)
            if force:
                return Hold(account=account, amount_usd=hold.amount_usd, id=secrets.token_hex(8))
            raise BudgetExceeded(
                f"what is left of the budget for {account.partition('|')[0]} is not known: {error}. Nothing was sent; a soft limit "
                "(mode='soft') would have sent",
                retry_after_s=RETRY_S,
            ) from error
        except BaseException:
            self.settle(hold, 0.0)  # it may have been taken all the same
            raise
        if granted < 0:
            self._held.discard(hold.id)
            return BUSY if granted == WAIT else None
        return Hold(account=account, amount_usd=granted / NANO, id=hold.id, spent_usd=spent / NANO, total_usd=total / NANO)

    def settle(self, hold: Hold, actual_usd: float) -> None:
        """Replace a reservation by the actual cost; written beside the call, again until it is booked."""
        self._held.discard(hold.id)
        self._unsent.append((hold, actual_usd))
        if not self._is_sending:
            self._is_sending = True
            self._beside(self._send())

    async def spent_usd(self, account: str) -> float:
        """What the account has paid so far, by everybody. Raises DatabaseAway."""
        name = self._account or account
        found = await self._database.run(lambda sql: sql.row("SELECT spent FROM sf_account WHERE name = ?", (name,)), SPEND, reads=True)
        return found[0] / NANO if found else 0.0

    async def aclose(self) -> None:
        """Book what is left, as far as the database is there."""
        if self._loop is asyncio.get_running_loop():
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._is_sending = self._is_renewing = False  # a task cancelled before it began says nothing
        if self._unsent:
            try:
                await self._book(list(self._unsent))
            except DatabaseAway:
                return
            self._unsent.clear()

    def _at_home(self) -> None:
        """Begin anew in a forked child or on a new background loop; renew leases from now on."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._process != os.getpid():
            unsent = self._unsent if self._process == os.getpid() else ()
            self._start_over()
            self._unsent.extend(unsent)
            self._loop = loop
        if not self._is_renewing:
            self._is_renewing = True
            self._beside(self._renew())

    def _beside(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self) -> None:
        """Book what is unbooked, until nothing is."""
        try:
            while self._unsent:
                some = list(self._unsent)
                try:
                    await self._book(some)
                except DatabaseAway:
                    await asyncio.sleep(RETRY_S)
                    continue
                for _ in range(min(len(some), len(self._unsent))):
                    self._unsent.popleft()
                for account in {hold.account for hold, _ in some}:
                    self.waiters.wake(account)
        finally:
            self._is_sending = False

    async def _book(self, some: Sequence[tuple[Hold, float]]) -> None:
        rows = [(hold.id, hold.account, nano(actual)) for hold, actual in some]
        await self._database.run(lambda sql: _settle(sql, rows), SPEND)

    async def _renew(self) -> None:
        """While anything is held: renew its lease."""
        try:
            while True:
                await asyncio.sleep(self._lease_s / 3)
                if not self._held:
                    return
                held = list(self._held)
                try:
                    await self._database.run(lambda sql: _extend(sql, held, self._lease_s), SPEND)  # noqa: B023 - awaited before the next
                except DatabaseAway:
                    continue
        finally:
            self._is_renewing = False


class OwnedSqlSpendStore(SqlSpendStore):
    """The same with a database of its own, which is closed with it."""

    async def aclose(self) -> None:
        """Book what is left, close the connection."""
        await super().aclose()
        await self._database.aclose()


def _reserve(sql: Sql, *, account: str, hold: str, claim: Claim, limit: int, force: bool, lease_s: float) -> tuple[int, int, int]:
    """(granted, spent before, spent and reserved after); WAIT or FULL in place of granted."""
    now = sql.now()
    sql.change("INSERT INTO sf_account (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (account,))
    spent, reserved = _written_off(sql, account, now)
    if sql.row("SELECT 1 FROM sf_hold WHERE id = ?", (hold,)) is not None:  # its settlement came first
        return FULL, spent, spent + reserved
    granted = claim.worst if force else grant(claim, limit=limit, spent=spent, reserved=reserved)
    if granted < 0:
        return granted, spent, spent + reserved
    sql.change("UPDATE sf_account SET reserved = reserved + ? WHERE name = ?", (granted, account))
    sql.change(
        "INSERT INTO sf_hold (id, account, amount, state, lease) VALUES (?, ?, ?, 'held', ?)", (hold, account, granted, now + lease_s)
    )
    return granted, spent, spent + reserved + granted


def _sums(sql: Sql, account: str) -> tuple[int, int]:
    lock = " FOR UPDATE" if sql.dialect == "postgresql" else ""
    found = sql.row(f"SELECT spent, reserved FROM sf_account WHERE name = ?{lock}", (account,))  # noqa: S608 - our own word
    return (int(found[0]), int(found[1])) if found else (0, 0)


def _written_off(sql: Sql, account: str, now: float) -> tuple[int, int]:
    """Spent and reserved, once what dead processes held counts as spent; the account's row is locked."""
    spent, reserved = _sums(sql, account)
    lost = sql.rows("SELECT id, amount FROM sf_hold WHERE account = ? AND state = 'held' AND lease < ?", (account, now))
    for hold, amount in lost:
        sql.change("UPDATE sf_hold SET state = 'lost' WHERE id = ?", (hold,))
        spent, reserved = spent + amount, reserved - amount
    if lost:
        sql.change("UPDATE sf_account SET spent = ?, reserved = ? WHERE name = ?", (spent, reserved, account))
        sql.change(
            f"DELETE FROM sf_hold WHERE id IN (SELECT id FROM sf_hold WHERE state <> 'held' AND lease < ? LIMIT {SWEPT})",  # noqa: S608 - a number
            (now - KEPT_S,),
        )
    return spent, reserved


def _settle(sql: Sql, rows: Sequence[tuple[str, str, int]]) -> None:
    now = sql.now()
    for hold, account, actual in sorted(rows, key=lambda row: row[1]):  # in one order, so that nobody waits in a circle
        sql.change("INSERT INTO sf_account (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (account,))
        _sums(sql, account)
        found = sql.row("SELECT state, amount FROM sf_hold WHERE id = ?", (hold,))
        state, amount = found or ("", 0)
        if state == "settled":
            continue
        spent = actual - (amount if state == "lost" else 0)
        reserved = -amount if state == "held" else 0
        sql.change("UPDATE sf_account SET spent = spent + ?, reserved = reserved + ? WHERE name = ?", (spent, reserved, account))
        if found is None:
            sql.change("INSERT INTO sf_hold (id, account, amount, state, lease) VALUES (?, ?, 0, 'settled', ?)", (hold, account, now))
        else:
            sql.change("UPDATE sf_hold SET state = 'settled', lease = ? WHERE id = ?", (now, hold))


def _extend(sql: Sql, holds: Sequence[str], lease_s: float) -> None:
    sql.change_many("UPDATE sf_hold SET lease = ? WHERE id = ? AND state = 'held'", [(sql.now() + lease_s, hold) for hold in holds])
