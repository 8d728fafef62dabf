"""Joins a target's calls to what other processes know and do: the limits that all share, and what all have seen of it.

The limits themselves are kept by `concurrency` and `rate`, from slices that `source` leases; this counts how calls end, for all to know,
and refuses while nobody can say what is left and that is not to be risked. It stands outside the queues: who is refused has waited for
nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

from surefoot.core.stack import Guard
from surefoot.core.stream import Outcome
from surefoot.errors import AttemptTimedOut, ConnectionLost, Exhausted, Interrupted, MalformedReply, Overloaded, Refused
from surefoot.types import Call

FAILURES = (Overloaded, ConnectionLost, AttemptTimedOut, MalformedReply)  # as the breaker counts them


class SharedSource(Protocol):
    """What takes part for this process."""

    def begin(self) -> str:
        """A call comes. Why it must not be sent now; "" if it may be."""

    def end(self, *, ok: bool | None) -> None:
        """It has finished: well, by the target's failure, or (None) in a way that says nothing of the target."""

    def describe(self) -> str:
        """One phrase, without passwords."""


class Shared(Guard):
    """One target's part in what processes share: `Shared(target="openai:m", source=...)`. Without a source it does nothing."""

    def __init__(self, *, target: str = "", source: SharedSource | None = None) -> None:
        self.target = target
        self.source = source
        self._out = 0

    def idle(self) -> bool:
        """True if no call is under way."""
        return self._out == 0

    def describe(self) -> str:
        """The settings, for `describe()`."""
        return "shared: nothing" if self.source is None else f"shared: {self.source.describe()}"

    def acquire(self, call: Call[Any], now: float) -> None:
        """Let the call go on to the queues. Raises Refused (nothing sent) where limits are unknown and must not be guessed."""
        del call, now
        if self.source is not None and (reason := self.source.begin()):
            raise Refused(f"{self.target}: {reason}; nothing was sent", retry_after_s=1.0)
        self._out += 1

    def release(self, call: Call[Any], held: None, outcome: Outcome, now: float) -> None:
        """The call has finished."""
        del call, held, now
        self._out -= 1
        if self.source is None:
            return
        error = outcome.error
        if isinstance(error, Interrupted):
            error = error.__cause__
        elif isinstance(error, Exhausted):
            error = error.last
        self.source.end(ok=True if outcome.complete else False if isinstance(error, FAILURES) else None)
