"""The words that frameworks' users say, at construction and per call, as surefoot means them.

Each word is one of: a field under another name, a field of the policy, an option of the target, a field of the vendor's own request (its
place is told by `ProviderFacts.words`), or a word that means nothing here, which is refused with the word to use instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from surefoot.errors import BadRequest, Misconfigured, SurefootError
from surefoot.facts import full_name, provider_of, vendor_of, vendors_words
from surefoot.models.requests import CALL_OPTIONS, COUNTS, EMBED_OPTIONS, FRACTIONS, extra_text, number
from surefoot.settings import DEFAULTS, Policy, Target
from surefoot.types import ChatRequest, Message

CUSTOMARY = {  # the frameworks' words for ours, at construction and per call
    "timeout": "deadline_s",
    "request_timeout": "deadline_s",
    "default_request_timeout": "deadline_s",
    "stop_sequences": "stop",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "max_tokens_to_sample": "max_tokens",
    "response_format": "schema",
    "model_name": "model",
    "effort": "reasoning_effort",
    "thinking_level": "reasoning_effort",
    "model_kwargs": "extra",
    "additional_kwargs": "extra",
    "extra_body": "extra",
}
OF_THE_TARGET = {  # at construction alone
    "api_base": "base_url",
    "openai_api_base": "base_url",
    "anthropic_api_url": "base_url",
    "openai_api_key": "api_key",
    "anthropic_api_key": "api_key",
    "google_api_key": "api_key",
    "gemini_api_key": "api_key",
    "default_headers": "headers",
    "additional_headers": "headers",
}
OPTIONS = {  # of the target, under the names that classes give them
    "organization": "organization",
    "openai_organization": "organization",
    "project": "project",
    "api_version": "api_version",
    "openai_api_version": "api_version",
    "proxy": "proxy",
    "openai_proxy": "proxy",
    "anthropic_proxy": "proxy",
    "verify": "verify",
    "cert": "cert",
    "use_responses_api": "api",
}
POLICY = frozenset(Policy.__struct_fields__)
OF_THE_POLICY = {"stream_chunk_timeout": "idle_s"}
AS_USUAL = frozenset({  # None means the default there; deadline_s=None switches it off
    "timeout", "request_timeout", "default_request_timeout", "stream_chunk_timeout", "max_retries", "base_url", *OF_THE_TARGET, *OPTIONS,
})  # fmt: skip
NO_CLIENT = "give an SDK client of your own as client=, or say options={'proxy': ..., 'verify': ..., 'cert': ...}"
COUNTED = "tokens are counted by the model's own name; leave it out"
REFUSED = {
    "http_client": NO_CLIENT,
    "http_async_client": NO_CLIENT,
    "async_http_client": NO_CLIENT,
    "http_socket_options": NO_CLIENT,
    "async_client": "give it as client=",
    "openai_client": "give an asynchronous one as client=",
    "async_openai_client": "give it as client=",
    "include_response_headers": "limits are read off the headers anyway, and the request's id is in response_metadata['request_id']",
    "tiktoken_model_name": COUNTED,
    "tokenizer": COUNTED,
    "retry_min_seconds": "say policy=Policy(backoff_base_s=...)",
    "retry_max_seconds": "say policy=Policy(backoff_ceiling_s=...)",
    "requests_per_second": "say requests_per_minute",
}
HOLDS = {  # what is so in any case: the value that says so, and what to do about another one
    "stream_usage": (True, "streams always carry their usage; leave it out"),
    "reuse_client": (True, "connections are shared by all models of a target; leave it out"),
    "is_chat_model": (True, "every model here is a chat model; leave it out"),
    "check_embedding_ctx_length": (None, ""),  # texts are sent as texts, whichever it is
    "tiktoken_enabled": (None, ""),
    "skip_empty": (False, "an empty text has no direction; leave it out of the list"),
}
INSTEAD = {  # of a vendor's word that means nothing to another vendor
    "thinking": "reasoning_effort",
    "thinking_budget": "reasoning_effort",
    "include_thoughts": "reasoning_effort",
    "reasoning": "reasoning_effort",
    "top_k": "top_p",
    "betas": "headers",
    "modalities": "extra",
    "verbosity": "max_tokens",
}
REQUEST_FIELDS = frozenset(ChatRequest.__struct_fields__) - {"messages"}
NUMBERS = REQUEST_FIELDS & (COUNTS | FRACTIONS)
NOT_NONE = frozenset({"model", "tool_choice", "reasoning_effort"})  # "" is their word for the provider's default


# --- at construction ---------------------------------------------------------------------------------------------------------------


def normalise_kwargs(words: Mapping[str, Any], *, known: Collection[str], owner: str) -> dict[str, Any]:
    """Constructor arguments as fields of `owner`, whose names are `known`: the frameworks' customary words translated.

    `policy=Policy(...)` and fields of a Policy by name become the fields that `owner` has, the others its `policy`; a vendor's own fields
    go into `extra`, options into `options`; a model without provider gets the one whose table knows it. Raises Misconfigured for a word
    nobody knows, naming the nearest one (a typing error must not pass in silence), and for one that means nothing here, naming another.
    """
    found: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    for word, value in words.items():
        name = _field(word, known)
        if value is None and word in AS_USUAL:
            continue
        if word in HOLDS and word not in known:
            _check_holds(word, value, owner)
        elif name in known:
            _put(found, name, _spelt(word, value))
        elif name in POLICY and "policy" in known:
            found.setdefault("policy_fields", {})[name] = value
        elif word in OPTIONS and "options" in known:
            _put(found, "options", {OPTIONS[word]: _spelt(word, value)})
        elif word in REFUSED:
            raise Misconfigured(f"{owner}: {word!r} means nothing here; {REFUSED[word]}")
        elif "extra" in known and (word == "default_query" or word in vendors_words()):
            theirs[word] = value
        else:
            raise _unknown(word, known, owner)
    _read_policy(found, known)
    _read_names(found, owner)
    for word, value in theirs.items():
        if value is not None:
            _put(found, "extra", placed(word, value, model=str(_model(found)), is_elsewhere=bool(found.get("base_url")), owner=owner))
    return found


def _field(word: str, known: Collection[str]) -> str:
    if word in known:
        return word
    if word == "max_retries":
        return "attempts"
    name = OF_THE_TARGET.get(word) or OF_THE_POLICY.get(word) or CUSTOMARY.get(word, word)
    return "model_name" if name == "model" and "model" not in known else name


def _spelt(word: str, value: Any) -> Any:
    """The value of the framework's `word` as our field takes it."""
    if word == "max_retries":
        return value + 1
    if word == "fallbacks":
        return tuple(map(_target, value or ()))
    if word in {"stop", "stop_sequences"} and isinstance(value, str):
        return [value]
    if word == "use_responses_api":
        return "responses" if value else "chat"
    if word in {"options", *OF_THE_TARGET, "headers"} and isinstance(value, tuple | list):
        return dict(value)
    return value


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    """Set a field; mappings said under several words are one."""
    before = found.get(name)
    found[name] = merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """`other` laid over `one`, object by object."""
    both = dict(one)
    for name, value in other.items():
        inner = both.get(name)
        both[name] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


