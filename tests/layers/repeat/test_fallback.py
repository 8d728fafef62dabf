"""fallback: the next target, if it can."""

from __future__ import annotations

import asyncio

import pytest

from surefoot.core.stack import describe, stack
from surefoot.errors import (
    AuthFailed,
    BadRequest,
    BudgetExceeded,
    CircuitOpen,
    ConnectionLost,
    ContentRefused,
    ContextTooLong,
    DeadlineTooNear,
    Exhausted,
    Interrupted,
    NotFound,
    Overloaded,
    QueueFull,
    QuotaExhausted,
    Unsupported,
)
from surefoot.events import FellBack
from surefoot.layers.repeat.fallback import Fallback
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.watch.attempt import Attempt
from surefoot.testing import STALL, Scripted, make_call
from surefoot.types import ChatRequest, EmbedReply, File, Image, Message, Schema, Tool, Traits
from tests.layers.helping import Heard, fails, read

pytestmark = pytest.mark.looptime


def providers(*scripts, **each):
    return [Scripted(*script, name=f"t{i}", **each) for i, script in enumerate(scripts, 1)]


REFUSALS = (CircuitOpen, QueueFull, DeadlineTooNear)  # each by a guard of that target: the next one's may be open


@pytest.mark.parametrize("kind", [Overloaded, AuthFailed, QuotaExhausted, NotFound, ContextTooLong, ContentRefused, *REFUSALS])
@pytest.mark.parametrize("stream", [False, True])
async def test_target_in_trouble_hands_the_call_on(kind, stream):
    """Exactly one request to it, and the answer comes from the next."""
    first, second = providers([kind("no")], ["from the second"])
    assert await read(Fallback(handlers=[first, second]), make_call(stream=stream)) == "from the second"
    assert (first.calls, second.calls) == (1, 1)


@pytest.mark.parametrize("kind", [BadRequest, BudgetExceeded])
async def test_callers_own_mistake_and_own_limits_stay_with_the_caller(kind):
    """The next vendor would refuse it too, or spend what was refused."""
    first, second = providers([kind("no")], ["fine"])
    await fails(Fallback(handlers=[first, second]), kind)
    assert second.calls == 0


async def test_cancelled_call_falls_back_to_nobody():
    """A neighbour ran the fallback of a cancelled call to its end, and billed it."""
    first, second = providers([STALL], ["fine"])
    task = asyncio.create_task(Fallback(handlers=[first, second])(make_call()))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (first.in_flight, second.calls) == (0, 0)


async def test_stream_that_breaks_after_its_first_token_falls_back_to_nobody():
    """A silent splice of two models' texts is worse than an error."""
    first, second = providers([["Hel", ConnectionLost("reset")]], ["fine"])
    with pytest.raises(Interrupted):
        await read(Fallback(handlers=[first, second]), make_call(stream=True))
    assert second.calls == 0


async def test_all_failures_come_out_flat_and_in_order():
    """One group, not groups in groups."""
    a, b = providers([Overloaded("a")], [AuthFailed("b")])
    ask = Fallback(handlers=[stack(a, Retry(attempts=2, draw=lambda: 0.0)), b])
    error = await fails(ask, Exhausted)
    assert [str(one) for one in error.exceptions] == ["a", "a", "b"]
    assert isinstance(error.last, AuthFailed)


async def test_single_failure_comes_out_as_itself():
    """One target, one error: a group would only hide its type."""
    await fails(Fallback(handlers=providers([Overloaded("a")])), Overloaded)


async def test_attempts_bound_all_targets_together():
    """A list of ten targets is no licence for ten attempts."""
    targets = providers(*[[Overloaded("down")] for _ in range(5)])
    ask = Fallback(handlers=[stack(provider, Attempt()) for provider in targets], attempts=3)
    await fails(ask, Exhausted)
    assert sum(provider.calls for provider in targets) == 3


async def test_last_target_knows_that_nobody_stands_behind_it():
    """retry tries harder there."""
    targets = providers([Overloaded("down")], [Overloaded("down")], ["fine"])
    await read(Fallback(handlers=targets), make_call())
    assert [provider.seen[0].others for provider in targets] == [True, True, False]


async def test_move_is_told_and_marked_in_the_trail():
    """Who answered, and why not the first."""
    heard = Heard()
    first, second = providers([Overloaded("down")], ["fine"])
    call = make_call(listeners=(heard,))
    await read(Fallback(handlers=[stack(e, Attempt(target=e.name)) for e in (first, second)], names=["t1", "t2"]), call)
    (event,) = heard.of(FellBack)
    assert (event.target, event.next_target, event.cause) == ("t1", "t2", "Overloaded")
    assert [one.kind for one in call.state.trail] == ["first", "fallback"]


SEES = ChatRequest(messages=(Message.user(["what is this?", Image(data=b"png", media_type="image/png")]),))
READS = ChatRequest(messages=(Message.user(["sum it up", File(data=b"%PDF")]),))
CALLS = ChatRequest(messages=(Message.user("go"),), tools=(Tool(name="f"),))
SHAPED = ChatRequest(messages=(Message.user("go"),), schema=Schema())


