"""The budget: refused before sending, settled by what it really cost."""

from __future__ import annotations

import asyncio

import pytest

from surefoot.core.stack import stack
from surefoot.errors import AttemptTimedOut, BudgetExceeded, ConnectionLost, Misconfigured, Overloaded
from surefoot.events import BudgetWarning
from surefoot.layers.guards.budget import WAIT_SHARE, Budget
from surefoot.layers.repeat.hedge import Hedge
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.deadline import Deadline
from surefoot.settings import SpendLimit
from surefoot.testing import STALL, Scripted, make_call
from surefoot.types import ChatReply, Usage
from surefoot.usage.habits import Habits
from surefoot.usage.quotes import Quote, Quotes
from surefoot.usage.spend import LocalSpendStore

pytestmark = pytest.mark.looptime


def layer(*limits, spend_store=None, each=1.0, actual=1.0, clock=None):
    quote = each if isinstance(each, Quote) else Quote.exactly(each)
    price = actual if callable(actual) else lambda _usage, _model: actual
    return Budget(target="t", limits=limits, spend_store=spend_store or LocalSpendStore(), quote=lambda _: quote, price=price, clock=clock)


def spent(spend_store, limit, **call):
    return spend_store.spent_usd(limit.account(make_call("hi", **call), now_epoch_s=0.0))


async def until_refused(ask, *, listeners=()):
    """Ask again and again until the budget refuses."""
    for _ in range(100):
        call = make_call("hi")
        call.state.listeners = listeners
        await ask(call)


async def test_a_budget_for_ten_admits_exactly_ten_of_a_thousand_at_once():
    """A check that forgets what is under way admits them all."""
    provider = Scripted("ok", times=1000, latency_s=1.0)
    ask = stack(provider, layer(SpendLimit(usd=10)))
    done = await asyncio.gather(*(ask(make_call("hi")) for _ in range(1000)), return_exceptions=True)
    assert provider.calls == 10
    assert sum(isinstance(one, BudgetExceeded) for one in done) == 990


async def test_what_it_really_cost_replaces_the_estimate():
    """Half the estimate leaves room for twice the calls."""
    provider = Scripted("ok", times=50)
    ask = stack(provider, layer(SpendLimit(usd=10), actual=0.5))
    for _ in range(19):
        await ask(make_call("hi"))
    with pytest.raises(BudgetExceeded):
        await ask(make_call("hi"))
    assert provider.calls == 19


async def test_an_error_costs_nothing_a_cut_stream_the_estimate():
    """No provider bills a 503; a stream that was left may be billed."""
    spend_store, limit = LocalSpendStore(), SpendLimit(usd=10)
    budget = layer(limit, spend_store=spend_store)
    with pytest.raises(Overloaded):
        await stack(Scripted(Overloaded("busy")), budget)(make_call("hi"))
    assert spent(spend_store, limit) == 0
    stream = await stack(Scripted("one two three"), budget)(make_call("hi", stream=True))
    await stream.__anext__()
    await stream.aclose()
    assert spent(spend_store, limit) == 1.0
    assert budget.idle()


async def test_a_cancelled_call_gives_its_reservation_back_once():
    """Nothing stays reserved for ever."""
    spend_store = LocalSpendStore()
    budget = layer(SpendLimit(usd=10), spend_store=spend_store)
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
    ask = stack(Scripted("ok", times=9), layer(*limits, clock=lambda: now[0]))
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
    spend_store, limit = LocalSpendStore(), SpendLimit(usd=5)
    ask = stack(Scripted("ok", times=9), layer(limit, SpendLimit(usd=0.5, scope="tenant"), spend_store=spend_store))
    with pytest.raises(BudgetExceeded):
        await ask(make_call("hi", tenant="a"))
    assert spent(spend_store, limit) == 0
    assert spend_store.idle()


async def test_a_soft_budget_sends_and_warns_once():
    """Somebody wants to know, nobody wants an outage."""
    heard = []
    ask = stack(Scripted("ok", times=9), layer(SpendLimit(usd=1.5, mode="soft")))
    for _ in range(4):
        call = make_call("hi")
        call.state.listeners = (heard.append,)
        await ask(call)
    assert [type(event) for event in heard] == [BudgetWarning]


async def test_an_unknown_price_keeps_the_estimate_and_says_so():
    """Never 0: that is how bills nobody saw coming begin."""
    spend_store, limit, heard = LocalSpendStore(), SpendLimit(usd=9), []
    call = make_call("hi")
    call.state.listeners = (heard.append,)
    await stack(Scripted("ok", usage=Usage(input_tokens=1)), layer(limit, spend_store=spend_store, actual=None))(call)
    assert spent(spend_store, limit) == 1.0
    assert "price unknown" in heard[0].what


