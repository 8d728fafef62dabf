"""`vertex:` and `bedrock:`: the vendors' bodies at the clouds' addresses, with a token, the machine's credentials, or AWS signatures."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import anthropic
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as AWSCredentials
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from surefoot import ChatModel, Policy, Target
from surefoot.credentials import placed
from surefoot.credentials._google import GoogleTokenReader
from surefoot.errors import AuthFailed, Misconfigured
from surefoot.providers import registry
from surefoot.types import Usage
from surefoot.usage.prices import Price
from tests.providers.http.servers import serving
from tests.providers.http.test_sdk import BEDROCK, CLAUDE, EVENTS, OPENAI, answer, chunk

ONCE = Policy(attempts=1, deadline_s=20, breaker=False)
TOKEN = "ya29.CANARY-0123456789abcdef"
LANES = ["sdk", "direct"]
GEMINI = {"candidates": [{"content": {"parts": [{"text": "fine"}]}, "finishReason": "STOP"}]}
PLACE = (("project", "p"), ("location", "europe-west4"))
HELLO: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    """Whatever the developer's own environment says is not what is tested."""
    monkeypatch.setenv("SUREFOOT_DOTENV", "")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for provider in ("vertex", "bedrock"):
        entry = registry.PROVIDERS[provider]
        for name in (entry.address_variable, *entry.key_variables, *(variable for _, variable in entry.option_variables)):
            monkeypatch.delenv(name, raising=False)


def head(raw: bytes) -> tuple[str, dict[str, str]]:
    """The request line and the headers, names in small letters."""
    first, *lines = raw.decode().strip().split("\r\n")
    return first, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


@pytest.mark.parametrize("lane", LANES)
async def test_gemini_on_vertex_is_asked_as_the_vendors_client_asks_it(lane):
    """Project and location in the address, the token as a bearer, the same body; and a stream."""
    event = b"data: " + json.dumps(GEMINI).encode() + b"\r\n\r\n"
    async with serving(answer(GEMINI), answer(GEMINI), answer(event, kind="text/event-stream")) as served:
        client = genai.Client(
            vertexai=True, project="p", location="europe-west4", credentials=Credentials(token=TOKEN),
            http_options=types.HttpOptions(base_url=served.url),
        )  # fmt: skip
        await client.aio.models.generate_content(model="gemini-3-flash", contents="hi")
        await client.aio.aclose()
        chat = ChatModel(Target("vertex:gemini-3-flash", base_url=served.url, api_key=TOKEN, lane=lane, options=PLACE), policy=ONCE)
        assert (await chat.ainvoke("hi")).text == "fine"
        assert [delta.text async for delta in chat.astream("hi") if delta.text] == ["fine"]
        await chat.aclose()
        theirs, ours, streamed = map(head, served.heads)
        assert (
            ours[0]
            == theirs[0]
            == ("POST /v1beta1/projects/p/locations/europe-west4/publishers/google/models/gemini-3-flash:generateContent HTTP/1.1")
        )
        assert ours[1]["authorization"] == theirs[1]["authorization"] == f"Bearer {TOKEN}"
        assert json.loads(served.bodies[1])["contents"] == json.loads(served.bodies[0])["contents"]
        assert ":streamGenerateContent?alt=sse" in streamed[0]


@pytest.mark.parametrize("lane", LANES)
async def test_claude_on_vertex_is_asked_as_the_vendors_client_asks_it(lane):
    """The model in the path, the version in the body."""
    async with serving(answer(CLAUDE), answer(CLAUDE)) as served:
        client = anthropic.AsyncAnthropicVertex(project_id="p", region="europe-west4", access_token=TOKEN, base_url=f"{served.url}/v1")
        await client.messages.create(model="claude-haiku-4-5@20251001", max_tokens=9, messages=[{"role": "user", "content": HELLO_BLOCKS}])
        await client.close()
        chat = ChatModel(
            Target("vertex:claude-haiku-4-5@20251001", base_url=served.url, api_key=TOKEN, lane=lane, options=PLACE), policy=ONCE
        )
        assert (await chat.ainvoke("hi", max_tokens=9)).text == "fine"
        await chat.aclose()
        theirs, ours = map(head, served.heads)
        assert ours[0] == theirs[0]
        assert ours[1]["authorization"] == theirs[1]["authorization"]
        assert _body(served.bodies[1]) == _body(served.bodies[0])


