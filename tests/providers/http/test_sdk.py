"""The vendors' SDKs send: a provider sees its own SDK, no SDK of ours holds a key, and a client of the caller's signs in its own way."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from binascii import crc32
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from surefoot import ChatModel, EmbedModel, Policy
from surefoot.errors import AuthFailed, BadRequest, ConnectionLost, MalformedReply, Misconfigured, Overloaded, RateLimited, SurefootError
from surefoot.providers.anthropic.endpoint import AnthropicProvider
from surefoot.providers.google.endpoint import GoogleProvider
from surefoot.providers.http.sdk import STAND_IN, http_module
from surefoot.providers.openai.endpoint import OpenAIProvider
from surefoot.secret import Secret
from surefoot.settings import Target
from surefoot.testing.wire import OK, AnthropicSim, GeminiSim, OpenAISim, fault
from surefoot.types import Call, CallState, ChatRequest, Message
from tests.providers.http.servers import serving

HTTP = http_module(openai.DefaultAsyncHttpxClient)  # httpx or httpx2, as the SDK has it
KEY = "sk-CANARY-0123456789abcdef"
HELLO = Call(request=ChatRequest(messages=(Message.user("Hello"),)), state=CallState())
ONCE = Policy(attempts=1, breaker=False)
OPENAI = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}
CLAUDE = {"content": [{"type": "text", "text": "fine"}], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}


def answer(body: Any, status: int = 200, kind: str = "application/json") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind.encode(), len(data), data)


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
    ("sim_class", "by_sdk", "provider_class", "name", "root"),
    [
        (OpenAISim, by_openai, OpenAIProvider, "openai:gpt-4.1", "/v1"),
        (AnthropicSim, by_anthropic, AnthropicProvider, "anthropic:claude-haiku-4-5", ""),
        (GeminiSim, by_google, GoogleProvider, "google:gemini-3-flash", ""),
    ],
)
async def test_a_request_carries_what_the_sdk_writes(sim_class, by_sdk, provider_class, name, root):
    """Versions, platform, headers of the target, the key: a provider sees its own SDK."""
    with sim_class() as sim:
        await by_sdk(sim.url)
        target = Target(name, base_url=f"{sim.url}{root}", api_key=Secret(KEY), headers=(("x-team", "blue"),), lane="sdk")
        provider = provider_class(target, None)
        await provider.chat(HELLO)
        await provider.aclose()
        theirs, ours = sim.requests
    # The length is the body's, timeouts and the wish for a raw answer are ours, and connections and encodings the HTTP library's.
    timeouts = {"x-stainless-read-timeout", "x-stainless-timeout"}
    own = {"content-length", "host", "x-stainless-raw-response", "accept-encoding", "connection", "accept", *timeouts}
    assert ours.path == theirs.path
    assert {word: text for word, text in ours.headers.items() if word not in own} == {
        word: text for word, text in theirs.headers.items() if word not in own
    }
    assert any(KEY in text for text in ours.headers.values())


@pytest.mark.parametrize(
    ("sim_class", "name", "root"), [(OpenAISim, "openai:m", "/v1"), (AnthropicSim, "anthropic:m", ""), (GeminiSim, "google:m", "")]
)
async def test_the_sdk_is_what_sends(monkeypatch, sim_class, name, root):
    """Its request function is called once a call, and never asks again; it knows no key."""
    owner = {
        "openai": openai.AsyncOpenAI,
        "anthropic": anthropic.AsyncAnthropic,
        "google": genai._api_client.BaseApiClient,
    }[name.partition(":")[0]]
    function = "_async_request_once" if owner.__module__.startswith("google") else "request"
    real, seen = getattr(owner, function), []

    async def counted(self, *args, **fields):
        seen.append(self.api_key)
        return await real(self, *args, **fields)

    monkeypatch.setattr(owner, function, counted)
    with sim_class() as sim:
        sim.script(fault("status_500_empty"))
        chat = ChatModel(Target(name, base_url=sim.url + root, api_key=KEY, lane="sdk"), policy=ONCE)
        with pytest.raises(Overloaded):
            await chat.ainvoke("hi")
        await chat.aclose()
        assert sim.request_count == 1
    assert seen == [STAND_IN]


async def test_the_environments_proxy_is_found_once_and_for_all(monkeypatch):
    """An SDK's own client would take a proxy of its own from there."""
    with OpenAISim() as proxy, OpenAISim() as sim:
        monkeypatch.setenv("no_proxy", sim.url.removeprefix("http://"))
        monkeypatch.setenv("http_proxy", proxy.url)
        provider = OpenAIProvider(Target("openai:gpt-4.1", base_url=f"{sim.url}/v1", api_key=Secret(KEY), lane="sdk"), None)
        assert (await provider.chat(HELLO)).text
        await provider.aclose()
        assert len(sim.requests) + len(proxy.requests) == 1


