"""Who is measured: each subject's way to ask, to stream and to embed. Imported by worker processes only, in the subject's own environment.

A maker takes a Setting and returns a Subject; a way that a subject does not have is None. An ask returns how many units (calls, chunks,
texts) it brought, so that nobody is measured doing nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

PROMPT = "What is retrieval augmented generation, in one sentence? " * 4
MODEL = "gpt-5-mini"
EMBEDDER = "text-embedding-3-small"
TEXTS = 2_048

Ask = Callable[[], Awaitable[int]]


@dataclass(frozen=True)
class Setting:
    """Where to ask: the provider's address, another one to fall back to, the quota where it is given, and how much of it is saved up."""

    url: str
    spare: str = ""
    rpm: float | None = None
    tpm: float | None = None
    minute_s: float = 60.0  # for who reckons with a minute's worth
    prompts: str = "one"  # "mixed": of very different length


@dataclass(frozen=True)
class Subject:
    """One client."""

    ask: Ask | None = None
    stream: Ask | None = None
    embed: Ask | None = None
    batch: Callable[[int], Awaitable[int]] | None = None  # so many calls at once, for who paces himself


def prompts(setting: Setting) -> Iterator[str]:
    """Prompts that no two calls share: a cache must not answer them."""
    for i in count():
        yield f"{PROMPT}{i}" if setting.prompts == "one" else f"{i}: " + PROMPT * (1 + i * 7919 % 8)


def messages(text: str) -> Any:
    """`text` as the OpenAI protocol's messages."""
    return [{"role": "user", "content": text}]


def texts() -> list[str]:
    """The texts to embed."""
    return [f"passage number {i} of a corpus that is being indexed" for i in range(TEXTS)]


def bare(setting: Setting, *, aiohttp: bool = False, retries: int = 0) -> Subject:
    """The vendor's SDK alone."""
    import openai

    kwargs: dict[str, Any] = {"http_client": openai.DefaultAioHttpClient()} if aiohttp else {}
    client = openai.AsyncOpenAI(base_url=setting.url, api_key="bench", max_retries=retries, **kwargs)
    words = prompts(setting)

    async def ask() -> int:
        reply = await client.chat.completions.create(model=MODEL, messages=messages(next(words)))
        return len(reply.choices)

    async def stream() -> int:
        chunks = 0
        events = await client.chat.completions.create(
            model=MODEL, messages=messages(next(words)), stream=True, stream_options={"include_usage": True}
        )
        async for _ in events:
            chunks += 1
        return chunks

    async def embed() -> int:
        return len((await client.embeddings.create(model=EMBEDDER, input=texts())).data)

    return Subject(ask, stream, embed)


