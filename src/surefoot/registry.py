"""Name -> "module:attribute": the one table of providers, layers and stores. Nothing is imported until it is used.

Strangers register a provider through the entry-point group `surefoot.providers`, with an Edge class as its value.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from surefoot.errors import Misconfigured

if TYPE_CHECKING:
    from surefoot.target import Target

ENTRY_POINT_GROUP = "surefoot.providers"


class ProviderEntry(Struct, frozen=True, kw_only=True):
    """Where a provider lives: its Edge class, the modules it needs, its extra, its customary environment variables, what its models do.

    `sdk` is the vendor's module, needed by `lane="sdk"` alone; `default_chat` the model taken where a key is found and none is named.
    `address_variable`, `headers_variable` and `option_variables` (option, variable) are those that the vendor's SDK reads: they hold on
    every lane (see `credentials.placed`). Names that begin with one of `embedders` are known to embed only, with one of `talkers` to chat
    only, at the vendor's own address.
    """

    path: str
    needs: tuple[str, ...] = ()
    sdk: str = ""
    extra: str = ""
    key_variables: tuple[str, ...] = ()
    default_chat: str = ""
    address_variable: str = ""
    headers_variable: str = ""
    option_variables: tuple[tuple[str, str], ...] = ()
    kinds: tuple[str, ...] = ("chat", "embed")
    embedders: tuple[str, ...] = ()
    talkers: tuple[str, ...] = ()


PROVIDERS: dict[str, ProviderEntry] = {
    "openai": ProviderEntry(
        path="surefoot.providers.openai:OpenAIEdge",
        needs=("aiohttp",),
        sdk="openai",
        extra="openai",
        key_variables=("OPENAI_API_KEY",),
        default_chat="gpt-5-mini",
        address_variable="OPENAI_BASE_URL",
        headers_variable="OPENAI_CUSTOM_HEADERS",
        option_variables=(("organization", "OPENAI_ORG_ID"), ("project", "OPENAI_PROJECT_ID")),
        embedders=("text-embedding-",),
        talkers=("gpt-", "chatgpt-", "o1", "o3", "o4"),
    ),
    "anthropic": ProviderEntry(
        path="surefoot.providers.anthropic:AnthropicEdge",
        needs=("aiohttp",),
        sdk="anthropic",
        extra="anthropic",
        key_variables=("ANTHROPIC_API_KEY",),
        default_chat="claude-haiku-4-5",
        address_variable="ANTHROPIC_BASE_URL",
        headers_variable="ANTHROPIC_CUSTOM_HEADERS",
        kinds=("chat",),
    ),
    "google": ProviderEntry(
        path="surefoot.providers.google:GoogleEdge",
        needs=("aiohttp",),
        sdk="google.genai",
        extra="google",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        default_chat="gemini-3.5-flash-lite",
        address_variable="GOOGLE_GEMINI_BASE_URL",
        embedders=("gemini-embedding-", "text-embedding-", "embedding-"),
        talkers=("gemini-1", "gemini-2", "gemini-3", "gemma-"),
    ),
    "local": ProviderEntry(path="surefoot.providers.local:LocalEdge"),
}

LAYERS: dict[str, str] = {
    name: f"surefoot.layers.{name}:{name.capitalize()}"
    for name in (
        "trace", "deadline", "cache", "semantic", "coalesce", "resume", "batch", "lifetime", "fallback", "balance", "retry", "hedge",
        "concurrency", "rate", "breaker", "window", "budget", "attempt", "timeout", "chaos",
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


def provider(name: str, *, lane: str = "auto") -> ProviderEntry:
    """The entry of provider `name`. Raises Misconfigured for an unknown one (with the nearest known) or a missing extra.

    With `lane="sdk"` the vendor's SDK is needed, too.
    """
    entry = PROVIDERS.get(name) or _strangers().get(name)
    if entry is None:
        import difflib

        known = sorted({*PROVIDERS, *_strangers()})
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise Misconfigured(f"unknown provider {name!r}: {hint}known are {', '.join(known)}")
    needs = (entry.sdk, *entry.needs) if entry.sdk and lane == "sdk" else entry.needs
    missing = [module for module in needs if not _installed(module)]
    if missing:
        raise Misconfigured(f'provider {name!r} needs {", ".join(missing)}, not installed here: run  pip install "surefoot[{entry.extra}]"')
    return entry


def default_chats() -> dict[str, ProviderEntry]:
    """The chat targets that a key alone is enough for, by name, in the order in which they are tried."""
    return {f"{name}:{entry.default_chat}": entry for name, entry in PROVIDERS.items() if entry.default_chat}


def check_kind(target: Target, kind: str) -> None:
    """Raise Misconfigured if `target` names a model that cannot do `kind` ("chat" or "embed"), as far as its name tells."""
    entry = provider(target.provider)
    wanted = {"chat": "chat", "embed": "embed texts"}[kind]
    if kind not in entry.kinds:
        able = ", ".join(name for name, one in PROVIDERS.items() if kind in one.kinds)
        raise Misconfigured(f"target {target.name}: {target.provider} has no models that {wanted}; take one of {able}")
    wrong = entry.embedders if kind == "chat" else entry.talkers
    if not target.base_url and target.model.startswith(wrong):  # elsewhere a name may mean anything
        other = "an embedding model: give it to EmbedModel" if kind == "chat" else "a chat model: give it to ChatModel"
        raise Misconfigured(f"target {target.name} cannot {wanted}; it is {other}")
    if target.provider == "local":
        load(entry.path).check_kind(target, kind)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
