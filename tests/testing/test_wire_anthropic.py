"""The simulated Anthropic, driven by the real SDK with its retries off."""

from __future__ import annotations

import anthropic
import pytest
from pydantic import BaseModel

from surefoot.testing.wire import AnthropicSim, Limits

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a place.",
    "input_schema": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
ADDER = {
    "name": "my_adder_tool",
    "description": "Takes two integers, a and b, and returns their sum.",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
}


@pytest.fixture(scope="module")
def server():
    with AnthropicSim() as sim:
        yield sim


@pytest.fixture
def sim(server):
    server.reset()
    server.__dict__.update(answer=None, limits=None, gap_s=0.0, models=None, context_tokens=None, expected_key=None)
    return server


@pytest.fixture
def client(sim):
    with anthropic.Anthropic(base_url=sim.url, api_key="sk-ant-test", max_retries=0, timeout=5.0) as client:
        yield client


def user(text):
    return {"role": "user", "content": text}


def ask(client, *messages, **more):
    given = [user(m) if isinstance(m, str) else m for m in messages or ("Merhaba!",)]
    return client.messages.create(**{"model": "claude-haiku-4-5", "max_tokens": 2000, "messages": given} | more)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def test_message_and_stream_say_the_same_with_usage(client, sim):
    """The SDK's accumulator builds the same message out of the events."""
    plain = ask(client)
    with client.messages.stream(model="claude-haiku-4-5", max_tokens=2000, messages=[user("Merhaba!")]) as stream:
        final = stream.get_final_message()
    assert "Merhaba!" in text_of(plain) == text_of(final)
    assert (plain.stop_reason, final.stop_reason) == ("end_turn", "end_turn")
    assert (final.usage.input_tokens, final.usage.output_tokens) == (plain.usage.input_tokens, plain.usage.output_tokens)
    assert plain.model == "claude-haiku-4-5"
    assert plain._request_id == sim.requests[0].id
    assert sim.keys == {"sk-ant-test": 2}


async def test_async_client_on_the_servers_own_loop():
    """`async with` runs the server on the test's loop."""
    async with AnthropicSim() as sim, anthropic.AsyncAnthropic(base_url=sim.url, api_key="k", max_retries=0) as client:
        said = ""
        async with client.messages.stream(model="m", max_tokens=100, messages=[user("Hello")]) as stream:
            async for text in stream.text_stream:
                said += text
        assert "Hello" in said


def test_a_forced_tool_gets_the_numbers_and_its_result_is_told(client):
    """Two turns of tool use, by the SDK's own types."""
    first = ask(client, "What is 17 + 25", tools=[ADDER], tool_choice={"type": "any"})
    (call,) = first.content
    assert first.stop_reason == "tool_use"
    assert call.input == {"a": 17, "b": 25}
    result = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "42 it is"}]}],
    }
    second = ask(client, "What is 17 + 25", {"role": "assistant", "content": first.content}, result, tools=[ADDER])
    assert "42 it is" in text_of(second)


