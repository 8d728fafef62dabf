"""An answer given once is given again: exactly the same question, free.

The key is the digest of the whole request (a field we do not know matters), with the tenant and the target that answers. Fresh answers
are looked up for the first target and its equals alone; what a fallback answered is kept under the fallback's own name and stands in for
the primary only instead of an error. Kept is only what is whole: ended by itself, neither cut nor refused nor empty, every tool call
valid. A stream is kept when its reader has seen its end, and comes back as a stream.

Embeddings are kept text by text: see `surefoot.cache.vectors`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from surefoot.cache.envelope import packed, unpacked
from surefoot.cache.keys import digest
from surefoot.cache.single_flight import KeyClaim, SingleFlight
from surefoot.cache.sizes import size_bytes_of
from surefoot.cache.vectors import VectorCache
from surefoot.core.deadlines import run_until
from surefoot.core.deltas import Replay, to_deltas
from surefoot.core.stack import Handler
from surefoot.core.stream import Outcome, Stream, open_stream
from surefoot.errors import (
    BadRequest,
    ContentRefused,
    ContextTooLong,
    DeadlineExceeded,
    Exhausted,
    Fault,
    InvalidOutput,
    Refused,
    SurefootError,
    Unsupported,
)
from surefoot.events import CacheHit, CacheMiss, emit
from surefoot.runtime.clock import wall_s
from surefoot.settings import DEFAULTS
from surefoot.text import plain
from surefoot.types import Call, CallState, ChatReply, ChatRequest, EmbedRequest, Store

JITTER = 0.1  # share of the time-to-live by which rows expire earlier, so that what was filled together does not empty together
WHOLE = ("stop", "tool_calls")  # ended by itself; "length" is cut, the others are refusals or defects
TENANTS = 10_000  # key prefixes remembered; beyond that they are computed anew
NO_HELP = (BadRequest, ContextTooLong, ContentRefused, InvalidOutput, Unsupported)  # an old answer does not mend a wrong question

_log = logging.getLogger("surefoot.cache")
_encoder = msgspec.msgpack.Encoder(enc_hook=plain)  # the hook: a provider of one's own may answer in any kind of text


class CachedReply(Struct, frozen=True, array_like=True, gc=False):
    """An answer and the wall-clock second it was kept at."""

    at_s: float
    reply: ChatReply


_cached_decoder = msgspec.msgpack.Decoder(CachedReply)


class Cache:
    """Answers from `store` where it can: `Cache(MemoryStore())`.

    `names` are the targets in order of preference, `identities` says for each what makes it that target and no other (address, options),
    and the first `equals` of them are the primaries. `space` is the embedding space id. Answers are fresh for `ttl_s`; for `stale_s` more
    they are served while one call behind refreshes them, and a fallback's instead of an error. `sampled`: None caches calls of temperature
    0 or unset, True all, False those of temperature 0 alone. `clock` is the wall clock, in seconds.
    """

    def __init__(  # noqa: PLR0913 - one setting each
        self,
        store: Store,
        *,
        names: Sequence[str] = ("",),
        identities: Sequence[str] | None = None,
        equals: int = 1,
        space: str = "",
        ttl_s: float = DEFAULTS.cache_ttl_s,
        stale_s: float = DEFAULTS.cache_stale_s,
        sampled: bool | None = None,
        clock: Callable[[], float] = wall_s,
    ) -> None:
        self.store = store
        self.names = tuple(names)
        self.identities = tuple(names if identities is None else identities)
        self.equals = equals
        self.ttl_s = ttl_s
        self.stale_s = stale_s
        self.sampled = sampled
        self.clock = clock
        self._surely_fresh_s = ttl_s * (1 - JITTER)
        self._recall: Callable[[str], Any] | None = getattr(store, "recall", None)
        self._remember: Callable[..., None] | None = getattr(store, "remember", None)
        self._held: Callable[[Sequence[str]], list[str]] | None = getattr(store, "held", None)
        self._prefixes: dict[str, tuple[str, ...]] = {}
        self._refreshing: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: dict[str, asyncio.Task[None]] = {}
        self._single_flight: SingleFlight[ChatReply] | None = SingleFlight(store, self.later) if hasattr(store, "lock") else None
        self.vectors = VectorCache(store, target=self.names[0], space=space or self.identities[0], later=self.later)

    def idle(self) -> bool:
        """True if nothing is being written or refreshed."""
        return not self._tasks and (self._single_flight is None or self._single_flight.idle())

    def describe(self) -> str:
        """One line for `describe()`."""
        about = getattr(self.store, "describe", None)
        stale = f", stale for {self.stale_s:g} s more" if self.stale_s else ""
        return f"cache: {about() if about is not None else type(self.store).__name__}, fresh for {self.ttl_s:g} s{stale}"

    def prefix(self, tenant: str) -> str:
        """The beginning of `tenant`'s keys, first target."""
        return (self._prefixes.get(tenant) or self._prefixes_of(tenant))[0]

    async def cached(self, tenant: str, digested: str) -> ChatReply | None:
        """The fresh answer of a first target to the request of that digest, None if there is none."""
        for prefix in (self._prefixes.get(tenant) or self._prefixes_of(tenant))[: self.equals]:
            key = prefix + digested
            cached = self._recall(key) if self._recall is not None else await self._look(key)
            if isinstance(cached, CachedReply) and self.clock() - cached.at_s < self._fresh_s(key):
                return cached.reply
        return None

    def __call__(self, call: Call[Any], inner: Handler) -> Awaitable[Any]:
        """The kept answer, or ask and keep what comes."""
        request = call.request
        if isinstance(request, EmbedRequest):
            return self.vectors(call, inner)
        if not self.may_cache(request):
            return inner(call)
        state = call.state
        if not state.digest:
            state.digest = digest(request)
        prefixes = self._prefixes.get(call.tenant) or self._prefixes_of(call.tenant)
        if self._recall is None:
            return self._look_up(call, inner, prefixes)
        why = "absent"
        for key in self._present(prefixes, state.digest):
            served, why = self._usable(call, inner, key, self._recall(key), why)
            if served is not None:
                return served
        return self._missed(call, inner, prefixes, why)

    def _present(self, prefixes: tuple[str, ...], digested: str) -> Sequence[str]:
        """The keys of the first targets, of a hundred equals those alone that the store has."""
        if self.equals == 1 or self._held is None:
            return [prefix + digested for prefix in prefixes[: self.equals]]
        return self._held([prefix + digested for prefix in prefixes[: self.equals]])

    async def _look_up(self, call: Call[ChatRequest], inner: Handler, prefixes: tuple[str, ...]) -> Any:
        """The same with a store that has to be waited for."""
        why = "absent"
        for prefix in prefixes[: self.equals]:
            key = prefix + call.state.digest
            served, why = self._usable(call, inner, key, await self._fetch(key), why)
            if served is not None:
                return await served
        return await self._missed(call, inner, prefixes, why)

    def _usable(self, call: Call[ChatRequest], inner: Handler, key: str, cached: object, why: str) -> tuple[Awaitable[Any] | None, str]:
        """How to serve what is kept under `key`, if it may be served; why not."""
        if not isinstance(cached, CachedReply):
            return None, cached if isinstance(cached, str) else why
        age_s = self.clock() - cached.at_s
        if age_s < self._surely_fresh_s or age_s < self._fresh_s(key):
            return self._serve(call, key, cached.reply), why
        if age_s < self._fresh_s(key) + self.stale_s:
            self._refresh(call, inner, key)
            return self._serve(call, key, cached.reply, stale=True), why
        return None, "expired"

    def _missed(self, call: Call[ChatRequest], inner: Handler, prefixes: tuple[str, ...], why: str) -> Awaitable[Any]:
        """Nothing was kept that may be served."""
        if call.state.listeners:
            emit(call, CacheMiss, key=prefixes[0] + call.state.digest, why=why)
        return self._ask(call, inner, prefixes)

    # Chat: asking and keeping

    async def _ask(self, call: Call[ChatRequest], inner: Handler, prefixes: tuple[str, ...]) -> Any:
        """Ask; keep a whole answer; on an error look whether any target has ever answered this."""
        if self._single_flight is not None:
            return await self._ask_once(call, inner, prefixes, self._single_flight)
        try:
            answer = await inner(call)
        except SurefootError as error:
            return await self._instead(call, error, prefixes)
        self._answer(call, prefixes, answer, None)
        return answer

    async def _ask_once(self, call: Call[ChatRequest], inner: Handler, prefixes: tuple[str, ...], turns: SingleFlight[ChatReply]) -> Any:
        """The same where other processes may be asking this very thing."""
        key = prefixes[0] + call.state.digest
        claim = await turns.take(key, partial(self.cached, call.tenant, call.state.digest), deadline=call.deadline)
        if isinstance(claim, ChatReply):  # another process has asked meanwhile
            return await self._serve(call, key, claim)
        try:
            answer, is_shared = await turns.ask(claim, inner(call))
            if not is_shared:
                self._answer(call, prefixes, answer, claim)
                return answer
        except SurefootError as error:
            claim.leave(failed=True)
            return await self._instead(call, error, prefixes)
        except BaseException:
            claim.leave()
            raise
        claim.leave()
        return await self._serve(call, key, answer)

    def _answer(self, call: Call[ChatRequest], prefixes: tuple[str, ...], answer: Any, claim: KeyClaim | None) -> None:
        """Keep what came; a stream when it has ended."""
        if isinstance(answer, Stream):
            answer.watch(partial(self._on_finished, call, prefixes, claim))
            return
        self._save(call, prefixes, answer, claim)
        if claim is not None:
            claim.leave(failed=claim.write is None)

    def _on_finished(self, call: Call[ChatRequest], prefixes: tuple[str, ...], claim: KeyClaim | None, outcome: Outcome) -> None:
        """A stream is over: keep it if it is whole, of one piece, and not itself out of the store (another wording's answer)."""
        stream = outcome.stream
        if outcome.complete and stream is not None and stream.finish_reason in WHOLE and not call.state.is_cached:
            reply = outcome.reply
            if isinstance(reply, ChatReply) and not stream.is_resumed:
                self._save(call, prefixes, reply, claim)
        if claim is not None:
            claim.leave(failed=claim.write is None and not outcome.cancelled)

    def _save(self, call: Call[ChatRequest], prefixes: tuple[str, ...], reply: Any, claim: KeyClaim | None) -> None:
        """Keep `reply` under the target that gave it, if it is worth keeping."""
        if not isinstance(reply, ChatReply) or reply.cached or not is_whole(reply):
            return
        index = self._answered(reply, call.state)
        if index is None:
            return
        key = prefixes[index] + call.state.digest
        if _under_way(self._writing.get(key)):
            return  # a thousand calls shared one answer: one of them keeps it
        cached = CachedReply(self.clock(), replace(reply, attempts=0, cost_usd=0.0, cached=True, trail=()))
        ttl_s = self.ttl_s + self.stale_s
        if self._remember is not None:
            self._remember(key, cached, size_bytes=size_bytes_of(reply), ttl_s=ttl_s)
            return
        task = self._writing[key] = self.later(self.store.set(key, packed(key, _encoder.encode(cached)), ttl_s=ttl_s))
        task.add_done_callback(lambda _: self._writing.pop(key, None))
        if claim is not None and index < self.equals:  # where those who wait will look
            claim.write = task

    def _answered(self, reply: ChatReply, state: CallState) -> int | None:
        """Which target gave `reply`; None if that cannot be told."""
        if len(self.names) == 1:
            return 0
        if reply.target in self.names:
            return self.names.index(reply.target)
        last = next((attempt.target for attempt in reversed(state.trail) if not attempt.error), "")
        return self.names.index(last) if last in self.names else None

    async def _instead(self, call: Call[ChatRequest], error: SurefootError, prefixes: tuple[str, ...]) -> Any:
        """The first target's answer that is not too old, whoever gave it, if `error` is one that an old answer helps against.

        Raises `error` otherwise.
        """
        last = error.last if isinstance(error, Exhausted) else error
        if not isinstance(last, Fault | Refused) or isinstance(last, NO_HELP):
            raise error
        for prefix in prefixes:
            key = prefix + call.state.digest
            cached = self._recall(key) if self._recall is not None else await self._fetch(key)
            if isinstance(cached, CachedReply) and self.clock() - cached.at_s < self._fresh_s(key) + self.stale_s:
                return await self._serve(call, key, cached.reply, stale=True)
        raise error

    async def _serve(self, call: Call[Any], key: str, reply: ChatReply, *, stale: bool = False) -> Any:
        """A kept answer, in the shape that was asked for."""
        if call.state.listeners:
            emit(call, CacheHit, key=key, stale=stale)
        if not call.stream:
            return reply
        call.state.is_cached = True
        return await open_stream(Replay(to_deltas(reply)), target=reply.target)

    async def _fetch(self, key: str) -> CachedReply | str | None:
        """What a store of bytes has under `key`, or why it has nothing usable."""
        raw = await self.store.get(key)
        if raw is None:
            return "store down" if getattr(self.store, "is_down", False) else None
        payload = unpacked(key, raw)
        try:
            if payload is not None:
                return _cached_decoder.decode(payload)
        except msgspec.MsgspecError:
            payload = None
        self.later(self.store.delete(key))
        return "corrupt"

    async def _look(self, key: str) -> CachedReply | None:
        """The fresh answer under `key`."""
        cached = await self._fetch(key)
        return cached if isinstance(cached, CachedReply) and self.clock() - cached.at_s < self._fresh_s(key) else None

    def _refresh(self, call: Call[ChatRequest], inner: Handler, key: str) -> None:
        """Ask behind the caller's back, once at a time."""
        if not _under_way(self._refreshing.get(key)):
            self._refreshing[key] = self.later(self._renew(call, inner, key))

    async def _renew(self, call: Call[ChatRequest], inner: Handler, key: str) -> None:
        claim = None if self._single_flight is None else await self._single_flight.claim(key)
        if claim is None and self._single_flight is not None:
            return  # another process is at it
        state = CallState(call.state.listeners, f"{call.state.call_id}r")
        state.digest = call.state.digest
        state.is_refresh = True  # another wording's answer would not renew this one
        again = replace(call, state=state, stream=False)
        try:
            if call.deadline is None:
                reply = await inner(again)
            else:
                reply = await run_until(
                    inner(again), expires_at=call.deadline, failure=lambda: DeadlineExceeded("refreshing a stale answer")
                )
            self._save(again, self._prefixes_of(call.tenant), reply, claim)
        except SurefootError as error:
            _log.info("a stale answer could not be refreshed: %s", type(error).__name__)
        finally:
            self._refreshing.pop(key, None)
            if claim is not None:
                claim.leave()

    def later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let `work` run beside the call: nobody waits for a write."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("the cache's store failed: %s; the call goes on", type(task.exception()).__name__)

    def may_cache(self, request: ChatRequest) -> bool:
        """True if the same question may be given the same answer twice."""
        temperature = request.temperature
        if self.sampled or temperature == 0:
            return True
        return temperature is None and self.sampled is None and '"temperature"' not in request.extra

    def _fresh_s(self, key: str) -> float:
        """How long the row under `key` is fresh: the time-to-live less a jitter drawn from the key, the same in every process."""
        return self.ttl_s * (1 - JITTER * int(key[-8:], 16) / 2**32)

    def _prefixes_of(self, tenant: str) -> tuple[str, ...]:
        """The keys' beginnings for `tenant`, one a target."""
        if len(self._prefixes) >= TENANTS:
            self._prefixes.clear()
        prefixes = self._prefixes[tenant] = tuple(f"c{_hash(tenant, scope)}:" for scope in self.identities)
        return prefixes


def is_whole(reply: ChatReply) -> bool:
    """True if `reply` ended by itself, says something, and every tool call in it can be made."""
    if reply.finish_reason not in WHOLE or (reply.tool_calls and reply.invalid_tool_calls):
        return False
    return bool(reply.tool_calls or reply.text.strip() or reply.content)


def _under_way(task: asyncio.Task[None] | None) -> bool:
    """True if `task` is at work; one of a loop that has died never will be."""
    return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()


def _hash(*words: str) -> str:
    """16 hex digits over `words`, prefix-free."""
    state = blake2b(digest_size=8)
    for word in words:
        raw = word.encode("utf-8", "surrogatepass")
        state.update(b"%d:" % len(raw) + raw)
    return state.hexdigest()
