"""LangGraph's graphs and LangChain's agents: threads, interrupts, streams, subgraphs."""

from __future__ import annotations

import asyncio
import functools
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("langgraph.checkpoint.sqlite", reason="the clients are not installed here: `make test-clients`")

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, RemoveMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent
from langgraph.types import Command, Send, interrupt

from tests.clients.beside import CHATS, EVERY, Desk, after_tools, call, calls
from tests.clients.beside import beside as any_beside
from tests.clients.messages import seen

beside = functools.partial(any_beside, framework="langchain")
ONE = {"configurable": {"thread_id": "1"}}


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return f"rain in {city}"


@tool
def fails(x: int) -> str:
    """Fails."""
    raise ValueError("the disk is full")


TWO_CITIES = after_tools(calls(("weather", {"city": "Izmir"}), ("weather", {"city": "Ankara"})), "It rains in both.")


@beside(*EVERY)
def test_agent_with_parallel_tools(desk: Desk):
    desk.answers(TWO_CITIES)
    state = create_agent(desk.llm(), tools=[weather], system_prompt="Be brief.").invoke({"messages": [HumanMessage("weather?")]})
    assert state["messages"][-1].text == "It rains in both."
    return {"messages": [seen(one) for one in state["messages"]]}


@beside(*CHATS)
def test_react_agent_of_langgraph_with_a_failing_tool(desk: Desk):
    desk.answers(after_tools(call("fails", x=1), "Sorry."))
    agent = create_react_agent(desk.llm(), ToolNode([fails], handle_tool_errors=True))
    state = agent.invoke({"messages": [HumanMessage("go")]})
    assert state["messages"][2].status == "error"
    return {"messages": [seen(one) for one in state["messages"]]}


@beside(*EVERY)
async def test_thread_in_sqlite_goes_on(desk: Desk):
    desk.answers(TWO_CITIES)
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        agent = create_agent(desk.llm(), tools=[weather], checkpointer=saver)
        await agent.ainvoke({"messages": [HumanMessage("weather?")]}, ONE)
        desk.answers("Still raining.")
        state = await create_agent(desk.llm(), tools=[weather], checkpointer=saver).ainvoke({"messages": [HumanMessage("now?")]}, ONE)
        history = [len(one.values.get("messages", ())) async for one in agent.aget_state_history(ONE)]
    assert len(state["messages"]) == 7
    return {"messages": [seen(one) for one in state["messages"]], "history": history}


@beside(*CHATS)
def test_stored_thread_is_read_by_another_graph(desk: Desk):
    """Messages are loaded from their bytes in a file of SQLite."""
    desk.answers(TWO_CITIES)
    with tempfile.TemporaryDirectory() as folder:
        with SqliteSaver.from_conn_string(f"{folder}/threads.db") as saver:
            create_agent(desk.llm(), tools=[weather], checkpointer=saver).invoke({"messages": [HumanMessage("weather?")]}, ONE)
        with SqliteSaver.from_conn_string(f"{folder}/threads.db") as saver:
            agent = create_agent(desk.llm(), tools=[weather], checkpointer=saver)
            stored = [seen(one) for one in agent.get_state(ONE).values["messages"]]
            state = agent.invoke({"messages": [HumanMessage("and now?")]}, ONE)
    return {"stored": stored, "messages": [seen(one) for one in state["messages"]]}


@beside(*CHATS)
def test_interrupt_before_tools(desk: Desk):
    desk.answers(TWO_CITIES)
    agent = create_agent(desk.llm(), tools=[weather], checkpointer=InMemorySaver(), interrupt_before=["tools"])
    agent.invoke({"messages": [HumanMessage("weather?")]}, ONE)
    waiting = agent.get_state(ONE).next
    assert set(waiting) == {"tools"}
    return {"waiting": waiting, "messages": [seen(one) for one in agent.invoke(None, ONE)["messages"]]}


@beside(*CHATS)
def test_interrupt_in_a_tool_and_resume(desk: Desk):
    @tool
    def ask(question: str) -> str:
        """Ask a human."""
        return interrupt(question)

    desk.answers(after_tools(call("ask", question="sure?"), "Done then."))
    agent = create_agent(desk.llm(), tools=[ask], checkpointer=InMemorySaver())
    stopped = agent.invoke({"messages": [HumanMessage("go")]}, ONE)["__interrupt__"][0].value
    assert stopped == "sure?"
    return {"stopped": stopped, "messages": [seen(one) for one in agent.invoke(Command(resume="yes"), ONE)["messages"]]}


