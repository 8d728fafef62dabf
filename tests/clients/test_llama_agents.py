"""LlamaIndex's agents as workflows: streams, memories, hand-offs, contexts that are stored, and what a tool's failure does."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

pytest.importorskip("llama_index.llms.anthropic", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("llama_index.llms.openai", reason="the clients are not installed here: `make test-clients`")

from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer, ChatSummaryMemoryBuffer, Memory
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context, HumanResponseEvent, InputRequiredEvent, JsonSerializer, StartEvent, StopEvent, Workflow, step
from pydantic import BaseModel

from surefoot.testing.wire import Ask, PlainAnswer, PlainToolCall
from tests.clients.beside import Desk, after_tools, call, calls
from tests.clients.beside import beside as any_beside

beside = functools.partial(any_beside, framework="llama_index")
CHATS = ("openai", "anthropic", "google")


class Sum(BaseModel):
    """A sum."""

    total: int


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def fails(x: int) -> str:
    """Fails."""
    raise ValueError("the disk is full")


async def risky(ctx: Context) -> str:
    """Do something risky."""
    said = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(prefix="sure?"))
    return f"the human said {said.response}"


risky.__annotations__ = {"ctx": Context, "return": str}  # LlamaIndex knows a context by the class, not by its name


TWO_SUMS = after_tools(calls(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})), "The sums are 3 and 7.")


async def run(agent: Any, *words: Any, **more: Any) -> dict[str, Any]:
    """What a reader of an agent's events sees."""
    handler = agent.run(*words, **more)
    deltas, results = [], []
    async for event in handler.stream_events():
        if isinstance(event, AgentStream) and event.delta:
            deltas.append(event.delta)
        if isinstance(event, ToolCallResult):
            results.append([event.tool_name, event.tool_kwargs, str(event.tool_output.content)])
    return {"answer": str(await handler), "deltas": deltas, "results": sorted(results, key=json.dumps)}


def stored(messages: list[ChatMessage]) -> list[Any]:
    return [[one.role.value, one.content or ""] for one in messages]


@beside(*CHATS, "responses")
async def test_function_agent(desk: Desk):
    desk.answers(TWO_SUMS)
    seen = await run(FunctionAgent(tools=[add], llm=desk.llm(), system_prompt="Be exact."), "sums?")
    assert seen["answer"] == "The sums are 3 and 7."
    return seen


@beside(*CHATS)
async def test_function_agent_without_streams(desk: Desk):
    desk.answers(TWO_SUMS)
    return await run(FunctionAgent(tools=[add], llm=desk.llm(), streaming=False), "sums?")


@beside(*CHATS, "responses")
async def test_tool_that_fails(desk: Desk):
    desk.answers(after_tools(call("fails", x=1), "Sorry."))
    return await run(FunctionAgent(tools=[fails], llm=desk.llm()), "go")


@beside(*CHATS)
async def test_memories_of_an_agent(desk: Desk):
    desk.answers(TWO_SUMS)
    found = {}
    for name, memory in {
        "buffer": ChatMemoryBuffer.from_defaults(token_limit=4000, tokenizer_fn=str.split),
        "memory": Memory.from_defaults(session_id=f"{desk.wire}-{desk.is_ours}", token_limit=4000, tokenizer_fn=str.split),
    }.items():
        agent = FunctionAgent(tools=[add], llm=desk.llm())
        await agent.run("sums?", memory=memory)
        await agent.run("again?", memory=memory)
        found[name] = stored(await memory.aget_all())
    assert found["buffer"][0] == ["user", "sums?"]
    return found


@beside(*CHATS, "responses")
async def test_context_is_stored_and_goes_on(desk: Desk):
    desk.answers(TWO_SUMS)
    agent = FunctionAgent(tools=[add], llm=desk.llm())
    context = Context(agent)
    await agent.run("sums?", ctx=context)
    text = json.dumps(context.to_dict(serializer=JsonSerializer()))
    assert "sk-simulated" not in text
    return await run(agent, "again?", ctx=Context.from_dict(agent, json.loads(text), serializer=JsonSerializer()))


@beside(*CHATS)
async def test_one_agent_hands_over_to_another(desk: Desk):
    def answer(ask: Ask) -> PlainAnswer | str:
        return "The second's word." if "I AM TWO" in ask.prompt else call("handoff", to_agent="two", reason="knows more")

    desk.answers(answer)
    llm = desk.llm()
    one = FunctionAgent(name="one", description="one", system_prompt="I AM ONE", tools=[add], llm=llm, can_handoff_to=["two"])
    two = FunctionAgent(name="two", description="two", system_prompt="I AM TWO", tools=[add], llm=llm)
    seen = await run(AgentWorkflow(agents=[one, two], root_agent="one"), "go")
    assert seen["answer"] == "The second's word."
    return seen


