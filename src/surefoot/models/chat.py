"""ChatModel and EmbedModel: what a user holds. Sync is a view of async; every call runs on the one background loop.

chat = ChatModel("openai:gpt-5-mini", "local:extractive")      in order of preference
chat = ChatModel([a, b], c)                                    a and b share the load as equals, c is the fallback
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, overload

from surefoot import runtime
from surefoot.errors import BadRequest, BatchFailed, Misconfigured, SurefootError
from surefoot.facts import protocol_of
from surefoot.models._gather import gather
from surefoot.models.requests import SPELLED, call_of, chat_request, spelled, with_defaults
from surefoot.models.streams import ChatStream, ChatStreamSync
from surefoot.secret import Secret, emptied
from surefoot.settings import Policy, Semantic
from surefoot.types import ChatReply, ChatRequest, Message, Schema, Store, Tool

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.usage.ledger import Ledger
from surefoot.models.base import TargetLike, _asked, _Model
from surefoot.models.embed import EmbedModel

ChatInput: TypeAlias = "str | Message | Mapping[str, Any] | Sequence[Message | Mapping[str, Any]] | ChatRequest"


class ChatOptions(TypedDict, total=False):
    """What may be said per call, or of a model for all its calls: ChatRequest's fields, and `deadline_s`, `tags`, `tenant`, `priority`.

    `extra_headers`, `extra_query`, `extra_body` and `timeout` mean what they mean in the vendors' SDKs, for the call as a whole.
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
    schema: Schema | Mapping[str, Any] | None
    prompt_cache: Literal["", "auto", "5m", "1h"] | None
    model: str
    extra: Mapping[str, Any] | str
    deadline_s: float | None
    tenant: str
    priority: str
    tags: Mapping[str, str]
    extra_headers: Mapping[str, str]
    extra_query: Mapping[str, Any]
    extra_body: Mapping[str, Any]
    timeout: float | None


