"""trace: the first and the last word on every call."""

from __future__ import annotations

import asyncio

import pytest

from surefoot.core.stack import stack
from surefoot.errors import ConnectionLost, Interrupted, Overloaded
from surefoot.events import CallEnded, CallStarted
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.trace import Trace, cost_of
from surefoot.testing import STALL, Scripted, make_call
from surefoot.types import AttemptRecord as Record
from surefoot.types import Usage
from tests.layers.helping import Heard, fails, read

pytestmark = pytest.mark.looptime


def priced(usage, model):
    return usage.total_tokens / 1000


def layer(provider):
    return stack(provider, Trace(), Retry(target="t", draw=lambda: 0.5), Attempt(target="t", price=priced))


async def test_reply_carries_attempts_cost_and_trail_of_the_whole_call():
    """A caller who pays for three attempts must see three."""
    reply = await layer(Scripted(Overloaded("busy"), Overloaded("busy"), "fine"))(make_call())
    assert reply.attempts == 3
    assert [(one.kind, one.error) for one in reply.trail] == [("first", "Overloaded"), ("retry", "Overloaded"), ("retry", "")]
    assert reply.cost_usd == pytest.approx(0.015)  # errors are not billed: 15 tokens, once


async def test_embedding_reply_is_summed_too():
    """One shape carries chat and embeddings."""
    reply = await layer(Scripted())(make_call(["one"]))
    assert (reply.attempts, reply.cost_usd) == (1, 0.01)


async def test_stream_leaves_its_whole_reply_behind_when_it_has_ended():
    """A stream has no return value; its sum is wanted all the same."""
    call = make_call(stream=True)
    stream = await layer(Scripted("one two three"))(call)
    assert call.state.reply is None
    text = "".join([delta.text async for delta in stream])
    reply = call.state.reply
    assert (reply.text, reply.attempts, reply.cost_usd) == (text, 1, 0.015)


async def test_broken_stream_leaves_no_reply():
    """Nothing partial may pass for whole."""
    call = make_call(stream=True)
    with pytest.raises(Interrupted):
        await read(layer(Scripted(["Hel", ConnectionLost("reset")])), call)
    assert call.state.reply is None


async def test_call_is_told_once_at_its_start_and_once_when_settled():
    """For a stream the end is its end, not its first token."""
    heard = Heard()
    stream = await layer(Scripted("one two", latency_s=2, delta_gap_s=3))(make_call(stream=True, listeners=(heard,)))
    assert heard.of(CallStarted)
    assert not heard.of(CallEnded)
    async for _ in stream:
        pass
    (end,) = heard.of(CallEnded)
    assert (end.first_token_s, end.seconds) == pytest.approx((2, 8))
    assert (end.attempts, end.error, end.target) == (1, "", "scripted:model")


async def test_failed_call_ends_with_its_error_and_target():
    """A failure without a name cannot be counted."""
    heard = Heard()
    await fails(stack(Scripted(Overloaded("busy")), Trace(), Attempt(target="t")), Overloaded, call=make_call(listeners=(heard,)))
    (end,) = heard.of(CallEnded)
    assert (end.error, end.target, end.cost_usd) == ("Overloaded", "t", 0.0)


async def test_cancelled_call_ends_as_cancelled():
    """Cancellation is not a failure, but it is an end."""
    heard = Heard()
    task = asyncio.create_task(layer(Scripted(STALL))(make_call(listeners=(heard,))))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert heard.of(CallEnded)[0].error == "CancelledError"


def test_unknown_price_makes_the_sum_unknown_but_a_failure_costs_nothing():
    """None is honest; zero would be a lie that budgets believe."""
    failed = Record(number=1, target="t", error="Overloaded")
    known = Record(number=2, target="t", usage=Usage(), cost_usd=0.5)
    unknown = Record(number=3, target="t", usage=Usage())
    assert cost_of([failed, known]) == 0.5
    assert cost_of([known, unknown]) is None
    assert cost_of([]) == 0.0
