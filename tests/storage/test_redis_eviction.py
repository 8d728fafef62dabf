"""Whether a Redis may forget: asked rarely, noticed when it changes. A real server answers."""

from __future__ import annotations

import asyncio

import pytest
import redis

from surefoot.storage import redis_eviction
from surefoot.storage.redis_client import RedisClient
from surefoot.storage.redis_eviction import Eviction

PATIENCE_S = 20.0


@pytest.fixture
def server(valkey):
    """The server's own client; what a test has set is as it was afterwards."""
    with redis.Redis(port=valkey.port) as one:
        yield one
        one.config_set("maxmemory", "0")
        one.config_set("maxmemory-policy", "noeviction")


def asked(server):
    """How often it was asked so far."""
    return server.info("commandstats").get("cmdstat_info", {}).get("calls", 0)


async def test_a_server_that_begins_to_evict_is_noticed_and_not_asked_by_every_call(server, valkey, monkeypatch):
    """`CONFIG SET` on a running server; the calls of a burst share one question."""
    client = RedisClient(valkey.connection_url, wait_s=PATIENCE_S, lost="")
    eviction = Eviction(client)
    before = asked(server)
    assert set(await asyncio.gather(*(eviction.forgets(lasts=True) for _ in range(200)))) == {""}
    server.config_set("maxmemory", "500mb")
    server.config_set("maxmemory-policy", "volatile-lru")
    assert await eviction.forgets(lasts=False) == ""
    assert asked(server) - before == 2  # one of which is this test's own
    monkeypatch.setattr(redis_eviction, "CHECK_S", 0.0)
    assert [await eviction.forgets(lasts=lasts) for lasts in (False, True)] == ["volatile-lru", ""]
    server.config_set("maxmemory-policy", "allkeys-random")
    assert [await eviction.forgets(lasts=lasts) for lasts in (False, True)] == ["allkeys-random"] * 2
    server.config_set("maxmemory", "0")
    assert await eviction.forgets(lasts=True) == ""
    await client.aclose()


async def test_who_may_not_ask_is_told_once(server, valkey, caplog):
    """And is not refused for it: many users may not run INFO."""
    caplog.set_level("INFO")
    server.execute_command("ACL", "SETUSER", "blind", "on", ">secret", "~*", "+@all", "-info")
    client = RedisClient(f"redis://blind:secret@127.0.0.1:{valkey.port}/0", wait_s=PATIENCE_S, lost="")
    eviction = Eviction(client)
    for _ in range(3):
        client.openings += 1  # as after each failover
        assert await eviction.forgets(lasts=True) == ""
    assert len([line for line in caplog.messages if "is not known" in line]) == 1
    await client.aclose()
