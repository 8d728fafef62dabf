"""Where bytes are kept. A store that is down is a miss, never an error.

The least a store must have is `surefoot.types.Store`; what it has besides is used: see BulkStore, ObjectStore and LockStore, `is_down`
(True while it cannot be reached, for the event), `describe()` (one phrase, no secrets) and, of an ObjectStore, `held(keys)` (those under
which there is something).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

from surefoot.errors import Misconfigured
from surefoot.storage.guarded import GuardedStore
from surefoot.storage.redis_address import SCHEMES
from surefoot.types import Store

KNOWN = '"memory", "sqlite:PATH", "redis://HOST:PORT/0", or an object with get, set, delete and aclose'


class BulkStore(Store, Protocol):
    """A store that moves many values at once; the others are asked one by one."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes under each key, None where there are none."""

    async def set_many(self, rows: Sequence[tuple[str, bytes]], *, ttl_s: float | None = None) -> None:
        """Keep every (key, value) for `ttl_s` seconds, or as long as there is room."""


class ObjectStore(Store, Protocol):
    """A store in this process, which holds decoded objects: a hit copies and decodes nothing."""

    def recall(self, key: str) -> object | None:
        """The object under `key`, or None."""

    def remember(self, key: str, value: object, *, size_bytes: int, ttl_s: float | None = None) -> None:
        """Keep `value`, which takes about `size_bytes`."""


class LockStore(Store, Protocol):
    """A store that several processes share and lock by, so that of those who miss the same key one asks."""

    async def lock(self, key: str, *, ttl_s: float) -> str | None:
        """A token if the lock `key` is ours for `ttl_s` seconds; "" if somebody else has it; None if nobody should wait for it.

        That is so while the store is down, and for a moment after `unlock_failed`.
        """

    async def extend(self, key: str, token: str, *, ttl_s: float) -> None:
        """Hold the lock for `ttl_s` seconds from now, if it is still ours."""

    async def unlock(self, key: str, token: str) -> None:
        """Give the lock back, if it is still ours."""

    async def unlock_failed(self, key: str, token: str) -> None:
        """The same for a holder that has nothing to share: all who wait ask at once, not one after the other. May be missing."""


def is_redis_url(url: str) -> bool:
    """Whether `url` is an address of Redis."""
    scheme, sign, _ = url.partition("://")
    return bool(sign) and scheme in SCHEMES


def open_store(spec: str | Store) -> Store:
    """The store that `spec` names: "memory", "sqlite:PATH", "redis://...", or a Store, guarded unless it is one of ours.

    Nothing is connected or created before the first use. Raises Misconfigured for any other word, or a missing package.
    """
    if not isinstance(spec, str):
        if all(hasattr(spec, name) for name in ("get", "set", "delete", "aclose")):
            return spec if type(spec).__module__.startswith("surefoot.") else GuardedStore(spec)
        raise Misconfigured(f"cache = {type(spec).__name__} object: write {KNOWN}")
    kind, _, rest = spec.partition(":")
    if spec == "memory":
        return _class("memory", "MemoryStore")()  # type: ignore[no-any-return]
    if kind == "sqlite" and rest:
        return _class("sqlite", "SQLiteStore").at(rest)  # type: ignore[no-any-return]
    if is_redis_url(spec):
        return _class("redis", "RedisStore")(spec)  # type: ignore[no-any-return]
    raise Misconfigured(f"cache = {_masked(spec)!r}: write {KNOWN}")


def _class(module: str, name: str) -> Any:
    return getattr(import_module(f"surefoot.storage.{module}"), name)


def _masked(spec: str) -> str:
    """A word that is no store may still hold a password."""
    return f"{spec.partition(':')[0]}:***" if "@" in spec else spec
