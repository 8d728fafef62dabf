"""One seed: an exchange, its damage, how it ends with us, and what must hold of that whatever was done."""

from __future__ import annotations

import asyncio
import json
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, get_args

import aiohttp
import msgspec
from msgspec import Struct

from surefoot.core.stream import Stream
from surefoot.errors import SurefootError
from surefoot.providers.anthropic.endpoint import AnthropicProvider
from surefoot.providers.anthropic.requests import chat_body as anthropic_body
from surefoot.providers.google.endpoint import GoogleProvider
from surefoot.providers.google.requests import chat_body as google_body
from surefoot.providers.openai.endpoint import OpenAIProvider
from surefoot.providers.openai.requests import chat_body as openai_body
from surefoot.providers.openai.responses_api.requests import responses_body
from surefoot.secret import Secret
from surefoot.settings import Target
from surefoot.types import Call, CallState, ChatReply, ChatRequest, EmbedReply, FinishReason, Message
from tests.providers.fuzz.damage import Damaged, damaged
from tests.providers.fuzz.exchanges import APIS, ASKED, KEY, TEXTS, random_exchange

SLOWEST_S = 3.0  # of processor time; a usual answer takes a thousandth of it
LONGEST_MESSAGE = 4000
FINISHES = frozenset(get_args(FinishReason))
MADE_UP = re.compile(r"call_[0-9a-f]{16}")
ENDS = {  # without one of these no stream of the API has ended
    "chat": rb"finish_reason\W+(?!null)\w|DONE",
    "responses": rb"response\.(?:completed|incomplete|failed|cancelled)|DONE",
    "anthropic": rb'message_stop|stop_reason\W+(?!null)\w|DONE|"type": "message"',
    "google": rb"finishReason\W+(?!null)\w|blockReason|DONE",
}


