"""The background loop: all I/O and all policy state live on one event loop per process.

Sync is a view of async. `run` serves sync callers from any thread, `arun` async callers on any loop, `pipe` and `pipe_sync` streams; so
threads, foreign loops and both frameworks share the same limits, clients are never cached across loops, and "Event loop is closed" has
nowhere to come from. A server may make its own loop the background loop with `adopt`; its async calls then pay no hop.

What holds for every crossing, as if the caller had awaited the coroutine itself:

* it runs in a copy of the caller's context, and exceptions come back with their tracebacks;
* every cancellation of the caller (a second one too) reaches the call, and the caller waits until the call is over;
* a cancellation that was *not* the caller's arrives as ConnectionLost. Transports cancel from inside (a torn-down resolver, a closing
  loop); passed on, that would look like the caller's own cancellation to its TaskGroup or timeout. ConnectionLost, because the
  connection is what was lost: Transient, may be asked again, and whether it was paid for is unknown.

A thread blocked in `run` must not be the background loop's own, or it would wait for itself: that raises Misconfigured at once.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

from surefoot.errors import Misconfigured, Refused
from surefoot.runtime._crossing import Crossing, never, stray
from surefoot.runtime._home import STALLED, BackgroundLoop, ExitCallback
from surefoot.runtime._pipe import DEPTH, AsyncStream, Pipe, PipedIterator, open_piped, open_piped_in_thread
from surefoot.runtime._threads import ThreadJob, Threads

__all__ = [
    "AsyncStream",
    "adopt",
    "arun",
    "check_stray",
    "crosses",
    "generation",
    "home",
    "in_thread",
    "is_home",
    "is_own_home",
    "loop_factory",
    "on_exit",
    "pipe",
    "pipe_sync",
    "post",
    "reset_for_tests",
    "run",
    "stray",
]

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

# What makes the background loop's own loop; assign another (uvloop.new_event_loop) before the first call.
loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


class _Process:
    """What there is once per process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.home: BackgroundLoop | None = None
        self.generation = 0
        self.exiting = False
        self.exit_callbacks: list[ExitCallback] = []
        self.threads = Threads()
        self.left_behind: list[BackgroundLoop] = []  # the parent's, after a fork: never closed here, since the two share their selectors

    def live(self) -> BackgroundLoop:
        """The background loop, started if there is none. Raises Refused when the interpreter is exiting."""
        home = self.home
        if home is not None and not home.gone:
            return home
        with self.lock:
            self.retire()
            if self.home is None:
                if self.exiting:
                    raise Refused("the interpreter is exiting and the background loop has closed: no more calls can be made")
                self.settle_in(BackgroundLoop(loop_factory(), adopted=False, exit_callbacks=self.exit_callbacks))
            return self.home  # type: ignore[return-value]  # just set

    def settle_in(self, home: BackgroundLoop) -> None:
        """Make `home` the background loop. Under the lock."""
        if not home.adopted:
            home.open()
        self.home = home
        self.generation += 1
        _end_with_libraries()

    def retire(self) -> None:
        """Let go of a background loop that has closed. Under the lock."""
        if self.home is not None and self.home.gone:
            self.home.check()
            self.home = None
            self.generation += 1


_process = _Process()


def home() -> asyncio.AbstractEventLoop:
    """The background loop, started (on a daemon thread) if there is none."""
    return _process.live().loop


def generation() -> int:
    """A number that grows whenever the background loop changes: started, adopted, closed, forked.

    Clients made under another one are stale.
    """
    current = _process.home
    if current is not None and current.gone:
        with _process.lock:
            _process.retire()
    return _process.generation


def run(coro: Coroutine[Any, Any, T]) -> T:
    """Run `coro` on the background loop and block this thread until it is over; for sync callers, also inside a running loop (Jupyter).

    Ctrl-C (or whatever a signal handler raises) cancels the call, waits until it is over, and is raised again; a second one does not wait.
    Raises Misconfigured on the background loop's own thread; ConnectionLost if something other than the caller cancelled the call.
    """
    try:
        crossing = Crossing(coro, _blockable())
    except BaseException:
        coro.close()  # else Python complains that it was never awaited
        raise
    crossing.until_in_thread(never)
    return crossing.result()


