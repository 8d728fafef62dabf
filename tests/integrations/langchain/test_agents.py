"""create_agent with what people put around it, over three vendors through their SDKs."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_surefoot import ChatSurefoot
from tests.integrations.conftest import address

agents = pytest.importorskip("langchain.agents")
middleware = pytest.importorskip("langchain.agents.middleware")
graph_memory = pytest.importorskip("langgraph.checkpoint.memory")
graph = pytest.importorskip("langgraph.types")
structured = pytest.importorskip("langchain.agents.structured_output")

MODELS = {"openai": "openai:gpt-5-mini", "anthropic": "anthropic:claude-haiku-4-5", "google": "google:gemini-3-flash"}
THREAD = {"configurable": {"thread_id": "1"}}
ORDER = {"messages": [HumanMessage("Call weather(city='Izmir')")]}


class Venue(BaseModel):
    """A place."""

    city: str
    country: str


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@tool(response_format="content_and_artifact")
def picture(name: str) -> tuple[str, dict[str, bytes]]:
    """A picture by name."""
    return f"drew {name}", {"png": b"..."}


@pytest.fixture(params=list(MODELS))
def llm(request: pytest.FixtureRequest, vendors: Any) -> ChatSurefoot:
    sim = vendors[request.param]
    sim.reset()
    return ChatSurefoot(model=MODELS[request.param], base_url=address(request.param, sim), api_key="sk-simulated")


@pytest.mark.parametrize("form", [Venue, "ProviderStrategy", "ToolStrategy"])
@pytest.mark.parametrize("tools", [[], [weather]], ids=["alone", "beside tools"])
async def test_an_agent_answers_in_a_shape(llm, tools, form):
    """LangChain takes the vendor's own way where the profile names it; Anthropic wants its objects closed there."""
    wanted = getattr(structured, form)(Venue) if isinstance(form, str) else form
    state = await agents.create_agent(llm, tools=tools, response_format=wanted).ainvoke({"messages": [HumanMessage("Where?")]})
    assert isinstance(state["structured_response"], Venue)


async def test_a_human_may_change_or_refuse_a_call(llm):
    """HumanInTheLoopMiddleware stops before the tool and goes on with what was decided."""
    watch = middleware.HumanInTheLoopMiddleware(interrupt_on={"weather": True})
    agent = agents.create_agent(llm, tools=[weather], middleware=[watch], checkpointer=graph_memory.InMemorySaver())
    assert "__interrupt__" in await agent.ainvoke(ORDER, THREAD)
    edit = {"type": "edit", "edited_action": {"name": "weather", "args": {"city": "Ankara"}}}
    state = await agent.ainvoke(graph.Command(resume={"decisions": [edit]}), THREAD)
    assert state["messages"][-2].text.endswith("rain in Ankara")
    assert isinstance(state["messages"][-1], AIMessage)
    assert "__interrupt__" in await agent.ainvoke(ORDER, THREAD)
    state = await agent.ainvoke(graph.Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), THREAD)
    assert [message.status for message in state["messages"] if isinstance(message, ToolMessage)] == ["success", "error"]
    assert isinstance(state["messages"][-1], AIMessage)


def test_a_long_conversation_is_summarised_and_goes_on(llm):
    """Counted in tokens, with the tool's result kept beside its call; artifacts stay with the caller."""
    shorten = middleware.SummarizationMiddleware(model=llm, trigger=("tokens", 60), keep=("messages", 4))
    agent = agents.create_agent(llm, tools=[weather, picture], middleware=[shorten], checkpointer=graph_memory.InMemorySaver())
    state = agent.invoke({"messages": [HumanMessage("Call picture(name='cat')")]}, THREAD)
    assert [message.artifact for message in state["messages"] if isinstance(message, ToolMessage)] == [{"png": b"..."}]
    agent.invoke({"messages": [HumanMessage("Call weather(city='Izmir') " + "and say much " * 60)]}, THREAD)
    state = agent.invoke({"messages": [HumanMessage("Thanks " * 60)]}, THREAD)
    assert "summary" in state["messages"][0].text
    assert len(state["messages"]) < 9


async def test_a_tool_that_fails_is_tried_again_and_the_model_is_not(llm, vendors):
    """ToolRetryMiddleware repeats the tool alone: two questions to the model, whatever the tool does."""
    tried = []

    @tool
    def flaky(number: int) -> str:
        """Fail once."""
        tried.append(number)
        if len(tried) == 1:
            raise ValueError("not yet")
        return "now"

    again = middleware.ToolRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False)
    state = await agents.create_agent(llm, tools=[flaky], middleware=[again]).ainvoke({"messages": [HumanMessage("Call flaky(number=3)")]})
    assert (tried, state["messages"][-2].text) == ([3, 3], "now")
    assert len(vendors[llm.model.partition(":")[0]].requests) == 2
