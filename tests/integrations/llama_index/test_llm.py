"""Surefoot: what engines, agents and programs meet, over a scripted provider."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, Policy, Target
from surefoot.core._tool_calls import checked_tool_call
from surefoot.errors import BadRequest, Exhausted, Interrupted, InvalidOutput, Misconfigured, Overloaded
from surefoot.testing import STALL, Scripted
from surefoot.types import ChatReply, Delta, ToolCall, ToolCallDelta, Traits

HI = [ChatMessage("hi")]


def around(*steps: Any, traits: Traits | None = None, **fields: Any) -> tuple[Surefoot, Scripted]:
    """A Surefoot over a scripted provider that waits for nothing between attempts."""
    provider = Scripted(*steps, traits=traits)
    return Surefoot(chat=ChatModel(provider, policy=Policy(backoff_base_s=0.001)), **fields), provider


class City(BaseModel):
    """A city."""

    name: str
    people: int


def call(name: str, arguments: str) -> ChatReply:
    return ChatReply(tool_calls=(checked_tool_call(id="1", name=name, arguments=arguments),), finish_reason="tool_calls")


def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


async def test_every_way_to_ask_gives_the_same_answer():
    """Eight methods, one call."""
    llm, provider = around("hello there")
    answers = [
        llm.chat(HI).message.content,
        (await llm.achat(HI)).message.content,
        llm.complete("hi").text,
        (await llm.acomplete("hi")).text,
        [*llm.stream_chat(HI)][-1].message.content,
        [response async for response in await llm.astream_chat(HI)][-1].message.content,
        [*llm.stream_complete("hi")][-1].text,
        [response async for response in await llm.astream_complete("hi")][-1].text,
    ]
    assert answers == ["hello there"] * 8
    assert provider.calls == 8


def test_the_fields_reach_the_request_and_options_win():
    """A temperature that gets lost on the way changes every answer."""
    llm, provider = around(temperature=0.5, max_tokens=9, stop=["x"], seed=7, extra={"user": "u"})
    llm.chat(HI, temperature=0.0, model="other", timeout=5)
    asked = provider.requests[0]
    assert (asked.temperature, asked.max_tokens, asked.stop, asked.seed, asked.extra) == (0.0, 9, ("x",), 7, '{"user":"u"}')
    assert (asked.model, provider.seen[0].deadline_s) == ("other", 5)


@pytest.mark.parametrize("way", ["complete", "stream_complete"])
def test_two_failures_and_a_success_are_three_attempts(way):
    """LlamaIndex must see one call, and the provider three."""
    llm, provider = around(Overloaded("busy"), Overloaded("busy"), "fine")
    answer = getattr(llm, way)("hi")
    assert (answer.text if way == "complete" else [*answer][-1].text) == "fine"
    assert provider.calls == 3


def test_a_persistent_failure_costs_the_policys_attempts_and_no_more():
    """LlamaIndex's own OpenAI class makes twelve calls of it."""
    llm, provider = around(Overloaded("busy"))
    with pytest.raises(Exhausted):
        llm.complete("hi")
    assert provider.calls == llm.surefoot.policy.attempts


def test_a_broken_stream_says_what_had_arrived():
    """After the first token nobody asks again."""
    llm, provider = around(["Hel", "lo", Overloaded("reset")])
    read = []
    with pytest.raises(Interrupted) as caught:
        read.extend(response.delta for response in llm.stream_chat(HI))
    assert ("".join(read), caught.value.partial, provider.calls) == ("Hello", "Hello", 1)


async def test_a_reader_who_leaves_hangs_up():
    """A provider bills until its stream is dropped."""
    llm, provider = around(["a", "b", STALL])
    stream = await llm._astream_chat(HI)
    assert (await anext(stream)).delta == "a"
    await stream.aclose()
    for _ in range(100):
        if provider.idle():
            break
        await asyncio.sleep(0.001)
    assert (provider.idle(), provider.closed) == (True, 1)


def test_metadata_is_what_the_provider_knows():
    """Prompt helpers cut contexts to it."""
    llm, _ = around(traits=Traits(context_tokens=1000, tools=False), max_tokens=77)
    data = llm.metadata
    assert (data.context_window, data.num_output, data.is_chat_model, data.is_function_calling_model) == (1000, 77, True, False)
    assert data.model_name == "model"
    assert around(context_window=5, is_function_calling_model=True)[0].metadata.context_window == 5


