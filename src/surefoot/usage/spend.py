"""Where spend limits are kept: what each has spent and reserved, and who waits for it.

`LocalSpendStore`, here, keeps them in this process; `surefoot.usage.redis_accounts` keeps them in Redis. Every limit has an account of its
own, so that a hard and a soft limit of the same scope, or two services with different limits, are not booked into one.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Protocol

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.rules.spending import FULL, NANO, Claim, SpendCounter, nano
from surefoot.storage.overflow import OverflowNumbers

ACCOUNTS = 10_000  # in memory: some 10 MB
AT_ONCE = 500  # leave it together: a millisecond or two

_log = logging.getLogger("surefoot.spend_store")


def shown(account: str) -> str:
    """An account as messages name it: what is added up in it."""
    return account.partition("|")[0]


class Hold(Struct, Documented, frozen=True, kw_only=True, gc=False):
    """An amount set aside."""

    account: str
    """Which account it was taken from."""
    amount_usd: float
    """US dollars set aside."""
    spent_usd: float = 0.0
    """What the account had spent before, in US dollars."""
    total_usd: float = 0.0
    """What it had spent and reserved, this amount included, in US dollars."""
    id: str = ""
    """Names the reservation where several processes share the account; empty in one process."""
    life: object = None
    """Stands for the event loop it was reserved on; None where several processes share the account."""


class Busy(Struct, frozen=True):
    """Nothing was set aside, but there may be room once calls under way are finished."""


BUSY = Busy()


class SpendStore(Protocol):
    """Where accounts are kept: in this process, or shared by many."""

    waiters: Waiters

    async def reserve(self, account: str, claim: Claim, *, limit_usd: float, force: bool) -> Hold | Busy | None:
        """Set aside what the claim may take; None if it does not fit (`force`: `claim.worst`, which always fits)."""

    def settle(self, hold: Hold, actual_usd: float) -> None:
        """Replace a reservation by the actual cost; never waits."""

    def idle(self) -> bool:
        """True if nothing is reserved and nobody waits."""


class Place:
    """A call's place in the queue for one account. It keeps it while it tries, so that nobody overtakes it; `leave()` gives it up."""

    __slots__ = ("_queue", "_woken", "account", "is_due")

    def __init__(self, account: str, queue: deque[Place]) -> None:
        self.account = account
        self._queue = queue
        self.is_due = False
        self._woken: asyncio.Future[None] | None = None
        queue.append(self)

    async def turn(self, timeout_s: float, *, poll_s: float | None = None) -> None:
        """Wait until there may be room, at most `timeout_s`; with `poll_s` the first in the queue looks after so long in any case."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while not self.is_due and (left_s := until_s - loop.time()) > 0:
            self._woken = loop.create_future()
            try:
                await asyncio.wait({self._woken}, timeout=left_s if poll_s is None else min(left_s, poll_s))
            finally:
                self._woken = None
            if poll_s is not None and self._queue[0] is self:
                break
        self.is_due = False

    def wake(self) -> None:
        """There may be room: this one's turn has come."""
        self.is_due = True
        if self._woken is not None and not self._woken.done() and not self._woken.get_loop().is_closed():
            self._woken.set_result(None)

    def leave(self, *, in_vain: bool = False) -> None:
        """It has what it waited for, or waits no more: the next one's turn has come.

        `in_vain`: there is no room for it. Then all may try at once, as most would hear the same one after the other.
        """
        with suppress(ValueError):  # of a loop that died
            self._queue.remove(self)
        for place in self._queue:
            if place.is_due:  # and so are those behind
                break
            place.wake()
            if not in_vain:
                break


