"""stack: layers in a row, and their picture."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from msgspec.structs import replace

from surefoot.core.stack import CALL_ORDER, TARGET_ORDER, Guard, describe, stack
from surefoot.errors import CircuitOpen, Overloaded
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.repeat.retry import Retry
from surefoot.testing import STALL, Scripted, make_call
from tests.layers.specimens import LAYERS


class Noting(Guard):
    """A guard that records who acquired and released it."""

    def __init__(self, name, seen, *, waits=False, refuses=False, fails=False):
        self.name, self.seen, self.waits, self.refuses, self.fails = name, seen, waits, refuses, fails

    def acquire(self, call, now):
        if self.refuses:
            raise CircuitOpen(self.name)
        return self.later() if self.waits else self.let_in()

    def let_in(self):
        self.seen.append(self.name)
        return f"held by {self.name}"

    async def later(self):
        await asyncio.sleep(1)
        return self.let_in()

    def release(self, call, held, outcome, now):
        assert held == f"held by {self.name}"
        self.seen.append((f"/{self.name}", type(outcome.error).__name__ if outcome.error else "ok", outcome.cancelled))
        if self.fails:
            raise ZeroDivisionError


async def test_first_named_sees_the_call_first():
    """The order in which it is written is the order in which it is walked."""
    seen = []

    def layer(name):
        async def walk(call, inner):
            seen.append(name)
            answer = await inner(call)
            seen.append(f"/{name}")
            return answer

        return walk

    reply = await stack(Scripted("fine"), layer("a"), layer("b"))(make_call())
    assert reply.text == "fine"
    assert seen == ["a", "b", "/b", "/a"]


class Bounding(Noting):
    """One that gives those further in another call, as a spend limit that bounds an answer does."""

    changes_call = True

    def acquire(self, call, now):
        return None

    def changed(self, call, held):
        self.seen.append((self.name, call.request.max_tokens))
        return replace(call, request=replace(call.request, max_tokens=(call.request.max_tokens or 100) - 1))

    def release(self, call, held, outcome, now):
        self.seen.append((f"/{self.name}", call.request.max_tokens))


@pytest.mark.parametrize("answer", ["fine", Overloaded("full")])
async def test_a_guard_may_change_the_call_for_those_further_in(answer):
    """Each guard is released with the call it was acquired with: what is bounded further in is no wish of the caller's."""
    seen, provider = [], Scripted(answer)
    with suppress(Overloaded):
        await stack(provider, Bounding("a", seen), Bounding("b", seen), Bounding("c", seen))(make_call())
    assert seen == [("a", None), ("b", 99), ("c", 98), ("/c", 98), ("/b", 99), ("/a", None)]
    assert provider.requests[-1].max_tokens == 97


@pytest.mark.looptime
async def test_a_row_of_guards_is_acquired_in_order_and_released_in_reverse():
    """Also where one of them has to wait."""
    seen = []
    ask = stack(Scripted("fine"), Noting("a", seen), Noting("b", seen, waits=True), Noting("c", seen))
    assert (await ask(make_call())).text == "fine"
    assert seen == ["a", "b", "c", ("/c", "ok", False), ("/b", "ok", False), ("/a", "ok", False)]


async def test_a_guard_that_refuses_releases_those_before_it():
    """A permit, a reservation or a place must not be lost to a breaker further in."""
    seen = []
    provider = Scripted("fine")
    with pytest.raises(CircuitOpen):
        await stack(provider, Noting("a", seen), Noting("b", seen, refuses=True), Noting("c", seen))(make_call())
    assert seen == ["a", ("/a", "CircuitOpen", False)]
    assert provider.calls == 0


@pytest.mark.looptime
async def test_cancelled_while_a_guard_waits_or_while_the_provider_does():
    """Whoever was let in is let out, once."""
    for waits, entered in ((True, ["a"]), (False, ["a", "b"])):
        seen = []
        task = asyncio.create_task(stack(Scripted(STALL), Noting("a", seen), Noting("b", seen, waits=waits))(make_call()))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == [*entered, *((f"/{name}", "CancelledError", True) for name in reversed(entered))]


async def test_a_stream_holds_its_guards_until_it_has_finished():
    """Answered is not finished."""
    seen = []
    stream = await stack(Scripted("one two"), Noting("a", seen), Noting("b", seen))(make_call(stream=True))
    assert seen == ["a", "b"]
    async for _ in stream:
        pass
    assert seen[2:] == [("/b", "ok", False), ("/a", "ok", False)]


async def test_a_guard_that_breaks_keeps_no_other_held():
    """A defect in one layer must not cost another one its slot."""
    seen = []
    with pytest.raises(ZeroDivisionError):
        await stack(Scripted(Overloaded("busy")), Noting("a", seen), Noting("b", seen, fails=True))(make_call())
    assert seen == ["a", "b", ("/b", "Overloaded", False), ("/a", "Overloaded", False)]


async def test_stack_without_layers_is_its_provider():
    """The empty case needs no special case."""
    assert (await stack(Scripted("fine"))(make_call())).text == "fine"


def test_every_layer_has_one_place_in_the_order():
    """A layer that stands nowhere is never built; balance stands inside fallback, as one of its handlers."""
    assert len(set(CALL_ORDER + TARGET_ORDER)) == len(CALL_ORDER + TARGET_ORDER)
    assert set(LAYERS) - {"balance"} == set(CALL_ORDER + TARGET_ORDER)


def test_describe_shows_layers_in_order_with_their_settings():
    """`chat.describe()` is what a user checks a configuration with."""
    text = describe(stack(Scripted(), Retry(attempts=5), Concurrency(limit=7), name="openai:m"))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "openai:m"
    assert lines[1].startswith("retry: 5 attempts")
    assert lines[2].startswith("concurrency: 7 places")
    assert lines[3] == "provider: Scripted"
