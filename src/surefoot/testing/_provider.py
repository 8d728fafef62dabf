"""The provider under the contract, and how its promises ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from surefoot.core.stream import Stream, collect
from surefoot.errors import SurefootError
from surefoot.testing.wire import Ask, PlainAnswer, WireFault, WireSim
from surefoot.types import Call, CallState, ChatReply, ChatRequest, Delta, EmbedReply, EmbedRequest, Message, Tool

Kinds: TypeAlias = type[SurefootError] | tuple[type[SurefootError], ...]

CAPABILITIES: dict[str, str] = {
    "server": "a wire simulator stands behind it, so that answers can be scripted and requests counted",
    "chat": "it answers",
    "embed": "it embeds",
    "system": "standing instructions and earlier turns reach the model",
    "stop": "stop sequences end an answer",
    "max_tokens": "an answer can be bounded",
    "tools": "it calls tools",
    "raw_arguments": "a call's arguments travel as text, so that they may be broken JSON",
    "schema": "it answers in a given shape",
    "vision": "it sees pictures",
    "pdf": "it reads PDFs",
    "sounds": "it hears recordings",
    "speech": "it speaks, and bills audio tokens",
    "thinking": "it thinks when asked to, and bills those tokens apart",
    "dimensions": "vectors come in the size asked for",
    "as_is": "vectors come without being scaled, where that is asked for",
}
NOTICED_S = 30.0  # how long a server may take to notice a hang-up; it takes milliseconds, unless the machine stands still
WEATHER = Tool.of(
    "weather", "The weather somewhere", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)  # fmt: skip
CLOCK = Tool.of("clock", "The time somewhere", {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]})


class ProviderUnderTest:
    """One provider and what is known of it. See ProviderContract for the fields."""

    def __init__(
        self,
        provider: Any,
        *,
        sim: WireSim | None,
        cannot: Mapping[str, str],
        question: str,
        thinker: Mapping[str, Any],
        speaker: Mapping[str, Any],
        secrets: tuple[str, ...],
    ) -> None:
        self.provider = provider
        self.sim = sim
        self.cannot = dict(cannot)
        self.question = question
        self.thinker = dict(thinker)
        self.speaker = dict(speaker)
        self.secrets = secrets
        self.heard: list[Ask] = []  # what the server understood, request by request
        self.saying: PlainAnswer | None = None  # what it says where the script says nothing; None: it thinks for itself

    @property
    def server(self) -> WireSim:
        """The simulator; only promises that need "server" may ask for it."""
        assert self.sim is not None, "this promise needs a server"
        return self.sim

    def begin(self) -> None:
        """Forget what happened before."""
        self.heard.clear()
        self.saying = None
        if self.sim is not None:
            self.sim.reset()
            self.sim.answer = self._hear

    def _hear(self, ask: Ask) -> PlainAnswer | None:
        self.heard.append(ask)
        return self.saying and replace(self.saying)

    def script(self, plan: PlainAnswer | WireFault | str | list[Any]) -> None:
        """Say what the server answers from now on; nothing where there is none."""
        if self.sim is not None:
            self.sim.clear_script()
            self.sim.script(plan)

    def request(self, *messages: Message | str, **fields: Any) -> ChatRequest:
        """A request; without messages it asks the contract's question."""
        said = messages or (self.question,)
        return ChatRequest(messages=tuple(Message.user(one) if isinstance(one, str) else one for one in said), **fields)

    async def open(self, request: ChatRequest) -> Stream:
        """An opened stream."""
        stream = await self.provider.chat(asking(request, stream=True))
        assert isinstance(stream, Stream), f"a stream was asked for, {type(stream).__name__} came"
        return stream

    async def ask(self, request: ChatRequest, *, stream: bool) -> ChatReply:
        """The whole answer, asked whole or streamed."""
        if stream:
            return await collect(await self.open(request))
        reply = await self.provider.chat(asking(request))
        assert isinstance(reply, ChatReply), f"a whole answer was asked for, {type(reply).__name__} came"
        return reply

    async def both(self, request: ChatRequest) -> tuple[ChatReply, ChatReply]:
        """The same, asked whole and streamed."""
        return await self.ask(request, stream=False), await self.ask(request, stream=True)

    async def embed(self, *texts: str, **fields: Any) -> EmbedReply:
        """The vectors of `texts`."""
        reply = await self.provider.embed(asking(EmbedRequest(texts=texts, **fields)))
        assert isinstance(reply, EmbedReply), f"vectors were asked for, {type(reply).__name__} came"
        return reply

    async def failure(self, what: str, asked: Awaitable[Any], kinds: Kinds) -> Any:
        """The error of `asked`, which must be one of `kinds` and say something."""
        caught: SurefootError | None = None
        try:
            await asked
        except SurefootError as error:
            caught = error
        assert isinstance(caught, kinds), f"{what}: {caught!r} where {kinds} belongs"
        assert str(caught), f"{what}: an error without a word"
        return caught

    async def refuses(self, what: str, asked: Awaitable[Any], *, kinds: Kinds) -> None:
        """`asked` must raise one of `kinds`, and nothing may have been sent."""
        before = self.sim.request_count if self.sim is not None else 0
        await self.failure(what, asked, kinds)
        sent = self.sim.request_count - before if self.sim is not None else 0
        assert sent == 0, f"{what}: refused only after {sent} requests"

    def last_size_bytes(self) -> int:
        """The size of the body that answered the last request, asked of the simulator once more, without a wire."""
        reply = self.server.serve(self.server.requests[-1])
        if reply.on_end is not None:
            reply.on_end(0, True)
        return sum(map(len, reply.chunks or (reply.body,)))

    async def idle(self) -> None:
        """Wait until the server has no request under way: every connection of a call that was left is closed."""
        assert await asyncio.to_thread(self.server.wait_idle, NOTICED_S), "the server still serves a call that was left"


class Promise(Struct, frozen=True):
    """One promise: what to run, and the capabilities without which it means nothing."""

    run: Callable[[ProviderUnderTest], Awaitable[None]]
    needs: tuple[str, ...]


Promises: TypeAlias = dict[str, Promise]


def needing(
    promises: Promises, *needs: str
) -> Callable[[Callable[[ProviderUnderTest], Awaitable[None]]], Callable[[ProviderUnderTest], Awaitable[None]]]:
    """Write the decorated coroutine function down in `promises`, under its own name."""

    def note(run: Callable[[ProviderUnderTest], Awaitable[None]]) -> Callable[[ProviderUnderTest], Awaitable[None]]:
        promises[run.__name__] = Promise(run, needs)
        return run

    return note


def asking(request: Any, *, stream: bool = False) -> Call[Any]:
    """A call of `request` with a state of its own."""
    return Call(request=request, state=CallState(), stream=stream)


def text_of(deltas: list[Delta]) -> str:
    """The text of several deltas."""
    return "".join(delta.text for delta in deltas)
