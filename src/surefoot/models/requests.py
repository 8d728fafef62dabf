"""From what a user typed to a checked request and its Call. Bad input is told here, before anything is sent."""

from __future__ import annotations

import contextvars
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.core.message_dicts import message_of
from surefoot.core.tool_dicts import tool_of
from surefoot.errors import BadRequest, Misconfigured
from surefoot.text import clean, exact, json_text, text_of
from surefoot.types import Call, CallState, ChatRequest, EmbedRequest, EmbedRole, Message, Priority, Schema, Tool

CALL_OPTIONS = frozenset({"deadline_s", "tenant", "priority", "tags"})
CHAT_OPTIONS = frozenset(ChatRequest.__struct_fields__) - {"messages"}
EMBED_OPTIONS = frozenset(EmbedRequest.__struct_fields__) - {"texts", "role"}
_KINDS = {**EmbedRequest.__annotations__, **ChatRequest.__annotations__}
FRACTIONS = frozenset(name for name, kind in _KINDS.items() if kind == "float | None")
COUNTS = frozenset(name for name, kind in _KINDS.items() if kind == "int | None")
LIFETIMES = ("auto", "5m", "1h")  # in a vendor's prompt cache

_numbers = itertools.count(1)


class Scope(Struct, Documented, frozen=True, kw_only=True):
    """Who asks, and how urgently: for every call made inside."""

    tenant: str = ""
    """On whose behalf calls are made: caches, spend limits and the ledger tell tenants apart. Empty: nobody's."""
    priority: Priority = "interactive"
    """How urgent: "interactive" calls go first in queues; "batch" calls wait behind them."""
    tags: tuple[tuple[str, str], ...] = ()
    """Pairs of name and value, sorted by name."""
    deadline_s: float | None = None
    """Seconds each call may take, above 0. None: the policy's."""


_scope: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("surefoot_scope", default=None)
_DEFAULT = Scope()


@contextmanager
def scope(
    *,
    tenant: str | None = None,
    priority: Priority | None = None,
    tags: Mapping[str, str] | None = None,
    deadline_s: float | None = None,
) -> Iterator[Scope]:
    """For every call inside, through either framework: tenant, priority, tags (added to those outside), deadline in seconds.

    Scopes nest; what is left out keeps the outer value, and the shorter of two deadlines holds.
    """
    outer = _scope.get() or _DEFAULT
    deadlines = [value for value in (outer.deadline_s, deadline_s) if value is not None]
    inner = Scope(
        tenant=outer.tenant if tenant is None else _tenant(tenant),
        priority=_priority(outer.priority if priority is None else priority),
        tags=outer.tags if tags is None else _tags(outer.tags, tags),
        deadline_s=min(deadlines, default=None),
    )
    token = _scope.set(inner)
    try:
        yield inner
    finally:
        _scope.reset(token)


def _tenant(value: Any) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"tenant = {value!r} must be text; nothing was sent")
    return clean(value)


def _tags(outer: tuple[tuple[str, str], ...], own: Any) -> tuple[tuple[str, str], ...]:
    """`own` added to `outer`, sorted; all exactly `str`, since tags are stored and compared. A number becomes its text.

    Raises BadRequest for what is no mapping of names to text.
    """
    if not isinstance(own, Mapping):
        raise BadRequest(f"tags are a dict of text such as {{'job': 'nightly'}}, not {type(own).__name__}; nothing was sent")
    said = dict(outer)
    for name, value in own.items():
        if not isinstance(name, str) or not isinstance(value, str | Real):
            raise BadRequest(f"tags: {name!r} = {value!r} must be text under a name that is text; nothing was sent")
        said[clean(name)] = clean(text_of(value))
    return tuple(sorted(said.items()))


def _priority(value: str) -> Priority:
    if value not in {"interactive", "batch"}:
        raise Misconfigured(f"priority = {value!r}; known are 'interactive' and 'batch'")
    return value  # type: ignore[return-value]


SDK_WORDS = ("extra_headers", "extra_query", "extra_body")  # the vendors' SDKs' words for what a call adds to the request
SPELLED = frozenset({*SDK_WORDS, "timeout"})


