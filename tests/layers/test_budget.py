"""The budget: refused before sending, settled by what it really cost."""

from __future__ import annotations

import asyncio

import pytest

from surefoot.errors import BudgetExceeded, Misconfigured, Overloaded
from surefoot.events import BudgetWarning
from surefoot.layers.budget import Budget, LocalAccounts
from surefoot.stack import stack
from surefoot.target import SpendLimit
from surefoot.testing import STALL, Scripted, make_call
from surefoot.types import Usage

pytestmark = pytest.mark.looptime


def room(*limits, accounts=None, each=1.0, actual=1.0, clock=None):
    return Budget(
        target="t", limits=limits, accounts=accounts or LocalAccounts(), upper=lambda _: each, price=lambda _u, _m: actual, clock=clock
    )


async def test_a_budget_for_ten_admits_exactly_ten_of_a_thousand_at_once():
    """A check that forgets what is under way admits them all."""
    edge = Scripted("ok", times=1000, latency_s=1.0)
    ask = stack(edge, room(SpendLimit(usd=10)))
    done = await asyncio.gather(*(ask(make_call("hi")) for _ in range(1000)), return_exceptions=True)
    assert edge.calls == 10
    assert sum(isinstance(one, BudgetExceeded) for one in done) == 990


async def test_what_it_really_cost_replaces_the_estimate():
    """Half the estimate leaves room for twice the calls."""
    edge = Scripted("ok", times=50)
    ask = stack(edge, room(SpendLimit(usd=10), actual=0.5))
    for _ in range(19):
        await ask(make_call("hi"))
    with pytest.raises(BudgetExceeded):
        await ask(make_call("hi"))
    assert edge.calls == 19


async def test_an_error_costs_nothing_a_cut_stream_the_estimate():
    """No provider bills a 503; a stream that was left may be billed."""
    accounts = LocalAccounts()
    budget = room(SpendLimit(usd=10), accounts=accounts)
    with pytest.raises(Overloaded):
        await stack(Scripted(Overloaded("busy")), budget)(make_call("hi"))
    assert accounts.spent_usd("all|") == 0
    stream = await stack(Scripted("one two three"), budget)(make_call("hi", stream=True))
    await stream.__anext__()
    await stream.aclose()
    assert accounts.spent_usd("all|") == 1.0
    assert budget.idle()


async def test_a_cancelled_call_gives_its_reservation_back_once():
    """Nothing stays reserved for ever."""
    accounts = LocalAccounts()
    budget = room(SpendLimit(usd=10), accounts=accounts)
    task = asyncio.create_task(stack(Scripted(STALL), budget)(make_call("hi")))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert budget.idle()


async def test_accounts_are_apart_by_tenant_tag_and_day():
    """One tenant's spending is not another's."""
    now = [1_795_305_600.0]
    limits = (SpendLimit(usd=1, scope="tenant"), SpendLimit(usd=1, scope="tag:job", period="day"))
    ask = stack(Scripted("ok", times=9), room(*limits, clock=lambda: now[0]))
    await ask(make_call("hi", tenant="a"))
    with pytest.raises(BudgetExceeded, match="tenant=a"):
        await ask(make_call("hi", tenant="a"))
    await ask(make_call("hi", tenant="b", tags=(("job", "x"),)))
    with pytest.raises(BudgetExceeded, match="job=x"):
        await ask(make_call("hi", tenant="c", tags=(("job", "x"),)))
    now[0] += 86_400
    await ask(make_call("hi", tenant="d", tags=(("job", "x"),)))


async def test_one_refusing_account_gives_the_others_their_reservation_back():
    """All or nothing."""
    accounts = LocalAccounts()
    ask = stack(Scripted("ok", times=9), room(SpendLimit(usd=5), SpendLimit(usd=0.5, scope="tenant"), accounts=accounts))
    with pytest.raises(BudgetExceeded):
        await ask(make_call("hi", tenant="a"))
    assert accounts.spent_usd("all|") == 0
    assert accounts.idle()


async def test_a_soft_budget_sends_and_warns_once():
    """Somebody wants to know, nobody wants an outage."""
    heard = []
    ask = stack(Scripted("ok", times=9), room(SpendLimit(usd=1.5, mode="soft")))
    for _ in range(4):
        call = make_call("hi")
        call.tally.listeners = (heard.append,)
        await ask(call)
    assert [type(event) for event in heard] == [BudgetWarning]


async def test_an_unknown_price_keeps_the_estimate_and_says_so():
    """Never 0: that is how bills nobody saw coming begin."""
    accounts, heard = LocalAccounts(), []
    call = make_call("hi")
    call.tally.listeners = (heard.append,)
    await stack(Scripted("ok", usage=Usage(input_tokens=1)), room(SpendLimit(usd=9), accounts=accounts, actual=None))(call)
    assert accounts.spent_usd("all|") == 1.0
    assert "price unknown" in heard[0].what


def test_periods_need_a_clock_that_knows_the_date():
    """The loop's clock starts anywhere."""
    with pytest.raises(Misconfigured, match="clock"):
        Budget(limits=(SpendLimit(usd=1, period="day"),))
