"""What an attempt did cost, however it ended."""

from __future__ import annotations

import asyncio

import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.core.deltas import Replay
from surefoot.core.stream import Outcome, Stream
from surefoot.errors import AttemptTimedOut, BadRequest, ConnectionLost, Interrupted, MalformedReply, Overloaded, RateLimited
from surefoot.settings import SpendLimit
from surefoot.testing import make_call
from surefoot.testing.wire import OpenAISim, fault
from surefoot.types import ChatReply, Delta, Usage
from surefoot.usage.billing import may_be_billed, used
from tests.redis_proxy import closed_port

pytestmark = pytest.mark.looptime


def guess(_request, text):
    return Usage(input_tokens=7, output_tokens=99 if text is None else len(text), estimated=True)


def cause(error, name):
    """`error`, raised from one of a class of that name."""
    error.__cause__ = type(name, (Exception,), {})()
    return error


async def left(*deltas, read=1):
    stream = Stream(Replay(list(deltas)))
    for _ in range(read):
        await stream.__anext__()
    await stream.aclose()
    return stream.outcome


def test_the_providers_count_comes_first():
    """Ours is off by some percent."""
    usage = Usage(input_tokens=100, output_tokens=50, cached_tokens=80)
    assert used(make_call(), Outcome(reply=ChatReply(text="hi", usage=usage)), guess) == usage


def test_a_server_that_counts_nothing_is_counted_for():
    """Nothing is no estimate of something."""
    outcome = Outcome(reply=ChatReply(text="four", usage=Usage(estimated=True)))
    assert used(make_call(), outcome, guess) == Usage(input_tokens=7, output_tokens=4, estimated=True)


async def test_a_stream_left_early_costs_what_arrived():
    """The provider's count comes at the end, which nobody saw."""
    assert used(make_call(), await left(Delta(text="abc"), Delta(text="def"), read=2), guess).output_tokens == 6


async def test_a_count_that_began_is_corrected_by_the_text():
    """Anthropic tells the input first, and one token of output."""
    begun = Delta(text="abcdef", usage=Usage(input_tokens=500, cached_tokens=400, output_tokens=1))
    usage = used(make_call(), await left(begun, Delta(text="x")), guess)
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.estimated) == (500, 400, 6, True)


async def test_a_stream_with_its_end_in_hand_keeps_the_providers_count():
    """Its last delta was not read any more."""
    end = Delta(text="abc", finish_reason="stop", usage=Usage(input_tokens=5, output_tokens=3))
    assert used(make_call(), await left(end), guess) == end.usage


@pytest.mark.parametrize("error", [Overloaded("busy"), RateLimited("slow down"), BadRequest("no such field")])
def test_an_error_instead_of_an_answer_costs_nothing(error):
    """No provider bills a 503."""
    outcome = Outcome(error=error)
    assert used(make_call(), outcome, guess) is None
    assert not may_be_billed(outcome)


def test_what_was_cancelled_or_waited_for_in_vain_may_be_on_the_bill():
    """The provider was at work."""
    cancelled = Outcome(error=asyncio.CancelledError())
    assert used(make_call(), cancelled, guess) == Usage(input_tokens=7, output_tokens=99, estimated=True)
    assert may_be_billed(cancelled)
    for error in (AttemptTimedOut("nothing for 30 s"), ConnectionLost("reset"), MalformedReply("half of it")):
        assert may_be_billed(Outcome(error=error))
    assert may_be_billed(Outcome(error=cause(AttemptTimedOut("nothing"), "ReadTimeout")))


@pytest.mark.parametrize("name", ["ConnectionTimeoutError", "ConnectTimeout", "PoolTimeout", "ConnectionRefusedError", "gaierror"])
@pytest.mark.parametrize("kind", [AttemptTimedOut, ConnectionLost])
def test_a_connection_that_never_came_about_costs_nothing(kind, name):
    """An hour of a dead host would use up the budget."""
    assert not may_be_billed(Outcome(error=cause(kind("no connection"), name)))


@pytest.mark.parametrize("lane", ["direct", "sdk"])
def test_a_host_that_refuses_connections_uses_no_budget(lane):
    """Told by what the real transports raise; a host that accepts and hangs up may have been at work."""
    limit = SpendLimit(usd=5)
    account = limit.account(make_call(), now_epoch_s=0.0)

    def spent(address):
        target = Target("openai:gpt-4o", base_url=f"{address}/v1", api_key="k", lane=lane)
        chat = ChatModel(target, policy=Policy(attempts=1, budgets=(limit,)))
        with pytest.raises(ConnectionLost):
            chat.invoke("hi")
        usd = chat._stack.spend_store.spent_usd(account)
        chat.close()
        return usd

    assert spent(f"http://127.0.0.1:{closed_port()}") == 0.0
    with OpenAISim() as sim:
        sim.script(fault("reset_before_answer"))
        assert spent(sim.url) > 0.0


async def test_a_broken_stream_costs_what_arrived():
    """It was interrupted, not refused."""
    stream = Stream(Replay([Delta(text="abcd")]))
    with pytest.raises(Interrupted):
        async for _ in stream:
            pass
    assert used(make_call(), stream.outcome, guess).output_tokens == 4
