"""retry: asks again, when it helps, and no more than is affordable."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import traceback

import pytest
from msgspec.structs import replace

from surefoot.core.stack import stack
from surefoot.errors import (
    AuthFailed,
    BadRequest,
    CircuitOpen,
    ConnectionLost,
    ContentRefused,
    Exhausted,
    MalformedReply,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    SurefootError,
)
from surefoot.events import Retried
from surefoot.layers.guards.breaker import Breaker
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.deadline import Deadline
from surefoot.layers.watch.trace import Trace
from surefoot.rules.breaker import OPEN
from surefoot.rules.retry_budget import RetryBudget
from surefoot.testing import Scripted, make_call
from tests.layers.helping import Heard, fails, now, read, together

pytestmark = pytest.mark.looptime


def layer(provider, **settings):
    return stack(provider, Deadline(deadline_s=100), Retry(target="t", **{"draw": lambda: 0.5, **settings}), Attempt(target="t"))


@pytest.mark.parametrize("stream", [False, True])
async def test_provider_that_fails_twice_gets_three_calls(stream):
    """One retry owner: three, not nine."""
    provider = Scripted(Overloaded("busy"), ConnectionLost("reset"), "fine")
    assert await read(layer(provider), make_call(stream=stream)) == "fine"
    assert provider.calls == 3
    assert [call.attempt for call in provider.seen] == [1, 2, 3]


async def test_stream_that_fails_before_its_first_token_is_retried_unseen():
    """Until answered nothing was shown, so nothing is doubled."""
    provider = Scripted([ConnectionLost("reset")], "fine")
    assert await read(layer(provider), make_call(stream=True)) == "fine"
    assert provider.calls == 2


async def test_what_every_attempt_ended_in_is_caught():
    """Its message says once what happened, and nothing is chained that already stands in the group."""
    provider = Scripted(RateLimited("t: HTTP 429: slow down", status=429, target="t"), times=9)
    with pytest.raises(RateLimited) as caught:
        await stack(provider, Trace(), Retry(target="t", attempts=3, draw=lambda: 0.5), Attempt(target="t"))(make_call())
    assert str(caught.value) == "t: all 3 attempts failed; the last: HTTP 429: slow down"
    assert (caught.value.attempts, caught.value.status, len(caught.value.exceptions)) == (3, 429, 3)
    assert "".join(traceback.format_exception_only(caught.value)).count("slow down") == 1
    assert caught.value.__cause__ is None


async def test_waits_grow_with_full_jitter():
    """draw * base * 2**n: half of 0.5, 1, 2, 4 s."""
    provider = Scripted(Overloaded("busy"))
    await fails(layer(provider, attempts=5), Exhausted)
    gaps = [round(b - a, 3) for a, b in zip(provider.started_s, provider.started_s[1:], strict=False)]
    assert gaps == [0.25, 0.5, 1.0, 2.0]


async def test_no_wait_is_none():
    """Where neither the provider nor the draw asks for one."""
    provider = Scripted(RateLimited("now", retry_after_s=0), Overloaded("busy"), "fine")
    assert await read(layer(provider, draw=lambda: 0.0), make_call()) == "fine"
    assert [begun - provider.started_s[0] for begun in provider.started_s] == [0, 0, 0]


async def test_hint_is_a_floor():
    """Never earlier than the provider said; a little later, so that not all come back at once."""
    provider = Scripted(RateLimited("slow down", retry_after_s=7), "fine")
    await read(layer(provider), make_call())
    gap = provider.started_s[1] - provider.started_s[0]
    assert 7 <= gap <= 7.7


async def test_hint_beyond_the_deadline_is_told_at_once():
    """Sleeping into a certain failure helps nobody; the next target may answer now."""
    provider = Scripted(RateLimited("slow down", retry_after_s=101))
    begun = now()
    error = await fails(layer(provider), RateLimited)
    assert (provider.calls, now() - begun, error.retry_after_s) == (1, 0, 101)


async def test_hint_beyond_two_minutes_is_not_slept_out_even_without_a_deadline():
    """One vendor SDK sleeps 4,294,967 s when told to."""
    provider = Scripted(RateLimited("tomorrow", retry_after_s=86_400))
    await fails(stack(provider, Retry()), RateLimited)
    assert provider.calls == 1


async def test_long_hint_is_not_slept_out_when_another_target_is_at_hand():
    """He may answer now; a short one is, since this target is preferred."""
    provider = Scripted(RateLimited("slow down", retry_after_s=9), "fine")
    await fails(layer(provider), RateLimited, call=make_call(others=True))
    assert provider.calls == 1
    provider = Scripted(RateLimited("slow down", retry_after_s=2), "fine")
    assert await read(layer(provider), make_call(others=True)) == "fine"


async def test_rate_limit_without_a_hint_waits_longer_than_a_passing_fault():
    """It will not have passed in a quarter of a second."""
    provider = Scripted(RateLimited("slow down"), "fine")
    await read(layer(provider), make_call())
    assert provider.started_s[1] - provider.started_s[0] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", [QuotaExhausted, AuthFailed, BadRequest, ContentRefused, CircuitOpen])
async def test_what_cannot_pass_by_itself_is_asked_once(kind):
    """insufficient_quota is a 429, too, and vendor SDKs send it three times."""
    provider = Scripted(kind("no"))
    await fails(layer(provider), kind)
    assert provider.calls == 1


async def test_several_failures_come_out_in_order():
    """The first one is often the telling one."""
    provider = Scripted(Overloaded("one"), ConnectionLost("two"), MalformedReply("three"))
    error = await fails(layer(provider), Exhausted)
    assert [str(one) for one in error.exceptions] == ["one", "two", "three"]
    assert isinstance(error.last, MalformedReply)


async def test_failure_that_cannot_pass_ends_the_retries_with_all_of_them():
    """An expired key shows itself late when the provider is overloaded."""
    provider = Scripted(Overloaded("busy"), AuthFailed("no"))
    error = await fails(layer(provider), Exhausted)
    assert [type(one) for one in error.exceptions] == [Overloaded, AuthFailed]
    assert provider.calls == 2


async def test_one_attempt_fails_as_itself():
    """A group of one is a riddle."""
    await fails(layer(Scripted(Overloaded("busy")), attempts=1), Overloaded)


async def test_attempts_count_over_all_targets_together():
    """Layers multiply: what another target has used is gone."""
    provider = Scripted(Overloaded("busy"))
    call = make_call()
    call.state.attempts = 2
    await fails(layer(provider, attempts=4), Exhausted, call=call)
    assert provider.calls == 2


async def test_with_another_target_at_hand_two_go_to_this_one():
    """A fresh host beats a third try at a sick one."""
    provider = Scripted(Overloaded("busy"))
    await fails(layer(provider, attempts=6), Exhausted, call=make_call(others=True))
    assert provider.calls == 2


async def test_budget_ends_retries_in_a_total_outage():
    """Three attempts each would be three times the traffic, sent to a provider that is down."""
    provider = Scripted(Overloaded("down"))
    ask = layer(provider, attempts=3, budget=RetryBudget())
    for _ in range(200):
        await fails(ask, (Exhausted, Overloaded))
    assert provider.calls <= 220


async def test_budget_survives_faults_that_pass():
    """30 % faults are weather, not an outage."""
    provider = Scripted(*[step for i in range(300) for step in ([Overloaded("busy")] if i % 10 < 4 else []) + ["fine"]])
    ask = layer(provider, budget=RetryBudget())
    for _ in range(300):
        assert await read(ask, make_call()) == "fine"


async def test_retries_that_fail_are_owed_and_those_that_succeed_are_free():
    """The balance tips when failing becomes the rule."""
    for then, is_whole in (("fine", True), (Overloaded("down"), False)):
        budget = RetryBudget()
        provider = Scripted(lambda call, then=then: Overloaded("busy") if call.attempt == 1 else then)
        ask = layer(provider, attempts=2, budget=budget)
        for _ in range(6):
            try:
                await ask(make_call())
            except Exhausted:
                budget.succeeded()  # somebody else's success ends no debt but one
        assert (budget.level == budget.capacity) is is_whole, then


async def test_cold_start_of_many_loses_nobody_to_the_budget():
    """Of 500 begun at once 90 fail long before the first answer; ten minutes of traffic would have afforded their retries."""
    numbers = iter(range(500))

    async def provider(call):
        if call.attempt == 1 and next(numbers) < 90:
            await asyncio.sleep(0.02)
            return Overloaded("busy")
        await asyncio.sleep(5)
        return "fine"

    budget = RetryBudget()
    assert set(await together(layer(Scripted(provider), budget=budget), [make_call() for _ in range(500)])) == {"fine"}
    assert budget.under_way == 0


async def test_no_end_of_a_first_attempt_leaves_it_under_way():
    """Answered, failed in any way or left alone: a count that only grows would widen the budget for ever."""
    budget = RetryBudget()
    for outcome, kind in ((Overloaded("down"), Exhausted), (BadRequest("no"), BadRequest)):
        await fails(layer(Scripted(outcome), budget=budget), kind)
    waiting = asyncio.create_task(read(layer(Scripted("fine", latency_s=5), budget=budget), make_call()))
    await asyncio.sleep(1)
    assert budget.under_way == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert budget.under_way == 0


async def test_dry_budget_saves_the_wait_too():
    """Who cannot ask again fails at once."""
    budget = RetryBudget()
    while budget.allow_retry(0.0):
        pass
    begun = now()
    await fails(layer(Scripted(Overloaded("down")), budget=budget), Overloaded)
    assert now() == begun


async def test_nobody_waits_for_an_open_breaker():
    """A backoff that ends at an open breaker is a wait for a no; one that outlasts it is not."""
    for shut_s, calls, waited_s in ((5.0, 1, 0.0), (0.2, 2, 0.25)):
        provider, begun = Scripted(Overloaded("down")), now()
        await fails(layer(provider, attempts=2, shut_s=lambda shut_s=shut_s: shut_s), SurefootError)
        assert (provider.calls, now() - begun) == (calls, pytest.approx(waited_s))


async def test_trial_that_fails_is_told_at_once():
    """In a total outage the few trials are the slowest calls; they need not sleep on it."""
    provider, breaker = Scripted(Overloaded("down")), Breaker(target="t", draw=lambda: 0.0)
    ask = stack(provider, Retry(target="t", attempts=6, shut_s=breaker.shut_s, draw=lambda: 0.5), breaker)
    while breaker.rule.state != OPEN:
        await fails(ask, SurefootError)
    await fails(ask, CircuitOpen)
    await asyncio.sleep(5.1)
    begun, calls = now(), provider.calls
    await fails(ask, Overloaded)
    assert (provider.calls - calls, now() - begun) == (1, 0)


async def test_retries_on_a_target_on_trial_cost_more():
    """While the breaker tries a target, the first attempts are the trial."""
    budget = RetryBudget()
    provider = Scripted(Overloaded("down"))
    await fails(layer(provider, attempts=6, budget=budget, half_open=lambda: True), Exhausted)
    assert provider.calls == 2  # 15 tokens at hand, 14 a retry


async def test_retry_says_what_it_does():
    """Events are how anybody learns of what stays invisible."""
    heard = Heard()
    await read(layer(Scripted(Overloaded("busy"), "fine")), make_call(listeners=(heard,)))
    (event,) = heard.of(Retried)
    assert (event.target, event.attempt, event.wait_s, event.cause) == ("t", 2, 0.25, "Overloaded")


async def test_trail_says_why_and_after_what_wait():
    """An attempt tree without reasons is a list."""
    call = make_call()
    await read(layer(Scripted(Overloaded("busy"), "fine")), call)
    assert [(one.kind, one.wait_s) for one in call.state.trail] == [("first", 0.0), ("retry", 0.25)]


async def test_cancel_wins_over_the_backoff():
    """Retries that go on after the caller left are billed to nobody."""
    provider = Scripted(RateLimited("slow down", retry_after_s=50))
    task = asyncio.create_task(layer(provider)(make_call()))
    await asyncio.sleep(10)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await asyncio.sleep(100)
    assert provider.calls == 1


def test_good_path_does_not_import_tenacity():
    """What only failures need is loaded by the first failure."""
    code = """
