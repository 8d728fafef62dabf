"""The background loop: calls from threads, foreign loops and the background loop itself; errors, cancellation, context.

Real threads and real loops, ordered by events and barriers, never by sleeping.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import traceback
import weakref

import pytest

from surefoot import runtime
from surefoot.errors import ConnectionLost, Misconfigured
from surefoot.runtime._crossing import Crossing, never
from tests.loops import QUIET, WAIT_S, Hanging, asked_by, ended, heard, home_busy, identity, in_a_thread, nothing, own_home, settle_at_home  # noqa: F401 - a fixture

pytestmark = pytest.mark.filterwarnings(*QUIET)

# ---- One place where limits are --------------------------------------------------------------------------------------------------


def test_three_loops_and_eight_threads_share_one_limit():
    """One semaphore on the background loop holds for all callers: the neighbours keep one per loop and exceed the quota."""
    inside, peak, done = 0, 0, 0
    limit = asyncio.Semaphore(3)
    start = threading.Barrier(11)

    async def call() -> None:
        nonlocal inside, peak, done
        async with limit:
            inside += 1
            peak = max(peak, inside)
            for _ in range(5):
                await asyncio.sleep(0)
            inside -= 1
            done += 1

    async def many() -> None:
        await asyncio.gather(*(runtime.arun(call()) for _ in range(40)))

    def from_a_loop() -> None:
        start.wait(WAIT_S)
        asyncio.run(many())

    def from_a_thread() -> None:
        start.wait(WAIT_S)
        for _ in range(20):
            runtime.run(call())

    assert ended(*[in_a_thread(from_a_loop) for _ in range(3)], *[in_a_thread(from_a_thread) for _ in range(8)])
    assert done == 3 * 40 + 8 * 20
    assert peak == 3


async def test_a_sync_call_works_inside_a_running_loop():
    """A notebook cell is sync code under a running loop: asyncio.run would refuse."""
    thread, _ = runtime.run(identity())
    assert thread != threading.get_ident()


async def test_every_caller_meets_the_same_loop():
    """Sync and async callers share the one loop, so clients made on it are never used from another."""

    async def loop_id() -> int:
        return id(asyncio.get_running_loop())

    here = id(asyncio.get_running_loop())
    assert await runtime.arun(loop_id()) == runtime.run(loop_id()) == id(runtime.home()) != here


def test_three_runs_of_asyncio_in_a_row_share_a_background_loop():
    """A client cached across asyncio.run dies of "Event loop is closed"; on the background loop it outlives them."""

    async def visit() -> tuple[int, int]:
        loop = await runtime.arun(loop_now())
        return id(loop), runtime.generation()

    async def loop_now() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert len({asyncio.run(visit()) for _ in range(3)}) == 1


def test_a_sync_call_on_the_background_loop_raises_at_once():
    """It would wait for itself, and all others with it; the message names the way out."""

    async def nested() -> None:
        runtime.run(nothing())

    async def nested_stream() -> None:
        runtime.pipe_sync(nothing())  # type: ignore[arg-type]

    with pytest.raises(Misconfigured, match="await the async twin"):
        runtime.run(nested())
    with pytest.raises(Misconfigured, match="await the async twin"):
        runtime.run(nested_stream())


async def test_arun_on_the_background_loop_awaits_in_the_callers_own_task():
    """Layers on the background loop pay no task and no hop for calling each other through the public names."""

    async def outer() -> bool:
        before = await identity()
        return await runtime.arun(identity()) == before

    assert await runtime.arun(outer())


def test_what_is_no_coroutine_is_the_callers_mistake():
    """A wrong argument must come back to the caller, not stay behind on the background loop."""
    with pytest.raises(TypeError, match="coroutine"):
        runtime.run(42)  # type: ignore[arg-type]


def test_the_background_loop_may_be_of_another_kind():
    """`loop_factory` is where uvloop goes in."""
    uvloop = pytest.importorskip("uvloop")
    before, runtime.loop_factory = runtime.loop_factory, uvloop.new_event_loop
    try:
        assert isinstance(runtime.home(), uvloop.Loop)
        assert runtime.run(identity())[0] != threading.get_ident()
        assert asyncio.run(runtime.arun(identity()))[0] != threading.get_ident()
    finally:
        runtime.loop_factory = before


def test_a_call_posted_twice_runs_once():
    """A signal may interrupt the posting after the letter went in; it is then posted again, to be sure."""

    async def call() -> int:
        return len(asyncio.all_tasks())

    crossing = Crossing(call(), runtime._process.live())
    with home_busy():
        crossing.depart()
        crossing._departed = False  # as if interrupted
        crossing.depart()
    crossing.until_in_thread(never)
    assert crossing.result() == 1


# ---- Errors ----------------------------------------------------------------------------------------------------------------------


async def breaks() -> None:
    raise ValueError("broken on the background loop")


async def test_errors_cross_with_their_traceback():
    """The line that failed on the background loop must be in the caller's traceback."""
    for ask in (lambda: runtime.arun(breaks()), lambda: asyncio.to_thread(runtime.run, breaks())):
        with pytest.raises(ValueError, match="broken on the background loop") as caught:
            await ask()
        assert "breaks" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_a_call_that_exits_takes_only_its_caller_along():
    """SystemExit stops an event loop; the background loop serves others, so it goes on."""

    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        runtime.run(leave())
    before = runtime.generation()
    assert runtime.run(identity())
    assert runtime.generation() == before


