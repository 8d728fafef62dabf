"""A few daemon threads for work that would block the background loop: SQLite, models, callbacks."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

THREADS = 16  # the work is waiting for a disk or for native code; more threads would only queue for the interpreter lock


class ThreadJob(Generic[T]):
    """One function to be called in a thread for a coroutine that waits on `future`."""

    __slots__ = ("_context", "_fn", "_loop", "dropped", "error", "future", "value")

    def __init__(self, fn: Callable[[], T]) -> None:
        self._fn = fn
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self.future: asyncio.Future[None] = self._loop.create_future()
        self.dropped = False  # nobody waits any more: if it has not begun, it need not
        self.value: T | None = None
        self.error: BaseException | None = None

    def work(self) -> None:
        """Call the function and send word to the loop."""
        if self.dropped:
            return
        try:
            self.value = self._context.run(self._fn)
        except BaseException as exc:  # noqa: BLE001 - carried to whoever awaits it, SystemExit too: a pool thread must not die of it
            self.error = exc
        with suppress(RuntimeError):  # the loop closed meanwhile; nobody waits
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def result(self) -> T:
        """What the function returned; raises what it raised."""
        error = self.error
        if error is None:
            return self.value  # type: ignore[return-value]  # None only if the function returned it
        try:
            raise error
        finally:
            del error  # a frame that holds its own exception is a cycle


class Threads:
    """At most `limit` daemon threads, started when work comes and none is free.

    Not a ThreadPoolExecutor: that one is joined at exit, so a model that hangs would hang the process, and refuses work from then on,
    so a ledger could not be flushed by the exit callbacks.
    """

    def __init__(self, limit: int = THREADS) -> None:
        self._jobs: SimpleQueue[ThreadJob[Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._limit = limit
        self._count = 0
        self._spare = 0  # threads waiting for work that no job has been promised yet
        self._backlog = 0  # jobs that no thread has been promised to yet

    def submit(self, job: ThreadJob[Any]) -> None:
        """Have `job` worked on by the next free thread."""
        self._jobs.put(job)
        with self._lock:
            if self._spare:
                self._spare -= 1
                return
            if self._count >= self._limit:
                self._backlog += 1
                return
            self._count += 1
        self._start()

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """While the calling thread, one of ours, waits for other work, another may take its place."""
        with self._lock:
            self._limit += 1
            wanted = self._backlog > 0
            if wanted:
                self._backlog -= 1
                self._count += 1
        if wanted:
            self._start()
        try:
            yield
        finally:
            with self._lock:
                self._limit -= 1

    def _start(self) -> None:
        """Start a thread, already counted, for a job already in the queue."""
        try:
            threading.Thread(target=self._serve, name="surefoot-worker", daemon=True).start()
        except RuntimeError:  # the interpreter is exiting and starts no more threads: blocking the loop harms nobody now
            with self._lock:
                self._count -= 1
            self._jobs.get().work()

    def _serve(self) -> None:
        _here.threads = self
        while True:
            self._jobs.get().work()
            with self._lock:
                if self._backlog:
                    self._backlog -= 1
                elif self._count > self._limit:
                    self._count -= 1
                    return
                else:
                    self._spare += 1


class _Here(threading.local):
    threads: Threads | None = None  # whose worker this thread is


_here = _Here()


def blocked() -> AbstractContextManager[None]:
    """Wrap a wait for the background loop in this.

    In a worker thread, else sixteen jobs that wait for a seventeenth would wait for ever.
    """
    return nullcontext() if _here.threads is None else _here.threads.replaced()
