"""Stores that are opened once per address in a process, however many models name it, and closed by the last one that lets go.

A model built anew for every request would else leave a connection and an exit callback behind each time. A model lets go when it is
closed, or when it is collected; the store is then closed on the background loop.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from surefoot import runtime
from surefoot.models.endpoints import beside

T = TypeVar("T")


class _Entry:
    """A store and how many hold it; the count changes under the lock only."""

    def __init__(self, key: tuple[Any, str], store: Any) -> None:
        self.key = key
        self.store = store
        self.holders = 0


_entries: dict[tuple[Any, str], _Entry] = {}
_lock = threading.Lock()
_collected: deque[_Entry] = deque()  # one holder each that was collected; the collector runs anywhere, so it takes no lock


class OpenedStore(Generic[T]):
    """One holder's claim on the store that `make(address)` gives. Raises what `make` raises; `make` opens nothing yet."""

    __slots__ = ("__weakref__", "_entry", "_finalizer", "store")

    def __init__(self, make: Callable[[str], T], address: str) -> None:
        key = (make, address)
        with _lock:
            entry = _entries.get(key) or _Entry(key, make(address))
        self.store: T = entry.store
        self._entry = entry
        self._finalizer: Any = None
        self.hold()

    def hold(self) -> None:
        """Hold it, again after `release()`; holding it twice is holding it once."""
        entry = self._entry
        with _lock:
            if self._finalizer is None:
                _entries.setdefault(entry.key, entry)
                entry.holders += 1
                self._finalizer = weakref.finalize(self, _let_go_later, entry)
                self._finalizer.atexit = False

    def release(self) -> bool:
        """Let go, once. True for the last holder, who closes the store: nobody who comes later finds it."""
        finalizer, self._finalizer = self._finalizer, None
        return finalizer is not None and finalizer.detach() is not None and _let_go(self._entry)


def _let_go(entry: _Entry) -> bool:
    with _lock:
        entry.holders -= 1
        if entry.holders:
            return False
        if _entries.get(entry.key) is entry:
            del _entries[entry.key]
        return True


def _let_go_later(entry: _Entry) -> None:
    """Without a loop nothing is open, and there is nothing to close: it is let go of by whoever comes next."""
    _collected.append(entry)
    runtime.post(_sweep)


def _sweep() -> None:
    """Let go for the holders that were collected. On the background loop."""
    while _collected:
        entry = _collected.popleft()
        if _let_go(entry):
            beside(entry.store.aclose())


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held the one that was inherited
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
