"""The background loop: an event loop, its thread, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

from surefoot.errors import Misconfigured
from surefoot.runtime._crossing import Crossing, WakeUpQueue

EXIT_S = 2.0  # all exit callbacks together; a process that will not end is worse than a ledger a few entries short
CANCEL_S = 0.5  # of these, what cancelled tasks get to clean up before the exit callbacks
GRACE_S = 0.5  # beyond EXIT_S: what the loop's thread gets to close the loop

STALLED = (
    "the background loop was adopted on this thread and is not running any more; close it (asyncio.run does), "
    "then the next call starts a new background loop, or keep it running"
)

ExitCallback = Callable[[], Awaitable[None]]

_log = logging.getLogger(__name__)


class BackgroundLoop:
    """The event loop all calls run on, its wake-up queue, and the crossings under way on it.

    Either its own (`open`: a daemon thread) or adopted (`watch`: somebody's server loop, which ends when they end it).
    `exit_callbacks` is the live list of async callbacks to run when it ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, adopted: bool, exit_callbacks: list[ExitCallback]) -> None:
        self.loop = loop
        self.adopted = adopted
        self.wake_ups = WakeUpQueue(loop)
        self.crossings: set[Crossing[Any]] = set()
        self.thread_id: int | None = None
        self._exit_callbacks = exit_callbacks
        self._thread: threading.Thread | None = None
        self._sentinel: AsyncGenerator[None, None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._drained = False
        self._stopping = False

    @property
    def gone(self) -> bool:
        """It takes no more calls."""
        return self.wake_ups.closed or self.loop.is_closed()

    def open(self) -> None:
        """Start the daemon thread. What is posted before the loop turns is kept for it."""
        self._thread = threading.Thread(target=self._serve, name="surefoot-home", daemon=True)
        self._thread.start()
        self.thread_id = self._thread.ident

    def watch(self) -> None:
        """Learn of an adopted loop's end. Called on it, running.

        asyncio tells nobody that a loop is closing, except its async generators, which it closes after it cancelled the tasks. So one is
        kept open for the purpose; unlike a task it is neither cancelled early nor seen in `all_tasks()`.
        """
        self.thread_id = threading.get_ident()
        self._sentinel = self._sentry()
        _drive(self._sentinel.asend(None))

    async def _sentry(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._drain()

    @property
    def stalled_here(self) -> bool:
        """It was adopted on this thread and does not run: nobody but this thread could make it, so waiting for it would never end."""
        return self.thread_id == threading.get_ident() and not self.loop.is_running()

    def refuse_to_block(self) -> None:
        """Raise Misconfigured if this thread is the one all calls run on."""
        if self.thread_id != threading.get_ident():
            return
        if self.stalled_here:
            raise Misconfigured(STALLED)
        raise Misconfigured(
            "a sync call on the background loop's own thread would wait for itself, and every other call with it; "
            "await the async twin instead (ainvoke, astream, aembed, runtime.arun), or call from another thread (asyncio.to_thread)"
        )

    def check(self) -> None:
        """Answer every crossing with ConnectionLost if the loop has been closed under them."""
        if self.loop.is_closed():
            self._lose_all()

    def _lose_all(self) -> None:
        self.wake_ups.closed = True  # before looking: a crossing enters the set before it posts
        for crossing in list(self.crossings):
            crossing.lose()

    def end(self) -> None:
        """Drain and, if it is our own, stop and close the loop. From outside; blocks at most EXIT_S + GRACE_S seconds."""
        if self.loop.is_closed():
            self._lose_all()
            if not self._drained:  # closed without ceremony: the ledger is flushed all the same
                self._drained = True
                asyncio.run(_say(self._exit_callbacks, EXIT_S))
        elif self._thread is not None:
            self.loop.call_soon_threadsafe(self._start_ending)
            self._thread.join(EXIT_S + GRACE_S)
        elif self._sentinel is None:
            self.forget(wake=True)
        elif not self.loop.is_running():
            self.loop.run_until_complete(_closed(self._sentinel))
        else:
            asyncio.run_coroutine_threadsafe(_closed(self._sentinel), self.loop).result(EXIT_S + GRACE_S)

    def forget(self, *, wake: bool) -> None:
        """Leave the loop alone from now on: it is the parent process's (whose sleepers must not be woken from here), or a test's."""
        self._drained = True
        self.wake_ups.closed = True
        for crossing in list(self.crossings):
            crossing.lose(wake=wake)
        if self._sentinel is not None:
            _drive(self._sentinel.aclose())

    def _serve(self) -> None:
        loop = self.loop
        try:
            while not self._stopping:
                try:
                    loop.run_forever()
                except (SystemExit, KeyboardInterrupt):  # raised by one call, and carried to its caller; the others go on
                    continue
        finally:
            loop.set_exception_handler(_mute)  # a task that would not end in time is not worth a page of "was destroyed" at exit
            loop.close()

    def _start_ending(self) -> None:
        self._ending = self.loop.create_task(self._leave())

    async def _leave(self) -> None:
        try:
            await self._drain()
            await asyncio.wait({self.loop.create_task(self.loop.shutdown_asyncgens())}, timeout=GRACE_S / 2)
        finally:
            self._stopping = True
            self.loop.stop()

    async def _drain(self) -> None:
        """Take no more calls, cancel those under way, run the exit callbacks. Once; at most EXIT_S seconds."""
        if self._drained:
            return
        self._drained = True
        end_s = self.loop.time() + EXIT_S
        under_way = [crossing.task for crossing in list(self.crossings)]
        self._lose_all()
        tasks = {task for task in under_way if task is not None} if self.adopted else asyncio.all_tasks()
        await _cancelled(tasks, CANCEL_S)
        await _say(self._exit_callbacks, end_s - self.loop.time())
        if not self.adopted:
            await _cancelled(asyncio.all_tasks(), GRACE_S / 2)


async def _cancelled(tasks: Iterable[asyncio.Task[Any]], bound_s: float) -> None:
    """Cancel `tasks` and wait until they are over, at most `bound_s` seconds."""
    current = asyncio.current_task()
    others = {task for task in tasks if task is not current and not task.done()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=bound_s)


async def _say(exit_callbacks: Iterable[ExitCallback], bound_s: float) -> None:
    """Run all callbacks side by side, so that one that hangs costs the others nothing; cut them off after `bound_s` seconds."""
    tasks = [asyncio.ensure_future(_say_one(callback)) for callback in list(exit_callbacks)]
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=bound_s)
    if late:
        _log.warning("%d of %d exit callbacks did not end within %.1f s and were cut off", len(late), len(tasks), bound_s)
        await _cancelled(late, GRACE_S / 2)


async def _say_one(callback: ExitCallback) -> None:
    try:
        await callback()
    except Exception:  # noqa: BLE001 - the others must still run
        _log.warning("an exit callback failed", exc_info=True)


async def _closed(sentinel: AsyncGenerator[None, None]) -> None:
    await sentinel.aclose()


def _drive(step: Awaitable[None]) -> None:
    """Run a step of an async generator that is known not to wait, without a task."""
    for _ in step.__await__():
        raise RuntimeError("the sentinel waited")  # cannot happen: it has nothing to wait for here


def _mute(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
    """Say nothing."""
