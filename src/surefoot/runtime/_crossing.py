"""How a call crosses between event loops and threads: mailboxes, sleepers, and the crossing itself.

Two memory rules carry the whole file, both resting on CPython's global lock, which keeps loads and stores in program order:
a poster appends a letter and then tests the flag, a drain clears the flag and then pops; a sleeper leaves its sleeper's mark and then
looks again, a waker makes the thing true and then looks for marks. Neither side can miss the other.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from surefoot.errors import ConnectionLost
from surefoot.runtime._threads import blocked

T = TypeVar("T")

POLL_S = 0.5  # how often a blocked thread looks whether its loop still lives; Windows also needs it to notice Ctrl-C


class WakeUpQueue:
    """Hands actions to one event loop from any thread, waking it once per burst instead of once per action.

    `run_coroutine_threadsafe` pays a wake (a lock, a handle, a write to a socket) for each call; a busy loop needs none of them.
    """

    __slots__ = ("_context", "_letters", "_loop", "_wake_pending", "closed")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._letters: deque[Callable[[], None]] = deque()
        self._wake_pending = False
        self._context = contextvars.Context()  # else the drain would run, and log, in the context of whoever woke it
        self.closed = False

    def post(self, action: Callable[[], None]) -> bool:
        """Run `action`, which must not raise, soon on the loop; False if the loop has closed.

        A signal handler may raise anywhere in here: at worst the letter waits for the next one's wake.
        """
        if self.closed:
            return False
        self._letters.append(action)
        if not self._wake_pending:
            try:
                self._wake_pending = True
                self._loop.call_soon_threadsafe(self._drain, context=self._context)
            except RuntimeError:  # asyncio's word for a closed loop
                self.closed = True
                return False
            except BaseException:
                self._wake_pending = False  # else nobody would wake the loop ever again
                raise
        return True

    def _drain(self) -> None:
        self._wake_pending = False
        letters = self._letters
        for _ in range(len(letters)):  # later ones have a wake of their own: the loop's I/O gets its turn between
            letters.popleft()()


class _Local(threading.local):
    wake_ups: tuple[asyncio.AbstractEventLoop, WakeUpQueue] | None = None


_local = _Local()


def wake_ups_here() -> WakeUpQueue:
    """The running loop's wake-up queue. One is kept per thread, for the loop that ran there last."""
    loop = asyncio.get_running_loop()
    known = _local.wake_ups
    if known is not None and known[0] is loop:
        return known[1]
    wake_ups = WakeUpQueue(loop)
    _local.wake_ups = (loop, wake_ups)
    return wake_ups


class Sleeper(Protocol):
    """Somebody asleep until the background loop has news."""

    def wake(self) -> None:
        """Called once, on the background loop's thread."""


