"""Agents of LangChain over Claude's prompt cache: what is written once is read in every later call."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool

from langchain_surefoot import ChatSurefoot, PromptCachingMiddleware
from surefoot import ChatModel, Target
from surefoot.errors import BadRequest, Misconfigured
from surefoot.types import Message
from tests.integrations.conftest import address

agents = pytest.importorskip("langchain.agents")
fake = pytest.importorskip("langchain_core.language_models.fake_chat_models")

MODELS = {"anthropic": "anthropic:claude-haiku-4-5", "openai": "openai:gpt-5-mini", "google": "google:gemini-3-flash"}
RULES = "Be brief and kind. " * 600


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


def model(vendors: Any, vendor: str = "anthropic", **fields: Any) -> ChatSurefoot:
    vendors[vendor].reset()
    return ChatSurefoot(model=MODELS[vendor], base_url=address(vendor, vendors[vendor]), api_key="sk-simulated", **fields)


def calls(state: Any) -> list[tuple[int, int]]:
    """Tokens read from the cache and written to it, of each call of the model."""
    told = [message.usage_metadata.get("input_token_details", {}) for message in state["messages"] if isinstance(message, AIMessage)]
    return [(one.get("cache_read", 0), one.get("cache_creation", 0)) for one in told]


def marked(sim: Any) -> int:
    return sim.requests[-1].body.count(b'"cache_control"')


@pytest.mark.parametrize("way", ["middleware", "field", "both"])
async def test_an_agents_second_call_reads_what_its_first_wrote(vendors, way):
    """Tools and instructions are paid for once; each turn writes what is new alone."""
    llm = model(vendors, **({} if way == "middleware" else {"prompt_cache": "auto"}))
    given = [] if way == "field" else [PromptCachingMiddleware(ttl="1h")]
    agent = agents.create_agent(llm, tools=[weather], system_prompt=RULES, middleware=given)
    state = await agent.ainvoke({"messages": [HumanMessage("Call weather(city='Izmir')")]})
    (read, written), (again, further) = calls(state)
    assert read == 0
    assert written > 1000
    assert again == written
    assert 0 < further < 300
    lives = {mark.get("ttl") for mark in _marks(vendors["anthropic"].requests[-1].json)}
    assert lives == ({None} if way == "field" else {"1h"})


def test_a_second_turn_of_a_thread_reads_the_first_however_many_tools_ran(vendors):
    """The API looks back twenty blocks from a mark; thirty calls at once are more."""
    agent = agents.create_agent(model(vendors), tools=[weather], system_prompt=RULES, middleware=[PromptCachingMiddleware()])
    state = agent.invoke({"messages": [HumanMessage("Hello")]})
    ids = [f"toolu_{number}" for number in range(30)]
    many = [{"id": one, "name": "weather", "args": {"city": "Bern"}} for one in ids]
    results = [{"role": "tool", "tool_call_id": one, "content": "rain"} for one in ids]
    agent.invoke({"messages": [*state["messages"], HumanMessage("Bern?"), AIMessage("", tool_calls=many), *results]})
    turns = vendors["anthropic"].requests[-1].json["messages"]
    assert [len(_marks(turn)) for turn in turns] == [0, 0, 1, 0, 1]


def _marks(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [mark for one in value for mark in _marks(one)]
    if isinstance(value, dict):
        return ([value["cache_control"]] if "cache_control" in value else []) + [mark for one in value.values() for mark in _marks(one)]
    return []


@pytest.mark.parametrize("vendor", ["openai", "google"])
def test_other_vendors_are_sent_no_marks(vendors, vendor):
    """They cache by themselves, and would refuse the field."""
    agent = agents.create_agent(model(vendors, vendor), tools=[weather], system_prompt="Be.", middleware=[PromptCachingMiddleware()])
    assert agent.invoke({"messages": [HumanMessage("Hello")]})["messages"][-1].text
    assert (marked(vendors[vendor]), b"prompt_cache" in vendors[vendor].requests[-1].body) == (0, False)


def test_anthropics_own_word_for_a_call_is_understood(vendors):
    """`cache_control=` is what AnthropicPromptCachingMiddleware binds; OpenAI would answer it with a 400."""
    llm = model(vendors)
    llm.bind(cache_control={"type": "ephemeral", "ttl": "1h"}).invoke([SystemMessage("Be."), HumanMessage("Hello")])
    assert _marks(vendors["anthropic"].requests[-1].json) == [{"type": "ephemeral", "ttl": "1h"}] * 2
    model(vendors, "openai", cache_control={"type": "ephemeral"}).invoke("Hello")
    assert marked(vendors["openai"]) == 0


def test_short_conversations_and_foreign_models_are_left_alone(vendors):
    """As the arguments of Anthropic's own middleware say."""
    few = PromptCachingMiddleware(min_messages_to_cache=3)
    agents.create_agent(model(vendors), system_prompt="Be.", middleware=[few]).invoke({"messages": [HumanMessage("Hello")]})
    assert marked(vendors["anthropic"]) == 0
    other = fake.GenericFakeChatModel(messages=iter([AIMessage("a"), AIMessage("b")]))
    with pytest.warns(UserWarning, match="GenericFakeChatModel"):
        agents.create_agent(other, middleware=[PromptCachingMiddleware()]).invoke({"messages": [HumanMessage("Hello")]})
    with pytest.raises(ValueError, match="GenericFakeChatModel"):
        agents.create_agent(other, middleware=[PromptCachingMiddleware(unsupported_model_behavior="raise")]).invoke({"messages": []})
    with pytest.raises(Misconfigured, match="ttl"):
        PromptCachingMiddleware(ttl="2h")


def test_a_lifetime_nobody_has_is_refused_unsent(vendors):
    """Anthropic would answer it with a 400 once it is under way, others say nothing."""
    sim = vendors["openai"]
    sim.reset()
    target = Target(MODELS["openai"], base_url=address("openai", sim), api_key="k")
    with pytest.raises(Misconfigured, match="prompt_cache = '2h'"):
        ChatModel(target, prompt_cache="2h")
    with ChatModel(target, prompt_cache="1h") as chat, pytest.raises(BadRequest, match="'auto', '5m' or '1h'"):
        chat.invoke("Hello", prompt_cache="forever")
    assert not sim.requests


def test_a_cached_answer_and_a_spend_limit_know_of_it(vendors):
    """What the vendor keeps changes no answer; what it charges for keeping is reserved."""
    sim = vendors["anthropic"]
    sim.reset()
    target = Target(MODELS["anthropic"], base_url=sim.url, api_key="k")
    with ChatModel(target, cache="memory") as chat:
        chat.invoke("Hello", temperature=0)
        assert chat.invoke("Hello", temperature=0, prompt_cache="1h").text
    assert len(sim.requests) == 1
    from surefoot.types import ChatRequest
    from surefoot.usage.habits import Habits
    from surefoot.usage.prices import Price
    from surefoot.usage.quotes import Quotes

    quotes = Quotes(MODELS["anthropic"], cost=Price(target).assumed, habits=Habits(), output_limit=lambda _: 100)
    plain, minutes, hour = (quotes(ChatRequest(messages=(Message.user(RULES),), prompt_cache=one)).input_usd for one in ("", "auto", "1h"))
    assert minutes == pytest.approx(1.25 * plain)
    assert hour == pytest.approx(2 * plain)
