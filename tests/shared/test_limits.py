"""One target's limits in many processes, in virtual time: guards that ask locally, a store that comes and goes."""

from __future__ import annotations

import asyncio
import random

import pytest

from surefoot.core.stack import stack
from surefoot.errors import Overloaded, RateLimited, Refused
from surefoot.layers.guards.breaker import Breaker
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.guards.rate import Rate
from surefoot.layers.guards.shared import Shared
from surefoot.rules.token_bucket import slices
from surefoot.secret import Secret
from surefoot.shared import limits, stores
from surefoot.shared.limits import SharedLimits
from surefoot.shared.stores import StoreAway
from surefoot.testing import Scripted, make_call
from surefoot.types import Usage

URL = Secret("sqlite:never-opened")


class StateInMemory:
    """A store of turns that answers after a millisecond, or not at all."""

    def __init__(self):
        self.states = {}
        self.turns = 0
        self.is_away = self.hangs = False
        self.cut_off = set()  # members that cannot reach it

    def describe(self):
        return "memory"

    async def take(self, target, turn):
        self.turns += 1
        await asyncio.sleep(0.001)
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.is_away or turn.member in self.cut_off:
            raise StoreAway("away, as the test says")
        now = 1e6 + asyncio.get_running_loop().time()
        return slices.settle(self.states.setdefault(target, slices.TargetState()), turn, now)

    async def aclose(self):
        pass


@pytest.fixture
def store(monkeypatch):
    found = StateInMemory()
    monkeypatch.setattr(stores, "open_turns", lambda url, namespace: found)
    monkeypatch.setattr(stores, "_opened", {})
    return found


class Process:
    """What one process has of a target: the guards in a row, and calls that come."""

    def __init__(self, provider, *, rpm=None, tpm=None, places=None, when_away="share", estimate=None, breaker=None):
        self.source = SharedLimits(URL, "", "t", requests_per_minute=rpm, tokens_per_minute=tpm, places=places, when_away=when_away)
        self.rate = Rate(
            requests_per_minute=rpm, tokens_per_minute=tpm, estimate=estimate, leased=(self.source.requests, self.source.tokens)
        )
        self.concurrency = Concurrency(limit=places)
        self.source.attach(self.concurrency, breaker)
        self.concurrency.on_wait = self.source.kick
        guards = (Shared(source=self.source), self.concurrency, self.rate, *((breaker,) if breaker else ()))
        self.ask = stack(provider, *guards)
        self.waits = []
        self.tasks = set()

    async def call(self, **said):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        reply = await self.ask(make_call("hi", **said))
        self.waits.append(loop.time() - begun)
        return reply

    async def load(self, per_second, seconds, rng, **said):
        """Calls that come by chance."""
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(rng.expovariate(per_second))
            task = asyncio.create_task(self.call(**said))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.source.aclose()


async def loaded(processes, per_second, seconds, **said):
    """Load on all of them at once."""
    await asyncio.gather(*(one.load(per_second / len(processes), seconds, random.Random(n), **said) for n, one in enumerate(processes)))


def worst(times, window_s):
    found = start = 0
    for place, at in enumerate(times):
        while times[start] <= at - window_s:
            start += 1
        found = max(found, place - start + 1)
    return found


@pytest.mark.looptime
async def test_eight_processes_together_stay_within_the_limit_and_use_it(store):
    """At twice the limit, for more than a minute."""
    provider = Scripted("ok", latency_s=0.05)
    processes = [Process(provider, rpm=600) for _ in range(8)]
    await loaded(processes, 20, 66)
    for one in processes:
        await one.end()
    assert worst(provider.started_s, 60) <= 600
    begun = provider.started_s[0]
    assert sum(begun + 5 < at <= begun + 65 for at in provider.started_s) >= 0.98 * 600
    assert store.turns < 8 * 66 * 25


@pytest.mark.looptime
async def test_tokens_are_settled_by_what_they_came_to(store):
    """What is estimated too high goes back to all."""
    provider = Scripted("ok", latency_s=0.2, usage=Usage(input_tokens=40, output_tokens=10))
    processes = [Process(provider, tpm=30_000, estimate=lambda _: 100) for _ in range(3)]
    await loaded(processes, 20, 66)
    for one in processes:
        await one.end()
    begun = provider.started_s[0]
    assert worst(provider.started_s, 60) * 50 <= 30_000
    assert sum(begun + 5 < at <= begun + 65 for at in provider.started_s) * 50 >= 0.95 * 30_000


