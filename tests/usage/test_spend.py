"""Where spend limits are kept: accounts of their own, periods that end, calls that wait."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from surefoot.rules.spending import Claim, nano
from surefoot.settings import SpendLimit
from surefoot.testing import make_call
from surefoot.usage.spend import ACCOUNTS, AT_ONCE, Busy, Hold, LocalSpendStore, Waiters

pytestmark = pytest.mark.looptime

DAY_S = 86_400.0
NOW_S = 1_795_305_600.0  # 2026-11-22


def take(store, usd, *, account="all|ever|hard|1.0|", limit=1.0, force=False):
    return store.hold(account, Claim.exactly(nano(usd)), limit_usd=limit, force=force)


async def test_a_reservation_counts_until_it_is_settled():
    """Then what the call did cost."""
    store = LocalSpendStore()
    hold = take(store, 0.75)
    assert isinstance(take(store, 0.5), Busy)
    assert not store.idle()
    store.settle(hold, 0.25)
    second = take(store, 0.75)
    assert (second.spent_usd, second.total_usd) == (0.25, 1.0)
    store.settle(second, 0.75)
    assert take(store, 0.000001) is None
    assert store.spent_usd("all|ever|hard|1.0|") == 1.0


async def test_a_soft_limit_takes_what_does_not_fit():
    """Its account tells, and refuses nobody."""
    store = LocalSpendStore()
    assert [take(store, 0.75, force=True).total_usd for _ in range(3)] == [0.75, 1.5, 2.25]


@pytest.mark.parametrize("period", ["day", "month"])
async def test_accounts_of_past_periods_go(period):
    """A thousand tenants a day would be a leak of a thousand a day."""
    store, limit = LocalSpendStore(), SpendLimit(usd=1, scope="tenant", period=period)
    ever = take(store, 0.5)
    for day in range(0, 400, 40):
        for tenant in range(50):
            account = limit.account(make_call(tenant=f"t{tenant}"), now_epoch_s=NOW_S + day * DAY_S)
            store.settle(take(store, 0.5, account=account), 0.25)
    assert len(store._counters) == 51
    store.settle(ever, 0.5)
    assert store.spent_usd("all|ever|hard|1.0|") == 0.5


async def test_a_day_that_ends_during_a_call_is_kept_until_the_call_ends():
    """It is settled where it was reserved; should its account have gone all the same, nothing breaks."""
    store, limit = LocalSpendStore(), SpendLimit(usd=1, period="day")
    account = limit.account(make_call(), now_epoch_s=NOW_S)
    hold = take(store, 0.5, account=account)
    take(store, 0.5, account=limit.account(make_call(), now_epoch_s=NOW_S + DAY_S))
    store.settle(hold, 0.25)
    assert store.spent_usd(account) == 0.25
    store.settle(Hold(account="gone|day|hard|1.0|2020-01-01", amount_usd=1.0), 1.0)


def test_what_a_dead_loop_had_reserved_counts_as_spent_until_it_is_settled_all_the_same():
    """Nobody can tell what its calls cost."""
    store, holds = LocalSpendStore(), []

    async def reserve(usd):
        holds.append(take(store, usd))

    asyncio.run(reserve(0.75))
    asyncio.run(reserve(0.25))
    assert (holds[1].spent_usd, holds[1].total_usd) == (0.75, 1.0)
    store.settle(holds[0], 0.125)
    assert store.spent_usd("all|ever|hard|1.0|") == 0.125


async def waiting(waiters, account="a", **settings):
    """A place at the end of the queue, and the task that waits for its turn; it does not leave."""
    place = waiters.join(account)
    task = asyncio.create_task(place.turn(100, **settings))
    await asyncio.sleep(0)
    return place, task


async def test_turns_are_given_first_come_first_served():
    """Whoever had one in vain keeps its place; whoever leaves gives the next one its turn."""
    waiters = Waiters()
    (first, a), (_, b), (_, other) = await waiting(waiters), await waiting(waiters), await waiting(waiters, "b")
    waiters.wake("a")
    await asyncio.sleep(0.1)
    assert (a.done(), b.done(), other.done()) == (True, False, False)
    again = asyncio.create_task(first.turn(100))
    await asyncio.sleep(0.1)
    assert not again.done()
    waiters.wake("a")
    await asyncio.sleep(0.1)
    assert (again.done(), b.done()) == (True, False)
    first.leave()
    await asyncio.sleep(0.1)
    assert b.done()
    other.cancel()


async def test_where_there_is_no_room_for_one_all_hear_so_at_once():
    """A thousand that ask a far server one after the other would wait for minutes to be refused."""
    waiters = Waiters()
    (first, _), *others = [await waiting(waiters) for _ in range(5)]
    first.leave(in_vain=True)
    await asyncio.wait_for(asyncio.gather(*(task for _, task in others)), 1)


async def test_a_turn_that_comes_while_one_tries_is_not_lost():
    """Where accounts are kept elsewhere a try takes time."""
    waiters = Waiters()
    place = waiters.join("a")
    waiters.wake("a")
    await asyncio.wait_for(place.turn(100), 1)
    place.leave()
    assert waiters.idle()
    assert not waiters.any("a")


async def test_a_turn_given_to_a_cancelled_waiter_goes_to_the_next():
    """Else nobody would have it."""
    waiters = Waiters()
    (first, a), (second, b) = await waiting(waiters), await waiting(waiters)
    waiters.wake("a")
    a.cancel()
    await asyncio.wait([a])
    first.leave()
    await asyncio.wait_for(b, 1)
    second.leave()
    assert waiters.idle()


async def test_waiting_ends():
    """Also if nobody ever settles."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    await Waiters().join("a").turn(5)
    assert loop.time() - begun_s == pytest.approx(5)


