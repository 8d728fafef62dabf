"""A key that shows itself only where the request is signed, and where it comes from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol


class Secret:
    """A value that shows itself only through `reveal()`; repr, str, pickle and JSON never hold it."""

    __slots__ = ("_reveal",)

    def __init__(self, value: str) -> None:
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


def guard_logs(*names: str) -> None:
    """Drop records of the loggers `names` that show signed headers or fetched secrets: some libraries write them out at DEBUG."""
    for name in names:
        if _spills not in (logger := logging.getLogger(name)).filters:
            logger.addFilter(_spills)


def _spills(record: logging.LogRecord) -> bool:
    if record.levelno > logging.DEBUG:
        return True
    text = record.getMessage().lower()
    return not any(word in text for word in SPILLS)