def _body(sent: bytes) -> Any:
    """What was sent; without the protocol's version where the installed SDK is older than the one that ours is taken from."""
    body = json.loads(sent)
    version = body.pop("anthropic_version")
    return body | {"anthropic_version": version} if anthropic.__version__ >= "2" else body


HELLO_BLOCKS: Any = [{"type": "text", "text": "hi"}]


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("streamed", [False, True])
async def test_claude_on_bedrock_is_asked_as_the_vendors_client_asks_it(lane, streamed):
    """With an API key of Bedrock's; a stream has another verb, and comes in Amazon's frames."""
    said = answer(b"".join(map(chunk, BEDROCK)), kind=EVENTS) if streamed else answer(CLAUDE)
    model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    async with serving(said, said) as served:
        client = anthropic.AsyncAnthropicBedrock(api_key=TOKEN, aws_region="eu-central-1", base_url=served.url)
        asked = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": HELLO_BLOCKS}]}
        found = await client.messages.create(**asked, stream=streamed)
        if streamed:
            [event async for event in found]
        await client.close()
        target = Target(f"bedrock:{model}", base_url=served.url, api_key=TOKEN, lane=lane, options=(("beta", "tools-2026,files-2026"),))
        chat = ChatModel(target, policy=ONCE)
        texts = (
            [delta.text async for delta in chat.astream("hi", max_tokens=9)]
            if streamed
            else [(await chat.ainvoke("hi", max_tokens=9)).text]
        )
        assert "".join(texts) == "fine"
        await chat.aclose()
        theirs, ours = map(head, served.heads)
        assert ours[0] == theirs[0]
        assert ours[1]["authorization"] == f"Bearer {TOKEN}"
        assert ours[1]["anthropic-beta"] == "tools-2026,files-2026"
        betas = {"anthropic_beta": ["tools-2026", "files-2026"]} if lane == "direct" else {}
        body = _body(served.bodies[1])
        assert body.pop("anthropic_beta", None) in (None, betas.get("anthropic_beta"))
        assert body == _body(served.bodies[0])


async def test_bedrock_signs_with_the_machines_aws_credentials(monkeypatch):
    """The signature holds for what arrives, not only for what the SDK thought it sent."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-CANARY")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    async with serving(answer(CLAUDE)) as served:
        monkeypatch.setenv("ANTHROPIC_BEDROCK_BASE_URL", served.url)
        chat = ChatModel("bedrock:anthropic.claude-haiku-4-5-20251001-v1:0", policy=ONCE)
        assert (await chat.ainvoke("hi")).text == "fine"
        await chat.aclose()
        line, headers = head(served.heads[0])
        scope, signed, _ = headers["authorization"].split(", ")
        assert scope.startswith("AWS4-HMAC-SHA256 Credential=AKIACANARY/")
        names = signed.removeprefix("SignedHeaders=").split(";")
        arrived = {name: headers[name] for name in names if name != "x-amz-date"}
        again = AWSRequest("POST", served.url + line.split(" ")[1], headers=arrived, data=served.bodies[0])
        signer = SigV4Auth(AWSCredentials("AKIACANARY", "secret-CANARY"), "bedrock", "eu-central-1")
        again.context["timestamp"] = headers["x-amz-date"]
        again.headers["X-Amz-Date"] = headers["x-amz-date"]
        signature = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
        assert headers["authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize("lane", LANES)
async def test_other_houses_models_answer_in_openais_protocol(lane):
    """On Vertex below `endpoints/openapi`, on Bedrock below `/openai/v1`."""
    async with serving(answer(OPENAI), answer(OPENAI)) as served:
        for name, options in (("vertex:meta/llama-4-maverick", PLACE), ("bedrock:openai.gpt-oss-120b-1:0", ())):
            chat = ChatModel(Target(name, base_url=served.url, api_key=TOKEN, lane=lane, options=options), policy=ONCE)
            assert (await chat.ainvoke("hi")).text == "fine"
            await chat.aclose()
        (first, one), (second, two) = map(head, served.heads)
        assert first == "POST /v1/projects/p/locations/europe-west4/endpoints/openapi/chat/completions HTTP/1.1"
        assert second == "POST /openai/v1/chat/completions HTTP/1.1"
        assert one["authorization"] == two["authorization"] == f"Bearer {TOKEN}"
        assert [json.loads(body)["model"] for body in served.bodies] == ["meta/llama-4-maverick", "openai.gpt-oss-120b-1:0"]


def account(path: Any, token_uri: str) -> str:
    """A service account's key file, whose tokens are asked of `token_uri`."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    fields = {"type": "service_account", "project_id": "p", "private_key": pem, "client_email": "a@p", "token_uri": token_uri}
    path.write_text(json.dumps(fields))
    return str(path)


