"""Virtual time and the seeded world: the tools that the torture stands on must not lie themselves."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from surefoot.errors import ConnectionLost, Exhausted, Overloaded
from surefoot.settings import Policy
from surefoot.storage.memory import MemoryStore
from surefoot.testing.virtual import VirtualLoop, virtual_run
from surefoot.testing.world import Serving, ServingProvider, World


def test_an_hour_passes_at_once():
    """The clock leaps to the next timer; timers fire in order and at their moments."""

    async def hour():
        loop = asyncio.get_running_loop()
        woken = []

        async def sleeper(seconds):
            await asyncio.sleep(seconds)
            woken.append((seconds, loop.time()))

        await asyncio.gather(*(sleeper(s) for s in (3600, 0.25, 60)))
        return woken

    assert virtual_run(hour()) == [(0.25, 0.25), (60, 60), (3600, 3600)]


def test_a_clock_that_leaps_ends_what_was_due():
    """A suspended machine wakes up after its timers' moments."""

    async def suspended():
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        sleeper = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        loop.leap(3600)
        await sleeper
        return loop.time()

    assert virtual_run(suspended()) == 3600


def test_a_world_in_which_nothing_can_happen_says_so(monkeypatch):
    """A deadlock in virtual time would wait for ever in real time."""
    monkeypatch.setattr("surefoot.testing.virtual.STUCK_S", 0.01)

    async def stuck():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing can ever happen"):
        virtual_run(stuck())


def test_a_world_notices_what_is_wrong():
    """A wrong answer and a late one are calls lost; what is held is told."""

    class Liar(ServingProvider):
        async def chat(self, call):
            reply = await super().chat(call)
            return type(reply)(text="another's answer")

    async def wrong():
        world = World(1, Liar("a:m", serve=lambda _: Serving()))
        await world.ask(0)
        return world.counts["lost"]

    async def late():
        slow = ServingProvider("a:m", serve=lambda _: Serving(after_s=5))
        world = World(1, slow, policy=Policy(deadline_s=None))
        ended = await world.ask(0)
        world._book(type(ended)(number=1, late_s=0.02), is_lost=True)
        slow.in_flight += 1
        return world.counts["lost"], await world.left_over()

    assert virtual_run(wrong()) == 1
    assert virtual_run(late()) == (1, ["a:m: 1 in flight"])


def test_a_world_keeps_books():
    """Endings by kind, attempts by kind, and one typed error with every failure in it."""

    async def books():
        world = World(7, ServingProvider("a:m", serve=lambda _: Serving(fault=Overloaded("busy"))), policy=Policy(attempts=3))
        ended = await world.ask(0, stream=True)
        assert isinstance(ended.error, Exhausted)
        return ended.kind, world.counts["Exhausted"], world.attempts, world.sent["retry"], world.requests

    assert virtual_run(books()) == ("Exhausted", 1, 3, 2, 3)


def test_a_world_embeds_and_notices_a_wrong_vector():
    """Chats are not all that can be mixed up."""

    class Liar(ServingProvider):
        async def embed(self, call):
            reply = await super().embed(call)
            return msgspec.structs.replace(reply, vectors=reply.vectors[::-1])

    async def embeds(kind):
        world = World(1, kind("a:m", serve=lambda _: Serving()))
        ended = await world.ask(0, texts=("one", "two"))
        await world.ask(1)
        return ended.kind, world.ended, world.counts["lost"], world.requests, await world.left_over()

    assert virtual_run(embeds(ServingProvider)) == ("", 2, 0, 2, [])
    assert virtual_run(embeds(Liar)) == ("", 2, 1, 2, [])


def test_a_world_with_a_cache_knows_what_was_free():
    """Who counts attempts a call must not count those that asked nobody."""

    async def asks():
        world = World(1, ServingProvider("a:m", serve=lambda _: Serving()), cache=MemoryStore())
        first = [await world.ask(n, text="same", temperature=0.0, stream=n == 0) for n in range(2)]
        await world.ask(2, texts=("same",))
        await world.ask(3, texts=("same",))
        at_once = await asyncio.gather(*(world.ask(n, text="other", temperature=0.0) for n in (4, 5)))
        return [one.attempts for one in (*first, *at_once)], world.free, world.requests, await world.left_over()

    assert virtual_run(asks()) == ([1, 0, 1, 0], 3, 3, [])


def test_a_world_reads_a_resumed_stream_as_its_reader_would():
    """Drop what you have, says the marker; who splices has read two answers."""

    async def resumed():
        breaks = ServingProvider("a:m", serve=lambda _: Serving(breaks_at=2, fault=ConnectionLost("reset")))
        world = World(1, breaks, ServingProvider("b:m", serve=lambda _: Serving()), policy=Policy(resume=True))
        ended = await world.ask(0, stream=True)
        return ended.kind, [one.kind for one in ended.trail], world.counts["lost"]

    assert virtual_run(resumed()) == ("", ["first", "resume"], 0)
