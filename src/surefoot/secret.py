"""A key that shows itself only where the request is signed, and where it comes from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote
from weakref import WeakValueDictionary

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


SPILLS = ("authorization", "x-api-key", "x-goog-api-key", "secretstring")  # words beside which libraries log a key as it is
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
