"""What every framework's adapter needs: its fields into a model that equal settings share, its options into a request.

An adapter translates in, calls the model, translates out. What differs between frameworks is their messages; this is what does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any

from surefoot._documented import Documented
from surefoot.errors import Misconfigured
from surefoot.models.chat import ChatModel
from surefoot.models.embed import EmbedModel
from surefoot.models.requests import CALL_OPTIONS, COUNTS, FRACTIONS, extra_text, number
from surefoot.providers.registry import PROVIDERS, provider
from surefoot.secret import KEY_REFERENCES, Masked, Secret
from surefoot.settings import DEFAULTS, Policy, Target
from surefoot.types import ChatRequest, Message
from surefoot.usage.windows import ContextSize, context_size

SHARED_MODELS = 256  # a process with more settings than this builds some again; what is counted per target is shared all the same
CUSTOMARY = {  # the frameworks' words for ours, at construction and per call
    "timeout": "deadline_s",
    "request_timeout": "deadline_s",
    "stop_sequences": "stop",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "model_kwargs": "extra",
    "response_format": "schema",
    "model_name": "model",
    "api_base": "base_url",
    "additional_kwargs": "extra",
    "extra_body": "extra",
}
AS_USUAL = frozenset({"timeout", "request_timeout", "max_retries"})  # None means the default there; deadline_s=None switches it off
REQUEST_FIELDS = frozenset(ChatRequest.__struct_fields__) - {"messages"}
NUMBERS = REQUEST_FIELDS & (COUNTS | FRACTIONS)
OWN_FIELDS = (  # of an adapter: what its model is built from, beside its name
    "fallbacks", "base_url", "api_key", "requests_per_minute", "tokens_per_minute", "concurrency", "deadline_s", "attempts", "hedge_after",
    "budget_usd", "surefoot_cache",
)  # fmt: skip
NOT_NONE = frozenset({"model", "tool_choice", "reasoning_effort"})  # "" is their word for the provider's default


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
    requests_per_minute: float | None = None
    """Of the first target; see `Target.requests_per_minute`."""
    tokens_per_minute: float | None = None
    """Of the first target; see `Target.tokens_per_minute`."""
    concurrency: int | None = None
    """Of the first target; see `Target.concurrency`."""
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
    cache: Any = None
    """The model's cache, as `ChatModel` takes it. None: no cache."""

    def targets(self) -> list[str | Target]:
        """The model's own target, then the fallbacks. Raises Misconfigured for a name without provider or a number out of range."""
        first = Target(
            self.model,
            base_url=self.base_url,
            api_key=self.api_key,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            concurrency=self.concurrency,
            dimensions=self.dimensions,
        )
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
            self.policy()
            return
        both = [name for name in self.__struct_fields__ if name != "model" and getattr(self, name) != getattr(PLAIN, name)]
        if both:
            raise Misconfigured(f"{owner}: {', '.join(both)} and {word}= are both given; say it where that model is built")

    def check_portable(self, *, given: Any, owner: str) -> None:
        """Raise TypeError where a pickle of `owner` would hold a key, or would lose what the copy needs in order to ask the same."""
        keys = [self.api_key, *[one.api_key for one in self.fallbacks if isinstance(one, Target)]]
        if given:
            raise TypeError(f"{owner} around a model you built cannot be pickled: build it there, or say its settings as fields")
        if any(isinstance(key, Secret) for key in keys):
            raise TypeError(f"{owner} with a literal api_key cannot be pickled; pass a reference such as 'env:OPENAI_API_KEY' instead")
        if not isinstance(self.cache, str | None):
            raise TypeError(f"{owner} with a Store cannot be pickled; name the cache, such as 'sqlite:PATH' or 'redis://...'")

    def policy(self) -> Policy:
        """The policy. Raises Misconfigured for numbers that mean nothing."""
        return Policy(deadline_s=self.deadline_s, attempts=self.attempts, hedge_after=self.hedge_after, budget_usd=self.budget_usd)


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
    return ChatModel(*settings.targets(), policy=settings.policy(), cache=settings.cache)


@lru_cache(maxsize=SHARED_MODELS)
def _embed_model(settings: Settings) -> EmbedModel:
    return EmbedModel(*settings.targets(), policy=settings.policy(), cache=settings.cache)


