"""One retry owner: what a provider sees, counted on the wire, through the real OpenAI SDK and both frameworks.

The frameworks' own classes make nine to twelve calls of one failure, because SDK, class and middleware each retry. Ours make the
policy's attempts, whoever stands above.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.errors import BadRequest, Exhausted, Interrupted, RateLimited, Transient
from surefoot.testing.wire import OK, OpenAISim, fault

keys = itertools.count()
POLICY = Policy(backoff_base_s=0.001, breaker=False)
FAILS_TWICE = [fault("status_503"), fault("reset_before_answer"), OK]


def target(sim: OpenAISim, model: str) -> Target:
    """A key of its own for each: equal targets share a retry budget, which a test of failures empties for the next."""
    return Target(f"openai:{model}", base_url=f"{sim.url}/v1", api_key=f"sk-{next(keys)}")


def chat_model(sim: OpenAISim) -> ChatModel:
    return ChatModel(target(sim, "gpt-5-mini"), policy=POLICY)


def embed_model(sim: OpenAISim) -> EmbedModel:
    return EmbedModel(target(sim, "text-embedding-3-small"), policy=POLICY)


def asked(sim: OpenAISim, surface: str = "chat/completions") -> int:
    """How many requests of that surface the provider saw."""
    return sum(request.path.endswith(surface) for request in sim.requests)


def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


async def langchain_stream(llm: ChatSurefoot) -> str:
    return "".join([chunk.text async for chunk in llm.astream("Hi")])


async def llamaindex_stream(llm: Surefoot) -> str:
    return "".join([response.delta or "" async for response in await llm.astream_complete("Hi")])


CHATS = {
    "langchain": lambda sim: ChatSurefoot(chat=chat_model(sim)).invoke("Hi").text,
    "langchain stream": lambda sim: "".join(chunk.text for chunk in ChatSurefoot(chat=chat_model(sim)).stream("Hi")),
    "langchain async": lambda sim: ChatSurefoot(chat=chat_model(sim)).ainvoke("Hi"),
    "langchain async stream": lambda sim: langchain_stream(ChatSurefoot(chat=chat_model(sim))),
    "llamaindex": lambda sim: Surefoot(chat=chat_model(sim)).complete("Hi").text,
    "llamaindex stream": lambda sim: [*Surefoot(chat=chat_model(sim)).stream_chat([ChatMessage("Hi")])][-1].message.content,
    "llamaindex async": lambda sim: Surefoot(chat=chat_model(sim)).acomplete("Hi"),
    "llamaindex async stream": lambda sim: llamaindex_stream(Surefoot(chat=chat_model(sim))),
}
EMBEDS = {
    "langchain": lambda sim: SurefootEmbeddings(embed=embed_model(sim)).embed_documents(["a", "b"]),
    "langchain async": lambda sim: SurefootEmbeddings(embed=embed_model(sim)).aembed_query("a"),
    "llamaindex": lambda sim: SurefootEmbedding(embed=embed_model(sim)).get_text_embedding_batch(["a", "b"]),
    "llamaindex async": lambda sim: SurefootEmbedding(embed=embed_model(sim)).aget_query_embedding("a"),
}


async def answer(way: Any, sim: OpenAISim) -> Any:
    found = way(sim)
    return await found if hasattr(found, "__await__") else found


@pytest.mark.parametrize("way", CHATS.values(), ids=CHATS)
async def test_two_failures_and_a_success_are_three_calls(way, sim):
    """A 503, a reset, then the answer."""
    sim.script(FAILS_TWICE)
    assert await answer(way, sim)
    assert asked(sim) == 3


@pytest.mark.parametrize("way", EMBEDS.values(), ids=EMBEDS)
async def test_two_failures_and_a_success_are_three_calls_for_embeddings(way, sim):
    """As for chat."""
    sim.script(FAILS_TWICE)
    assert await answer(way, sim)
    assert asked(sim, "embeddings") == 3


@pytest.mark.parametrize("name", ["status_500", "retry_after_hint"])
@pytest.mark.parametrize("way", CHATS.values(), ids=CHATS)
async def test_a_persistent_failure_is_the_policys_attempts(way, name, sim):
    """ChatOpenAI with its SDK makes nine of it, LlamaIndex's OpenAI twelve."""
    sim.script(fault(name))
    with pytest.raises(Exhausted):
        await answer(way, sim)
    assert asked(sim) == POLICY.attempts


EVERY = {
    **{name: (way, "chat/completions") for name, way in CHATS.items()},
    **{f"{name}, vectors": (way, "embeddings") for name, way in EMBEDS.items()},
}


