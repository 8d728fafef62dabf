"""ChatModel and EmbedModel: what a user holds. Sync is a view of async; every call runs on the one home loop.

chat = ChatModel("openai:gpt-5-mini", "local:extractive")      in order of preference
chat = ChatModel([a, b], c)                                    a and b share the load as equals, c is the fallback
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypedDict, TypeVar, Unpack

from surefoot import runtime
from surefoot._gather import gather
from surefoot.ask import call_of, chat_request, embed_request
from surefoot.errors import BatchFailed, SurefootError
from surefoot.events import Subscriber
from surefoot.secret import Secret, locals_cleared
from surefoot.target import Policy, Semantic, Target
from surefoot.types import ChatReply, ChatRequest, Delta, EmbedReply, EmbedRole, Message, Schema, Store, Tool, Traits

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from surefoot.ledger import Ledger

    Matrix: TypeAlias = NDArray[np.float32]

TargetLike: TypeAlias = "str | Target | Any"  # Any: an Edge of one's own (surefoot.testing.Scripted)
ChatInput: TypeAlias = "str | Message | Sequence[Message] | ChatRequest"
T = TypeVar("T")


class ChatOptions(TypedDict, total=False):
    """What may be said per call; the same words as ChatRequest's fields, and `deadline_s`, `tags`, `tenant`, `priority`.

    `deadline_s=None` is no deadline, whatever the policy's is; one of an enclosing `scope` holds all the same.
    """

    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    seed: int | None
    reasoning_effort: str
    tools: Sequence[Tool | Mapping[str, Any]]
    tool_choice: str
    parallel_tool_calls: bool | None
    schema: Schema | None
    model: str
    extra: Mapping[str, Any] | str
    deadline_s: float | None
    tenant: str
    priority: str
    tags: Mapping[str, str]


class _Model:
    """What both models share: targets, policy, rooms, subscribers."""

    _kind = "chat"

    def __init__(
        self,
        *targets: TargetLike | Sequence[TargetLike],
        policy: Policy | None = None,
        cache: str | Secret | Store | None = None,
        ledger: str | Path | Ledger | None = None,
    ) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        cache = Secret(cache) if isinstance(cache, str) else cache  # an address may hold a password
        self.policy = policy or Policy()
        from surefoot.rooms import Rooms  # all layers: half of what importing a model would cost, needed once one is built

        with locals_cleared():
            self._rooms = Rooms(targets, policy=self.policy, cache=cache, kind=self._kind)
        self._subscribers: dict[Any, Callable[[Any], None]] = {}
        self._listeners: tuple[Callable[[Any], None], ...] = ()
        if ledger is not None:
            from surefoot.ledger import Ledger as Opened

            self.subscribe(ledger if isinstance(ledger, Opened) else Opened(ledger), inline=True)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets, in order of preference."""
        return self._rooms.names

    @property
    def traits(self) -> Traits:
        """What the first target can do, as its provider knows it: context window, tools, pictures, schemas."""
        return self._rooms.traits

    def describe(self) -> str:
        """The rooms, in order, with their settings; no secrets."""
        return self._rooms.describe()

    def subscribe(self, callback: Callable[[Any], None], *, inline: bool = False) -> Callable[[], None]:
        """Hear every event of this model's calls; returns a function that ends it.

        Callbacks run on a thread of their own, in order; `inline=True` runs them on the home loop where things happen (they must be quick).
        """
        self._subscribers[callback] = callback if inline else Subscriber(callback)
        self._listeners = tuple(self._subscribers.values())

        def end() -> None:
            self._subscribers.pop(callback, None)
            self._listeners = tuple(self._subscribers.values())

        return end

    def flush_events(self) -> None:
        """Block until every subscriber has heard what happened so far."""
        for listener in self._listeners:
            if isinstance(listener, Subscriber):
                listener.flush()

    async def _handle(self, call: Any) -> Any:
        return await (self._rooms.ready() or self._rooms.opening)(call)

    async def aclose(self) -> None:
        """End this model's calls under way (ConnectionLost) and close the connections no other model uses; a later call opens new ones."""
        await runtime.arun(self._rooms.aclose())

    def close(self) -> None:
        """`aclose` for sync callers."""
        runtime.run(self._rooms.aclose())


def _asked(call: Any) -> Any:
    """`call`, asked now: its deadline runs from here, also where the background loop takes it up later."""
    if runtime.crosses():
        call.tally.asked_s = time.monotonic()
    return call


