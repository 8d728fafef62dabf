"""Values in Redis, or Valkey: shared by many machines, with a lock so that they ask a question once.

Redis is a convenience: a call never waits for it longer than a fifth of a second, and when it is down every call is a miss, at once, but
for one that tries again each second and one log line. redis-py's own defaults (ten retries, timeouts of 5 s) would hold a call for more
than 30 s. Only time in which our own loop was turning counts: a process that did not get the processor must not think its server down,
or every process would ask for itself just when all are busiest.

What is asked for in one turn of the loop goes out as one MGET, over a few connections: a thousand calls open no thousand connections.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from surefoot import runtime
from surefoot.errors import Misconfigured

TIMEOUT_S = 0.2  # for each answer, connecting included: a healthy Redis takes a millisecond
TICKS = 4  # the timeout in so many parts; one that took longer than it should was our own stall and counts as one
BACKSTOP_S = 5.0  # redis-py's own timeouts, for what we have let go of
RETRY_S = 1.0  # a server that failed is left alone so long
CONNECTIONS = 4  # requests under way at once; each carries everything asked for meanwhile
KEYS_AT_ONCE = 500  # a few megabytes of vectors: an answer within the timeout
PREFIX = "surefoot:"

UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
EXTEND = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"

T = TypeVar("T")
_log = logging.getLogger("surefoot.stores")


class RedisStore:
    """Keeps bytes under `prefix` at `url`: `RedisStore("redis://:PASSWORD@HOST:6379/0")`.

    The server's own `maxmemory` and eviction bound it. Raises Misconfigured where the package redis is missing.
    """

    def __init__(self, url: str, *, prefix: str = PREFIX, timeout_s: float = TIMEOUT_S) -> None:
        try:
            import redis.asyncio as redis
        except ImportError as error:
            raise Misconfigured('a Redis cache needs the package redis: run  pip install "surefoot[redis]"') from error
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError

        def connect() -> Any:
            return redis.Redis.from_url(
                url,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=BACKSTOP_S,
                socket_connect_timeout=BACKSTOP_S,
                max_connections=4 * CONNECTIONS,
            )

        try:
            redis.ConnectionPool.from_url(url)
        except ValueError as error:
            raise Misconfigured(f"the address of the Redis cache cannot be read; write redis://HOST:PORT/0: {_plain(error, url)}") from None
        self.prefix = prefix
        self.timeout_s = timeout_s
        self._address = urlsplit(url).hostname or urlsplit(url).path
        self._url = url
        self._connect = connect
        self._faults = (RedisError, OSError, TimeoutError)
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._off_exit: Callable[[], None] | None = None
        self._wanted: dict[str, list[asyncio.Future[bytes | None]]] = {}
        self._fetching: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Future[Any]] = set()
        self._unwritten: dict[str, tuple[bytes, float | None]] = {}
        self._held: dict[str, str] = {}  # our locks and their tokens
        self._down_until_s = 0.0
        self._logged_s = -math.inf

    @property
    def is_down(self) -> bool:
        """True while the server is left alone after a failure."""
        return time.monotonic() < self._down_until_s

    def describe(self) -> str:
        """One phrase for `describe()`, without user or password."""
        return f"Redis at {self._address}"

    async def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        client = self._at_home()
        if client is None:
            return None
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        if not self._wanted:
            asyncio.get_running_loop().call_soon(self._fetch_wanted)
        self._wanted.setdefault(key, []).append(future)
        return await future

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes under each key, None where there are none."""
        found: list[bytes | None] = []
        for at in range(0, len(keys), KEYS_AT_ONCE):
            part = [self.prefix + key for key in keys[at : at + KEYS_AT_ONCE]]
            values = await self.ask(lambda client, part=part: client.mget(part))  # type: ignore[misc]
            found += [None] * len(part) if values is None else values
        return found

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Keep `value`."""
        self._unwritten[key] = (value, ttl_s)
        await self.ask(lambda client: client.set(self.prefix + key, value, px=_ms(ttl_s)))
        self._unwritten.pop(key, None)

    async def set_many(self, rows: Iterable[tuple[str, bytes]], *, ttl_s: float | None = None) -> None:
        """Keep every (key, value)."""
        every = list(rows)
        for at in range(0, len(every), KEYS_AT_ONCE):
            part = every[at : at + KEYS_AT_ONCE]

            def send(client: Any, part: list[tuple[str, bytes]] = part) -> Awaitable[Any]:
                pipeline = client.pipeline(transaction=False)
                for key, value in part:
                    pipeline.set(self.prefix + key, value, px=_ms(ttl_s))
                return pipeline.execute()  # type: ignore[no-any-return]

            await self.ask(send)

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        await self.ask(lambda client: client.delete(self.prefix + key))

    async def lock(self, key: str, *, ttl_s: float) -> str | None:
        """A token if the lock `key` is ours for `ttl_s` seconds; "" if somebody else has it; None if the server is down."""
        token = secrets.token_hex(16)
        got = await self.ask(lambda client: client.set(f"{self.prefix}lock:{key}", token, nx=True, px=_ms(ttl_s)), nothing=False)
        if got:
            self._held[key] = token
        return None if got is False else token if got else ""

    async def extend(self, key: str, token: str, *, ttl_s: float) -> None:
        """Hold the lock `key` for `ttl_s` seconds from now, if it is still ours."""
        await self.ask(lambda client: client.eval(EXTEND, 1, f"{self.prefix}lock:{key}", token, _ms(ttl_s)))

    async def unlock(self, key: str, token: str) -> None:
        """Give the lock `key` back, if it is still ours."""
        await self.ask(lambda client: client.eval(UNLOCK, 1, f"{self.prefix}lock:{key}", token))
        self._held.pop(key, None)

    async def aclose(self) -> None:
        """Let what is under way end, then close the connections; a later call opens new ones."""
        if self._under_way and self._loop is asyncio.get_running_loop():
            await asyncio.wait(self._under_way, timeout=self.timeout_s)
        client, self._client = self._client, None
        off_exit, self._off_exit = self._off_exit, None
        if off_exit is not None:
            off_exit()
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    async def _say_last_words(self) -> None:
        """The home loop ends, and has cancelled everything under way: write what is unwritten, give back what is locked."""

        def send(client: Any) -> Awaitable[Any]:
            pipeline = client.pipeline(transaction=False)
            for key, (value, ttl_s) in self._unwritten.items():
                pipeline.set(self.prefix + key, value, px=_ms(ttl_s))
            for key, token in self._held.items():
                pipeline.eval(UNLOCK, 1, f"{self.prefix}lock:{key}", token)
            return pipeline.execute()  # type: ignore[no-any-return]

        if (self._unwritten or self._held) and self._loop is asyncio.get_running_loop():
            await self.ask(send)
            self._unwritten.clear()
            self._held.clear()
        await self.aclose()

    def _at_home(self) -> Any:
        """The client for this loop, or None while the server is left alone. A client of another loop is let go: that loop has ended."""
        if self.is_down:
            return None
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._connect(), loop
            if self._off_exit is None:
                self._off_exit = runtime.on_exit(self._say_last_words)
            self._wanted.clear()
            self._fetching.clear()
            self._under_way.clear()
        return self._client

    def _fetch_wanted(self) -> None:
        """Send for everything wanted so far, unless enough is under way; then it waits for the next free turn."""
        if not self._wanted or len(self._fetching) >= CONNECTIONS:
            return
        keys = list(self._wanted)[:KEYS_AT_ONCE]
        task = asyncio.get_running_loop().create_task(self._fetch({key: self._wanted.pop(key) for key in keys}))
        self._fetching.add(task)
        task.add_done_callback(self._fetched)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching.discard(task)
        if self._wanted:
            self._fetch_wanted()

    async def _fetch(self, wanted: dict[str, list[asyncio.Future[bytes | None]]]) -> None:
        values: Sequence[bytes | None] | None = None
        try:
            values = await self.ask(lambda client: client.mget([self.prefix + key for key in wanted]))
        finally:
            for i, futures in enumerate(wanted.values()):
                for future in futures:
                    if not future.done():
                        future.set_result(None if values is None else values[i])

    async def ask(self, ask: Callable[[Any], Awaitable[T]], nothing: Any = None) -> T | Any:
        """What the server says to `ask(client)`; `nothing` when it is down or says something that is none."""
        client = self._at_home()
        if client is None:
            return nothing
        try:
            return await self._soon(ask(client))
        except self._faults as error:
            self._failed(error)
            return nothing

    async def _soon(self, answer: Awaitable[T]) -> T:
        """`answer`, if it comes within the timeout; else TimeoutError."""
        task = asyncio.ensure_future(answer)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            for _ in range(TICKS):
                done, _ = await asyncio.wait({task}, timeout=self.timeout_s / TICKS)
                if done:
                    return task.result()
        finally:
            task.cancel()
        raise TimeoutError(f"no answer within {self.timeout_s:g} s")

    def _failed(self, error: Exception) -> None:
        """Leave the server alone for a while, and say so."""
        now_s = time.monotonic()
        self._down_until_s = now_s + RETRY_S
        if now_s - self._logged_s >= RETRY_S:
            self._logged_s = now_s
            _log.warning("%s is down, so every call is a miss: %s", self.describe(), _plain(error, self._url))


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, int(seconds * 1000))


def _plain(error: Exception, url: str) -> str:
    """What went wrong, without the password that the address may hold."""
    password = urlsplit(url).password
    said = f"{type(error).__name__}: {error}"
    return said.replace(password, "***") if password else said
