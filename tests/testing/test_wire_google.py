"""The simulated Gemini, driven by the real SDK, which does not retry by default."""

from __future__ import annotations

import json

import numpy as np
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from surefoot.testing.wire import GeminiSim, Limits

WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather", description="The weather in a place.",
            parameters_json_schema={"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
        )
    ]
)  # fmt: skip
ADDER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="my_adder_tool",
            parameters=types.Schema(
                type="OBJECT", properties={"a": types.Schema(type="INTEGER"), "b": types.Schema(type="INTEGER")}, required=["a", "b"]
            ),
        )
    ]
)


@pytest.fixture(scope="module")
def server():
    with GeminiSim() as sim:
        yield sim


@pytest.fixture
def sim(server):
    server.reset()
    server.__dict__.update(answer=None, limits=None, gap_s=0.0, models=None, context_tokens=None, expected_key=None, signatures=False)
    return server


@pytest.fixture
def client(sim):
    client = genai.Client(api_key="g-test", http_options=types.HttpOptions(base_url=sim.url, timeout=5000))
    yield client
    client.close()


def config(**more):
    return types.GenerateContentConfig(automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True), **more)


def ask(client, contents="Merhaba!", **more):
    return client.models.generate_content(model="gemini-3-flash", contents=contents, config=config(**more))


def texts(*words):
    return [types.Content(parts=[types.Part(text=word)]) for word in words]


def test_answer_and_stream_say_the_same_with_usage(client, sim):
    """Every chunk carries usage so far, the last one the finish reason."""
    plain = ask(client)
    chunks = list(client.models.generate_content_stream(model="gemini-3-flash", contents="Merhaba!"))
    assert "Merhaba!" in plain.text == "".join(c.text for c in chunks)
    assert [c.candidates[0].finish_reason for c in chunks if c.candidates[0].finish_reason] == [types.FinishReason.STOP]
    assert chunks[-1].usage_metadata.total_token_count == plain.usage_metadata.total_token_count
    assert plain.model_version == "gemini-3-flash"
    assert sim.keys == {"g-test": 2}


async def test_async_client_on_the_servers_own_loop():
    """`async with` runs the server on the test's loop."""
    async with GeminiSim() as sim:
        client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=sim.url, timeout=5000))
        reply = await client.aio.models.generate_content(model="m", contents="Hello")
        said = "".join([c.text async for c in await client.aio.models.generate_content_stream(model="m", contents="Hello")])
        assert reply.text == said
        await client.aio.aclose()


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_both_api_versions(sim, version):
    """The SDK's default moved from one to the other."""
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=sim.url, api_version=version))
    assert client.models.generate_content(model="m", contents="x").text
    assert sim.requests[0].path.startswith(f"/{version}/models/m:")


def test_forced_tool_gets_numbers_and_its_result_is_told(client):
    """Schemas in Gemini's own dialect, types in capitals."""
    forced = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY", allowed_function_names=["my_adder_tool"]))
    first = ask(client, "What is 17 + 25", tools=[ADDER, WEATHER], tool_config=forced)
    (call,) = first.function_calls
    assert call.args == {"a": 17, "b": 25}
    question = types.Content(role="user", parts=[types.Part(text="What is 17 + 25")])
    answer = types.Content(role="user", parts=[types.Part.from_function_response(name=call.name, response={"result": "42 it is"})])
    second = ask(client, [question, first.candidates[0].content, answer], tools=[ADDER])
    assert "my_adder_tool returned 42 it is" in second.text


def test_parallel_calls_stream_whole(client):
    """Gemini streams each call in one piece."""
    stream = client.models.generate_content_stream(model="m", contents="Weather in Paris and in London?", config=config(tools=[WEATHER]))
    calls = [call for chunk in stream for call in chunk.function_calls or []]
    assert [call.args["location"] for call in calls] == ["Paris", "London"]


def test_unpaired_function_responses_are_refused(client):
    """As many answers as calls, in the API's words."""
    call = types.Content(role="model", parts=[types.Part(function_call=types.FunctionCall(name="get_weather", args={}))])
    with pytest.raises(errors.ClientError, match="number of function response parts is equal"):
        ask(client, [*texts("x"), call, *texts("and?")], tools=[WEATHER])


def test_missing_signatures_are_refused_when_asked_for(client, sim):
    """Gemini 3 refuses a call that comes back without its thoughtSignature."""
    sim.signatures = True
    first = ask(client, "Weather in Paris?", tools=[WEATHER])
    content = first.candidates[0].content
    question = types.Content(role="user", parts=[types.Part(text="Weather in Paris?")])
    answer = types.Content(role="user", parts=[types.Part.from_function_response(name="get_weather", response={"result": "sun"})])
    assert "sun" in ask(client, [question, content, answer], tools=[WEATHER]).text
    content.parts[0].thought_signature = None
    with pytest.raises(errors.ClientError, match="thought_signature"):
        ask(client, [question, content, answer], tools=[WEATHER])


class Joke(BaseModel):
    setup: str
    rating: int