def _read_policy(found: dict[str, Any], known: Collection[str]) -> None:
    """Put what is said of the policy where `owner` has it: its own fields by name, everything else in its `policy`."""
    rest, given = found.pop("policy_fields", {}), found.get("policy")
    if "policy" not in known or (given is None and not rest):
        return
    policy = msgspec.convert(given, Policy) if isinstance(given, Mapping) else given if given is not None else DEFAULTS
    if not isinstance(policy, Policy):
        raise Misconfigured(f"policy = {policy!r} must be a surefoot.Policy")
    found["policy"] = msgspec.structs.replace(policy, **rest)
    for name in POLICY & set(known):
        if name not in found and getattr(policy, name) != getattr(DEFAULTS, name):
            found[name] = getattr(policy, name)


def _read_names(found: dict[str, Any], owner: str) -> None:  # noqa: ARG001
    """Give models without a provider the one whose table knows them; a server of one's own may call its models anything."""
    for name in ("model", "model_name"):
        if isinstance(model := found.get(name), str):
            found[name] = full_name(model, is_elsewhere=bool(found.get("base_url")))
    if "fallbacks" in found:
        found["fallbacks"] = tuple(full_name(one) if isinstance(one, str) else one for one in found["fallbacks"])


def _model(found: Mapping[str, Any]) -> Any:
    given = found.get("chat") or found.get("embed")
    return found.get("model") or found.get("model_name") or (given.targets[0] if given is not None else "")


def _check_holds(word: str, value: Any, owner: str) -> None:
    so, remedy = HOLDS[word]
    if so is not None and value is not None and bool(value) is not so:
        raise Misconfigured(f"{owner}: {word}={value!r}: {remedy}")


def _unknown(word: str, known: Collection[str], owner: str) -> Misconfigured:
    import difflib

    own = [name for name in known if not name.startswith("policy_")]
    near = difflib.get_close_matches(word, [*own, *CUSTOMARY, *OF_THE_TARGET, *OPTIONS, *POLICY, "max_retries"], n=1)
    hint = f"did you mean {near[0]!r}?" if near and near[0] != word else f"known are {', '.join(sorted(own))}"
    vendor = " (a field of the provider's own goes into extra={...})" if "extra" in known else ""
    return Misconfigured(f"{owner}: unknown field {word!r}; {hint}{vendor}")


def _target(one: Any) -> Any:
    if not isinstance(one, Mapping):
        return one
    try:
        return Target(**one)
    except TypeError as wrong:
        raise Misconfigured(
            f"fallback {one.get('name', '')!r}: {wrong}; a Target's fields are {', '.join(Target.__struct_fields__)}"
        ) from None


# --- a vendor's own fields ---------------------------------------------------------------------------------------------------------


