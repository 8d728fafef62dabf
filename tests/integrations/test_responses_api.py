"""OpenAI's Responses API through both frameworks: text, tools, shapes and streams, and turns that want their thoughts back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from langchain_surefoot import ChatSurefoot
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, Policy, Target
from surefoot.testing.wire import OpenAISim

ONCE = Policy(attempts=1, deadline_s=20, breaker=False)
ASKED = "call weather('Paris')"


class City(BaseModel):
    """A city."""

    name: str


@tool
def weather(city: str) -> str:
    """The weather somewhere."""
    return f"22 °C in {city}"


@pytest.fixture(scope="module")
def sim() -> Iterator[OpenAISim]:
    with OpenAISim() as running:
        yield running


@pytest.fixture
def chat(sim: OpenAISim) -> ChatModel:
    target = Target("openai:gpt-5.6", base_url=f"{sim.url}/v1", api_key="k-0123456789", options=(("api", "responses"),))
    return ChatModel(target, policy=ONCE)


@pytest.mark.parametrize("stream", [False, True])
def test_langchains_second_turn_brings_the_thoughts_back(sim, chat, stream):
    """The server refuses a call without them; a message of LangChain's must not lose them on its way."""
    model = ChatSurefoot(chat=chat).bind_tools([weather], reasoning_effort="low")
    if stream:
        answer = None
        for chunk in model.stream(ASKED):
            answer = chunk if answer is None else answer + chunk
    else:
        answer = model.invoke(ASKED)
    (call,) = answer.tool_calls
    assert call["args"] == {"city": "Paris"}
    last = model.invoke([HumanMessage(ASKED), answer, ToolMessage("22 °C", tool_call_id=call["id"])])
    assert "22 °C" in last.text
    kinds = [item.get("type") for item in sim.requests[-1].json["input"]]
    assert kinds == [None, "reasoning", "function_call", "function_call_output"]


def test_langchain_reads_text_streams_and_shapes(chat):
    """Nothing of the API shows."""
    model = ChatSurefoot(chat=chat)
    assert "hi" in model.invoke("hi").text
    assert "".join(chunk.text for chunk in model.stream("hi")) == model.invoke("hi").text
    assert isinstance(model.with_structured_output(City).invoke("name: Ankara"), City)


@pytest.mark.parametrize("stream", [False, True])
def test_llamaindex_second_turn_brings_the_thoughts_back(sim, chat, stream):
    """As LangChain's does."""
    llm = Surefoot(chat=chat)
    tools = [FunctionTool.from_defaults(lambda city: city, name="weather", description="The weather somewhere")]
    asked = ChatMessage(role=MessageRole.USER, content=ASKED)
    if stream:
        answer = list(llm.stream_chat_with_tools(tools, chat_history=[asked], reasoning_effort="low"))[-1]
    else:
        answer = llm.chat_with_tools(tools, chat_history=[asked], reasoning_effort="low")
    (call,) = llm.get_tool_calls_from_response(answer)
    result = ChatMessage(role=MessageRole.TOOL, content="22 °C", additional_kwargs={"tool_call_id": call.tool_id})
    last = llm.chat_with_tools(tools, chat_history=[asked, answer.message, result], reasoning_effort="low")
    assert "22 °C" in str(last.message.content)
    kinds = [item.get("type") for item in sim.requests[-1].json["input"]]
    assert kinds == [None, "reasoning", "function_call", "function_call_output"]


def test_llamaindex_reads_text_and_streams(chat):
    """Sync and async."""
    llm = Surefoot(chat=chat)
    whole = llm.complete("hi").text
    assert "hi" in whole
    assert "".join(piece.delta or "" for piece in llm.stream_complete("hi")) == whole

    async def later() -> str:
        return "".join([piece.delta or "" async for piece in await llm.astream_complete("hi")])

    assert asyncio.run(later()) == whole


def test_the_words_of_llama_indexs_responses_class_reach_the_api(sim):
    """`OpenAIResponses(...)` with another name: nothing says which API is meant; a tool of a call stands beside the vendor's."""
    search = {"type": "web_search"}
    said = {"model": "openai:gpt-5.6", "api_base": f"{sim.url}/v1", "api_key": "k-0123456789", "attempts": 1, "built_in_tools": [search]}
    llm = Surefoot(**said, instructions="Be brief.", reasoning_options={"effort": "low", "summary": "auto"}, call_metadata={"team": "a"})
    llm.chat([ChatMessage("hi")])
    body = sim.requests[-1].json
    assert sim.requests[-1].path.endswith("/responses")
    assert (body["tools"], body["instructions"], body["metadata"]) == ([search], "Be brief.", {"team": "a"})
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    llm.chat_with_tools([FunctionTool.from_defaults(lambda city: city, name="weather", description="The weather.")], "hi")
    assert {one.get("name", one["type"]) for one in sim.requests[-1].json["tools"]} == {"weather", "web_search"}
    ChatSurefoot(**said).bind_tools([weather]).invoke("hi")
    assert {one.get("name", one["type"]) for one in sim.requests[-1].json["tools"]} == {"weather", "web_search"}
