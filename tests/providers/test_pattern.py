"""What the SDKs write is learned once and sent as they would send it; no SDK ever holds a key."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from surefoot.providers._http import http_module
from surefoot.providers._pattern import STAND_IN, Pattern, Patterns
from surefoot.providers.anthropic import AnthropicEdge
from surefoot.providers.google import GoogleEdge
from surefoot.providers.openai import OpenAIEdge
from surefoot.secret import Secret
from surefoot.target import Target
from surefoot.testing.wire import OK, AnthropicSim, GeminiSim, OpenAISim
from surefoot.types import Call, ChatRequest, Message, Tally

HTTP = http_module(openai.DefaultAsyncHttpxClient)  # httpx or httpx2, as the SDK has it
KEY = "sk-CANARY-0123456789abcdef"
HELLO = Call(request=ChatRequest(messages=(Message.user("Hello"),)), tally=Tally())


def written(**headers: str) -> Any:
    return HTTP.Request("POST", "http://host/v1/chat", headers={"authorization": f"Bearer {STAND_IN}", **headers}, content=b"{}")


async def by_openai(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, default_headers={"x-team": "blue"}) as client:
        await client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "Hello"}])


async def by_anthropic(url: str) -> None:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY, default_headers={"x-team": "blue"}) as client:
        await client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "Hello"}])


async def by_google(url: str) -> None:
    options = types.HttpOptions(base_url=url, api_version="v1beta", headers={"x-team": "blue"})
    client = genai.Client(api_key=KEY, http_options=options)  # held: a client that is collected closes its connections
    await client.aio.models.generate_content(model="gemini-3-flash", contents="Hello")
    await client.aio.aclose()


@pytest.mark.parametrize(
    ("sim_class", "by_sdk", "edge_class", "name", "root"),
    [
        (OpenAISim, by_openai, OpenAIEdge, "openai:gpt-4.1", "/v1"),
        (AnthropicSim, by_anthropic, AnthropicEdge, "anthropic:claude-haiku-4-5", ""),
        (GeminiSim, by_google, GoogleEdge, "google:gemini-3-flash", ""),
    ],
)
async def test_a_request_carries_what_the_sdk_writes(sim_class, by_sdk, edge_class, name, root):
    """Versions, platform, headers of the target, the key: a provider sees its own SDK, at the first call as at the third."""
    with sim_class() as sim:
        await by_sdk(sim.url)
        edge = edge_class(Target(name, base_url=f"{sim.url}{root}", api_key=Secret(KEY), headers=(("x-team", "blue"),)), None)
        for _ in range(3):
            await edge.chat(HELLO)
        await edge.aclose()
        theirs, *ours = sim.requests
    # The length is the body's, timeouts and the wish for a raw answer are ours, and connections and encodings the HTTP library's.
    timeouts = {"x-stainless-read-timeout", "x-stainless-timeout"}
    own = {"content-length", "host", "x-stainless-raw-response", "accept-encoding", "connection", "accept", *timeouts}
    for request in ours:
        assert request.path == theirs.path
        assert {word: text for word, text in request.headers.items() if word not in own} == {
            word: text for word, text in theirs.headers.items() if word not in own
        }
        assert any(KEY in text for text in request.headers.values())


async def test_many_first_calls_have_it_written_twice_in_all():
    """A burst at start must not pay the SDK's price a call."""
    count = 0

    async def write(path: str) -> Any:
        nonlocal count
        count += 1
        await asyncio.sleep(0)
        return written()

    patterns = Patterns(write)
    found = await asyncio.gather(*(patterns.of("/chat") for _ in range(50)))
    assert count == 2
    assert len({id(one) for one in found}) == 1


async def test_an_sdk_that_never_writes_the_same_is_asked_each_time():
    """A date, a nonce or an idempotency key must not be sent twice."""
    count = 0

    async def write(path: str) -> Any:
        nonlocal count
        count += 1
        return written(date=str(count))

    patterns = Patterns(write)
    dates = [(await patterns.of("/chat")).request(HTTP, b"{}", None).headers["date"] for _ in range(3)]
    assert dates == ["2", "4", "6"]


async def test_a_pattern_holds_no_key_and_takes_the_newest():
    """Keys rotate between two calls; what is remembered may show in a traceback's locals."""
    pattern = Pattern(written())
    for key in ("first-key", "second-key"):
        request = pattern.request(HTTP, b"{...}", Secret(key))
        assert request.headers["authorization"] == f"Bearer {key}"
        assert (request.headers["content-length"], request.content) == ("5", b"{...}")
    assert not any("-key" in repr(getattr(pattern, name)).replace(STAND_IN, "") for name in Pattern.__slots__)


async def test_the_sdk_sends_nothing_itself_whatever_the_environment_says(monkeypatch):
    """Its own client would take a proxy from there, and a request of the SDK's own making would go out."""
    with OpenAISim() as proxy, OpenAISim() as sim:
        monkeypatch.setenv("no_proxy", sim.url.removeprefix("http://"))
        monkeypatch.setenv("http_proxy", proxy.url)
        edge = OpenAIEdge(Target("openai:gpt-4.1", base_url=f"{sim.url}/v1", api_key=Secret(KEY)), None)
        assert (await edge.chat(HELLO)).text
        await edge.aclose()
        assert len(sim.requests) + len(proxy.requests) == 1


async def test_cookies_of_a_gateway_come_back():
    """Sticky sessions and bot filters tell clients apart by them."""
    with OpenAISim() as sim:
        edge = OpenAIEdge(Target("openai:gpt-4.1", base_url=f"{sim.url}/v1", api_key=Secret(KEY)), None)
        sim.script([OK.but(headers=(("set-cookie", "node=one; Path=/"),))])
        for _ in range(2):
            await edge.chat(HELLO)
        await edge.aclose()
        first, second = (request.headers.get("cookie") for request in sim.requests)
    assert (first, second) == (None, "node=one")


async def test_what_is_not_sent_is_not_logged(caplog):
    """Whoever counts requests in the HTTP library's log counts those that went out."""
    with OpenAISim() as sim, caplog.at_level(logging.INFO):
        edge = OpenAIEdge(Target("openai:gpt-4.1", base_url=f"{sim.url}/v1", api_key=Secret(KEY)), None)
        await edge.chat(HELLO)
        await edge.aclose()
    assert sum("HTTP Request" in record.getMessage() for record in caplog.records) == 1
