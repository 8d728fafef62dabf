"""Restarts a stream that broke after its first token, on another target, and says so. Opt-in.

It stands outside fallback and is the one exception to "after the first token nobody asks again". Why opt-in: the reader has seen part of
an answer and gets another one from its beginning, which costs twice and must be shown as what it is. So the restart is announced by a
delta with `marker="resumed"` (drop what you have) and by an event; the whole reply holds only what came after it: never a silent splice.
"""

from __future__ import annotations

from typing import Any

from surefoot.core.stack import Handler
from surefoot.core.stream import Stream, open_stream
from surefoot.errors import Interrupted, SurefootError, Transient
from surefoot.events import Resumed, emit
from surefoot.types import Call, Delta

TIMES = 1  # a second break in one answer says more about the answer or the network here than about a target


class Resume:
    """Restarts broken streams: `Resume(times=1, attempts=6)`.

    `attempts` bounds the wire attempts of the whole call (None: no bound). The target that broke goes to the end of fallback's list
    (`call.state.broken_targets`). If the restart fails too, the reader gets the first Interrupted, with the restart's failure as cause.
    """

    def __init__(self, *, times: int = TIMES, attempts: int | None = None) -> None:
        self.times = times
        self.attempts = attempts

    def describe(self) -> str:
        """One line for `describe()`."""
        return f"resume: a broken stream is restarted elsewhere, {self.times} time(s)"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask; stand behind a stream until its end."""
        answer = await inner(call)
        if not isinstance(answer, Stream):
            return answer
        return await open_stream(_Resuming(self, call, inner, answer), target=answer.target)


class _Resuming:
    """A stream that is replaced by another when it breaks."""

    __slots__ = ("_call", "_inner", "_layer", "_left", "_stream")

    def __init__(self, layer: Resume, call: Call[Any], inner: Handler, stream: Stream) -> None:
        self._layer = layer
        self._call = call
        self._inner = inner
        self._stream = stream
        self._left = layer.times

    async def __anext__(self) -> Delta:
        """The next delta, or the marker that says the answer begins anew."""
        try:
            return await self._stream.__anext__()
        except Interrupted as broken:
            if not self._may_restart(broken):
                raise
            return await self._restart(broken)

    def _may_restart(self, broken: Interrupted) -> bool:
        bound = self._layer.attempts
        time_left = bound is None or self._call.state.attempts < bound
        return self._left > 0 and time_left and isinstance(broken.__cause__, Transient)

    async def _restart(self, broken: Interrupted) -> Delta:
        self._left -= 1
        state = self._call.state
        state.broken_targets = (*state.broken_targets, broken.target)
        state.next_kind, state.next_wait_s = "resume", 0.0
        try:
            stream = await self._inner(self._call)
        except SurefootError as error:
            raise broken from error
        self._stream = stream
        emit(self._call, Resumed, target=stream.target, characters=len(broken.partial))
        return Delta(marker="resumed", model=stream.target)

    async def aclose(self) -> None:
        """Drop the stream that is being read."""
        await self._stream.aclose()
