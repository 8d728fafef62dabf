"""Streams read outside the background loop: order, errors, closing from either side, back-pressure, walking away."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import deque

import pytest

from surefoot import runtime
from surefoot.errors import ConnectionLost, Misconfigured
from surefoot.runtime._pipe import Pipe, open_piped
from tests.loops import QUIET, WAIT_S, Feed, asked_by, heard, home_busy, nothing, own_home, settle_at_home  # noqa: F401 - a fixture

pytestmark = pytest.mark.filterwarnings(*QUIET)


# ---- Order and ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1_000])
async def test_items_arrive_in_order_and_the_stream_is_closed_once(count):
    """Around the pipe's depth as well; whatever the reader did not see was not lost."""
    feed = Feed(count)
    assert [number async for number in await runtime.pipe(feed.opened())] == list(range(count))
    assert feed.closes == 1


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1_000])
def test_a_thread_reads_the_same(count):
    """Sync is a view of async."""
    feed = Feed(count)
    reader = runtime.pipe_sync(feed.opened())
    assert list(reader) == list(range(count))
    assert feed.closes == 1
    assert next(reader, "still over") == "still over"


async def test_an_error_arrives_after_the_items_before_it_and_once():
    """What was delivered on the background loop is delivered here; then the error; then the end."""
    feed = Feed(3, failure=OSError("cut"))
    reader = await runtime.pipe(feed.opened())
    assert [await anext(reader) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="cut"):
        await anext(reader)
    assert [number async for number in reader] == []
    assert feed.closes == 1


def test_an_error_reaches_a_thread_too():
    """And is raised on the caller's own stack."""
    reader = runtime.pipe_sync(Feed(1, failure=OSError("cut")).opened())
    assert next(reader) == 0
    with pytest.raises(OSError, match="cut"):
        next(reader)
    assert list(reader) == []


async def test_a_stream_that_does_not_open_raises_at_once():
    """The first token is in hand when `await` returns; what failed before it is the call's error, not the reader's."""

    async def refused() -> Feed:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        await runtime.pipe(refused())
    with pytest.raises(OSError, match="no route"):
        runtime.pipe_sync(refused())


async def test_a_stray_cancellation_in_a_stream_is_a_lost_connection():
    """The reader was not cancelled, so it must not look so."""
    feed = Feed(5, failure=asyncio.CancelledError())  # type: ignore[arg-type]
    reader = await runtime.pipe(feed.opened())
    with pytest.raises(ConnectionLost):
        assert [number async for number in reader]


async def test_a_stream_lives_in_one_task_and_the_openers_context():
    """Cancel scopes must not be left in another task; trace parents must be the opener's."""
    seen = []
    feed = Feed(3)
    feed.on_item = lambda _number: seen.append(asked_by.get())
    asked_by.set("the opener")
    reader = await runtime.pipe(feed.opened())
    asked_by.set("the reader")
    assert [number async for number in reader] == [0, 1, 2]
    assert seen == ["the opener"] * 3
    assert len(feed.tasks) == 1


async def test_on_the_background_loop_the_stream_is_itself():
    """No pump, no pipe, where none is needed."""

    async def at_home() -> bool:
        feed = Feed(1)
        return await runtime.pipe(feed.opened()) is feed

    assert await runtime.arun(at_home())


def test_a_stream_may_be_read_from_another_loop_than_opened_it():
    """A notebook opens in one cell and reads in the next; the pipe belongs to no loop but home."""
    feed = Feed(500)

    async def some() -> list[int]:
        return [await anext(reader) for _ in range(100)]

    async def rest() -> list[int]:
        return [number async for number in reader]

    async def rest_at_home() -> list[int]:
        return await runtime.arun(rest())

    reader = asyncio.run(runtime.pipe(feed.opened()))
    numbers = asyncio.run(some()) + asyncio.run(some()) + asyncio.run(rest_at_home())
    assert numbers == list(range(500))


