"""The words that frameworks' users say at construction, as surefoot means them; those of a call are in `requests`.

Each word is one of: a field under another name, a field of the policy, an option of the target, a field of the vendor's own request (its
place is told by `ProviderFacts.words`), or a word that means nothing here, which is refused with the word to use instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from surefoot.adapter.vendor_fields import as_it_is, merged, placed, unfolded
from surefoot.errors import Misconfigured
from surefoot.facts import full_name, protocol_of, vendors_words
from surefoot.settings import DEFAULTS, Policy, Target

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
    "cache_control": "prompt_cache",
    "output_dimensionality": "dimensions",
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
    "disabled_params": "refused",
    "cert": "cert",
    "use_responses_api": "api",
    "location": "location",
    "region": "region",
    "aws_region": "region",
    "project_id": "project",
}
POLICY = frozenset(Policy.__struct_fields__)
OF_THE_POLICY = {"stream_chunk_timeout": "idle_s"}
RETRIES = ("max_retries", "retries")
AS_USUAL = frozenset({  # None means the default there; deadline_s=None switches it off
    "timeout", "request_timeout", "default_request_timeout", "stream_chunk_timeout", *RETRIES, "base_url", *OF_THE_TARGET, *OPTIONS,
})  # fmt: skip
NO_CLIENT = "give an SDK client of your own as client=, or say options={'proxy': ..., 'verify': ..., 'cert': ...}"
NO_CLIENT_ADDRESS = "say base_url=, headers=, timeout=, or options={'proxy': ..., 'verify': ..., 'cert': ...}"
IS_SENT_WHOLE = "the conversation is sent whole; leave it out, or say previous_response_id= of a call"
ON_VERTEX = "say model='vertex:NAME' with project= and location="
AS_AWS_DOES = "say model='bedrock:NAME' and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or options={'profile': ...}"
BY_DEPLOYMENT = "say model='azure:DEPLOYMENT'"
COUNTED = "tokens are counted by the model's own name; leave it out"
REFUSED = {
    "http_client": NO_CLIENT,
    "http_async_client": NO_CLIENT,
    "async_http_client": NO_CLIENT,
    "http_socket_options": NO_CLIENT,
    "async_client": "give it as client=",
    "root_client": "give an asynchronous one as client=",
    "root_async_client": "give it as client=",
    "openai_client": "give an asynchronous one as client=",
    "async_openai_client": "give it as client=",
    "include_response_headers": "limits are read off the headers anyway, and the request's id is in response_metadata['request_id']",
    "tiktoken_model_name": COUNTED,
    "tokenizer": COUNTED,
    "http_options": NO_CLIENT_ADDRESS,
    "client_options": NO_CLIENT_ADDRESS,
    "client_args": NO_CLIENT_ADDRESS,
    "request_options": NO_CLIENT_ADDRESS,
    "debug_config": "leave it out",
    "default_metadata": "say headers={...}",
    "default_metadata_input": "say headers={...}",
    "file_mode": "files are sent within the request; upload a large one yourself and say its address",
    "track_previous_responses": IS_SENT_WHOLE,
    "use_previous_response_id": IS_SENT_WHOLE,
    "cache_idx": "say prompt_cache='auto'",
    "reuse_last_container": "say container= with the id that the answer's metadata has",
    "vertexai": ON_VERTEX,
    "vertexai_config": ON_VERTEX,
    "credentials": "say model='vertex:NAME' with api_key='adc:', or a function that gives a token as api_key=",
    "aws_access_key_id": AS_AWS_DOES,
    "aws_secret_access_key": AS_AWS_DOES,
    "aws_session_token": AS_AWS_DOES,
    "openai_api_type": "say model='azure:DEPLOYMENT' for Azure, else leave it out",
    "deployment": BY_DEPLOYMENT,
    "azure_deployment": BY_DEPLOYMENT,
    "deployment_name": BY_DEPLOYMENT,
    "azure_ad_token": "give it as api_key=",
    "azure_ad_token_provider": "give the function as api_key=",
    "azure_ad_async_token_provider": "give the function as api_key=",
    "model_version": "leave it out",
    "azure_endpoint": "say base_url= with model='azure:DEPLOYMENT'",
    "task_type": "queries and documents are told apart by themselves; leave it out",
    "convert_system_message_to_human": "system messages are sent as such; leave it out",
    "retry_min_seconds": "say policy=Policy(backoff_base_s=...)",
    "retry_max_seconds": "say policy=Policy(backoff_ceiling_s=...)",
    "requests_per_second": "say requests_per_minute",
}
HOLDS = {  # what is so in any case: the value that says so, and what to do about another one
    "stream_usage": (True, "streams always carry their usage; leave it out"),
    "reuse_client": (None, ""),  # calls of many loops share connections without harm
    "is_chat_model": (True, "every model here is a chat model; leave it out"),
    "check_embedding_ctx_length": (None, ""),  # texts are sent as texts, whichever it is
    "tiktoken_enabled": (None, ""),
    "embedding_ctx_length": (None, ""),
    "allowed_special": (None, ""),
    "disallowed_special": (None, ""),
    "validate_base_url": (None, ""),
    "mode": (None, ""),  # of OpenAI's first embedding models alone
    "skip_empty": (False, "an empty text has no direction; leave it out of the list"),
}


def _disabled(names: Any) -> tuple[str, ...]:
    """ChatOpenAI's `disabled_params`: parameters that are never sent; it may name values, too, which no server tells apart."""
    if isinstance(names, Mapping) and any(value is not None for value in names.values()):
        raise Misconfigured("disabled_params: only whole parameters can be left out, {'NAME': None}; say options={'refused': ('NAME',)}")
    return tuple(names)


