"""A provider that does what its script says: for tests of layers, and of code that uses surefoot.

    provider = Scripted(Overloaded("busy"), Overloaded("busy"), "fine")      # fails twice, then answers, and goes on answering
    provider = Scripted(["Hel", "lo", ConnectionLost("reset")])              # a stream that breaks after two deltas
    provider = Scripted(STALL, times=1)                                      # never answers the first call, answers later ones with "ok"

It serves chat, streams and embeddings, counts what it holds, and waits by the loop's clock alone, so virtual time passes at once.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.core.deltas import from_deltas, to_deltas
from surefoot.core.stream import Stream, open_stream
from surefoot.errors import ConnectionLost, SurefootError
from surefoot.types import Call, CallState, ChatReply, ChatRequest, Delta, EmbedReply, EmbedRequest, Message, Traits, Usage


class Pause(Struct, Documented, frozen=True):
    """Wait so many seconds of the loop's clock, then go on."""

    seconds: float
    """Seconds of the loop's clock, at least 0."""


class StreamCut(Struct, frozen=True):
    """Inside a stream: it ends here, cleanly, without its terminal marker."""


STALL = Pause(1e7)  # four months: no deadline reaches so far
CUT = StreamCut()

Piece: TypeAlias = "str | Delta | BaseException | Pause | StreamCut"
Step: TypeAlias = "Piece | ChatReply | EmbedReply | Sequence[Piece] | type[BaseException] | Callable[[Call[Any]], Any]"


class Scripted:
    """A Provider, and a Handler by itself: `Scripted(*steps, times=..., latency_s=..., delta_gap_s=...)`.

    A step is a text, a reply, an error (instance or class: raised), a Pause or STALL (then "ok"), a sequence of pieces (a stream's deltas,
    pauses, an error in its middle, CUT), or a callable (sync or async) that takes the Call and gives a step. Steps are taken in order;
    the last one is repeated for ever, or, with `times=n`, the whole script n times and "ok" from then on. `latency_s` passes before the
    first token (a number, or a function of the Call), `delta_gap_s` before each later delta, `close_s` while a stream is closed.
    """

    def __init__(
        self,
        *steps: Step,
        times: int | None = None,
        latency_s: float | Callable[[Call[Any]], float] = 0.0,
        delta_gap_s: float = 0.0,
        close_s: float = 0.0,
        name: str = "scripted:model",
        traits: Traits | None = None,
        usage: Usage | None = None,
        dimensions: int = 4,
    ) -> None:
        self._script = deque(steps * times if times is not None else steps)
        self._again: Step = "ok" if times is not None or not steps else steps[-1]
        self._latency_s = latency_s
        self._delta_gap_s = delta_gap_s
        self._close_s = close_s
        self._usage = usage or Usage(input_tokens=10, output_tokens=5)
        self._dimensions = dimensions
        self.name = name
        self.traits = traits or Traits(space=f"{name}:{dimensions}")
        self.seen: list[Call[Any]] = []
        self.started_s: list[float] = []  # when each call arrived, by the loop's clock
        self.in_flight = 0
        self.peak = 0
        self.open_streams = 0
        self.closed = 0  # streams closed before their end
        self.done = 0  # calls answered whole

    @property
    def calls(self) -> int:
        """How many times it was asked: the wire calls."""
        return len(self.seen)

    @property
    def requests(self) -> list[Any]:
        """What was asked, in order."""
        return [call.request for call in self.seen]

    def idle(self) -> bool:
        """True if no call is in flight and no stream is open."""
        return self.in_flight == 0 and self.open_streams == 0

    async def __call__(self, call: Call[Any]) -> Any:
        """Serve `call`, whatever it asks."""
        if isinstance(call.request, EmbedRequest):
            return await self.embed(call)
        return await self.chat(call)

    async def chat(self, call: Call[ChatRequest]) -> ChatReply | Stream:
        """The next step, as a reply or an opened Stream."""
        pieces = await self._next(call)
        if not call.stream:
            deltas = [piece async for piece in _Running(self, pieces)]
            if not deltas or deltas[-1].finish_reason is None:
                raise ConnectionLost("the answer ended in its middle, as the script says", target=self.name)
            return from_deltas(deltas, target=self.name)
        return await open_stream(_ScriptedExchange(self, pieces), target=self.name)

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """The next step; a text stands for vectors made from the request's texts, the same for the same text."""
        pieces = await self._next(call)
        given = next((piece for piece in pieces if isinstance(piece, EmbedReply)), None)
        async for _ in _Running(self, pieces):
            pass
        if given is not None:
            return given
        return EmbedReply(
            vectors=vectors(call.request.texts, self._dimensions),
            usage=Usage(input_tokens=self._usage.input_tokens),
            model=self.name,
            target=self.name,
            space=self.traits.space,
        )

    async def aclose(self) -> None:
        """Nothing to close."""

    async def _next(self, call: Call[Any]) -> list[Any]:
        """The next step as pieces: pauses, deltas, at most one error or CUT."""
        self.seen.append(call)
        self.started_s.append(asyncio.get_running_loop().time())
        step: Any = self._script.popleft() if self._script else self._again
        while callable(step) and not isinstance(step, type):
            step = step(call)
            if isinstance(step, Awaitable):
                self._enter()
                try:
                    step = await step
                finally:
                    self._leave()
        latency_s = self._latency_s(call) if callable(self._latency_s) else self._latency_s
        return ([Pause(latency_s)] if latency_s else []) + self._pieces(step)

    def _pieces(self, step: Any) -> list[Any]:
        if isinstance(step, EmbedReply):
            return [step]
        if isinstance(step, ChatReply | str):
            return self._spaced(to_deltas(step) if isinstance(step, ChatReply) else [*_words(step), self._end()])
        if isinstance(step, type):
            return [step(f"{step.__name__}, as the script says")]
        if isinstance(step, BaseException):
            return [copy.copy(step)]  # one instance in many tasks would mix their tracebacks
        if isinstance(step, Pause):
            return [step, *self._pieces("ok")]
        if isinstance(step, Iterable):
            return self._ended([Delta(text=piece) if isinstance(piece, str) else piece for piece in step])
        raise TypeError(f"a step cannot be {type(step).__name__}")

    def _ended(self, pieces: list[Any]) -> list[Any]:
        """Pieces given one by one, with the terminal marker if they do not end by themselves."""
        last = pieces[-1] if pieces else None
        by_itself = isinstance(last, StreamCut | BaseException) or (isinstance(last, Delta) and last.finish_reason is not None)
        return self._spaced(pieces if by_itself else [*pieces, self._end()])

    def _spaced(self, pieces: Iterable[Any]) -> list[Any]:
        """With a gap before each delta but the first."""
        spaced: list[Any] = []
        begun = False
        for piece in pieces:
            if begun and self._delta_gap_s and isinstance(piece, Delta):
                spaced.append(Pause(self._delta_gap_s))
            begun = begun or isinstance(piece, Delta)
            spaced.append(copy.copy(piece) if isinstance(piece, SurefootError) else piece)
        return spaced

    def _end(self) -> Delta:
        return Delta(finish_reason="stop", usage=self._usage, model=self.name)

    def _enter(self) -> None:
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def _leave(self) -> None:
        self.in_flight -= 1


