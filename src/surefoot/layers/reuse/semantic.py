"""The same question in other words is given the same answer: opt-in, behind the exact cache, over the same store.

Two judges must agree. The rule (`surefoot.rules.paraphrase`) brings the last question into a plain form; what was asked before in the same
plain form, with everything else equal, is the one candidate. Then the embedding model must find the two questions alike, at its own
threshold. Neither judge is enough: reversed and negated questions lie closer together than most paraphrases, and a list of rewritings may
have a hole.

Everything else is equal because it is digested into the key: tenant, target, system prompt, every earlier turn, tools, schema, sampling,
extras. So a look-up is one read, there is no index to bound, and rows live, expire, are evicted and shared between processes as the exact
cache's do: a row names the question and the exact cache's key of its answer, which is fetched from there, fresh or not at all.

Off where an answer depends on more than words: pictures and files, a history with tool calls, sampled calls (as the exact cache is), and
for texts longer than a question.
Replies with tool calls, cut, refused or empty ones are not kept. An embedding model that fails, is slow or is still being loaded makes a
miss, never an error.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from surefoot.cache.envelope import packed, unpacked
from surefoot.cache.keys import digest
from surefoot.core.deadlines import deadline_of, run_until
from surefoot.core.deltas import Replay, to_deltas
from surefoot.core.stack import Handler
from surefoot.core.stream import Outcome, Stream, open_stream
from surefoot.errors import DeadlineExceeded, SurefootError
from surefoot.events import CacheHit, CacheMiss, emit
from surefoot.rules.paraphrase import MAX_CHARS, reading, same
from surefoot.settings import Semantic as Settings
from surefoot.types import Call, ChatReply, ChatRequest, Store, Text

ROW_BYTES = 200  # an estimate of a row beside its question

_log = logging.getLogger("surefoot.semantic")
_encode = msgspec.msgpack.Encoder().encode

Alike = Callable[[Call[Any], str, str], Awaitable[float]]  # the cosine of two questions, asked on behalf of a call


class QuestionRow(Struct, frozen=True, array_like=True):
    """A question that has been answered, and the digest of the whole request it was the end of."""

    question: str
    digest: str


_decode = msgspec.msgpack.Decoder(QuestionRow).decode


class Answers(Protocol):
    """What this layer needs of the exact cache outside it."""

    store: Store
    ttl_s: float

    def prefix(self, tenant: str) -> str:
        """The beginning of `tenant`'s keys, first target."""

    def may_cache(self, request: ChatRequest) -> bool:
        """True if the same question may be given the same answer twice."""

    async def cached(self, tenant: str, digested: str) -> ChatReply | None:
        """The fresh answer of a first target to the request of that digest."""

    def later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let `work` run beside the call."""


class Semantic:
    """Answers of the same question in other words: `Semantic(cache, alike=..., threshold=0.9)`.

    `alike` gives the cosine of two questions; at `threshold` or above they may be the same. It is waited for `patience_s` at most, and
    never beyond the call's own deadline.
    """

    def __init__(self, answers: Answers, *, alike: Alike, threshold: float, patience_s: float = Settings().patience_s) -> None:
        self.answers = answers
        self.alike = alike
        self.threshold = threshold
        self.patience_s = patience_s
        self._recall: Callable[[str], Any] | None = getattr(answers.store, "recall", None)
        self._remember: Callable[..., None] | None = getattr(answers.store, "remember", None)

    def describe(self) -> str:
        """One line for `describe()`."""
        return f"semantic: same question by rule and cosine of at least {self.threshold:g}, waited for {self.patience_s:g} s"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """The answer to the same question in other words, or ask and remember the question."""
        question = self._question(call)
        if question is None:
            return await inner(call)
        if not call.state.digest:
            call.state.digest = digest(call.request)
        key = self._key(call, question)
        row = await self._find(key)
        if row is not None:
            reply, likeness = await self._judge(call, row, question)
            if reply is not None:
                return await _serve(call, key, reply, likeness)
            emit(call, CacheMiss, key=key, why="unlike" if likeness is not None else "not compared")
        answer = await inner(call)
        if isinstance(answer, Stream):
            answer.watch(partial(self._on_finished, call, key, question))
        else:
            self._save(call, key, question, answer)
        return answer

    def _question(self, call: Call[Any]) -> str | None:
        """The text asked last, if the rest is nothing but text."""
        request = call.request
        if not isinstance(request, ChatRequest) or not self.answers.may_cache(request) or call.state.is_refresh:
            return None
        last = request.messages[-1]
        if last.role != "user" or len(last.parts) != 1 or not last.text.strip() or len(last.text) > MAX_CHARS:
            return None
        for message in request.messages:
            if message.tool_calls or message.role == "tool" or any(not isinstance(part, Text) for part in message.parts):
                return None
        return last.text

    def _key(self, call: Call[ChatRequest], question: str) -> str:
        """Tenant, target and everything but the last question, which counts by its plain form."""
        *earlier, last = call.request.messages
        rest = replace(call.request, messages=(*earlier, replace(last, content="")))
        return f"s{self.answers.prefix(call.tenant)}{digest(rest, *reading(question))}"

    async def _judge(self, call: Call[ChatRequest], row: QuestionRow, question: str) -> tuple[ChatReply | None, float | None]:
        """The kept answer if both judges agree, and how alike the questions are; None where that could not be said."""
        if row.digest == call.state.digest or not same(row.question, question):
            return None, None  # itself, expired; or kept by older rules
        reply = await self.answers.cached(call.tenant, row.digest)
        if reply is None:
            return None, None
        expires_at = asyncio.get_running_loop().time() + self.patience_s
        deadline = deadline_of(call)
        if deadline is not None:
            expires_at = min(expires_at, deadline)
        try:
            likeness = await run_until(
                self.alike(call, row.question, question), expires_at=expires_at, failure=lambda: DeadlineExceeded("comparing two questions")
            )
        except SurefootError as error:
            _log.info("two questions could not be compared: %s; the call goes on", type(error).__name__)
            return None, None
        return (reply if likeness >= self.threshold else None), (likeness if math.isfinite(likeness) else None)

    def _on_finished(self, call: Call[ChatRequest], key: str, question: str, outcome: Outcome) -> None:
        """A stream is over: remember its question if it is whole and of one piece."""
        stream = outcome.stream
        if outcome.complete and stream is not None and stream.finish_reason == "stop" and not stream.is_resumed:
            self._save(call, key, question, outcome.reply)

    def _save(self, call: Call[ChatRequest], key: str, question: str, reply: Any) -> None:
        """Remember who asked what is answered by `reply`, if that is whole; the answer itself is the exact cache's to keep."""
        if not isinstance(reply, ChatReply) or reply.cached or reply.finish_reason != "stop" or reply.tool_calls or not reply.text.strip():
            return
        row = QuestionRow(question, call.state.digest)
        if self._remember is not None:
            self._remember(key, row, size_bytes=len(question.encode()) + ROW_BYTES, ttl_s=self.answers.ttl_s)
            return
        self.answers.later(self.answers.store.set(key, packed(key, _encode(row)), ttl_s=self.answers.ttl_s))

    async def _find(self, key: str) -> QuestionRow | None:
        """The row under `key`; one that is torn or foreign is forgotten."""
        if self._recall is not None:
            held = self._recall(key)
            return held if isinstance(held, QuestionRow) else None
        raw = await self.answers.store.get(key)
        if raw is None:
            return None
        payload = unpacked(key, raw)
        try:
            if payload is not None:
                return _decode(payload)
        except msgspec.MsgspecError:
            payload = None
        self.answers.later(self.answers.store.delete(key))
        return None


async def _serve(call: Call[Any], key: str, reply: ChatReply, likeness: float | None) -> Any:
    """The answer to the other wording, in the shape that was asked for."""
    emit(call, CacheHit, key=key, semantic=True, similarity=likeness)
    if not call.stream:
        return reply
    call.state.is_cached = True
    return await open_stream(Replay(to_deltas(reply)), target=reply.target)