def test_periods_need_a_clock_that_knows_the_date():
    """The loop's clock starts anywhere."""
    with pytest.raises(Misconfigured, match="clock"):
        Budget(limits=(SpendLimit(usd=1, period="day"),))


# An answer costs $0.01 a token here; usually 5 tokens come, 100 may.
OPEN = Quote(worst_usd=1.0, likely_usd=0.05, least_usd=0.05, bounded_usd=0.2, token_usd=0.01, lost_usd=0.05)


def metered(*, tokens=5, latency_s=0.0, **settings):
    """A provider that keeps to max_tokens, and its price list."""

    def answer(call):
        bound = call.request.max_tokens
        return ChatReply(text="ok", usage=Usage(output_tokens=tokens if bound is None else min(tokens, bound)))

    return Scripted(answer, latency_s=latency_s, **settings)


def by_token(usage, _model):
    return usage.output_tokens * 0.01


async def test_an_ample_budget_bounds_no_answer():
    """Whoever has the money gets the whole answer."""
    provider = metered(tokens=100)
    ask = stack(provider, layer(SpendLimit(usd=21), each=OPEN, actual=by_token))
    for _ in range(20):
        await ask(make_call("hi"))
    assert [request.max_tokens for request in provider.requests] == [None] * 20


async def test_the_last_of_the_money_is_spent_with_the_bound_sent():
    """The provider keeps it: what is left pays for the answer, whatever it turns out to be."""
    provider, limit, spend_store = metered(tokens=100), SpendLimit(usd=0.5), LocalSpendStore()
    ask = stack(provider, layer(limit, spend_store=spend_store, each=OPEN, actual=by_token))
    with pytest.raises(BudgetExceeded):
        await until_refused(ask)
    assert [request.max_tokens for request in provider.requests] == [20, 20, 10]
    assert spent(spend_store, limit) == pytest.approx(0.5)


@pytest.mark.parametrize("usd", [0.5, 1.0, 5.0, 19.9, 20.0, 50.0])
async def test_many_at_once_spend_the_money_and_never_more(usd):
    """What they hold of it, others wait for; whoever is refused would not have fitted."""
    provider, limit, spend_store = metered(latency_s=2.0), SpendLimit(usd=usd), LocalSpendStore()
    ask = stack(provider, layer(limit, spend_store=spend_store, each=OPEN, actual=by_token))
    done = await asyncio.gather(*(ask(make_call("hi")) for _ in range(1500)), return_exceptions=True)
    assert 0.98 * usd <= spent(spend_store, limit) <= usd
    assert sum(not isinstance(one, BaseException) for one in done) == round(spent(spend_store, limit) / 0.05)
    assert all(isinstance(one, BudgetExceeded | ChatReply) for one in done)
    if usd >= 20:
        assert {request.max_tokens for request in provider.requests if request.max_tokens is not None and request.max_tokens < 5} == set()
    assert spend_store.idle()


async def test_waiting_ends_before_the_deadline_and_says_what_for():
    """A refusal says more than a deadline that passed."""
    ask = stack(Scripted(STALL), layer(SpendLimit(usd=1)))
    first = asyncio.create_task(ask(make_call("hi")))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    with pytest.raises(BudgetExceeded, match="calls under way hold what is left of the budget for all") as caught:
        await stack(ask, Deadline(deadline_s=10))(make_call("hi"))
    assert loop.time() - begun_s == pytest.approx(10 * WAIT_SHARE)
    assert caught.value.retry_after_s is not None
    first.cancel()
    await asyncio.wait([first])


async def test_whoever_waits_is_served_in_the_order_of_coming():
    """A later call that would fit does not overtake; an earlier one would never have its turn."""
    provider = Scripted("ok", latency_s=1.0)
    usd = {"large": 1.0, "small": 0.1}
    quote = lambda request: Quote.exactly(usd[request.messages[0].text])  # noqa: E731 - read once
    budget = Budget(limits=(SpendLimit(usd=1.05),), quote=quote, price=lambda *_: 0.01)
    ask = stack(provider, budget)
    order = []

    async def one(text):
        await ask(make_call(text))
        order.append(text)

    async with asyncio.TaskGroup() as group:
        for text in ("large", "large", "small"):
            group.create_task(one(text))
            await asyncio.sleep(0.1)
    assert order[:2] == ["large", "large"]


