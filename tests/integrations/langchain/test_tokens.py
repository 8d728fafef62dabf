"""Token counting as LangChain asks for it: trim_messages, summaries and splitters call these, and must not wait for a download."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.outputs import LLMResult
from langchain_core.tools import tool

from langchain_surefoot import ChatSurefoot
from surefoot import ChatModel
from surefoot.errors import BadRequest
from surefoot.testing import Scripted
from surefoot.types import ChatReply, Usage
from surefoot.usage.tokens import estimate_input
from surefoot.usage.vocabulary import count_text

TEXT = "The harbour office opens at a quarter past eight."


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@pytest.fixture
def llm() -> ChatSurefoot:
    return ChatSurefoot(model="anthropic:claude-haiku-4-5", api_key="k")


def test_text_is_counted_without_a_tokenizer(llm):
    """LangChain's default fetches GPT-2 over the network, and offline counts 0."""
    assert llm.get_num_tokens(TEXT) == count_text(TEXT, model=llm.model)[0] > 5
    assert llm.get_num_tokens("") == 0


def test_messages_are_counted_as_our_limits_count_them():
    """Roles, calls, results and the tools themselves: one number for what is trimmed and what is reserved."""
    provider = Scripted()
    llm = ChatSurefoot(chat=ChatModel(provider))
    messages = [
        HumanMessage(TEXT),
        AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Izmir"}, "id": "c"}]),
        ToolMessage("rain", tool_call_id="c"),
    ]
    llm.bind_tools([weather]).invoke(messages)
    assert llm.get_num_tokens_from_messages(messages, tools=[weather]) == estimate_input(provider.requests[0], model=llm.model)
    assert llm.get_num_tokens_from_messages(messages) < llm.get_num_tokens_from_messages(messages, tools=[weather])
    with pytest.raises(BadRequest, match="weird"):
        llm.get_num_tokens_from_messages([HumanMessage([{"type": "weird"}])])


def test_messages_are_trimmed_by_the_model(llm):
    """The system message and the newest turn stay."""
    messages = [SystemMessage("Be brief."), HumanMessage(TEXT * 50), AIMessage(TEXT), HumanMessage("And then?")]
    kept = trim_messages(messages, max_tokens=60, token_counter=llm, strategy="last", include_system=True)
    assert kept == [messages[0], *messages[2:]]


def test_older_callbacks_find_token_counts_where_they_look():
    """`llm_output["token_usage"]` is what handlers written for OpenAI's class read, and tracers read nothing else; `generate` adds up."""
    told: list[Any] = []

    class Handler(BaseCallbackHandler):
        def on_llm_end(self, response: LLMResult, **_: Any) -> None:
            told.append(response.llm_output)

    usage = Usage(input_tokens=10, output_tokens=5, cached_tokens=4, reasoning_tokens=3, audio_input_tokens=2, audio_output_tokens=1)
    llm = ChatSurefoot(chat=ChatModel(Scripted(lambda _: ChatReply(text="hi", usage=usage, model="scripted:model"))), callbacks=[Handler()])
    counts = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 1},
    }
    assert llm.invoke("hi").response_metadata["token_usage"] == counts
    assert told == [{"token_usage": counts, "model_name": "scripted:model"}]
    both = llm.generate([[HumanMessage("a")], [HumanMessage("b")]])
    assert both.llm_output["token_usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 6, "audio_tokens": 2},
    }
    assert llm.generate([]).llm_output == {}


def test_ids_come_from_a_vocabulary_of_the_callers_alone(llm):
    """Ids of GPT-2 mean nothing to any model here."""
    with pytest.raises(NotImplementedError, match="custom_get_token_ids"):
        llm.get_token_ids(TEXT)
    own = ChatSurefoot(model="openai:m", api_key="k", custom_get_token_ids=lambda text: list(text.encode()))
    assert (own.get_token_ids("ab"), own.get_num_tokens("ab")) == ([97, 98], 2)
    assert own.get_num_tokens_from_messages([HumanMessage("ab")]) == len("Human: ab")
