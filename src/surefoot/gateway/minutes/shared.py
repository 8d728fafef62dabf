"""Requests and tokens a minute for all processes of a gateway: kept in its database, a second's worth in hand.

While the database is away each process keeps to its share of every limit, by what it has counted itself.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.gateway.minutes.lease import LEASE_S, MinuteAsked, MinuteGiven, MinuteState, give
from surefoot.gateway.minutes.windows import MinuteWindow
from surefoot.storage.sql import Database, DatabaseAway, Sql, TableSchema

MINUTES = TableSchema("minutes", "surefoot.gateway.minutes")
OWNERS = 100_000  # limits whose last minute is remembered here: some 60 MB at most
REFUSED_S = 0.25  # who was refused is refused for so long without a question
ANSWER_S = 1.0  # a database that takes longer is away: calls shall not wait for it
PROBE_S = 1.0  # between two questions to one that is away

_state = msgspec.json.Decoder(MinuteState)


class Take(Struct, Documented, frozen=True):
    """What a request takes of one limit."""

    name: str
    """Of the limit: whose, and what is counted."""
    amount: int
    """How much."""
    limit: int
    """What all processes together may use in any 60 seconds."""


class _Lease:
    """What this process has in hand of one limit."""

    __slots__ = ("at", "full_until", "here", "left", "limit", "need", "processes", "until", "wait_until")

    def __init__(self) -> None:
        self.left = 0  # below 0: used beyond what was given
        self.until = 0.0  # by the loop's clock
        self.at = 0  # the second it was given in, by the database's clock
        self.limit = 0
        self.need = 0  # what was refused
        self.full_until = self.wait_until = 0.0
        self.processes = 1
        self.here = MinuteWindow()  # what this process itself has used, for when the database is away


class SharedMinutes:
    """`await SharedMinutes(database).take([...])`. `database` None: this process alone is counted. Lives on one loop."""

    def __init__(self, database: Database | None) -> None:
        self._database = database
        self._member = f"{os.getpid()}-{secrets.token_hex(3)}"
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._asking = asyncio.Lock()
        self._away_until = 0.0
        self._keeping: asyncio.Task[None] | None = None
        self._open: set[str] = set()  # leases of which something is to be given back

    async def take(self, takes: Sequence[Take]) -> tuple[Take, float] | None:
        """Take all, or none: then which was refused, and the seconds until there may be enough."""
        now = asyncio.get_running_loop().time()
        if self._database is None or now < self._away_until:
            return self._take_here(takes, now, is_share=self._database is not None)
        if not self._has(takes, now):
            async with self._asking:  # one question at a time: what it brings may be enough for who waits behind it
                now = asyncio.get_running_loop().time()
                refused = self._known_refusal(takes, now)
                if refused is None and not self._has(takes, now):
                    refused = await self._ask(takes, now)
                if refused is not None:
                    return refused
                if now < self._away_until:
                    return self._take_here(takes, now, is_share=True)
        for one in takes:
            lease = self._leases[one.name]
            lease.left -= one.amount
            lease.here.add(one.amount, now)
        return None

    def add(self, name: str, amount: int, limit: int) -> None:
        """What is known only now; below 0: what was taken and not needed."""
        lease = self._lease(name)
        lease.here.add(amount, asyncio.get_running_loop().time())
        if self._database is not None:
            lease.left -= amount
            lease.limit = limit
            self._note(name)

    def _lease(self, name: str) -> _Lease:
        found = self._leases.get(name)
        if found is None:
            found = self._leases[name] = _Lease()
            if len(self._leases) > OWNERS:
                self._open.discard(self._leases.popitem(last=False)[0])
        else:
            self._leases.move_to_end(name)
        return found

    def _has(self, takes: Sequence[Take], now: float) -> bool:
        """Whether what is in hand is enough."""
        leases = [self._lease(one.name) for one in takes]
        return all(
            one.amount <= lease.left and now < lease.until and one.limit >= lease.limit for one, lease in zip(takes, leases, strict=True)
        )

    def _known_refusal(self, takes: Sequence[Take], now: float) -> tuple[Take, float] | None:
        for one in takes:
            lease = self._leases[one.name]
            if now < lease.full_until and one.amount >= lease.need and one.limit <= lease.limit:
                return one, lease.wait_until - now
        return None

    async def _ask(self, takes: Sequence[Take], now: float) -> tuple[Take, float] | None:
        """Ask the database for what is missing; which was refused."""
        missing = sorted((one for one in takes if not self._has((one,), now)), key=lambda one: one.name)
        asked = [self._said(one.name, one.amount, one.limit) for one in missing]
        given = await self._turn(asked, now)
        if given is None:
            return None
        refused = None
        for one, found in zip(missing, given, strict=True):
            lease = self._leases[one.name]
            lease.left += found.amount
            lease.at, lease.until, lease.limit, lease.processes = found.at, now + LEASE_S, one.limit, found.processes
            self._note(one.name)
            if found.wait_s and refused is None:
                refused = (one, found.wait_s)
                lease.full_until, lease.wait_until, lease.need = now + min(REFUSED_S, found.wait_s), now + found.wait_s, one.amount
        return refused

    def _said(self, name: str, least: int, limit: int) -> MinuteAsked:
        """What to ask of a limit; what was left of it in hand goes back, and is in hand no more."""
        lease = self._leases[name]
        back, lease.left, lease.until = lease.left, 0, 0.0
        return MinuteAsked(name=name, least=least, limit=limit, back=back, back_at=lease.at)

    async def _turn(self, asked: list[MinuteAsked], now: float) -> list[MinuteGiven] | None:
        """One transaction for all, in one order, so that no two processes wait in a circle. None where the database is away."""
        assert self._database is not None
        try:
            run = self._database.run(lambda sql: [_give(sql, one, self._member) for one in asked], MINUTES, alone=True)
            return await asyncio.wait_for(run, ANSWER_S)
        except (DatabaseAway, TimeoutError):
            self._away_until = now + PROBE_S
            for one in asked:
                self._leases[one.name].left += min(0, one.back)  # used beyond: told next time
            return None

    def _take_here(self, takes: Sequence[Take], now: float, *, is_share: bool) -> tuple[Take, float] | None:
        """By what this process has counted alone."""
        taken: list[tuple[MinuteWindow, int]] = []
        for one in takes:
            lease = self._lease(one.name)
            limit = one.limit // lease.processes if is_share else one.limit
            wait_s = lease.here.take(one.amount, limit, now)
            if wait_s:
                for window, amount in taken:
                    window.add(-amount, now)
                return one, wait_s
            taken.append((lease.here, one.amount))
        return None

    def _note(self, name: str) -> None:
        """Something is to be given back of this one, once its lease is over."""
        self._open.add(name)
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.get_running_loop().create_task(self._give_back())

    async def _give_back(self) -> None:
        """While anything was given: give back what nobody used, and tell what was used beyond."""
        while self._open:
            await asyncio.sleep(LEASE_S)
            async with self._asking:
                await self._settle()

    async def _settle(self, *, is_end: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        over = sorted(name for name in self._open if is_end or now >= self._leases[name].until)
        told = [name for name in over if self._leases[name].left]
        self._open.difference_update(over)
        if told and await self._turn([self._said(name, 0, self._leases[name].limit) for name in told], now) is None:
            self._open.update(name for name in told if self._leases[name].left)

    async def aclose(self) -> None:
        """Give everything back."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._open:
            await self._settle(is_end=True)


def _give(sql: Sql, asked: MinuteAsked, member: str) -> MinuteGiven:
    lock = " FOR UPDATE" if sql.dialect == "postgresql" else ""
    look = f"SELECT state FROM sf_minute WHERE name = ?{lock}"  # noqa: S608 - our own word
    found = sql.row(look, (asked.name,))
    if found is None:
        sql.change("INSERT INTO sf_minute (name, state) VALUES (?, '{}') ON CONFLICT DO NOTHING", (asked.name,))
        found = sql.row(look, (asked.name,))
    assert found is not None
    state = _state.decode(found[0])
    given = give(state, asked, member, sql.now())
    sql.change("UPDATE sf_minute SET state = ? WHERE name = ?", (msgspec.json.encode(state).decode(), asked.name))
    return given
