"""New connections are opened at a pace per host; who waits takes what others give back; what of aiohttp's insides that needs."""

from __future__ import annotations

import asyncio
import inspect

import aiohttp
import pytest
from yarl import URL

from surefoot.providers.http import connections
from surefoot.providers.http.connections import Connector
from surefoot.providers.http.session import Sender
from surefoot.providers.http.transport import OPTIONS, Transport, transport_of
from surefoot.settings import Target

pytest.importorskip("aiolimiter", reason="without aiolimiter connections are opened without a pace")


PER_S = 16.0


class Protocol:
    """What the connector needs of a connection."""

    transport = closed = None
    should_close = False

    def __init__(self) -> None:
        self.is_open = True

    def is_connected(self) -> bool:
        return self.is_open

    def close(self) -> None:
        self.is_open = False

    abort = close


class Request:
    """What the connector needs of a request."""

    proxy = None

    def __init__(self, host: str = "h") -> None:
        self.connection_key = aiohttp.client_reqrep.ConnectionKey(host, 443, True, None, None, None, None)


@pytest.fixture
async def connector(monkeypatch):
    """A connector whose connections cost nothing; the moments at which they were opened.

    The pace is a power of two: virtual time stands still between two moments, and aiolimiter must not miss one by a rounding error.
    """
    monkeypatch.setattr(connections, "NEW_PER_S", PER_S)

    async def opened(self, req, traces, timeout):
        self.moments.append(asyncio.get_running_loop().time())
        return Protocol()

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", opened)
    one = Connector(limit=0, keepalive_timeout=30)
    one.moments = []
    yield one
    await one.close()


def connect(one: Connector, host: str = "h"):
    return one.connect(Request(host), [], aiohttp.ClientTimeout(sock_connect=1))


@pytest.mark.looptime
async def test_a_cold_start_opens_a_burst_and_the_rest_at_a_pace(connector):
    """Two hundred handshakes in one moment look like an attack, to the host and to the name server."""
    loop = asyncio.get_running_loop()
    connector.expect("h", 443, 8)
    began = loop.time()
    held = await asyncio.gather(*(connect(connector) for _ in range(48)))
    at_once = [moment for moment in connector.moments if moment - began < 0.01]
    assert len(at_once) == 8
    assert connector.moments[-1] - began == pytest.approx(40 / PER_S, rel=0.1)
    assert len(held) == 48


@pytest.mark.looptime
async def test_who_waits_takes_what_is_given_back(connector):
    """A call must not wait to open a connection while others lie idle."""
    loop = asyncio.get_running_loop()
    connector.expect("h", 443, 2)
    began = loop.time()
    first, second = await asyncio.gather(connect(connector), connect(connector))
    waiting = [asyncio.ensure_future(connect(connector)) for _ in range(2)]
    await asyncio.sleep(0.01)
    given = first._protocol
    first.release()
    taken = await waiting[0]
    assert taken._protocol is given
    assert loop.time() - began < 0.02
    second.close()  # closed, not given back: nobody gets it
    opened = await waiting[1]
    assert opened._protocol not in {given, None}
    assert loop.time() - began == pytest.approx(1 / PER_S, rel=0.2)
    assert not connector._queues


@pytest.mark.looptime
async def test_who_gives_up_waiting_loses_no_connection(connector):
    """One that was handed over in the same moment goes back, and may serve the next."""
    connector.expect("h", 443, 1)
    first = await connect(connector)
    waiting = asyncio.ensure_future(connect(connector))
    await asyncio.sleep(0.01)
    given = first._protocol
    first.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not connector._queues
    assert (await connect(connector))._protocol is given
    assert len(connector.moments) == 1


@pytest.mark.looptime
async def test_hosts_do_not_share_a_pace(connector):
    """Each host has its own limits; one that nobody spoke of has none."""
    loop = asyncio.get_running_loop()
    connector.expect("h", 443, 1)
    connector.expect("other", 443, 4)
    connector.expect("other", 443, 2)  # another target there: the larger one holds
    began = loop.time()
    held = [await connect(connector, host) for host in ("h", "other", "other", "other", "other", *["third"] * 50)]
    assert loop.time() == began
    assert len(held) == len(connector.moments) == 55


def test_the_pace_is_about_twenty_a_second():
    """Slow enough for any host, fast enough for a learned limit that grows by a place a window."""
    assert 10 <= connections.NEW_PER_S <= 40


def test_a_burst_is_what_may_be_in_flight_at_first():
    """Who says how many go at once means it."""
    for said, burst in (({}, 8), ({"concurrency": 500}, 500), ({"requests_per_minute": 1200}, 20), ({"requests_per_minute": 1e9}, 32)):
        assert transport_of(Target("openai:m", **said), OPTIONS, "http://h").burst == burst


async def test_a_sender_says_how_many_its_host_takes():
    """Name and port as the request will have them."""
    for address, where in (("https://Name.example/v1", ("name.example", 443)), ("http://[::1]:81", ("::1", 81))):
        one = Sender(Transport(address=address, burst=3))
        session = one._open()
        url = URL(address)
        assert where == (url.host, url.port)
        assert session.connector._paces[where].max_rate == 3
        await one.aclose()


def test_aiohttps_insides_are_as_expected():
    """Names and arguments that the connector builds upon."""
    create = inspect.signature(aiohttp.TCPConnector._create_connection)
    assert list(create.parameters) == ["self", "req", "traces", "timeout"]
    assert list(inspect.signature(aiohttp.TCPConnector._release).parameters) == ["self", "key", "protocol", "should_close"]
