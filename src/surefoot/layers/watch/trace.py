"""The outermost layer: says when a call starts and ends, and puts the sum of its attempts on the reply.

For a stream the end is when it has finished, not when its first token arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from msgspec.structs import replace

from surefoot.core.stack import Handler
from surefoot.core.stream import Outcome, Stream
from surefoot.errors import ContentRefused, SurefootError
from surefoot.events import CallEnded, CallStarted, emit
from surefoot.types import AttemptRecord, Call, CallState, ChatReply, ChatRequest, EmbedReply
from surefoot.types.calls import loop_of
from surefoot.usage.bounds import model_asked


def cost_of(trail: Iterable[AttemptRecord]) -> float | None:
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


def summed(reply: Any, state: CallState) -> Any:
    """`reply` (ChatReply or EmbedReply) with the attempts, cost and trail of the whole call."""
    return replace(reply, attempts=state.attempts, cost_usd=cost_of(state.trail), trail=tuple(state.trail))


class Trace:
    """Tells CallStarted and CallEnded, and completes the reply, or the error with its `attempts`: `Trace()`.

    A plain reply comes back with `attempts`, `cost_usd` and `trail` set. A stream's whole reply is left in `call.state.reply`
    once it has ended; a broken or abandoned one leaves none, so that nothing partial passes for whole.
    """

    def describe(self) -> str:
        """One line for `describe()`."""
        return "trace: events, cost and trail of the call"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask, and keep the books."""
        loop = call.state.loop = asyncio.get_running_loop()
        started = call.state.begun_at = loop.time()
        kind = "chat" if isinstance(call.request, ChatRequest) else "embed"
        emit(call, CallStarted, kind=kind, stream=call.stream, tenant=call.tenant)
        try:
            answer = await inner(call)
        except BaseException as error:
            self._ended(call, Outcome(error=error), started=started)
            raise
        if isinstance(answer, Stream):
            answer.watch(partial(self._ended, call, started=started, first_token_s=loop.time() - started))
            return answer
        reply = summed(answer, call.state)
        self._ended(call, Outcome(reply=reply), started=started)
        return reply

    def _ended(self, call: Call[Any], outcome: Outcome, *, started: float, first_token_s: float | None = None) -> None:
        """The call has finished."""
        state = call.state
        stream, error = outcome.stream, outcome.error
        if isinstance(error, SurefootError) and state.attempts:
            error.attempts = state.attempts
            if isinstance(error, ContentRefused) and error.reply is not None:
                error.reply = summed(error.reply, state)
        reply: ChatReply | EmbedReply | None = None
        if stream is None:
            reply = outcome.reply
        elif outcome.complete:
            reply = state.reply = replace(summed(outcome.reply, state), cached=state.is_cached)
        if not state.listeners:
            return
        emit(
            call,
            CallEnded,
            target=reply.target if reply is not None else stream.target if stream is not None else _last_target(state),
            model=reply.model if reply is not None else "",
            asked=model_asked(call.request),
            # A reader who walks away has cancelled, as far as anybody can tell from outside.
            error="CancelledError" if outcome.cancelled else type(error).__name__ if error is not None else "",
            seconds=loop_of(call).time() - started,
            first_token_s=first_token_s,
            attempts=state.attempts,
            hedges=state.hedges,
            cached=reply.cached if reply is not None else False,
            usage=outcome.usage,
            cost_usd=reply.cost_usd if reply is not None else cost_of(state.trail),
            tenant=call.tenant,
            tags=call.tags,
            trail=reply.trail if reply is not None else tuple(state.trail),
        )


def _last_target(state: CallState) -> str:
    return state.trail[-1].target if state.trail else ""
