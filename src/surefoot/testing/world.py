"""A world by seed: hours of traffic in seconds of real time, and the same seed gives the same events.

    async def scenario() -> None:
        world = World(7, Provider("a:m", serve=lambda _: Serving(after_s=0.2)))
        await asyncio.gather(*(world.ask(n) for n in range(1000)))
        print(world.counts, await world.left_over(), world.log_hash)

    virtual_run(scenario())

A World puts the real layers around its providers, in the order in which models do, draws all luck from its seed, and keeps the books.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import blake2b
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.core.stack import Handler
from surefoot.core.stream import Stream
from surefoot.errors import BatchFailed, Exhausted, Interrupted, SurefootError
from surefoot.events import AttemptEnded
from surefoot.layers.reuse.cache import Cache
from surefoot.models.build import ModelStack
from surefoot.settings import Policy
from surefoot.testing.scripted import vectors
from surefoot.testing.serving import DIMENSIONS, Serving, ServingProvider
from surefoot.testing.virtual import virtual_run
from surefoot.types import AttemptRecord, Call, CallState, ChatRequest, EmbedReply, EmbedRequest, Message, Store

__all__ = ["Ended", "Serving", "ServingProvider", "World", "failures_of", "layers_of", "virtual_run"]

DRAIN_S = 3600.0  # virtual seconds for what is still under way to end
SLACK_S = 0.010  # after its deadline a call may take so long to say so
EPOCH_S = 1_795_000_000.0  # the date at which each world begins, for what is kept by date


class Ended(Struct, Documented, frozen=True, kw_only=True):
    """How one call ended, as its caller saw it. `late_s` is how long after its deadline, negative if before.

    `trail` is the call's own list of wire attempts: it may grow while a shared call goes on for others, and stays empty for an answer
    out of the cache or shared.
    """

    number: int
    """Which call of the world, counted from 0."""
    error: BaseException | None = None
    """The error the caller saw; None for success."""
    seconds: float = 0.0
    """How long the call took, in virtual time."""
    attempts: int = 0
    """Wire attempts it took."""
    late_s: float = float("-inf")
    """Seconds after its deadline, negative if before; minus infinity without a deadline."""
    target: str = ""
    """The target that answered, as "provider:model"; empty: none did."""
    trail: Sequence[AttemptRecord] = ()
    """The call's own list of wire attempts, which may grow while others wait for the same answer."""

    @property
    def kind(self) -> str:
        """The class name of the error, "" for success."""
        return type(self.error).__name__ if self.error is not None else ""


