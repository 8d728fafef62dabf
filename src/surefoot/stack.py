"""A call goes through rooms; a room is an async function `(call, inner) -> reply`. Here they are put in a row.

    trace(deadline(cache(semantic(coalesce(batch(lifetime(fallback(balance(T1a, T1b), T2, ...))))))))    where each target T is
    retry(hedge(concurrency(rate(breaker(budget(attempt(timeout(chaos(edge)))))))))    batch: embeddings only; chaos: tests only

Why this order: a cached answer is free, so it never meets a budget. Fallback takes whole targets, so each owns its breaker and its
limits. A slot must not sleep through a backoff: concurrency is inside retry. The breaker stands inside the queue: 500 calls queued for a
dead host on 20 slots cost 500 wire calls with the breaker outside and 20 with it inside. Budget and attempt sit per attempt: the price
is the target's, and a hedge pays twice. resume, opt-in, stands outside fallback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import CoroutineType
from typing import Any, Protocol, TypeAlias

from surefoot.settle import Outcome, Stream
from surefoot.types import Call

CALL_ORDER = ("trace", "deadline", "cache", "semantic", "coalesce", "resume", "window", "batch", "lifetime", "fallback")
TARGET_ORDER = ("retry", "hedge", "concurrency", "rate", "breaker", "budget", "attempt", "timeout", "chaos")

Handler: TypeAlias = Callable[[Call[Any]], Awaitable[Any]]  # ChatRequest | EmbedRequest -> ChatReply | EmbedReply | Stream


class Layer(Protocol):
    """A room: waits, calls `inner`, settles. It may carry `describe() -> str` with its settings, no secrets."""

    def __call__(self, call: Call[Any], inner: Handler) -> Awaitable[Any]:
        """Handle `call`, usually by awaiting `inner(call)`: an async function, or a plain one that gives what is to be awaited."""


class Gate:
    """A room that holds something from entry until the call is settled, told in plain functions: a row of gates is one coroutine.

    Ten coroutines inside one another cost a call more than what the gates do, and with 10,000 calls the garbage collector visits them all.
    """

    def enter(self, call: Call[Any], now: float) -> Any:
        """What is held for `call`; where it has to wait, a coroutine that gives it. Raises a Refused. `now`: the loop's clock, seconds."""
        raise NotImplementedError

    def answered(self, call: Call[Any], held: Any, now: float) -> None:
        """The call has an answer, and it is a stream."""

    def leave(self, call: Call[Any], held: Any, outcome: Outcome, now: float) -> None:
        """The call is settled: give back what was held. Called once for each entry."""
        raise NotImplementedError

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """The gate alone."""
        return await through((self,), call, inner)


async def through(gates: Sequence[Gate], call: Call[Any], inner: Handler) -> Any:
    """Enter each gate, ask, and when the call is settled leave them, the last entered first: also those before one that refuses."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    held: list[Any] = []
    try:
        for gate in gates:
            what = gate.enter(call, now)
            if type(what) is CoroutineType:
                what = await what
                now = loop.time()
            held.append(what)
        answer = await inner(call)
    except BaseException as error:
        _leave(gates, call, held, loop, Outcome(error=error))
        raise
    if isinstance(answer, Stream):
        for gate, what in zip(gates, held, strict=True):
            gate.answered(call, what, loop.time())
        answer.watch(partial(_leave, gates, call, held, loop))
    else:
        _leave(gates, call, held, loop, Outcome(reply=answer))
    return answer


def _leave(gates: Sequence[Gate], call: Call[Any], held: list[Any], loop: asyncio.AbstractEventLoop, outcome: Outcome) -> None:
    """Leave all that are held, once; one that fails keeps nobody else in. `loop` is the call's own: it may have died meanwhile."""
    now = loop.time()
    try:
        while held:
            what = held.pop()
            gates[len(held)].leave(call, what, outcome, now)
    finally:
        if held:
            _leave(gates, call, held, loop, outcome)


class Stack:
    """Layers around an edge, callable as one Handler."""

    __slots__ = ("_ask", "edge", "layers", "name")

    def __init__(self, edge: Handler, layers: tuple[Layer, ...], *, name: str = "") -> None:
        self.edge = edge
        self.layers = layers
        self.name = name
        ask = edge
        gates: tuple[Gate, ...] = ()
        for layer in reversed(layers):
            if isinstance(layer, Gate):
                gates = (layer, *gates)
                continue
            if gates:
                ask, gates = partial(through, gates, inner=ask), ()
            ask = partial(layer, inner=ask)
        if gates:
            ask = partial(through, gates, inner=ask)
        self._ask = ask

    def __call__(self, call: Call[Any]) -> Awaitable[Any]:
        """Ask: the first named layer sees the call first."""
        return self._ask(call)


def stack(edge: Handler, *layers: Layer, name: str = "") -> Stack:
    """First named sees the call first: stack(edge, retry, breaker) is retry(breaker(edge))."""
    return Stack(edge, layers, name=name)


def describe(handler: Handler, *, indent: int = 0) -> str:
    """The rooms in order, one a line, with their settings; no secrets."""
    pad = "  " * indent
    if not isinstance(handler, Stack):
        inner = getattr(handler, "handlers", None)
        own = getattr(handler, "describe", None)
        edge = getattr(handler, "__self__", handler)  # a bound method stands for the edge it belongs to
        title = pad + (own() if own is not None else f"edge: {type(edge).__name__}")
        return "\n".join([title, *(describe(one, indent=indent + 1) for one in inner or ())])
    lines = [pad + handler.name] if handler.name else []
    for layer in handler.layers:
        own = getattr(layer, "describe", None)
        lines.append(pad + "  " + (own() if own is not None else type(layer).__name__.lower()))
    edge = describe(handler.edge, indent=indent + 1)
    return "\n".join([*lines, edge])