IN_RESPONSES_ONLY = frozenset({  # of OpenAI's two APIs; a model that is told one of them is asked there
    "include", "truncation", "previous_response_id", "instructions", "built_in_tools", "context_management",
})  # fmt: skip


def lifetime_of(control: Any) -> str:
    """`cache_control={"type": "ephemeral", "ttl": "1h"}`, which Anthropic's caching middleware says of a call, as `prompt_cache`."""
    return control.get("ttl", "auto") if isinstance(control, Mapping) else control or ""


OPTION_VALUES: dict[str, Callable[[Any], Any]] = {
    "use_responses_api": lambda wanted: "responses" if wanted else "chat",
    "disabled_params": _disabled,
}


# --- at construction ---------------------------------------------------------------------------------------------------------------


def normalise_kwargs(words: Mapping[str, Any], *, known: Collection[str], owner: str) -> dict[str, Any]:
    """Constructor arguments as fields of `owner`, whose names are `known`: the frameworks' customary words translated.

    `policy=Policy(...)` and fields of a Policy by name become the fields that `owner` has, the others its `policy`; a vendor's own fields
    go into `extra`, options into `options`; a model without provider gets the one whose table knows it. Raises Misconfigured for a word
    nobody knows, naming the nearest one (a typing error must not pass in silence), and for one that means nothing here, naming another.
    """
    found: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    for word, value in sorted(unfolded(words).items(), key=lambda said: said[0] in known):  # a field's own name counts more
        name = _field(word, known)
        if _says_nothing(word, value):
            continue
        if word in HOLDS and word not in known:
            _check_holds(word, value, owner)
        elif name in known:
            _put(found, name, _spelt(word, value))
        elif name in POLICY and "policy" in known:
            found.setdefault("policy_fields", {})[name] = value
        elif word in OPTIONS and "options" in known:
            _put(found, "options", {OPTIONS[word]: OPTION_VALUES.get(word, as_it_is)(value)})
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
            _put_vendors(found, word, value, owner, takes_options="options" in known)
    return found


def _says_nothing(word: str, value: Any) -> bool:
    """Whether the vendors' classes have it where nobody says anything."""
    return (value is None and word in AS_USUAL) or (word in REFUSED and (value is None or value is False or value == ""))


def _put_vendors(found: dict[str, Any], word: str, value: Any, owner: str, *, takes_options: bool) -> None:
    """A field of the vendor's own request; one that OpenAI's Responses API alone has asks the model there."""
    model = str(_model(found))
    _put(found, "extra", placed(word, value, model=model, is_elsewhere=bool(found.get("base_url")), owner=owner))
    if word in IN_RESPONSES_ONLY and takes_options and protocol_of(model) == "openai":
        found["options"] = {"api": "responses", **found.get("options", {})}


def _field(word: str, known: Collection[str]) -> str:
    if word in known:
        return word
    if word in RETRIES:
        return "attempts"
    name = OF_THE_TARGET.get(word) or OF_THE_POLICY.get(word) or CUSTOMARY.get(word, word)
    return "model_name" if name == "model" and "model" not in known else name


def _spelt(word: str, value: Any) -> Any:
    """The value of the framework's `word` as our field takes it."""
    if word in RETRIES:
        return value + 1
    if word == "fallbacks":
        return tuple(map(_target, value or ()))
    if word == "cache_control":
        return lifetime_of(value)
    if word in {"stop", "stop_sequences"} and isinstance(value, str):
        return [value]
    if word in {"options", *OF_THE_TARGET, "headers"} and isinstance(value, tuple | list):
        return dict(value)
    return value


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    """Set a field; mappings said under several words are one."""
    before = found.get(name)
    found[name] = merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value


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
