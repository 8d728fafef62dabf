"""The pairs and orders that matter: each wrong order beside the right one, with the figure that tells them apart."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import pytest

from surefoot.core.stack import stack
from surefoot.errors import AttemptTimedOut, CircuitOpen, ConnectionLost, Exhausted, Interrupted, Overloaded, SurefootError
from surefoot.events import CallEnded
from surefoot.layers.guards.breaker import Breaker
from surefoot.layers.guards.budget import Budget
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.guards.rate import Rate
from surefoot.layers.repeat.balance import Balance
from surefoot.layers.repeat.fallback import Fallback
from surefoot.layers.repeat.hedge import Hedge
from surefoot.layers.repeat.resume import Resume
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.reuse.batch import Batch
from surefoot.layers.reuse.cache import Cache
from surefoot.layers.reuse.coalesce import Coalesce
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.chaos import Chaos
from surefoot.layers.watch.deadline import Deadline
from surefoot.layers.watch.timeout import Timeout
from surefoot.layers.watch.trace import Trace
from surefoot.rules.retry_budget import RetryBudget
from surefoot.settings import SpendLimit
from surefoot.storage.memory import MemoryStore
from surefoot.testing import STALL, Scripted, make_call
from surefoot.testing.contract import PROMISES, LayerContract, drained
from surefoot.usage.quotes import Quote
from tests.layers.helping import Heard, fails, now, read, together

pytestmark = pytest.mark.looptime


async def test_slot_must_not_sleep_through_a_backoff():
    """Concurrency stands inside retry: 20 calls that each fail once share one place; a wait of 4 s is nobody's use of it."""

    async def seconds(*layers):
        provider = Scripted(lambda call: Overloaded("busy") if call.attempt == 1 else "fine", latency_s=0.1)
        begun = now()
        await together(stack(provider, *layers), [make_call() for _ in range(20)])
        assert provider.calls == 40
        return now() - begun

    retry = Retry(base_s=8, ceiling_s=8, draw=lambda: 0.5)
    assert await seconds(retry, Concurrency(limit=1)) == pytest.approx(6.1)  # 2 s of failures, 4 s of waiting beside them, one at a time
    assert await seconds(Concurrency(limit=1), retry) == pytest.approx(84)  # 20 times 4.2 s, one after the other


async def test_breaker_stands_inside_the_queue():
    """500 calls queued for a dead host on 20 places, 1 s until each failure: 20 wire calls and 1 s inside; 500 and 25 s outside."""

    async def cost(*layers):
        provider = Scripted(Overloaded("down"), latency_s=1)
        begun = now()
        results = await together(stack(provider, *layers), [make_call() for _ in range(500)])
        assert all(isinstance(result, (Overloaded, CircuitOpen)) for result in results)
        return provider.calls, round(now() - begun, 3)

    queue = {"limit": 20, "queue_size": 500}
    assert await cost(Concurrency(**queue), Breaker(draw=lambda: 0.0)) == (20, 1.0)
    assert await cost(Breaker(draw=lambda: 0.0), Concurrency(**queue)) == (500, 25.0)


async def test_breaker_stands_inside_retry():
    """Outside, a call's three attempts count as one failure: 30 wire calls until it opens instead of 10, each after its backoff."""

    async def wire_calls(*layers):
        provider = Scripted(Overloaded("down"))
        ask = stack(provider, *layers)
        for _ in range(20):
            with pytest.raises((Exhausted, Overloaded, CircuitOpen)):
                await ask(make_call())
        return provider.calls

    def retry():
        return Retry(attempts=3, base_s=0.01, draw=lambda: 0.5)

    assert await wire_calls(retry(), Breaker(draw=lambda: 0.0)) == 10
    assert await wire_calls(Breaker(draw=lambda: 0.0), retry()) == 30


async def test_trace_stands_outside_retry():
    """A call is told once, however often it was asked: one CallEnded outside, one for each attempt inside."""

    async def told(*layers):
        provider, heard = Scripted(Overloaded("busy"), Overloaded("busy"), "fine"), Heard()
        assert await read(stack(provider, *layers), make_call(listeners=(heard,))) == "fine"
        assert provider.calls == 3
        return len(heard.of(CallEnded))

    retry = Retry(attempts=3, base_s=0.01, draw=lambda: 0.5)
    assert await told(Trace(), retry) == 1
    assert await told(retry, Trace()) == 3


async def test_deadline_stands_outside_retry():
    """Inside, each of three attempts has the whole deadline for itself: 60 s where the caller allowed 30."""

    async def seconds(*layers):
        provider, begun = Scripted(Overloaded("busy"), latency_s=20), now()
        await fails(stack(provider, *layers), SurefootError)
        return now() - begun

    def retry():
        return Retry(attempts=3, base_s=0.01, draw=lambda: 0.0)

    assert await seconds(Deadline(deadline_s=30), retry()) == pytest.approx(30)
    assert await seconds(retry(), Deadline(deadline_s=30)) == pytest.approx(60)


