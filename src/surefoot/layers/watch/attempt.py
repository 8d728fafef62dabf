"""Counts one wire attempt and writes it into the call's trail: when, how long, what it used, what it cost.

It stands inside budget and breaker, so that what they refuse is not counted as sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from surefoot.core.stack import Guard
from surefoot.core.stream import Outcome
from surefoot.errors import AuthFailed, Fault, NotFound, QuotaExhausted
from surefoot.events import AttemptEnded, emit
from surefoot.types import AttemptRecord, Call, CallState, Usage
from surefoot.usage.billing import Guess, used
from surefoot.usage.bounds import model_asked

_log = logging.getLogger(__name__)
_refused: set[str] = set()  # targets that refused for good and have not answered since; on the background loop only

Price: TypeAlias = Callable[[Usage, str], float | None]  # tokens and the model asked ("" the target's own) -> US dollars, None if unknown
Ready: TypeAlias = Callable[[str], Coroutine[Any, Any, None] | None]  # what reads the price of the model asked; None: it is at hand


class Attempt(Guard):
    """Writes the trail: `Attempt(target="openai:m", price=price)`.

    `price(usage, model)` gives US dollars, or None where the price is unknown; `ready(model)` gives what must be awaited before it is
    asked. A layer that wants to know when the wire attempt really began (a hedge counts from here, not from entry into a queue) leaves a
    callable in `call.state.on_dispatch` under its own task, in which the attempt runs too; it is called once, with
    nothing. `guess(request, text)` counts the tokens of an answer that was cut or left before the provider could; such usage is flagged
    as estimated, never 0.
    """

    def __init__(self, *, target: str = "", price: Price | None = None, guess: Guess | None = None, ready: Ready | None = None) -> None:
        self.target = target
        self.price = price
        self.ready = ready
        self.guess = guess

    def describe(self) -> str:
        """One line for `describe()`."""
        return f"attempt: recorded, {'priced' if self.price is not None else 'no price'}"

    def acquire(self, call: Call[Any], now: float) -> Any:
        """Write down that the attempt begins."""
        model = model_asked(call.request)
        if model and self.ready is not None and (reading := self.ready(model)) is not None:
            return self._read(call, reading, model)
        return self._begin(call, now, model)

    async def _read(self, call: Call[Any], reading: Awaitable[None], model: str) -> AttemptRecord:
        """The same, once the price of another model has been read."""
        await reading
        return self._begin(call, asyncio.get_running_loop().time(), model)

    def _begin(self, call: Call[Any], now: float, model: str) -> AttemptRecord:
        state = call.state
        state.attempts += 1
        record = AttemptRecord(
            number=state.attempts,
            target=self.target,
            kind="hedge" if call.hedged else state.next_kind,
            wait_s=0.0 if call.hedged else _waited_s(state, now),
            started_s=now,
            model=model,
        )
        state.trail.append(record)
        waiting = state.on_dispatch
        if waiting and not call.hedged and (told := waiting.pop(asyncio.current_task(), None)) is not None:
            told()
        return record

    def release(self, call: Call[Any], held: AttemptRecord, outcome: Outcome, now: float) -> None:
        """The attempt has finished."""
        record = held
        record.seconds = now - record.started_s
        error = outcome.error
        if outcome.cancelled:
            record.error = "CancelledError"
        elif error is not None:
            record.error = type(error).__name__
            if isinstance(error, AuthFailed | QuotaExhausted) or (isinstance(error, NotFound) and not record.model):
                self._refused_for_good(error)
        elif _refused:
            _refused.discard(self.target)
        usage = used(call, outcome, self.guess)
        if usage is not None:
            record.usage = usage
            if self.price is not None:
                record.cost_usd = outcome.cost_usd = self.price(usage, record.model)
        emit(call, AttemptEnded, attempt=record, tenant=call.tenant, tags=call.tags)

    def _refused_for_good(self, error: Fault) -> None:
        """Warn, once until the target answers again: behind a fallback or a cache nobody would notice."""
        if self.target not in _refused:
            _refused.add(self.target)
            why = (
                "refuses its key"
                if isinstance(error, AuthFailed)
                else "has no quota left"
                if isinstance(error, QuotaExhausted)
                else "is gone"
            )
            _log.warning("%s %s, so every call to it fails or goes to the next target: %s", self.target, why, error)


def _waited_s(state: CallState, now: float) -> float:
    """Seconds since the attempt was wanted: since the call began, or the attempt before it ended; in queues as between retries."""
    since = now - state.next_wait_s if state.begun_at is None else state.begun_at
    for one in state.trail:
        if one.seconds is not None and one.started_s + one.seconds > since:
            since = one.started_s + one.seconds
    return round(now - since, 6)
