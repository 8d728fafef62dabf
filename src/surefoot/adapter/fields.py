"""The fields that the adapters of all frameworks share, as pydantic has them, and what copies and pickles do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from surefoot.adapter.settings import (
    POLICY_FIELDS,
    TARGET_FIELDS,
    Settings,
    is_reference,
    key_of,
    pairs_of,
    sharing,
    stored_policy,
)
from surefoot.secret import Secret
from surefoot.settings import DEFAULTS

SHARED = ("fallbacks", *(name for name in TARGET_FIELDS if name != "dimensions"), *POLICY_FIELDS, "policy", "surefoot_cache")
PRIVATE = ("fallbacks", "api_key", "headers", "options")  # what may hold a key, and is sealed in pickles


class AdapterFields(BaseModel):
    """What an adapter says of its first target, of the fallbacks, of the policy and of the cache.

    Mixed into a framework's class beside `model` (or, where MODEL says so, `model_name`).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    MODEL: ClassVar[str] = "model"
    GIVEN: ClassVar[Literal["chat", "embed"]] = "chat"

    fallbacks: Sequence[Any] = Field(default=(), description="Asked in this order when the model before fails: names, or Targets.")
    """Asked in this order when the model before fails: names, or Targets with settings of their own."""
    base_url: str = ""
    """Of the first target: where its requests go. Empty: the vendor's own address, or what its environment variable says."""
    api_key: Any = Field(default=None, exclude=True, description="A key, or a reference such as env:NAME, or a function giving a token.")
    """A key, a reference ("env:NAME", "file:PATH", "vault:PATH#FIELD"), or a function, sync or async, that gives a token. None: the
    provider's customary environment variable. A literal key is kept as a SecretStr.
    """
    headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Further HTTP headers for the first target, sent with every request."""
    options: dict[str, Any] | None = Field(default=None, exclude=True, repr=False)
    """The provider's own settings for the first target (organization, api_version, proxy, ...); see `Target.options`."""
    client: Any = Field(default=None, exclude=True, repr=False)
    """An SDK client of your own that signs and sends; see `Target.client`."""
    lane: Literal["auto", "sdk", "direct"] | None = None
    """The way to the first target: "sdk" or "direct"; None: "auto", see `Target.lane`."""
    requests_per_minute: float | None = None
    """Of the first target. None: learned from its answers."""
    tokens_per_minute: float | None = None
    """Of the first target, question and answer together. None: learned from its answers."""
    concurrency: int | None = None
    """Requests at once to the first target. None: learned."""
    context_tokens: int | None = None
    """The first target's window in tokens, where nobody knows it or it is smaller there. None: what its tables say."""
    input_usd_per_mtok: float | None = None
    """US dollars a million input tokens of the first target. None: the price list's."""
    output_usd_per_mtok: float | None = None
    """US dollars a million output tokens of the first target. None: the price list's."""
    deadline_s: float | None = DEFAULTS.deadline_s
    """Seconds for the whole call; see `Policy.deadline_s`."""
    attempts: int = DEFAULTS.attempts
    """Wire attempts of one call over all targets; see `Policy.attempts`."""
    hedge_after: Literal["p95"] | float | None = DEFAULTS.hedge_after
    """When a second request is sent beside a slow one; see `Policy.hedge_after`."""
    budget_usd: float | None = DEFAULTS.budget_usd
    """US dollars that this model may spend in this process; see `Policy.budget_usd`."""
    policy: Any = Field(default=None, repr=False)
    """Everything else of the policy, as a `surefoot.Policy`; its fields may also be said by name, and the four above count. None: the
    defaults.
    """
    surefoot_cache: Any = Field(default=None, exclude=True, description='None, "memory", "sqlite:PATH", "redis://..." or a Store.')
    """None, "memory", "sqlite:PATH", "redis://..." or a Store."""

    _built: tuple[tuple[Any, ...] | None, Any] | None = PrivateAttr(default=None)  # None first: given, not built from the fields

    def _settings(self) -> Settings:
        """What the model underneath is built from."""
        said = {name: getattr(self, name) for name in (*TARGET_FIELDS, *POLICY_FIELDS, "fallbacks", "policy") if hasattr(self, name)}
        key = self.api_key
        said["api_key"] = key_of(key.get_secret_value()) if isinstance(key, SecretStr) else key
        said["headers"], said["options"] = pairs_of(self.headers), pairs_of(self.options)
        said["fallbacks"], said["lane"] = tuple(self.fallbacks), self.lane or "auto"
        return Settings(model=getattr(self, self.MODEL), cache=self.surefoot_cache, **said)

    def _check_fields(self, given: Any) -> None:
        """Raise Misconfigured for what can be seen to be wrong without asking anybody."""
        self._settings().check(given=given, word=self.GIVEN, owner=type(self).__name__)

    def _core(self, build: Callable[[Settings], Any]) -> Any:
        """The model underneath: the one that was given, or the one that `build` makes of the fields as they are now."""
        built = self._kept()
        if built is not None and built[0] is None:
            return built[1]
        fields = _reader(type(self))(self)
        if built is None or built[0] != fields:
            self._built = built = fields, build(self._settings())
        return built[1]

    def _given(self) -> Any:
        """The model that was given, or None."""
        built = self._kept()
        return built[1] if built is not None and built[0] is None else None

    def _kept(self) -> tuple[tuple[Any, ...] | None, Any] | None:
        """`_built`, from where pydantic keeps it: its own way there raises and catches an AttributeError at every look."""
        private = self.__pydantic_private__
        return private["_built"] if private else None

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy with fields of its own over the same model underneath: limits, connections and keys are shared, never copied."""
        shared = (getattr(self, self.GIVEN, None), self._built, self.fallbacks, self.surefoot_cache, self.client, self.api_key)
        return super().__deepcopy__(sharing(memo, *shared, self.headers, self.options, getattr(self, "callback_manager", None)))

    def __getstate__(self) -> dict[Any, Any]:
        """For other processes, which build a model of their own; keys are sealed for the worker processes of this one.

        Raises TypeError where the copy would lack what it needs in order to ask the same.
        """
        from surefoot.adapter.pickling import Sealed

        given = getattr(self, self.GIVEN, None) if self.GIVEN in type(self).model_fields else self._given()
        self._settings().check_portable(given=given, owner=type(self).__name__)
        plain = self.model_copy()
        plain._built = None  # noqa: SLF001 - a copy of itself
        sealed = {name: Sealed(value) for name in PRIVATE if (value := getattr(self, name)) and not _is_open(value)}
        plain.__dict__.update(sealed)
        return super(AdapterFields, plain).__getstate__()


def _is_open(value: Any) -> bool:
    """Whether it says where a key is, and is none: names of targets, references."""
    if isinstance(value, SecretStr):
        return is_reference(value.get_secret_value())
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)


def key_field(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with a key that is text, or a surefoot Secret, as pydantic's SecretStr; a function that gives one stays."""
    key = values.get("api_key")
    text = key.reveal() if isinstance(key, Secret) else key
    return {**values, "api_key": SecretStr(text)} if isinstance(text, str) else values


def policy_of(adapter: Any) -> Mapping[str, Any]:
    """For a framework's own store: the policy as plain values, if one was said."""
    plain = stored_policy(adapter.policy)
    return {"policy": plain} if plain else {}


@cache
def _reader(kind: type[AdapterFields]) -> Callable[[Any], tuple[Any, ...]]:
    """Reads of an adapter all that its model is built from."""
    return attrgetter(kind.MODEL, *SHARED, *(name for name in ("dimensions",) if name in kind.model_fields))