def test_the_window_is_looked_up_where_the_provider_does_not_tell():
    """A memory of 3900 tokens forgets what a model of 128,000 could still read."""
    llm = Surefoot(model="openai:gpt-4o-mini", api_key="k")
    assert (llm.metadata.context_window, llm.metadata.num_output) == (128_000, DEFAULT_NUM_OUTPUTS)
    assert ChatMemoryBuffer.from_defaults(llm=llm).token_limit == 96_000
    assert Surefoot(model="openai:gpt-4o-mini", api_key="k", context_window=9000).metadata.context_window == 9000
    given = ChatModel(Target("openai:gpt-4o-mini", api_key="k", context_tokens=7000))
    assert Surefoot(chat=given).metadata.context_window == 7000
    assert Surefoot("gpt-4.1", chat=given).metadata.context_window >= 1_000_000  # another model of the same provider, asked by its own name


def test_prompts_leave_room_for_what_a_vendor_sets_aside_for_the_answer():
    """OpenAI refuses more than 272,000 of 400,000 tokens in a question."""
    data = Surefoot(model="openai:gpt-5-mini", api_key="k", max_tokens=500).metadata
    assert (data.context_window, data.context_window - data.num_output) == (400_000, 272_000)


@pytest.mark.parametrize(
    ("model", "asked", "kept"),
    [
        ("openai:gpt-4o-mini", 99_999, 16_384),
        ("anthropic:claude-haiku-4-5", None, 8192),
        ("anthropic:claude-haiku-4-5", 500, 500),
        ("anthropic:claude-3-haiku-20240307", None, 4096),
        ("openai:a-model-nobody-knows", 99_999, 99_999),
    ],
)
def test_prompts_leave_room_for_what_the_provider_is_told_of_the_answer(model, asked, kept):
    """Claude refuses a question without room for the limit of the answer, which is always told; no model writes more than its own."""
    assert Surefoot(model=model, api_key="k", max_tokens=asked).metadata.num_output == kept


def test_an_unknown_window_is_said_once(caplog):
    """LlamaIndex has no word for it, and takes 3900 tokens."""
    llm = Surefoot(model="openai:a-model-of-our-own", api_key="k")
    assert [llm.metadata.context_window for _ in range(3)] == [DEFAULT_CONTEXT_WINDOW] * 3
    said = [record.getMessage() for record in caplog.records if record.name == "surefoot.llama_index"]
    assert len(said) == 1
    assert "openai:a-model-of-our-own is unknown" in said[0]
    assert "context_window=" in said[0]


def test_token_counters_read_our_numbers():
    """Not an estimate by somebody's tokenizer."""
    counter = TokenCountingHandler()
    llm, _ = around(callback_manager=CallbackManager([counter]))
    llm.chat(HI)
    [*llm.stream_chat(HI)]
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (20, 10)


def test_tools_reach_the_request():
    """Offered, required, or by name; parallel calls only where allowed."""
    llm, provider = around()
    tool = FunctionTool.from_defaults(weather)
    llm.chat_with_tools([tool], user_msg="hi")
    llm.chat_with_tools([tool], user_msg="hi", tool_required=True, allow_parallel_tool_calls=True)
    llm.chat_with_tools([tool], chat_history=HI, tool_choice="weather")
    asked = [(one.tools[0].name, one.tool_choice, one.parallel_tool_calls) for one in provider.requests]
    assert asked == [("weather", "auto", False), ("weather", "required", True), ("weather", "weather", False)]


def test_a_tool_that_must_be_called_and_is_not_is_told():
    """With the model's words, which usually say why."""
    llm, _ = around("I would rather talk.")
    with pytest.raises(ValueError, match="rather talk"):
        llm.predict_and_call([FunctionTool.from_defaults(weather)], user_msg="hi")


def test_a_tool_is_never_run_with_half_its_arguments():
    """A cut answer is an error, not an empty call; also where its arguments happen to look whole."""
    whole = ToolCall(id="1", name="weather", arguments='{"city": "Izmir"}', error="cut off")
    for reply in (call("weather", '{"city": "Izm'), ChatReply(tool_calls=(whole,), finish_reason="length")):
        llm, _ = around(reply)
        with pytest.raises(InvalidOutput, match="weather"):
            llm.predict_and_call([FunctionTool.from_defaults(weather)], user_msg="hi")


