"""A world by seed: hours of traffic in seconds of real time, and the same seed gives the same events.

    async def scenario() -> None:
        world = World(7, Provider("a:m", serve=lambda _: Serving(after_s=0.2)))
        await asyncio.gather(*(world.ask(n) for n in range(1000)))
        print(world.counts, await world.left_over(), world.log_hash)

    virtual_run(scenario())

A World puts the real rooms around its providers, in the order in which models do, draws all luck from its seed, and keeps the books.
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

from surefoot.errors import ConnectionLost, Exhausted, Interrupted, SurefootError
from surefoot.events import AttemptEnded
from surefoot.rooms import Rooms
from surefoot.settle import Stream, prime
from surefoot.stack import Handler
from surefoot.target import Policy
from surefoot.testing.virtual import virtual_run
from surefoot.types import Call, ChatReply, ChatRequest, Delta, Message, Tally, Traits, Usage

__all__ = ["Ended", "Provider", "Serving", "World", "failures_of", "rooms_of", "virtual_run"]

DRAIN_S = 3600.0  # virtual seconds for what is still under way to end
SLACK_S = 0.010  # after its deadline a call may take so long to say so


class Serving(Struct, frozen=True, kw_only=True):
    """How one request is served: an answer after `after_s`, or `fault` in its place.

    In a stream `fault` comes after `breaks_at` deltas (0: before the first); `is_cut`: there it ends cleanly without its terminal marker;
    `stalls`: there it falls silent. A plain answer that is cut is a ConnectionLost.
    """

    after_s: float = 0.1
    gap_s: float = 0.01
    fault: SurefootError | None = None
    breaks_at: int = 0
    is_cut: bool = False
    stalls: bool = False

    @property
    def breaks(self) -> bool:
        """True if it does not end well."""
        return self.fault is not None or self.is_cut or self.stalls


class Provider:
    """An edge that serves as `serve(call)` says: `Provider("a:m", serve=lambda call: Serving(after_s=0.2))`.

    Each answer repeats what was asked, so that nobody gets another's. `requests`, `started_s` (the loop's clock), `in_flight`, `peak`,
    `open_streams` and `answered` are its books; `headers(call)` leaves rate-limit headers as a real edge does.
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
        self.traits = traits or Traits()
        self.headers = headers
        self.usage = usage or Usage(input_tokens=10, output_tokens=5)
        self.started_s: list[float] = []
        self.keeps_times = True
        self.requests = 0
        self.in_flight = 0
        self.open_streams = 0
        self.peak = 0
        self.answered = 0

    def idle(self) -> bool:
        """True if nothing is under way here."""
        return self.in_flight == 0 and self.open_streams == 0

    async def chat(self, call: Call[ChatRequest]) -> ChatReply | Stream:
        """One exchange."""
        self.requests += 1
        if self.keeps_times:
            self.started_s.append(asyncio.get_running_loop().time())
        serving = self.serve(call)
        if call.stream:
            return await prime(_Wire(self, serving, _words(call)), target=self.name)
        self.enter()
        try:
            if serving.stalls:
                await asyncio.sleep(1e9)
            await asyncio.sleep(serving.after_s)
            if self.headers is not None:
                call.tally.memo["rate_headers"] = self.headers()
            if serving.breaks:
                raise serving.fault or ConnectionLost("the answer was cut", target=self.name)
        finally:
            self.in_flight -= 1
        self.answered += 1
        return ChatReply(text="".join(_words(call)), usage=self.usage, model=self.name, target=self.name)

    def enter(self) -> None:
        """One more under way."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    async def aclose(self) -> None:
        """Nothing to close."""


class _Wire:
    """A stream under way."""

    __slots__ = ("_at", "_open", "_provider", "_serving", "_words")

    def __init__(self, provider: Provider, serving: Serving, words: list[str]) -> None:
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


class Ended(Struct, frozen=True, kw_only=True):
    """How one call ended, as its caller saw it. `late_s` is how long after its deadline, negative if before."""

    number: int
    error: BaseException | None = None
    seconds: float = 0.0
    attempts: int = 0
    late_s: float = float("-inf")
    target: str = ""

    @property
    def kind(self) -> str:
        """The class name of the error, "" for success."""
        return type(self.error).__name__ if self.error is not None else ""


class World:
    """Providers, the rooms around them, and the books: `World(seed, provider, policy=Policy(attempts=6))`.

    `targets` are providers in order of preference, or lists of equal ones. `tune(door)` may set a target's shared rooms (`rate`,
    `concurrency`, ...) before they are put together. `counts` has the endings by kind ("" is success), and "lost" for each call that ended
    in anything but a right answer or one typed error before its deadline.
    """

    def __init__(
        self,
        seed: int,
        *targets: Provider | Sequence[Provider],
        policy: Policy | None = None,
        tune: Callable[[Any], None] | None = None,
        log: bool = True,
    ) -> None:
        self.seed = seed
        self.rng = Random(f"{seed}:world")  # noqa: S311 - a world by seed
        self.policy = policy or Policy()
        self.providers = [one for given in targets for one in ([given] if isinstance(given, Provider) else given)]
        self.rooms = Rooms(list(targets), policy=self.policy, cache=None, kind="chat")
        self.doors = [spec.door(self.policy) for group in self.rooms._groups for spec in group]  # noqa: SLF001 - held, so the rooms find them
        for door in self.doors:
            if tune is not None:
                tune(door)
        self.handler: Handler = self.rooms.handler()
        for i, room in enumerate(rooms_of(self.handler)):
            if hasattr(room, "draw"):
                room.draw = Random(f"{seed}:{i}").random  # noqa: S311
        self.counts: Counter[str] = Counter()
        self.attempts = 0
        self.latest_s = float("-inf")  # the longest any call ended after its deadline
        self.events: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()  # wire attempts by kind: first, retry, fallback, hedge, resume
        self._hash = blake2b(digest_size=8)
        self._listeners = (self._hear,) if log else ()

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
    def requests(self) -> int:
        """What all providers were asked."""
        return sum(provider.requests for provider in self.providers)

    async def ask(self, number: int, *, stream: bool = False, deadline_s: float | None = None, text: str = "", **fields: Any) -> Ended:
        """One call, read to its end; written into the books. A cancellation passes through and is counted."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        tally = Tally(self._listeners, f"{self.seed}-{number}")
        asked = text or f"question {number} of {self.seed}"
        request = ChatRequest(messages=(Message.user(asked),), temperature=1.0)
        call: Call[Any] = Call(request=request, tally=tally, stream=stream, deadline_s=deadline_s, **fields)
        expected = f"re: {asked} "
        error: BaseException | None = None
        target, is_right = "", True
        try:
            answer = await self.handler(call)
            target = answer.target
            got = "".join([delta.text async for delta in answer]) if isinstance(answer, Stream) else answer.text
            is_right = got == expected
        except SurefootError as failure:
            error = failure
            partial = failure.partial if isinstance(failure, Interrupted) else ""
            is_right = expected.startswith(partial)
        except asyncio.CancelledError:
            self.counts["CancelledError"] += 1
            self.attempts += tally.attempts
            raise
        except Exception as failure:  # noqa: BLE001 - an error that is none of ours is a call lost
            error, is_right = failure, False
        seconds = loop.time() - begun
        allowed_s = self.policy.deadline_s if deadline_s is None else deadline_s
        late_s = float("-inf") if allowed_s is None else seconds - allowed_s
        ended = Ended(number=number, error=error, seconds=seconds, attempts=tally.attempts, late_s=late_s, target=target)
        self._book(ended, is_lost=not is_right or late_s > SLACK_S)
        return ended

    def _book(self, ended: Ended, *, is_lost: bool) -> None:
        self.counts[ended.kind] += 1
        self.counts["lost"] += is_lost
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
        """What is still held once nothing is under way: tasks, rooms, connections. Empty is what it should be."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_S
        while loop.time() < until and len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - the clock is virtual
            await asyncio.sleep(0.05)
        left = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        left += [f"{provider.name}: {provider.in_flight} in flight" for provider in self.providers if not provider.idle()]
        for room in rooms_of(self.handler):
            if hasattr(room, "idle") and not room.idle():
                left.append(f"{type(room).__name__} holds something")
        return left


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def rooms_of(handler: Any) -> list[Any]:
    """Every room inside `handler`, outermost first."""
    rooms: list[Any] = [handler]
    for layer in getattr(handler, "layers", ()):
        rooms.append(layer)
        for inner in getattr(layer, "handlers", ()):
            rooms.extend(rooms_of(inner))
    for inner in (getattr(handler, "edge", None), *getattr(handler, "handlers", ())):
        if inner is not None:
            rooms.extend(rooms_of(inner))
    return rooms


def failures_of(error: BaseException | None) -> list[BaseException]:
    """`error` taken apart: every failure inside it, in order."""
    if isinstance(error, Exhausted):
        return [inner for one in error.exceptions for inner in failures_of(one)]
    return [] if error is None else [error]
