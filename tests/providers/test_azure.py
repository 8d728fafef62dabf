"""`azure:`: deployments by name, both of Azure's APIs, and one header with the key or the token."""

from __future__ import annotations

import asyncio

import openai
import pytest

from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.credentials import placed
from surefoot.errors import Misconfigured
from surefoot.providers import registry
from surefoot.testing.wire import OpenAISim

ONCE = Policy(attempts=1, deadline_s=20, breaker=False)
KEY = "k-0123456789012345678901234567"
TOKEN = "eyJh.eyJi.c2ln"
LANES = ["sdk", "direct"]
KEY_HEADERS = ("authorization", "api-key")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """Whatever the developer's own environment says is not what is tested."""
    monkeypatch.setenv("SUREFOOT_DOTENV", "")
    for name in ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sim(monkeypatch):
    """A resource, named by the environment."""
    with OpenAISim() as running:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{running.url}/")
        yield running


def keys_in(request) -> dict[str, str]:
    return {name: request.headers[name] for name in KEY_HEADERS if name in request.headers}


@pytest.mark.parametrize("lane", LANES)
def test_a_deployment_is_reached_by_its_name_alone(sim, monkeypatch, lane):
    """Address and key of the environment, the API without versions, OpenAI's rules by the deployment's name."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    ChatModel(Target("azure:gpt-5-mini", lane=lane), policy=ONCE).invoke("hi", temperature=0.2, max_tokens=50)
    request = sim.requests[-1]
    assert request.path == "/openai/v1/chat/completions"
    assert keys_in(request) == {"api-key": KEY}
    assert request.json["model"] == "gpt-5-mini"
    assert request.json["max_completion_tokens"] == 50
    assert "temperature" not in request.json


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("kind", ["chat", "embed"])
def test_a_dated_version_is_asked_as_the_vendors_own_client_asks_it(sim, monkeypatch, lane, kind):
    """The deployment in the path, the version in the query."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01-preview")

    async def by_theirs() -> None:
        async with openai.AsyncAzureOpenAI(max_retries=0) as client:
            if kind == "chat":
                await client.chat.completions.create(model="my dep", messages=[{"role": "user", "content": "hi"}])
            else:
                await client.embeddings.create(model="my dep", input=["hi"])

    asyncio.run(by_theirs())
    if kind == "chat":
        ChatModel(Target("azure:my dep", lane=lane), policy=ONCE).invoke("hi")
    else:
        EmbedModel(Target("azure:my dep", lane=lane), policy=ONCE).embed(["hi"])
    theirs, ours = sim.requests[-2:]
    assert ours.path == theirs.path
    assert ours.query == theirs.query == "api-version=2025-04-01-preview"
    assert keys_in(ours) == keys_in(theirs) == {"api-key": KEY}
    assert ours.json == theirs.json


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("given", ["variable", "text", "function", "coroutine"])
def test_an_entra_token_goes_out_as_a_bearer_alone(sim, monkeypatch, lane, given):
    """However it comes; a function's token also where it does not look like one."""

    async def later() -> str:
        return "opaque-token-of-a-gateway"

    if given == "variable":
        monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", TOKEN)
    keys = {"variable": None, "text": TOKEN, "function": lambda: TOKEN, "coroutine": later}
    ChatModel(Target("azure:dep", lane=lane, api_key=keys[given]), policy=ONCE).invoke("hi")
    assert keys_in(sim.requests[-1]) == {"authorization": f"Bearer {'opaque-token-of-a-gateway' if given == 'coroutine' else TOKEN}"}


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("header", ["api-key", "Ocp-Apim-Subscription-Key", "Authorization"])
def test_a_header_of_ones_own_that_holds_a_key_is_the_only_one(sim, monkeypatch, lane, header):
    """Gateways refuse two; one that means something else goes along beside the key."""
    if header.startswith("Ocp"):
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    ChatModel(Target("azure:dep", lane=lane, headers=((header, "Bearer own"),)), policy=ONCE).invoke("hi")
    request = sim.requests[-1]
    assert request.headers[header.lower()] == "Bearer own"
    assert len(keys_in(request)) == 1


def test_what_is_missing_is_said_with_the_remedy(monkeypatch):
    """Before anything is sent."""
    with pytest.raises(Misconfigured, match=r"AZURE_OPENAI_ENDPOINT to https://RESOURCE\.openai\.azure\.com"):
        ChatModel(Target("azure:dep", api_key=KEY))
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com")
    with pytest.raises(Misconfigured, match="AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN"):
        ChatModel("azure:dep")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "r.openai.azure.com")
    with pytest.raises(Misconfigured, match="the environment variable AZURE_OPENAI_ENDPOINT"):
        ChatModel(Target("azure:dep", api_key=KEY))


@pytest.mark.parametrize(
    ("given", "version", "found"),
    [
        ("https://r.openai.azure.com", "", "https://r.openai.azure.com/openai/v1"),
        ("https://r.openai.azure.com/", "v1", "https://r.openai.azure.com/openai/v1"),
        ("https://r.services.ai.azure.com/openai", "preview", "https://r.services.ai.azure.com/openai/v1"),
        ("https://r.openai.azure.com", "2024-10-21", "https://r.openai.azure.com/openai"),
        ("https://r.openai.azure.com/openai/v1/", "", "https://r.openai.azure.com/openai/v1/"),
        ("https://gateway.example/my/path", "2024-10-21", "https://gateway.example/my/path"),
    ],
)
def test_which_api_is_meant(given, version, found):
    """An address with a path of its own stays as it is."""
    options = (("api_version", version),) if version else ()
    assert placed(Target("azure:d", base_url=given, options=options), registry.PROVIDERS["azure"]).base_url == found


def test_the_vendors_own_client_is_taken_as_it_is(sim):
    """It brings address, key and version."""
    client = openai.AsyncAzureOpenAI(azure_endpoint=sim.url, api_key=KEY, api_version="2024-10-21")
    ChatModel(Target("azure:dep", client=client), policy=ONCE).invoke("hi")
    assert sim.requests[-1].path == "/openai/deployments/dep/chat/completions"
