"""Counts one wire attempt and writes it into the call's trail: when, how long, what it used, what it cost.

It stands inside budget and breaker, so that what they refuse is not counted as sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from surefoot.events import AttemptEnded, tell
from surefoot.settle import Outcome, settle
from surefoot.stack import Handler
from surefoot.types import Attempt as AttemptRecord
from surefoot.types import Call, Tally, Usage

Price: TypeAlias = Callable[[Usage, str], float | None]  # tokens and the answering model -> US dollars, None if unknown

Guess: TypeAlias = Callable[[Any, str], Usage]  # a request and the text that arrived -> tokens, flagged as estimated


class Attempt:
    """Writes the trail: `Attempt(target="openai:m", price=price)`.

    `price(usage, model)` gives US dollars, or None where the price is unknown. A steerer that wants to know when the wire attempt
    really began (a hedge counts from here, not from entry into a queue) leaves a callable in the dict `call.tally.memo["on_dispatch"]`
    under its own task, in which the attempt runs too; it is called once, with nothing. `guess(request, text)` counts the tokens of an
    answer that was cut or left before the provider could; such usage is flagged as estimated, never 0.
    """

    def __init__(self, *, target: str = "", price: Price | None = None, guess: Guess | None = None) -> None:
        self.target = target
        self.price = price
        self.guess = guess

    def describe(self) -> str:
        """One line for `describe()`."""
        return f"attempt: recorded, {'priced' if self.price is not None else 'no price'}"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask once."""
        tally = call.tally
        tally.attempts += 1
        now = asyncio.get_running_loop().time()
        record = AttemptRecord(
            number=tally.attempts,
            target=self.target,
            kind="hedge" if call.hedged else tally.next_kind,
            wait_s=0.0 if call.hedged else _waited_s(tally, now),
            started_s=now,
        )
        tally.trail.append(record)
        waiting = tally.memo.get("on_dispatch") if tally.memo else None
        if waiting and not call.hedged and (told := waiting.pop(asyncio.current_task(), None)) is not None:
            told()
        return await settle(inner(call), partial(self._ended, call, record))

    def _ended(self, call: Call[Any], record: AttemptRecord, outcome: Outcome) -> None:
        """The attempt is settled."""
        record.seconds = asyncio.get_running_loop().time() - record.started_s
        error = outcome.error
        if outcome.cancelled:
            record.error = "CancelledError"
        elif error is not None:
            record.error = type(error).__name__
        usage = outcome.usage
        if usage is None and self.guess is not None and (outcome.stream is not None or outcome.cancelled):
            partial_text = outcome.stream.so_far().text if outcome.stream is not None else ""
            usage = self.guess(call.request, partial_text)
        if usage is not None:
            record.usage = usage
            if self.price is not None:
                record.cost_usd = self.price(usage, _model_of(outcome))
        tell(call, AttemptEnded, attempt=record, tenant=call.tenant, tags=call.tags)


def _waited_s(tally: Tally, now: float) -> float:
    """Seconds since the attempt was wanted: since the call began, or the attempt before it ended; in queues as between retries."""
    since: float = tally.memo.get("begun_s", now - tally.next_wait_s)
    for one in tally.trail:
        if one.seconds is not None:
            since = max(since, one.started_s + one.seconds)
    return round(now - since, 6)


def _model_of(outcome: Outcome) -> str:
    """The model that answered, as the provider names it; found without folding a stream."""
    if outcome.stream is not None:
        return next((delta.model for delta in reversed(outcome.stream.deltas) if delta.model), "")
    return outcome.reply.model if outcome.reply is not None else ""