def context_size_of(model: ChatModel, name: str) -> ContextSize | None:
    """What fits the window of `name`, a model of the provider of `model`'s first target; None if neither it nor the price list knows."""
    target = model.targets[0]
    provider = f"{target.partition(':')[0]}:"
    name = name or target
    if name != target and not name.startswith(provider):
        name = provider + name
    own = model.traits.context_tokens if name == target else None
    return context_size(name) if own is None else ContextSize(total=own, question=own)


def normalise_kwargs(words: Mapping[str, Any], *, known: Collection[str], owner: str) -> dict[str, Any]:
    """Constructor arguments with the frameworks' customary words translated: `timeout`, `max_retries` (attempts - 1), ...

    Raises Misconfigured for a word `owner` does not know, naming the nearest one: a typing error must not pass in silence.
    """
    found: dict[str, Any] = {}
    for word, value in words.items():
        name = word if word in known else "attempts" if word == "max_retries" else CUSTOMARY.get(word, word)
        if name not in known:
            import difflib

            near = difflib.get_close_matches(word, [*known, *CUSTOMARY, "max_retries"], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            own = " (a field of the provider's own goes into extra={...})" if "extra" in known else ""
            raise Misconfigured(f"{owner}: unknown field {word!r}; {hint}{own}")
        if value is None and word in AS_USUAL:
            continue
        found[name] = value + 1 if word == "max_retries" else tuple(map(_target, value or ())) if name == "fallbacks" else value
    return found


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


def _target(one: Any) -> Any:
    if not isinstance(one, Mapping):
        return one
    try:
        return Target(**one)
    except TypeError as wrong:
        raise Misconfigured(
            f"fallback {one.get('name', '')!r}: {wrong}; a Target's fields are {', '.join(Target.__struct_fields__)}"
        ) from None


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


def request_of(
    messages: Iterable[Message],
    defaults: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    target: str,
    conversions: Mapping[str, Callable[[Any], Any]],
    ignored: Collection[str] = (),
) -> tuple[ChatRequest, dict[str, Any]]:
    """The request, and what is said of the call itself (deadline_s, tenant, priority, tags), out of a framework's loose keywords.

    `options` (per call) win over `defaults` (the adapter's fields). Words nobody knows are the provider's own and travel in `extra`;
    `ignored` ones are the framework's. `target` is the first target's name: its provider may stand before a `model` given per call.
    `conversions` translate fields the framework spells differently (tools, tool_choice, schema).
    """
    fields: dict[str, Any] = {name: value for name, value in defaults.items() if value is not None}
    said: dict[str, Any] = {}
    foreign: dict[str, Any] = {}
    for word, value in filter(_is_said, options.items()):
        name = CUSTOMARY.get(word, word)
        if name in CALL_OPTIONS:
            said[name] = value
        elif name == "extra":
            foreign.update(value or {})
        elif name in REQUEST_FIELDS:
            fields[name] = "" if value is None and name in NOT_NONE else value
        elif name not in ignored:
            foreign[name] = value
    extra = {**fields.pop("extra", {}), **foreign}
    if "timeout" in extra:  # the SDKs' word for a bound on the call, no field of a body
        said.setdefault("deadline_s", extra.pop("timeout"))
    if extra:
        fields["extra"] = extra
    for name, convert in conversions.items():
        if name in fields:
            fields[name] = convert(fields[name])
    _spell(fields)
    if fields.get("model"):
        fields["model"] = fields["model"].removeprefix(f"{target.partition(':')[0]}:")
    return ChatRequest(messages=tuple(messages), **fields), said


def _spell(fields: dict[str, Any]) -> None:
    """Write a request's loose fields as ChatRequest takes them. Raises BadRequest for values that cannot be sent."""
    if "extra" in fields:
        fields["extra"] = extra_text(fields["extra"]) if fields["extra"] else ""
    if "stop" in fields:
        stop = fields["stop"]
        fields["stop"] = () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)
    for name in fields.keys() & NUMBERS:
        fields[name] = number(name, fields[name])


def _is_said(option: tuple[str, Any]) -> bool:
    """Whether it says anything: a framework's `timeout=None` does not."""
    word, value = option
    return value is not None or word not in AS_USUAL
