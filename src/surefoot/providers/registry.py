"""Name -> "module:attribute": the one table of providers, layers and stores. Nothing is imported until it is used.

Plugins register a provider through the entry-point group `surefoot.providers`, with a Provider class as its value; what is known of it and
its models (keys, windows, prices' name, see `facts.ProviderFacts`) through `surefoot.facts`, under the same name.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from surefoot import facts
from surefoot.errors import Misconfigured
from surefoot.facts import ProviderFacts

if TYPE_CHECKING:
    from surefoot.settings import Target

ENTRY_POINT_GROUP, FACTS_GROUP = "surefoot.providers", "surefoot.facts"


PROVIDERS: dict[str, ProviderFacts] = dict(facts.ours())


def load(path: str) -> Any:
    """The attribute behind "module:attribute"."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _plugins() -> dict[str, ProviderFacts]:
    """The providers of plugins; those that bring facts are asked for them."""
    told = {point.name: point.load() for point in metadata.entry_points(group=FACTS_GROUP)}
    found = {
        point.name: told.get(point.name) or ProviderFacts(path=point.value) for point in metadata.entry_points(group=ENTRY_POINT_GROUP)
    }
    for name, known in told.items():
        facts.add(name, known)
    return found


def provider(name: str, *, lane: str = "auto", model: str = "") -> ProviderFacts:
    """The entry of provider `name`. Raises Misconfigured for an unknown one (with the nearest known) or a missing extra.

    With `lane="sdk"` the vendor's SDK is needed, too. `model` is what was asked of it, by which a name without provider is known.
    """
    entry = PROVIDERS.get(name) or _plugins().get(name)
    if entry is None:
        known = sorted({*PROVIDERS, *_plugins()})
        raise Misconfigured(f"unknown provider {name!r}: {_hint(name, model, known)}known are {', '.join(known)}")
    needs = (entry.sdk, *entry.needs) if entry.sdk and lane == "sdk" else entry.needs
    missing = [module for module in needs if not _installed(module)]
    if missing:
        raise Misconfigured(f'provider {name!r} needs {", ".join(missing)}, not installed here: run  pip install "surefoot[{entry.extra}]"')
    return entry


def _hint(name: str, model: str, known: list[str]) -> str:
    """What was probably meant: a provider that others call so, one of nearly that name, or a model whose name holds a colon."""
    meant = facts.provider_called(name) or (facts.prefixed(f"{name}:{model}") if model else "")
    import difflib

    near = [meant] if meant else difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def default_chats() -> dict[str, ProviderFacts]:
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