async def test_reading_on_the_background_loop_by_a_blocking_reader_raises():
    """It would wait for a pump that cannot run meanwhile. The stream stays as it was, for a reader elsewhere."""
    reader = runtime.pipe_sync(Feed(5).opened(), depth=1)
    seen: list[int] = []

    async def at_home() -> None:
        seen.extend(iter(reader.__next__, None))  # ends by the error: with room for one item the pump has to run in between

    with pytest.raises(Misconfigured, match="await the async twin"):
        await runtime.arun(at_home())
    assert seen + list(reader) == list(range(5))


async def test_the_last_item_may_come_between_the_readers_two_looks():
    """The reader looks for an item, then for the end; the pump adds the one and then makes the other."""
    feed = Feed(1)
    looks = 0

    class LookedAtTooEarly(deque[int]):
        def __bool__(self) -> bool:
            nonlocal looks
            looks += 1
            if looks > 1:
                return len(self) > 0
            settle_at_home()  # the pump ends now
            return False  # but the look was before

    piped = Pipe(feed.opened(), runtime._process.live(), depth=64)
    piped.items = LookedAtTooEarly()
    assert [number async for number in await open_piped(piped)] == [0]
    assert looks > 1


# ---- Back-pressure ---------------------------------------------------------------------------------------------------------------


async def test_a_slow_reader_stops_the_asking_not_the_clock():
    """With the pipe full nobody waits for the provider, so a silence timer has nothing to count; memory is bounded."""
    feed = Feed()
    reader = await runtime.pipe(feed.opened(), depth=8)
    settle_at_home()
    assert (feed.asked, feed.waiting) == (8, False)
    for expected in range(3):
        assert await anext(reader) == expected
    settle_at_home()
    assert feed.asked == 8  # more than half full still
    assert await anext(reader) == 3
    settle_at_home()
    assert (feed.asked, feed.waiting) == (12, False)
    await reader.aclose()
    assert (feed.closes, feed.cancels) == (1, 0)


def test_a_slow_thread_is_waited_for_as_well():
    """The default depth, read to the end after the pump has parked."""
    feed = Feed(1_000)
    reader = runtime.pipe_sync(feed.opened())
    settle_at_home()
    assert feed.asked == 64
    assert list(reader) == list(range(1_000))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_narrowest_pipe_does_not_jam(depth):
    """Pump and reader take turns falling asleep; neither may miss the other's wake."""
    assert list(runtime.pipe_sync(Feed(2_000).opened(), depth=depth)) == list(range(2_000))


async def test_many_readers_at_once_each_get_their_own():
    """One mailbox carries all wakes of a loop."""

    async def read(count: int) -> list[int]:
        return [number async for number in await runtime.pipe(Feed(count).opened(), depth=4)]

    counts = range(0, 200, 7)
    assert await asyncio.gather(*(read(count) for count in counts)) == [list(range(count)) for count in counts]


async def test_the_reader_is_woken_only_when_it_sleeps(monkeypatch):
    """A wake for each chunk is what makes the naive bridge slow."""
    feed = Feed(60)
    reader = await runtime.pipe(feed.opened())
    settle_at_home()
    wakes = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", lambda *_args, **_kwargs: wakes.append(1))
    assert [await anext(reader) for _ in range(60)] == list(range(60))
    monkeypatch.undo()
    assert wakes == []


# ---- Leaving ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hang_at", [3, None])
async def test_closing_early_closes_the_stream_once_and_waits_for_it(hang_at):
    """Whether the pump waits for the provider or for room: a provider bills until its stream is dropped."""
    feed = Feed(hang_at=hang_at)
    reader = await runtime.pipe(feed.opened())
    assert await anext(reader) == 0
    settle_at_home()
    await reader.aclose()
    assert feed.closes == 1
    await reader.aclose()
    assert feed.closes == 1
    assert [number async for number in reader] == []


