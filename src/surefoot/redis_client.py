"""One Redis, or Valkey, server asked by many calls at once: the one place that connects, sends, sends again and gives up.

The cache, the locks of single flight and the spend counters all send through here. Commands wait in a queue until one of CONNECTIONS
connections is free; everything that waits then goes out together, as one pipeline. So a burst of a thousand calls opens no thousand
connections, and no call is refused for want of one.

Commands whose connection was cut are sent once more over a fresh connection: servers and proxies cut idle connections. So are commands
that a read-only replica refused: after a failover the kept connections lead to the old primary, a fresh one leads to the new. A command
may therefore run twice on the server. Whoever sends one here writes it so that the second run changes nothing.

A server that fails is left alone for RETRY_S: commands fail at once. Only time in which our own loop was turning counts as the server's
silence: a process that did not get the processor must not think its server down.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from surefoot.errors import Misconfigured

CONNECTIONS = 4  # pipelines under way at once; what is asked meanwhile goes with the next one
PIPELINE = 500  # commands in one pipeline: with vectors as values a few megabytes, which a server answers within the timeout
TICKS = 4  # a wait in so many parts; one that took longer than it should was our own stall and counts as one
BACKSTOP_S = 5.0  # redis-py's own timeouts: an answer that nobody waits for any more may still keep its connection
RETRY_S = 1.0  # a server that failed is left alone for this long

_log = logging.getLogger("surefoot.stores")

Command = tuple[str | bytes | int | float, ...]


class RedisUnavailable(Exception):
    """The server gave no usable answer; `str()` says why and holds no password."""


class _Request:
    """Commands that are sent together; `replies` gives one reply each, or an exception in its place."""

    __slots__ = ("commands", "replies", "waiters")

    def __init__(self, commands: Sequence[Command], replies: asyncio.Future[list[Any]]) -> None:
        self.commands = commands
        self.replies = replies
        self.waiters = 1


class RedisClient:
    """Sends commands to the server at `url`; a caller waits at most `wait_s` for an answer, connecting included.

    `lost` is what the log says a failure costs, for example "every call is a miss". Raises Misconfigured for an address that cannot be read
    or where the package redis is missing.
    """

    def __init__(self, url: str, *, wait_s: float, lost: str) -> None:
        try:
            import redis  # noqa: F401 - here only to say early that it is missing
        except ImportError as error:
            raise Misconfigured('Redis needs the package redis: run  pip install "surefoot[redis]"') from error
        self.wait_s = wait_s
        self._url = url
        self._lost = lost
        self._address = urlsplit(url).hostname or urlsplit(url).path
        self._check_address()
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start_over()

    def _start_over(self) -> None:
        """Nothing queued and nothing under way: at the beginning, and on a new loop, as the old one has ended."""
        self._queue: deque[_Request] = deque()
        self._reads: dict[Command, _Request] = {}  # single reads that are still in the queue
        self._is_flushing = False
        self._pipelines: set[asyncio.Task[None]] = set()
        self._down_until_s = -math.inf
        self._logged_at_s = -math.inf
        self._cause = ""

    @property
    def is_down(self) -> bool:
        """True while the server is left alone after a failure."""
        return self._loop is not None and self._loop.time() < self._down_until_s

    def describe(self) -> str:
        """One phrase for `describe()`, without user or password."""
        return f"Redis at {self._address}"

    def idle(self) -> bool:
        """True if nothing is queued or under way."""
        return not self._pipelines and not self._queue

    async def run(self, *command: str | bytes | float, wait_s: float | None = None) -> Any:
        """The server's reply to `command`. Raises RedisUnavailable when it refuses, fails, or says nothing for `wait_s`."""
        reply = (await self.run_many([command], wait_s=wait_s))[0]
        if isinstance(reply, Exception):
            raise RedisUnavailable(self._plain(reply)) from reply
        return reply

    async def run_many(self, commands: Sequence[Command], *, wait_s: float | None = None) -> list[Any]:
        """The replies to `commands`, sent together; what the server refused is an exception in its place."""
        loop = self._use_running_loop()
        if self.is_down:
            raise RedisUnavailable(self._cause)
        request = self._enqueue(loop, commands)
        limit_s = self.wait_s if wait_s is None else wait_s
        try:
            for _ in range(TICKS):
                done, _ = await asyncio.wait({request.replies}, timeout=limit_s / TICKS)
                if done:
                    return request.replies.result()
        finally:
            request.waiters -= 1
            if not request.waiters:
                request.replies.cancel()  # still queued: it is not sent; under way: nobody reads its answer
        error = TimeoutError(f"no answer within {limit_s:g} s")
        self._failed(error)
        raise RedisUnavailable(self._plain(error))

    async def drain(self, *, wait_s: float) -> None:
        """Wait until nothing is queued or under way, at most `wait_s`."""
        if self._loop is not asyncio.get_running_loop():
            return
        until_s = self._loop.time() + wait_s
        while self._queue or self._pipelines:
            left_s = until_s - self._loop.time()
            if left_s <= 0:
                return
            await (asyncio.wait(self._pipelines, timeout=left_s) if self._pipelines else asyncio.sleep(0))

    async def aclose(self) -> None:
        """Close the connections; a later command opens new ones."""
        client, self._client = self._client, None
        if client is None or self._loop is not asyncio.get_running_loop():
            return
        for task in self._pipelines:
            task.cancel()
        if self._pipelines:
            await asyncio.wait(self._pipelines)
        await client.aclose()

    # Sending

    def _use_running_loop(self) -> asyncio.AbstractEventLoop:
        """A client of another loop is let go: that loop has ended."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            if self._loop is not loop:
                self._start_over()
            self._client, self._loop = self._connect(), loop
        return loop

    def _enqueue(self, loop: asyncio.AbstractEventLoop, commands: Sequence[Command]) -> _Request:
        """A new request in the queue; a single read that is already queued is shared."""
        command = commands[0]
        is_read = len(commands) == 1 and command[0] == "GET"
        if is_read and (queued := self._reads.get(command)) is not None and not queued.replies.done():
            queued.waiters += 1
            return queued
        request = _Request([_encoded(command) for command in commands], loop.create_future())
        self._queue.append(request)
        if is_read:
            self._reads[command] = request
        if not self._is_flushing:
            self._is_flushing = True
            loop.call_soon(self._flush)
        return request

    def _flush(self) -> None:
        """Send what is queued, as far as connections are free."""
        self._is_flushing = False
        while self._queue and len(self._pipelines) < CONNECTIONS:
            self._reads.clear()
            batch: list[_Request] = []
            size = 0
            while self._queue and (not batch or size + len(self._queue[0].commands) <= PIPELINE):
                request = self._queue.popleft()
                batch.append(request)
                size += len(request.commands)
            task = asyncio.get_running_loop().create_task(self._send(batch))
            self._pipelines.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._pipelines.discard(task)
        self._flush()

    async def _send(self, batch: list[_Request]) -> None:
        """Send `batch` in one pipeline and hand out the replies; what nobody waits for any more is left out."""
        batch = [request for request in batch if not request.replies.done()]
        commands = [command for request in batch for command in request.commands]
        if not commands:
            return
        replies: list[Any] = [ConnectionResetError("the connection was closed")] * len(commands)
        try:
            replies = await self._exchange(commands)
            self._down_until_s = -math.inf
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, callers get it as RedisUnavailable
            self._failed(error)
            replies = [error] * len(commands)
        finally:
            at = 0
            for request in batch:
                end = at + len(request.commands)
                if not request.replies.done():
                    request.replies.set_result(replies[at:end])
                at = end

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        """The replies; what a cut connection or a read-only replica did not do is sent once more, over a fresh connection."""
        from redis.exceptions import AuthenticationError, ConnectionError  # noqa: A004 - redis-py's own

        try:
            replies = await self._pipeline(commands)
        except ConnectionError as error:
            if isinstance(error, AuthenticationError):
                raise
            await self._drop_idle()
            replies = await self._pipeline(commands)
        refused = [i for i, reply in enumerate(replies) if _is_read_only(reply)]
        if refused:
            await self._drop_idle()
            again = await self._pipeline([commands[i] for i in refused])
            for i, reply in zip(refused, again, strict=True):
                if _is_read_only(reply):
                    raise reply
                replies[i] = reply
        return replies

    async def _pipeline(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)  # type: ignore[no-any-return]

    async def _drop_idle(self) -> None:
        """When one kept connection fails, the others are suspect: none of those not in use is used again."""
        await self._client.connection_pool.disconnect(inuse_connections=False)

    # Connecting and failing

    def _check_address(self) -> None:
        """Raise Misconfigured for an address that redis-py cannot read."""
        import redis.asyncio as redis

        try:
            redis.ConnectionPool.from_url(self._url)
        except ValueError as error:
            raise Misconfigured(f"the address of Redis cannot be read; write redis://HOST:PORT/0: {self._plain(error)}") from None

    def _connect(self) -> Any:
        """A client for the running loop; it opens connections as they are needed, at most CONNECTIONS and a spare."""
        import redis.asyncio as redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        return redis.Redis.from_url(
            self._url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=BACKSTOP_S,
            socket_connect_timeout=BACKSTOP_S,
            max_connections=2 * CONNECTIONS,
            protocol=2,  # no HELLO and no notifications: a round trip or two less at each connection
        )

    def _failed(self, error: Exception) -> None:
        """Leave the server alone for a while, and say so."""
        now_s = asyncio.get_running_loop().time()
        self._cause = self._plain(error)
        self._down_until_s = now_s + RETRY_S
        if now_s - self._logged_at_s >= RETRY_S:
            self._logged_at_s = now_s
            _log.warning("%s is down, so %s: %s", self.describe(), self._lost, self._cause)

    def _plain(self, error: Exception) -> str:
        """What went wrong, without the password that the address may hold."""
        password = urlsplit(self._url).password
        said = f"{type(error).__name__}: {error}"
        return said.replace(password, "***") if password else said


def _encoded(command: Command) -> Command:
    """`command` with its texts as bytes; a lone surrogate, which a tenant's name may hold, must not fail the others in the pipeline."""
    return (command[0], *(one.encode("utf-8", "surrogatepass") if isinstance(one, str) else one for one in command[1:]))


def _is_read_only(reply: Any) -> bool:
    """True for the refusal of a replica, also where a script met it."""
    return isinstance(reply, Exception) and "READONLY" in f"{type(reply).__name__.upper()} {reply}"
