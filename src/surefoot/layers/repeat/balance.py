"""Shares the load among equal targets: power of two choices on load and latency, outliers left out for a while, never all.

The decisions are in `rules.pick`. Equal means: the same model behind several keys, regions or hosts. So a call that fails at one goes to
another one of them before fallback looks further; what all of them would refuse alike (a bad request, a prompt too long, content) does not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from surefoot.core.stack import Handler, names_of, traits_of
from surefoot.core.stream import Outcome, Stream
from surefoot.errors import (
    AttemptTimedOut,
    AuthFailed,
    CircuitOpen,
    ConnectionLost,
    DeadlineTooNear,
    Exhausted,
    Interrupted,
    MalformedReply,
    Overloaded,
    QueueFull,
    QuotaExhausted,
    RateLimited,
    SurefootError,
)
from surefoot.events import FellBack, emit
from surefoot.rules.load_balance import LoadBalancer
from surefoot.types import Call, Traits

# A key without credit or access, an open breaker, a full queue and one too long count too: a quick no is no quick answer.
REFUSALS = (CircuitOpen, QueueFull, DeadlineTooNear, AuthFailed, QuotaExhausted)
FAILURES = (Overloaded, ConnectionLost, AttemptTimedOut, MalformedReply, RateLimited, *REFUSALS)


class Balance:
    """Equal targets as one: `Balance(handlers=(a, b), attempts=6)`.

    `names` and `traits` are read off the handlers where left out; `attempts` bounds the wire attempts of the call (None: no bound). Each
    of the equals is asked at most once a call (with its own retries). Raises the error itself when one failure was all, else Exhausted.
    """

    def __init__(
        self,
        *,
        handlers: Sequence[Handler],
        names: Sequence[str] | None = None,
        traits: Sequence[Traits] | None = None,
        attempts: int | None = None,
        draw: Callable[[], float] | None = None,
    ) -> None:
        self.handlers = tuple(handlers)
        self.names = names_of(handlers) if names is None else tuple(names)
        self.traits = (traits_of(handlers) if traits is None else tuple(traits))[0]
        self.name = " | ".join(self.names)
        self.attempts = attempts
        self.draw = draw or random.Random().random  # noqa: S311 - a choice, not a secret
        self._picker = LoadBalancer(len(self.handlers))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._out = 0

    def idle(self) -> bool:
        """True if no call is under way."""
        return self._out == 0

    def describe(self) -> str:
        """One line for `describe()`; the targets follow."""
        return f"balance: {len(self.handlers)} equal targets, {len(self._picker.live)} in use"

    async def __call__(self, call: Call[Any], inner: Handler | None = None) -> Any:  # noqa: ARG002 - it has handlers instead of an inner one
        """Ask the better one of two drawn; another one if it fails."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move(loop)
        errors: list[SurefootError] = []
        asked: list[int] = []
        while True:
            avoid = self._avoid(call, asked) if call.state.broken_targets else asked
            visit = _Visit(self, loop, self._picker.pick(loop.time(), self.draw(), avoid=avoid))
            asked.append(visit.index)
            has_more = len(asked) < len(self.handlers)
            try:
                answer = await self.handlers[visit.index](replace(call, others=True) if has_more and not call.others else call)
            except BaseException as error:
                visit.end(Outcome(error=error))
                if not isinstance(error, SurefootError):
                    raise
                errors.append(error)
            else:
                visit.answered(answer)
                return answer
            last = errors[-1].last if isinstance(errors[-1], Exhausted) else errors[-1]
            has_attempts = self.attempts is None or call.state.attempts < self.attempts
            if not (has_more and has_attempts and isinstance(last, FAILURES)):
                raise Exhausted.of(errors, "equal targets failed") from (None if len(errors) > 1 else errors[0].__cause__)
            call.state.next_kind, call.state.next_wait_s = "fallback", 0.0
            emit(call, FellBack, target=self.names[visit.index], next_target=self.name, cause=type(last).__name__)

    def _avoid(self, call: Call[Any], asked: list[int]) -> list[int]:
        """Those asked before, and (resume) whose stream broke, as long as there is another."""
        broken = call.state.broken_targets
        avoid = {*asked, *(index for index, name in enumerate(self.names) if name in broken)}
        return sorted(avoid) if len(avoid) < len(self.names) else asked

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """A new background loop. If the old one has died, its calls will never end: begin anew."""
        if self._loop is not None and self._loop.is_closed():
            self._picker = LoadBalancer(len(self.handlers))
            self._out = 0
        self._loop = loop


class _Visit:
    """One call at one target: in flight until finished, judged by the time to its answer."""

    __slots__ = ("_begun_s", "_layer", "_loop", "_picker", "_seconds", "index")

    def __init__(self, layer: Balance, loop: asyncio.AbstractEventLoop, index: int) -> None:
        self._layer = layer
        self._picker = layer._picker  # noqa: SLF001 - one layer, two classes
        self._loop = loop
        self.index = index
        self._begun_s = loop.time()
        self._seconds: float | None = None
        layer._out += 1  # noqa: SLF001

    def answered(self, answer: Any) -> None:
        """The first token, or the whole answer, is here; answers differ in length, so this is the time that counts."""
        self._seconds = self._loop.time() - self._begun_s
        if isinstance(answer, Stream):
            answer.watch(self.end)
        else:
            self.end(Outcome(reply=answer))

    def end(self, outcome: Outcome) -> None:
        """The call has finished."""
        layer, picker = self._layer, self._picker
        if picker is not layer._picker:  # noqa: SLF001 - its loop has died, and the books with it
            return
        layer._out -= 1  # noqa: SLF001
        error: BaseException | None = outcome.error
        if isinstance(error, Exhausted):
            error = error.last
        elif isinstance(error, Interrupted):
            error = error.__cause__
        failed = isinstance(error, FAILURES)
        if not failed and self._seconds is None:
            picker.drop(self.index)
            return
        now = self._loop.time()
        picker.record(self.index, latency_s=self._seconds or now - self._begun_s, ok=not failed, now_s=now, draw=layer.draw())
