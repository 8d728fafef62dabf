"""resume: a broken stream, begun anew and announced."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from surefoot.core.stack import stack
from surefoot.errors import BadRequest, ConnectionLost, ContentRefused, DeadlineExceeded, Interrupted, Overloaded
from surefoot.events import Resumed
from surefoot.layers.repeat.balance import Balance
from surefoot.layers.repeat.fallback import Fallback
from surefoot.layers.repeat.resume import Resume
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.deadline import Deadline
from surefoot.layers.watch.timeout import Timeout
from surefoot.layers.watch.trace import Trace
from surefoot.testing import STALL, Scripted, make_call
from tests.layers.helping import Heard

pytestmark = pytest.mark.looptime


def two(first, second, *layers, **settings):
    """Resume around two targets; the providers and the handler."""
    providers = [Scripted(*first, name="a"), Scripted(*second, name="b")]
    targets = [stack(provider, Attempt(target=provider.name), Timeout(idle_s=5), name=provider.name) for provider in providers]
    return providers, stack(Fallback(handlers=targets, traits=[provider.traits for provider in providers]), *layers, Resume(**settings))


BREAKS = ["Hel", "lo", ConnectionLost("reset")]


async def test_broken_stream_begins_anew_elsewhere_with_a_marker():
    """The reader is told to drop what he has: never a silent splice."""
    (first, second), ask = two([BREAKS], ["another answer"])
    stream = await ask(make_call(stream=True))
    deltas = [delta async for delta in stream]
    assert [delta.marker or delta.text for delta in deltas] == ["Hel", "lo", "resumed", "another ", "answer", ""]
    assert (first.calls, second.calls) == (1, 1)
    assert (first.idle(), second.idle()) == (True, True)


async def test_whole_reply_is_the_second_answer_alone():
    """What is cached and billed as an answer must be one answer."""
    (_, _), ask = two([BREAKS], ["another answer"], Trace())
    call = make_call(stream=True)
    async for _ in await ask(call):
        pass
    reply = call.state.reply
    assert (reply.text, reply.target, reply.attempts) == ("another answer", "b", 2)
    assert [(one.kind, one.error) for one in reply.trail] == [("first", "Interrupted"), ("resume", "")]


async def test_silence_is_a_break_too():
    """A stalled stream is broken for its reader."""
    _, ask = two([["Hel", STALL]], ["fine"])
    assert [delta.text async for delta in await ask(make_call(stream=True))] == ["Hel", "", "fine", ""]
    assert asyncio.current_task().cancelling() == 0


async def test_restart_is_told():
    """Doubled cost must be visible."""
    heard = Heard()
    _, ask = two([BREAKS], ["fine"])
    async for _ in await ask(make_call(stream=True, listeners=(heard,))):
        pass
    (event,) = heard.of(Resumed)
    assert (event.target, event.characters) == ("b", 5)


async def test_second_break_is_final():
    """Once is bad luck, twice is a pattern."""
    _, ask = two([BREAKS], [["Bye", Overloaded("busy")]])
    with pytest.raises(Interrupted) as caught:
        async for _ in await ask(make_call(stream=True)):
            pass
    assert caught.value.partial == "Bye"


async def test_failed_restart_leaves_the_first_break():
    """The partial text is still the reader's, and the reason why no more came."""
    _, ask = two([BREAKS], [BadRequest("no")])
    with pytest.raises(Interrupted) as caught:
        async for _ in await ask(make_call(stream=True)):
            pass
    assert caught.value.partial == "Hello"
    assert "no" in str(caught.value.__cause__)


async def test_attempts_bound_restarts_too():
    """The policy's number is the whole call's."""
    (_, second), ask = two([BREAKS], ["fine"], attempts=1)
    with pytest.raises(Interrupted):
        async for _ in await ask(make_call(stream=True)):
            pass
    assert second.calls == 0


async def test_refused_content_is_not_a_break():
    """A filter that cut the answer off would be asked to be got round."""
    (_, second), ask = two([["Hel", ContentRefused("filtered")]], ["fine"])
    with pytest.raises(Interrupted):
        async for _ in await ask(make_call(stream=True)):
            pass
    assert second.calls == 0


async def test_deadline_is_not_a_break():
    """Time that is up is up."""
    (_, second), ask = two([["Hel", STALL]], ["fine"], Deadline(deadline_s=2))
    with pytest.raises(Interrupted) as caught:
        async for _ in await ask(make_call(stream=True)):
            pass
    assert isinstance(caught.value.__cause__, DeadlineExceeded)
    assert second.calls == 0


async def test_plain_answers_pass_untouched():
    """There is nothing to resume."""
    (first, _), ask = two(["fine"], ["fine"])
    assert (await ask(make_call())).text == "fine"
    assert first.calls == 1


async def test_among_equals_the_one_that_broke_is_not_asked_again():
    """Two of three restarts would otherwise meet what has just failed."""
    for seed in range(20):
        providers = [Scripted(BREAKS, name="a"), Scripted(BREAKS, name="b")]
        targets = [stack(provider, Attempt(target=provider.name), name=provider.name) for provider in providers]
        ask = stack(Balance(handlers=targets, names=["a", "b"], draw=Random(seed).random), Resume())
        with pytest.raises(Interrupted):
            async for _ in await ask(make_call(stream=True)):
                pass
        assert (providers[0].calls, providers[1].calls) == (1, 1)