def placed(
    word: str, value: Any, *, model: str, is_elsewhere: bool, owner: str = "", error: type[SurefootError] = Misconfigured
) -> dict[str, Any]:
    """`extra` for a vendor's own field that is called `word`: its value where the body of the model's provider has it.

    Raises `error` where that provider has no such field; a server of one's own is sent what nobody knows as it is.
    """
    house, _, name = model.partition(":")
    provider = vendor_of(house, name)
    known = provider_of(provider)
    place = "extra_query" if word == "default_query" else known.words.get(word, "") if known is not None else ""
    if not place:
        if known is not None and known.words and not is_elsewhere and word in vendors_words():  # not of a server that takes more
            instead = INSTEAD.get(word)
            hint = f"say {instead}" if instead else "leave it out"
            said = f"{owner}: " if owner else ""
            raise error(f"{said}{word!r} is no field of {provider}'s; {hint}, or extra={{...}} to send it all the same")
        place = word
    value = SPELLINGS.get((provider, word), SPELLINGS.get(("", word), _as_it_is))(value)
    for step in reversed(place.split(".")):
        value = {step: value}
    return value  # type: ignore[no-any-return]


def _as_it_is(value: Any) -> Any:
    return value


def _safety(value: Any) -> Any:
    """Google's list, out of LangChain's mapping from category to threshold; members of enums by their names."""
    if not isinstance(value, Mapping):
        return value
    return [{"category": getattr(one, "name", one), "threshold": getattr(level, "name", level)} for one, level in value.items()]


def _camel(value: Any) -> Any:
    """Keys as Google's JSON spells them."""
    if not isinstance(value, Mapping):
        return value
    words = {name: name.split("_") for name in value}
    return {first + "".join(map(str.capitalize, rest)): _camel(value[name]) for name, (first, *rest) in words.items()}


SPELLINGS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("", "betas"): lambda names: names if isinstance(names, str) else ",".join(names),
    ("google", "safety_settings"): _safety,
    ("google", "generation_config"): _camel,
    ("google", "modalities"): lambda names: [str(getattr(name, "name", name)).upper() for name in names],
    ("google", "response_modalities"): lambda names: [str(getattr(name, "name", name)).upper() for name in names],
}


# --- per call ----------------------------------------------------------------------------------------------------------------------


def request_of(
    messages: Iterable[Message],
    defaults: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    target: str,
    conversions: Mapping[str, Callable[[Any], Any]],
    ignored: Collection[str] = (),
    is_elsewhere: bool = False,
) -> tuple[ChatRequest, dict[str, Any]]:
    """The request, and what is said of the call itself (deadline_s, tenant, priority, tags), out of a framework's loose keywords.

    `options` (per call) win over `defaults` (the adapter's fields). A vendor's own fields travel in `extra`, where their vendor has them,
    and words nobody knows as they are; `ignored` ones are the framework's. `target` is the first target's name: its provider may stand
    before a `model` given per call, and takes the vendor's fields. `is_elsewhere`: it has an address of its own, where they may mean
    anything. `conversions` translate fields the framework spells differently (tools, tool_choice, schema).
    """
    fields: dict[str, Any] = {name: value for name, value in defaults.items() if value is not None}
    said: dict[str, Any] = {}
    foreign: dict[str, Any] = {}
    for word, value in filter(_is_said, options.items()):
        name = CUSTOMARY.get(word, word)
        if name in CALL_OPTIONS:
            said[name] = value
        elif name in REQUEST_FIELDS and name != "extra":
            fields[name] = "" if value is None and name in NOT_NONE else value
        elif name not in ignored:
            foreign = merged(foreign, _foreign(name, value, target, is_elsewhere=is_elsewhere))
    extra = fields.pop("extra", {})
    if foreign:
        extra = merged(extra, foreign)
    if "timeout" in extra:  # the SDKs' word for a bound on the call, no field of a body
        said.setdefault("deadline_s", extra["timeout"])
        extra = {name: value for name, value in extra.items() if name != "timeout"}
    if extra:
        fields["extra"] = extra
    for name, convert in conversions.items():
        if name in fields:
            fields[name] = convert(fields[name])
    _spell(fields)
    if fields.get("model"):
        fields["model"] = fields["model"].removeprefix(f"{target.partition(':')[0]}:")
    return ChatRequest(messages=tuple(messages), **fields), said


def _foreign(name: str, value: Any, target: str, *, is_elsewhere: bool) -> Mapping[str, Any]:
    """A word that is no field of a request, as a part of `extra`."""
    if name == "extra":
        return value or {}
    if name not in vendors_words():
        return {name: value}
    return {} if value is None else placed(name, value, model=target, is_elsewhere=is_elsewhere, error=BadRequest)


def embed_words(options: Mapping[str, Any], extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a call for embeddings takes, out of a framework's loose keywords; `extra` is the adapter's field, over which theirs are laid."""
    said: dict[str, Any] = {"extra": dict(extra)} if extra else {}
    for word, value in filter(_is_said, options.items()):
        name = CUSTOMARY.get(word, word)
        if name in CALL_OPTIONS or name in EMBED_OPTIONS - {"extra"}:
            said[name] = value
        elif value is not None:
            said["extra"] = merged(said.get("extra", {}), value if name == "extra" else {name: value})
    return said


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