async def test_structured_prediction_gives_the_object():
    """By a required tool call; streamed, the fields come one by one."""
    pieces = [
        Delta(tool_calls=(ToolCallDelta(index=0, id="1", name="City", arguments=text),))
        for text in ('{"name": "Izm', 'ir", "peo', 'ple": 3}')
    ]
    streamed = [*pieces, Delta(finish_reason="tool_calls")]
    whole = call("City", '{"name": "Izmir", "people": 3}')
    llm, provider = around(whole, whole, streamed, streamed)
    prompt = PromptTemplate("A city in {country}")
    assert llm.structured_predict(City, prompt, country="Turkey") == City(name="Izmir", people=3)
    assert await llm.astructured_predict(City, prompt, country="Turkey") == City(name="Izmir", people=3)
    seen = [*llm.stream_structured_predict(City, prompt, country="Turkey")]
    assert [(one.name, one.people) for one in seen[1:3]] == [("Izmir", None), ("Izmir", 3)]
    assert seen[-1] == City(name="Izmir", people=3)
    again = [one async for one in await llm.astream_structured_predict(City, prompt, country="Turkey")]
    assert again[-1] == City(name="Izmir", people=3)
    assert [request.tool_choice for request in provider.requests] == ["required"] * 4


async def test_a_function_agent_uses_a_tool_and_answers():
    """Two calls, the tool's result between them."""
    llm, provider = around(call("weather", '{"city": "Izmir"}'), "Take an umbrella.")
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(weather)], llm=llm)
    assert str(await agent.run("weather in Izmir?")) == "Take an umbrella."
    assert provider.requests[1].messages[-1].text == "rain in Izmir"
    assert provider.calls == 2


def test_a_chat_engine_remembers():
    """Memories hand our own answers back to us."""
    llm, provider = around("I am a model.")
    engine = SimpleChatEngine.from_defaults(llm=llm)
    engine.chat("who?")
    assert "".join(engine.stream_chat("sure?").response_gen) == "I am a model."
    assert [message.text for message in provider.requests[1].messages] == ["who?", "I am a model.", "sure?"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, "say model="),
        ({"model": "my-model"}, "provider:model"),
        ({"model": "openai:m", "temprature": 0}, "did you mean 'temperature'"),
        ({"model": "openai:m", "attempts": 0}, "attempts = 0"),
    ],
)
def test_bad_fields_are_told_at_once(fields, names):
    """Before anything is sent, naming the remedy."""
    with pytest.raises(Misconfigured, match=names):
        Surefoot(**fields)


def test_fields_beside_chat_that_would_be_ignored_are_told():
    """With a model given, a limit said here would not hold."""
    with pytest.raises(Misconfigured, match="concurrency and chat= are both given"):
        around(concurrency=3)


def test_bad_input_is_told_before_anything_is_sent():
    """No message is no question."""
    llm, provider = around()
    with pytest.raises(BadRequest, match="no messages"):
        llm.chat([])
    assert provider.calls == 0


def test_a_key_is_shown_nowhere():
    """Events, repr and to_dict are logged and stored."""
    llm = Surefoot("openai:m", api_key="sk-secret", fallbacks=[Target("openai:n", api_key="sk-other")])
    shown = f"{llm!r} {llm.to_dict()} {llm.to_payload()} {llm.to_json()} {llm.surefoot.describe()}"
    assert "sk-secret" not in shown
    assert "sk-other" not in shown


def test_serialised_and_loaded_it_is_the_same():
    """Keys stay behind; they come from the environment again."""
    llm = Surefoot("openai:m", temperature=0.5, timeout=9, max_retries=1, fallbacks=["openai:n"])
    again = Surefoot.from_dict(llm.to_dict())
    assert (again.model, again.temperature, again.deadline_s, again.attempts, again.fallbacks) == ("openai:m", 0.5, 9, 2, ("openai:n",))


def test_equal_objects_share_one_model_underneath():
    """Two engines with the same settings have one budget, one cache."""
    assert Surefoot("openai:m", api_key="k").surefoot is Surefoot("openai:m", api_key="k").surefoot


def test_what_events_carry_follows_the_fields():
    """LlamaIndex asks for it at every call; kept, it must not outlive what it was made of, and nobody's change to it is another's."""
    llm = Surefoot(model="openai:gpt-5-mini", api_key="sk-secret")
    first = llm.to_payload()
    assert first == {"class_name": "Surefoot_LLM", **llm.metadata.model_dump(), "provider": "openai"}
    assert "sk-secret" not in str(first)
    first["context_window"] = 1
    assert llm.to_payload()["context_window"] == llm.metadata.context_window > 1
    llm.context_window, llm.max_tokens = 1000, 77
    assert (llm.to_payload()["context_window"], llm.to_payload()["num_output"]) == (1000, 77)
    llm.model = "anthropic:claude-haiku-4-5"
    assert (llm.to_payload()["model_name"], llm.to_payload()["provider"]) == ("claude-haiku-4-5", "anthropic")
