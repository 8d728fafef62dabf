"""A ChatSurefoot inside LangChain's own wrappers, which find its methods by name and by the types written at them."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest
from langchain_core.runnables import ConfigurableField
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_surefoot import ChatSurefoot, SurefootChatHistory, SurefootEmbeddings
from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, Policy
from surefoot.errors import Overloaded
from surefoot.testing import Scripted
from surefoot.types import ChatReply, ToolCall


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Person(BaseModel):
    """A person."""

    name: str


def answering(*steps: Any) -> tuple[ChatSurefoot, Scripted]:
    provider = Scripted(*steps)
    return ChatSurefoot(chat=ChatModel(provider, policy=Policy(attempts=1, backoff_base_s=0.001))), provider


def calls(name: str, arguments: str) -> ChatReply:
    return ChatReply(tool_calls=(ToolCall(id="1", name=name, arguments=arguments),), finish_reason="tool_calls")


def test_with_fallbacks_binds_tools_to_every_model():
    """The wrapper asks the method's return type whether to bind the fallbacks too; a name that cannot be resolved there broke it."""
    (first, tried), (second, asked) = answering(Overloaded("busy")), answering(calls("add", '{"a":1,"b":2}'))
    wrapped = first.with_fallbacks([second])
    assert hasattr(wrapped, "bind_tools")
    bound = wrapped.bind_tools([add], tool_choice="any")
    assert isinstance(bound, RunnableWithFallbacks)
    assert bound.invoke("1 + 2").tool_calls[0]["args"] == {"a": 1, "b": 2}
    assert [[one.name for one in provider.requests[0].tools] for provider in (tried, asked)] == [["add"], ["add"]]
    assert asked.requests[0].tool_choice == "required"


def test_with_fallbacks_structures_the_answer_of_every_model():
    """As for tools, where the first model fails."""
    (first, tried), (second, asked) = answering(Overloaded("busy")), answering(calls("Person", '{"name":"Ada"}'))
    assert first.with_fallbacks([second]).with_structured_output(Person).invoke("who?") == Person(name="Ada")
    assert (tried.calls, asked.calls) == (1, 1)


def test_alternatives_bind_tools():
    """Chosen at run time, by configuration."""
    (first, _), (second, asked) = answering("plain"), answering(calls("add", '{"a":1,"b":2}'))
    either = first.configurable_alternatives(ConfigurableField(id="which"), other=second)
    reply = either.with_config(configurable={"which": "other"}).bind_tools([add]).invoke("1 + 2")
    assert reply.tool_calls[0]["name"] == "add"
    assert asked.calls == 1


@pytest.mark.parametrize("owner", [ChatSurefoot, SurefootEmbeddings, SurefootChatHistory, Surefoot, SurefootEmbedding])
def test_the_types_of_our_methods_can_be_read(owner):
    """Wrappers, tools made of methods and documentation resolve them at run time."""
    own = [getattr(value, "__func__", getattr(value, "fget", value)) for value in vars(owner).values()]
    methods = [value for value in own if inspect.isfunction(value) and value.__module__ == owner.__module__]
    assert len(methods) >= 4
    for method in methods:
        assert get_type_hints(method) is not None
