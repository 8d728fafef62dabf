"""concurrency: places, and the queue for them."""

from __future__ import annotations

import asyncio
import random

import pytest
from msgspec.structs import replace

from surefoot.core.stack import stack
from surefoot.errors import BadRequest, CircuitOpen, DeadlineTooNear, Overloaded, QueueFull, RateLimited
from surefoot.events import LimitChanged, Waited
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.watch.deadline import Deadline
from surefoot.rules.aimd import Limit
from surefoot.testing import STALL, Scripted, make_call
from tests.layers.helping import Heard, fails, now, offered, read, together

pytestmark = pytest.mark.looptime


async def test_never_more_than_the_limit_in_flight():
    """And never fewer while somebody waits."""
    provider = Scripted("fine", latency_s=1)
    begun = now()
    await together(stack(provider, Concurrency(limit=3)), [make_call() for _ in range(12)])
    assert provider.peak == 3
    assert now() - begun == pytest.approx(4)


async def test_stream_holds_its_place_until_its_end():
    """Answered is not finished: the provider is still busy with it."""
    provider = Scripted("one two", delta_gap_s=1)
    layer = Concurrency(limit=1)
    ask = stack(provider, layer)
    stream = await ask(make_call(stream=True))
    second = asyncio.create_task(read(ask, make_call()))
    await asyncio.sleep(10)
    assert (provider.calls, layer.waiting) == (1, 1)
    await stream.aclose()
    await second
    assert layer.idle()


async def test_first_come_first_served_within_a_priority():
    """Anything else starves somebody."""
    provider = Scripted("fine", latency_s=1)
    calls = [make_call(str(i)) for i in range(6)]
    await together(stack(provider, Concurrency(limit=1)), calls)
    assert [request.messages[0].text for request in provider.requests] == list("012345")


async def test_interactive_goes_before_batch():
    """A person waits for nobody's nightly job."""
    provider = Scripted("fine", latency_s=1)
    calls = [make_call("now"), *[make_call("job", priority="batch") for _ in range(3)], make_call("person")]
    await together(stack(provider, Concurrency(limit=1)), calls)
    assert [request.messages[0].text for request in provider.requests] == ["now", "person", "job", "job", "job"]


async def test_batch_never_starves():
    """With interactive calls always waiting, a batch call still gets through after its age."""
    provider = Scripted("fine", latency_s=1)
    ask = stack(provider, Concurrency(limit=1, ageing_s=10))
    rush = [asyncio.create_task(read(ask, make_call("person")))]
    await asyncio.sleep(0)
    job = asyncio.create_task(read(ask, make_call("job", priority="batch")))
    for _ in range(40):
        rush.append(asyncio.create_task(read(ask, make_call("person"))))
        await asyncio.sleep(0.9)  # a little more than one place serves
    await asyncio.gather(job, *rush)
    at = [request.messages[0].text for request in provider.requests].index("job")
    assert 9 <= at <= 14