class World:
    """Providers, the layers around them, and the books: `World(seed, provider, policy=Policy(attempts=6))`.

    `targets` are providers in order of preference, or lists of equal ones; they serve chats, streams and embeddings. `tune(endpoint)` may
    set a target's shared layers (`rate`, `concurrency`, ...) before they are put together. `counts` has the endings by kind ("" is
    success), "lost" for each call that ended in anything but a right answer or one typed error before its deadline; `ended` is their
    number, `free` that of the answers which cost no attempt (out of `cache`, or shared).
    """

    def __init__(
        self,
        seed: int,
        *targets: ServingProvider | Sequence[ServingProvider],
        policy: Policy | None = None,
        tune: Callable[[Any], None] | None = None,
        cache: Store | None = None,
        log: bool = True,
    ) -> None:
        self.seed = seed
        self.rng = Random(f"{seed}:world")  # noqa: S311 - a world by seed
        self.policy = policy or Policy()
        self.providers = [one for given in targets for one in ([given] if isinstance(given, ServingProvider) else given)]
        self._targets = list(targets)
        self._cache = cache
        self.stack = ModelStack(self._targets, policy=self.policy, cache=cache, kind="chat")
        specs = [spec for group in self.stack._groups for spec in group]  # noqa: SLF001 - its own layers
        self._leases = [spec.lease(self.policy) for spec in specs]  # held, so the layers find the same endpoints
        self.endpoints = [lease.endpoint for lease in self._leases]
        for endpoint in self.endpoints:
            if tune is not None:
                tune(endpoint)
        self.handler: Handler = self.stack.handler()
        self._embed_handler: Handler | None = None  # the same endpoints, by other layers; built when first needed
        self.every_stack = [self.stack]
        self._seeded = set[int]()
        self._seed_layers(self.handler, "")
        self.counts: Counter[str] = Counter()
        self.free = 0
        self.attempts = 0
        self.latest_s = float("-inf")  # the longest any call ended after its deadline
        self.events: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()  # wire attempts by kind: first, retry, fallback, hedge, resume
        self._hash = blake2b(digest_size=8)
        self._listeners = (self._hear,) if log else ()

    def _seed_layers(self, handler: Handler, which: str) -> None:
        """All luck from the seed, and the date from the loop."""
        for i, layer in enumerate(layers_of(handler)):
            if id(layer) in self._seeded:
                continue  # a target's own layer, shared with the other handler
            self._seeded.add(id(layer))
            if hasattr(layer, "draw"):
                layer.draw = Random(f"{self.seed}:{which}{i}").random  # noqa: S311
            if isinstance(layer, Cache):
                layer.clock = _date_s

    @property
    def handlers(self) -> list[Handler]:
        """The outermost layers: of chats, and of embeddings once one was asked for."""
        return [self.handler] if self._embed_handler is None else [self.handler, self._embed_handler]

    def _embed(self) -> Handler:
        if self._embed_handler is None:
            self.every_stack.append(ModelStack(self._targets, policy=self.policy, cache=self._cache, kind="embed"))
            self._embed_handler = self.every_stack[-1].handler()
            self._seed_layers(self._embed_handler, "embed:")
        return self._embed_handler

    def _hear(self, event: Any) -> None:
        """An event happened: into the log."""
        kind = type(event).__name__
        self.events[kind] += 1
        if isinstance(event, AttemptEnded):
            self.sent[event.attempt.kind] += 1
        self._hash.update(kind.encode())
        self._hash.update(msgspec.json.encode(event))

    @property
    def log_hash(self) -> str:
        """The digest of every event so far, in order."""
        return self._hash.hexdigest()

    @property
    def ended(self) -> int:
        """The calls that have ended, well or not."""
        return sum(self.counts.values()) - self.counts["lost"]

    @property
    def requests(self) -> int:
        """What all providers were asked."""
        return sum(provider.requests for provider in self.providers)

    async def ask(
        self,
        number: int,
        *,
        stream: bool = False,
        texts: Sequence[str] = (),
        deadline_s: float | None = None,
        text: str = "",
        temperature: float = 1.0,
        **fields: Any,
    ) -> Ended:
        """One call, read to its end; written into the books. With `texts` an embedding. A cancellation passes through and is counted."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        state = CallState(self._listeners, f"{self.seed}-{number}")
        asked = text or f"question {number} of {self.seed}"
        request: Any = EmbedRequest(texts=tuple(texts))
        if not texts:
            request = ChatRequest(messages=(Message.user(asked),), temperature=temperature)
        call: Call[Any] = Call(request=request, state=state, stream=stream, deadline_s=deadline_s, **fields)
        try:
            target, error, is_right = await self._answered(call, f"re: {asked} ", texts)
        except asyncio.CancelledError:
            self.counts["CancelledError"] += 1
            self.attempts += state.attempts
            raise
        seconds = loop.time() - begun
        allowed_s = self.policy.deadline_s if deadline_s is None else deadline_s
        late_s = float("-inf") if allowed_s is None else seconds - allowed_s
        ended = Ended(
            number=number,
            error=error,
            seconds=seconds,
            attempts=state.attempts,
            late_s=late_s,
            target=target,
            trail=state.trail,
        )
        self._book(ended, is_lost=not is_right or late_s > SLACK_S)
        return ended

    async def _answered(self, call: Call[Any], expected: str, texts: Sequence[str]) -> tuple[str, Exception | None, bool]:
        """Who answered, what failed, and whether what came is right: the `expected` text, or the vectors of `texts`."""
        target = ""
        try:
            answer = await (self._embed() if texts else self.handler)(call)
            target = answer.target
            if isinstance(answer, EmbedReply):
                is_right = answer.vectors.tolist() == vectors(texts, DIMENSIONS).tolist()
            else:
                is_right = (await _read(answer) if isinstance(answer, Stream) else answer.text) == expected
        except SurefootError as failure:
            partial = failure.partial if isinstance(failure, Interrupted) else ""
            return target, failure, expected.startswith(partial)
        except Exception as failure:  # noqa: BLE001 - an error that is none of ours is a call lost
            return target, failure, False
        return target, None, is_right

    def _book(self, ended: Ended, *, is_lost: bool) -> None:
        self.counts[ended.kind] += 1
        self.counts["lost"] += is_lost
        self.free += ended.error is None and ended.attempts == 0
        self.attempts += ended.attempts
        self.latest_s = max(self.latest_s, ended.late_s)

    async def in_flight(self, calls: int, width: int, ask: Callable[[int], Awaitable[Any]] | None = None) -> None:
        """`calls` calls, `width` of them at any time."""
        left: Iterator[int] = iter(range(calls))

        async def worker() -> None:
            for number in left:
                await (ask or self.ask)(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(worker())

    async def arrivals(self, per_s: float, seconds: float, ask: Callable[[int], Awaitable[Any]] | None = None) -> None:
        """Calls at `per_s` for `seconds`, at random distances, none waiting for another."""
        loop = asyncio.get_running_loop()
        until = at = loop.time()
        until += seconds
        number = 0
        async with asyncio.TaskGroup() as group:
            while (at := at + self.rng.expovariate(per_s)) < until:
                await asyncio.sleep(at - loop.time())
                group.create_task(_awaited((ask or self.ask)(number)))
                number += 1

    async def left_over(self) -> list[str]:
        """What is still held once nothing is under way: tasks, layers, connections. Empty is what it should be."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_S
        while loop.time() < until and len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - the clock is virtual
            await asyncio.sleep(0.05)
        await asyncio.sleep(0)  # the callbacks of whatever ended last
        left = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        left += [f"{provider.name}: {provider.in_flight} in flight" for provider in self.providers if not provider.idle()]
        held = {
            id(layer): layer for handler in self.handlers for layer in layers_of(handler) if hasattr(layer, "idle") and not layer.idle()
        }
        return [*left, *(f"{type(layer).__name__} holds something" for layer in held.values())]


async def _read(stream: Stream) -> str:
    """What a reader has in the end who heeds the markers: after a restart only what came since."""
    got: list[str] = []
    async for delta in stream:
        if delta.is_restart:
            got.clear()
        got.append(delta.text)
    return "".join(got)


def _date_s() -> float:
    """The world's date, in seconds since 1970: as virtual as its time."""
    return EPOCH_S + asyncio.get_running_loop().time()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def layers_of(handler: Any) -> list[Any]:
    """Every layer inside `handler`, outermost first."""
    stack: list[Any] = [handler]
    for layer in getattr(handler, "layers", ()):
        stack.append(layer)
        for inner in getattr(layer, "handlers", ()):
            stack.extend(layers_of(inner))
    for inner in (getattr(handler, "provider", None), *getattr(handler, "handlers", ())):
        if inner is not None:
            stack.extend(layers_of(inner))
    return stack


def failures_of(error: BaseException | None) -> list[BaseException]:
    """`error` taken apart: every failure inside it, in order."""
    if isinstance(error, Exhausted | BatchFailed):
        return [inner for one in error.exceptions for inner in failures_of(one)]
    return [] if error is None else [error]
