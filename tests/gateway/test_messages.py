"""Anthropic's and OpenAI's other API through the gateway, by the vendors' own SDKs, beside the same calls on the direct wire."""

from __future__ import annotations

from typing import Any

import anthropic
import msgspec
import openai
import pytest

from surefoot.testing.wire import AnthropicSim, OpenAISim, PlainAnswer, PlainToolCall, fault
from tests.gateway.conftest import FAST, KEY, Served, openai_target, served
from tests.gateway.test_wire import PNG, plain

ASKED: dict[str, Any] = {"max_tokens": 200, "messages": [{"role": "user", "content": "Merhaba, what is the capital of Iceland?"}]}
TOOL = {
    "name": "weather",
    "description": "d",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG.partition(",")[2]}}
CALL = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}}
CALLED = {"role": "assistant", "content": [{"type": "text", "text": "I look."}, CALL]}
TOLD = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]}
RESULT = {"role": "user", "content": [TOLD, {"type": "text", "text": "So?"}]}
CORPUS: dict[str, dict[str, Any]] = {
    "plain": ASKED,
    "options": {**ASKED, "stop_sequences": ["zzz"], "metadata": {"user_id": "u"}, "extra_body": {"top_k": 5}},
    "system": {**ASKED, "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
    "tools": {**ASKED, "tools": [TOOL], "tool_choice": {"type": "any"}},
    "one tool": {**ASKED, "tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}},
    "picture": {"max_tokens": 99, "messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, PICTURE]}]},
    "result": {"max_tokens": 99, "tools": [TOOL], "messages": [*ASKED["messages"], CALLED, RESULT]},
}  # fmt: skip


@pytest.fixture
def client(gateway: Served) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0)


@pytest.fixture
def direct(claude: AnthropicSim) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=claude.url, api_key="any", max_retries=0)


@pytest.mark.parametrize("name", CORPUS)
def test_a_message_is_what_the_direct_wire_gives(name: str, client: anthropic.Anthropic, direct: anthropic.Anthropic, claude: AnthropicSim):
    """Whole and streamed, each event; and what goes upstream is what was sent."""
    asked = {"model": "claude-sonnet-4-5", **CORPUS[name]}
    through = {**asked, "model": "claude"}
    assert plain(client.messages.create(**through)) == plain(direct.messages.create(**asked))
    ours, theirs = (one.json for one in claude.requests[-2:])
    assert {key: ours[key] for key in ours if key != "messages"} == {key: theirs[key] for key in theirs if key != "messages"}
    with client.messages.stream(**through) as one, direct.messages.stream(**asked) as other:
        assert [plain(event) for event in one] == [plain(event) for event in other]
        assert plain(one.get_final_message()) == plain(other.get_final_message())


def test_messages_over_another_vendors_model(gateway: Served, sim: OpenAISim):
    """Text and tool calls, whole and streamed, with what was used."""
    client = anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0)
    asked = {"model": "default", **ASKED, "tools": [TOOL], "metadata": {"user_id": "u"}}
    said = PlainAnswer(text="I look.", calls=(PlainToolCall("weather", '{"city":"Oslo"}'),), finish="tools")
    for _ in range(2):
        sim.script([said, said])
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        for message in (whole, streamed):
            assert [block.type for block in message.content] == ["text", "tool_use"]
            assert message.content[1].input == {"city": "Oslo"}
            assert message.stop_reason == "tool_use"
            assert message.usage.output_tokens > 0
    assert "metadata" not in sim.requests[-1].json
    assert client.messages.count_tokens(model="default", messages=ASKED["messages"]).input_tokens > 5


def test_errors_are_in_the_words_of_the_protocol(client: anthropic.Anthropic, gateway: Served, claude: AnthropicSim):
    """So that the SDK raises the right class; a stream that breaks raises, too."""
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=gateway.url, api_key="sf-wrong", max_retries=0).messages.create(model="claude", **ASKED)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model="claude", max_tokens=0, messages=ASKED["messages"])
    claude.script([fault("stream_cut")])
    with pytest.raises(anthropic.APIError), client.messages.stream(model="claude", **ASKED) as stream:
        stream.get_final_message()


def test_chat_completions_over_another_vendors_model(gateway: Served, claude: AnthropicSim):
    """What only OpenAI knows is left out; the answer, its calls and what was used are in OpenAI's words."""
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)
    tool = {"type": "function", "function": {"name": "weather", "parameters": TOOL["input_schema"]}}
    asked: dict[str, Any] = {
        "model": "claude",
        "messages": ASKED["messages"],
        "tools": [tool],
        "user": "u",
        "n": 1,
        "frequency_penalty": 0.1,
    }
    said = PlainAnswer(text="I look.", calls=(PlainToolCall("weather", '{"city":"Oslo"}'),), finish="tools")
    claude.script([said, said])
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert whole.choices[0].finish_reason == chunks[-2].choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.tool_calls[0].function.arguments == '{"city":"Oslo"}'
    assert "".join(one.choices[0].delta.content or "" for one in chunks[:-1]) == whole.choices[0].message.content == "I look."
    pieces = [call.function.arguments for one in chunks[:-1] for call in one.choices[0].delta.tool_calls or ()]
    assert "".join(pieces) == '{"city":"Oslo"}'
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens > 0


def test_responses_are_passed_through(sim: OpenAISim, gateway: Served):
    """Whole and streamed, as the direct wire gives them; a target that does not speak the API is named before anything is sent."""
    target = msgspec.structs.replace(openai_target(sim), options=(("api", "responses"),))
    with served({"chat": {"r": {"targets": [target], "policy": FAST}}}) as one:
        ours = openai.OpenAI(base_url=f"{one.url}/v1", api_key=KEY, max_retries=0)
        theirs = openai.OpenAI(base_url=f"{sim.url}/v1", api_key="any", max_retries=0)
        for more in (
            {},
            {"instructions": "Be brief.", "max_output_tokens": 300, "temperature": 0.5, "store": False, "metadata": {"a": "b"}},
        ):
            asked = {"input": "What is the capital of Iceland?", **more}
            assert plain(ours.responses.create(model="r", **asked)) == plain(theirs.responses.create(model="gpt-5-mini", **asked))
            streams = (
                ours.responses.create(model="r", **asked, stream=True),
                theirs.responses.create(model="gpt-5-mini", **asked, stream=True),
            )
            mine, others = ([plain(event) for event in stream] for stream in streams)
            assert mine == others
        sim.script([fault("stream_cut")])
        with pytest.raises(openai.APIError):
            list(ours.responses.create(model="r", input="x", stream=True))
    with pytest.raises(openai.BadRequestError, match="does not speak"):
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0).responses.create(model="claude", input="x")
