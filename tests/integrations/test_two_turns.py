"""Agents of two turns over houses that refuse a turn which does not give back what they sent: none is refused."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from llama_index.core.agent.workflow import FunctionAgent

from langchain_surefoot import ChatSurefoot
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, Message, Policy, Target
from surefoot.history import History
from surefoot.types import Tool
from tests.integrations.strict_servers import HOUSES, Strict, strict

ONCE = Policy(attempts=1, breaker=False)
WEATHER = Tool.of("weather", "The weather of a city", {"type": "object", "properties": {"city": {"type": "string"}}})


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def model(seen: Strict, lane: str = "direct", **fields) -> ChatModel:
    target = Target(seen.house.target, base_url=seen.url, api_key="k-0000000000000000", lane=lane)
    return ChatModel(target, policy=ONCE, **fields)


def check(seen: Strict, turns: int = 2) -> None:
    assert seen.refused == []
    assert len(seen.bodies) == turns


@pytest.mark.parametrize(("mode", "lane"), [("whole", "sdk"), ("stream", "direct")])
@pytest.mark.parametrize("name", HOUSES)
def test_the_core_gives_back_what_was_sent(name, mode, lane):
    """`reply.message` is the next turn, whole and streamed, out of a history on disk, too."""
    with strict(name) as seen, model(seen, lane) as chat:
        turn = [Message.user("weather?")]
        if mode == "stream":
            stream = chat.stream(turn, tools=[WEATHER])
            list(stream)
            reply = stream.reply
        else:
            reply = chat.invoke(turn, tools=[WEATHER])
        assert [call.name for call in reply.tool_calls] == ["weather"] * seen.house.calls
        results = [Message.tool("sunny", tool_call_id=call.id, name=call.name) for call in reply.tool_calls]
        assert chat.invoke([*turn, reply.message, *results], tools=[WEATHER]).text == "sunny"
        check(seen)


@pytest.mark.parametrize("name", HOUSES)
def test_a_history_and_a_cache_give_it_back_too(name, tmp_path):
    """What was stored is the same turn; a cached answer is one."""
    with strict(name) as seen, model(seen, cache=f"sqlite:{tmp_path}/cache.db") as chat:
        history = History(tmp_path / "chat.db")
        history.add("c", Message.user("weather?"))
        reply = chat.invoke(history.window("c"), tools=[WEATHER])
        again = chat.invoke(history.window("c"), tools=[WEATHER])
        assert again.message == reply.message
        history.add("c", again.message, *(Message.tool("sunny", tool_call_id=call.id, name=call.name) for call in again.tool_calls))
        assert chat.invoke(History(tmp_path / "chat.db").window("c"), tools=[WEATHER]).text == "sunny"
        check(seen)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", HOUSES)
def test_langchains_agents_give_it_back(name, streaming):
    """create_agent keeps nothing but LangChain's own messages."""
    with strict(name) as seen, model(seen) as chat:
        agent = create_agent(ChatSurefoot(chat=chat, streaming=streaming), tools=[weather])
        last = agent.invoke({"messages": [("user", "weather?")]})["messages"][-1]
        assert isinstance(last, AIMessage)
        assert last.text == "sunny"
        check(seen)


@pytest.mark.parametrize("name", HOUSES)
def test_llamaindexs_agents_give_it_back(name):
    """FunctionAgent streams, and keeps nothing but LlamaIndex's own messages."""

    async def run(seen: Strict) -> str:
        with model(seen) as chat:
            agent = FunctionAgent(tools=[weather], llm=Surefoot(chat=chat))
            return str(await agent.run("weather?"))

    with strict(name) as seen:
        assert asyncio.run(run(seen)) == "sunny"
        check(seen)


def test_a_house_that_gets_too_little_refuses():
    """Else nothing above would be shown."""
    with strict("deepseek") as seen, model(seen) as chat:
        reply = chat.invoke("weather?", tools=[WEATHER])
        bare = Message.assistant(tool_calls=reply.tool_calls)
        with pytest.raises(Exception, match="missing in assistant message: reasoning_content"):
            chat.invoke([Message.user("weather?"), bare, Message.tool("sunny", tool_call_id="call_1")], tools=[WEATHER])