async def test_where_others_may_settle_the_first_one_looks_now_and_then():
    """Only the first: a hundred that look would be a hundred times the work."""
    waiters, loop = Waiters(), asyncio.get_running_loop()
    begun_s = loop.time()
    (first, a), (_, b) = await waiting(waiters, poll_s=0.5), await waiting(waiters, poll_s=0.5)
    await a
    assert loop.time() - begun_s == pytest.approx(0.5)
    await asyncio.sleep(2)
    assert not b.done()
    first.leave()
    await asyncio.wait_for(b, 0.1)


def test_waiters_of_a_dead_loop_are_nobodys():
    """Their loop has gone, and so have they."""
    waiters = Waiters()

    async def leave_one():
        return (await waiting(waiters))[0]

    left = asyncio.run(leave_one())
    waiters.wake("a")

    async def come_anew():
        assert not waiters.any("a")
        place, task = await waiting(waiters)
        left.leave()
        assert not task.done()
        waiters.wake("a")
        await task
        place.leave()
        return waiters.idle()

    assert asyncio.run(come_anew())


async def test_tenants_beyond_count_leave_memory_and_are_not_forgotten():
    """Whoever spent all comes back to an empty account, not to a new one; what is reserved or waited for stays where it is."""
    store = LocalSpendStore()
    kept = take(store, 0.5, account="kept|ever|hard|1.0|")
    for tenant in range(ACCOUNTS + 3 * AT_ONCE):
        store.settle(take(store, 1.0, account=f"t{tenant}|ever|hard|1.0|"), 1.0 if tenant % 2 else 0.0)
    assert len(store._counters) <= ACCOUNTS
    assert "kept|ever|hard|1.0|" in store._counters
    assert "t0|ever|hard|1.0|" not in store._counters
    assert [store.spent_usd(f"t{tenant}|ever|hard|1.0|") for tenant in range(4)] == [0.0, 1.0, 0.0, 1.0]
    assert take(store, 0.1, account="t1|ever|hard|1.0|") is None
    assert take(store, 0.25, account="t2|ever|hard|1.0|").total_usd == 0.25
    store.settle(kept, 0.25)
    assert store.spent_usd("kept|ever|hard|1.0|") == 0.25


async def test_days_that_are_past_leave_the_disk_too():
    """Else a service would fill it in time."""
    store, limit = LocalSpendStore(), SpendLimit(usd=1, scope="tenant", period="day")
    store._most = 4
    accounts = [limit.account(make_call(tenant=f"t{n}"), now_epoch_s=NOW_S) for n in range(8)]
    for account in accounts:
        store.settle(take(store, 0.5, account=account), 0.5)
    assert [store.spent_usd(account) for account in accounts] == [0.5] * 8
    take(store, 0.5, account=limit.account(make_call(tenant="t0"), now_epoch_s=NOW_S + DAY_S))
    assert [store.spent_usd(account) for account in accounts] == [0.0] * 8


async def test_a_full_disk_forgets_nothing(monkeypatch, caplog):
    """It is told, and memory holds them."""
    store = LocalSpendStore()
    store._most = 4

    def full(rows):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store._at_rest, "put", full)
    for tenant in range(20):
        store.settle(take(store, 0.5, account=f"t{tenant}|ever|hard|1.0|"), 0.5)
    assert {store.spent_usd(f"t{tenant}|ever|hard|1.0|") for tenant in range(20)} == {0.5}
    assert len([line for line in caplog.messages if "no room on the disk" in line]) == 1


def test_what_a_dead_loop_held_is_corrected_also_at_rest():
    """Its call may come back after its account has left memory."""
    store = LocalSpendStore()

    async def reserve():
        return take(store, 0.75)

    async def fill():
        take(store, 0.1, account="other|")
        store._lay_aside()

    hold = asyncio.run(reserve())
    asyncio.run(fill())
    assert store.spent_usd(hold.account) == 0.75
    assert hold.account not in store._counters
    store.settle(hold, 0.25)
    assert store.spent_usd(hold.account) == 0.25
