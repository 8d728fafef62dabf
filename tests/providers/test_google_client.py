"""google-genai's request functions, which are not public: what is expected of them, for each supported version (`make test-official` runs
this file with the oldest one), and Vertex AI through a client of the caller's.
"""

from __future__ import annotations

import gc
import inspect
import json
from typing import Any

import aiohttp
import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.errors import BadRequest, Misconfigured, Overloaded, RateLimited, Unsupported
from tests.providers.http.servers import serving

ONCE = Policy(attempts=1, breaker=False)
SAID = {"candidates": [{"content": {"parts": [{"text": "fine"}], "role": "model"}, "finishReason": "STOP"}]}


def answer(body: Any, status: int = 200, kind: str = "application/json") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind.encode(), len(data), data)


def vertex(url: str, **options: Any) -> genai.Client:
    return genai.Client(
        vertexai=True, project="p", location="eu", credentials=Credentials(token="tok"),
        http_options=types.HttpOptions(base_url=url, **options),
    )  # fmt: skip


def test_the_request_functions_are_there():
    """What `_google_lanes` calls, by the names and arguments it calls them with."""
    api = genai._api_client.BaseApiClient
    assert list(inspect.signature(api._build_request).parameters)[:5] == ["self", "http_method", "path", "request_dict", "http_options"]
    assert list(inspect.signature(api._async_request_once).parameters)[:3] == ["self", "http_request", "stream"]
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url="http://host", api_version="v1beta"))
    request = client._api_client._build_request("post", "models/m:generateContent?alt=sse", {}, None)
    assert (request.url, request.headers["x-goog-api-key"]) == ("http://host/v1beta/models/m:generateContent?alt=sse", "k")
    assert callable(client._api_client._use_aiohttp)
    assert hasattr(client._api_client, "_async_httpx_client")
    assert hasattr(client._api_client._http_options, "aiohttp_client") or genai.__version__ < "2"


async def test_vertex_is_asked_with_the_clients_token():
    """Project, region and model in the address, a token of the credentials', our body as it is; whole and streamed."""
    event = b"data: " + json.dumps(SAID).encode() + b"\r\n\r\n"
    async with serving(answer(SAID), answer(event, kind="text/event-stream")) as served:
        client = vertex(served.url)
        chat = ChatModel(Target("google:gemini-3-flash", client=client, headers=(("x-team", "blue"),)), policy=ONCE)
        assert (await chat.ainvoke("hi")).text == "fine"
        assert [delta.text async for delta in chat.astream("hi") if delta.text] == ["fine"]
        await chat.aclose()
        where = b"POST /v1beta1/projects/p/locations/eu/publishers/google/models/gemini-3-flash:"
        whole, streamed = served.heads
        assert whole.startswith(where + b"generateContent ")
        assert streamed.startswith(where + b"streamGenerateContent?alt=sse ")
        assert all(b"Bearer tok" in head and b"x-team: blue" in head.lower() for head in served.heads)
        assert json.loads(served.bodies[0])["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]


async def test_a_tuned_model_of_vertex_is_asked_where_it_is():
    """An endpoint of a project, or another publisher's model; whatever leads out of the path is refused."""
    async with serving(answer(SAID), answer(SAID)) as served:
        chat = ChatModel(Target("google:gemini-3-flash", client=vertex(served.url)), policy=ONCE)
        await chat.ainvoke("hi", model="projects/q/locations/us/endpoints/7")
        await chat.ainvoke("hi", model="publishers/acme/models/m")
        with pytest.raises(BadRequest, match="no name of a model"):
            await chat.ainvoke("hi", model="../../../../q/endpoints/7")
        await chat.aclose()
        assert [head.split(b" ")[1] for head in served.heads] == [
            b"/v1beta1/projects/q/locations/us/endpoints/7:generateContent",
            b"/v1beta1/projects/p/locations/eu/publishers/acme/models/m:generateContent",
        ]


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (answer({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}, 429), RateLimited),
        (answer(b"<html>busy</html>", 503, "text/html"), Overloaded),
        (answer(b'{"error": {"mess', 500), Overloaded),
    ],
    ids=["said", "a page", "cut"],
)
async def test_a_refusal_is_read_and_nothing_is_sent_again(refusal, error):
    """The SDK's retries lie above the functions that are used; over aiohttp it would ask again by itself."""
    async with serving(refusal) as served:
        client = vertex(served.url, retry_options=types.HttpRetryOptions(attempts=5))
        chat = ChatModel(Target("google:m", client=client), policy=ONCE)
        with pytest.raises(error):
            await chat.ainvoke("hi")
        await chat.aclose()
        assert len(served.heads) == 1


async def test_a_clients_connections_stay_open_when_the_model_goes():
    """They are the caller's; what google-genai closes when it is collected must not be its twin."""
    async with serving(answer(SAID), answer(SAID)) as served:
        client = vertex(served.url)
        for _ in range(2):
            chat = ChatModel(Target("google:m", client=client), policy=ONCE)
            assert (await chat.ainvoke("hi")).text == "fine"
            await chat.aclose()
            del chat
            gc.collect()
        assert not client._api_client._async_httpx_client.is_closed


async def test_vertex_has_other_embeddings():
    """Another address and another body; a Gemini key asks the ones we know."""
    vectors = EmbedModel(Target("google:gemini-embedding-001", client=vertex("http://127.0.0.1:9")), policy=ONCE)
    with pytest.raises(Unsupported, match="Vertex AI"):
        await vectors.aembed(["text"])


async def test_a_client_over_an_aiohttp_session_is_refused():
    """google-genai sends again over it what may have been answered."""
    async with aiohttp.ClientSession() as session:
        client = vertex("http://127.0.0.1:9", aiohttp_client=session)
        with pytest.raises(Misconfigured, match="httpx_async_client"):
            await ChatModel(Target("google:m", client=client), policy=ONCE).ainvoke("hi")