async def test_full_queue_refuses_at_once():
    """A wait of minutes is a lie told late."""
    provider = Scripted(STALL)
    ask = stack(provider, Concurrency(limit=1, queue_size=2))
    tasks = [asyncio.create_task(ask(make_call())) for _ in range(3)]
    await asyncio.sleep(0)
    begun = now()
    await fails(ask, QueueFull)
    assert (now(), provider.calls) == (begun, 1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_waiting_is_told_and_only_then():
    """A wait nobody sees looks like a slow provider."""
    heard = Heard()
    ask = stack(Scripted("fine", latency_s=2), Concurrency(target="t", limit=1))
    await together(ask, [make_call(listeners=(heard,)) for _ in range(2)])
    (event,) = heard.of(Waited)
    assert (event.target, event.layer, event.wait_s) == ("t", "concurrency", pytest.approx(2))


async def test_caller_who_gives_up_in_the_queue_leaves_it():
    """A dead caller must not be given a place."""
    provider = Scripted("fine", latency_s=10)
    layer = Concurrency(limit=1)
    ask = stack(provider, Deadline(deadline_s=5), layer)
    first = asyncio.create_task(stack(provider, layer)(make_call()))
    await asyncio.sleep(0)
    await fails(ask, DeadlineTooNear)
    assert layer.waiting == 0
    await first
    assert (layer.idle(), provider.calls) == (True, 1)


async def test_place_given_in_the_moment_of_cancel_goes_on_to_the_next():
    """The classic lost wake-up: one place fewer for ever."""
    provider = Scripted("fine", latency_s=1)
    layer = Concurrency(limit=1)

    async def outside(call, inner):
        await inner(call)
        tasks[1].cancel()  # in the very step in which the first gave it its place

    ask = stack(provider, outside, layer)
    tasks = [asyncio.create_task(ask(make_call())) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [False, True, False]
    assert (layer.idle(), provider.calls) == (True, 2)


async def test_refusal_further_in_gives_the_place_back():
    """Nothing was sent, so nothing is in flight."""
    layer = Concurrency(limit=1)
    await fails(stack(Scripted(CircuitOpen("no")), layer), CircuitOpen, times=3)
    assert layer.idle()


def test_places_held_when_a_loop_dies_die_with_it():
    """A new background loop must not inherit streams that nobody can ever settle."""
    layer = Concurrency(limit=1)
    provider = Scripted("one two")
    ask = stack(provider, layer)
    kept = []

    async def open_and_leave():
        kept.append(await ask(make_call(stream=True)))

    async def life():
        assert await read(ask, make_call()) == "one two"

    async def haunted_life():
        running = await ask(make_call(stream=True))
        await kept[0].aclose()  # an old stream's end gives no place of the new loop's back
        assert layer.in_flight == 1
        await running.aclose()

    asyncio.run(open_and_leave())
    assert layer.in_flight == 1
    asyncio.run(life())
    assert layer.idle()
    asyncio.run(haunted_life())
    assert layer.idle()


async def test_overload_far_longer_than_the_deadline_is_served_not_cut_off():
    """First come, first served alone would send every call with no time left: a fifth of what could be served is answered."""
    rng = random.Random(1)

    async def provider(_call):
        await asyncio.sleep(0.9 + 0.2 * rng.random())
        return "fine"

    provider = Scripted(provider)
    ended = await offered(stack(provider, Deadline(deadline_s=5), Concurrency(limit=10)), 20, 120)
    print(f"answered of what could be: {ended[''] / 1200:.3f}, sent for nothing: {1 - ended[''] / provider.calls:.3f}, {dict(ended)}")
    assert ended[""] >= 0.95 * 1200
    assert provider.calls - ended[""] <= 0.02 * provider.calls
    assert set(ended) <= {"", "DeadlineTooNear", "DeadlineExceeded"}


async def test_wait_that_cannot_end_in_time_is_refused_at_entry():
    """The next target may have time for it; so may the caller."""
    provider = Scripted("fine", latency_s=1)
    layer = Concurrency(target="t", limit=1)
    low_priority, hasty = stack(provider, layer), stack(provider, Deadline(deadline_s=4), layer)
    await together(low_priority, [make_call() for _ in range(30)])
    crowd = [asyncio.create_task(read(low_priority, make_call())) for _ in range(10)]
    await asyncio.sleep(0)
    begun, calls = now(), provider.calls
    error = await fails(hasty, DeadlineTooNear)
    assert (now(), provider.calls) == (begun, calls)
    assert "9 calls are ahead" in str(error)
    await asyncio.gather(*crowd)
    assert layer.idle()


async def test_turn_that_comes_too_late_goes_to_the_next():
    """A place for a call that will be cut off is a place for nobody."""
    takes_s = [1.0] * 30 + [2.0] + [1.0]
    provider = Scripted("fine", latency_s=lambda _: takes_s.pop(0))
    layer = Concurrency(limit=1)
    low_priority, hasty = stack(provider, layer), stack(provider, Deadline(deadline_s=2.5), layer)
    await together(low_priority, [make_call() for _ in range(30)])
    first = asyncio.create_task(read(low_priority, make_call()))
    await asyncio.sleep(0)
    late, begun = asyncio.create_task(fails(hasty, DeadlineTooNear)), now()
    await asyncio.sleep(0)
    last = asyncio.create_task(read(low_priority, make_call("last")))
    await late
    assert now() - begun == pytest.approx(2)
    assert await last == "fine"
    assert provider.started_s[-1] == pytest.approx(begun + 2)
    await first
    assert layer.idle()


async def test_call_that_need_not_wait_is_never_refused_for_its_deadline():
    """It takes nobody's place, and its caller may know better."""
    takes_s = [5.0] * 60 + [0.1]
    provider = Scripted("fine", latency_s=lambda _: takes_s.pop(0))
    layer = Concurrency(limit=2)
    await together(stack(provider, layer), [make_call() for _ in range(60)])
    assert await read(stack(provider, Deadline(deadline_s=0.5), layer), make_call()) == "fine"


async def test_caller_who_leaves_in_the_moment_of_refusal_gives_back_nothing():
    """He was never given a place."""
    takes_s = [1.0] * 30 + [2.0]
    provider = Scripted("fine", latency_s=lambda _: takes_s.pop(0))
    layer = Concurrency(limit=1)

    async def outside(call, inner):
        await inner(call)
        hasty.cancel()  # in the very step in which it was told that it is too late

    await together(stack(provider, layer), [make_call() for _ in range(30)])
    first = asyncio.create_task(stack(provider, outside, layer)(make_call()))
    await asyncio.sleep(0)
    hasty = asyncio.create_task(stack(provider, Deadline(deadline_s=2.5), layer)(make_call()))
    await asyncio.wait([first, hasty])
    assert hasty.cancelled()
    assert (layer.in_flight, layer.waiting) == (0, 0)


def adaptive(start, **settings):
    return Concurrency(target="t", adaptive=Limit(start, **settings))


async def test_adaptive_limit_shrinks_on_overload_and_grows_again():
    """What the provider carries is found, not guessed."""
    heard = Heard()
    provider = Scripted(*[RateLimited("slow down")] * 8, "fine", latency_s=1)
    layer = adaptive(8)
    ask = stack(provider, layer)
    await together(ask, [make_call(listeners=(heard,)) for _ in range(8)])
    assert layer.limit == 6  # eight refused together are one lesson
    assert [(event.limit, event.cause) for event in heard.of(LimitChanged)] == [(6, "RateLimited")]
    for _ in range(10):
        await together(ask, [make_call() for _ in range(12)])
    assert layer.limit > 8


async def test_adaptive_limit_finds_a_capacity_and_follows_it():
    """50, then 10, then 50 again: the mean in flight stays near what the provider carries."""
    capacity, under_way = 50, 0

    async def provider(call):
        nonlocal under_way
        if under_way >= capacity:
            return Overloaded("busy", status=529)
        under_way += 1
        try:
            await asyncio.sleep(1)
        finally:
            under_way -= 1
        return "fine"

    provider, layer = Scripted(provider), adaptive(8)
    ask = stack(provider, layer)
    seen = []
    stop = False

    async def work():
        while not stop:
            await together(ask, [make_call()])
            await asyncio.sleep(0.01)

    workers = [asyncio.create_task(work()) for _ in range(100)]
    for capacity in (50, 10, 50):  # noqa: B007 - read by the provider
        await asyncio.sleep(30)
        samples = []
        for _ in range(100):
            await asyncio.sleep(0.1)
            samples.append(under_way)
        seen.append(sum(samples) / len(samples))
    stop = True
    await asyncio.wait(workers)
    print("mean in flight at capacity 50, 10, 50:", seen)
    for mean, carried in zip(seen, (50, 10, 50), strict=True):
        assert mean == pytest.approx(carried, rel=0.2)


@pytest.mark.parametrize("kind", [BadRequest, CircuitOpen])
async def test_what_proves_nothing_teaches_nothing(kind):
    """The caller's own mistakes are not the provider's load."""
    layer = adaptive(8)
    await fails(stack(Scripted(kind("no")), layer), kind, times=50)
    assert layer.limit == 8


async def test_cancelled_calls_teach_nothing():
    """A caller who leaves says nothing about the provider."""
    layer = adaptive(4)
    tasks = [asyncio.create_task(stack(Scripted(STALL), layer)(make_call())) for _ in range(4)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (layer.limit, layer.idle()) == (4, True)


async def test_faults_that_come_at_any_load_leave_the_limit_alone():
    """One in ten, however few are in flight: each cut would only cost answers."""
    rng = random.Random(3)

    async def provider(_call):
        if rng.random() < 0.1:
            await asyncio.sleep(rng.random())
            return Overloaded("500", status=500)
        await asyncio.sleep(0.5 + rng.random())
        return "fine"

    provider, layer = Scripted(provider), adaptive(8)
    ended = await offered(stack(provider, Deadline(deadline_s=20), layer), 20, 120)
    print(f"limit {layer.limit}, {dict(ended)}")
    assert layer.limit >= 20
    assert ended[""] >= 0.8 * 2400


async def test_calls_cut_off_by_their_deadline_are_timeouts():
    """A server that shares itself among all refuses nobody: without this the limit grows until no answer comes in time."""
    under_way = 0

    async def shared(_call):
        nonlocal under_way
        under_way += 1
        try:
            await asyncio.sleep(max(1.0, under_way / 10))
        finally:
            under_way -= 1
        return "fine"

    ended = await offered(stack(Scripted(shared), Deadline(deadline_s=5), adaptive(8)), 20, 120)
    print(f"answered of what could be: {ended[''] / 1200:.3f}, {dict(ended)}")
    assert ended[""] >= 0.75 * 1200


async def test_fixed_limit_never_moves():
    """Who says 20 means 20."""
    layer = Concurrency(limit=20, adaptive=Limit(8))
    await fails(stack(Scripted(RateLimited("slow down")), layer), RateLimited, times=5)
    assert layer.limit == 20


async def test_nobody_queues_for_a_failing_target_with_another_at_hand():
    """In an outage an adaptive limit falls to one place: everybody would wait in line for the next failure."""
    provider = Scripted(STALL, "fine")
    layer = Concurrency(target="t", limit=1, failing=lambda: True)
    first = asyncio.create_task(stack(provider, layer)(make_call()))
    await asyncio.sleep(1)
    with pytest.raises(QueueFull, match="another target"):
        await stack(provider, layer)(replace(make_call(), others=True))
    alone = asyncio.create_task(stack(provider, layer)(make_call()))
    await asyncio.sleep(1)
    assert layer.waiting == 1
    first.cancel()
    assert (await alone).text == "fine"