async def test_cookies_of_a_gateway_come_back():
    """Sticky sessions and bot filters tell clients apart by them."""
    with OpenAISim() as sim:
        provider = OpenAIProvider(Target("openai:gpt-4.1", base_url=f"{sim.url}/v1", api_key=Secret(KEY), lane="sdk"), None)
        sim.script([OK.but(headers=(("set-cookie", "node=one; Path=/"),))])
        for _ in range(2):
            await provider.chat(HELLO)
        await provider.aclose()
        first, second = (request.headers.get("cookie") for request in sim.requests)
    assert (first, second) == (None, "node=one")


async def test_auto_takes_the_sdk_where_it_is_installed(monkeypatch):
    """Nobody loses an SDK's habits in silence, and nobody needs one to begin."""
    agents = []
    for is_there in (True, False):
        monkeypatch.setattr("surefoot.providers.http.transport.is_installed", lambda _, is_there=is_there: is_there)
        async with serving(answer(OPENAI)) as served:
            provider = OpenAIProvider(Target("openai:m", base_url=served.url, api_key="k"), None)
            assert (await provider.chat(HELLO)).text == "fine"
            await provider.aclose()
            agents.append(b"AsyncOpenAI" in served.heads[0])
    assert agents == [True, False]


# Clients of the caller's


async def reply_of(client: Any, name: str, **target: Any) -> str:
    chat = ChatModel(Target(name, client=client, **target), policy=ONCE)
    text = (await chat.ainvoke("hi")).text
    await chat.aclose()
    return text


async def test_azure_signs_with_a_token_and_finds_the_deployment():
    """Entra ID, without a key of ours; the client takes the model out of the body for the address."""
    tokens = iter(["first", "second"])

    async def provider() -> str:
        return next(tokens)

    async with serving(answer(OPENAI), answer(OPENAI)) as served:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=served.url, api_version="2026-01-01", azure_ad_token_provider=provider, max_retries=5
        )  # fmt: skip
        chat = ChatModel(Target("openai:gpt-4.1", client=client, headers=(("x-team", "blue"),)), policy=ONCE)
        assert [(await chat.ainvoke(text)).text for text in ("one", "two")] == ["fine", "fine"]
        await chat.aclose()
        path = b"POST /openai/deployments/gpt-4.1/chat/completions?api-version=2026-01-01 "
        assert [head.startswith(path) and b"x-team: blue" in head.lower() for head in served.heads] == [True, True]
        assert [token in head for token, head in zip((b"Bearer first", b"Bearer second"), served.heads, strict=True)] == [True, True]
        assert json.loads(served.bodies[0])["messages"] == [{"role": "user", "content": "one"}]
        assert not client.is_closed()  # it is its maker's
        await client.close()


@pytest.mark.parametrize("model", ["../../admin?x=", "m/../../keys", "m%2f..", "m\r\nx: 1"])
async def test_a_deployments_name_cannot_leave_its_place_in_the_path(model):
    """Clients put the model into the address, those of older versions as it was written."""
    clients = [
        ("openai:m", openai.AsyncAzureOpenAI(azure_endpoint="http://127.0.0.1:9", api_version="2026-01-01", api_key="k")),
        ("anthropic:m", bedrock("http://127.0.0.1:9")),
        ("anthropic:m", anthropic.AsyncAnthropicVertex(project_id="p", region="eu", access_token="tok", base_url="http://127.0.0.1:9")),
    ]
    for name, client in clients:
        chat = ChatModel(Target(name, client=client), policy=ONCE)
        for words in ({"model": model}, {"extra": {"model": model}}):
            with pytest.raises(BadRequest, match="no name of a model; nothing was sent"):
                await chat.ainvoke("hi", **words)
        await chat.aclose()