class LoopSleeper:
    """A coroutine asleep on the loop it was made on."""

    __slots__ = ("_wake_ups", "future")

    def __init__(self) -> None:
        self._wake_ups = wake_ups_here()
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """Wake the coroutine; if its loop has closed, nobody is left to hear it."""
        self._wake_ups.post(self._rouse)

    def _rouse(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class ThreadSleeper:
    """A thread asleep on a lock."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """Wake the thread."""
        self._lock.release()

    def sleep(self) -> bool:
        """Sleep at most POLL_S seconds; True if woken. Signal handlers run, and may raise, in here."""
        return self._lock.acquire(timeout=POLL_S)


class Destination(Protocol):
    """What a crossing needs of the loop that it goes to."""

    loop: asyncio.AbstractEventLoop
    wake_ups: WakeUpQueue
    crossings: set[Any]

    def refuse_to_block(self) -> None:
        """Raise if the calling thread is the loop's own."""

    def check(self) -> None:
        """Raise ConnectionLost if the loop has ended."""


class Crossing(Generic[T]):
    """One coroutine run as a task on the background loop for somebody elsewhere.

    The task runs in a copy of the caller's context. Every cancellation of the sleeping caller is passed on to the task, and the caller
    sleeps on until the task is over: as if it had awaited the coroutine itself. `value` and `error` may be read once `over`.
    """

    __slots__ = ("_context", "_coro", "_departed", "_home", "_sleepers", "asked", "error", "heard", "over", "task", "value")

    def __init__(self, coro: Coroutine[Any, Any, T], home: Destination) -> None:
        self._coro = coro
        self._home = home
        self._context = contextvars.copy_context()
        self.task: asyncio.Task[T] | None = None  # while it runs
        self._departed = False
        # Appended by callers, popped by the background loop: both are single steps under the global lock
        self._sleepers: list[Sleeper] = []
        self.asked = False  # a caller asked to cancel
        self.heard = False  # the task was still running when that arrived
        self.over = False
        self.value: T | None = None
        self.error: BaseException | None = None

    def depart(self) -> None:
        """Send the coroutine off, unless it has been. A background loop that closes meanwhile answers with ConnectionLost."""
        if self._departed:
            return
        self._home.crossings.add(self)  # before posting: whoever closes the background loop answers all in this set
        if not self._home.wake_ups.post(self._start):
            self.lose()
        self._departed = True

    def ask_cancel(self) -> None:
        """Cancel the task, from any thread. Whoever closed the background loop meanwhile has answered already."""
        self.asked = True
        self._home.wake_ups.post(self._cancel)

    def wake(self) -> None:
        """Tell all sleepers to look again. the background thread only."""
        sleepers = self._sleepers
        while sleepers:
            sleepers.pop().wake()

    @property
    def slept_on(self) -> bool:
        """Somebody sleeps until there is news."""
        return bool(self._sleepers)

    def lose(self, *, wake: bool = True) -> None:
        """Answer with ConnectionLost, because the background loop closed. Without `wake`, who sleeps sleeps on.

        They are in another process.
        """
        if not wake:
            self._sleepers.clear()
        error = ConnectionLost("the background loop closed while the call was on it; ask again, a new one starts by itself")
        if self._answer(error) and self.task is None:
            self._coro.close()

    async def until(self, ready: Callable[[], object]) -> None:
        """Depart and sleep on the running loop until `ready()`; if cancelled, until the task is over, then raise that cancellation."""
        self.depart()
        cancelled: asyncio.CancelledError | None = None
        while not (self.over or (cancelled is None and ready())):
            sleeper = LoopSleeper()
            self._sleepers.append(sleeper)
            if self.over or (cancelled is None and ready()):
                break
            try:
                await sleeper.future
            except asyncio.CancelledError as exc:
                cancelled = exc
                self.ask_cancel()
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled  # a frame that holds its own exception is a cycle

    def until_in_thread(self, ready: Callable[[], object]) -> None:
        """Depart and block this thread until `ready()` or over.

        Ctrl-C, or whatever a signal handler raises, cancels the task, waits until it is over, and is raised again. A second Ctrl-C
        cancels the task's cleaning up as well and waits no longer.
        """
        self._home.refuse_to_block()
        with blocked():
            try:
                self.depart()
                self._block(ready)
            except BaseException:
                self.depart()  # it may have been interrupted half done; the start counts once
                self.ask_cancel()
                try:
                    self._block(never)
                except BaseException:
                    self.ask_cancel()
                    raise
                raise

    def _block(self, ready: Callable[[], object]) -> None:
        while not (self.over or ready()):
            sleeper = ThreadSleeper()
            self._sleepers.append(sleeper)
            if self.over or ready():
                return
            while not sleeper.sleep():
                self._home.check()

    def result(self) -> T:
        """What the coroutine returned; raises what it raised. Once over."""
        error, self.error = self.error, None
        if error is None:
            return self.value  # type: ignore[return-value]  # None only if the coroutine returned it
        try:
            raise error
        finally:
            del error  # a frame that holds its own exception is a cycle

    def _start(self) -> None:
        if self.over or self.task is not None:
            if self.over:
                self._home.crossings.discard(self)
            return
        try:
            self.task = self._home.loop.create_task(self._coro, context=self._context)
        except Exception as exc:  # noqa: BLE001 - the caller's own mistake (not a coroutine) belongs to the caller
            self._answer(exc)
            return
        # On completion, not from inside the coroutine: a task cancelled before its first step never runs a line of it.
        self.task.add_done_callback(self._arrive, context=self._context)

    def _cancel(self) -> None:
        if self.task is not None and not self.task.done():
            self.heard = True
            self.task.cancel()

    def _arrive(self, task: asyncio.Task[T]) -> None:
        self.task = None  # it holds its exception, whose traceback will hold the caller's frame, which holds us
        error: BaseException | None
        try:
            error = task.exception()
        except asyncio.CancelledError as cancelled:
            error = cancelled if self.heard else stray(cancelled)
        if error is None:
            self.value = task.result()
        self._answer(error)

    def _answer(self, error: BaseException | None) -> bool:
        """Close the crossing, once; True if this was the time."""
        try:
            self._home.crossings.remove(self)
        except KeyError:
            return False
        self.error = error
        self.over = True
        self.wake()
        return True


def stray(cancelled: asyncio.CancelledError) -> ConnectionLost:
    """The error that a cancellation nobody asked for becomes.

    A transport that is torn down, or a loop that shuts down, cancels what runs on it; passed on as it is, the caller's task would look
    cancelled, and its TaskGroup or timeout would believe so. The connection is what was lost; whether it was paid for is unknown.
    """
    error = ConnectionLost(
        "the call was cancelled on the background loop by something other than its caller (a transport torn down under it, "
        "or the loop shutting down); it may be asked again"
    )
    error.__cause__ = cancelled
    return error


def never() -> bool:
    """Nothing is waited for but the end."""
    return False