class Wire:
    """A lane that gives one answer, in blocks of the sizes that `luck` draws."""

    def __init__(self, given: Damaged, luck: Random) -> None:
        self._given = given
        self._luck = luck

    async def post(self, path: str, body: bytes, key: Secret | None, extra: Any = None) -> Unread:
        del path, key, extra
        json.loads(body)
        return Unread(self._given, self._luck)

    async def connect(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close."""


class Unread:
    """An answer whose body is unread."""

    def __init__(self, given: Damaged, luck: Random) -> None:
        self.status = given.status
        self.headers = dict(given.headers)
        self._left = given.body
        self._breaks = given.breaks
        self._size = luck.choice((1, 2, 7, 64, 1400, 10**9)) if len(given.body) < 20_000 else luck.choice((1400, 10**9))
        self._luck = luck

    async def read(self) -> bytes:
        left, self._left = self._left, b""
        self._break()
        return left

    async def block(self) -> bytes:
        if not self._left:
            self._break()
        size = self._luck.randint(1, self._size)
        block, self._left = self._left[:size], self._left[size:]
        return block

    def _break(self) -> None:
        if self._breaks:
            raise aiohttp.ClientPayloadError("the connection was lost")

    async def aclose(self) -> None:
        """Nothing to drop."""


class HowItEnded(Struct):
    """How it ended: a reply, or the error that was raised."""

    reply: Any = None
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def told(self) -> str:
        if self.error is not None:
            return f"{type(self.error).__name__}: {self.error}"
        return f"{self.reply!r}"[:2000]


def provider_of(api: str) -> Any:
    key = Secret(KEY)
    if api == "anthropic":
        return AnthropicProvider(Target("anthropic:claude-haiku-4-5", api_key=key, lane="direct"), None)
    if api == "google":
        return GoogleProvider(Target("google:gemini-2.5-flash", api_key=key, lane="direct"), None)
    return OpenAIProvider(Target("openai:gpt-4.1", api_key=key, lane="direct", options=(("api", api),)), None)


async def end_of(provider: Any, given: Damaged, luck: Random) -> HowItEnded:
    """Ask `provider`, whose lane gives the damaged answer."""
    provider._exchange._lane = Wire(given, luck)
    call: Any = Call(request=given.exchange.request, state=CallState(), stream=given.exchange.is_streamed)
    began_s = time.process_time()
    found = HowItEnded()
    try:
        async with asyncio.timeout(60):
            if given.exchange.kind == "vectors":
                found.reply = await provider.embed(call)
            else:
                answer = await provider.chat(call)
                if isinstance(answer, Stream):
                    async for _ in answer:
                        pass
                    found.reply = answer.so_far()
                else:
                    found.reply = answer
    except Exception as error:
        found.error = error
    found.seconds = time.process_time() - began_s
    return found


async def judged(seed: int) -> tuple[Damaged, HowItEnded, list[str]]:
    """The damaged answer of `seed`, its end, and what is wrong with that."""
    luck = Random(seed)
    exchange = random_exchange(luck)
    given = damaged(exchange, luck)
    provider = provider_of(exchange.api)
    found = await end_of(provider, given, luck)
    wrong = wrong_with(given, found)
    if not wrong and len(given.body) < 20_000:
        again = await end_of(provider_of(exchange.api), given, Random(seed + 1))
        if (one := _shown(found)) != (other := _shown(again)):
            wrong.append(f"other blocks, another end:\n    {one}\n    {other}")
    return given, found, wrong


def _shown(found: HowItEnded) -> str:
    """An outcome without ids that are made up, and without times."""
    if found.error is not None:
        return type(found.error).__name__
    if isinstance(found.reply, EmbedReply):
        return f"{found.reply.vectors.tolist()}"
    return MADE_UP.sub("call", repr(found.reply))


def wrong_with(given: Damaged, found: HowItEnded) -> list[str]:
    """What is wrong with an end, in words; nothing is usual."""
    wrong = [f"took {found.seconds:.1f} s"] if found.seconds > SLOWEST_S else []
    if found.error is not None:
        return [*wrong, *_wrong_error(found.error)]
    try:
        return [*wrong, *(_wrong_vectors if isinstance(found.reply, EmbedReply) else _wrong_reply)(given, found.reply)]
    except Exception:
        return [*wrong, traceback.format_exc(limit=-4)]


def _wrong_error(error: BaseException) -> Iterator[str]:
    if not isinstance(error, SurefootError):
        yield "no error of ours: " + "".join(traceback.format_exception(error, limit=-6))
    if "client library failed in a way we do not know" in str(error):
        yield f"an error nobody foresaw: {error} {error.__cause__!r}"
    if KEY in f"{error} {error!r}":
        yield f"the key stands in the error: {error}"
    if ASKED in str(error):
        yield f"what the caller wrote stands in the error: {error}"
    if len(str(error)) > LONGEST_MESSAGE:
        yield f"an error of {len(str(error))} letters"
    try:
        str(error).encode()
    except UnicodeEncodeError:
        yield f"half an emoji in the error {str(error)!r}"


def _wrong_vectors(given: Damaged, reply: EmbedReply) -> Iterator[str]:
    import numpy as np

    if given.status >= 300 or reply.vectors.shape[0] != len(TEXTS) or not np.isfinite(reply.vectors).all():
        yield f"vectors {reply.vectors} out of HTTP {given.status}"
    if reply.usage.input_tokens <= 0:
        yield f"nothing is billed: {reply.usage}"


def _wrong_reply(given: Damaged, reply: ChatReply) -> Iterator[str]:
    if not 200 <= given.status < 300:
        yield f"an answer out of HTTP {given.status}"
    if given.exchange.is_streamed and is_endless(given):
        yield f"the end is missing, and it passes for whole: {reply!r:.500}"
    if given.exchange.kind == "whole" and given.done in (["cut"], ["cut", "lost"]):
        yield f"cut, and it passes for whole: {reply!r:.500}"
    if given.breaks and not given.exchange.is_streamed:
        yield "the connection broke, and it passes for whole"
    if reply.finish_reason not in FINISHES:
        yield f"finish reason {reply.finish_reason!r}"
    packed = msgspec.json.encode(reply)
    if msgspec.json.decode(packed, type=ChatReply) != reply:
        yield "the reply does not survive its own JSON"
    counts = [getattr(reply.usage, name) for name in reply.usage.__struct_fields__ if name.endswith("_tokens")]
    if min(counts) < 0 or not all(type(one) is int for one in counts):
        yield f"usage {reply.usage}"
    if reply.usage.cached_tokens + reply.usage.cache_write_tokens > reply.usage.input_tokens:
        yield f"more cached than sent: {reply.usage}"
    texts = [reply.text, reply.reasoning, reply.signature, reply.model, reply.response_id, repr(reply.parts), repr(reply.citations)]
    for text in texts:
        text.encode()
    _ = reply.raw, reply.images, reply.audio, reply.logprobs
    ids = [call.id for call in reply.tool_calls]
    if len(set(ids)) < len(ids) or not all(ids):
        yield f"calls that cannot be told apart: {ids}"
    for call in reply.tool_calls:
        if not call.error:
            assert isinstance(call.parsed(), dict)
            assert reply.finish_reason not in {"length", "content_filter"}, "a call of a cut answer that may be run"
    _next_turn(reply)


def _next_turn(reply: ChatReply) -> None:
    """The answer goes back with the next turn, to its own vendor and to all others: a body that can be sent, or an error of ours."""
    results = [Message.tool("done", tool_call_id=call.id, name=call.name) for call in reply.tool_calls]
    asked = ChatRequest(messages=(Message.user("hi"), reply.message, *results, Message.user("and now?")))
    for api in APIS:
        with suppress(SurefootError):
            json.loads(_write(api, asked).decode(), parse_int=float)  # any number of digits


def _write(api: str, asked: ChatRequest) -> bytes:
    dialect = PROVIDERS.setdefault(api, provider_of(api)).dialect
    if api == "anthropic":
        return anthropic_body(asked, "claude-haiku-4-5", stream=False, dialect=dialect).data
    if api == "google":
        return google_body(asked, "gemini-2.5-flash", dialect=dialect)
    write = openai_body if api == "chat" else responses_body
    return write(asked, "gpt-4.1", stream=False, dialect=dialect)


PROVIDERS: dict[str, Any] = {}


def is_endless(given: Damaged) -> bool:
    """Whether a stream has none of the words with which its API ends one, and is no whole document instead."""
    body = given.body.replace(b"\x00", b"").removeprefix(b"\xef\xbb\xbf")
    if body.lstrip()[:1] in {b"{", b"["}:
        return False
    return re.search(ENDS[given.exchange.api], body) is None
