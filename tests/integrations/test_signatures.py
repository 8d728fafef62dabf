"""Gemini wants a tool call back with the thought signature it came with: agents of both frameworks must carry it untouched.

Without one the provider writes Gemini's word for a call that Gemini did not make, so a loss would pass unnoticed but for these tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import FunctionTool

from langchain_surefoot import ChatSurefoot
from llama_index.llms.surefoot import Surefoot
from surefoot.testing.wire import GeminiSim

ORDER = "Call weather(city='Izmir')"


def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@pytest.fixture(scope="module")
def gemini() -> Iterator[GeminiSim]:
    """Gemini 3, which signs its calls."""
    with GeminiSim(signatures=True) as sim:
        yield sim


@pytest.fixture
def fields(gemini: GeminiSim) -> dict[str, str]:
    return {"model": "google:gemini-3-flash", "base_url": gemini.url, "api_key": "sk-simulated"}


def came_back(sim: GeminiSim) -> bool:
    """The last request holds the signature of the first answer, and no substitute."""
    body = sim.requests[-1].body
    return b'"thoughtSignature":"c3VyZWZvb3Q="' in body and b"skip_thought_signature_validator" not in body


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("streaming", [None, True], ids=["whole", "streamed"])
async def test_an_agent_of_langchain_carries_signatures(gemini, fields, version, streaming):
    """Also where chunks were joined, and where content was rewritten into blocks."""
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(ChatSurefoot(**fields, output_version=version, streaming=streaming), tools=[weather])
    state = await agent.ainvoke({"messages": [HumanMessage(ORDER)]})
    assert state["messages"][-2].text == "rain in Izmir"
    assert came_back(gemini)


@pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "whole"])
async def test_an_agent_of_llamaindex_carries_signatures(gemini, fields, streaming):
    """Its memories keep additional_kwargs."""
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(weather)], llm=Surefoot(**fields), streaming=streaming)
    output = await agent.run(ORDER)
    assert [str(call.tool_output.content) for call in output.tool_calls] == ["rain in Izmir"]
    assert came_back(gemini)
