"""One open connection to a Redis: a server alone, the primary that Sentinels name, or a cluster.

What a server is it tells itself (`HELLO`), so the address need not: any node of a cluster stands for the whole of it, and the address of a
Sentinel that watches one primary stands for that primary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from surefoot.storage import redis_faults
from surefoot.storage.redis_address import RedisAddress

BACKSTOP_S = 5.0  # redis-py's own timeouts: an answer that nobody waits for any more may still keep its connection

Command = tuple[str | bytes | int | float, ...]


class RedisConnection:
    """Sends pipelines, one at a time; over a cluster several at once."""

    def __init__(self, client: Any, *, is_cluster: bool = False, close: Sequence[Callable[[], Awaitable[None]]] = ()) -> None:
        self.is_cluster = is_cluster
        self._client = client
        self._close = (client.aclose, *close)

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """A reply to each command; an exception in its place where the server refused it."""
        return await (self._send_to_cluster(commands) if self.is_cluster else self._pipeline(commands))

    async def _pipeline(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._client.pipeline() if self.is_cluster else self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)  # type: ignore[no-any-return]

    async def _send_to_cluster(self, commands: Sequence[Command]) -> list[Any]:
        """The same, with MGET as one GET a key: the keys live on different nodes."""
        parts = [[("GET", key) for key in arguments] if name == "MGET" else [(name, *arguments)] for name, *arguments in commands]
        answers = iter(await self._send_parts([one for some in parts for one in some]))
        replies: list[Any] = []
        for name, *arguments in commands:
            if name != "MGET":
                replies.append(next(answers))
                continue
            values = [next(answers) for _ in arguments]
            replies.append([None if isinstance(one, Exception) else one for one in values])
        return replies

    async def _send_parts(self, parts: Sequence[Command]) -> list[Any]:
        """A reply to each command of one key. Where a node is gone, its own fail, and the others' are sent again without them."""
        try:
            return await self._pipeline(parts)
        except Exception as error:
            if not redis_faults.is_connection_lost(error):
                raise
        by_node: dict[str, list[int]] = {}
        for i, (name, *arguments) in enumerate(parts):
            slot = self._client.keyslot(arguments[2 if name == "EVAL" else 0])
            by_node.setdefault(self._client.nodes_manager.get_node_from_slot(slot).name, []).append(i)
        answers = await asyncio.gather(*(self._pipeline([parts[i] for i in own]) for own in by_node.values()), return_exceptions=True)
        replies: list[Any] = [None] * len(parts)
        for own, said in zip(by_node.values(), answers, strict=True):
            for i, one in zip(own, [said] * len(own) if isinstance(said, BaseException) else said, strict=True):
                replies[i] = one
        return replies

    async def reconnect(self) -> None:
        """Drop what is connected: the next pipeline connects anew, and asks Sentinels anew where to.

        A cluster is asked now which nodes it has; what other pipelines have under way there ends by itself.
        """
        await (self._client.nodes_manager.initialize() if self.is_cluster else self._client.connection_pool.disconnect())

    async def aclose(self) -> None:
        """Close it for good."""
        for close in self._close:
            await close()
        if self.is_cluster:  # what a failed refresh has left: its own closing takes itself for closed then
            for nodes in ("nodes_cache", "startup_nodes"):
                await self._client.nodes_manager.aclose(nodes)

    async def open(self) -> tuple[str, float]:
        """Connect; what answered (standalone, cluster, sentinel) and the seconds that one round trip took."""
        pool = self._client.connection_pool
        await pool.release(await pool.get_connection())
        loop = asyncio.get_running_loop()
        begun = loop.time()
        kind = _kind(await self.check())
        return kind, loop.time() - begun

    async def check(self) -> Any:
        """What the server says of itself (`HELLO`). Raises its error if it would answer every command with one."""
        if self.is_cluster:
            return await self._check_cluster()
        about, alive = await self.send([("HELLO",), ("PING",)])
        if redis_faults.is_down(alive):
            raise alive
        return about

    async def _check_cluster(self) -> Any:
        """What the first node that answers says of the whole. Raises ClusterDownError, or what the last one failed with."""
        from redis.exceptions import ClusterDownError, RedisError

        await self._client.nodes_manager.initialize()
        for left, node in reversed([*enumerate(reversed(self._client.get_nodes()))]):
            try:
                about = await node.execute_command("CLUSTER INFO")
            except (RedisError, OSError) as error:
                if redis_faults.is_down(error) and left:
                    continue
                if redis_faults.is_down(error):
                    raise
                return None  # our user may not ask
            if _field(about, "cluster_state") != "ok":
                raise ClusterDownError("the cluster is down: some of its keys are served by no node")
            return about
        return None

    async def only_service(self) -> str:
        """The one primary that this Sentinel watches. Raises RedisError if there are several: the address must name one."""
        from redis.exceptions import RedisError

        found = await self._client.execute_command("SENTINEL", "MASTERS")
        names = [_field(one, "name") for one in found]
        if len(names) != 1:
            raise RedisError(f"it is a Sentinel that watches {', '.join(names) or 'nothing'}: write redis+sentinel://HOST:PORT/SERVICE/0")
        return names[0]


