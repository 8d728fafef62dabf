"""A store of the caller's own, held to what a cache may cost: what raises, hangs, blocks or gives nonsense is a miss, never the call.

Each operation is waited for at most WAIT_S seconds. After one that hung the store is left alone for PAUSE_S seconds: everything is a miss
at once. Its methods run on a loop and thread of their own, so one that blocks its thread holds up nobody else; they may be plain functions.
Beside an adopted loop, which the store may share with its owner, they run on that loop, and plain functions on a worker thread. `recall`,
`remember` and `held` are asked where the call is: they must answer at once.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from surefoot import runtime
from surefoot.rules.failure_log import FailureLog
from surefoot.storage._own_loop import OwnLoop
from surefoot.types import Store

_log = logging.getLogger(__name__)

WAIT_S = 1.0  # a hit must come faster than the call it saves
PAUSE_S = 5.0  # one call in so many seconds finds out whether it answers again
AWAITED = frozenset({"set_many", "lock", "extend", "unlock", "unlock_failed", "flush"})
INSTANT = frozenset({"recall", "remember", "held"})
PLAIN = frozenset({"describe"})


class GuardedStore:
    """`GuardedStore(store)` has the methods that `store` has; none of them raises."""

    def __init__(self, store: Store, *, wait_s: float = WAIT_S, pause_s: float = PAUSE_S) -> None:
        self._store = store
        self._name = type(store).__name__
        self._wait_s = wait_s
        self._pause_s = pause_s
        self._paused_until = float("-inf")
        self._failed_last = False
        self._failures = FailureLog()
        self._own_loop = OwnLoop(f"surefoot-{self._name}")
        self._left: set[asyncio.Task[Any]] = set()  # given up, but perhaps not over: a strong reference until it is

    @property
    def is_down(self) -> bool:
        """True if the last operation failed, or the store says so itself."""
        return self._failed_last or bool(getattr(self._store, "is_down", False))

    async def get(self, key: str) -> bytes | None:
        """The bytes under `key`; None if there are none, or no telling."""
        return self._bytes("get", await self._ask("get", self._store.get, key))

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Keep `value`, if the store can."""
        await self._ask("set", self._store.set, key, value, ttl_s=ttl_s)

    async def delete(self, key: str) -> None:
        """Forget `key`, if the store can."""
        await self._ask("delete", self._store.delete, key)

    async def aclose(self) -> None:
        """Close the store."""
        await self._ask("aclose", self._store.aclose)

    def __getattr__(self, name: str) -> Any:
        """What else the store can do, as carefully."""
        if name == "get_many" and hasattr(self._store, name):
            return self._get_many
        if name in AWAITED:
            return partial(self._ask, name, getattr(self._store, name))
        if name in INSTANT:
            return partial(self._at_once, name, getattr(self._store, name))
        if name in PLAIN:
            return getattr(self._store, name)
        raise AttributeError(name)

    async def _get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        found = await self._ask("get_many", self._store.get_many, keys)  # type: ignore[attr-defined]  # asked for above
        if found is not None and not (isinstance(found, list | tuple) and len(found) == len(keys)):
            self._note("get_many", f"{type(found).__name__} that does not fit {len(keys)} keys")
            found = None
        return [self._bytes("get_many", one) for one in found] if found is not None else [None] * len(keys)

    def _bytes(self, what: str, value: Any) -> bytes | None:
        if value is None or isinstance(value, bytes):
            return value
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        self._note(what, f"gave {type(value).__name__} where bytes belong")
        return None

    async def _ask(self, what: str, method: Callable[..., Any], *args: Any, **words: Any) -> Any:
        """What `method` gives; None where it raises or does not come in time."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._paused_until:
            return None
        work = _awaited(method, args, words)
        task = loop.create_task(self._own_loop.run(work) if runtime.is_own_home() else work)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._wait_s)
        except asyncio.CancelledError:
            self._leave(task)
            raise
        if not done:
            self._leave(task)
            self._paused_until = loop.time() + self._pause_s
            self._note(what, f"did not answer within {self._wait_s:g} s")
            return None
        if task.cancelled() or task.exception() is not None:
            self._note(what, "was cancelled" if task.cancelled() else f"raised {type(task.exception()).__name__}")
            return None
        self._failed_last = False
        return task.result()

    def _leave(self, task: asyncio.Task[Any]) -> None:
        """Cancel `task` and wait no longer: it may not listen."""
        task.cancel()
        self._left.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that nobody complains that it was not

    def _at_once(self, what: str, method: Callable[..., Any], *args: Any, **words: Any) -> Any:
        try:
            return method(*args, **words)
        except Exception as error:  # noqa: BLE001 - the boundary to foreign code
            self._note(what, f"raised {type(error).__name__}")
            return [] if what == "held" else None

    def _note(self, what: str, why: str) -> None:
        """Remember a failure, and say so in the log, more rarely the longer it lasts."""
        self._failed_last = True
        count = self._failures.count(f"{what} {why}", asyncio.get_running_loop().time())
        if count:
            times = f" ({count} times)" if count > 1 else ""
            _log.warning("the cache's store %s: %s %s%s; the call goes on as if nothing were kept", self._name, what, why, times)


async def _awaited(method: Callable[..., Any], args: tuple[Any, ...], words: dict[str, Any]) -> Any:
    """In a task of its own: also what raises before it gives anything to await."""
    if inspect.iscoroutinefunction(method) or OwnLoop.is_here():
        answer = method(*args, **words)
    else:
        answer = await runtime.in_thread(method, *args, **words)
    return await answer if inspect.isawaitable(answer) else answer
