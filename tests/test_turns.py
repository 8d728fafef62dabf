"""Of many who miss the same key, in however many processes, one asks. Processes are caches over one locking store, in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from surefoot.errors import Overloaded
from surefoot.layers.cache import Cache
from surefoot.layers.coalesce import Coalesce
from surefoot.stack import stack
from surefoot.testing import STALL, Scripted, make_call
from surefoot.testing.contract import PROMISES, LayerContract
from surefoot.turns import HOLD_S, WAIT_S, Turns
from tests.layers.helping import fails, now, read
from tests.layers.test_cache import Plain

pytestmark = pytest.mark.looptime


class Locking(Plain):
    """A store with locks that expire; every operation takes a millisecond."""

    def __init__(self):
        super().__init__()
        self.locks = {}
        self._numbers = itertools.count()

    async def get(self, key):
        await asyncio.sleep(0.001)
        return self.rows.get(key)

    async def set(self, key, value, *, ttl_s=None):
        await asyncio.sleep(0.001)
        self.rows[key] = value

    async def lock(self, key, *, ttl_s):
        await asyncio.sleep(0.001)
        if key in self.locks and self.locks[key][1] > now():
            return ""
        token = f"t{next(self._numbers)}"
        self.locks[key] = (token, now() + ttl_s)
        return token

    async def extend(self, key, token, *, ttl_s):
        await asyncio.sleep(0.001)
        if key in self.locks and self.locks[key][0] == token:
            self.locks[key] = (token, now() + ttl_s)

    async def unlock(self, key, token):
        await asyncio.sleep(0.001)
        if key in self.locks and self.locks[key][0] == token:
            del self.locks[key]


def process(edge, store, **settings):
    """One process: a cache and single flight of its own over the shared store."""
    return stack(edge, Cache(store, clock=now, **settings), Coalesce(cached=True))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_thousand_calls_in_eight_processes_ask_once(stream):
    """The first one's answer is everybody's; the lock is given back."""
    edge, store = Scripted("one two", latency_s=1, delta_gap_s=0.1), Locking()
    processes = [process(edge, store) for _ in range(8)]
    asks = itertools.cycle(processes)
    texts = await asyncio.gather(*(read(next(asks), make_call(stream=stream)) for _ in range(1000)))
    assert (set(texts), edge.calls) == ({"one two"}, 1)
    await asyncio.sleep(0.01)
    assert store.locks == {}
    assert all(ask.layers[0].idle() for ask in processes)


async def test_who_waits_is_answered_soon_after_the_answer_is_kept():
    """A short answer within some tens of milliseconds, a long one within a quarter of a second."""
    for latency_s, within_s in ((0.05, 0.06), (5, 0.3)):
        edge, store = Scripted("one", latency_s=latency_s), Locking()
        await asyncio.gather(*(read(process(edge, store), make_call()) for _ in range(8)))
        begun = now()
        one, two = (asyncio.create_task(read(process(edge, store), make_call("other"))) for _ in range(2))
        await asyncio.wait([one, two])
        assert now() - begun <= latency_s + within_s


async def test_a_failure_gives_the_turn_to_the_next():
    """Nobody waits for an answer that will not come, and nobody's failure becomes another's."""
    edge, store = Scripted(Overloaded("busy"), "fine", latency_s=1), Locking()
    results = await asyncio.gather(*(process(edge, store)(make_call()) for _ in range(3)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ChatReply", "ChatReply", "Overloaded"]
    assert edge.calls == 2


async def test_a_process_that_dies_holds_the_others_up_for_the_locks_time_only():
    """kill -9 gives nothing back; the lock ends by itself."""
    edge, store = Scripted("one"), Locking()
    token = await store.lock(await only_key(), ttl_s=HOLD_S)
    assert token
    begun = now()
    assert await read(process(edge, store), make_call()) == "one"
    assert HOLD_S - 0.1 <= now() - begun <= HOLD_S + 0.5


async def only_key():
    """The key of make_call() in these stores."""
    store = Plain()
    await stack(Scripted("x"), Cache(store))(make_call())
    await asyncio.sleep(0)
    return next(iter(store.rows))


async def test_a_long_answer_keeps_its_lock_and_nobody_waits_for_ever():
    """The lock is renewed while the answer is under way; after WAIT_S who waits asks for himself."""
    edge, store = Scripted("slow", "quick", latency_s=lambda call: 60.0 if len(edge.seen) == 1 else 1.0), Locking()
    first = asyncio.create_task(read(process(edge, store), make_call()))
    await asyncio.sleep(0.1)
    begun = now()
    assert await read(process(edge, store), make_call()) == "quick"
    assert WAIT_S <= now() - begun <= WAIT_S + 2
    assert await first == "slow"


async def test_whoever_waits_for_all_may_leave():
    """The first caller of a process is cancelled while it waits for the lock: the next one takes over."""
    edge, store = Scripted("one", latency_s=2), Locking()
    other = asyncio.create_task(read(process(edge, store), make_call()))
    await asyncio.sleep(0.5)
    ask = process(edge, store)
    calls = [asyncio.create_task(read(ask, make_call())) for _ in range(3)]
    await asyncio.sleep(0.5)
    calls[0].cancel()
    assert await asyncio.gather(*calls[1:], other) == ["one"] * 3
    assert calls[0].cancelled()
    assert edge.calls == 1


async def test_the_lock_is_held_until_the_last_caller_of_the_process_has_left():
    """The one who took it may leave; the call goes on for the others."""
    edge, store = Scripted("one", latency_s=2), Locking()
    ask = process(edge, store)
    calls = [asyncio.create_task(read(ask, make_call())) for _ in range(3)]
    await asyncio.sleep(0.5)
    calls[0].cancel()
    await asyncio.sleep(0.1)
    assert len(store.locks) == 1
    assert await read(process(edge, store), make_call()) == "one"
    assert edge.calls == 1
    await asyncio.gather(*calls[1:])
    for call in (calls := [asyncio.create_task(read(ask, make_call("never"))) for _ in range(2)]):
        call.cancel()
    await asyncio.wait(calls)
    await asyncio.sleep(0.01)
    assert store.locks == {}


async def test_one_process_refreshes_a_stale_answer():
    """The others serve what they have."""
    edge, store = Scripted("old", "new", latency_s=1), Locking()
    processes = [process(edge, store, ttl_s=100, stale_s=100) for _ in range(8)]
    await read(processes[0], make_call())
    await asyncio.sleep(120)
    assert {await read(ask, make_call()) for ask in processes} == {"old"}
    await asyncio.sleep(3)
    assert {await read(ask, make_call()) for ask in processes} == {"new"}
    assert edge.calls == 2


async def test_a_store_that_is_down_holds_nobody_up():
    """No lock, no wait: everybody asks, through their own single flight."""

    class Down(Locking):
        async def lock(self, key, *, ttl_s):
            return None

        async def get(self, key):
            return None

    edge = Scripted("one", latency_s=1)
    ask = process(edge, Down())
    begun = now()
    assert set(await asyncio.gather(*(read(ask, make_call()) for _ in range(100)))) == {"one"}
    assert (edge.calls, now() - begun) == (1, 1)


async def test_a_call_cut_off_while_waiting_leaves_nothing():
    """At its deadline or by its caller."""
    store = Locking()
    asked = asyncio.create_task(read(process(Scripted(STALL), store), make_call()))
    await asyncio.sleep(0.1)
    ask = process(Scripted("never"), store)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(ask, make_call()), 5)
    assert ask.layers[0].idle()
    asked.cancel()
    await asyncio.wait([asked])
    await asyncio.sleep(0.01)
    assert store.locks == {}


class Forgetful(Locking):
    """Keeps locks, but no rows: the contract asks the same thing over and over."""

    async def set(self, key, value, *, ttl_s=None):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("kind", ["chat", "stream"])
@pytest.mark.parametrize("promise", PROMISES)
async def test_a_cache_that_takes_turns_keeps_the_contract(promise, kind):
    """Cancelled at any await, the turn passes on and the lock is given back."""
    await LayerContract(lambda edge: stack(edge, Cache(Forgetful())), kind=kind).check(promise)


async def test_turns_stand_alone():
    """Claimed by one, refused to the next, free again afterwards."""
    tasks = set()

    def later(work):
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        return task

    async def nothing(key):
        return None

    store = Locking()
    mine, theirs = Turns(store, nothing, later), Turns(store, nothing, later)
    turn = await mine.claim("k")
    assert turn is not None
    assert await mine.claim("k") is None
    assert await theirs.claim("k") is None
    turn.leave()
    await asyncio.sleep(0.01)
    assert mine.idle()
    again = await theirs.take("k")
    again.leave()
    await asyncio.wait(tasks)
    await fails(stack(Scripted(Overloaded("x")), Cache(store)), Overloaded)
