"""Of many who miss the same key, in however many processes, one asks. Processes are caches over one locking store, in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from surefoot.cache.single_flight import HOLD_S, WAIT_S, SingleFlight
from surefoot.core.stack import stack
from surefoot.errors import ConnectionLost, Overloaded
from surefoot.events import CacheHit
from surefoot.layers.reuse.cache import Cache
from surefoot.layers.reuse.coalesce import Coalesce
from surefoot.layers.watch.deadline import Deadline
from surefoot.testing import STALL, Scripted, make_call
from surefoot.testing.contract import PROMISES, LayerContract
from surefoot.types import ChatReply
from tests.layers.helping import Heard, fails, now, read
from tests.layers.reuse.test_cache import Plain

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
            return None if self.locks[key][0] == "failed" else ""
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

    async def unlock_failed(self, key, token):
        await asyncio.sleep(0.001)
        if key in self.locks and self.locks[key][0] == token:
            self.locks[key] = ("failed", now() + 1)


def process(provider, store, **settings):
    """One process: a cache and single flight of its own over the shared store."""
    return stack(provider, Cache(store, clock=now, **settings), Coalesce(cached=True))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_thousand_calls_in_eight_processes_ask_once(stream):
    """The first one's answer is everybody's; the lock is given back."""
    provider, store = Scripted("one two", latency_s=1, delta_gap_s=0.1), Locking()
    processes = [process(provider, store) for _ in range(8)]
    asks = itertools.cycle(processes)
    texts = await asyncio.gather(*(read(next(asks), make_call(stream=stream)) for _ in range(1000)))
    assert (set(texts), provider.calls) == ({"one two"}, 1)
    await asyncio.sleep(0.01)
    assert store.locks == {}
    assert all(ask.layers[0].idle() for ask in processes)


async def test_who_waits_is_answered_soon_after_the_answer_is_kept():
    """A short answer within some tens of milliseconds, a long one within a quarter of a second."""
    for latency_s, within_s in ((0.05, 0.06), (5, 0.3)):
        provider, store = Scripted("one", latency_s=latency_s), Locking()
        await asyncio.gather(*(read(process(provider, store), make_call()) for _ in range(8)))
        begun = now()
        one, two = (asyncio.create_task(read(process(provider, store), make_call("other"))) for _ in range(2))
        await asyncio.wait([one, two])
        assert now() - begun <= latency_s + within_s


NOTHING_TO_SHARE = {
    "it fails": (Overloaded("busy"), "a"),
    "it is cut": (ChatReply(text="half", finish_reason="length"), "a"),
    "its stream breaks": (["half", ConnectionLost("cut")], "a"),
    "a fallback answers": ("kept under the fallback's name", "b"),
}


@pytest.mark.parametrize("why", NOTHING_TO_SHARE)
async def test_when_there_is_nothing_to_share_all_go_on_at_once(why):
    """Not one after the other: the eighth process would wait for seven failures."""
    step, name = NOTHING_TO_SHARE[why]
    provider, store = Scripted(step, name=name, latency_s=3), Locking()
    processes = [process(provider, store, names=("a", "b")) for _ in range(8)]
    begun = now()
    await together_read(processes, stream=why == "its stream breaks")
    assert provider.calls == 8
    assert 6 <= now() - begun <= 6.5
    await asyncio.sleep(0.01)  # writes go on beside the calls
    assert all(ask.layers[0].idle() for ask in processes)


async def together_read(processes, **call):
    return await asyncio.gather(*(read(ask, make_call(**call)) for ask in processes), return_exceptions=True)


async def test_nobodys_failure_becomes_anothers():
    """Whoever waited asks, and is answered."""
    provider, store = Scripted(Overloaded("busy"), "fine", latency_s=1), Locking()
    results = await together_read([process(provider, store) for _ in range(3)])
    assert sorted(map(str, results)) == ["busy", "fine", "fine"]


async def test_a_caller_that_leaves_is_no_failure():
    """Its users pressed stop: of the others one asks, not all."""
    provider, store = Scripted("one", latency_s=3), Locking()
    left = asyncio.create_task(read(process(provider, store), make_call()))
    await asyncio.sleep(0.1)
    asyncio.get_running_loop().call_later(0.5, left.cancel)
    assert await together_read([process(provider, store) for _ in range(8)]) == ["one"] * 8
    assert provider.calls == 2


@pytest.mark.parametrize("deadline_s", [0.5, 2, 5, 20])
async def test_waiting_for_a_dead_process_leaves_time_to_ask(deadline_s):
    """Killed just after it took the lock: whoever waits has its own deadline, and asks before it is too late."""
    provider, store = Scripted("one", latency_s=0.2), Locking()
    assert await store.lock(await only_key(), ttl_s=HOLD_S)
    processes = [stack(provider, Deadline(deadline_s=deadline_s), *process(provider, store).layers) for _ in range(4)]
    assert await together_read(processes) == ["one"] * 4
    assert provider.calls <= 4


async def test_callers_of_one_process_wait_each_by_their_own_deadline():
    """The first has a minute; the second must not wait as long as the first would."""
    provider, store = Scripted("one", latency_s=0.2), Locking()
    other = asyncio.create_task(read(process(Scripted("slow", latency_s=25), store), make_call()))
    await asyncio.sleep(0.1)
    ask = stack(provider, Deadline(deadline_s=60), *process(provider, store).layers)
    patient = asyncio.create_task(read(ask, make_call()))
    assert await asyncio.wait_for(read(ask, make_call(deadline_s=4)), 4) == "one"
    assert await patient == "one"  # kept by the other caller of the process
    assert provider.calls == 1
    assert await other == "slow"


@pytest.mark.parametrize("stream", [False, True])
async def test_whoever_asks_for_itself_takes_what_the_other_keeps_if_it_comes_first(stream):
    """The other's answer takes nearly all the time there is: begun in the middle of it, none of one's own would be in time."""
    providers, store = [Scripted("one two", latency_s=9) for _ in range(2)], Locking()
    asks = [stack(provider, Deadline(deadline_s=10), *process(provider, store).layers) for provider in providers]
    begun, heard = now(), Heard()
    first = asyncio.create_task(read(asks[0], make_call(stream=stream)))
    await asyncio.sleep(0.1)
    assert await read(asks[1], make_call(stream=stream, listeners=(heard,))) == "one two"
    assert now() - begun <= 9.5
    assert await first == "one two"
    assert [provider.calls for provider in providers] == [1, 1]
    assert providers[1].idle()
    assert [type(event) for event in heard if isinstance(event, CacheHit)] == [CacheHit]
    await asyncio.sleep(0.1)
    assert store.locks == {}


async def test_a_store_that_fails_in_locking_holds_nobody_up():
    """A store of the user's own may raise: everybody asks."""

    class Broken(Locking):
        async def lock(self, key, *, ttl_s):
            raise OSError("no such host")

    provider = Scripted("one", latency_s=1)
    assert await together_read([process(provider, Broken()) for _ in range(3)]) == ["one"] * 3