class ChatModel(_Model):
    """A chat model that stays on its feet. Targets in order of preference; a list among them shares the load as equals.

    `cache` is None, "memory", "sqlite:PATH", "redis://...", or a Store; `semantic=Semantic()` answers from it the same question in other
    words too. Raises Misconfigured for an unknown provider, a missing extra or key.
    """

    def __init__(
        self,
        *targets: TargetLike | Sequence[TargetLike],
        policy: Policy | None = None,
        cache: str | Secret | Store | None = None,
        ledger: str | Path | Ledger | None = None,
        semantic: Semantic | None = None,
    ) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        cache = Secret(cache) if isinstance(cache, str) else cache  # an address may hold a password
        super().__init__(*targets, policy=policy, cache=cache, ledger=ledger)
        if semantic is not None:
            given = isinstance(semantic.embed, EmbedModel)
            self._rooms.recognise(semantic, semantic.embed if given else EmbedModel(semantic.embed), owned=not given)

    def invoke(self, prompt: ChatInput, /, **options: Unpack[ChatOptions]) -> ChatReply:
        """Ask and wait, from any thread, also where a loop is running (Jupyter).

        Raises a Refused (nothing spent), a Fault, Exhausted (each attempt's failure in order) or DeadlineExceeded.
        """
        return runtime.run(self._ask(chat_request(prompt, options), options))

    async def ainvoke(self, prompt: ChatInput, /, **options: Unpack[ChatOptions]) -> ChatReply:
        """Ask, from any event loop. Errors as for `invoke`."""
        asked = self._ask(chat_request(prompt, options), options)
        if not runtime.is_home():
            return await runtime.arun(asked)
        try:  # as `arun`, without a coroutine of its own between every caller and every call
            return await asked
        except asyncio.CancelledError as cancelled:
            runtime.check_stray(cancelled)
            raise

    def stream(self, prompt: ChatInput, /, **options: Unpack[ChatOptions]) -> ChatStreamSync:
        """Ask for a stream of Delta; iterate it, then read its `.reply`. Leaving early drops the connection.

        Raises Interrupted (with `.partial`) if it breaks after the first token; before it, retries and fallbacks stay invisible.
        """
        call = _asked(self._call(chat_request(prompt, options), options, stream=True))
        return ChatStreamSync(runtime.pipe_sync(self._handle(call)), call)

    def astream(self, prompt: ChatInput, /, **options: Unpack[ChatOptions]) -> ChatStream:
        """`stream` for async callers: `async for delta in chat.astream(...)`."""
        call = self._call(chat_request(prompt, options), options, stream=True)
        return ChatStream(lambda: runtime.pipe(self._handle(_asked(call))), call)

    def batch(
        self,
        prompts: Iterable[ChatInput],
        /,
        *,
        max_in_flight: int = 64,
        return_exceptions: bool = False,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> list[Any]:
        """`abatch` for sync callers."""
        return runtime.run(self._batch(self._calls(prompts, options), max_in_flight, return_exceptions, progress))

    async def abatch(
        self,
        prompts: Iterable[ChatInput],
        /,
        *,
        max_in_flight: int = 64,
        return_exceptions: bool = False,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> list[Any]:
        """Ask all, at most `max_in_flight` at once; replies in order. One bad prompt does not lose the others.

        With `return_exceptions` a failed one is its error in the list; without, BatchFailed is raised after all have been asked: its
        `.replies` holds the same list, so nothing that was paid for is lost.
        """
        return await runtime.arun(self._batch(self._calls(prompts, options), max_in_flight, return_exceptions, progress))

    def _call(self, request: ChatRequest, options: Mapping[str, Any], *, stream: bool = False) -> Any:
        return call_of(request, options, stream=stream, listeners=self._listeners)

    def _ask(self, request: ChatRequest, options: Mapping[str, Any]) -> Coroutine[Any, Any, ChatReply]:
        call, handler = _asked(self._call(request, options)), self._rooms.ready()
        return self._handle(call) if handler is None else handler(call)  # type: ignore[return-value]  # the first room is a coroutine

    def _calls(self, prompts: Iterable[ChatInput], options: Mapping[str, Any]) -> list[Any]:
        """One Call a prompt; a prompt that cannot be asked at all is its error, in its place."""
        calls: list[Any] = []
        for prompt in prompts:
            try:
                calls.append(self._call(chat_request(prompt, options), options))
            except SurefootError as error:
                calls.append(error)
        return calls

    async def _batch(self, calls: list[Any], max_in_flight: int, return_exceptions: bool, progress: bool) -> list[Any]:  # noqa: FBT001
        replies = await gather(calls, self._handle, max_in_flight=max_in_flight, progress=progress)
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if errors and not return_exceptions:
            raise BatchFailed(f"{len(errors)} of {len(replies)} failed; .replies holds the others", errors, replies=replies)
        return replies


class ChatStream:
    """A streamed answer for async callers: iterate once, then read `.reply`. Also an async context manager."""

    def __init__(self, open_stream: Callable[[], Coroutine[Any, Any, Any]], call: Any) -> None:
        self._open = open_stream
        self._call = call
        self._inner: Any = None
        self._ended = False  # the home loop reads ahead of us; the reply is shown when this reader has seen the end

    def __aiter__(self) -> Self:
        """The stream itself."""
        return self

    async def __anext__(self) -> Delta:
        """The next delta; the first one is asked for here."""
        if self._inner is None:
            self._inner = await self._open()
        try:
            return await self._inner.__anext__()  # type: ignore[no-any-return]
        except StopAsyncIteration:
            self._ended = True
            raise

    @property
    def reply(self) -> ChatReply | None:
        """The whole reply with usage, cost and attempts, once the stream has ended; None before."""
        return self._call.tally.memo.get("reply") if self._ended else None

    async def aclose(self) -> None:
        """Stop reading and drop the connection."""
        if self._inner is not None:
            await self._inner.aclose()

    async def __aenter__(self) -> Self:
        """Nothing is asked before the first delta."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop the connection if the end was not reached."""
        await self.aclose()


class ChatStreamSync(Iterator[Delta]):
    """A streamed answer for sync callers: iterate once, then read `.reply`. Also a context manager."""

    def __init__(self, inner: Any, call: Any) -> None:
        self._inner = inner
        self._call = call
        self._ended = False

    def __iter__(self) -> Self:
        """The stream itself."""
        return self

    def __next__(self) -> Delta:
        """The next delta."""
        try:
            return next(self._inner)  # type: ignore[no-any-return]
        except StopIteration:
            self._ended = True
            raise

    @property
    def reply(self) -> ChatReply | None:
        """The whole reply, once the stream has ended; None before."""
        return self._call.tally.memo.get("reply") if self._ended else None

    def close(self) -> None:
        """Stop reading and drop the connection."""
        self._inner.close()

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the connection if the end was not reached."""
        self.close()


class EmbedModel(_Model):
    """An embedding model that stays on its feet. All targets must share one embedding space, else Misconfigured."""

    _kind = "embed"

    def embed(self, texts: Sequence[str], *, role: EmbedRole = "document", **options: Any) -> Matrix:
        """Embed `texts`, one row each, in order: float32 [len(texts), dim], rows of unit length (L2)."""
        return self.reply(texts, role=role, **options).vectors  # type: ignore[no-any-return]

    async def aembed(self, texts: Sequence[str], *, role: EmbedRole = "document", **options: Any) -> Matrix:
        """`embed` from any event loop.

        Raises ContextTooLong (nothing sent) if a text exceeds the model's limit; BudgetExceeded (nothing spent).
        """
        return (await self.areply(texts, role=role, **options)).vectors  # type: ignore[no-any-return]

    def embed_query(self, text: str, **options: Any) -> Matrix:
        """Embed one query: float32 [dim]; models that treat queries differently do so here."""
        return self.embed([text], role="query", **options)[0]  # type: ignore[no-any-return]

    async def aembed_query(self, text: str, **options: Any) -> Matrix:
        """`embed_query` from any event loop."""
        return (await self.aembed([text], role="query", **options))[0]  # type: ignore[no-any-return]

    def reply(self, texts: Sequence[str], *, role: EmbedRole = "document", **options: Any) -> EmbedReply:
        """`embed` with usage, cost, attempts and the embedding space id."""
        return runtime.run(self._ask(texts, role, options))

    async def areply(self, texts: Sequence[str], *, role: EmbedRole = "document", **options: Any) -> EmbedReply:
        """`reply` from any event loop."""
        return await runtime.arun(self._ask(texts, role, options))

    @property
    def space(self) -> str:
        """The embedding space id: vectors of two models may be compared only if theirs are equal."""
        return self._rooms.space

    async def likeness(self, call: Any, one: str, other: str) -> float:
        """The cosine of two questions, asked on behalf of `call` (its tenant, tags and listeners), on the home loop."""
        request = embed_request((one, other), "query", {})
        said = {"tenant": call.tenant, "priority": call.priority, "tags": dict(call.tags)}
        inner = call_of(request, said, stream=False, listeners=self._listeners or call.tally.listeners)
        vectors = (await self._handle(inner)).vectors
        return float(vectors[0] @ vectors[1])

    def _ask(self, texts: Sequence[str], role: EmbedRole, options: Mapping[str, Any]) -> Coroutine[Any, Any, EmbedReply]:
        request = embed_request(texts, role, options)
        return self._handle(_asked(call_of(request, options, stream=False, listeners=self._listeners)))