@pytest.mark.looptime
async def test_below_the_limit_nobody_waits(store):
    """What usually comes is in hand before it comes."""
    provider = Scripted("ok")
    processes = [Process(provider, rpm=6000) for _ in range(4)]
    await loaded(processes, 50, 12)
    waits = sorted(wait for one in processes for wait in one.waits)
    for one in processes:
        await one.end()
    assert waits[len(waits) // 2] <= 0.003
    assert waits[int(len(waits) * 0.99)] <= 0.03


@pytest.mark.looptime
async def test_interactive_calls_of_one_process_go_before_the_batch_of_another(store):
    """Across processes, as within one, where batch calls give way for ten seconds."""
    provider = Scripted("ok")
    job, people = Process(provider, rpm=600), Process(provider, rpm=600)
    await asyncio.gather(job.load(30, 9, random.Random(1), priority="batch"), people.load(6, 9, random.Random(2)))
    interactive, batch = len(people.waits), len(job.waits)
    await job.end()
    await people.end()
    assert interactive >= 0.7 * 6 * 9
    assert sorted(people.waits)[len(people.waits) // 2] < 0.2
    assert 5 < batch < 60


@pytest.mark.looptime
@pytest.mark.parametrize("limits", [{"rpm": 600}, {"tpm": 60_000, "estimate": lambda _: 100}], ids=["requests", "tokens"])
async def test_while_the_store_is_away_each_keeps_to_its_share(store, limits):
    """From an empty slice: no window is passed, most goes on, and it is over at once when the store is back.

    A call that needs more tokens than two turns bring is saved up for.
    """
    provider = Scripted("ok", usage=Usage(input_tokens=90, output_tokens=10))
    processes = [Process(provider, **limits) for _ in range(4)]

    async def outage():
        await asyncio.sleep(30)
        store.is_away = True
        await asyncio.sleep(5)
        store.is_away = False

    await asyncio.gather(loaded(processes, 20, 72), outage())
    for one in processes:
        await one.end()
    begun = provider.started_s[0]
    during = sum(begun + 30 < at <= begun + 35 for at in provider.started_s)
    assert during >= 0.75 * 50
    assert worst(provider.started_s, 60) <= 600
    assert sum(begun + 37 < at <= begun + 67 for at in provider.started_s) >= 0.97 * 300


@pytest.mark.looptime
async def test_a_store_that_hangs_is_asked_once_and_holds_up_nobody(store):
    """It has stopped answering without closing: calls go on at this process's share."""
    provider = Scripted("ok")
    one = Process(provider, rpm=6000)
    await one.call()
    store.hangs = True
    turns = store.turns
    await one.load(20, 10, random.Random(1))
    assert len(one.waits) >= 150
    assert store.turns - turns <= 2
    await one.end()


@pytest.mark.looptime
async def test_the_first_turn_may_take_as_long_as_a_connection(store):
    """Who knows of nobody else would take the whole limit, and so would all others that start beside it."""
    provider, take = Scripted("ok", latency_s=0.5), store.take

    async def slowly(target, turn):
        await asyncio.sleep(0.0 if store.turns else 1.0)
        return await take(target, turn)

    store.take = slowly
    processes = [Process(provider, places=8) for _ in range(4)]
    await loaded(processes, 200, 4)
    for one in processes:
        await one.end()
    assert len(provider.started_s) >= 20
    assert worst(provider.started_s, 0.499) <= 8


@pytest.mark.looptime
async def test_who_must_not_guess_refuses_while_the_store_is_away(store):
    """By choice: nothing is sent, and the error says why."""
    provider = Scripted("ok")
    one = Process(provider, rpm=600, when_away="refuse")
    await one.call()
    store.is_away = True
    await asyncio.sleep(1)
    with pytest.raises(Refused, match="the limits it shares cannot be known") as told:
        await one.call()
    assert told.value.retry_after_s
    assert provider.calls == 1
    store.is_away = False
    await asyncio.sleep(2)
    await one.call()
    await one.end()


@pytest.mark.looptime
async def test_one_process_that_is_cut_off_alone_adds_at_most_its_share(store):
    """It knows how many they were; the others think it dead and share its part."""
    provider = Scripted("ok")
    processes = [Process(provider, rpm=300) for _ in range(4)]

    async def cut():
        await asyncio.sleep(10)
        store.cut_off.add(processes[0].source._member)

    await asyncio.gather(loaded(processes, 12, 75), cut())
    for one in processes:
        await one.end()
    assert worst(provider.started_s, 60) <= 300 * 1.26
    assert len(processes[0].waits) > 40


@pytest.mark.looptime
async def test_a_place_that_the_store_takes_back_is_not_filled_meanwhile(store):
    """One process's calls come in bursts, and one of them while a turn is under way in which it said that it used none."""
    take, provider = store.take, Scripted("ok", latency_s=0.03)

    async def slowly(target, turn):
        granted = await take(target, turn)
        await asyncio.sleep(0.05)
        return granted

    store.take = slowly
    bursts, steady = Process(provider, places=12), Process(provider, places=12)
    load = asyncio.create_task(steady.load(600, 2.5, random.Random(1)))
    for _ in range(25):
        calls = [asyncio.create_task(bursts.call()) for _ in range(12)]
        await asyncio.sleep(0.1)
    await asyncio.gather(*calls)
    await load
    await steady.end()
    await bursts.end()
    assert len(provider.started_s) > 400
    assert provider.peak <= 12


@pytest.mark.looptime
async def test_turns_that_come_too_late_now_and_then_add_nothing(store):
    """To all others the store is there, and grants them what the late one would have had."""
    rng, take = random.Random(7), store.take
    provider = Scripted("ok")

    async def slowly(target, turn):
        if rng.random() < 0.1:
            await asyncio.sleep(0.3)
        return await take(target, turn)

    store.take = slowly
    processes = [Process(provider, rpm=600) for _ in range(4)]
    await loaded(processes, 20, 61)
    for one in processes:
        await one.end()
    assert 500 <= worst(provider.started_s, 60) <= 600


@pytest.mark.looptime
async def test_places_of_processes_that_died_are_free_after_a_moment(store):
    """Four of eight, holding half of forty; the others then have them all."""
    provider = Scripted("ok", latency_s=1.0)
    processes = [Process(provider, places=40) for _ in range(8)]
    tasks = [asyncio.create_task(one.load(20, 20, random.Random(n))) for n, one in enumerate(processes)]
    await asyncio.sleep(5)
    assert 36 <= provider.in_flight <= 40
    dead = processes[:4]
    for task, one in zip(tasks, dead, strict=False):
        task.cancel()
        one.source._task.cancel()
        for call in one.tasks:
            call.cancel()
    await asyncio.sleep(0.01)
    assert provider.in_flight <= 25
    await asyncio.sleep(slices.DEAD_S + 0.5)
    assert 36 <= provider.in_flight <= 40
    for task in tasks:
        task.cancel()
    for one in processes:
        await one.end()


@pytest.mark.looptime
async def test_a_limit_learned_by_one_is_kept_by_all(store):
    """From a 429 that names none; and its Retry-After holds for all."""
    refusing = Scripted("ok")
    processes = [Process(refusing) for _ in range(2)]
    await loaded(processes, 50, 12)
    assert processes[1].source.requests.per_minute == float("inf")
    provider = Scripted(RateLimited("slow down", retry_after_s=3.0), "ok")
    bad = Process(provider)
    with pytest.raises(RateLimited):
        await bad.call()
    await asyncio.sleep(0.3)
    assert processes[1].source.requests.per_minute == pytest.approx(0.9 * 50 * 60, rel=0.3)
    before = refusing.calls
    waiting = [asyncio.create_task(one.call()) for one in processes]
    await asyncio.sleep(2.0)
    assert refusing.calls == before
    await asyncio.gather(*waiting)
    for one in (*processes, bad):
        await one.end()


@pytest.mark.looptime
async def test_what_others_see_fail_opens_the_breaker_here(store):
    """A target that fails for all is left alone by all, not found out by each."""
    failing, quiet = Scripted(Overloaded("down")), Scripted("ok")
    seen = Process(failing, breaker=Breaker(target="t", draw=lambda: 0.5))
    unseen = Process(quiet, breaker=Breaker(target="t", draw=lambda: 0.5))
    await unseen.call()
    for _ in range(12):
        with pytest.raises((Overloaded, Refused)):
            await seen.call()
    await asyncio.sleep(0.5)
    with pytest.raises(Refused, match="next trial"):
        await unseen.call()
    assert quiet.calls == 1
    for one in (seen, unseen):
        await one.end()


@pytest.mark.looptime
async def test_nobody_asks_the_store_while_nobody_calls(store):
    """It leaves, with what it held; the next call joins again."""
    provider = Scripted("ok")
    one, other = Process(provider, rpm=600, places=4), Process(provider, rpm=600, places=4)
    await one.call()
    await other.call()
    await asyncio.sleep(limits.IDLE_S + 1)
    turns = store.turns
    await asyncio.sleep(60)
    assert store.turns == turns
    assert store.states["t"].members == {}
    await one.call()
    assert store.turns > turns
    for each in (one, other):
        await each.end()


@pytest.mark.looptime
async def test_a_call_that_is_cancelled_while_it_waits_takes_nothing(store):
    """And those behind it go on."""
    provider = Scripted("ok")
    one = Process(provider, rpm=60)
    tasks = [asyncio.create_task(one.call()) for _ in range(6)]
    await asyncio.sleep(0.5)
    for task in tasks[1:4]:
        task.cancel()
    await asyncio.sleep(10)
    assert provider.calls == 3
    assert all(task.done() for task in tasks)
    assert one.rate.idle()
    assert one.concurrency.idle()
    await one.end()