async def test_a_process_that_dies_holds_the_others_up_for_the_locks_time_only():
    """kill -9 gives nothing back; the lock ends by itself."""
    provider, store = Scripted("one"), Locking()
    token = await store.lock(await only_key(), ttl_s=HOLD_S)
    assert token
    begun = now()
    assert await read(process(provider, store), make_call()) == "one"
    assert HOLD_S - 0.1 <= now() - begun <= HOLD_S + 0.5


async def only_key():
    """The key of make_call() in these stores."""
    store = Plain()
    await stack(Scripted("x"), Cache(store))(make_call())
    await asyncio.sleep(0)
    return next(iter(store.rows))


async def test_a_long_answer_keeps_its_lock_and_nobody_waits_for_ever():
    """The lock is renewed while the answer is under way; after WAIT_S who waits asks for himself."""
    provider, store = Scripted("slow", "quick", latency_s=lambda call: 60.0 if len(provider.seen) == 1 else 1.0), Locking()
    first = asyncio.create_task(read(process(provider, store), make_call()))
    await asyncio.sleep(0.1)
    begun = now()
    assert await read(process(provider, store), make_call()) == "quick"
    assert WAIT_S <= now() - begun <= WAIT_S + 2
    assert await first == "slow"


async def test_whoever_waits_for_all_may_leave():
    """The first caller of a process is cancelled while it waits for the lock: the next one takes over."""
    provider, store = Scripted("one", latency_s=2), Locking()
    other = asyncio.create_task(read(process(provider, store), make_call()))
    await asyncio.sleep(0.5)
    ask = process(provider, store)
    calls = [asyncio.create_task(read(ask, make_call())) for _ in range(3)]
    await asyncio.sleep(0.5)
    calls[0].cancel()
    assert await asyncio.gather(*calls[1:], other) == ["one"] * 3
    assert calls[0].cancelled()
    assert provider.calls == 1