class Waiters:
    """Calls that wait for room in an account, first come, first served; they live on one event loop at a time."""

    __slots__ = ("_loop", "_queues")

    def __init__(self) -> None:
        self._queues: dict[str, deque[Place]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def any(self, account: str) -> bool:
        """True if somebody waits for `account`."""
        return bool(self._queues.get(account)) and self._loop is asyncio.get_running_loop()

    def idle(self) -> bool:
        """True if nobody waits."""
        return not any(self._queues.values())

    def join(self, account: str) -> Place:
        """A place at the end of the queue for `account`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # whoever waited on another loop has gone with it
            self._queues.clear()
            self._loop = loop
        queue = self._queues.get(account)
        if queue is None:
            for name in [name for name, one in self._queues.items() if not one]:
                del self._queues[name]
            queue = self._queues[account] = deque()
        return Place(account, queue)

    def wake(self, account: str) -> None:
        """Give the first that waits for `account` its turn."""
        queue = self._queues.get(account)
        if queue and self._loop is not None and not self._loop.is_closed():
            queue[0].wake()


class LocalSpendStore:
    """Accounts of this process. What calls of an event loop that has died had reserved counts as spent: nobody can tell what they cost.

    Beyond ACCOUNTS, those opened first of which nothing is reserved leave memory for a temporary database, and come back when they are
    charged again: tenants may come by the million, and what each has spent is not forgotten.
    """

    def __init__(self) -> None:
        self.waiters = Waiters()
        self._counters: dict[str, SpendCounter] = {}
        self._at_rest = OverflowNumbers()
        self._most = ACCOUNTS
        self._latest: dict[int, str] = {}  # by the length of its key, which tells days from months: the latest period seen
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life = object()

    async def reserve(self, account: str, claim: Claim, *, limit_usd: float, force: bool) -> Hold | Busy | None:
        """Set aside; here at once."""
        return self.hold(account, claim, limit_usd=limit_usd, force=force)

    def hold(self, account: str, claim: Claim, *, limit_usd: float, force: bool) -> Hold | Busy | None:
        """`reserve` for callers that need not wait."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move(loop)
        counter = self._counters.get(account) or self._open(account, limit_usd)
        spent = counter.spent
        granted = counter.force(claim.worst) if force else counter.reserve(claim)
        if granted < 0:
            return None if granted == FULL else BUSY
        total = spent + counter.reserved
        return Hold(account=account, amount_usd=granted / NANO, spent_usd=spent / NANO, total_usd=total / NANO, life=self._life)

    def settle(self, hold: Hold, actual_usd: float) -> None:
        """Replace at once, and let the next one try that waits for room."""
        counter = self._counters.get(hold.account)
        if counter is None:  # of a period long past, or written off and at rest
            self._at_rest.add(hold.account, nano(actual_usd) - nano(hold.amount_usd))
            return
        settle = counter.settle if hold.life is self._life else counter.correct
        settle(nano(hold.amount_usd), nano(actual_usd))
        self.waiters.wake(hold.account)

    def spent_usd(self, account: str) -> float:
        """What the account has paid so far."""
        counter = self._counters.get(account)
        return (counter.spent if counter is not None else self._at_rest.get(account) or 0) / NANO

    def idle(self) -> bool:
        """True if nothing is reserved and nobody waits."""
        return self.waiters.idle() and not any(counter.reserved for counter in self._counters.values())

    def _open(self, account: str, limit_usd: float) -> SpendCounter:
        """A new account. The first one of a new day or month is the end of those of past days or months."""
        key = account.rpartition("|")[2]
        if key and key > self._latest.get(len(key), ""):
            self._latest[len(key)] = key
            for name in [name for name, one in self._counters.items() if not one.reserved and _is_past(name.rpartition("|")[2], key)]:
                del self._counters[name]
            self._at_rest.drop_classes_before(key)
        if len(self._counters) >= self._most:
            self._lay_aside()
        counter = self._counters[account] = SpendCounter(nano(limit_usd))
        counter.spent = self._at_rest.take(account) or 0
        return counter

    def _lay_aside(self) -> None:
        """Make room for new accounts."""
        is_idle = ((name, one) for name, one in self._counters.items() if not one.reserved and not self.waiters.any(name))
        some = list(islice(is_idle, AT_ONCE))
        try:
            self._at_rest.put([(name, one.spent, name.rpartition("|")[2]) for name, one in some if one.spent])
        except sqlite3.Error as error:
            self._most += AT_ONCE
            _log.warning("spend accounts have no room on the disk (%s): %d stay in memory", error, len(self._counters))
            return
        for name, _ in some:
            del self._counters[name]

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None and self._loop.is_closed():
            for counter in self._counters.values():
                counter.write_off()
            self._life = object()
        self._loop = loop


def _is_past(key: str, latest: str) -> bool:
    return len(key) == len(latest) and key < latest