class ChatModel(_Model):
    """A chat model that stays on its feet. Targets in order of preference; a list among them shares the load as equals.

    Further keywords are options of every call, unless it says its own: `ChatModel("openai:m", temperature=0, max_tokens=500)`.
    `cache` is None, "memory", "sqlite:PATH", "redis://...", or a Store; `semantic=Semantic()` answers from it the same question in other
    words too. Raises Misconfigured for an unknown provider, a missing extra or key.
    """

    def __init__(
        self,
        *targets: TargetLike | Sequence[TargetLike],
        policy: Policy | None = None,
        cache: str | Secret | Store | None = None,
        ledger: str | Path | Secret | Ledger | None = None,
        semantic: Semantic | None = None,
        **options: Unpack[ChatOptions],
    ) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        self._options = checked(options) if options else {}
        cache = Secret(cache) if isinstance(cache, str) else cache  # an address may hold a password
        super().__init__(*targets, policy=policy, cache=cache, ledger=ledger)
        if semantic is not None:
            given = isinstance(semantic.embed, EmbedModel)
            self._stack.recognise(semantic, semantic.embed if given else EmbedModel(semantic.embed), owned=not given)

    def invoke(self, prompt: ChatInput, /, **options: Unpack[ChatOptions]) -> ChatReply:
        """Ask and wait, from any thread, also where a loop is running (Jupyter).

        Raises a Refused (nothing spent), a Fault, Exhausted (each attempt's failure in order) or DeadlineExceeded.
        """
        return runtime.run(self._ask(prompt, options, crosses=True))

    async def ainvoke(self, prompt: ChatInput, /, **options: Unpack[ChatOptions]) -> ChatReply:
        """Ask, from any event loop. Errors as for `invoke`."""
        is_home = runtime.is_home()
        asked = self._ask(prompt, options, crosses=not is_home)
        if not is_home:
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
        call = _asked(self._call(prompt, options, stream=True))
        return ChatStreamSync(runtime.pipe_sync(self._handle(call)), call)

    def astream(self, prompt: ChatInput, /, **options: Unpack[ChatOptions]) -> ChatStream:
        """`stream` for async callers: `async for delta in chat.astream(...)`."""
        call = self._call(prompt, options, stream=True)
        return ChatStream(lambda: runtime.pipe(self._handle(_asked(call))), call)

    @overload
    def batch(
        self,
        prompts: Iterable[ChatInput],
        /,
        *,
        max_in_flight: int = 64,
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> list[ChatReply]: ...

    @overload
    def batch(
        self,
        prompts: Iterable[ChatInput],
        /,
        *,
        max_in_flight: int = 64,
        return_exceptions: bool,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> list[ChatReply | Exception]: ...

    def batch(
        self,
        prompts: Iterable[ChatInput],
        /,
        *,
        max_in_flight: int = 64,
        return_exceptions: bool = False,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Sequence[ChatReply | Exception]:
        """`abatch` for sync callers."""
        return runtime.run(self._batch(self._calls(prompts, options), max_in_flight, return_exceptions, progress))

    @overload
    async def abatch(
        self,
        prompts: Iterable[ChatInput],
        /,
        *,
        max_in_flight: int = 64,
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> list[ChatReply]: ...

    @overload
    async def abatch(
        self,
        prompts: Iterable[ChatInput],
        /,
        *,
        max_in_flight: int = 64,
        return_exceptions: bool,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> list[ChatReply | Exception]: ...

    async def abatch(
        self,
        prompts: Iterable[ChatInput],
        /,
        *,
        max_in_flight: int = 64,
        return_exceptions: bool = False,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Sequence[ChatReply | Exception]:
        """Ask all, at most `max_in_flight` at once; replies in order. One bad prompt does not lose the others.

        With `return_exceptions` a failed one is its error in the list; without, BatchFailed is raised after all have been asked: its
        `.replies` holds the same list, so nothing that was paid for is lost.
        """
        return await runtime.arun(self._batch(self._calls(prompts, options), max_in_flight, return_exceptions, progress))

    def describe(self) -> str:
        """The layers, in order, with their settings, and the options of every call; no secrets."""
        shown = ", ".join(f"{name}={'...' if name == 'extra' else repr(value)}" for name, value in self._options.items())
        return f"{super().describe()}\noptions: {shown}" if shown else super().describe()

    def _call(self, prompt: ChatInput, options: Any, *, stream: bool = False) -> Any:
        if self._options or not SPELLED.isdisjoint(options):
            given, options = options, with_defaults(spelled(options), self._options, prompt)
            given.clear()  # they may hold a header with a key
        if "extra" in options:
            with emptied(options):
                return call_of(chat_request(prompt, options, self._protocol), options, stream=stream, listeners=self._listeners)
        return call_of(chat_request(prompt, options, self._protocol), options, stream=stream, listeners=self._listeners)

    @cached_property
    def _protocol(self) -> str:
        return protocol_of(self.targets[0])

    def _ask(self, prompt: ChatInput, options: Any, *, crosses: bool) -> Coroutine[Any, Any, ChatReply]:
        call, handler = self._call(prompt, options), self._stack.ready()
        if crosses:
            call.state.asked_s = time.monotonic()
        return self._handle(call) if handler is None else handler(call)  # type: ignore[return-value]  # the first layer is a coroutine

    def _calls(self, prompts: Iterable[ChatInput], options: Any) -> list[Any]:
        """One Call a prompt; a prompt that cannot be asked at all is its error, in its place."""
        calls: list[Any] = []
        with emptied(options):
            for prompt in prompts:
                try:
                    calls.append(self._call(prompt, dict(options)))
                except SurefootError as error:
                    calls.append(error)
        return calls

    async def _batch(self, calls: list[Any], max_in_flight: int, return_exceptions: bool, progress: bool) -> list[Any]:  # noqa: FBT001
        with self._stack.held() as ask:
            replies = await gather(calls, ask, max_in_flight=max_in_flight, progress=progress)
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if errors and not return_exceptions:
            raise BatchFailed(f"{len(errors)} of {len(replies)} failed; .replies holds the others", errors, replies=replies)
        return replies


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """A model's own options, checked as a call's are. Raises Misconfigured."""
    said = dict(spelled(options))
    try:
        call_of(chat_request("question", said), said, stream=False, listeners=())
    except BadRequest as error:
        raise Misconfigured(f"ChatModel: {error}") from error
    return said