async def connect(address: RedisAddress) -> tuple[RedisConnection, float]:
    """An open connection, and the seconds that one round trip takes. Raises redis-py's errors, or OSError."""
    connection = _by_sentinel(address, address.service) if address.sentinels else _alone(address)
    try:
        kind, round_trip_s = await connection.open()
        if kind == "sentinel":
            service = await connection.only_service()
            await connection.aclose()
            connection = _by_sentinel(address, service)
            _, round_trip_s = await connection.open()
        elif kind == "cluster":
            await connection.aclose()
            cluster = _cluster(address)
            connection = RedisConnection(cluster, is_cluster=True)
            await cluster.initialize()
    except BaseException:
        await connection.aclose()
        raise
    return connection, round_trip_s


def _options() -> dict[str, Any]:
    """What holds for every connection."""
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return {
        "retry": Retry(NoBackoff(), 0),  # redis-py's ten retries with pauses would hold a call for more than 30 s
        "socket_timeout": BACKSTOP_S,
        "socket_connect_timeout": BACKSTOP_S,
        "protocol": 2,  # no HELLO and no notifications at each connection: a round trip or two less
    }


def _alone(address: RedisAddress) -> RedisConnection:
    import redis.asyncio as redis

    return RedisConnection(redis.Redis.from_url(address.url, **_options()))


def _cluster(address: RedisAddress) -> Any:
    import redis.asyncio as redis

    return redis.RedisCluster.from_url(address.url, **_options())


def _by_sentinel(address: RedisAddress, service: str) -> RedisConnection:
    """A connection to the primary, wherever the Sentinels say it is now."""
    from redis.asyncio.connection import parse_url
    from redis.asyncio.sentinel import Sentinel

    given: dict[str, Any] = {**_options(), **parse_url(address.url)}
    here = (given.pop("host", "localhost"), given.pop("port", None) or 6379)
    given.pop("connection_class", None)
    timeouts = {name: given[name] for name in ("socket_timeout", "socket_connect_timeout")}
    watchers: Any = Sentinel(  # type: ignore[no-untyped-call]
        address.sentinels or [here], sentinel_kwargs={**timeouts, **address.sentinel_options, "protocol": 2}
    )
    primary = watchers.master_for(service, **given, ssl=address.url.startswith("rediss:"))
    return RedisConnection(primary, close=[one.aclose for one in watchers.sentinels])


def _kind(about: Any) -> str:
    """standalone, cluster or sentinel; a server that does not know HELLO, or does not permit it, is taken for one that stands alone."""
    return "standalone" if isinstance(about, Exception) else _field(about, "mode") or "standalone"


def _field(row: Any, name: str) -> str:
    """A field of a Sentinel's reply, which is a dict or a flat list of names and values."""
    pairs = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=False))
    value = pairs.get(name, pairs.get(name.encode(), b""))
    return value.decode() if isinstance(value, bytes) else str(value)