@beside(*EVERY, differs={"responses: ids": "ChatOpenAI gives the first chunk of a response another id than those after it"})
def test_four_modes_of_streaming(desk: Desk):
    @tool
    def weather_slowly(city: str) -> str:
        """Weather of a city."""
        get_stream_writer()({"looking at": city})
        return f"rain in {city}"

    desk.answers(after_tools(call("weather_slowly", city="Izmir"), "It rains in Izmir today."))
    found: dict[str, list[Any]] = {"messages": [], "updates": [], "values": [], "custom": []}
    agent = create_agent(desk.llm(), tools=[weather_slowly])
    for mode, data in agent.stream({"messages": [HumanMessage("weather?")]}, stream_mode=list(found)):
        found[mode].append(data)
    chunks = [one for one, _ in found["messages"] if isinstance(one, AIMessageChunk)]
    assert found["custom"] == [{"looking at": "Izmir"}]
    return {
        "tokens": [one.text for one in chunks if one.text],
        "arguments": json.loads("".join(part["args"] or "" for one in chunks for part in one.tool_call_chunks)),
        "nodes": [list(one) for one in found["updates"]],
        "values": [seen(one) for one in found["values"][-1]["messages"]],
        "ids": len({one.id for one in chunks}),
    }


@beside(*EVERY)
async def test_events_of_version_two(desk: Desk):
    desk.answers(TWO_CITIES)
    kinds, tokens, ends = [], [], []
    async for event in create_agent(desk.llm(), tools=[weather]).astream_events({"messages": [HumanMessage("weather?")]}, version="v2"):
        kind = event["event"]
        if kind.startswith(("on_chat_model", "on_tool")) and kinds[-1:] != [kind]:
            kinds.append(kind)
        if kind == "on_chat_model_stream" and event["data"]["chunk"].text:
            tokens.append(event["data"]["chunk"].text)
        if kind == "on_chat_model_end":
            ends.append(seen(event["data"]["output"]))
    assert "".join(tokens) == "It rains in both."
    return {"kinds": sorted(set(kinds)), "tokens": tokens, "ends": ends}


@beside(*CHATS)
def test_subgraph_and_fan_out(desk: Desk):
    """A map over subjects, each in a graph of its own that is streamed from within."""
    llm = desk.llm()
    desk.answers(lambda ask: f"about {ask.turns[-1].text}")

    class Subjects(MessagesState):
        subjects: list[str]

    inner = StateGraph(MessagesState).add_node("write", lambda state: {"messages": [llm.invoke(state["messages"])]})
    inner = inner.add_edge(START, "write").add_edge("write", END).compile()
    outer = StateGraph(Subjects).add_node("inner", inner)
    outer.add_conditional_edges(START, lambda state: [Send("inner", {"messages": [HumanMessage(one)]}) for one in state["subjects"]])
    graph = outer.add_edge("inner", END).compile()
    texts: dict[str, str] = {}
    both = {"messages": [], "subjects": ["cats", "dogs"]}
    for place, data in graph.stream(both, stream_mode="messages", subgraphs=True):
        if place and isinstance(data[0], AIMessageChunk):
            texts[place[0]] = texts.get(place[0], "") + data[0].text
    assert sorted(texts.values()) == ["about cats", "about dogs"]
    return {"texts": sorted(texts.values())}


@beside(*CHATS)
def test_messages_are_taken_out_of_a_thread(desk: Desk):
    desk.answers("Fine then.")
    agent = create_agent(desk.llm(), tools=[], checkpointer=InMemorySaver())
    agent.invoke({"messages": [HumanMessage("one", id="a")]}, ONE)
    agent.update_state(ONE, {"messages": [RemoveMessage(id="a")]})
    return {"messages": [seen(one) for one in agent.invoke({"messages": [HumanMessage("two")]}, ONE)["messages"]]}


@beside(*CHATS)
def test_the_message_in_the_state_is_the_streamed_one(desk: Desk):
    """A node that calls `invoke` is streamed all the same, and nothing comes twice."""
    desk.answers("one two three four")
    llm = desk.llm()
    graph = StateGraph(MessagesState).add_node("n", lambda state: {"messages": [llm.invoke(state["messages"])]})
    graph = graph.add_edge(START, "n").add_edge("n", END).compile()
    ids, texts, last = set(), [], None
    for mode, data in graph.stream({"messages": [HumanMessage("hi")]}, stream_mode=["messages", "values"]):
        if mode == "messages":
            ids.add(data[0].id)
            texts.append(data[0].text)
        else:
            last = data["messages"][-1]
    assert isinstance(last, AIMessage)
    assert ids == {last.id}
    return {"texts": [one for one in texts if one], "last": seen(last)}


@beside(*CHATS)
def test_many_threads_and_many_loops(desk: Desk):
    """Loops only for ours: the official classes' connections belong to the first one, and fail in the next."""
    desk.answers(TWO_CITIES)
    agent = create_agent(desk.llm(), tools=[weather])
    asked = {"messages": [HumanMessage("weather?")]}
    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(lambda _: agent.invoke(asked)["messages"][-1].text, range(12)))
    if desk.is_ours:
        loops = [asyncio.run(agent.ainvoke(asked))["messages"][-1].text for _ in range(3)]
        assert loops == texts[:3]
        del desk.asks[-6:]
    assert set(texts) == {"It rains in both."}
    return {"texts": texts}