@pytest.mark.parametrize(("way", "surface"), EVERY.values(), ids=EVERY)
async def test_a_rate_limit_is_caught_as_one(way, surface, sim):
    """Who moves from a vendor's class catches its RateLimitError, after retries or without; `Exhausted` alone would hide it."""
    sim.script(fault("status_429"))
    with pytest.raises(RateLimited) as caught:
        await answer(way, sim)
    assert (caught.value.status, caught.value.attempts) == (429, asked(sim, surface))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("way", [CHATS["langchain"], CHATS["llamaindex async"]], ids=["langchain", "llamaindex"])
async def test_the_callers_own_mistake_is_asked_once(way, sim):
    """A 400 stays a 400."""
    sim.script(fault("status_400"))
    with pytest.raises(BadRequest):
        await answer(way, sim)
    assert asked(sim) == 1


@pytest.mark.parametrize("name", ["stream_cut", "stream_reset", "no_terminal"])
@pytest.mark.parametrize("way", ["langchain stream", "langchain async stream", "llamaindex stream", "llamaindex async stream"])
async def test_a_cut_stream_is_asked_once_and_told(way, name, sim):
    """After the first token nobody asks again; the SDK alone would call two of these a success."""
    sim.script(fault(name))
    with pytest.raises(Interrupted):
        await answer(CHATS[way], sim)
    assert asked(sim) == 1


@pytest.mark.parametrize("kinds", [(Exception,), (Transient,)], ids=["bare", "transient"])
def test_with_retry_is_not_multiplied_by_ours(kinds, sim):
    """LangChain retries there whatever the class fits, and asks nobody. Its ten rounds of our three attempts would be thirty calls; the
    target's retry budget gives a process three extra attempts and a tenth of its traffic.
    """
    sim.script(fault("status_500"))
    with pytest.raises(Transient):
        ChatSurefoot(chat=chat_model(sim)).with_retry(
            retry_if_exception_type=kinds, stop_after_attempt=10, wait_exponential_jitter=False
        ).invoke("Hi")
    assert asked(sim) <= 10 + 3 + 1


@pytest.mark.parametrize("with_middleware", [False, True], ids=["bare", "retry middleware"])
async def test_an_agent_of_langchain_makes_the_policys_attempts(with_middleware, sim):
    """ModelRetryMiddleware over ChatOpenAI makes nine calls and calls it a success."""
    agents = pytest.importorskip("langchain.agents")
    middleware = pytest.importorskip("langchain.agents.middleware")
    layers = [middleware.ModelRetryMiddleware(max_retries=2, initial_delay=0.0, on_failure="error")] if with_middleware else []
    agent = agents.create_agent(ChatSurefoot(chat=chat_model(sim)), tools=[weather], middleware=layers)
    sim.script(fault("status_500"))
    with pytest.raises(Exhausted):
        await agent.ainvoke({"messages": [HumanMessage("Call weather(city='Izmir')")]})
    assert asked(sim) == POLICY.attempts


async def test_agents_finish_although_every_other_call_fails(sim):
    """The same agents, with a provider that fails once before each answer: tool, result, answer are two calls and two failures."""
    agents = pytest.importorskip("langchain.agents")
    sim.script([fault("status_503"), OK, fault("status_503"), OK] * 2)
    agent = agents.create_agent(ChatSurefoot(chat=chat_model(sim)), tools=[weather])
    state = await agent.ainvoke({"messages": [HumanMessage("Call weather(city='Izmir')")]})
    assert "rain in" in state["messages"][-2].text
    assert asked(sim) == 4
    theirs = FunctionAgent(tools=[FunctionTool.from_defaults(weather)], llm=Surefoot(chat=chat_model(sim)))
    assert str(await theirs.run("Call weather(city='Izmir')"))
    assert asked(sim) == 8


def test_a_query_engine_makes_the_policys_attempts(sim):
    """Index, retrieve, answer: one chat call, so three attempts."""
    embed = SurefootEmbedding(embed=embed_model(sim))
    index = VectorStoreIndex.from_documents([Document(text="The cooldown is five seconds.")], embed_model=embed)
    engine = index.as_query_engine(llm=Surefoot(chat=chat_model(sim)))
    sim.script(fault("status_500"), when=lambda request: request.path.endswith("chat/completions"))
    with pytest.raises(Exhausted):
        engine.query("How long is the cooldown?")
    assert asked(sim) == POLICY.attempts
    assert asked(sim, "embeddings") == 2  # the documents, the query


async def test_a_function_agent_makes_the_policys_attempts(sim):
    """Its workflow must not ask again."""
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(weather)], llm=Surefoot(chat=chat_model(sim)))
    sim.script(fault("status_500"))
    with pytest.raises(Exhausted):
        await agent.run("weather in Izmir?")
    assert asked(sim) == POLICY.attempts