class _ScriptedExchange:
    """One exchange under way: pieces, one after the other. Held in the books until it ended, failed or was closed."""

    __slots__ = ("_counts_as_stream", "_open", "_pieces", "_provider")

    def __init__(self, provider: Scripted, pieces: list[Any], *, is_stream: bool = True) -> None:
        self._provider = provider
        self._pieces = deque(pieces)
        self._open = True
        self._counts_as_stream = is_stream
        provider._enter()  # noqa: SLF001 - the provider's own books
        provider.open_streams += is_stream

    async def __anext__(self) -> Delta:
        """The next delta, after its pauses. Raises the script's error in its place."""
        while self._open and self._pieces:
            piece = self._pieces.popleft()
            if isinstance(piece, Pause):
                await asyncio.sleep(piece.seconds)
            elif isinstance(piece, BaseException):
                raise piece
            elif isinstance(piece, Delta):
                return piece
            elif isinstance(piece, StreamCut):
                break
        self._end()
        self._provider.done += 1
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Hang up; takes `close_s`."""
        if not self._open:
            return
        self._provider.closed += self._counts_as_stream
        try:
            if self._provider._close_s:  # noqa: SLF001 - the provider's own setting
                await asyncio.sleep(self._provider._close_s)  # noqa: SLF001
        finally:
            self._end()

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._provider._leave()  # noqa: SLF001 - the provider's own books
            self._provider.open_streams -= self._counts_as_stream


class _Running:
    """A plain exchange: its pieces read to the end, its place given back whatever happens."""

    __slots__ = ("_wire",)

    def __init__(self, provider: Scripted, pieces: list[Any]) -> None:
        self._wire = _ScriptedExchange(provider, pieces, is_stream=False)

    def __aiter__(self) -> _Running:
        return self

    async def __anext__(self) -> Delta:
        """The next delta; the place is given back when anything but a delta comes."""
        try:
            return await self._wire.__anext__()
        except BaseException:
            self._wire._end()  # noqa: SLF001 - same module
            raise


def _words(text: str) -> list[Delta]:
    """`text` as one delta a word, spaces kept."""
    words = text.split(" ")
    return [Delta(text=word + (" " if i < len(words) - 1 else "")) for i, word in enumerate(words)]


def vectors(texts: Sequence[str], dimensions: int) -> Any:
    """Unit vectors made from the texts alone: float32 [len(texts), dimensions], equal for equal texts."""
    import numpy as np

    rows = [np.frombuffer(blake2b(text.encode(), digest_size=2 * dimensions).digest(), dtype=np.int16) for text in texts]
    matrix = np.array(rows, dtype=np.float32).reshape(len(texts), dimensions) + np.float32(0.5)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def make_call(
    asked: str | Sequence[str] | ChatRequest | EmbedRequest = "Merhaba",
    *,
    stream: bool = False,
    deadline_s: float | None = None,
    listeners: tuple[Callable[[Any], None], ...] = (),
    state: CallState | None = None,
    **fields: Any,
) -> Call[Any]:
    """A Call: a text is a chat, a list of texts an embedding; `fields` are the Call's own (tenant, priority, others, ...)."""
    request: ChatRequest | EmbedRequest
    if isinstance(asked, ChatRequest | EmbedRequest):
        request = asked
    elif isinstance(asked, str):
        request = ChatRequest(messages=(Message.user(asked),))
    else:
        request = EmbedRequest(texts=tuple(asked))
    return Call(request=request, state=state or CallState(listeners, "t"), stream=stream, deadline_s=deadline_s, **fields)
