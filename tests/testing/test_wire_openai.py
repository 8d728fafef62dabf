"""The simulated OpenAI, driven by the real SDK with its retries off."""

from __future__ import annotations

import json

import numpy as np
import openai
import pytest
from pydantic import BaseModel

from surefoot.testing.wire import OK, Limits, OpenAISim, PlainAnswer, PlainToolCall, fault

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a place.",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    },
}
ADDER = {
    "type": "function",
    "function": {
        "name": "my_adder_tool",
        "description": "Takes two integers, a and b, and returns their sum.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
    },
}


SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


@pytest.fixture(scope="module")
def server():
    with OpenAISim() as sim:
        yield sim


@pytest.fixture
def sim(server):
    server.reset()
    server.__dict__.update(answer=None, limits=None, latency_s=0.0, gap_s=0.0, models=None, context_tokens=None, expected_key=None)
    return server


@pytest.fixture
def client(sim):
    with openai.OpenAI(base_url=sim.url + "/v1", api_key="sk-test", max_retries=0, timeout=5.0) as client:
        yield client


def user(text):
    return [{"role": "user", "content": text}]


def ask(client, text="Merhaba!", **more):
    return client.chat.completions.create(model="gpt-4.1", messages=user(text), **more)


def streamed(client, text="Merhaba!", **more):
    chunks = list(ask(client, text, stream=True, **more))
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    return chunks, said


def test_chat_answers_with_usage_and_the_model_that_was_asked(client, sim):
    """The answer echoes the model, so that an override can be seen."""
    reply = ask(client)
    assert "Merhaba!" in reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == "gpt-4.1"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    assert sim.requests[0].json["messages"] == user("Merhaba!")
    assert sim.requests[0].headers["authorization"] == "Bearer sk-test"
    assert reply._request_id == sim.requests[0].id


def test_stream_gives_the_same_text_and_usage_only_when_asked(client):
    """Usage comes in a last chunk without choices, and only with include_usage."""
    plain = ask(client)
    chunks, said = streamed(client)
    assert said == plain.choices[0].message.content
    assert not any(c.usage for c in chunks)
    chunks, said = streamed(client, stream_options={"include_usage": True})
    assert [c.usage for c in chunks if c.usage] == [chunks[-1].usage]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens


async def test_async_client_on_the_servers_own_loop():
    """`async with` runs the server on the test's loop."""
    async with OpenAISim() as sim, openai.AsyncOpenAI(base_url=sim.url + "/v1", api_key="k", max_retries=0) as client:
        reply = await client.chat.completions.create(model="m", messages=user("Hello"))
        said = ""
        async for chunk in await client.chat.completions.create(model="m", messages=user("Hello"), stream=True):
            said += chunk.choices[0].delta.content or ""
        assert said == reply.choices[0].message.content
        assert sim.request_count == 2


def test_paths_with_and_without_v1_and_azures(sim):
    """Apps put different bases before the same paths."""
    for base in ("", "/v1", "/openai/deployments/gpt", "/openai/v1"):
        with openai.OpenAI(base_url=sim.url + base, api_key="k", max_retries=0) as client:
            assert ask(client).choices
    with openai.AzureOpenAI(azure_endpoint=sim.url, api_key="az", api_version="2024-10-21", max_retries=0) as client:
        assert ask(client).choices
    assert sim.keys == {"k": 4, "az": 1}


def test_a_required_tool_gets_the_number_from_the_text(client):
    """Obvious values are taken out of the user's words."""
    reply = ask(client, "What is 17 + 25", tools=[ADDER], tool_choice="required")
    (call,) = reply.choices[0].message.tool_calls
    assert reply.choices[0].finish_reason == "tool_calls"
    assert json.loads(call.function.arguments) == {"a": 17, "b": 25}