async def test_deadline_stands_outside_coalesce():
    """Who joins a call that is under way has a deadline of its own; inside, it would wait for the other's."""

    async def seconds(*layers):
        provider = Scripted("fine", latency_s=30)
        ask, begun, ends = stack(provider, *layers), now(), []

        async def one(deadline_s):
            with suppress(SurefootError):
                await read(ask, make_call(deadline_s=deadline_s))
            ends.append(now() - begun)

        await asyncio.gather(one(60.0), one(5.0))
        assert provider.calls == 1
        return ends

    assert await seconds(Deadline(), Coalesce(always=True)) == pytest.approx([5, 30])
    assert await seconds(Coalesce(always=True), Deadline()) == pytest.approx([30, 30])


async def test_resume_stands_outside_fallback():
    """Inside, a broken stream begins anew at the target that broke it, which breaks it again; outside, the next one answers."""

    async def answer(build):
        targets = [Scripted(["Hel", ConnectionLost("reset")], name="a"), Scripted("fine", name="b")]
        traits = [provider.traits for provider in targets]
        stream = await build([stack(provider, Attempt(target=provider.name), name=provider.name) for provider in targets], traits)(
            make_call(stream=True)
        )
        return [delta.marker or delta.text async for delta in stream]

    def outside(targets, traits):
        return stack(Fallback(handlers=targets, traits=traits), Resume())

    def inside(targets, traits):
        return stack(Fallback(handlers=[stack(one, Resume(), name=one.name) for one in targets], traits=traits))

    assert await answer(outside) == ["Hel", "resumed", "fine", ""]
    with pytest.raises(Interrupted):
        await answer(inside)


async def test_rate_stands_inside_the_queue():
    """Outside, calls that were let go at one a second pile up before a full target, and leave together when a place is free."""

    async def most_in_a_second(*layers):
        provider = Scripted("fine", latency_s=lambda call: 20.0 if call.request.messages[0].text == "slow" else 0.1)
        ask = stack(provider, *layers)
        await together(ask, [*(make_call("slow") for _ in range(5)), *(make_call(f"quick {n}") for n in range(10))])
        starts = sorted(provider.started_s)
        return max(sum(begin <= start < begin + 0.999 for start in starts) for begin in starts)

    def rate():
        return Rate(requests_per_minute=60, tokens_per_minute=1e9, estimate=lambda _: 10)

    assert await most_in_a_second(Concurrency(limit=5), rate()) == 1
    assert await most_in_a_second(rate(), Concurrency(limit=5)) >= 5


async def test_timeout_stands_inside_attempt():
    """The record says why an attempt ended: "it took too long" inside, no more than "it was cut off" outside."""

    async def error(*layers):
        call = make_call(stream=True)
        await fails(stack(Scripted(STALL), *layers), AttemptTimedOut, call=call)
        return call.state.trail[0].error

    assert await error(Attempt(), Timeout(first_token_s=5)) == "AttemptTimedOut"
    assert await error(Timeout(first_token_s=5), Attempt()) == "CancelledError"


async def test_open_breaker_is_not_retried_but_handed_on():
    """Waiting for a target that is known to be down is waiting for nothing; the next one answers at once."""
    down, healthy = Scripted(Overloaded("down"), name="a"), Scripted("fine", name="b")
    targets = [
        stack(
            provider, Retry(attempts_per_target=2, base_s=0.01, draw=lambda: 0.5), Breaker(draw=lambda: 0.0), Attempt(target=provider.name)
        )
        for provider in (down, healthy)
    ]
    ask = Fallback(handlers=targets, traits=[down.traits, healthy.traits], attempts=3)
    for _ in range(30):
        assert await read(ask, make_call()) == "fine"
    assert (down.calls, healthy.calls) == (10, 30)


async def test_refused_call_gives_place_and_rate_back():
    """With the breaker open, 1000 calls are refused in the time one request has to wait, although the limit is one a second."""
    place, pace = Concurrency(limit=1), Rate(requests_per_minute=60, tokens_per_minute=600, estimate=lambda _: 10)
    breaker = Breaker(draw=lambda: 0.0)
    provider = Scripted(Overloaded("down"))
    ask = stack(provider, place, pace, breaker)
    await together(ask, [make_call() for _ in range(10)])
    begun = now()
    results = await together(ask, [make_call() for _ in range(1000)])
    assert {type(result) for result in results} == {CircuitOpen}
    assert now() - begun == pytest.approx(1, abs=0.01)
    assert (provider.calls, place.idle(), pace.idle()) == (10, True, True)