@beside(*CHATS)
async def test_react_agent(desk: Desk):
    def answer(ask: Ask) -> str:
        if any("Observation:" in turn.text for turn in ask.turns if turn.role == "user"):
            return "Thought: I can answer without using any more tools.\nAnswer: It is 3."
        return 'Thought: I need a tool.\nAction: add\nAction Input: {"a": 1, "b": 2}'

    desk.answers(answer)
    seen = await run(ReActAgent(tools=[FunctionTool.from_defaults(add)], llm=desk.llm()), "1 + 2?")
    assert seen["answer"] == "It is 3."
    return seen


@beside(
    "openai", "anthropic", differs={"sent": "ours tells the model what was broken, the official class runs the tool with what there is"}
)
async def test_broken_arguments_in_an_agent(desk: Desk):
    """Both go on."""
    desk.answers(after_tools(PlainAnswer(calls=(PlainToolCall("add", '{"a": 1, "b":'),)), "Sorry, then."))
    return {"answer": (await run(FunctionAgent(tools=[add], llm=desk.llm()), "go"))["answer"]}


@beside(*CHATS)
async def test_empty_last_answer(desk: Desk):
    desk.answers(after_tools(call("add", a=1, b=2), ""))
    return {"answer": (await run(FunctionAgent(tools=[add], llm=desk.llm()), "go"))["answer"]}


@beside(*CHATS, differs={"sent": "the official classes ask for a schema, ours any vendor for a function"})
async def test_structured_answer_of_an_agent(desk: Desk):
    def answer(ask: Ask) -> PlainAnswer | str:
        if ask.schema is not None:
            return '{"total": 3}'
        if any(one.name == "Sum" for one in ask.tools):
            return call("Sum", total=3)
        return "It is 3." if ask.turns[-1].role == "tool" else call("add", a=1, b=2)

    desk.answers(answer)
    answered = await FunctionAgent(tools=[add], llm=desk.llm(), output_cls=Sum).run("1 + 2?")
    assert answered.structured_response == {"total": 3}
    return {"answer": str(answered), "structured": answered.structured_response}


@beside(*CHATS)
async def test_tool_that_asks_a_human(desk: Desk):
    desk.answers(after_tools(call("risky"), "Done."))
    agent = FunctionAgent(tools=[risky], llm=desk.llm())
    context = Context(agent)
    handler = agent.run("go", ctx=context)
    asked, results = [], []
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            asked.append(event.prefix)
            context.send_event(HumanResponseEvent(response="yes"))
        if isinstance(event, ToolCallResult):
            results += [str(event.tool_output.content)] if event.tool_output.content else []
    assert results == ["the human said yes"]
    return {"answer": str(await handler), "asked": asked, "results": results}


@beside(*CHATS)
async def test_workflow_of_ones_own(desk: Desk):
    """Steps that ask, predict and stream."""
    desk.answers(lambda ask: call(ask.tools[0].name, total=7) if ask.tools else "seven is the sum")
    llm = desk.llm()

    class Flow(Workflow):
        @step
        async def ask(self, event: StartEvent) -> StopEvent:
            whole = await llm.acomplete("3 + 4?")
            deltas = [one.delta async for one in await llm.astream_chat([ChatMessage("3 + 4?")]) if one.delta]
            chosen = await llm.achat_with_tools([FunctionTool.from_defaults(add, name="add")], user_msg="3 + 4?")
            return StopEvent(
                result={"whole": whole.text, "deltas": deltas, "chosen": llm.get_tool_calls_from_response(chosen)[0].tool_kwargs}
            )

    found = await Flow(timeout=60).run()
    assert found["chosen"] == {"total": 7}
    return found


@beside(*CHATS)
def test_memory_that_sums_up(desk: Desk):
    desk.answers("They counted.")
    memory = ChatSummaryMemoryBuffer.from_defaults(llm=desk.llm(), token_limit=20, tokenizer_fn=str.split)
    for number in range(4):
        memory.put(ChatMessage(f"hello there my friend number {number} how are you"))
        memory.put(ChatMessage(role="assistant", content="fine thank you"))
    kept = memory.get()
    assert "They counted." in str(kept[0].content)
    return {"kept": stored(kept)}