import asyncio, sys
from surefoot.layers.repeat.retry import Retry
from surefoot.core.stack import stack
from surefoot.testing.scripted import Scripted, make_call
asyncio.run(stack(Scripted(), Retry())(make_call()))
sys.exit("tenacity" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "src"}, check=False).returncode == 0


@pytest.mark.parametrize(("others", "wire_calls"), [(True, 1), (False, 3)])
async def test_nobody_waits_for_a_failing_target_with_another_at_hand(others, wire_calls):
    """A busy window takes up to half a minute to open the breaker: a backoff for each call meanwhile. Alone, waiting may still help."""
    provider, begun = Scripted(Overloaded("busy")), now()
    ask = layer(provider, failing=lambda: True)
    await fails(ask, SurefootError, call=replace(make_call(), others=others))
    assert provider.calls == wire_calls
    assert (now() == begun) is others


async def test_what_fails_now_and_then_is_asked_again_before_another_is():
    """The first target is the preferred one: a blip is no reason to leave it."""
    breaker = Breaker(target="t")
    provider = Scripted(*("fine", Overloaded("busy"), "fine") * 5)
    ask = stack(provider, Retry(target="t", draw=lambda: 0.5, failing=breaker.is_failing), breaker, Attempt(target="t"))
    for _ in range(10):
        assert await read(ask, replace(make_call(), others=True)) == "fine"
    assert provider.calls == 15