async def test_budget_stands_inside_the_cache():
    """A free answer is never refused. One question, a hundred times, a budget of one cent: 100 answers; with budget outside, 1."""

    async def answered(*layers):
        provider = Scripted("fine")
        results = [await asyncio.gather(read(stack(provider, *layers), make_call()), return_exceptions=True) for _ in range(100)]
        assert provider.calls == 1
        return sum(result == ["fine"] for result in results)

    def budget():
        return Budget(limits=(SpendLimit(usd=0.01),), quote=lambda _: Quote.exactly(0.01), price=lambda _usage, _model: 0.01)

    assert await answered(Cache(MemoryStore()), budget()) == 100
    assert await answered(budget(), Cache(MemoryStore())) == 1


async def test_budget_stands_inside_the_hedge():
    """A hedge pays twice: two cents booked inside it, one outside, for the same bill."""

    async def booked(*layers):
        provider = Scripted("fine", latency_s=lambda call: 1.0 if call.hedged else 10.0)
        await read(stack(provider, *layers, Attempt()), make_call())
        assert provider.calls == 2
        return next(layer for layer in layers if isinstance(layer, Budget)).spend_store

    def budget():
        return Budget(limits=(SpendLimit(usd=1.0),), quote=lambda _: Quote.exactly(0.01), price=lambda _usage, _model: 0.01)

    account = SpendLimit(usd=1.0).account(make_call(), now_epoch_s=0.0)
    assert (await booked(Hedge(after=2.0), budget())).spent_usd(account) == pytest.approx(0.02)
    assert (await booked(budget(), Hedge(after=2.0))).spent_usd(account) == pytest.approx(0.01)


async def test_slot_is_given_back_while_a_hedge_waits_for_its_own():
    """Hedge stands outside the queue: its second runner needs a place like everybody, and none is left behind."""
    provider = Scripted("fine", latency_s=lambda call: 1.0 if call.hedged else 10.0)
    place = Concurrency(limit=2)
    begun = now()
    await read(stack(provider, Hedge(after=2.0), place, Attempt()), make_call())
    assert now() - begun == pytest.approx(3)
    await drained()
    assert (provider.peak, place.idle()) == (2, True)


async def test_stalled_target_leaves_time_for_the_next_one():
    """timeout inside fallback inside deadline: the whole call stays within its deadline and is answered."""
    stalled, healthy = Scripted(STALL, name="a"), Scripted("fine", name="b")
    targets = [stack(provider, Retry(attempts_per_target=1, draw=lambda: 0.0), Attempt(), Timeout()) for provider in (stalled, healthy)]
    begun = now()
    assert await read(stack(Fallback(handlers=targets), Deadline(deadline_s=90)), make_call()) == "fine"
    assert now() - begun == pytest.approx(45, abs=0.01)
    begun = now()
    assert await read(stack(Fallback(handlers=targets), Deadline(deadline_s=90)), make_call(stream=True)) == "fine"
    assert now() - begun == pytest.approx(30, abs=0.01)


def whole_house(provider, *, shared):
    """Every layer, in the order of the stack, around three targets that are the same provider."""
    budget, breaker = RetryBudget(), Breaker(draw=lambda: 0.0)

    def target(name):
        return stack(
            provider,
            Retry(target=name, attempts=4, budget=budget, half_open=breaker.is_on_trial, draw=lambda: 0.5),
            Hedge(target=name, after=0.15, budget=None),
            Concurrency(target=name, limit=4),
            Rate(target=name, requests_per_minute=6000, tokens_per_minute=600_000, estimate=lambda _: 10),
            breaker,
            Budget(limits=(SpendLimit(usd=1e6),), quote=lambda _: Quote.exactly(0.01), price=lambda _usage, _model: 0.01),
            Attempt(target=name, price=lambda _usage, _model: 0.01),
            Timeout(target=name),
            Chaos(),
            name=name,
        )

    equals = Balance(handlers=[target("a"), target("b")], draw=lambda: 0.5)
    inner = Fallback(handlers=[equals, target("c")], traits=[provider.traits, provider.traits], attempts=4)
    layers = [Trace(), Deadline(deadline_s=60), Cache(MemoryStore(max_bytes=1)), Coalesce(always=shared), Resume(times=0), Batch()]
    return stack(inner, *layers)


@pytest.mark.parametrize("kind", ["chat", "stream", "embed"])
@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("shared", [False, True])
async def test_the_whole_stack_keeps_the_contract_of_one_layer(kind, promise, shared):
    """Cancelled at every await of every path, once and twice: nothing held anywhere."""
    await LayerContract(partial(whole_house, shared=shared), kind=kind).check(promise)
