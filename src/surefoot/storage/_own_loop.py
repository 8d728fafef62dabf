"""A loop on a thread of its own, for coroutines that are not ours and may block."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

IDLE_S = 5.0  # without work the thread ends: nobody need close it
UNWIND_S = 1.0  # what is cancelled when the thread ends gets to clean up

_here = threading.local()


class OwnLoop:
    """Runs coroutines beside the calling loop. Its thread starts when there is work, and ends after IDLE_S seconds without."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._start_over()

    def _start_over(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()  # over the two below
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way = 0

    @staticmethod
    def is_here() -> bool:
        """True on such a thread."""
        return getattr(_here, "is_own", False)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, in a copy of the caller's context. Cancelled, it has `work` cancelled, and does not wait for that."""
        if self._process != os.getpid():  # a forked child has no such thread
            self._start_over()
        context = contextvars.copy_context()
        with self._lock:
            self._under_way += 1
            loop = self._loop = self._loop or self._started()
            future = asyncio.run_coroutine_threadsafe(self._work(work, context), loop)
        return await asyncio.wrap_future(future)

    async def _work(self, work: Coroutine[Any, Any, T], context: contextvars.Context) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_task(work, context=context)
        finally:
            with self._lock:
                self._under_way -= 1
            loop.call_later(IDLE_S, self._end_if_idle, loop)

    def _end_if_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if not self._under_way and self._loop is loop:
                self._loop = None
                loop.stop()

    def _started(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(target=_serve, args=(loop,), name=self._name, daemon=True).start()
        return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    _here.is_own = True
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=UNWIND_S))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
