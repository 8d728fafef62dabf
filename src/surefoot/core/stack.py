"""The order of the layers and how they are stacked. A layer is an async function `(call, inner) -> reply`.

    trace(deadline(cache(semantic(coalesce(batch(lifetime(fallback(balance(T1a, T1b), T2, ...))))))))    where each target T is
    retry(hedge(shared(concurrency(rate(breaker(budget(attempt(timeout(chaos(provider))))))))))    batch: embeddings; chaos: tests

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

from surefoot.core.stream import Outcome, Stream
from surefoot.types import Call, Traits
from surefoot.types.calls import loop_of

CALL_ORDER = ("trace", "deadline", "cache", "semantic", "coalesce", "resume", "context_window", "batch", "lifetime", "fallback")
TARGET_ORDER = ("retry", "hedge", "shared", "concurrency", "rate", "breaker", "budget", "attempt", "timeout", "chaos")

Handler: TypeAlias = Callable[[Call[Any]], Awaitable[Any]]  # ChatRequest | EmbedRequest -> ChatReply | EmbedReply | Stream


class Layer(Protocol):
    """A layer: waits, calls `inner`, ends. It may have `describe() -> str` with its settings, no secrets."""

    def __call__(self, call: Call[Any], inner: Handler) -> Awaitable[Any]:
        """Handle `call`, usually by awaiting `inner(call)`: an async function, or a plain one that gives what is to be awaited."""


class Guard:
    """A layer that holds something until the call has finished, written as plain functions: a row of guards runs as one coroutine.

    Ten nested coroutines cost a call more than what the guards do, and with 10,000 calls the garbage collector visits them all.
    """

    def acquire(self, call: Call[Any], now: float) -> Any:
        """What is held for `call`; where it has to wait, a coroutine that gives it. Raises a Refused. `now`: the loop's clock, seconds."""
        raise NotImplementedError

    changes_call = False
    """Whether `changed` is asked for the call that those further in see."""

    def changed(self, call: Call[Any], held: Any) -> Call[Any]:
        """The call as those further in see it, where `held` makes another one of it."""
        del held
        return call

    def on_answer(self, call: Call[Any], held: Any, now: float) -> None:
        """The call has an answer, and it is a stream."""

    def release(self, call: Call[Any], held: Any, outcome: Outcome, now: float) -> None:
        """The call has finished: give back what was held. Called once for each `acquire`."""
        raise NotImplementedError

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """The guard by itself."""
        return await through((self,), call, inner)


async def through(guards: Sequence[Guard], call: Call[Any], inner: Handler) -> Any:
    """Acquire each guard, call, and release them in reverse when the call has finished; also those before a guard that refuses."""
    loop = loop_of(call)
    now = loop.time()
    held: list[Any] = []
    outer: _Outer = None
    try:
        for guard in guards:
            what = guard.acquire(call, now)
            if type(what) is CoroutineType:
                what = await what
                now = loop.time()
            held.append(what)
            if guard.changes_call and (changed := guard.changed(call, what)) is not call:
                outer, call = (call, len(held), outer), changed
        answer = await inner(call)
    except BaseException as error:
        _release_all(guards, call, outer, held, loop, Outcome(error=error))
        raise
    if isinstance(answer, Stream):
        now = loop.time()
        for guard, what in zip(guards, held, strict=True):
            guard.on_answer(call, what, now)
        answer.watch(partial(_release_all, guards, call, outer, held, loop))
    else:
        _release_all(guards, call, outer, held, loop, Outcome(reply=answer))
    return answer


_Outer: TypeAlias = "tuple[Call[Any], int, _Outer] | None"  # the call as the first so many guards saw it, and those further out


def _release_all(
    guards: Sequence[Guard], call: Call[Any], outer: _Outer, held: list[Any], loop: asyncio.AbstractEventLoop, outcome: Outcome
) -> None:
    """Release all that are held, once; one that fails does not keep the others. `loop` is the call's own: it may have died meanwhile."""
    now = loop.time()
    try:
        while held:
            if outer is not None and outer[1] == len(held):
                call, _, outer = outer
            what = held.pop()
            guards[len(held)].release(call, what, outcome, now)
    finally:
        if held:
            _release_all(guards, call, outer, held, loop, outcome)


class Stack:
    """Layers around a provider, callable as one Handler."""

    __slots__ = ("_ask", "layers", "name", "provider")

    def __init__(self, provider: Handler, layers: tuple[Layer, ...], *, name: str = "") -> None:
        self.provider = provider
        self.layers = layers
        self.name = name
        ask = provider
        guards: tuple[Guard, ...] = ()
        for layer in reversed(layers):
            if isinstance(layer, Guard):
                guards = (layer, *guards)
                continue
            if guards:
                ask, guards = partial(through, guards, inner=ask), ()
            ask = partial(layer, inner=ask)
        if guards:
            ask = partial(through, guards, inner=ask)
        self._ask = ask

    def __call__(self, call: Call[Any]) -> Awaitable[Any]:
        """Ask: the first named layer sees the call first."""
        return self._ask(call)


def stack(provider: Handler, *layers: Layer, name: str = "") -> Stack:
    """First named sees the call first: stack(provider, retry, breaker) is retry(breaker(edge))."""
    return Stack(provider, layers, name=name)


def names_of(handlers: Sequence[Handler]) -> tuple[str, ...]:
    """What the targets behind `handlers` are called; those without a name by their number, from 1."""
    return tuple(getattr(one, "name", "") or f"target {number}" for number, one in enumerate(handlers, 1))


def traits_of(handlers: Sequence[Handler]) -> tuple[Traits, ...]:
    """What the targets behind `handlers` can do; nothing is known of those that do not say."""
    return tuple(getattr(one, "traits", Traits()) for one in handlers)


def describe(handler: Handler, *, indent: int = 0) -> str:
    """The layers in order, one a line, with their settings; no secrets."""
    pad = "  " * indent
    if not isinstance(handler, Stack):
        inner = getattr(handler, "handlers", None)
        own = getattr(handler, "describe", None)
        provider = getattr(handler, "__self__", handler)  # a bound method stands for the provider it belongs to
        title = pad + (own() if own is not None else f"provider: {type(provider).__name__}")
        return "\n".join([title, *(describe(one, indent=indent + 1) for one in inner or ())])
    lines = [pad + handler.name] if handler.name else []
    for layer in handler.layers:
        own = getattr(layer, "describe", None)
        lines.append(pad + "  " + (own() if own is not None else type(layer).__name__.lower()))
    provider = describe(handler.provider, indent=indent + 1)
    return "\n".join([*lines, provider])
