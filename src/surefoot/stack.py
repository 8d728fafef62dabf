"""A call goes through rooms; a room is an async function `(call, inner) -> reply`. Here they are put in a row.

    trace(deadline(cache(semantic(coalesce(batch(fallback(balance(T1a, T1b), T2, ...)))))))    where each target T is
    retry(hedge(concurrency(rate(breaker(budget(attempt(timeout(chaos(edge)))))))))    batch: embeddings only; chaos: tests only

Why this order: a cached answer is free, so it never meets a budget. Fallback takes whole targets, so each owns its breaker and its
limits. A slot must not sleep through a backoff: concurrency is inside retry. The breaker stands inside the queue: 500 calls queued for a
dead host on 20 slots cost 500 wire calls with the breaker outside and 20 with it inside. Budget and attempt sit per attempt: the price
is the target's, and a hedge pays twice. resume, opt-in, stands outside fallback.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from surefoot.types import Call

CALL_ORDER = ("trace", "deadline", "cache", "semantic", "coalesce", "resume", "window", "batch", "fallback")
TARGET_ORDER = ("retry", "hedge", "concurrency", "rate", "breaker", "budget", "attempt", "timeout", "chaos")

Handler: TypeAlias = Callable[[Call[Any]], Awaitable[Any]]  # ChatRequest | EmbedRequest -> ChatReply | EmbedReply | Stream


class Layer(Protocol):
    """A room: waits, calls `inner`, settles. It may carry `describe() -> str` with its settings, no secrets."""

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Handle `call`, usually by awaiting `inner(call)`."""


class Stack:
    """Layers around an edge, callable as one Handler."""

    __slots__ = ("_ask", "edge", "layers", "name")

    def __init__(self, edge: Handler, layers: tuple[Layer, ...], *, name: str = "") -> None:
        self.edge = edge
        self.layers = layers
        self.name = name
        ask = edge
        for layer in reversed(layers):
            ask = partial(layer, inner=ask)
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
