"""Name -> "module:attribute": the one table of providers, layers and stores. Nothing is imported until it is used.

Strangers register a provider through the entry-point group `surefoot.providers`, with an Edge class as its value.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

from msgspec import Struct

from surefoot.errors import Misconfigured

ENTRY_POINT_GROUP = "surefoot.providers"


class ProviderEntry(Struct, frozen=True, kw_only=True):
    """Where a provider lives: its Edge class, the modules it needs, its extra, its customary key variables."""

    path: str
    needs: tuple[str, ...] = ()
    extra: str = ""
    key_variables: tuple[str, ...] = ()


PROVIDERS: dict[str, ProviderEntry] = {
    "openai": ProviderEntry(
        path="surefoot.providers.openai:OpenAIEdge", needs=("openai", "aiohttp"), extra="openai", key_variables=("OPENAI_API_KEY",)
    ),
    "anthropic": ProviderEntry(
        path="surefoot.providers.anthropic:AnthropicEdge",
        needs=("anthropic", "aiohttp"),
        extra="anthropic",
        key_variables=("ANTHROPIC_API_KEY",),
    ),
    "google": ProviderEntry(
        path="surefoot.providers.google:GoogleEdge",
        needs=("google.genai",),
        extra="google",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    "local": ProviderEntry(path="surefoot.providers.local:LocalEdge"),
}

LAYERS: dict[str, str] = {
    name: f"surefoot.layers.{name}:{name.capitalize()}"
    for name in (
        "trace", "deadline", "cache", "coalesce", "resume", "batch", "fallback", "balance", "retry", "hedge", "concurrency", "rate",
        "breaker", "budget", "attempt", "timeout", "chaos",
    )
}  # fmt: skip

STORES: dict[str, str] = {
    "memory": "surefoot.stores.memory:MemoryStore",
    "sqlite": "surefoot.stores.sqlite:SQLiteStore",
    "redis": "surefoot.stores.redis:RedisStore",
}


def load(path: str) -> Any:
    """The attribute behind "module:attribute"."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _strangers() -> dict[str, ProviderEntry]:
    points = metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: ProviderEntry(path=point.value) for point in points}


def provider(name: str) -> ProviderEntry:
    """The entry of provider `name`. Raises Misconfigured for an unknown one (with the nearest known) or a missing extra."""
    entry = PROVIDERS.get(name) or _strangers().get(name)
    if entry is None:
        known = sorted({*PROVIDERS, *_strangers()})
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise Misconfigured(f"unknown provider {name!r}: {hint}known are {', '.join(known)}")
    missing = [module for module in entry.needs if not _installed(module)]
    if missing:
        raise Misconfigured(f'provider {name!r} needs {", ".join(missing)}, not installed here: run  pip install "surefoot[{entry.extra}]"')
    return entry


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