async def arun(coro: Coroutine[Any, Any, T]) -> T:
    """Run `coro` on the background loop and await it here, on whatever loop this is; on the background loop itself, simply await it.

    Cancelled, it waits until the call is over: as if awaited directly, down to a call that answers its cancellation with a value.
    Raises ConnectionLost if something other than the caller cancelled the call.
    """
    if is_home():
        try:
            return await coro
        except asyncio.CancelledError as cancelled:
            check_stray(cancelled)
            raise
    try:
        crossing = Crossing(coro, _reachable())
    except BaseException:
        coro.close()
        raise
    try:
        await crossing.until(never)
    except asyncio.CancelledError:
        # The call that never heard of it, or died of it, is cancelled; the call that chose to answer it otherwise has answered.
        if not crossing.heard or isinstance(crossing.error, asyncio.CancelledError):
            raise
    return crossing.result()


def is_home() -> bool:
    """Whether the running loop is the background loop: its calls cross nothing."""
    current = _process.home
    return current is not None and current.loop is asyncio.get_running_loop()


def is_own_home() -> bool:
    """Whether the running loop is the background loop, and no loop of somebody's that was adopted."""
    return is_home() and _process.home is not None and not _process.home.adopted


def crosses() -> bool:
    """Whether a call from here has to cross to the background loop, which may be busy; there it begins at once."""
    current = _process.home
    return current is None or current.loop is not asyncio._get_running_loop()  # noqa: SLF001 - no exception where there is none


def check_stray(cancelled: asyncio.CancelledError) -> None:
    """Raise ConnectionLost for a cancellation that this task was not asked for."""
    task = asyncio.current_task()
    if task is not None and not task.cancelling():
        raise stray(cancelled) from cancelled


async def pipe(open_stream: Coroutine[Any, Any, AsyncStream[T]], *, depth: int = DEPTH) -> AsyncStream[T]:
    """Open a stream on the background loop, to be read here, on whatever loop this is; on the background loop itself, simply open it.

    At most `depth` items are read ahead: after that the background loop stops asking the stream until the reader has taken half of them. An
    error of the stream reaches the reader after the items before it. Closing, cancelling or dropping the reader closes the stream, once.
    """
    if is_home():
        return await arun(open_stream)
    try:
        piped = Pipe(open_stream, _reachable(), depth)
    except BaseException:
        open_stream.close()
        raise
    return await open_piped(piped)


def pipe_sync(open_stream: Coroutine[Any, Any, AsyncStream[T]], *, depth: int = DEPTH) -> PipedIterator[T]:
    """Open a stream on the background loop, to be read by blocking threads; as `pipe` in everything else, and as `run` in blocking."""
    try:
        piped = Pipe(open_stream, _blockable(), depth)
    except BaseException:
        open_stream.close()
        raise
    return open_piped_in_thread(piped)


def _blockable() -> BackgroundLoop:
    live = _process.live()
    live.refuse_to_block()
    return live


def _reachable() -> BackgroundLoop:
    live = _process.live()
    if live.stalled_here:
        raise Misconfigured(STALLED)
    return live