def test_both_kinds_of_schema_and_json_mode(client):
    """responseSchema, responseJsonSchema, and neither."""
    by_class = ask(client, "A joke, rating 4", response_mime_type="application/json", response_schema=Joke)
    assert by_class.parsed.rating == 4
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "exclusiveMinimum": 3}},
        "required": ["n"],
        "additionalProperties": False,
    }
    by_schema = ask(client, "Give me", response_mime_type="application/json", response_json_schema=schema)
    assert json.loads(by_schema.text) == {"n": 4}
    free = ask(client, "JSON with 'setup' and 'punchline'", response_mime_type="application/json")
    assert set(json.loads(free.text)) == {"setup", "punchline"}


def test_words_geminis_schema_does_not_know_are_refused(client, sim):
    """JSON Schema's `const` in responseSchema fails as on the real wire."""
    body = {
        "contents": [{"parts": [{"text": "x"}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "STRING", "const": "x"}},
    }
    with pytest.raises(errors.ClientError, match='Unknown name "const"'):
        client._api_client.request("post", "models/m:generateContent", body)


def test_thoughts_are_counted_and_shown_only_when_asked(client):
    """candidatesTokenCount excludes thoughts; the total includes them."""
    shown = ask(client, thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="LOW"))
    usage = shown.usage_metadata
    assert shown.candidates[0].content.parts[0].thought
    assert usage.thoughts_token_count == 32
    assert usage.candidates_token_count == ask(client).usage_metadata.candidates_token_count
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count + 32
    assert not any(p.thought for p in ask(client, thinking_config=types.ThinkingConfig(thinking_budget=64)).candidates[0].content.parts)


def test_stop_and_max_tokens(client, sim):
    """MAX_TOKENS is told."""
    sim.answer = "one two three"
    assert ask(client, stop_sequences=["two"]).text == "one "
    cut = ask(client, max_output_tokens=2)
    assert (cut.text, cut.candidates[0].finish_reason) == ("one two", types.FinishReason.MAX_TOKENS)


def test_media_are_accepted_and_audio_is_counted(client):
    """By bytes and by address."""
    parts = [
        types.Part.from_bytes(data=b"x", mime_type="image/png"),
        types.Part.from_uri(file_uri="https://example.com/a.pdf", mime_type="application/pdf"),
        types.Part.from_bytes(data=b"x", mime_type="audio/wav"),
        types.Part(text="What?"),
    ]
    reply = ask(client, types.Content(role="user", parts=parts))
    assert "1 image and 1 file and 1 recording" in reply.text
    assert {d.modality.value: d.token_count for d in reply.usage_metadata.prompt_tokens_details}["AUDIO"] > 0


def test_long_prefixes_are_cached(client):
    """Implicit caching shows in cachedContentTokenCount."""
    assert ask(client, "law " * 3000).usage_metadata.cached_content_token_count is None
    assert ask(client, "law " * 3000).usage_metadata.cached_content_token_count > 1024


def test_embeddings_one_vector_a_content(client):
    """The SDK merges plain strings for newer models: one vector comes back for three texts."""
    words = ["cats and dogs", "dogs and cats", "quantum"]
    whole = client.models.embed_content(model="gemini-embedding-2", contents=texts(*words)).embeddings
    matrix = np.array([e.values for e in whole])
    assert matrix.shape == (3, 3072)
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1)
    assert matrix[0] @ matrix[1] > 0.7 > abs(matrix[0] @ matrix[2])
    assert len(client.models.embed_content(model="gemini-embedding-2", contents=words).embeddings) == 1
    assert len(client.models.embed_content(model="gemini-embedding-001", contents=words).embeddings) == 3


def test_shortened_embeddings_of_the_first_model_are_not_of_unit_length(client):
    """As its documentation says; a caller who wants unit length must see to it."""
    short = types.EmbedContentConfig(output_dimensionality=768)
    one = client.models.embed_content(model="gemini-embedding-001", contents="a b c", config=short).embeddings[0].values
    two = client.models.embed_content(model="gemini-embedding-2", contents="a b c", config=short).embeddings[0].values
    assert len(one) == len(two) == 768
    assert np.linalg.norm(one) == pytest.approx(0.5)
    assert np.linalg.norm(two) == pytest.approx(1.0)


def test_limits_come_as_retry_info(client, sim):
    """No header: the hint stands in the body."""
    sim.limits = Limits(requests_per_minute=1)
    ask(client)
    with pytest.raises(errors.ClientError) as caught:
        ask(client)
    kinds = {d["@type"].rpartition(".")[2]: d for d in caught.value.details["error"]["details"]}
    assert caught.value.status == "RESOURCE_EXHAUSTED"
    assert 0 < float(kinds["RetryInfo"]["retryDelay"].rstrip("s")) <= 60


def test_keys_models_tokens_and_context(client, sim):
    """A wrong key is a 400 at Google's; counting bills nothing."""
    assert client.models.count_tokens(model="m", contents="hello there").total_tokens > 3
    assert next(iter(client.models.list())).name == "models/gemini-3-flash"
    assert not sim.usage_log
    sim.expected_key = "right"
    with pytest.raises(errors.ClientError, match="API key not valid"):
        ask(client)
    sim.expected_key, sim.context_tokens = None, 20
    with pytest.raises(errors.ClientError, match="exceeds the maximum number of tokens"):
        ask(client, "word " * 100)