def test_streamed_arguments_join_to_the_same_json(client):
    """The id and the name come first, the arguments in pieces, with unicode intact."""
    text = "Create a customer named '你好啊集团' please, use the tool"
    tool = {
        "type": "function",
        "function": {
            "name": "customer",
            "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        },
    }
    chunks = list(ask(client, text, tools=[tool], stream=True))
    deltas = [c.choices[0].delta.tool_calls[0] for c in chunks if c.choices and c.choices[0].delta.tool_calls]
    assert deltas[0].id
    assert deltas[0].function.name == "customer"
    assert json.loads("".join(d.function.arguments for d in deltas)) == {"name": "你好啊集团"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert len(deltas) > 3


def test_tool_choice_names_a_tool_or_forbids_all(client):
    """A named tool is called whatever the text says; "none" gives text."""
    tools = [WEATHER, ADDER]
    named = ask(client, "Hello!", tools=tools, tool_choice={"type": "function", "function": {"name": "my_adder_tool"}})
    assert named.choices[0].message.tool_calls[0].function.name == "my_adder_tool"
    assert ask(client, "weather in Rome", tools=tools, tool_choice="none").choices[0].message.content
    assert ask(client, "Hello!", tools=tools).choices[0].message.content
    assert (
        ask(client, "What is the weather in San Francisco, CA?", tools=tools).choices[0].message.tool_calls[0].function.name
        == "get_weather"
    )


def test_parallel_calls_and_their_refusal(client):
    """Two cities are two calls, unless parallel calls are off."""
    text = "What is the weather in Paris and in London?"
    calls = ask(client, text, tools=[WEATHER]).choices[0].message.tool_calls
    assert [json.loads(c.function.arguments)["location"] for c in calls] == ["Paris", "London"]
    assert len({c.id for c in calls}) == 2
    assert len(ask(client, text, tools=[WEATHER], parallel_tool_calls=False).choices[0].message.tool_calls) == 1


def test_a_tool_result_is_told(client):
    """The second turn of a tool conversation is text that includes the result."""
    first = ask(client, "What is 1 + 2", tools=[ADDER], tool_choice="required").choices[0].message
    history = [
        *user("What is 1 + 2"),
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": '{"result": 3}'},
    ]
    reply = client.chat.completions.create(model="m", messages=history, tools=[ADDER])
    assert '{"result": 3}' in reply.choices[0].message.content


def test_unanswered_tool_calls_are_refused_as_the_api_does(client, sim):
    """A translator's mistake must not pass here and fail in production."""
    first = ask(client, "What is 1 + 2", tools=[ADDER], tool_choice="required").choices[0].message
    with pytest.raises(openai.BadRequestError, match="did not have response messages"):
        client.chat.completions.create(model="m", messages=[*user("x"), first.model_dump(exclude_none=True), *user("and?")])
    with pytest.raises(openai.BadRequestError, match="must be a response"):
        client.chat.completions.create(model="m", messages=[{"role": "tool", "tool_call_id": "nobody", "content": "3"}])


class Joke(BaseModel):
    setup: str
    punchline: str | None = None
    rating: int


def test_structured_output_satisfies_the_schema(client):
    """The SDK's own parser reads it back."""
    reply = client.chat.completions.parse(model="m", messages=user("A joke about cats, rating 4"), response_format=Joke)
    assert reply.choices[0].message.parsed.rating == 4
    assert reply.choices[0].message.parsed.setup


def test_json_mode_gives_the_quoted_keys_and_insists_on_the_word(client):
    """The API refuses json_object when no message says JSON."""
    reply = ask(client, "Return JSON with 'setup' and 'punchline' keys.", response_format={"type": "json_object"})
    assert set(json.loads(reply.choices[0].message.content)) == {"setup", "punchline"}
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        ask(client, "Tell me a joke", response_format={"type": "json_object"})


def test_open_schemas_are_refused_in_strict_mode(client):
    """As the API does: additionalProperties must be false, everything required."""
    loose = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": loose, "strict": True}}
    with pytest.raises(openai.BadRequestError, match="additionalProperties"):
        ask(client, response_format=form)


def test_stop_sequences_and_max_tokens_cut_the_answer(client, sim):
    """Both are cut where a model would be."""
    sim.answer = "one two three four five"
    assert ask(client, stop=["three"]).choices[0].message.content == "one two "
    cut = ask(client, max_completion_tokens=2).choices[0]
    assert (cut.message.content, cut.finish_reason) == ("one two", "length")
    chunks, said = streamed(client, max_tokens=2)
    assert (said, chunks[-1].choices[0].finish_reason) == ("one two", "length")


def test_usage_details_reasoning_audio_and_cached(client, sim):
    """The details are parts of the totals."""
    reply = client.chat.completions.create(model="gpt-5-mini", messages=user("Think"), reasoning_effort="high")
    assert reply.usage.completion_tokens_details.reasoning_tokens == 128 < reply.usage.completion_tokens
    long = "word " * 3000
    assert ask(client, long).usage.prompt_tokens_details.cached_tokens == 0
    again = ask(client, long + " and more").usage
    assert 1024 <= again.prompt_tokens_details.cached_tokens <= again.prompt_tokens
    heard = client.chat.completions.create(
        model="gpt-4o-audio-preview", modalities=["text", "audio"], audio={"voice": "alloy", "format": "pcm16"},
        messages=[{"role": "user", "content": [{"type": "text", "text": "Listen"}, SOUND]}],
    )  # fmt: skip
    assert heard.usage.prompt_tokens_details.audio_tokens > 0
    assert heard.usage.completion_tokens_details.audio_tokens > 0
    assert heard.choices[0].message.audio.transcript


def test_pictures_and_files_are_accepted(client):
    """The answer says that they were seen."""
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]
    reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    assert "1 image and 1 file" in reply.choices[0].message.content


def test_embeddings_in_both_encodings_are_the_same_unit_vectors(client):
    """The SDK asks for base64 by default."""
    texts = ["cats and dogs", "dogs and cats", "quantum chromodynamics"]
    packed = np.array([d.embedding for d in client.embeddings.create(model="e", input=texts).data])
    plain = np.array([d.embedding for d in client.embeddings.create(model="e", input=texts, encoding_format="float").data])
    assert packed.shape == (3, 1536)
    assert np.allclose(packed, plain, atol=1e-6)
    assert np.allclose(np.linalg.norm(packed, axis=1), 1, atol=1e-6)
    assert packed[0] @ packed[1] > 0.7
    assert abs(packed[0] @ packed[2]) < 0.3


def test_embedding_dimensions_and_limits(client):
    """`dimensions` is obeyed; what the API refuses is refused."""
    assert len(client.embeddings.create(model="e", input="x", dimensions=64).data[0].embedding) == 64
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.embeddings.create(model="e", input=["fine", "long " * 9000])
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="e", input=["fine", ""])
    with pytest.raises(openai.BadRequestError, match="2048"):
        client.embeddings.create(model="e", input=["x"] * 2049)


