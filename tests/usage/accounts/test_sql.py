"""Spend limits in SQLite and Postgres: many processes together stay within them."""

from __future__ import annotations

import asyncio

import pytest

from surefoot import runtime
from surefoot.errors import BudgetExceeded
from surefoot.rules.spending import Claim, nano
from surefoot.storage.sql import DatabaseAway, open_database
from surefoot.usage.accounts.sql import SPEND, SqlSpendStore
from surefoot.usage.spend import BUSY
from tests.loops import own_home  # noqa: F401 - autouse
from tests.postgres import fresh_url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database."""
    return f"sqlite:{tmp_path / 'a.db'}" if request.param == "sqlite" else fresh_url()


def dollars(usd):
    return Claim.exactly(nano(usd))


def test_many_stores_together_never_pass_a_limit(url):
    """Each as a process of its own has it: 200 claims of a dime on ten dollars."""

    async def go():
        stores = [SqlSpendStore(open_database(url)) for _ in range(4)]
        asked = [(store, store.reserve("a", dollars(0.1), limit_usd=10, force=False)) for store in stores for _ in range(50)]
        holds = await asyncio.gather(*(one for _, one in asked))
        taken = [(store, hold) for (store, _), hold in zip(asked, holds, strict=True) if hold not in {None, BUSY}]
        assert len(taken) == 100
        assert max(hold.total_usd for _, hold in taken) == pytest.approx(10)
        for store, hold in taken:
            store.settle(hold, 0.05)
        for store in stores:
            await store.aclose()
            assert store.idle()
        spent = await stores[0].spent_usd("a")
        for store in stores:
            await store._database.aclose()
        return spent

    assert runtime.run(go()) == pytest.approx(5.0)


def test_what_does_not_fit_waits_or_is_refused(url):
    """As where one process counts: BUSY while calls under way may leave room, None where nothing can."""

    async def go():
        store = SqlSpendStore(open_database(url), account="job 1")
        first = await store.reserve("x", dollars(0.6), limit_usd=1, force=False)
        assert await store.reserve("y", dollars(0.6), limit_usd=1, force=False) is BUSY
        assert await store.reserve("y", dollars(1.6), limit_usd=1, force=False) is None
        forced = await store.reserve("y", dollars(5), limit_usd=1, force=True)
        assert forced.amount_usd == 5
        store.settle(forced, 0.0)
        store.settle(first, 0.9)
        await store.aclose()
        assert await store.reserve("y", dollars(0.2), limit_usd=1, force=False) is None
        assert await store.spent_usd("any") == pytest.approx(0.9)
        await store.aclose()
        await store._database.aclose()

    runtime.run(go())


def test_a_settlement_counts_once_however_often_it_is_sent(url):
    """Its answer may be lost; and what a dead process held counts as spent until somebody settles it."""

    async def go():
        store = SqlSpendStore(open_database(url), lease_s=0.05)
        late = await store.reserve("a", dollars(0.5), limit_usd=1, force=False)
        store._held.clear()  # its process is gone
        await asyncio.sleep(0.2)
        held = await store.reserve("a", dollars(0.5), limit_usd=1, force=False)
        assert held.spent_usd == 0.5
        assert await store.reserve("a", dollars(0.1), limit_usd=1, force=False) is BUSY
        await store._book([(held, 0.1), (held, 0.1)])
        await store._book([(held, 0.1)])
        assert await store.spent_usd("a") == pytest.approx(0.6)
        await store._book([(late, 0.2), (late, 0.2)])  # it was not gone after all
        assert await store.spent_usd("a") == pytest.approx(0.3)
        await store.aclose()
        await store._database.aclose()

    runtime.run(go())


def test_the_lease_of_a_call_under_way_is_renewed(url):
    """A call may take minutes; only what a dead process held is written off. With nothing held nobody renews."""

    async def go():
        store = SqlSpendStore(open_database(url), lease_s=0.3)
        hold = await store.reserve("a", dollars(0.5), limit_usd=1, force=False)

        async def ends_at():
            found = await store._database.run(lambda sql: sql.row("SELECT lease FROM sf_hold WHERE id = ?", (hold.id,)), SPEND, reads=True)
            return found[0]

        taken_until = await ends_at()
        async with asyncio.timeout(60):
            while await ends_at() <= taken_until:
                await asyncio.sleep(0.05)
            store.settle(hold, 0.1)
            while store._is_renewing:
                await asyncio.sleep(0.05)
        await store.aclose()
        await store._database.aclose()

    runtime.run(go())


def test_while_the_database_is_away_hard_limits_refuse_and_soft_ones_are_booked_later(tmp_path, monkeypatch):
    """A hard limit is a promise about money."""
    monkeypatch.setattr("surefoot.usage.accounts.sql.RETRY_S", 0.02)

    async def go():
        database = open_database(f"sqlite:{tmp_path / 'a.db'}")
        store = SqlSpendStore(database)
        await store.reserve("a", dollars(0.1), limit_usd=1, force=False)
        run, is_away = database.run, True

        async def away(fn, schema, *, reads=False):
            if is_away:
                raise DatabaseAway("locked", retry_after_s=1.0)
            return await run(fn, schema, reads=reads)

        database.run = away
        with pytest.raises(BudgetExceeded, match=r"is not known: locked\. Nothing was sent"):
            await store.reserve("a", dollars(0.1), limit_usd=1, force=False)
        soft = await store.reserve("a", dollars(0.1), limit_usd=1, force=True)
        store.settle(soft, 0.3)
        await asyncio.sleep(0.05)
        is_away = False
        while store._unsent:
            await asyncio.sleep(0.02)
        spent = await store.spent_usd("a")
        await store.aclose()
        await database.aclose()
        return spent

    assert runtime.run(go()) == pytest.approx(0.3)
