"""One Redis, or Valkey, asked by many calls at once: the one place that sends, sends again and gives up.

The cache, the locks of single flight and the spend counters all send through here. Commands wait in a queue until one of CONNECTIONS
connections is free; everything that waits then goes out together, as one pipeline. So a burst of a thousand calls opens no thousand
connections, and no call is refused for want of one.

Connecting runs beside the calls and is kept: a server far away, whose connection takes longer than a call may wait, costs the first calls
their wait and serves the later ones. How long a call waits for an answer follows the server's own round trip, within WAIT_AT_MOST_S.

Commands whose connection was cut are sent once more over a fresh connection: servers and proxies cut idle connections. So are commands
that a read-only replica refused: after a failover the kept connections lead to the old primary, a fresh one leads to the new. A command
may therefore run twice on the server. Whoever sends one here writes it so that the second run changes nothing.

A server that fails is left alone: commands fail at once, while a new connection is tried every RETRY_S at most. Only time in which our own
loop was turning counts as the server's silence: a process that did not get the processor must not think its server down.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

from surefoot.errors import Misconfigured
from surefoot.rules.failure_log import FailureLog
from surefoot.storage import redis_faults
from surefoot.storage.redis_address import read_address
from surefoot.storage.redis_connect import Command, RedisConnection, connect

CONNECTIONS = 4  # pipelines under way at once; what is asked meanwhile goes with the next one
PIPELINE = 500  # commands in one pipeline: with vectors as values a few megabytes, which a server answers within the timeout
TICKS = 4  # a wait in so many parts; one that took longer than it should was our own stall and counts as one
ROUND_TRIPS = 4  # a call waits so many of the server's usual round trips, where that is longer than `wait_s`
WAIT_AT_MOST_S = 2.0  # for them: from half a second on a server is too far away to wait for
SAMPLES = 16  # round trips remembered; of them the median counts, so that one stall changes nothing
RETRY_S = 1.0  # between two attempts to connect to a server that failed
TRUST_S = 5.0  # a failure longer ago than this says nothing: the next call waits for a new connection

_log = logging.getLogger("surefoot.storage")


class RedisUnavailable(Exception):
    """The server gave no usable answer; `str()` is a sentence that says why and holds no password."""


class _CommandBatch:
    """Commands that are sent together; `replies` gives one reply each, or an exception in its place."""

    __slots__ = ("commands", "replies", "waiters")

    def __init__(self, commands: Sequence[Command], replies: asyncio.Future[list[Any]]) -> None:
        self.commands = commands
        self.replies = replies
        self.waiters = 1


class RedisClient:
    """Sends commands to the server at `url`; a caller waits about `wait_s` for an answer, and `open_s` for the first connection.

    `lost` is what the log says a failure costs, for example "calls go on without it". Raises Misconfigured for an address that cannot be
    read or where the package redis is missing.
    """

    def __init__(self, url: str, *, wait_s: float, open_s: float | None = None, lost: str) -> None:
        try:
            import redis  # noqa: F401 - here only to say early that it is missing
        except ImportError as error:
            raise Misconfigured('Redis needs the package redis: run  pip install "surefoot[redis]"') from error
        self.address = read_address(url)
        self.wait_s = wait_s
        self.openings = 0  # connections opened so far: a change means that the server may be another one
        self._open_s = wait_s if open_s is None else open_s
        self._lost = lost
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unclosed: list[RedisConnection] = []
        self._start_over()

    def _start_over(self) -> None:
        """Nothing open, queued or under way: at the beginning, and on a new loop, as the old one has ended."""
        self._connections: list[RedisConnection] = []
        self._free: list[RedisConnection] = []
        self._opening: asyncio.Task[None] | None = None
        self._opening_since_s = 0.0
        self._queue: deque[_CommandBatch] = deque()
        self._reads: dict[Command, _CommandBatch] = {}  # single reads that are still in the queue
        self._is_flushing = False
        self._pipelines: set[asyncio.Task[None]] = set()
        self._round_trips_s: deque[float] = deque(maxlen=SAMPLES)
        self._cause = ""  # of the failure that is not over yet
        self._failing_since_s = 0.0
        self._failed_at_s = -math.inf
        self._read_only_until_s = -math.inf
        self._failures = FailureLog()

    @property
    def is_down(self) -> bool:
        """True while commands would fail at once: after a failure, or before the first connection."""
        return bool(self._cause) or (self._opening is not None and not self._connections)

    def describe(self) -> str:
        """One phrase for `describe()`, without user or password."""
        return self.address.name

    def idle(self) -> bool:
        """True if nothing is queued or under way."""
        return not self._pipelines and not self._queue

    async def run(self, *command: str | bytes | float, wait_s: float | None = None) -> Any:
        """The server's reply to `command`. Raises RedisUnavailable when it refuses, fails, or says nothing for `wait_s`."""
        reply = (await self.run_many([command], wait_s=wait_s))[0]
        if isinstance(reply, Exception):
            raise RedisUnavailable(self._sentence(reply)) from reply
        return reply

    async def run_many(self, commands: Sequence[Command], *, wait_s: float | None = None) -> list[Any]:
        """The replies to `commands`, sent together; what the server refused is an exception in its place."""
        loop = self._use_running_loop()
        self._check_reachable(loop.time(), self._open_s if wait_s is None else wait_s)
        request = self._enqueue(loop, commands)
        try:
            replies = await self._wait(request, wait_s)
        finally:
            request.waiters -= 1
            if not request.waiters:
                request.replies.cancel()  # still queued: it is not sent; under way: nobody reads its answer
        if replies is not None:
            return replies
        if not self._connections:
            raise RedisUnavailable(f"{self.address.name} is still being connected to")
        error = TimeoutError(f"nothing came within {self._limit_s(wait_s):.3g} s")
        self._failed(error)
        raise RedisUnavailable(self._sentence(error))

    async def drain(self, *, wait_s: float) -> None:
        """Wait until nothing is queued or under way, at most `wait_s`."""
        if self._loop is not asyncio.get_running_loop():
            return
        until_s = self._loop.time() + wait_s
        while self._queue or self._pipelines:
            under_way = {*self._pipelines, *([self._opening] if self._opening is not None else [])}
            left_s = until_s - self._loop.time()
            if left_s <= 0 or not under_way:
                return
            await asyncio.wait(under_way, timeout=left_s)

    async def aclose(self) -> None:
        """Close the connections; a later command opens new ones."""
        if self._loop is not asyncio.get_running_loop():
            return
        tasks = {*self._pipelines, *([self._opening] if self._opening is not None else [])}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._unclosed += {*self._connections}
        self._start_over()
        while self._unclosed:
            await self._unclosed[-1].aclose()
            self._unclosed.pop()  # only now: a closing that is cut off is taken up by the next one

    # Waiting

    def _use_running_loop(self) -> asyncio.AbstractEventLoop:
        """Connections of another loop are let go: that loop has ended."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._start_over()
            self._unclosed.clear()
            self._loop = loop
        return loop

    def _check_reachable(self, now_s: float, open_s: float) -> None:
        """Raise RedisUnavailable if it would be of no use to wait; see to it that a connection is being opened."""
        if self._cause:
            self._open_another(now_s)
            if now_s - self._failed_at_s < TRUST_S:
                raise RedisUnavailable(f"{self.address.name} {self._cause}")
        elif not self._connections:
            self._open_another(now_s)
            if now_s - self._opening_since_s > open_s:
                raise RedisUnavailable(f"{self.address.name} is still being connected to")

    async def _wait(self, request: _CommandBatch, wait_s: float | None) -> list[Any] | None:
        """The replies; None if they have not come within the limit, which begins anew with the first connection."""
        waited_s, was_open = 0.0, bool(self._connections)
        while waited_s < (limit_s := self._limit_s(wait_s)):
            done, _ = await asyncio.wait({request.replies}, timeout=limit_s / TICKS)
            if done:
                return request.replies.result()
            waited_s += limit_s / TICKS
            if not was_open and self._connections:
                waited_s, was_open = 0.0, True
        return None

    def _limit_s(self, wait_s: float | None) -> float:
        """How long a caller waits now."""
        if not self._connections:
            return self._open_s if wait_s is None else wait_s
        usual_s = median(self._round_trips_s) if self._round_trips_s else 0.0
        return max(self.wait_s if wait_s is None else wait_s, min(WAIT_AT_MOST_S, ROUND_TRIPS * usual_s))

    # Sending

    def _enqueue(self, loop: asyncio.AbstractEventLoop, commands: Sequence[Command]) -> _CommandBatch:
        """A new request in the queue; a single read that is already queued is shared."""
        command = commands[0]
        is_read = len(commands) == 1 and command[0] == "GET"
        if is_read and (queued := self._reads.get(command)) is not None and not queued.replies.done():
            queued.waiters += 1
            return queued
        request = _CommandBatch([_encoded(command) for command in commands], loop.create_future())
        self._queue.append(request)
        if is_read:
            self._reads[command] = request
        if not self._is_flushing:
            self._is_flushing = True
            loop.call_soon(self._flush)
        return request

    def _flush(self) -> None:
        """Send what is queued, as far as connections are free; open another one if they are not enough."""
        self._is_flushing = False
        loop = asyncio.get_running_loop()
        while self._queue and self._free:
            self._reads.clear()
            batch: list[_CommandBatch] = []
            size = 0
            while self._queue and (not batch or size + len(self._queue[0].commands) <= PIPELINE):
                batch.append(self._queue.popleft())
                size += len(batch[-1].commands)
            task = loop.create_task(self._send(self._free.pop(), batch))
            self._pipelines.add(task)
            task.add_done_callback(self._sent)
        if self._queue and len(self._connections) < CONNECTIONS:
            self._open_another(loop.time())

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._pipelines.discard(task)
        if not task.cancelled():
            self._flush()

    async def _send(self, connection: RedisConnection, batch: list[_CommandBatch]) -> None:
        """Send `batch` in one pipeline and hand out the replies; what nobody waits for any more is left out."""
        batch = [request for request in batch if not request.replies.done()]
        commands = [command for request in batch for command in request.commands]
        replies: list[Any] = [ConnectionResetError("the connection was closed")] * len(commands)
        begun_s = asyncio.get_running_loop().time()
        is_usable = False
        try:
            if commands:
                replies = await self._exchange(connection, commands)
                self._answered(commands, replies, begun_s, is_cluster=connection.is_cluster)
            is_usable = True
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
            if is_usable and connection in self._connections:
                self._free.append(connection)
            elif connection in self._connections:
                await self._discard(connection)

    async def _exchange(self, connection: RedisConnection, commands: Sequence[Command]) -> list[Any]:
        """The replies; what a cut connection or a read-only replica did not do is sent once more, over a fresh connection."""
        try:
            replies = await connection.send(commands)
        except Exception as error:
            if not redis_faults.is_connection_lost(error):
                raise
            await self._reconnect(connection)
            return await connection.send(commands)
        now_s = asyncio.get_running_loop().time()
        again = [i for i, reply in enumerate(replies) if redis_faults.is_connection_lost(reply)]  # a node of a cluster
        if now_s >= self._read_only_until_s:
            again += [i for i, reply in enumerate(replies) if redis_faults.is_read_only(reply)]
        if again:
            await self._reconnect(connection)
            for i, reply in zip(again, await connection.send([commands[i] for i in again]), strict=True):
                replies[i] = reply
            if any(redis_faults.is_read_only(replies[i]) for i in again):
                self._read_only_until_s = now_s + RETRY_S  # no failover under way: reconnecting at each write would mend nothing
        return replies

    async def _reconnect(self, connection: RedisConnection) -> None:
        """When one kept connection fails, the others are suspect: none of those not in use is used again."""
        self.openings += 1
        for one in {connection, *self._free}:
            await one.reconnect()

    # Connecting and failing

    def _open_another(self, now_s: float) -> None:
        """Open one more connection beside the calls, unless that is under way, or has just failed."""
        if self._opening is None and now_s - self._failed_at_s >= RETRY_S and len(self._connections) < 2 * CONNECTIONS:
            self._opening_since_s = now_s
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            if self._cause and self._free:
                await self._free[-1].check()
                self._recovered()
                return
            connection, round_trip_s = await connect(self.address)
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, callers get it as RedisUnavailable
            if self._cause or not self._connections:
                self._failed(error)
            self._failed_at_s = asyncio.get_running_loop().time()  # as many as there are must do for a while
            if not self._connections:
                self._fail_queue(error)
        else:
            self.openings += 1
            self._round_trips_s.append(round_trip_s)
            opened = [connection] * (CONNECTIONS if connection.is_cluster else 1)
            self._connections += opened
            self._free += opened
            self._recovered()
            self._flush()
        finally:
            self._opening = None

    async def _discard(self, connection: RedisConnection) -> None:
        """A connection that failed twice is not used again."""
        self._connections = [one for one in self._connections if one is not connection]
        self._free = [one for one in self._free if one is not connection]
        if not self._connections:
            self._fail_queue(ConnectionResetError(self._cause or "the connection was closed"))
        await connection.aclose()

    def _fail_queue(self, error: Exception) -> None:
        """There is no connection left on which the queue could be sent."""
        while self._queue:
            request = self._queue.popleft()
            if not request.replies.done():
                request.replies.set_result([error] * len(request.commands))

    def _answered(self, commands: Sequence[Command], replies: Sequence[Any], begun_s: float, *, is_cluster: bool) -> None:
        """Take note of what came: of how long it took, and of what was refused. A node that a cluster has lost is not the cluster."""
        now_s = asyncio.get_running_loop().time()
        self._round_trips_s.append(now_s - begun_s)
        if all(redis_faults.is_down(reply) for reply in replies):
            if not is_cluster or not all(redis_faults.is_connection_lost(reply) for reply in replies):
                self._failed(replies[0])
                return
        else:
            self._recovered()
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, Exception) and command[0] != "INFO":  # which nothing depends on, and many users may not ask
                what = "one of its nodes" if redis_faults.is_connection_lost(reply) else str(command[0])
                count = self._failures.count(f"{what} {type(reply).__name__}", now_s)
                if count:
                    _log.warning("%s (%s)%s; %s", self._sentence(reply), what, _times(count), self._lost)

    def _failed(self, error: Exception) -> None:
        """Leave the server alone for a while, and say so."""
        now_s = asyncio.get_running_loop().time()
        if not self._cause:
            self._failing_since_s = now_s
        self._cause = self.address.mask(redis_faults.name_cause(error))
        self._failed_at_s = now_s
        count = self._failures.count("down", now_s)
        if count:
            _log.warning("%s %s%s; %s", self.address.name, self._cause, _times(count), self._lost)

    def _recovered(self) -> None:
        """It answers."""
        if self._cause:
            self._cause = ""
            now_s = asyncio.get_running_loop().time()
            if self._failures.count("recovered", now_s):
                _log.info("%s answers again, after %.1f s", self.address.name, now_s - self._failing_since_s)

    def _sentence(self, error: Exception) -> str:
        return f"{self.address.name} {self.address.mask(redis_faults.name_cause(error))}"


def _encoded(command: Command) -> Command:
    """`command` with its texts as bytes; a lone surrogate, which a tenant's name may hold, must not fail the others in the pipeline."""
    return (command[0], *(one.encode("utf-8", "surrogatepass") if isinstance(one, str) else one for one in command[1:]))


def _times(count: int) -> str:
    return f" ({count} failures since the last line)" if count > 1 else ""
