"""Values in Redis, or Valkey: shared by many machines, with a lock so that they ask a question once.

Redis is a convenience: a call never waits for it longer than a fifth of a second (far away: than four of its round trips), and when it is
down every call is a miss, at once. Writes wait beside the call. How commands are sent, and sent again: see `surefoot.storage.redis_client`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from surefoot import runtime
from surefoot.storage.redis_client import RedisClient, RedisUnavailable
from surefoot.storage.redis_connect import Command

TIMEOUT_S = 0.2  # for each answer, connecting included: a healthy Redis takes a millisecond
KEYS_AT_ONCE = 500  # a few megabytes of vectors: an answer within the timeout
WRITE_S = 5.0  # for a write, which no call waits for: the first answers are kept while a connection far away is still being opened

FAILED = "failed"  # in place of a token: its holder failed
FAILED_S = 1.0  # so long it stands there: four times the longest pause between two looks, so that all who wait see it

LOCK = f"""
if redis.call('set', KEYS[1], ARGV[1], 'nx', 'px', ARGV[2]) then return 1 end
local holder = redis.call('get', KEYS[1])
return holder == ARGV[1] and 1 or holder == '{FAILED}' and -1 or 0
"""
UNLOCK_FAILED = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3]) end return 0"
UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"


class RedisStore:
    """Keeps bytes at `url`: `RedisStore("redis://:PASSWORD@HOST:6379/0")`.

    Keys begin with `prefix`, which the address may name (`?prefix=NAME:`), so that services share a server and not their answers. The
    server's own `maxmemory` and eviction bound it. Raises Misconfigured for an address that cannot be read, or where the package redis is
    missing.
    """

    def __init__(self, url: str, *, prefix: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.client = RedisClient(url, wait_s=timeout_s, lost="calls go on without it")
        self.prefix = self.client.address.prefix if prefix is None else prefix
        self._loop: asyncio.AbstractEventLoop | None = None
        self._off_exit: Callable[[], None] | None = None
        self._unwritten: dict[str, tuple[bytes, float | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: dict[str, str] = {}  # our locks and their tokens

    @property
    def is_down(self) -> bool:
        """True while the server is left alone after a failure."""
        return self.client.is_down

    def describe(self) -> str:
        """One phrase for `describe()`, without user or password."""
        return self.client.describe()

    async def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        return await self._run("GET", self.prefix + key)  # type: ignore[no-any-return]

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes under each key, None where there are none."""
        found: list[bytes | None] = []
        for at in range(0, len(keys), KEYS_AT_ONCE):
            part = [self.prefix + key for key in keys[at : at + KEYS_AT_ONCE]]
            values = await self._run("MGET", *part)
            found += [None] * len(part) if values is None else values
        return found

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Keep `value`."""
        self._unwritten[key] = (value, ttl_s)
        await self._run(*self._set(key, value, ttl_s), wait_s=WRITE_S)
        self._unwritten.pop(key, None)

    async def set_many(self, rows: Iterable[tuple[str, bytes]], *, ttl_s: float | None = None) -> None:
        """Keep every (key, value)."""
        every = list(rows)
        for at in range(0, len(every), KEYS_AT_ONCE):
            await self._run_many([self._set(key, value, ttl_s) for key, value in every[at : at + KEYS_AT_ONCE]])

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        await self._run("DEL", self.prefix + key, wait_s=WRITE_S)

    async def lock(self, key: str, *, ttl_s: float) -> str | None:
        """A token if the lock `key` is ours for `ttl_s` seconds; "" if somebody else has it; None if nobody should wait for it.

        That is so while the server is down, and for FAILED_S after the last holder failed.
        """
        token = secrets.token_hex(16)
        asking = asyncio.get_running_loop().create_task(self._run("EVAL", LOCK, 1, self._lock_key(key), token, _ms(ttl_s)))
        try:
            got = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(partial(self._undo, key, token))
            raise
        if got == 1:
            self._held[key] = token
        elif got is None:
            self._beside(self.unlock(key, token))  # it may have been taken all the same
        return {1: token, 0: ""}.get(got)

    async def extend(self, key: str, token: str, *, ttl_s: float) -> None:
        """Hold the lock `key` for `ttl_s` seconds from now, if it is still ours."""
        await self._run("EVAL", EXTEND, 1, self._lock_key(key), token, _ms(ttl_s))

    async def unlock(self, key: str, token: str) -> None:
        """Give the lock `key` back, if it is still ours."""
        await self._run("EVAL", UNLOCK, 1, self._lock_key(key), token, wait_s=WRITE_S)
        self._held.pop(key, None)

    async def unlock_failed(self, key: str, token: str) -> None:
        """Give the lock back, if it is still ours, and let all who wait for it ask at once: its holder has nothing to share."""
        await self._run("EVAL", UNLOCK_FAILED, 1, self._lock_key(key), token, FAILED, _ms(FAILED_S), wait_s=WRITE_S)
        self._held.pop(key, None)

    async def aclose(self) -> None:
        """Let what is under way end, then close the connections; a later call opens new ones."""
        await self.client.drain(wait_s=self.client.wait_s)
        await self.client.aclose()
        off_exit, self._off_exit = self._off_exit, None  # last, so that a closing that is cut off is ended by the exit callback
        if off_exit is not None:
            off_exit()
        self._loop = None

    async def _at_exit(self) -> None:
        """The background loop ends, and has cancelled everything under way: write what is unwritten, give back what is locked."""
        commands = [self._set(key, value, ttl_s) for key, (value, ttl_s) in self._unwritten.items()]
        commands += [("EVAL", UNLOCK, 1, self._lock_key(key), token) for key, token in self._held.items()]
        if commands and self._loop is asyncio.get_running_loop():
            await self._run_many(commands)
            self._unwritten.clear()
            self._held.clear()
        await self.aclose()

    async def _run(self, *command: str | bytes | float, wait_s: float | None = None) -> Any:
        """The reply; None when the server is down or refuses the command."""
        self._watch_exit()
        try:
            return await self.client.run(*command, wait_s=wait_s)
        except RedisUnavailable:
            return None

    async def _run_many(self, commands: Sequence[Command]) -> None:
        """The same for many commands whose replies say nothing."""
        self._watch_exit()
        try:
            await self.client.run_many(commands, wait_s=WRITE_S)
        except RedisUnavailable:
            return

    def _watch_exit(self) -> None:
        """Be told when the loop that is used now ends."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            if self._off_exit is None:
                self._off_exit = runtime.on_exit(self._at_exit)

    def _undo(self, key: str, token: str, asking: asyncio.Task[Any]) -> None:
        """Whoever asked for the lock has left: it must not hold everybody up until it expires."""
        if not asking.cancelled():
            self._beside(self.unlock(key, token))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` run, beside the call."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _set(self, key: str, value: bytes, ttl_s: float | None) -> Command:
        name = self.prefix + key
        return ("SET", name, value) if ttl_s is None else ("SET", name, value, "PX", _ms(ttl_s))

    def _lock_key(self, key: str) -> str:
        return f"{self.prefix}lock:{key}"


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
