"""How each room of the registry is built for its contract: small limits, so that waiting and refusing happen."""

from __future__ import annotations

import random
from importlib.util import find_spec

from surefoot.registry import LAYERS, load
from surefoot.stack import stack

ASKS_AGAIN = {"resume"}


def written(name):
    """True if the room's module is there."""
    return find_spec(LAYERS[name].partition(":")[0]) is not None


def room(name, *args, **settings):
    return load(LAYERS[name])(*args, **settings)


def draw(seed=7):
    return random.Random(seed).random


def cache(edge):
    from surefoot.stores.memory import MemoryStore

    return stack(edge, room("cache", MemoryStore(max_bytes=1)))  # holds nothing: the contract asks the same thing over and over


def semantic(edge):
    from surefoot.layers.cache import Cache
    from surefoot.stores.memory import MemoryStore

    async def alike(call, one, other):
        return 1.0

    return stack(edge, room("semantic", Cache(MemoryStore(max_bytes=1)), alike=alike, threshold=0.9))


def budget(edge):
    from surefoot.quotes import Quote
    from surefoot.target import SpendLimit

    return stack(edge, room("budget", limits=(SpendLimit(usd=1e9),), quote=lambda _: Quote.exactly(1.0)))


def retry(edge):
    from surefoot.rules.backoff import RetryBudget

    return stack(edge, room("retry", attempts=4, budget=RetryBudget(), draw=draw()))


ROOMS = {
    "trace": lambda edge: stack(edge, room("trace")),
    "deadline": lambda edge: stack(edge, room("deadline", deadline_s=60)),
    "cache": cache,
    "semantic": semantic,
    "batch": lambda edge: stack(edge, room("batch")),
    "coalesce": lambda edge: stack(edge, room("coalesce", always=True)),
    "window": lambda edge: stack(edge, room("window", tokens=1000)),
    "resume": lambda edge: stack(edge, room("resume")),
    "lifetime": lambda edge: stack(edge, room("lifetime")),
    "fallback": lambda edge: room("fallback", handlers=(edge, edge)),
    "retry": retry,
    "balance": lambda edge: room("balance", handlers=(edge, edge), draw=draw()),
    "hedge": lambda edge: stack(edge, room("hedge", after=0.1), room("attempt")),
    "concurrency": lambda edge: stack(edge, room("concurrency", limit=1)),
    "rate": lambda edge: stack(edge, room("rate", requests_per_minute=6000, tokens_per_minute=150_000, estimate=lambda _: 20)),
    "breaker": lambda edge: stack(edge, room("breaker", draw=draw())),
    "budget": budget,
    "attempt": lambda edge: stack(edge, room("attempt", target="a")),
    "timeout": lambda edge: stack(edge, room("timeout", first_token_s=20, idle_s=20)),
    "chaos": lambda edge: stack(edge, room("chaos", slow_rate=0.5, slow_s=0.1)),
}
