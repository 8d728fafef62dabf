"""How each layer of the registry is built for its contract: small limits, so that waiting and refusing happen."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path

from surefoot import layers
from surefoot.core.stack import stack

LAYERS = {
    path.stem: f"surefoot.layers.{path.parent.name}.{path.stem}"
    for path in sorted(Path(layers.__file__).parent.glob("*/*.py"))
    if not path.stem.startswith("_")
}
ASKS_AGAIN = {"resume"}


def written(name):
    """True if the layer's module is there."""
    return name in LAYERS


def layer(name, *args, **settings):
    module = import_module(LAYERS[name])
    kind = next(value for key, value in vars(module).items() if key.lower() == name.replace("_", ""))
    return kind(*args, **settings)


def draw(seed=7):
    return random.Random(seed).random


def cache(provider):
    from surefoot.storage.memory import MemoryStore

    return stack(provider, layer("cache", MemoryStore(max_bytes=1)))  # holds nothing: the contract asks the same thing over and over


def semantic(provider):
    from surefoot.layers.reuse.cache import Cache
    from surefoot.storage.memory import MemoryStore

    async def alike(call, one, other):
        return 1.0

    return stack(provider, layer("semantic", Cache(MemoryStore(max_bytes=1)), alike=alike, threshold=0.9))


def budget(provider):
    from surefoot.settings import SpendLimit
    from surefoot.usage.quotes import Quote

    return stack(provider, layer("budget", limits=(SpendLimit(usd=1e9),), quote=lambda _: Quote.exactly(1.0)))


class OtherProcesses:
    """What other processes would say: go on."""

    def begin(self):
        return ""

    def end(self, *, ok):
        pass

    def describe(self):
        return "in a test"


def retry(provider):
    from surefoot.rules.retry_budget import RetryBudget

    return stack(provider, layer("retry", attempts=4, budget=RetryBudget(), draw=draw()))


LAYER_CASES = {
    "trace": lambda provider: stack(provider, layer("trace")),
    "deadline": lambda provider: stack(provider, layer("deadline", deadline_s=60)),
    "cache": cache,
    "semantic": semantic,
    "batch": lambda provider: stack(provider, layer("batch")),
    "coalesce": lambda provider: stack(provider, layer("coalesce", always=True)),
    "context_window": lambda provider: stack(provider, layer("context_window", tokens=1000)),
    "resume": lambda provider: stack(provider, layer("resume")),
    "lifetime": lambda provider: stack(provider, layer("lifetime")),
    "fallback": lambda provider: layer("fallback", handlers=(provider, provider)),
    "retry": retry,
    "balance": lambda provider: layer("balance", handlers=(provider, provider), draw=draw()),
    "hedge": lambda provider: stack(provider, layer("hedge", after=0.1), layer("attempt")),
    "shared": lambda provider: stack(provider, layer("shared", source=OtherProcesses())),
    "concurrency": lambda provider: stack(provider, layer("concurrency", limit=1)),
    "rate": lambda provider: stack(provider, layer("rate", requests_per_minute=6000, tokens_per_minute=150_000, estimate=lambda _: 20)),
    "breaker": lambda provider: stack(provider, layer("breaker", draw=draw())),
    "budget": budget,
    "attempt": lambda provider: stack(provider, layer("attempt", target="a")),
    "timeout": lambda provider: stack(provider, layer("timeout", first_token_s=20, idle_s=20)),
    "chaos": lambda provider: stack(provider, layer("chaos", slow_rate=0.5, slow_s=0.1)),
}
