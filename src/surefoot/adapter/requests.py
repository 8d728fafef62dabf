"""What a framework says of one call, as a request and the call's own settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from surefoot.adapter.vendor_fields import REASONING, merged, placed, unfolded
from surefoot.adapter.words import AS_USUAL, CUSTOMARY, lifetime_of
from surefoot.errors import BadRequest
from surefoot.facts import protocol_of, vendors_words
from surefoot.models.requests import CALL_OPTIONS, COUNTS, EMBED_OPTIONS, FRACTIONS, extra_text, is_empty, number
from surefoot.types import ChatRequest, Message

REQUEST_FIELDS = frozenset(ChatRequest.__struct_fields__) - {"messages"}
NUMBERS = REQUEST_FIELDS & (COUNTS | FRACTIONS)
NOT_NONE = frozenset({"model", "tool_choice", "reasoning_effort", "prompt_cache"})  # "" is their word for the provider's default


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
    for word, value in filter(_is_said, options.items() if options.keys().isdisjoint(REASONING) else unfolded(options).items()):
        name = CUSTOMARY.get(word, word)
        if name in CALL_OPTIONS:
            said[name] = value
        elif name in REQUEST_FIELDS and name != "extra":
            fields[name] = "" if value is None and name in NOT_NONE else value
        elif name not in ignored and name != "use_responses_api":  # per call it says nothing: the target has its API
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
    asked = tuple(messages)
    if asked and is_empty(asked[-1]) and protocol_of(target) != "openai":
        raise BadRequest(f"the last message is empty, which {target} does not take: nothing was sent; pass some text")
    return ChatRequest(messages=asked, **fields), said


def said_by(fields: Any) -> dict[str, Any]:
    """What a framework's class says of every request: its fields that are named as ChatRequest's, but for the model."""
    owner: Any = type(fields)
    return {name: getattr(fields, name) for name in _request_fields(owner)}


@lru_cache(maxsize=64)
def _request_fields(owner: Any) -> tuple[str, ...]:
    return tuple(name for name in owner.model_fields if name in REQUEST_FIELDS and name != "model")


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
    if isinstance(fields.get("prompt_cache"), Mapping):
        fields["prompt_cache"] = lifetime_of(fields["prompt_cache"])
    for name in fields.keys() & NUMBERS:
        fields[name] = number(name, fields[name])


def _is_said(option: tuple[str, Any]) -> bool:
    """Whether it says anything: a framework's `timeout=None` does not."""
    word, value = option
    return value is not None or word not in AS_USUAL
