"""An adapter's fields as a model: what is said of the first target and of the policy, and the model that equal settings share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from threading import Lock
from typing import Any

import msgspec

from surefoot._documented import Documented
from surefoot.errors import Misconfigured
from surefoot.facts import efforts_known, output_limit
from surefoot.models.chat import ChatModel
from surefoot.models.embed import EmbedModel
from surefoot.providers.registry import PROVIDERS, provider
from surefoot.secret import KEY_REFERENCES, Masked, Secret
from surefoot.settings import DEFAULTS, Policy, Target
from surefoot.usage.windows import ContextSize, context_size

SHARED_MODELS = 256  # a process with more settings than this builds some again; what is counted per target is shared all the same
TARGET_FIELDS = (  # of Settings, as Target has them
    "base_url", "api_key", "headers", "options", "client", "lane", "requests_per_minute", "tokens_per_minute", "concurrency",
    "context_tokens", "input_usd_per_mtok", "output_usd_per_mtok", "dimensions",
)  # fmt: skip
POLICY_FIELDS = ("deadline_s", "attempts", "hedge_after", "budget_usd")  # of Settings; all else of a Policy stands in `policy`


class Settings(Masked, Documented, frozen=True, kw_only=True):
    """What a model is built from, as adapters' fields say it: the first target's settings, the fallbacks, the policy, the cache."""

    model: str
    """The first target, as "provider:model"."""
    fallbacks: tuple[str | Target, ...] = ()
    """The targets asked after it, in order."""
    base_url: str = ""
    """Of the first target; see `Target.base_url`."""
    api_key: str | Secret | None = None
    """Of the first target; see `Target.api_key`."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of the first target; see `Target.headers`."""
    options: tuple[tuple[str, Any], ...] = ()
    """Of the first target; see `Target.options`."""
    client: Any = None
    """Of the first target; see `Target.client`."""
    lane: Any = "auto"
    """Of the first target; see `Target.lane`."""
    requests_per_minute: float | None = None
    """Of the first target; see `Target.requests_per_minute`."""
    tokens_per_minute: float | None = None
    """Of the first target; see `Target.tokens_per_minute`."""
    concurrency: int | None = None
    """Of the first target; see `Target.concurrency`."""
    context_tokens: int | None = None
    """Of the first target; see `Target.context_tokens`."""
    input_usd_per_mtok: float | None = None
    """Of the first target; see `Target.input_usd_per_mtok`."""
    output_usd_per_mtok: float | None = None
    """Of the first target; see `Target.output_usd_per_mtok`."""
    dimensions: int | None = None
    """Of the first target; see `Target.dimensions`."""
    deadline_s: float | None = DEFAULTS.deadline_s
    """See `Policy.deadline_s`."""
    attempts: int = DEFAULTS.attempts
    """See `Policy.attempts`."""
    hedge_after: Any = None
    """See `Policy.hedge_after`."""
    budget_usd: float | None = None
    """See `Policy.budget_usd`."""
    policy: Policy | None = None
    """Everything else of the policy; of the four fields above, those count. None: the defaults."""
    cache: Any = None
    """The model's cache, as `ChatModel` takes it. None: no cache."""

    def targets(self) -> list[str | Target]:
        """The model's own target, then the fallbacks. Raises Misconfigured for a name without provider or a number out of range."""
        first = Target(self.model, **{name: getattr(self, name) for name in TARGET_FIELDS})
        return [first, *self.fallbacks]

    def check(self, *, given: Any, word: str, owner: str) -> None:
        """Raise Misconfigured where the fields of `owner` contradict each other, before anything is asked.

        `given` is the core model passed as `word` ("chat" or "embed"), or None.
        """
        if given is None:
            if not self.model:
                raise Misconfigured(f"{owner}: say model='provider:model', or {word}= a model you built")
            for target in self.targets():
                named = target if isinstance(target, Target) else Target(target)
                provider(named.provider, model=named.model)
            self.whole_policy()
            return
        both = [name for name in self.__struct_fields__ if name != "model" and getattr(self, name) != getattr(PLAIN, name)]
        if both:
            raise Misconfigured(f"{owner}: {', '.join(both)} and {word}= are both given; say it where that model is built")

    def check_portable(self, *, given: Any, owner: str) -> None:
        """Raise TypeError where a pickle of `owner` would lose what the copy needs in order to ask the same."""
        if given:
            raise TypeError(f"{owner} around a model you built cannot be pickled: build it there, or say its settings as fields")
        if self.client is not None or any(isinstance(one, Target) and one.client is not None for one in self.fallbacks):
            raise TypeError(f"{owner} with an SDK client cannot be pickled: build it there, or say base_url, api_key and options")
        if not isinstance(self.cache, str | None):
            raise TypeError(f"{owner} with a Store cannot be pickled; name the cache, such as 'sqlite:PATH' or 'redis://...'")

    def whole_policy(self) -> Policy:
        """The policy. Raises Misconfigured for numbers that mean nothing."""
        return msgspec.structs.replace(self.policy or DEFAULTS, **{name: getattr(self, name) for name in POLICY_FIELDS})


