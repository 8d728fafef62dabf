"""Slices of shared accounts: far fewer transactions, and the limits hold as if each call had asked."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

from surefoot.layers.guards.budget import Budget
from surefoot.rules.spending import Claim, nano
from surefoot.settings import SpendLimit
from surefoot.storage.sql import open_database
from surefoot.testing import make_call
from surefoot.usage.accounts import slices
from surefoot.usage.accounts.slices import SlicedSpendStore
from surefoot.usage.accounts.sql import SPEND, SqlSpendStore
from surefoot.usage.quotes import Quote
from surefoot.usage.spend import Busy, Hold


class Process:
    """A store as a process of its own has it, which counts what it asks of the database."""

    def __init__(self, url: str) -> None:
        self.database: Any = open_database(url)
        self.asked = 0
        run = self.database.run

        async def counted(*given: Any, **said: Any) -> Any:
            self.asked += 1
            return await run(*given, **said)

        self.database.run = counted
        self.store = SlicedSpendStore(SqlSpendStore(self.database))

    async def call(self, usd: float, actual: float, limit: float) -> bool:
        """One call that waits for its turn as `Budget` does; whether it was admitted."""
        while True:
            found = await self.store.reserve("a", Claim.exactly(nano(usd)), limit_usd=limit, force=False)
            if not isinstance(found, Busy):
                break
            await asyncio.sleep(0.01)
        if found is None:
            return False
        await asyncio.sleep(0)
        self.store.settle(found, actual)
        return True

    async def close(self) -> None:
        await self.store.aclose()
        await self.database.aclose()

    async def row(self) -> tuple[int, int]:
        found = await self.database.run(lambda sql: sql.row("SELECT spent, reserved FROM sf_account WHERE name = 'a'"), SPEND, reads=True)
        return (int(found[0]), int(found[1]))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/spend.db"


async def flood(url: str, calls: int, usd: float, actual: float, limit: float) -> tuple[int, int, tuple[int, int]]:
    """Four processes, 16 calls at a time each: how many were admitted, transactions, and the account at the end."""
    crew = [Process(url) for _ in range(4)]
    left = iter(range(calls))

    async def worker(one: Process) -> int:
        return sum([await one.call(usd, actual, limit) for _ in left])

    admitted = sum(await asyncio.gather(*(worker(one) for one in crew for _ in range(16))))
    asked = sum(one.asked for one in crew)
    for one in crew:
        await one.close()
    last = Process(url)
    row = await last.row()
    await last.close()
    return admitted, asked, row


async def test_a_large_budget_costs_few_transactions_and_every_cent_is_booked(url: str):
    admitted, asked, row = await flood(url, 3_000, 0.01, 0.004, 1_000.0)
    assert (admitted, row) == (3_000, (3_000 * nano(0.004), 0))
    assert asked < 700, "one in ten or so; without slices two a call"


@pytest.mark.parametrize(("calls", "usd", "limit"), [(130, 0.01, 1.0), (2_000, 0.01, 15.0)])
async def test_processes_together_stay_within_the_limit_and_use_it_up(url: str, calls: int, usd: float, limit: float):
    admitted, _, (spent, reserved) = await flood(url, calls, usd, usd, limit)
    assert admitted == round(limit / usd)
    assert (spent, reserved) == (nano(limit), 0)


async def test_what_is_not_used_of_a_slice_goes_back_while_a_call_is_under_way(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(slices, "FRESH_S", 0.05)
    one, other = Process(url), Process(url)
    assert await one.call(0.01, 0.01, 100.0)  # tells how much is left: the next call takes a slice
    long = await one.store.reserve("a", Claim.exactly(nano(0.01)), limit_usd=100.0, force=False)
    assert isinstance(long, Hold)
    assert await one.call(0.01, 0.002, 100.0)
    assert (await other.row())[1] > 2 * nano(0.01)
    for _ in range(100):
        if (await other.row()) == (nano(0.012), nano(0.01)):
            break
        await asyncio.sleep(0.05)
    assert await other.row() == (nano(0.012), nano(0.01)), "the call that is under way alone has money reserved"
    one.store.settle(long, 0.03)  # more than it had reserved: booked all the same
    assert not one.store.idle()
    await one.close()
    assert await other.row() == (nano(0.042), 0)
    await other.close()


async def test_a_limit_that_was_lowered_holds_at_once(url: str):
    one = Process(url)
    assert [await one.call(0.01, 0.01, 100.0) for _ in range(3)] == [True] * 3
    assert not await one.call(0.01, 0.01, 0.03)
    await one.close()


async def test_a_call_that_ends_while_its_slice_is_booked_leaves_nothing_reserved(url: str, monkeypatch: pytest.MonkeyPatch):
    """Booking waits for the database; what ends meanwhile was booked with the old reservation, and the new one stayed for ever."""
    monkeypatch.setattr(slices, "FRESH_S", 0.02)
    one = Process(url)
    reserve, asked, goes_on = one.store._inner.reserve, asyncio.Event(), asyncio.Event()

    async def slowly(*given: Any, **said: Any) -> Any:
        found = await reserve(*given, **said)
        if said["force"]:
            asked.set()
            await goes_on.wait()
        return found

    monkeypatch.setattr(one.store._inner, "reserve", slowly)
    assert await one.call(0.01, 0.01, 100.0)
    long = await one.store.reserve("a", Claim.exactly(nano(0.01)), limit_usd=100.0, force=False)
    assert isinstance(long, Hold)
    await asyncio.wait_for(asked.wait(), 20)
    one.store.settle(long, 0.005)
    assert await one.call(0.01, 0.001, 100.0)
    goes_on.set()
    for _ in range(200):
        if (row := await one.row()) == (nano(0.016), 0):
            break
        await asyncio.sleep(0.05)
    assert row == (nano(0.016), 0)
    assert one.store.idle()
    await one.close()


async def test_the_guard_takes_from_a_slice_without_waiting(url: str):
    """The first calls ask the database; then an attempt is set aside at once, in all accounts or in none."""
    one = Process(url)
    limits = (SpendLimit(usd=100), SpendLimit(usd=50, scope="tenant"))
    guard = Budget(target="t", limits=limits, spend_store=one.store, quote=lambda _: Quote.exactly(0.01))
    kinds = []
    for _ in range(6):
        held = guard.acquire(make_call(tenant="a"), 0.0)
        kinds.append(isawaitable(held))
        booking = await held if isawaitable(held) else held
        assert [hold.amount_usd for hold in booking.holds] == [0.01, 0.01]
        for hold in booking.holds:
            one.store.settle(hold, 0.004)
    assert kinds == [True, True, False, False, False, False]
    asked = one.asked
    other = guard.acquire(make_call(tenant="b"), 0.0)  # of one account alone a slice is in hand
    assert isawaitable(other)
    for hold in (await other).holds:
        one.store.settle(hold, 0.0)
    assert one.asked > asked
    await one.close()
