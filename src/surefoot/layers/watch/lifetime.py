"""A model's calls end when the model is closed, and keep what they need until then.

Connections are shared with other models and stay open for them, as does a client that the caller gave. So closing connections would not
reach a model's own calls: they are told here, whatever they are waiting for.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from surefoot.core.deadlines import CancelScope
from surefoot.core.stream import Outcome, Stream
from surefoot.errors import ConnectionLost, Refused, SurefootError
from surefoot.types import Call

LOOK_S = 0.02  # between two looks whether something is still under way


class Lifetime:
    """Ends every call under way at `end()`: `Lifetime(*held)`. What is `held` lives as long as any call inside does, streams included.

    A call that was sent, or may have been, raises ConnectionLost; a stream that has begun, Interrupted with what arrived; one that comes
    after the end, or had not been sent, Refused (nothing spent). A call may pass the same Lifetime twice: where it waits outside of what
    it asks.
    """

    def __init__(self, *held: object) -> None:
        self._held = held
        self._waiting: dict[CancelScope, Call[Any]] = {}  # calls that have no answer yet
        self._streams: WeakKeyDictionary[Stream, contextvars.Context] = WeakKeyDictionary()  # weak: a stream nobody holds is no call
        self._has_ended = False

    def idle(self) -> bool:
        """True if nothing is under way."""
        return not self._waiting and not self._streams

    def describe(self) -> str:
        """One line for `describe()`."""
        return "lifetime: calls end when the model is closed"

    async def __call__(self, call: Call[Any], inner: Callable[[Any], Awaitable[Any]]) -> Any:
        """Ask, unless the model has been closed."""
        if self._has_ended:
            raise _closed(call)
        scope = CancelScope(math.inf, math.inf, _closed, call)
        self._waiting[scope] = call
        try:
            answer = await inner(call)
        except BaseException as error:
            self._waiting.pop(scope)
            scope.raised(error)
            raise
        self._waiting.pop(scope)
        if scope.fired:
            scope.answered(answer, until_finished=False)
        if isinstance(answer, Stream) and answer.outcome is None:
            self._streams[answer] = contextvars.copy_context()
            answer.watch(self._finished)  # by which the stream holds us
            if self._has_ended:  # in the very step in which the answer came
                answer.fail(_closed(call))
        return answer

    def _finished(self, outcome: Outcome) -> None:
        if outcome.stream is not None:
            self._streams.pop(outcome.stream, None)

    def end(self) -> None:
        """Tell every call under way, at once. On the loop they run on."""
        self._has_ended = True
        for call in self._waiting.values():
            if call.state.attempts and call.state.whole is not None:  # a part of a call, which hears of it too late
                call.state.whole.is_partly_sent = True
        for scope in list(self._waiting):
            scope.fire()
        for stream, context in list(self._streams.items()):
            context.run(stream.fail, ConnectionLost("the model was closed while the stream was being read", target=stream.target))


def _closed(call: Call[Any], _seconds: float = 0.0, _target: str = "") -> SurefootError:
    if call.state.attempts == 0 and not call.state.is_partly_sent:
        return Refused("the model was closed before the call was sent; nothing was spent, and asking it again opens it again")
    return ConnectionLost("the model was closed while the call was under way; asking it again opens it again")


async def until(is_so: Callable[[], bool], bound_s: float) -> None:
    """Wait until it is so, at most `bound_s`."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + bound_s
    while not is_so() and (left_s := until_s - loop.time()) > 0:  # noqa: ASYNC110 - many things tell this, none has an event
        await asyncio.sleep(min(LOOK_S, left_s))