@pytest.mark.parametrize("hang_at", [3, None])
def test_a_thread_closing_early_waits_as_well(hang_at):
    """The same from a thread."""
    feed = Feed(hang_at=hang_at)
    reader = runtime.pipe_sync(feed.opened())
    assert next(reader) == 0
    settle_at_home()
    reader.close()
    reader.close()
    assert feed.closes == 1
    assert list(reader) == []


async def test_an_error_of_closing_reaches_who_closes():
    """Awaited on the background loop it would."""
    feed = Feed(hang_at=0)
    feed.close_failure = OSError("connection reset")
    reader = await runtime.pipe(feed.opened())
    await heard(feed.hanging)
    with pytest.raises(OSError, match="connection reset"):
        await reader.aclose()


async def test_a_reader_that_walks_away_closes_the_stream():
    """`break` out of the loop, and the garbage collector is the only one left to notice."""
    for hang_at in (3, None):
        feed = Feed(hang_at=hang_at)
        async for _ in await runtime.pipe(feed.opened()):
            break
        gc.collect()
        await heard(feed.closed)
        assert feed.closes == 1


def test_a_thread_that_walks_away_closes_the_stream():
    """The same from a thread."""
    for hang_at in (3, None):
        feed = Feed(hang_at=hang_at)
        for _ in runtime.pipe_sync(feed.opened()):
            break
        gc.collect()
        assert feed.closed.wait(WAIT_S)
        runtime.run(nothing())
        assert feed.closes == 1


def test_a_reader_whose_loop_closed_under_it_is_noticed():
    """Its task will never run again; the stream must not stay open for it."""
    feed = Feed(hang_at=1)

    async def open_one() -> object:
        return await runtime.pipe(feed.opened())

    reader: object = asyncio.run(open_one())
    del reader
    gc.collect()
    assert feed.closed.wait(WAIT_S)


async def test_cancelling_the_reader_cancels_the_stream_and_waits():
    """As on the background loop: a stream cancelled in mid-read is over."""
    feed = Feed(hang_at=2)
    reader = await runtime.pipe(feed.opened())

    async def read() -> list[int]:
        return [number async for number in reader]

    caller = asyncio.create_task(read())
    await heard(feed.hanging)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (feed.closes, feed.cancels) == (1, 1)
    assert [number async for number in reader] == []


async def test_cancelling_the_opening_closes_what_was_opened():
    """Between the opening on the background loop and its news here a stream must not be lost."""
    begun, feed = threading.Event(), Feed()

    async def slow() -> Feed:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            feed.cancels += 1
        return feed

    caller = asyncio.create_task(runtime.pipe(slow()))
    await heard(begun)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (feed.cancels, feed.closes) == (1, 0)

    with home_busy():
        caller = asyncio.create_task(runtime.pipe(feed.opened()))
        await asyncio.sleep(0)  # posted, and asleep
    settle_at_home()  # opened on the background loop, not yet known here
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await heard(feed.closed)
    assert feed.closes == 1


async def test_a_stream_cancelled_before_its_first_step_is_not_opened():
    """Nor does Python complain of a coroutine that was never awaited."""
    feed = Feed()
    with home_busy():
        caller = asyncio.create_task(runtime.pipe(feed.opened()))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert feed.tasks == set()


async def test_closing_while_another_task_reads_ends_the_reading():
    """A user's stop button closes what another task is reading."""
    feed = Feed(hang_at=2)
    reader = await runtime.pipe(feed.opened())

    async def read() -> list[int]:
        return [number async for number in reader]

    reading = asyncio.create_task(read())
    await heard(feed.hanging)
    await reader.aclose()
    assert await reading == [0, 1]
    assert feed.closes == 1


def test_a_background_loop_that_ends_ends_its_streams():
    """The reader gets an error, not silence: a cut stream must never look complete."""
    feed = Feed(hang_at=2)
    reader = runtime.pipe_sync(feed.opened())
    assert [next(reader), next(reader)] == [0, 1]
    assert feed.hanging.wait(WAIT_S)
    runtime.reset_for_tests()
    with pytest.raises(ConnectionLost):
        next(reader)
    assert feed.closes == 1
