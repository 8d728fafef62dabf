"""How a home begins and ends: adoption, closing, last words."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import suppress

import pytest

from surefoot import runtime
from surefoot.errors import ConnectionLost, Misconfigured
from surefoot.runtime import _crossing as _bridge
from tests.loops import QUIET, Hanging, ended, heard, identity, in_a_thread, nothing, own_home  # noqa: F401 - a fixture

pytestmark = pytest.mark.filterwarnings(*QUIET)

# ---- Adoption --------------------------------------------------------------------------------------------------------------------


async def test_an_adopted_loop_pays_no_hop_and_serves_threads():
    """A server's own loop as the background loop: its handlers await directly, its worker threads still come in."""
    runtime.adopt()
    assert runtime.home() is asyncio.get_running_loop()
    assert await runtime.arun(identity()) == await identity()
    assert (await asyncio.to_thread(runtime.run, identity()))[0] == threading.get_ident()
    with pytest.raises(Misconfigured, match="await the async twin"):
        runtime.run(nothing())


async def test_adopting_twice_is_once_and_adopting_another_raises():
    """Limits and clients live on the first home; a second one would double them in silence."""
    runtime.adopt()
    before = runtime.generation()
    runtime.adopt()
    runtime.adopt(asyncio.get_running_loop())
    assert runtime.generation() == before

    async def another() -> None:
        runtime.adopt()

    with pytest.raises(Misconfigured, match="another loop was adopted"):
        await asyncio.to_thread(asyncio.run, another())


async def test_adopting_after_the_first_use_raises():
    """The call that came first has its clients on the thread's loop already."""
    await runtime.arun(nothing())
    with pytest.raises(Misconfigured, match="came too late"):
        runtime.adopt()


def test_adopting_nothing_raises():
    """Outside a loop there is nothing to adopt."""
    with pytest.raises(Misconfigured, match="no running event loop"):
        runtime.adopt()


def test_a_loop_about_to_run_may_be_adopted():
    """Some servers hand out their loop before they start it."""
    loop = asyncio.new_event_loop()
    runtime.adopt(loop)
    assert loop.run_until_complete(runtime.arun(identity()))[0] == threading.get_ident()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert runtime.run(identity())[0] != threading.get_ident()


def test_after_an_adopted_loop_closes_the_next_call_starts_a_new_one():
    """Its clients died with it; the generation tells the models."""
    generations: list[int] = []

    async def serve() -> None:
        runtime.adopt()
        await runtime.arun(nothing())
        generations.append(runtime.generation())

    for _ in range(3):
        asyncio.run(serve())
    generations.append(runtime.generation())
    assert runtime.run(identity())[0] != threading.get_ident()
    generations.append(runtime.generation())
    assert generations == sorted(set(generations))


def test_an_adopted_loop_that_ends_answers_the_threads_that_wait():
    """A server shutting down must not leave its worker threads waiting for ever, nor lose the ledger."""
    call, words, caught = Hanging(), [], []
    call.may_clean.set()

    async def exit_callbacks() -> None:
        words.append(asyncio.get_running_loop())

    def ask() -> None:
        try:
            runtime.run(call())
        except ConnectionLost as error:
            caught.append(error)

    async def serve() -> None:
        runtime.adopt()
        runtime.on_exit(exit_callbacks)
        threads.append(in_a_thread(ask))
        await heard(call.begun)
        loops.append(asyncio.get_running_loop())

    threads: list[threading.Thread] = []
    loops: list[asyncio.AbstractEventLoop] = []
    asyncio.run(serve())
    assert ended(*threads)
    assert len(caught) == 1
    assert words == loops
    assert call.over


def test_an_adopted_loop_closed_without_ceremony_answers_the_threads_that_wait(monkeypatch):
    """`loop.close()` alone tells nobody; a blocked thread looks now and then."""
    monkeypatch.setattr(_bridge, "POLL_S", 0.01)
    begun, caught = threading.Event(), []

    async def hang() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    def ask() -> None:
        try:
            runtime.run(hang())
        except ConnectionLost as error:
            caught.append(error)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # the destroyed task is the point of this test

    async def serve() -> threading.Thread:
        runtime.adopt()
        thread = in_a_thread(ask)
        await heard(begun)
        return thread

    thread = loop.run_until_complete(serve())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert ended(thread)
    assert len(caught) == 1
    runtime.run(nothing())


def test_an_adopted_loop_that_only_stopped_is_not_waited_for():
    """Only this thread could make it run again, so waiting for it would never end."""
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        runtime.adopt()

    loop.run_until_complete(serve())
    with pytest.raises(Misconfigured, match="is not running any more"):
        runtime.run(nothing())
    with pytest.raises(Misconfigured, match="is not running any more"):
        asyncio.run(runtime.arun(nothing()))
    runtime.reset_for_tests()
    loop.close()


def test_a_call_made_while_an_adopted_loop_ends_goes_to_a_new_one():
    """A loop that says its exit callbacks takes no more calls; a worker thread that has one must not be lost with it."""
    threads: list[int] = []

    async def exit_callbacks() -> None:
        threads.append((await asyncio.to_thread(runtime.run, identity()))[0])

    async def serve() -> None:
        runtime.adopt()
        runtime.on_exit(exit_callbacks)

    asyncio.run(serve())
    assert threads != [threading.get_ident()]
    assert len(threads) == 1


# ---- Exit callbacks ------------------------------------------------------------------------------------------------------------------


def test_exit_callbacks_run_when_the_background_loop_ends():
    """All of them, one that fails and one that was taken off notwithstanding."""
    said: list[str] = []

    async def fails() -> None:
        raise OSError("disk full")

    async def flush() -> None:
        await asyncio.sleep(0)
        said.append("flushed")

    async def never_said() -> None:
        said.append("taken off")

    runtime.on_exit(fails)
    runtime.on_exit(flush)
    runtime.on_exit(never_said)()
    runtime.run(nothing())
    runtime.reset_for_tests()
    assert said == ["flushed"]


def test_the_end_of_a_background_loop_cancels_what_runs_on_it():
    """A background task (a hedge's loser, a refresh) gets its chance to clean up before the exit callbacks."""
    said: list[str] = []
    kept: list[asyncio.Task[None]] = []

    async def background() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            said.append("cleaned up")

    async def spawn() -> None:
        kept.append(asyncio.create_task(background()))
        await asyncio.sleep(0)

    async def exit_callbacks() -> None:
        said.append("flushed")

    runtime.on_exit(exit_callbacks)
    runtime.run(spawn())
    runtime.reset_for_tests()
    assert said == ["cleaned up", "flushed"]
    assert kept[0].cancelled()


def test_a_task_that_will_not_end_is_left_without_noise(caplog):
    """It had its half second; a page of "was destroyed but it is pending" helps nobody at exit."""

    async def stubborn() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()

    async def spawn() -> None:
        kept.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    kept: list[asyncio.Task[None]] = []
    runtime.run(spawn())
    runtime.reset_for_tests()
    assert not kept.pop().done()
    gc.collect()
    assert caplog.text == ""
