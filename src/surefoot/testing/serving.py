"""A provider for a simulated world: how each request is served is a function of the call, and what it held and answered is in its books."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.core.stream import Stream, open_stream
from surefoot.errors import ConnectionLost, SurefootError
from surefoot.testing.scripted import vectors
from surefoot.types import Call, ChatReply, ChatRequest, Delta, EmbedReply, EmbedRequest, Traits, Usage

DIMENSIONS = 4  # of its embeddings: enough to tell texts apart
SPACE = f"texts:{DIMENSIONS}"  # made from the texts alone, so one space for all providers


class Serving(Struct, Documented, frozen=True, kw_only=True):
    """How one request is served: an answer after `after_s`, or `fault` in its place.

    In a stream `fault` comes after `breaks_at` deltas (0: before the first); `is_cut`: there it ends cleanly without its terminal marker;
    `stalls`: there it falls silent. A plain answer that is cut is a ConnectionLost.
    """

    after_s: float = 0.1
    """Seconds before the answer, or before a stream's first delta."""
    gap_s: float = 0.01
    """Seconds before each later delta of a stream."""
    fault: SurefootError | None = None
    """The error raised in place of an answer, or in the middle of a stream. None: no error."""
    breaks_at: int = 0
    """Of a stream: how many deltas come before it goes wrong; 0: none."""
    is_cut: bool = False
    """It ends without the mark that says it is whole."""
    stalls: bool = False
    """It falls silent and never ends."""

    @property
    def breaks(self) -> bool:
        """True if it does not end well."""
        return self.fault is not None or self.is_cut or self.stalls


class ServingProvider:
    """A provider that serves as `serve(call)` says: `ServingProvider("a:m", serve=lambda call: Serving(after_s=0.2))`.

    Each answer repeats what was asked, so that nobody gets another's; so do its vectors. `requests`, `started_s` (the loop's clock),
    `in_flight`, `peak`, `open_streams` and `answered` are its books; `headers()` leaves rate-limit headers as a real provider does.
    """

    def __init__(
        self,
        name: str,
        *,
        serve: Callable[[Call[Any]], Serving],
        traits: Traits | None = None,
        headers: Callable[[], dict[str, str]] | None = None,
        usage: Usage | None = None,
    ) -> None:
        self.name = name
        self.serve = serve
        self.traits = traits or Traits(space=SPACE)
        self.headers = headers
        self.usage = usage or Usage(input_tokens=10, output_tokens=5)
        self.started_s: list[float] = []
        self.keeps_times = True
        self.requests = 0
        self.in_flight = 0
        self.open_streams = 0
        self.peak = 0
        self.answered = 0
        self.embedded = 0  # of these

    def idle(self) -> bool:
        """True if nothing is under way here."""
        return self.in_flight == 0 and self.open_streams == 0

    async def chat(self, call: Call[ChatRequest]) -> ChatReply | Stream:
        """One exchange."""
        serving = self._taken(call)
        if call.stream:
            return await open_stream(_ServedStream(self, serving, _words(call)), target=self.name)
        await self._whole(call, serving)
        return ChatReply(text="".join(_words(call)), usage=self.usage, model=self.name, target=self.name)

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """One exchange: vectors made from the texts alone (`surefoot.testing.vectors`)."""
        await self._whole(call, self._taken(call))
        self.embedded += 1
        matrix = vectors(call.request.texts, DIMENSIONS)
        usage = Usage(input_tokens=self.usage.input_tokens)
        return EmbedReply(vectors=matrix, usage=usage, model=self.name, target=self.name, space=self.traits.space)

    def _taken(self, call: Call[Any]) -> Serving:
        self.requests += 1
        if self.keeps_times:
            self.started_s.append(asyncio.get_running_loop().time())
        return self.serve(call)

    async def _whole(self, call: Call[Any], serving: Serving) -> None:
        """The time of an answer in one piece, or its fault."""
        self.enter()
        try:
            if serving.stalls:
                await asyncio.sleep(1e9)
            await asyncio.sleep(serving.after_s)
            if self.headers is not None:
                call.state.rate_headers = self.headers()
            if serving.breaks:
                raise serving.fault or ConnectionLost("the answer was cut", target=self.name)
        finally:
            self.in_flight -= 1
        self.answered += 1

    def enter(self) -> None:
        """One more under way."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    async def aclose(self) -> None:
        """Nothing to close."""


class _ServedStream:
    """A stream under way."""

    __slots__ = ("_at", "_open", "_provider", "_serving", "_words")

    def __init__(self, provider: ServingProvider, serving: Serving, words: list[str]) -> None:
        self._provider = provider
        self._serving = serving
        self._words = words
        self._at = 0
        self._open = True
        provider.enter()
        provider.open_streams += 1

    async def __anext__(self) -> Delta:
        serving, at = self._serving, self._at
        if serving.breaks and at >= serving.breaks_at:
            if serving.stalls:
                await asyncio.sleep(1e9)
            await asyncio.sleep(serving.after_s if at == 0 else serving.gap_s)
            self._end()
            if serving.fault is not None:
                raise serving.fault
            raise StopAsyncIteration
        if at > len(self._words):
            self._provider.answered += 1
            self._end()
            raise StopAsyncIteration
        await asyncio.sleep(serving.after_s if at == 0 else serving.gap_s)
        self._at += 1
        if at == len(self._words):
            return Delta(finish_reason="stop", usage=self._provider.usage, model=self._provider.name)
        return Delta(text=self._words[at])

    async def aclose(self) -> None:
        self._end()

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._provider.in_flight -= 1
            self._provider.open_streams -= 1


def _words(call: Call[Any]) -> list[str]:
    """The answer to `call`, in pieces."""
    return ["re: ", *(word + " " for word in call.request.messages[-1].text.split())]
