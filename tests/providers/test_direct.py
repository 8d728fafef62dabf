"""The direct lane does by itself what an SDK's client would do: find the proxy."""

from __future__ import annotations

import pytest

from surefoot.errors import Misconfigured
from surefoot.providers._direct import DirectLane, proxy_for
from surefoot.secret import Secret
from surefoot.testing.wire import OpenAISim

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_systems_proxy_is_found_once_with_its_credentials(monkeypatch):
    """Looked up by aiohttp it costs two trips through a thread at every call, more than the call itself."""
    assert proxy_for("https://api.openai.com/v1") == (None, None)
    monkeypatch.setenv("https_proxy", "http://ada:p%40ss@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    assert proxy_for("https://api.openai.com/v1") == ("http://proxy.example:3128", {"Proxy-Authorization": "Basic YWRhOnBAc3M="})
    assert proxy_for("http://127.0.0.1:8000/v1") == (None, None)
    assert proxy_for("https://localhost/v1") == (None, None)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(Misconfigured, match='lane="sdk"'):
        proxy_for("http://example.org/v1")


async def test_requests_go_through_the_proxy(monkeypatch):
    """A company's only way out."""
    with OpenAISim() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        lane = DirectLane("http://model.invalid/v1", sign=lambda key: {"authorization": f"Bearer {key}"}, headers={}, connect_s=5)
        answer = await lane.post("/models", b"{}", Secret("k"))
        assert answer.status == 404
        assert "http://model.invalid/v1/models" in (await answer.read()).decode()
        await lane.aclose()