def test_keys_models_and_context_are_checked(client, sim):
    """401 without or with the wrong key, 404 for an unknown model, 400 for a long prompt."""
    sim.expected_key = "sk-right"
    with pytest.raises(openai.AuthenticationError):
        ask(client)
    sim.expected_key, sim.models = None, ("gpt-5",)
    with pytest.raises(openai.NotFoundError):
        ask(client)
    sim.models, sim.context_tokens = None, 50
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "word " * 100)
    assert caught.value.code == "context_length_exceeded"


def test_models_are_listed(client, sim):
    """The list shows what is known, one of them can be fetched."""
    sim.models = ("a", "b")
    assert [m.id for m in client.models.list().data] == ["a", "b"]
    assert client.models.retrieve("b").id == "b"


def test_scripts_by_order_by_predicate_and_counted(client, sim):
    """A list is used up; a single entry holds; `times` and `when` bound it."""
    sim.script([fault("status_500"), OK, "Scripted.", PlainAnswer(calls=(PlainToolCall("f", "{}"),))])
    with pytest.raises(openai.InternalServerError):
        ask(client)
    assert "Merhaba" in ask(client).choices[0].message.content
    assert ask(client).choices[0].message.content == "Scripted."
    assert ask(client).choices[0].message.tool_calls[0].function.name == "f"
    assert "Merhaba" in ask(client).choices[0].message.content
    sim.script(fault("status_503"), when=lambda r: b"unlucky" in r.body, times=1)
    assert ask(client, "lucky")
    with pytest.raises(openai.InternalServerError):
        ask(client, "unlucky")
    assert ask(client, "unlucky")
    assert sim.faults_played["status_503"] == 1


@pytest.mark.parametrize("window", ["fixed", "sliding", "bucket"])
def test_limits_are_enforced_and_told(client, sim, window):
    """Each answer carries the headers; beyond the limit comes a 429 with a hint."""
    sim.limits = Limits(requests_per_minute=2, tokens_per_minute=10_000, window=window)
    raw = client.chat.completions.with_raw_response.create(model="m", messages=user("a"))
    assert raw.headers["x-ratelimit-limit-requests"] == "2"
    assert raw.headers["x-ratelimit-remaining-requests"] == "1"
    assert int(raw.headers["x-ratelimit-remaining-tokens"]) < 10_000
    ask(client)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client)
    assert 0 < float(caught.value.response.headers["retry-after-ms"]) <= 60_000
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"


def test_tokens_per_minute_are_enforced(client, sim):
    """The error says tokens, as OpenAI's does."""
    sim.limits = Limits(tokens_per_minute=50)
    ask(client)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "word " * 60)
    assert caught.value.type == "tokens"


def test_usage_log_is_the_providers_own_bill(client, sim):
    """Errors are free; answers cost what their usage says."""
    reply = ask(client)
    sim.script([fault("status_500")])
    with pytest.raises(openai.InternalServerError):
        ask(client)
    assert list(sim.usage_log) == [reply._request_id]
    bill = sim.usage_log[reply._request_id]
    assert (bill.input_tokens, bill.output_tokens) == (reply.usage.prompt_tokens, reply.usage.completion_tokens)
    assert sim.billed.total == reply.usage.total_tokens


def test_a_cancelled_stream_is_billed_for_what_was_generated(client, sim):
    """The provider bills until it notices that the client has gone."""
    sim.gap_s = 0.02
    sim.answer = "word " * 100
    with ask(client, stream=True) as stream:
        for number, _ in enumerate(stream):
            if number == 3:
                break
    assert sim.wait_idle()
    (bill,) = sim.usage_log.values()
    assert not bill.complete
    assert 1 <= bill.output_tokens < 20


async def test_concurrency_peak_counts_requests_in_flight():
    """With some latency, ten at once are ten at once."""
    import asyncio

    async with OpenAISim(latency_s=0.05) as sim, openai.AsyncOpenAI(base_url=sim.url, api_key="k", max_retries=0) as client:
        await asyncio.gather(*(client.chat.completions.create(model="m", messages=user("x")) for _ in range(10)))
        await sim.until_idle()
        assert (sim.concurrency_peak, sim.concurrency) == (10, 0)


def test_n_choices(client):
    """`n` answers, each with its index, also streamed."""
    assert [c.index for c in ask(client, n=3).choices] == [0, 1, 2]
    chunks, _ = streamed(client, n=2)
    assert {c.choices[0].index for c in chunks if c.choices} == {0, 1}