def spelled(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """`options` with the SDKs' words as ours: `extra_headers`, `extra_query`, `extra_body` are said in `extra`, `timeout` is the deadline.

    Raises BadRequest for a timeout that is no number of seconds.
    """
    if SPELLED.isdisjoint(options):
        return options
    found = {name: value for name, value in options.items() if name not in SPELLED}
    given = {word: options[word] for word in SDK_WORDS if options.get(word)}
    if given:
        extra = found.get("extra") or {}
        found["extra"] = {**(msgspec.json.decode(extra) if isinstance(extra, str) else extra), **given}
    if "timeout" in options:
        timeout = options["timeout"]
        read_s = getattr(timeout, "read", timeout)  # an httpx.Timeout
        if not (read_s is None or (isinstance(read_s, int | float) and not isinstance(read_s, bool))):
            raise BadRequest(f"timeout = {timeout!r} must be a number of seconds; nothing was sent")
        found.setdefault("deadline_s", read_s)
    return found


def with_defaults(options: Mapping[str, Any], defaults: Mapping[str, Any], prompt: Any) -> Mapping[str, Any]:
    """`options` over a model's own `defaults`: fields of `extra` one by one; what a ChatRequest says of itself stays."""
    if isinstance(prompt, ChatRequest):
        plain = dict(zip(ChatRequest.__struct_fields__[1:], ChatRequest.__struct_defaults__, strict=True))
        defaults = {name: value for name, value in defaults.items() if name not in plain or getattr(prompt, name) == plain[name]}
    found = {**defaults, **options}
    if options.get("extra") and defaults.get("extra"):
        mine, theirs = (msgspec.json.decode(one) if isinstance(one, str) else one for one in (defaults["extra"], options["extra"]))
        found["extra"] = {**mine, **theirs}
    return found


def chat_request(prompt: Any, options: Mapping[str, Any], own: str = "") -> ChatRequest:
    """The request for `prompt` (text, a Message or a dict of one, several, or a ChatRequest) and per-call options.

    `own` is the vendor that is asked first: blocks in dicts that are not known here are its. A ChatRequest is taken as it is, an empty
    message included. Raises BadRequest for no message at all, an empty one, or an option nobody knows (naming the nearest known one).
    """
    if isinstance(prompt, ChatRequest):
        request = prompt
    elif isinstance(prompt, str):
        request = ChatRequest(messages=(Message(role="user", content=prompt),))
    elif isinstance(prompt, Message):
        request = ChatRequest(messages=(prompt,))
    elif isinstance(prompt, Mapping):
        request = ChatRequest(messages=(message_of(prompt, own),))
    elif isinstance(prompt, Sequence):
        request = ChatRequest(messages=tuple(one if isinstance(one, Message) else _message(one, own) for one in prompt))
    else:
        raise BadRequest(f"a prompt is text, a Message, several Messages (or dicts of them) or a ChatRequest, not {type(prompt).__name__}")
    if options:
        changes = {name: _option(name, value) for name, value in options.items() if name not in CALL_OPTIONS}
        if changes:
            request = msgspec.structs.replace(request, **changes)
    _check(request)
    if not isinstance(prompt, ChatRequest):
        _check_says_something(request)
    return request


def _message(value: Any, own: str) -> Message:
    if isinstance(value, Mapping):
        return message_of(value, own)
    raise BadRequest(
        f"messages are surefoot.Message or dicts of them, not {type(value).__name__}; write Message.user(...) or "
        "{'role': 'user', 'content': ...}"
    )


def _option(name: str, value: Any) -> Any:
    if name not in CHAT_OPTIONS:
        import difflib

        near = difflib.get_close_matches(name, [*CHAT_OPTIONS, *CALL_OPTIONS], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BadRequest(f"unknown option {name!r}: {hint}provider-specific fields go into extra={{...}}")
    convert = CONVERSIONS.get(name)
    if convert is not None:
        return convert(value)
    if name in FRACTIONS or name in COUNTS:
        return number(name, value)
    return "" if value is None and name in {"model", "tool_choice", "reasoning_effort", "prompt_cache"} else value


def schema_of(value: Any) -> Schema | None:
    """The answer's shape: a Schema, a JSON schema as a dict, or OpenAI's response_format. Raises BadRequest for what is none of them."""
    if value is None or isinstance(value, Schema):
        return value
    if not isinstance(value, Mapping):
        raise BadRequest(f"schema is a surefoot.types.Schema or a JSON schema as a dict, not {type(value).__name__}; nothing was sent")
    if value.get("type") in {"json_object", "text"} and "properties" not in value:
        return Schema() if value["type"] == "json_object" else None
    inner = value.get("json_schema") if value.get("type") == "json_schema" else None
    if isinstance(inner, Mapping):
        return Schema.of(text_of(inner.get("name") or "answer"), inner.get("schema") or {"type": "object"}, strict=inner.get("strict"))
    return Schema.of(text_of(value.get("title") or "answer"), value)


def _tool(given: Any) -> Tool:
    if isinstance(given, Tool):
        return given
    if not isinstance(given, Mapping):
        raise BadRequest(f"tools are surefoot.types.Tool or dicts of them, not {type(given).__name__}; nothing was sent")
    return tool_of(given)


def _extra(value: Any) -> str:
    return value if isinstance(value, str) else extra_text(value) if value else ""


def _stop(value: Any) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "stop": _stop,
    "tools": lambda tools: tuple(map(_tool, tools or ())),
    "schema": schema_of,
    "extra": _extra,
}


def number(name: str, value: Any) -> Any:
    """The value of the option `name` as exactly int or float, also from numpy's numbers; None stays None.

    Raises BadRequest for what is no finite number, or no whole one where `name` counts something.
    """
    if value is None or type(value) is int:
        return value
    if not isinstance(value, bool):
        if isinstance(value, Integral):
            return int(value)
        if name in FRACTIONS and isinstance(value, Real) and math.isfinite(value):  # NaN would go out as null
            return float(value)
    raise BadRequest(f"{name} = {value!r}: it must be a {'finite' if name in FRACTIONS else 'whole'} number; nothing was sent")


def extra_text(extra: Any) -> str:
    """`extra`, the provider's own fields, as JSON text. Raises BadRequest for values that JSON does not have."""
    try:
        return json_text(extra)
    except TypeError as error:
        raise BadRequest(f"extra cannot be written as JSON ({error}): nothing was sent; use text, numbers, lists and dicts") from error


def _check(request: ChatRequest) -> None:
    if not request.messages:
        raise BadRequest("no messages: nothing was sent; pass text or at least one Message")
    if not request.model.isprintable():
        raise BadRequest(f"model = {request.model!r} is no name of a model; nothing was sent")
    if request.prompt_cache and request.prompt_cache not in LIFETIMES:
        raise BadRequest(f"prompt_cache = {request.prompt_cache!r} must be 'auto', '5m' or '1h', or '' for none; nothing was sent")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise BadRequest(f"max_tokens = {request.max_tokens}: it counts from 1")


def _check_says_something(request: ChatRequest) -> None:
    if is_empty(request.messages[-1]):
        raise BadRequest("the last message is empty: nothing was sent; pass some text")


def is_empty(message: Message) -> bool:
    """Whether a user's message says nothing: most vendors refuse it, OpenAI and servers of its protocol answer it."""
    return message.role == "user" and (not message.content or (isinstance(message.content, str) and message.content.isspace()))


def embed_request(texts: Sequence[str], role: EmbedRole, options: Mapping[str, Any]) -> EmbedRequest:
    """The request for `texts`. Raises BadRequest for a bare string, a text that is none, or an empty one."""
    cleaned = _texts(texts)
    if role not in {"document", "query"}:
        raise BadRequest(f"role = {role!r}; known are 'document' and 'query'")
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if name in CALL_OPTIONS:
            continue
        if name not in EMBED_OPTIONS:
            raise BadRequest(f"unknown option {name!r} for embeddings; known are {', '.join(sorted(EMBED_OPTIONS))}")
        if name == "dimensions":
            fields[name] = number(name, value)
        elif name == "extra":
            fields[name] = exact(value) if isinstance(value, str) else extra_text(value)
        else:
            fields[name] = value
    return EmbedRequest(texts=cleaned, role="query" if role == "query" else "document", **fields)


def _texts(texts: Sequence[str]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise BadRequest("embed() takes a list of texts; for one text write embed([text]) or embed_query(text)")
    try:
        count = len(texts)  # a numpy array of texts has no truth of its own, and one without dimensions no length
    except TypeError:
        raise BadRequest(f"embed() takes a list of texts, not {type(texts).__name__}: nothing was sent") from None
    if not count:
        raise BadRequest("no texts: nothing was sent; pass at least one")
    cleaned: list[str] = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadRequest(f"text {index} is {type(text).__name__}, not str: nothing was sent")
        if not text.strip():
            raise BadRequest(f"text {index} is empty: nothing was sent; leave it out, since an empty text has no direction")
        cleaned.append(clean(text))
    return tuple(cleaned)


def call_of(
    request: ChatRequest | EmbedRequest,
    options: Mapping[str, Any],
    *,
    stream: bool,
    listeners: tuple[Callable[[Any], None], ...],
) -> Call[Any]:
    """The Call for `request`: scope first, then what this call says of itself."""
    outer = _scope.get() or _DEFAULT
    tenant, priority, tags, deadline_s = outer.tenant, outer.priority, outer.tags, outer.deadline_s
    if options:
        if options.get("tenant") is not None:
            tenant = _tenant(options["tenant"])
        priority = _priority(options.get("priority", priority))
        if options.get("tags") is not None:
            tags = _tags(tags, options["tags"])
        if "deadline_s" in options:
            own_s = math.inf if options["deadline_s"] is None else options["deadline_s"]
            if not isinstance(own_s, (int, float)) or not own_s > 0:
                raise BadRequest(f"deadline_s = {own_s!r} must be a number of seconds above 0, or None for no deadline")
            deadline_s = own_s if deadline_s is None else min(own_s, deadline_s)
    state = CallState(listeners, f"c{next(_numbers):x}")
    return Call(request=request, state=state, stream=stream, deadline_s=deadline_s, tenant=tenant, priority=priority, tags=tags)
