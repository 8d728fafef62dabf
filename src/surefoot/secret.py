"""A key that shows itself only where the request is signed, and where it comes from."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote
from weakref import WeakValueDictionary

import msgspec

from surefoot.text import exact


class Secret:
    """A value that shows itself only through `reveal()`; repr, str, pickle and JSON never hold it."""

    __slots__ = ("__weakref__", "_reveal")

    def __init__(self, value: str) -> None:
        value = exact(value)
        self._reveal: Callable[[], str] = lambda: value  # a closure: locals shown in a traceback print a function

    def reveal(self) -> str:
        """The value itself; call it only where the request is signed."""
        return self._reveal()

    def __repr__(self) -> str:
        """A fixed mask: not even the length leaks."""
        return "Secret(****)"

    def __bool__(self) -> bool:
        """True if there is a value."""
        return bool(self._reveal())

    def __eq__(self, other: object) -> bool:
        """Equal values are equal secrets."""
        return isinstance(other, Secret) and other.reveal() == self.reveal()

    def __hash__(self) -> int:
        """Hash by value, so that records holding a secret stay hashable."""
        return hash(("Secret", self.reveal()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse: a pickled key outlives its owner."""
        raise TypeError("a Secret cannot be pickled; pass a reference such as 'env:OPENAI_API_KEY' instead")


class KeySource(Protocol):
    """Where a target's key comes from; asked at each attempt, so rotation needs no restart."""

    async def get(self) -> Secret | None:
        """The key to use now, or None where the provider needs none."""

    async def renew(self, bad: Secret) -> Secret | None:
        """Called once after the provider refused `bad`; a newer key, or None if there is none."""


MASK = "****"
_LOGIN = re.compile(r"(?<=://)\S*@")
_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=[^&#\s\"']+")
_TELLING = re.compile(r"key|token|secret|password|passwd|pwd|auth|credential|signature", re.IGNORECASE)  # names of what nobody shows


def masked_address(text: str) -> str:
    """`text` with the login and the query's values of every address in it masked: `redis://****@host/0`, `http://host/?code=****`."""
    return _QUERY.sub(rf"\1={MASK}", _LOGIN.sub(f"{MASK}@", text))


class Masked(msgspec.Struct, frozen=True):
    """A record whose repr may stand in a log: what was said of it, without keys, headers' values and the logins of addresses."""

    def __repr__(self) -> str:
        """The fields that differ from their defaults."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """For rich, which would look at the fields themselves."""
        shown: list[tuple[str, Any]] = []
        for field in msgspec.structs.fields(type(self)):
            value = getattr(self, field.name)
            if field.required or value != field.default:
                is_reference = field.name == "api_key" and isinstance(value, str)  # a key itself is a Secret here
                shown.append((field.name, value if is_reference else _masked(field.name, value)))
        return shown


def _masked(name: str, value: Any) -> Any:
    """`value` of the field or option `name`, as it may be shown."""
    if value is None or isinstance(value, bool | int | float | Secret | Masked):
        return value
    if name == "headers":
        return tuple((one, MASK) for one, _ in value)
    if isinstance(value, tuple | list) and all(isinstance(one, tuple | list) and len(one) == 2 for one in value):
        return tuple((one, _masked(str(one), said)) for one, said in value)
    if isinstance(value, tuple | list):
        shown = [_masked(name, one) for one in value]
        return tuple(shown if name != "cert" else [*shown[:2], *[MASK] * len(shown[2:])])  # a client certificate's third is its password
    if isinstance(value, str):
        return MASK if _TELLING.search(name) else masked_address(value)
    return f"<{type(value).__name__}>"


def masked_extra(extra: str) -> str:
    """`extra`, JSON text, without the values of its headers and of whatever has a telling name, wherever it stands."""
    try:
        return msgspec.json.encode(_without_keys(msgspec.json.decode(extra))).decode()
    except (ValueError, RecursionError):
        return MASK if _TELLING.search(extra) else extra


def _without_keys(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: MASK if _is_key(name, key, one) else _without_keys(one, key) for key, one in value.items()}
    return [_without_keys(one, name) for one in value] if isinstance(value, list) else value


def _is_key(holder: str, name: str, value: Any) -> bool:
    return holder == "extra_headers" or (isinstance(value, str) and _TELLING.search(name) is not None)


def shown_fields(record: msgspec.Struct) -> str:
    """The repr of a request: the fields that differ from their defaults, its `extra` without keys."""
    shown = []
    for field in msgspec.structs.fields(type(record)):
        value = getattr(record, field.name)
        if field.required or value != field.default:
            shown.append(f"{field.name}={masked_extra(value) if field.name == 'extra' else value!r}")
    return f"{type(record).__name__}({', '.join(shown)})"


class locals_cleared:  # noqa: N801 - used like a function
    """Within it, whatever fails leaves frames without locals: crash reports print these, and they hold keys, headers and passwords.

    The frame that stands around the block keeps its own; `held`, dicts of it, are emptied.
    """

    def __init__(self, *held: dict[str, Any]) -> None:
        self._held = held
        self._outer: BaseException | None = None

    def __enter__(self) -> None:
        """Note what is being handled already: its frames are somebody else's."""
        self._outer = sys.exception()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Empty the frames below, also those of the errors that led to this one."""
        seen = {id(self._outer)}
        one = error
        while one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            one = one.__cause__ or one.__context__
        for held in self._held if error is not None else ():
            held.clear()


class emptied(locals_cleared):  # noqa: N801 - used like a function
    """`locals_cleared` for a call's options: afterwards they are empty, whatever came of it, if they held a provider's own fields.

    Those may hold keys in headers, and the frame that took the options stands in every traceback of the call.
    """

    def __init__(self, options: Any) -> None:
        self._options: dict[str, Any] = options
        super().__init__(*([options] if "extra" in options else []))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Empty what may hold keys."""
        if "extra" in self._options:
            super().__exit__(kind, error, trace)
            self._options.clear()


SPILLS = ("authorization", "x-api-key", "x-goog-api-key", "secretstring")  # words beside which libraries log a key as it is
PLACEHOLDER = Secret("not-needed")  # servers on one's own machine want a key in the header and look at none
KEY_CHARS = 20  # no vendor's key is shorter; placeholders ("EMPTY", "not-needed") are words that a text may well hold
_in_use: WeakValueDictionary[int, Secret] = WeakValueDictionary()  # by identity: of two equal keys the second outlives the first


def guard_logs(*names: str) -> None:
    """Drop records of the loggers `names` that show signed headers, fetched secrets or a key in use, as some do at DEBUG."""
    for name in names:
        if _harmless not in (logger := logging.getLogger(name)).filters:
            logger.addFilter(_harmless)


def in_use(key: Secret) -> None:
    """Keep `key` out of the guarded logs, also where a hostile server repeats it, for as long as somebody holds it."""
    if len(key.reveal()) >= KEY_CHARS:
        _in_use[id(key)] = key


def _harmless(record: logging.LogRecord) -> bool:
    if record.levelno > logging.INFO:
        return True
    text = record.getMessage()
    failure = record.exc_info[1] if record.exc_info else None
    while failure is not None:
        text += f"{failure!r} {failure}"
        failure = failure.__cause__ or failure.__context__
    if any(word in text.lower() for word in SPILLS):
        return False
    keys = (key.reveal() for key in list(_in_use.values()))
    return not any(key in text or quote(key, safe="") in text for key in keys)


KEY_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})  # the headers that keys travel in, by vendor
KEY_REFERENCES = ("env:", "file:", "vault:", "aws:", "age:", "fernet:", "adc:")  # resolved by surefoot.credentials