def raw(setting: Setting) -> Subject:
    """Nothing but aiohttp and msgspec: no error read, no retry, no timeout."""
    import aiohttp
    import msgspec
    import numpy as np

    vector = msgspec.defstruct("Vector", [("embedding", bytes)])
    vectors: Any = msgspec.json.Decoder(msgspec.defstruct("Vectors", [("data", list[vector])]))  # type: ignore[valid-type]
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    headers = {"authorization": "Bearer bench", "content-type": "application/json"}
    words = prompts(setting)

    async def ask() -> int:
        body = msgspec.json.encode({"model": MODEL, "messages": messages(next(words))})
        async with session.post(f"{setting.url}/chat/completions", data=body, headers=headers) as answer:
            return len(msgspec.json.decode(await answer.read())["choices"])

    async def embed() -> int:
        body = msgspec.json.encode({"model": EMBEDDER, "input": texts(), "encoding_format": "base64"})
        async with session.post(f"{setting.url}/embeddings", data=body, headers=headers) as answer:
            rows = vectors.decode(await answer.read()).data
            matrix = np.empty((len(rows), len(rows[0].embedding) // 4), dtype=np.float32)
            for i, row in enumerate(rows):
                matrix[i] = np.frombuffer(row.embedding, dtype="<f4")
            return len(matrix)

    return Subject(ask, None, embed)


def httpx2(setting: Setting, *, http2: bool) -> Subject:
    """Nothing but httpx2 and msgspec; HTTP/2 to the address of `setting.spare`, by prior knowledge."""
    import httpx2 as http
    import msgspec

    limits = http.Limits(max_connections=None, max_keepalive_connections=None)
    client = http.AsyncClient(http1=not http2, http2=http2, limits=limits, timeout=None, trust_env=False)
    headers = {"authorization": "Bearer bench", "content-type": "application/json"}
    address = f"{setting.spare if http2 else setting.url}/chat/completions"
    words = prompts(setting)

    async def ask() -> int:
        body = msgspec.json.encode({"model": MODEL, "messages": messages(next(words))})
        answer = await client.post(address, content=body, headers=headers)
        return len(msgspec.json.decode(answer.content)["choices"])

    return Subject(ask)


def policies(**changes: Any) -> dict[str, Any]:
    """All policies on: retry, deadline, timeouts, breaker, adaptive concurrency, rate limits, budget, a memory cache that misses."""
    from surefoot import Policy

    return {"policy": Policy(budget_usd=1e9, **changes), "cache": "memory"}


def _target(setting: Setting, lane: str, url: str = "") -> Any:
    from surefoot import Target

    # A limit nobody reaches costs what one that binds would; left out, limits are learned.
    limits = {"requests_per_minute": setting.rpm or 1e9, "tokens_per_minute": setting.tpm or 1e13}
    return Target(f"openai:{MODEL}", base_url=url or setting.url, api_key="bench", lane=lane, **limits)  # type: ignore[arg-type]


def _hear(event: Any) -> None:
    del event


def _model(setting: Setting, lane: str, *, adopt: bool = True, heard: bool = True, **changes: Any) -> Any:
    from surefoot import ChatModel, runtime

    if adopt:
        runtime.adopt()
    targets = [_target(setting, lane)]
    if setting.spare:
        targets.append(_target(setting, lane, setting.spare))
    chat = ChatModel(*targets, **policies(**changes))
    if heard:
        chat.subscribe(_hear, inline=True)
    return chat


def ours(setting: Setting, *, lane: str, adopt: bool = True, learned: bool = False, fast_loop: bool = False, **changes: Any) -> Subject:
    """ChatModel and EmbedModel with all policies on; with `fast_loop` the background loop is uvloop's."""
    from surefoot import ChatModel, EmbedModel, Policy, Target, runtime

    if fast_loop:
        import uvloop

        runtime.loop_factory = uvloop.new_event_loop

    chat = _model(setting, lane, adopt=adopt, **changes)
    if learned:
        chat = ChatModel(Target(f"openai:{MODEL}", base_url=setting.url, api_key="bench", lane=lane), policy=Policy(attempts=10))  # type: ignore[arg-type]
    vectors = EmbedModel(Target(f"openai:{EMBEDDER}", base_url=setting.url, api_key="bench", lane=lane), policy=Policy(budget_usd=1e9))  # type: ignore[arg-type]

    async def embed() -> int:
        return len(await vectors.aembed(texts()))

    return replace(_asking(chat, setting), embed=embed)


def _asking(chat: Any, setting: Setting) -> Subject:
    """A ChatModel, asked and streamed."""
    words = prompts(setting)

    async def ask() -> int:
        return bool((await chat.ainvoke(next(words))).text)

    async def stream() -> int:
        chunks = 0
        async for _ in chat.astream(next(words)):
            chunks += 1
        return chunks

    return Subject(ask, stream)


def provider(setting: Setting, *, lane: str) -> Subject:
    """Our provider without a layer around it."""
    from surefoot.providers.openai.endpoint import OpenAIProvider
    from surefoot.types import Call, CallState, ChatRequest, Message

    chat = OpenAIProvider(_target(setting, lane), None)
    words = prompts(setting)

    async def ask() -> int:
        call = Call(request=ChatRequest(messages=(Message.user(next(words)),)), state=CallState())
        return bool((await chat.chat(call)).text)  # type: ignore[union-attr]

    return Subject(ask)


class Null:
    """A provider that answers at once: what is left is the layers."""

    def __init__(self, name: str = "null:provider") -> None:
        from surefoot.types import ChatReply, Delta, Traits, Usage

        self.name = name
        self.traits = Traits()
        self.reply = ChatReply(text="fine", usage=Usage(input_tokens=60, output_tokens=40), model=MODEL, target=name)
        self.deltas = [Delta(text="w ")] * 58 + [Delta(finish_reason="stop")]

    async def chat(self, call: Any) -> Any:
        """One answer, made beforehand."""
        if call.stream:
            from surefoot.core.deltas import Replay
            from surefoot.core.stream import open_stream

            return await open_stream(Replay(self.deltas))
        return self.reply


def null_model(*, targets: int = 1, all_on: bool = True) -> Any:
    """A ChatModel over providers that answer at once. A provider of one's own has no price, so its budget has nothing to count."""
    from surefoot import ChatModel, runtime

    runtime.adopt()
    providers = [Null(f"null:{i}") for i in range(targets)]
    chat = ChatModel(*providers, **(policies() if all_on else {}))
    if all_on:
        chat.subscribe(_hear, inline=True)
    return chat


def stack_alone(setting: Setting) -> Subject:
    """All layers around a provider that answers at once."""
    return _asking(null_model(), setting)


def crossing(setting: Setting) -> Subject:
    """The smallest work there is, across to the background loop and back."""
    import asyncio

    from surefoot import runtime

    del setting

    async def nothing() -> int:
        await asyncio.sleep(0)
        return 1

    async def ask() -> int:
        return await runtime.arun(nothing())

    return Subject(ask)