async def test_the_lock_is_held_until_the_last_caller_of_the_process_has_left():
    """The one who took it may leave; the call goes on for the others."""
    provider, store = Scripted("one", latency_s=2), Locking()
    ask = process(provider, store)
    calls = [asyncio.create_task(read(ask, make_call())) for _ in range(3)]
    await asyncio.sleep(0.5)
    calls[0].cancel()
    await asyncio.sleep(0.1)
    assert len(store.locks) == 1
    assert await read(process(provider, store), make_call()) == "one"
    assert provider.calls == 1
    await asyncio.gather(*calls[1:])
    for call in (calls := [asyncio.create_task(read(ask, make_call("never"))) for _ in range(2)]):
        call.cancel()
    await asyncio.wait(calls)
    await asyncio.sleep(0.01)
    assert store.locks == {}


async def test_one_process_refreshes_a_stale_answer():
    """The others serve what they have; the lock is given back at once."""
    provider, store = Scripted("old", "new", latency_s=1), Locking()
    processes = [process(provider, store, ttl_s=100, stale_s=100) for _ in range(8)]
    await read(processes[0], make_call())
    await asyncio.sleep(120)
    assert {await read(ask, make_call()) for ask in processes} == {"old"}
    await asyncio.sleep(1.1)
    assert not store.locks
    assert {await read(ask, make_call()) for ask in processes} == {"new"}
    assert provider.calls == 2


async def test_a_store_that_is_down_holds_nobody_up():
    """No lock, no wait: everybody asks, through their own single flight."""

    class Down(Locking):
        async def lock(self, key, *, ttl_s):
            return None

        async def get(self, key):
            return None

    provider = Scripted("one", latency_s=1)
    ask = process(provider, Down())
    begun = now()
    assert set(await asyncio.gather(*(read(ask, make_call()) for _ in range(100)))) == {"one"}
    assert (provider.calls, now() - begun) == (1, 1)


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
    await LayerContract(lambda provider: stack(provider, Cache(Forgetful())), kind=kind).check(promise)


async def test_turns_stand_alone():
    """Claimed by one, refused to the next, free again afterwards."""
    tasks = set()

    def later(work):
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        return task

    async def nothing():
        return None

    store = Locking()
    mine, theirs = SingleFlight(store, later), SingleFlight(store, later)
    claim = await mine.claim("k")
    assert claim is not None
    assert await mine.claim("k") is None
    assert await theirs.claim("k") is None
    claim.leave()
    await asyncio.sleep(0.01)
    assert mine.idle()
    again = await theirs.take("k", nothing)
    again.leave()
    await asyncio.wait(tasks)
    await fails(stack(Scripted(Overloaded("x")), Cache(store)), Overloaded)
