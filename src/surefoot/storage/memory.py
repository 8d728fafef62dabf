"""Values in this process: bounded in bytes, the longest unused leave first.

Beside bytes it holds decoded objects (`remember`, `recall`), so that a cache hit copies and decodes nothing. All of it happens on the
background loop, without a lock.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from surefoot.errors import Misconfigured

MAX_BYTES = 256 * 2**20  # some 40,000 vectors of 1,536 numbers, or 100,000 answers; a bound, not a reservation
ROW_BYTES = 400  # what a row costs beside its value: key, tuple, two dictionary entries


class _Row(Struct, gc=False):
    """What is kept under a key: values that point to nothing but their own parts, so that the garbage collector need not look in."""

    value: object
    size_bytes: int
    expires_at: float


class MemoryStore:
    """Keeps bytes and objects: `MemoryStore(max_bytes=256 * 2**20)`.

    `size_bytes` is what it holds now, keys and rows included. What alone exceeds the bound is not kept.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        if max_bytes < 1:
            raise Misconfigured(f"memory cache: max_bytes = {max_bytes} must be above 0")
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._rows: OrderedDict[str, _Row] = OrderedDict()

    def __len__(self) -> int:
        """Rows held, expired ones included until they are asked for or pushed out."""
        return len(self._rows)

    def describe(self) -> str:
        """One phrase for `describe()`."""
        return f"memory, at most {self.max_bytes / 2**20:g} MiB"

    def recall(self, key: str) -> object | None:
        """The object or bytes under `key`, or None (absent, expired)."""
        row = self._rows.get(key)
        if row is None:
            return None
        if row.expires_at != math.inf and row.expires_at <= asyncio.get_running_loop().time():
            self._drop(key)
            return None
        self._rows.move_to_end(key)
        return row.value

    def held(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` under which there is something, expired or not: a quick look before `recall`."""
        rows = self._rows
        return [key for key in keys if key in rows]

    def remember(self, key: str, value: object, *, size_bytes: int, ttl_s: float | None = None) -> None:
        """Keep `value`, which takes about `size_bytes`, for `ttl_s` seconds or as long as there is room."""
        rows = self._rows
        if key in rows:
            self._drop(key)
        size = size_bytes + ROW_BYTES
        if size > self.max_bytes or (ttl_s is not None and ttl_s <= 0):
            return
        rows[key] = _Row(value, size, math.inf if ttl_s is None else asyncio.get_running_loop().time() + ttl_s)
        self.size_bytes += size
        while self.size_bytes > self.max_bytes:
            self.size_bytes -= rows.popitem(last=False)[1].size_bytes

    async def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None; an object is not bytes."""
        value = self.recall(key)
        return value if isinstance(value, bytes) else None

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Keep `value`."""
        self.remember(key, value, size_bytes=len(value), ttl_s=ttl_s)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes under each key, None where there are none."""
        return [await self.get(key) for key in keys]

    async def set_many(self, rows: Iterable[tuple[str, bytes]], *, ttl_s: float | None = None) -> None:
        """Keep every (key, value)."""
        for key, value in rows:
            self.remember(key, value, size_bytes=len(value), ttl_s=ttl_s)

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        if key in self._rows:
            self._drop(key)

    async def aclose(self) -> None:
        """Nothing to close; what is held stays for whoever else uses this store."""

    def _drop(self, key: str) -> None:
        self.size_bytes -= self._rows.pop(key).size_bytes