async def test_a_clients_key_may_change_and_a_subclass_may_sign():
    """The client is asked as it is at each call, whatever its constructor looks like."""

    class Signing(openai.AsyncOpenAI):
        def __init__(self, where: str) -> None:
            super().__init__(base_url=where, api_key="first")

        async def _prepare_request(self, request: Any) -> None:
            request.headers["x-signature"] = str(len(request.content))

    async with serving(answer(OPENAI), answer(OPENAI)) as served:
        client = Signing(served.url)
        chat = ChatModel(Target("openai:m", client=client), policy=ONCE)
        await chat.ainvoke("one")
        client.api_key = "second"
        await chat.ainvoke("two")
        await chat.aclose()
        assert [key in head for key, head in zip((b"Bearer first", b"Bearer second"), served.heads, strict=True)] == [True, True]
        assert all(f"x-signature: {len(body)}".encode() in head for head, body in zip(served.heads, served.bodies, strict=True))
        await client.close()


async def test_a_clients_own_retries_and_large_error_pages_do_not_come_up():
    """One owner of retries; and an SDK reads a failed answer whole, however long it is."""
    head = b"HTTP/1.1 500 X\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\n"
    async with serving(answer({"error": {"message": "busy"}}, 429), head + b"x" * 100) as served:
        client = openai.AsyncOpenAI(base_url=served.url, api_key="k", max_retries=5)
        chat = ChatModel(Target("openai:m", client=client, options=(("max_body_bytes", 50),)), policy=ONCE)
        with pytest.raises(RateLimited, match="busy"):
            await chat.ainvoke("hi")
        with pytest.raises(MalformedReply, match="longer than 50 bytes"):
            await chat.ainvoke("hi")
        assert len(served.heads) == 2
        await chat.aclose()
        await client.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_clients_answers_are_read_up_to_the_limit(stream):
    """Also those that went well, streamed or not."""
    async with serving(answer(b" " * 100)) as served:
        client = openai.AsyncOpenAI(base_url=served.url, api_key="k")
        provider = OpenAIProvider(Target("openai:m", client=client, options=(("max_body_bytes", 50),)), None)
        with pytest.raises(MalformedReply, match="longer than 50 bytes"):
            await provider.chat(Call(request=HELLO.request, state=CallState(), stream=stream))
        await provider.aclose()
        await client.close()


async def test_closing_a_model_tells_a_call_on_the_callers_client():
    """The client goes on living, but nobody waits for an answer of a model that is closed."""
    async with serving(b"") as served:
        client = openai.AsyncOpenAI(base_url=served.url, api_key="k")
        provider = OpenAIProvider(Target("openai:m", client=client), None)
        asked = asyncio.ensure_future(provider.chat(HELLO))
        await served.requests(1)
        await provider.aclose()
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionLost, match="closed while"):
                await asked
        await client.close()


async def test_embeddings_go_through_the_callers_client():
    """The same client, the other API."""
    async with serving(answer({"data": [{"index": 0, "embedding": [1.0, 0.0]}], "model": "m"})) as served:
        client = openai.AsyncOpenAI(base_url=served.url, api_key="k")
        vectors = EmbedModel(Target("openai:m", client=client), policy=ONCE)
        assert (await vectors.aembed(["text"])).tolist() == [[1.0, 0.0]]
        await vectors.aclose()
        await client.close()


async def collect(stream: Any) -> str:
    return "".join([delta.text async for delta in stream])


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """A frame of Amazon's event stream."""
    head = b"".join(bytes([len(name)]) + name.encode() + b"\x07" + len(text).to_bytes(2) + text.encode() for name, text in headers.items())
    prelude = (16 + len(head) + len(payload)).to_bytes(4) + len(head).to_bytes(4)
    prelude += crc32(prelude).to_bytes(4)
    return (body := prelude + head + payload) + crc32(body).to_bytes(4)


def chunk(event: dict[str, Any]) -> bytes:
    payload = json.dumps({"bytes": b64encode(json.dumps(event).encode()).decode(), "p": "abc"}).encode()
    return frame({":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}, payload)


BEDROCK = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 3}, "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "fi"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ne"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}},
]
EVENTS = "application/vnd.amazon.eventstream"


def bedrock(url: str) -> Any:
    return anthropic.AsyncAnthropicBedrock(aws_access_key="AKIA", aws_secret_key="s", aws_region="eu-central-1", base_url=url)


