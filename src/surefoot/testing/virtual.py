"""Virtual time: a loop whose clock leaps to the next timer whenever nothing else is ready. No real sleeping, and no threads."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

STUCK_S = 10.0  # real seconds without any timer or news: everybody waits for somebody


class _LeapingSelector(selectors.BaseSelector):
    """Instead of sleeping until the next timer, puts the clock there."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As the real one."""
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As the real one."""
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """As the real one."""
        return self._real.get_map()

    def close(self) -> None:
        """As the real one."""
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; if nothing is, `timeout` seconds have passed. Raises RuntimeError when nothing can ever happen."""
        if timeout is None:
            events = self._real.select(STUCK_S)
            if not events:
                raise RuntimeError("every task waits and no timer is set: nothing can ever happen again")
            return events
        alone = len(self._real.get_map()) <= 1  # only the loop's own wake-up pipe: nobody to hear from, no system call needed
        events = [] if alone else self._real.select(0)
        if not events and timeout > 0:
            self.now_s += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, starting at 0.0. Threads are not waited for: the clock leaps while they work."""

    def __init__(self) -> None:
        self._leaping = _LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._leaping.now_s

    def leap(self, seconds: float) -> None:
        """Put the clock forward (a suspended machine) or back (a clock that was set); timers keep their moments."""
        self._leaping.now_s += seconds


def virtual_run(coro: Coroutine[Any, Any, T]) -> T:
    """Run `coro` in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coro)
