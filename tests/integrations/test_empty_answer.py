"""A turn that ends without a word, mostly after a tool's result: an answer in both frameworks, and no obstacle for the next turn.

The vendors refuse an empty text in a later request, so what was answered must come back in a form they take; the simulators refuse it too.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer

from langchain_surefoot import ChatSurefoot
from llama_index.llms.surefoot import Surefoot
from surefoot.testing.wire import PlainAnswer, WireSim
from tests.integrations.conftest import address

MODELS = {"openai": "gpt-5-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}
ORDER = "Call save(note='milk')"
keys = itertools.count()


def save(note: str) -> str:
    """Save a note."""
    return f"saved {note}"


@pytest.fixture(params=sorted(MODELS))
def vendor(request: pytest.FixtureRequest, vendors: dict[str, WireSim]):
    """A vendor whose model has nothing to say to a tool's result, but to everything else."""
    sim = vendors[request.param]
    sim.reset()
    sim.answer = lambda asked: PlainAnswer(text="") if asked.turns[-1].role == "tool" else None
    yield request.param, sim
    sim.answer = None


def fields(vendor: tuple[str, WireSim]) -> dict[str, Any]:
    name, sim = vendor
    return {"model": f"{name}:{MODELS[name]}", "base_url": address(name, sim), "api_key": f"sk-{next(keys)}"}


@pytest.mark.parametrize("streaming", [None, True], ids=["whole", "streamed"])
def test_an_agent_of_langchain_ends_and_goes_on(vendor, streaming):
    """Two calls for the round with the tool, one for the next turn: nothing is asked again."""
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(ChatSurefoot(**fields(vendor), streaming=streaming), tools=[save])
    said = agent.invoke({"messages": [HumanMessage(ORDER)]})["messages"]
    assert [type(message) for message in said] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert said[-1].text == ""
    assert said[-1].tool_calls == []
    assert said[-1].response_metadata["finish_reason"] == "stop"
    assert len(vendor[1].requests) == 2
    again = agent.invoke({"messages": [*said, HumanMessage("thank you")]})["messages"]
    assert again[-1].text.strip()
    assert len(vendor[1].requests) == 3


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_an_agent_of_llama_index_ends_and_goes_on(vendor, streaming):
    """As above; the memory holds the empty turn."""
    agent = FunctionAgent(tools=[save], llm=Surefoot(**fields(vendor)), streaming=streaming)
    memory = ChatMemoryBuffer.from_defaults(token_limit=10_000)
    assert str(await agent.run(ORDER, memory=memory)) == ""
    assert len(vendor[1].requests) == 2
    assert str(await agent.run("thank you", memory=memory)).strip()
    assert len(vendor[1].requests) == 3


def test_every_way_to_ask_gives_the_empty_answer(vendor):
    """Whole and streamed, messages and plain prompts."""
    vendor[1].answer = lambda _: PlainAnswer(text="")
    llm, other = ChatSurefoot(**fields(vendor)), Surefoot(**fields(vendor))
    assert llm.invoke("hi").text == ""
    assert "".join(chunk.text for chunk in llm.stream("hi")) == ""
    assert other.chat([ChatMessage("hi")]).message.content == ""
    assert [response.message.content for response in other.stream_chat([ChatMessage("hi")])][-1] == ""
    assert other.complete("hi").text == ""
    assert [response.text for response in other.stream_complete("hi")][-1] == ""
    assert len(vendor[1].requests) == 6