async def test_bedrock_signs_and_its_event_stream_is_read():
    """AWS's signature, the model in the address, and events inside Amazon's frames, wherever the blocks are cut."""
    frames = b"".join(map(chunk, BEDROCK))
    async with serving(answer(CLAUDE), answer(frames, kind=EVENTS)) as served:
        client = bedrock(served.url)
        chat = ChatModel(Target("anthropic:anthropic.claude-haiku-4-5-v1:0", client=client), policy=ONCE)
        assert (await chat.ainvoke("hi")).text == "fine"
        stream = chat.astream("hi")
        assert [delta.text async for delta in stream if delta.text] == ["fi", "ne"]
        assert (stream.reply.usage.input_tokens, stream.reply.usage.output_tokens) == (3, 2)
        whole, streamed = served.heads
        assert whole.startswith(b"POST /model/anthropic.claude-haiku-4-5-v1:0/invoke ")
        assert streamed.startswith(b"POST /model/anthropic.claude-haiku-4-5-v1:0/invoke-with-response-stream ")
        assert all(b"AWS4-HMAC-SHA256 Credential=AKIA/" in head for head in served.heads)
        assert "anthropic_version" in json.loads(served.bodies[0])
        await chat.aclose()
        await client.close()


@pytest.mark.parametrize(
    ("tail", "error"),
    [
        (frame({":exception-type": "throttlingException", ":message-type": "exception"}, b'{"message": "slow down"}'), RateLimited),
        (frame({":error-code": "InternalFailure", ":error-message": "oops", ":message-type": "error"}, b""), Overloaded),
        (chunk(BEDROCK[2])[:-3], MalformedReply),
        (chunk(BEDROCK[2])[:-1] + b"?", MalformedReply),
        (b"\xff" * 64, MalformedReply),
        (frame({":event-type": "chunk"}, b"[1]"), MalformedReply),
        (b"", ConnectionLost),
    ],
    ids=["exception", "error", "cut", "broken", "no frame", "no event", "no end"],
)
async def test_what_breaks_an_event_stream_of_bedrocks_is_told(tail, error):
    """Never an answer that only looks whole."""
    async with serving(answer(b"".join(map(chunk, BEDROCK[:2])) + tail, kind=EVENTS)) as served:
        client = bedrock(served.url)
        provider = AnthropicProvider(Target("anthropic:m", client=client), None)
        with pytest.raises(SurefootError) as caught:
            await collect(await provider.chat(Call(request=HELLO.request, state=CallState(), stream=True)))
        assert isinstance(caught.value, error) or isinstance(caught.value.__cause__, error), repr(caught.value)
        await provider.aclose()
        await client.close()


async def test_vertex_signs_with_an_access_token():
    """Claude on Google's cloud: project, region and model in the address."""
    async with serving(answer(CLAUDE)) as served:
        client = anthropic.AsyncAnthropicVertex(project_id="p", region="eu", access_token="tok", base_url=served.url)
        assert await reply_of(client, "anthropic:claude-haiku-4-5") == "fine"
        assert served.heads[0].startswith(b"POST /projects/p/locations/eu/publishers/anthropic/models/claude-haiku-4-5:rawPredict ")
        assert b"Bearer tok" in served.heads[0]
        await client.close()


async def test_a_refused_client_is_not_asked_for_another_key():
    """There is none of ours; the error is the provider's."""
    async with serving(answer({"error": {"message": "no"}}, 401)) as served:
        client = openai.AsyncOpenAI(base_url=served.url, api_key="k")
        with pytest.raises(AuthFailed):
            await reply_of(client, "openai:m")
        assert len(served.heads) == 1
        await client.close()


@pytest.mark.parametrize(
    ("name", "client", "fields", "why"),
    [
        ("openai:m", openai.OpenAI(api_key="k"), {}, "asynchronous"),
        ("openai:m", object(), {}, "AsyncOpenAI"),
        ("openai:m", {}, {}, "no client"),
        ("openai:m", openai.AsyncOpenAI, {}, "AsyncOpenAI"),
        ("anthropic:m", "client", {}, "AsyncAnthropicBedrock"),
        ("google:m", openai.AsyncOpenAI(api_key="k"), {}, r"google\.genai\.Client"),
        ("openai:m", openai.AsyncOpenAI(api_key="k"), {"options": (("proxy", "http://p:1"),)}, "proxy beside client"),
        ("openai:m", openai.AsyncOpenAI(api_key="k"), {"lane": "direct"}, "leave out lane"),
        ("openai:m", openai.AsyncOpenAI(api_key="k"), {"api_key": "k"}, "leave out lane"),
        ("openai:m", openai.AsyncOpenAI(api_key="k"), {"base_url": "http://h"}, "leave out lane"),
    ],
)
async def test_a_client_that_cannot_be_used_is_refused(name, client, fields, why):
    """Before anything is sent, with what to give instead."""
    with pytest.raises(Misconfigured, match=why):
        await ChatModel(Target(name, client=client, **fields), policy=ONCE).ainvoke("hi")