async def test_a_second_runner_does_not_wait_for_the_first():
    """It would wait for what it was sent to overtake."""
    provider = Scripted("ok", latency_s=lambda call: 1.0 if call.hedged else 10.0)
    budget = layer(SpendLimit(usd=1.5))
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    await stack(provider, Hedge(after=2.0), budget, Attempt())(make_call("hi"))
    assert loop.time() - begun_s == pytest.approx(10.0)
    assert provider.calls == 1
    assert budget.idle()


async def test_two_limits_do_not_wait_for_each_other():
    """Whoever waits for one gives the other back first: else two calls would, each holding what the other needs."""
    limits = (SpendLimit(usd=1.0, scope="tag:a"), SpendLimit(usd=1.0, scope="tag:b"))
    provider = Scripted("ok", latency_s=1.0)
    ask = stack(provider, layer(*limits, actual=0.0), layer(*reversed(limits), actual=0.0))
    tags = (("a", "x"), ("b", "y"))
    await asyncio.wait_for(asyncio.gather(*(ask(make_call("hi", tags=tags)) for _ in range(20))), 100)
    assert provider.calls == 20


async def test_a_limit_said_twice_is_one():
    """Policy.budget_usd and the same in Policy.budgets."""
    provider = Scripted("ok")
    ask = stack(provider, layer(SpendLimit(usd=3), SpendLimit(usd=3)))
    with pytest.raises(BudgetExceeded):
        await until_refused(ask)
    assert provider.calls == 3


async def test_a_hard_and_a_soft_limit_of_one_scope_are_booked_once_each():
    """They used to share an account, in which each call stood twice."""
    heard, provider = [], Scripted("ok")
    ask = stack(provider, layer(SpendLimit(usd=8, mode="soft"), SpendLimit(usd=10)))
    with pytest.raises(BudgetExceeded):
        await until_refused(ask, listeners=(heard.append,))
    assert provider.calls == 10
    assert [(one.limit_usd, one.spent_usd) for one in heard] == [(8, 9.0), (10, 9.0)]


async def test_a_tag_named_tenant_is_not_the_tenant():
    """Nor does one with an equals sign in its name share an account with another."""
    limits = (SpendLimit(usd=1, scope="tenant"), SpendLimit(usd=1, scope="tag:tenant"), SpendLimit(usd=1, scope="tag:a=b"))
    provider = Scripted("ok")
    ask = stack(provider, layer(*limits, SpendLimit(usd=1, scope="tag:a")))
    await ask(make_call("hi", tenant="x"))
    await ask(make_call("hi", tenant="y", tags=(("tenant", "x"),)))
    await ask(make_call("hi", tenant="z", tags=(("a=b", "c"),)))
    await ask(make_call("hi", tenant="w", tags=(("a", "b=c"),)))
    assert provider.calls == 4


async def test_what_was_lost_on_the_way_may_be_on_the_bill():
    """A hard budget counts what the provider may have written for nobody."""
    spend_store, limit = LocalSpendStore(), SpendLimit(usd=10)
    for error, usd in ((Overloaded("busy"), 0.0), (AttemptTimedOut("nothing for 30 s"), 0.05), (ConnectionLost("reset"), 0.1)):
        with pytest.raises(type(error)):
            await stack(Scripted(error), layer(limit, spend_store=spend_store, each=OPEN))(make_call("hi"))
        assert spent(spend_store, limit) == pytest.approx(usd)


async def test_what_is_learned_while_a_call_waits_counts_for_it():
    """The first answer shows how long they are; the others need not each take all that is left."""
    habits = Habits()
    quotes = Quotes("t", cost=lambda usage, _model: by_token(usage, ""), habits=habits, output_limit=lambda _: 1000)
    provider = metered(tokens=1, latency_s=1.0)
    budget = Budget(limits=(SpendLimit(usd=9.0),), quote=quotes, price=by_token, note=quotes.note)
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    await asyncio.gather(*(stack(provider, budget)(make_call("hi")) for _ in range(3)))
    assert provider.requests[0].max_tokens == 900
    assert loop.time() - begun_s < 3.5
    assert habits.output_tokens("") == 1


async def test_an_ample_limit_bounds_no_answer_of_a_model_that_nobody_knows_yet():
    """What is left might be too little for it: a second target is first asked when most of the money has gone."""
    quote = Quote(worst_usd=1.0, likely_usd=0.05, least_usd=0.05, bounded_usd=1.0, token_usd=0.01, is_known=False)
    for usd, bounds in ((20.5, [None] * 20), (1.5, [None, 50])):
        provider = metered(tokens=1000)
        with pytest.raises(BudgetExceeded):
            await until_refused(
                stack(provider, layer(SpendLimit(usd=usd), each=quote, actual=lambda usage, _: min(usage.output_tokens, 100) * 0.01))
            )
        assert [request.max_tokens for request in provider.requests] == bounds