def test_streamed_tool_input_is_json_in_pieces(client):
    """The accumulator parses partial JSON, unicode intact."""
    tool = {"name": "customer", "input_schema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}
    with client.messages.stream(
        model="m",
        max_tokens=500,
        messages=[user("Create a customer named '你好啊集团'")],
        tools=[tool],
        tool_choice={"type": "tool", "name": "customer"},
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert final.content[0].input == {"name": "你好啊集团"}
    assert kinds.count("input_json") > 3


def test_parallel_tool_use_can_be_disabled(client):
    """Two cities are two calls, unless the caller forbids it."""
    text = "What is the weather in Paris and in London?"
    assert [b.input["location"] for b in ask(client, text, tools=[WEATHER]).content] == ["Paris", "London"]
    one = ask(client, text, tools=[WEATHER], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert len(one.content) == 1


def test_pairs_of_tool_use_and_result_are_checked(client):
    """In the API's words, so that adapters are tested against them."""
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}]}
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result` blocks immediately after: toolu_1"):
        ask(client, "x", call, "and?", tools=[WEATHER])
    stray = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_9", "content": "3"}]}
    with pytest.raises(anthropic.BadRequestError, match="unexpected `tool_use_id`"):
        ask(client, stray, tools=[WEATHER])
    with pytest.raises(anthropic.BadRequestError, match="non-empty"):
        ask(client, {"role": "user", "content": [{"type": "text", "text": ""}]})


def test_max_tokens_is_required_and_obeyed(client, sim):
    """Anthropic has no default."""
    sim.answer = "one two three"
    cut = ask(client, max_tokens=2)
    assert (text_of(cut), cut.stop_reason) == ("one two", "max_tokens")
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Field required"):
        client.post("/v1/messages", body={"model": "m", "messages": [user("x")]}, cast_to=object)


def test_stop_sequence_is_named(client, sim):
    """The answer says which sequence stopped it."""
    sim.answer = "one two three"
    reply = ask(client, stop_sequences=["two", "three"])
    assert (text_of(reply), reply.stop_reason, reply.stop_sequence) == ("one ", "stop_sequence", "two")


class Joke(BaseModel):
    setup: str
    rating: int


def test_structured_output_through_the_sdks_parser(client):
    """`output_format` of the SDK becomes output_config.format on the wire."""
    reply = client.messages.parse(model="m", max_tokens=500, messages=[user("A joke about cats, rating 4")], output_format=Joke)
    assert reply.parsed_output.rating == 4
    with pytest.raises(anthropic.BadRequestError, match="additionalProperties"):
        ask(client, output_config={"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}})


def test_thinking_comes_first_signed_and_counted(client):
    """A thinking block, its signature, its tokens; forced tools refuse it."""
    with client.messages.stream(
        model="m", max_tokens=4000, messages=[user("Why?")], thinking={"type": "enabled", "budget_tokens": 1024}
    ) as stream:
        final = stream.get_final_message()
    assert [b.type for b in final.content] == ["thinking", "text"]
    assert final.content[0].signature
    assert 0 < final.usage.output_tokens_details.thinking_tokens < final.usage.output_tokens
    with pytest.raises(anthropic.BadRequestError, match="Thinking may not be enabled"):
        ask(client, thinking={"type": "adaptive"}, tools=[ADDER], tool_choice={"type": "any"})


def test_cache_breakpoints_are_written_then_read(client):
    """Input tokens exclude what the cache wrote or read."""
    system = [{"type": "text", "text": "law " * 2000, "cache_control": {"type": "ephemeral"}}]
    first, second = ask(client, "a", system=system).usage, ask(client, "b", system=system).usage
    assert first.cache_creation_input_tokens > 1024
    assert first.cache_read_input_tokens == 0
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens == 0
    assert second.input_tokens < 100


def test_a_conversations_earlier_breakpoint_is_found(client):
    """The next turn moves the breakpoint; the prefix before it is still a hit."""

    def marked(text):
        return {"role": "user", "content": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]}

    first = ask(client, marked("law " * 2000)).usage
    second = ask(
        client,
        user("x") | {"content": [{"type": "text", "text": "law " * 2000}]},
        {"role": "assistant", "content": "Yes."},
        marked("more " * 500),
    ).usage
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens > 400


def test_images_and_documents_are_accepted(client):
    """Also inside a tool result."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}
    reply = ask(client, {"role": "user", "content": [image, document, {"type": "text", "text": "What?"}]})
    assert "1 image and 1 file" in text_of(reply)
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [image]}]}
    assert "[image]" in text_of(ask(client, "x", call, result, tools=[WEATHER]))


def test_tokens_are_counted_and_models_listed(client, sim):
    """count_tokens bills nothing."""
    assert client.messages.count_tokens(model="m", messages=[user("Hello there")]).input_tokens > 3
    assert not sim.usage_log
    sim.models = ("claude-x",)
    assert [m.id for m in client.models.list()] == ["claude-x"]
    with pytest.raises(anthropic.NotFoundError, match="claude-haiku"):
        ask(client)


def test_keys_and_context_are_checked(client, sim):
    """401 with the vendor's error type; 400 for a long prompt."""
    sim.expected_key = "right"
    with pytest.raises(anthropic.AuthenticationError) as caught:
        ask(client)
    assert caught.value.type == "authentication_error"
    sim.expected_key, sim.context_tokens = None, 50
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: .* > 50 maximum"):
        ask(client, "word " * 100)


def test_limits_are_told_in_anthropics_headers(client, sim):
    """Input and output tokens have limits of their own; resets are dates."""
    sim.limits = Limits(requests_per_minute=1, tokens_per_minute=1000, output_tokens_per_minute=500)
    raw = client.messages.with_raw_response.create(model="m", max_tokens=100, messages=[user("x")])
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert int(raw.headers["anthropic-ratelimit-output-tokens-remaining"]) < 500
    assert raw.headers["anthropic-ratelimit-input-tokens-reset"].endswith("Z")
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(client)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