async def test_vertex_takes_the_machines_own_login(monkeypatch, tmp_path):
    """Nothing but the name, where Google's tools would find credentials; the token is asked for once."""
    told = answer({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
    async with serving(told) as tokens, serving(answer(GEMINI), answer(GEMINI)) as served:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", account(tmp_path / "key.json", f"{tokens.url}/token"))
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", served.url)
        chat = ChatModel("vertex:gemini-3-flash", policy=ONCE)
        for _ in range(2):
            assert (await chat.ainvoke("hi")).text == "fine"
        await chat.aclose()
        assert len(tokens.heads) == 1
        assert head(served.heads[1])[1]["authorization"] == f"Bearer {TOKEN}"
        assert "/projects/p/locations/global/" in head(served.heads[0])[0]


async def test_what_google_says_of_a_login_is_told(monkeypatch, tmp_path):
    """None found: what to do; refused: that it was."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    async with serving(answer({"error": "invalid_grant"}, 400)) as tokens:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", account(tmp_path / "key.json", f"{tokens.url}/token"))
        with pytest.raises(AuthFailed, match="refused"):
            await ChatModel("vertex:gemini-3-flash", policy=ONCE).ainvoke("hi")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(Misconfigured, match="gcloud auth application-default login"):
        await ChatModel("vertex:gemini-3-pro", policy=ONCE).ainvoke("hi")


@pytest.mark.parametrize("lane", LANES)
async def test_a_key_of_vertexs_express_mode_needs_no_project(lane):
    """It goes into Google's own header."""
    async with serving(answer(GEMINI)) as served:
        chat = ChatModel(Target("vertex:gemini-3-flash", base_url=served.url, api_key="AQ.CANARY-0123456789", lane=lane), policy=ONCE)
        assert (await chat.ainvoke("hi")).text == "fine"
        await chat.aclose()
        line, headers = head(served.heads[0])
        assert line.startswith("POST /v1beta1/publishers/google/models/gemini-3-flash:generateContent ")
        assert headers["x-goog-api-key"] == "AQ.CANARY-0123456789"
        assert "authorization" not in headers


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("vertex:gemini-3-flash", (("project", "p"),), "https://aiplatform.googleapis.com"),
        ("vertex:gemini-3-flash", (("project", "p"), ("location", "us-east5")), "https://us-east5-aiplatform.googleapis.com"),
        ("vertex:claude-opus-5", (("project", "p"), ("location", "eu")), "https://aiplatform.eu.rep.googleapis.com"),
        ("bedrock:anthropic.claude-opus-5-v1:0", (("region", "eu-central-1"),), "https://bedrock-runtime.eu-central-1.amazonaws.com"),
        ("bedrock:anthropic.claude-opus-5-v1:0", (("region", "cn-north-1"),), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_where_a_clouds_models_are(name, options, found):
    """By location or region."""
    target = Target(name, options=options)
    assert placed(target, registry.PROVIDERS[target.provider]).base_url == found


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("vertex:gemini-3-flash", {}, "GOOGLE_CLOUD_PROJECT"),
        ("bedrock:anthropic.claude-opus-5-v1:0", {"api_key": TOKEN}, "AWS_REGION"),
        ("bedrock:amazon.nova-pro-v1:0", {"api_key": TOKEN, "options": (("region", "us-east-1"),)}, "Converse"),
        ("bedrock:openai.gpt-oss-20b-1:0", {"options": (("region", "us-east-1"),)}, "AWS_BEARER_TOKEN_BEDROCK"),
        ("bedrock:anthropic.claude-opus-5-v1:0", {"lane": "direct", "options": (("region", "us-east-1"),)}, "not signed"),
        ("google:gemini-3-flash", {"api_key": TOKEN, "options": (("project", "p"),)}, "vertex:MODEL"),
    ],
)
async def test_what_is_missing_is_said_with_the_remedy(name, fields, why):
    """Before anything is sent."""
    with pytest.raises(Misconfigured, match=why):
        await ChatModel(Target(name, **fields), policy=ONCE).ainvoke("hi")


async def test_bedrock_signs_only_where_boto3_is(monkeypatch):
    """The SDK's own error would come in the middle of a call."""
    monkeypatch.setattr("surefoot.providers.anthropic.clouds.is_installed", lambda module: module != "boto3")
    with pytest.raises(Misconfigured, match=r"surefoot\[anthropic,aws\]"):
        await ChatModel(Target("bedrock:anthropic.claude-opus-5-v1:0", options=(("region", "us-east-1"),)), policy=ONCE).ainvoke("hi")


async def test_a_client_of_ones_own_says_whose_protocol_it_is():
    """An SDK client signs and sends; the name need not tell."""
    async with serving(answer(CLAUDE), answer(GEMINI)) as served:
        claude = anthropic.AsyncAnthropicBedrock(api_key=TOKEN, aws_region="eu-central-1", base_url=served.url)
        gemini = genai.Client(
            vertexai=True,
            project="p",
            location="eu",
            credentials=Credentials(token=TOKEN),
            http_options=types.HttpOptions(base_url=served.url),
        )
        for name, client in (("bedrock:arn:aws:bedrock:eu:1:application-inference-profile/x", claude), ("vertex:tuned", gemini)):
            chat = ChatModel(Target(name, client=client), policy=ONCE)
            assert (await chat.ainvoke("hi")).text == "fine"
            await chat.aclose()
        with pytest.raises(Misconfigured, match="of the anthropic, openai or google-genai SDK"):
            await ChatModel(Target("vertex:m", client=object()), policy=ONCE).ainvoke("hi")


def test_prices_and_rules_are_those_of_the_model():
    """The same models behind other addresses; the list knows them there."""
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000)
    assert Price(Target("vertex:gemini-2.5-flash")).cost(usage) == Price(Target("google:gemini-2.5-flash")).cost(usage) is not None
    assert Price(Target("bedrock:anthropic.claude-haiku-4-5-20251001-v1:0")).cost(usage) is not None


async def test_a_token_says_how_long_it_lasts(monkeypatch, tmp_path):
    """It is had anew before it runs out; long-lived services outlive many tokens."""
    numbers = itertools.count()

    def told(_):
        return answer({"access_token": f"ya29.{next(numbers)}", "expires_in": 3600, "token_type": "Bearer"})

    async with serving(told) as tokens:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", account(tmp_path / "key.json", f"{tokens.url}/token"))
        reader = GoogleTokenReader()
        first, second = [await asyncio.to_thread(reader.read) for _ in range(2)]
    assert first.lasts_s is not None
    assert 3000 < first.lasts_s <= 3600
    assert first.secret.reveal().startswith("ya29.")
    assert first.secret.reveal() != second.secret.reveal()
