"""The outermost room: says when a call starts and ends, and puts the sum of its attempts on the reply.

For a stream the end is when it is settled, not when its first token arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from msgspec.structs import replace

from surefoot.bounds import model_asked
from surefoot.events import CallEnded, CallStarted, tell
from surefoot.settle import Outcome, Stream
from surefoot.stack import Handler
from surefoot.types import Attempt, Call, ChatReply, ChatRequest, EmbedReply, Tally


def cost_of(trail: Iterable[Attempt]) -> float | None:
    """US dollars of all attempts together; None if one was billed at an unknown price.

    An attempt without usage (refused, failed before an answer) counts as nothing: no provider bills an error.
    """
    total = 0.0
    for attempt in trail:
        if attempt.cost_usd is not None:
            total += attempt.cost_usd
        elif attempt.usage is not None:
            return None
    return total


def summed(reply: Any, tally: Tally) -> Any:
    """`reply` (ChatReply or EmbedReply) with the attempts, cost and trail of the whole call."""
    return replace(reply, attempts=tally.attempts, cost_usd=cost_of(tally.trail), trail=tuple(tally.trail))


class Trace:
    """Tells CallStarted and CallEnded, and completes the reply: `Trace()`.

    A plain reply comes back with `attempts`, `cost_usd` and `trail` set. A stream's whole reply is left in `call.tally.memo["reply"]`
    once it has ended; a broken or abandoned one leaves none, so that nothing partial passes for whole.
    """

    def describe(self) -> str:
        """One line for `describe()`."""
        return "trace: events, cost and trail of the call"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask, and keep the books."""
        started = call.tally.memo["begun_s"] = asyncio.get_running_loop().time()
        kind = "chat" if isinstance(call.request, ChatRequest) else "embed"
        tell(call, CallStarted, kind=kind, stream=call.stream, tenant=call.tenant)
        try:
            answer = await inner(call)
        except BaseException as error:
            self._ended(call, Outcome(error=error), started=started)
            raise
        if isinstance(answer, Stream):
            answered = asyncio.get_running_loop().time()
            answer.watch(partial(self._ended, call, started=started, first_token_s=answered - started))
            return answer
        reply = summed(answer, call.tally)
        self._ended(call, Outcome(reply=reply), started=started)
        return reply

    def _ended(self, call: Call[Any], outcome: Outcome, *, started: float, first_token_s: float | None = None) -> None:
        """The call is settled."""
        tally = call.tally
        stream = outcome.stream
        reply: ChatReply | EmbedReply | None = None
        if stream is None:
            reply = outcome.reply
        elif outcome.complete:
            reply = tally.memo["reply"] = replace(summed(outcome.reply, tally), cached=bool(tally.memo.get("cached", False)))
        if not tally.listeners:
            return
        error = outcome.error
        tell(
            call,
            CallEnded,
            target=reply.target if reply is not None else stream.target if stream is not None else _last_target(tally),
            model=reply.model if reply is not None else "",
            asked=model_asked(call.request),
            # A reader who walks away has cancelled, as far as anybody can tell from outside.
            error="CancelledError" if outcome.cancelled else type(error).__name__ if error is not None else "",
            seconds=asyncio.get_running_loop().time() - started,
            first_token_s=first_token_s,
            attempts=tally.attempts,
            hedges=tally.hedges,
            cached=reply.cached if reply is not None else False,
            usage=outcome.usage,
            cost_usd=reply.cost_usd if reply is not None else cost_of(tally.trail),
            tenant=call.tenant,
            tags=call.tags,
            trail=reply.trail if reply is not None else tuple(tally.trail),
        )


def _last_target(tally: Tally) -> str:
    return tally.trail[-1].target if tally.trail else ""
