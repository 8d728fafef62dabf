"""LangChain's agents with middleware, structured answers and approvals, and deepagents on top of them."""

from __future__ import annotations

import functools

import pytest

pytest.importorskip("deepagents", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("langchain_openai", reason="the clients are not installed here: `make test-clients`")

from deepagents import create_deep_agent
from langchain.agents import create_agent, middleware
from langchain.agents.middleware import HumanInTheLoopMiddleware, wrap_model_call
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from surefoot.testing.wire import Ask, PlainAnswer
from tests.clients.beside import CHATS, EVERY, Desk, after_tools, call, calls
from tests.clients.beside import beside as any_beside
from tests.clients.messages import seen

beside = functools.partial(any_beside, framework="langchain")
ONE = {"configurable": {"thread_id": "1"}}
ASKED = {"messages": [HumanMessage("weather?")]}


class Report(BaseModel):
    """A report on the weather."""

    city: str
    wet: bool


WET = '{"city": "Izmir", "wet": true}'


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return f"rain in {city}"


@tool(response_format="content_and_artifact")
def picture(name: str):
    """Draw a picture."""
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    return [{"type": "text", "text": "drew"}, {"type": "image", "base64": pixel, "mime_type": "image/png"}], {"drawn": name}


def report(ask: Ask) -> PlainAnswer | str:
    """First the tool, then the report in the form that is asked for."""
    if ask.turns[-1].role != "tool":
        return call("weather", city="Izmir")
    return WET if ask.schema is not None else call("Report", city="Izmir", wet=True)


ONCE = after_tools(call("weather", city="Izmir"), "It rains in Izmir.")


@beside(*EVERY)
def test_structured_answer_by_tool(desk: Desk):
    desk.answers(report)
    state = create_agent(desk.llm(), tools=[weather], response_format=ToolStrategy(Report)).invoke(ASKED)
    assert state["structured_response"] == Report(city="Izmir", wet=True)
    return {"messages": [seen(one) for one in state["messages"]], "answer": state["structured_response"].model_dump()}


@beside(*EVERY)
def test_structured_answer_by_provider(desk: Desk):
    desk.answers(report)
    state = create_agent(desk.llm(), tools=[weather], response_format=ProviderStrategy(Report)).invoke(ASKED)
    assert state["structured_response"] == Report(city="Izmir", wet=True)
    return {"messages": [seen(one) for one in state["messages"]], "answer": state["structured_response"].model_dump()}


NO_PROFILE = "ChatGoogleGenerativeAI has no profile of this model, so that the agent takes a tool; ours says that it holds schemas"


@beside(*CHATS, differs={"google: messages": NO_PROFILE, "google: sent": NO_PROFILE})
def test_structured_answer_as_the_agent_chooses(desk: Desk):
    """It reads the model's profile to choose between the two."""
    desk.answers(report)
    state = create_agent(desk.llm(), tools=[weather], response_format=Report).invoke(ASKED)
    return {"messages": [seen(one) for one in state["messages"]], "answer": state["structured_response"].model_dump()}


@beside(*CHATS)
def test_structured_answer_that_does_not_fit_is_asked_for_again(desk: Desk):
    wrong, right = call("Report", city="Izmir", wet="maybe"), call("Report", city="Izmir", wet=True)
    desk.answers(after_tools(wrong, right))
    state = create_agent(desk.llm(), tools=[], response_format=ToolStrategy(Report)).invoke(ASKED)
    assert state["structured_response"] == Report(city="Izmir", wet=True)
    return {"messages": [seen(one) for one in state["messages"]]}


@beside("openai", "responses", "anthropic")
def test_broken_arguments_go_back_to_the_model(desk: Desk):
    from surefoot.testing.wire import PlainToolCall

    desk.answers(after_tools(PlainAnswer(calls=(PlainToolCall("weather", '{"city": "Izm'),)), "Sorry."))
    state = create_agent(desk.llm(), tools=[weather]).invoke(ASKED)
    return {"messages": [seen(one) for one in state["messages"]]}


@beside(*CHATS)
def test_empty_last_answer_ends_the_turn(desk: Desk):
    desk.answers(after_tools(call("weather", city="Izmir"), ""))
    state = create_agent(desk.llm(), tools=[weather]).invoke(ASKED)
    assert state["messages"][-1].text == ""
    return {"messages": [seen(one) for one in state["messages"]]}


PICTURE = {
    "openai: sent": "ours says in words whose picture it is, in the user's message behind the tools' results; the official class puts it "
    "into the tool's message, which the protocol does not allow",
    "google: sent": "ours puts the picture into the function's response, the official class beside it",
}


@beside(*CHATS, differs=PICTURE)
def test_picture_out_of_a_tool(desk: Desk):
    desk.answers(after_tools(call("picture", name="cat"), "Nice."))
    state = create_agent(desk.llm(), tools=[picture]).invoke(ASKED)
    artifacts = [one.artifact for one in state["messages"] if isinstance(one, ToolMessage)]
    assert artifacts == [{"drawn": "cat"}]
    return {"messages": [seen(one) for one in state["messages"]]}


@beside(*CHATS, differs={"openai: sent": 'a failed tool is marked by "Error: " where the protocol has no field for it'})
def test_human_approves_edits_and_rejects(desk: Desk):
    two = calls(("weather", {"city": "Izmir"}), ("weather", {"city": "Ankara"}), ("weather", {"city": "Bursa"}))
    desk.answers(after_tools(two, "Done."))
    approval = HumanInTheLoopMiddleware(interrupt_on={"weather": {"allowed_decisions": ["approve", "edit", "reject"]}})
    agent = create_agent(desk.llm(), tools=[weather], middleware=[approval], checkpointer=InMemorySaver())
    stopped = agent.invoke(ASKED, ONE)["__interrupt__"][0].value
    edited = {"name": "weather", "args": {"city": "Konya"}}
    decisions = [{"type": "approve"}, {"type": "edit", "edited_action": edited}, {"type": "reject", "message": "not Bursa"}]
    state = agent.invoke(Command(resume={"decisions": decisions}), ONE)
    wanted = [[one["name"], one["args"]] for one in stopped["action_requests"]]
    assert [one[1]["city"] for one in wanted] == ["Izmir", "Ankara", "Bursa"]
    return {"wanted": wanted, "messages": [seen(one) for one in state["messages"]]}


@beside(*CHATS)
def test_summary_replaces_old_messages(desk: Desk):
    desk.answers(lambda ask: "They spoke of rain." if "summar" in ask.prompt.lower() and not ask.tools else "Fine.")
    llm = desk.llm()
    shorter = middleware.SummarizationMiddleware(model=llm, trigger=("messages", 4), keep=("messages", 2))
    agent = create_agent(llm, tools=[weather], middleware=[shorter], checkpointer=InMemorySaver())
    for number in range(4):
        state = agent.invoke({"messages": [HumanMessage(f"question {number}")]}, ONE)
    assert "They spoke of rain." in state["messages"][0].text
    return {"messages": [seen(one) for one in state["messages"]]}


@beside(*CHATS)
def test_second_model_answers_when_the_first_is_down(desk: Desk):
    desk.answers("From the second.")
    with desk.broken() as down:
        agent = create_agent(down.llm(), tools=[], middleware=[middleware.ModelFallbackMiddleware(desk.llm())])
        state = agent.invoke(ASKED)
        tried = len(down.sim.requests)
    assert state["messages"][-1].text == "From the second."
    return {"messages": [seen(one) for one in state["messages"]], "tried": tried}


@beside(*CHATS)
def test_limits_on_calls_of_models_and_tools(desk: Desk):
    desk.answers(call("weather", city="Izmir"))
    limits = [middleware.ModelCallLimitMiddleware(run_limit=3, exit_behavior="end"), middleware.ToolCallLimitMiddleware(run_limit=2)]
    state = create_agent(desk.llm(), tools=[weather], middleware=limits).invoke(ASKED)
    return {"messages": [seen(one) for one in state["messages"]]}


@beside(
    *CHATS, differs={"sent": "with_structured_output asks for a call of any tool, the official classes for a schema or the tool's name"}
)
def test_many_middlewares_at_once(desk: Desk):
    """Todos, personal data, selection of tools by a model, retries and pruning of context together."""

    def answer(ask: Ask) -> PlainAnswer | str:
        if ask.schema is not None:
            return '{"tools": ["weather"]}'
        chosen = next((one.name for one in ask.tools if "ToolSelection" in one.name), None)
        if chosen is not None:
            return call(chosen, tools=["weather"])
        return call("weather", city="Izmir") if ask.turns[-1].role != "tool" else "It rains."

    desk.answers(answer)
    llm = desk.llm()
    several = [
        middleware.LLMToolSelectorMiddleware(model=llm, max_tools=1),
        middleware.ModelRetryMiddleware(max_retries=1),
        middleware.TodoListMiddleware(),
        middleware.PIIMiddleware("email"),
        middleware.ContextEditingMiddleware(),
    ]
    state = create_agent(llm, tools=[weather, picture], middleware=several).invoke({"messages": [HumanMessage("weather? a@b.com")]})
    assert "a@b.com" not in state["messages"][0].text
    return {"messages": [seen(one) for one in state["messages"]]}


@beside(*CHATS)
def test_model_and_settings_are_changed_in_a_run(desk: Desk):
    desk.answers("one two three four five six seven eight nine ten")
    llm = desk.llm()

    @wrap_model_call
    def changed(request, handler):
        settings = {"max_output_tokens": 5} if desk.wire == "google" and not desk.is_ours else {"max_tokens": 5}
        return handler(request.override(model=llm, model_settings=settings, tools=[]))

    state = create_agent(llm, tools=[weather], middleware=[changed]).invoke(ASKED)
    assert state["messages"][-1].text.split()[-1] == "five"
    return {"messages": [seen(one) for one in state["messages"]]}


@beside(*CHATS)
def test_deep_agent_keeps_todos_and_files(desk: Desk):
    first = calls(
        ("write_todos", {"todos": [{"content": "look", "status": "pending"}]}), ("write_file", {"file_path": "/a.txt", "content": "hello"})
    )
    desk.answers(after_tools(first, "All done."))
    todos = [middleware.TodoListMiddleware()]
    state = create_deep_agent(model=desk.llm(), tools=[weather], system_prompt="Be good.", middleware=todos).invoke(ASKED)
    assert state["todos"]
    return {"messages": [seen(one) for one in state["messages"]], "todos": state["todos"], "files": sorted(state.get("files", {}))}


@beside(*CHATS, differs={"google: sent": "ChatGoogleGenerativeAI sends an empty system instruction"})
def test_deep_agent_gives_work_to_another(desk: Desk):
    def answer(ask: Ask) -> PlainAnswer | str:
        if "I am the second" in ask.prompt:
            return "The second's word." if ask.turns[-1].role == "tool" else call("weather", city="Izmir")
        return "The first's word." if ask.turns[-1].role == "tool" else call("task", description="do it", subagent_type="second")

    desk.answers(answer)
    second = {"name": "second", "description": "helps", "system_prompt": "I am the second", "tools": [weather]}
    state = create_deep_agent(model=desk.llm(), tools=[weather], subagents=[second]).invoke(ASKED)
    assert [one.text for one in state["messages"] if isinstance(one, ToolMessage)] == ["The second's word."]
    return {"messages": [seen(one) for one in state["messages"]]}