@pytest.mark.parametrize(("request_", "lacks"), [(SEES, "vision"), (READS, "pdf"), (CALLS, "tools"), (SHAPED, "schema")])
async def test_target_that_cannot_is_skipped_before_sending(request_, lacks):
    """A 400 from a model without eyes is a request wasted."""
    first = Scripted("fine", name="t1", traits=Traits(**{lacks: False}))
    second = Scripted("fine", name="t2")
    await read(Fallback(handlers=[first, second]), make_call(request_))
    assert (first.calls, second.calls) == (0, 1)
    await read(Fallback(handlers=[first, second]), make_call("plain"))
    assert first.calls == 1


async def test_no_able_target_is_said_before_sending():
    """Nothing sent, nothing spent, and the message names what is missing."""
    targets = [Scripted(traits=Traits(vision=False), name=f"t{i}") for i in (1, 2)]
    error = await fails(Fallback(handlers=targets), Unsupported, call=make_call(SEES))
    assert "vision" in str(error)
    assert sum(provider.calls for provider in targets) == 0


async def test_prompt_goes_to_a_window_it_fits():
    """Known windows are respected before sending, unknown ones are tried."""
    small = Scripted(name="small", traits=Traits(context_tokens=100))
    large = Scripted(name="large", traits=Traits(context_tokens=1000))
    ask = Fallback(handlers=[small, large], estimate=lambda request: len(request.messages[0].text))
    await read(ask, make_call("x" * 90))
    await read(ask, make_call("x" * 500))
    assert (small.calls, large.calls) == (1, 1)
    error = await fails(ask, ContextTooLong, call=make_call("x" * 2000))
    assert "1000" in str(error)
    assert (small.calls, large.calls) == (1, 1)


async def test_short_prompt_is_not_even_counted():
    """Counting tokens costs more than the whole layer."""
    asked = []
    provider = Scripted(traits=Traits(context_tokens=8000))
    await read(Fallback(handlers=[provider], estimate=lambda request: asked.append(1) or 1), make_call("short"))
    assert not asked


async def test_context_too_long_moves_to_a_larger_window_only():
    """The same prompt does not fit a smaller one."""
    traits = [Traits(context_tokens=1000), Traits(context_tokens=500), Traits(), Traits(context_tokens=2000)]
    targets = providers([ContextTooLong("no")], ["small"], [ContextTooLong("no")], ["large"])
    assert await read(Fallback(handlers=targets, traits=traits), make_call()) == "large"
    assert [provider.calls for provider in targets] == [1, 0, 1, 1]


async def test_embedding_never_moves_to_another_space():
    """Equal dimensions are not an equal space: one foreign vector spoils an index."""
    first = Scripted(Overloaded("down"), traits=Traits(space="a:4"), name="t1")
    foreign = Scripted(traits=Traits(space="b:4"), name="t2")
    unknown = Scripted(traits=Traits(), name="t3")
    twin = Scripted(traits=Traits(space="a:4"), name="t4")
    await fails(Fallback(handlers=[first, foreign, unknown]), Overloaded, call=make_call(["one"]))
    reply = await Fallback(handlers=[first, foreign, unknown, twin])(make_call(["one"]))
    assert reply.target == "t4"
    assert (foreign.calls, unknown.calls) == (0, 0)


async def test_embedding_of_unknown_space_moves_nowhere():
    """What is not known to be equal is not equal."""
    first, second = providers([Overloaded("down")], ["fine"], traits=Traits())
    await fails(Fallback(handlers=[first, second]), Overloaded, call=make_call(["one"]))
    assert second.calls == 0


async def test_vectors_that_turn_out_foreign_are_dropped():
    """A target may lie about its space; its answer does not."""
    traits = Traits(space="a:4")
    liar = Scripted(EmbedReply(vectors=[[1.0]], space="b:4"), traits=traits, name="liar")
    error = await fails(Fallback(handlers=[Scripted(Overloaded("down"), traits=traits), liar]), Exhausted, call=make_call(["one"]))
    assert isinstance(error.last, Unsupported)


async def test_describe_lists_the_targets_in_order():
    """The picture a user prints."""
    targets = [stack(provider, Attempt(), name=provider.name) for provider in providers(["a"], ["b"])]
    text = describe(stack(Fallback(handlers=targets)))
    assert text.index("t1") < text.index("t2")


@pytest.mark.looptime
async def test_a_model_named_for_one_request_stays_with_the_first_target():
    """Another vendor has no model of that name, and its extra fields mean nothing there."""
    one, two, three = (Scripted(Overloaded("busy")), Scripted(Overloaded("busy")), Scripted("fine"))
    ask = Fallback(handlers=(one, two, three), names=("openai:a", "openai:b", "google:c"))
    request = ChatRequest(messages=(Message.user("hi"),), model="gpt-x", extra='{"k":1}')
    await ask(make_call(request))
    seen = [(provider.requests[0].model, provider.requests[0].extra) for provider in (one, two, three)]
    assert seen == [("gpt-x", '{"k":1}'), ("", '{"k":1}'), ("", "")]
