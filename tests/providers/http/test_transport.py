"""A target's way out: proxies, CA files, client certificates, the same on both lanes; what cannot be used is refused when it is built."""

from __future__ import annotations

import ssl

import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.errors import ConnectionLost, Misconfigured
from surefoot.providers.http.transport import OPTIONS, proxy_for, transport_of
from surefoot.testing.wire import OpenAISim
from tests.providers.http.servers import certificate, serving

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
ONCE = Policy(attempts=1, breaker=False)
BODY = b'{"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def target(url: str, lane: str, **options) -> Target:
    return Target("openai:m", base_url=url, api_key="k", lane=lane, options=tuple(options.items()))


def test_the_systems_proxy_is_found_once_with_its_credentials(monkeypatch):
    """Looked up by aiohttp it costs two trips through a thread at every call, more than the call itself."""
    assert proxy_for("https://api.openai.com/v1") == (None, None)
    monkeypatch.setenv("https_proxy", "http://ada:p%40ss@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    assert proxy_for("https://api.openai.com/v1") == ("http://proxy.example:3128", {"Proxy-Authorization": "Basic YWRhOnBAc3M="})
    assert proxy_for("http://127.0.0.1:8000/v1") == (None, None)
    assert proxy_for("https://localhost/v1") == (None, None)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(Misconfigured, match="client="):
        proxy_for("http://example.org/v1")


def test_a_targets_own_proxy_comes_first(monkeypatch):
    """An empty one means none, whatever the environment says."""
    monkeypatch.setenv("http_proxy", "http://system:1")
    for given, found in ((None, "http://system:1"), ("own:2", "http://own:2"), ("https://[::1]", "https://[::1]:443"), ("", None)):
        said = OPTIONS | {"proxy": given}
        assert transport_of(Target("openai:m"), said, "http://example.org").proxy == found


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"proxy": "http://"}, "proxy is no address"),
        ({"proxy": "http://h:port"}, "proxy is no address"),
        ({"proxy": 1}, "proxy is no address"),
        ({"verify": False}, "CA certificates"),
        ({"verify": "nowhere.pem"}, "nowhere.pem cannot be read"),
        ({"cert": "nowhere.pem"}, "nowhere.pem cannot be read"),
        ({"cert": ("a", "b", "c", "d")}, "cert must be"),
        ({"cert": 5}, "cert must be"),
        ({"verify": ssl.create_default_context(), "cert": "a.pem"}, "load the client certificate"),
        ({"max_body_bytes": 0}, "max_body_bytes"),
    ],
)
def test_what_cannot_be_used_is_refused_when_it_is_built(options, why):
    """Not at the first call, and never by going out without it."""
    for address in ("https://example.org", "http://example.org"):
        with pytest.raises(Misconfigured, match=f"target openai:m: .*{why}"):
            transport_of(Target("openai:m"), OPTIONS | options, address)


@pytest.mark.parametrize("lane", ["sdk", "direct"])
async def test_requests_go_through_the_proxy(monkeypatch, lane):
    """A company's only way out; given by the environment or by the target."""
    async with serving(ANSWER, ANSWER) as proxy:
        own = ChatModel(target("http://model.invalid/v1", lane, proxy=proxy.url.replace("//", "//ada:secret@")), policy=ONCE)
        assert (await own.ainvoke("hi")).text == "fine"
        monkeypatch.setenv("http_proxy", proxy.url)
        systems = ChatModel(target("http://model.invalid/v1", lane), policy=ONCE)
        assert (await systems.ainvoke("hi")).text == "fine"
        await own.aclose()
        await systems.aclose()
        assert all(head.startswith(b"POST http://model.invalid/v1/chat/completions ") for head in proxy.heads)
        assert [b"proxy-authorization: basic ywrhonnly3jlda==" in head.lower() for head in proxy.heads] == [True, False]


@pytest.mark.parametrize("lane", ["sdk", "direct"])
async def test_a_ca_file_and_a_client_certificate_hold_on_both_lanes(tmp_path, lane):
    """A company's own CA, and servers that know their clients by certificate; without either nothing is sent."""
    ca, _, signer = certificate(tmp_path, "ca", is_ca=True)
    cert, key, _ = certificate(tmp_path, "server", signer=signer)
    mine, my_key, _ = certificate(tmp_path, "client", signer=signer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED
    async with serving(ANSWER, ssl=context) as served:
        for options, kind in (({}, Misconfigured), ({"verify": ca}, ConnectionLost)):  # we do not trust it; it does not know us
            without = ChatModel(target(served.url + "/v1", lane, **options), policy=ONCE)
            with pytest.raises(kind):
                await without.ainvoke("hi")
            await without.aclose()
        assert not served.heads
        known = ChatModel(target(served.url + "/v1", lane, verify=ca, cert=(mine, my_key)), policy=ONCE)
        assert (await known.ainvoke("hi")).text == "fine"
        await known.aclose()


@pytest.mark.parametrize("lane", ["sdk", "direct"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_limit_on_answers_is_told_with_its_number(lane, stream):
    """Whoever gets longer ones on purpose reads what to set."""
    with OpenAISim() as sim:
        chat = ChatModel(target(sim.url + "/v1", lane, max_body_bytes=40), policy=ONCE)
        with pytest.raises(Exception, match=r"longer than 40 bytes.*max_body_bytes"):
            await _all(chat, stream)
        await chat.aclose()


async def _all(chat: ChatModel, stream: bool) -> None:
    if stream:
        async for _ in chat.astream("hi"):
            pass
    else:
        await chat.ainvoke("hi")


@pytest.mark.parametrize("lane", ["sdk", "direct"])
async def test_an_endless_error_page_keeps_its_status(lane):
    """The status says what to do; the page is not read beyond the limit."""
    head = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: text/html\r\ncontent-length: 1000\r\n\r\n"
    async with serving(head + b"x" * 1000) as served:
        chat = ChatModel(target(served.url + "/v1", lane, max_body_bytes=40), policy=ONCE)
        with pytest.raises(Exception, match=r"HTTP 401.*longer than 40 bytes") as caught:
            await chat.ainvoke("hi")
        assert type(caught.value).__name__ == "AuthFailed"
        await chat.aclose()