PLAIN = Settings(model="")
_building = Lock()


def chat_model(settings: Settings) -> ChatModel:
    """The ChatModel for `settings`; equal settings share one, and so its cache and its budget. Raises Misconfigured."""
    with _building:
        return (_chat_model if _hashable(settings) else _chat_model.__wrapped__)(settings)


def embed_model(settings: Settings) -> EmbedModel:
    """The EmbedModel for `settings`; equal settings share one. Raises Misconfigured."""
    with _building:
        return (_embed_model if _hashable(settings) else _embed_model.__wrapped__)(settings)


def _hashable(settings: Settings) -> bool:
    try:
        hash(settings)
    except TypeError:  # a Target whose provider options hold a list or a dict
        return False
    return True


@lru_cache(maxsize=SHARED_MODELS)
def _chat_model(settings: Settings) -> ChatModel:
    return ChatModel(*settings.targets(), policy=settings.whole_policy(), cache=settings.cache)


@lru_cache(maxsize=SHARED_MODELS)
def _embed_model(settings: Settings) -> EmbedModel:
    return EmbedModel(*settings.targets(), policy=settings.whole_policy(), cache=settings.cache)


def context_size_of(model: ChatModel, name: str) -> ContextSize | None:
    """What fits the window of `name`, a model of the provider of `model`'s first target; None if neither it nor the price list knows."""
    own = model.traits.context_tokens if _whole_name(model, name) == model.targets[0] else None
    return context_size(_listed_name(model, name)) if own is None else ContextSize(total=own, question=own)


def output_limit_of(model: ChatModel, name: str) -> int | None:
    """The most tokens that `name`, as above, writes in one answer, thinking included; None where nobody knows."""
    provider, _, own = _listed_name(model, name).partition(":")
    return output_limit(provider, own)


def efforts_of(model: ChatModel, name: str) -> tuple[str, ...] | None:
    """The words that `name`, as above, knows for how much to think; None where nobody knows."""
    provider, _, own = _listed_name(model, name).partition(":")
    return efforts_known(provider, own)


def _whole_name(model: ChatModel, name: str) -> str:
    """`name`, or the first target's, as "provider:model"."""
    target = model.targets[0]
    provider = f"{target.partition(':')[0]}:"
    name = name or target
    return name if name == target or name.startswith(provider) else provider + name


def _listed_name(model: ChatModel, name: str) -> str:
    """The same as tables and lists know it: of a deployment of the first target its base model's."""
    whole, base = _whole_name(model, name), model.traits.base_model
    return f"{whole.partition(':')[0]}:{base}" if base and whole == model.targets[0] else whole


def stored(target: str | Target) -> str | dict[str, Any]:
    """A fallback as it is stored: its name, or its plain settings, which `normalise_kwargs` reads again.

    Keys, clients, headers and options stay out.
    """
    if not isinstance(target, Target):
        return target
    plain = Target(target.name)
    kept = [field for field in Target.__struct_fields__ if field not in {"name", "client", "headers", "options"}]
    said = {
        field: value
        for field in kept
        if (value := getattr(target, field)) != getattr(plain, field) and not (isinstance(value, Secret) or callable(value))
    }
    return {"name": target.name, **said} if said else target.name


def stored_policy(policy: Policy | None) -> dict[str, Any] | None:
    """A policy as it is stored, which `normalise_kwargs` reads again: what differs from the defaults, without addresses."""
    if policy is None:
        return None
    plain: dict[str, Any] = msgspec.to_builtins(policy)
    return {name: value for name, value in plain.items() if getattr(policy, name) != getattr(DEFAULTS, name) and name != "budget_store"}


def pairs_of(values: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    """Headers or options as a Target has them."""
    return tuple(values.items()) if values else ()


def key_of(key: str | None) -> str | Secret | None:
    """A key as Target takes it: a reference ("env:NAME", ...) stays readable, a literal one is masked from here on."""
    return key if key is None or is_reference(key) else Secret(key)


def sharing(memo: dict[int, Any] | None, *shared: Any) -> dict[int, Any]:
    """A memo for deepcopy in which `shared` (models, targets, stores) stand for themselves: they hold limits, locks and keys."""
    return {**(memo or {}), **{id(one): one for one in shared if one is not None}}


def is_reference(key: str) -> bool:
    """True for "env:NAME", "file:PATH" and the like, which are no secrets themselves."""
    return key.startswith(KEY_REFERENCES)


def key_variable(model: str) -> str:
    """The customary environment variable for the key of `provider:model`."""
    name = model.partition(":")[0]
    entry = PROVIDERS.get(name)
    return entry.key_variables[0] if entry is not None and entry.key_variables else f"{name.upper()}_API_KEY"