async def test_a_failed_call_leaves_nothing_to_the_garbage_collector():
    """An error's traceback holds the frames it came through; a cycle through them would keep prompts and connections until later."""

    class Freed:
        """Something worth freeing."""

    async def fail(prompt: Freed) -> None:
        await asyncio.sleep(0)
        raise ValueError(repr(prompt))

    async def ask(kind: str) -> weakref.ref[Freed]:
        prompt = Freed()
        try:
            if kind == "arun":
                await runtime.arun(fail(prompt))
            else:
                runtime.run(fail(prompt))
        except ValueError:
            return weakref.ref(prompt)
        raise AssertionError

    gc.disable()
    try:
        remains = [await ask("arun"), await ask("run")]
        runtime.run(nothing())  # the background loop has let go of its last handle
        assert [remain() for remain in remains] == [None, None]
    finally:
        gc.enable()


# ---- Cancellation ----------------------------------------------------------------------------------------------------------------


async def test_cancellation_crosses_and_waits_until_the_call_is_over():
    """A caller that goes on before the call has given everything back would find the permit still taken."""
    call = Hanging()
    caller = asyncio.create_task(runtime.arun(call()))
    await heard(call.begun)
    caller.cancel("no more interest")
    await heard(call.cleaning)
    assert not caller.done()
    call.may_clean.set()
    with pytest.raises(asyncio.CancelledError, match="no more interest"):
        await caller
    assert (call.over, call.cancels) == (True, 1)


async def test_a_second_cancellation_crosses_too():
    """In one loop it would reach the clean-up; across two it must as well, and still be waited for."""
    call = Hanging()
    caller = asyncio.create_task(runtime.arun(call()))
    await heard(call.begun)
    caller.cancel()
    await heard(call.cleaning)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (call.over, call.cancels) == (True, 2)
    call.may_clean.set()


async def test_a_call_cancelled_before_its_first_step_answers():
    """A task cancelled before it starts runs no line of its coroutine, so nothing inside it could answer."""
    ran = False

    async def call() -> None:
        nonlocal ran
        ran = True

    with home_busy():
        caller = asyncio.create_task(runtime.arun(call()))
        await asyncio.sleep(0)  # the call is posted
        caller.cancel()
        await asyncio.sleep(0)  # so is the cancellation, right behind it
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not ran


async def test_a_cancellation_that_comes_too_late_for_the_call_still_counts():
    """The call has returned, its answer is on the way: the caller was cancelled all the same and must end so."""
    with home_busy():
        caller = asyncio.create_task(runtime.arun(nothing()))
        await asyncio.sleep(0)  # posted, and asleep
    settle_at_home()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_call_that_answers_its_cancellation_is_heard():
    """Awaited directly, a coroutine may answer a cancellation with a value; across the bridge it may as well."""
    begun = threading.Event()

    async def partial_answer() -> str:
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "what there was"
        raise AssertionError

    caller = asyncio.create_task(runtime.arun(partial_answer()))
    await heard(begun)
    caller.cancel()
    assert await caller == "what there was"


async def test_a_timeout_around_a_call_cancels_it():
    """asyncio.timeout is a cancellation with a count; the bridge must leave the count alone."""
    call = Hanging()
    call.may_clean.set()

    async def end(cut: asyncio.Timeout) -> None:
        await heard(call.begun)  # on a busy machine it may take long
        cut.reschedule(asyncio.get_running_loop().time())

    async def asked() -> None:
        async with asyncio.timeout(WAIT_S) as cut:
            ending = asyncio.create_task(end(cut))
            await runtime.arun(call())
        await ending

    with pytest.raises(TimeoutError):
        await asked()
    assert call.over
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def cancelled_from_inside() -> None:
    inner = asyncio.ensure_future(asyncio.get_running_loop().create_future())
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


async def test_a_stray_cancellation_does_not_look_like_the_callers():
    """A resolver torn down inside a transport cancels what waits on it: a lost connection, not a caller who left."""

    async def at_home() -> None:
        with pytest.raises(ConnectionLost, match="other than its caller"):
            await runtime.arun(cancelled_from_inside())

    for ask in (lambda: runtime.arun(cancelled_from_inside()), lambda: asyncio.to_thread(runtime.run, cancelled_from_inside())):
        with pytest.raises(ConnectionLost, match="other than its caller") as caught:
            await ask()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    await runtime.arun(at_home())


async def test_the_callers_own_cancellation_on_the_background_loop_stays_one():
    """The direct path must tell its own task's cancellation from a stray one."""
    call = Hanging()
    call.may_clean.set()

    async def at_home() -> None:
        await runtime.arun(call())

    caller = asyncio.create_task(runtime.arun(at_home()))
    await heard(call.begun)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


# ---- Context ---------------------------------------------------------------------------------------------------------------------


async def test_context_variables_cross():
    """Trace parents and tenants travel in them; they go with the call and do not come back."""

    async def who() -> str:
        asker = asked_by.get()
        asked_by.set("the call")
        return asker

    asked_by.set("a loop")
    assert await runtime.arun(who()) == "a loop"
    assert asked_by.get() == "a loop"
    assert await asyncio.to_thread(runtime.run, who()) == "a loop"


def test_one_callers_context_does_not_leak_into_anothers():
    """The wake that drains the mailbox belongs to whoever came first; the calls in it do not."""
    seen: list[str] = []

    async def who() -> None:
        seen.append(asked_by.get())

    async def many(name: str) -> None:
        asked_by.set(name)
        await asyncio.gather(*(runtime.arun(who()) for _ in range(50)))

    assert ended(*[in_a_thread(lambda name=name: asyncio.run(many(name))) for name in ("first", "second")])
    assert sorted(seen) == ["first"] * 50 + ["second"] * 50