def adopt(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Make the running loop (or `loop`, about to run) the background loop: call it in a server's start-up, before the first call.

    Its async calls then pay no hop. When the loop closes, the exit callbacks run on it, and the next call starts a new background loop.
    Raises Misconfigured if another background loop is in use already.
    """
    running = asyncio._get_running_loop()  # noqa: SLF001 - documented for exactly this: no exception where there is none
    loop = loop or running
    if loop is None:
        raise Misconfigured("adopt() found no running event loop; call it inside one (a server's start-up), or pass the loop")
    with _process.lock:
        _process.retire()
        current = _process.home
        if current is not None:
            if current.loop is loop:
                return
            raise Misconfigured(
                f"adopt() came too late: {'another loop was adopted' if current.adopted else 'a call has already started a home loop'}, "
                "and limits and clients live there; call it in the start-up, before the first call"
            )
        adopted = BackgroundLoop(loop, adopted=True, exit_callbacks=_process.exit_callbacks)
        if loop is running:
            adopted.watch()
        else:
            loop.call_soon_threadsafe(adopted.watch)
        _process.settle_in(adopted)


def on_exit(callback: ExitCallback) -> Callable[[], None]:
    """Run the async `callback` on the background loop whenever one ends: at the interpreter's exit, or when an adopted loop closes.

    All callbacks run side by side and get 2 s together; one that fails is logged. It may run more than once, so it flushes and closes
    what there is. It must not wait for a new call. Returns a function that takes it off again.
    """
    _process.exit_callbacks.append(callback)

    def take_off() -> None:
        if callback in _process.exit_callbacks:
            _process.exit_callbacks.remove(callback)

    return take_off


def post(action: Callable[[], None], *, generation: int | None = None) -> bool:
    """Run `action`, which must not raise, soon on the background loop, from any thread; False if there is none, or not of that generation.

    Takes no lock, so that finalizers may call it wherever the garbage collector happens to run.
    """
    current = _process.home
    return current is not None and generation in {None, _process.generation} and current.wake_ups.post(action)


async def in_thread(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking `fn` in one of at most 16 daemon threads, in a copy of this context, so that the loop does not block.

    Cancelled, it returns at once: work not begun is dropped, work begun runs to its end unheard. Raises what `fn` raises.
    """
    job = ThreadJob(partial(fn, *args, **kwargs))
    _process.threads.submit(job)
    try:
        await job.future
    except asyncio.CancelledError:
        job.dropped = True
        raise
    return job.result()


def reset_for_tests() -> None:
    """End the background loop, forget the exit callbacks: the next call starts anew. For tests only; blocks up to 2.5 s.

    Called on the adopted loop's own thread it only lets go of the loop, whose tasks are the test's.
    """
    with _process.lock:
        ended, _process.home = _process.home, None
        _process.generation += 1
    if ended is not None:
        if ended.thread_id == threading.get_ident() and ended.loop.is_running():
            ended.forget(wake=True)
        else:
            ended.end()
    _process.exit_callbacks.clear()


def _at_exit() -> None:
    """Say the exit callbacks, stop the loop. What ends without a home (a fork that never called) has none to say."""
    _process.exiting = True
    ended = _process.home
    if ended is None:
        return
    try:
        ended.end()
    except TimeoutError:
        _log.warning("the adopted background loop did not answer at exit; its exit callbacks may not have run")
    _process.home = None


def _end_with_libraries() -> None:
    """Children of multiprocessing, and of Celery's billiard, skip atexit: both have a list of their own, Celery's workers a signal."""
    for library in ("multiprocessing", "billiard"):
        process, util = sys.modules.get(f"{library}.process"), sys.modules.get(f"{library}.util")
        if process is not None and util is not None and getattr(process.current_process(), "_parent_pid", None) is not None:
            util.Finalize(None, _at_exit, exitpriority=0)
    celery = sys.modules.get("celery.signals")
    if celery is not None:
        celery.worker_process_shutdown.connect(_at_worker_exit, weak=False, dispatch_uid="surefoot.runtime")


def _at_worker_exit(**_: object) -> None:
    """A worker process of Celery ends; it is killed right after."""
    _at_exit()


def _after_fork() -> None:
    """In the child: the parent's home has no thread here. Leave it alone, keep it from the garbage collector, start anew when called."""
    left, _process.home = _process.home, None
    _process.lock = threading.Lock()
    _process.threads = Threads()
    _process.generation += 1
    if left is not None:
        left.forget(wake=False)
        _process.left_behind.append(left)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
