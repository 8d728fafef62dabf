"""Answers that a filter or the model withheld: in the frameworks a message without text and its reason, in the core an error with it.

The vendors' own classes return them so, and an agent or a chain built on them goes on; the policy has asked other targets before.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from langchain_core import exceptions as theirs
from llama_index.core.base.llms.types import ChatMessage
from pydantic import BaseModel

from langchain_surefoot import ChatSurefoot
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, Target
from surefoot.errors import ContentRefused
from surefoot.testing.wire import PlainAnswer, WireSim, fault
from tests.integrations.conftest import address

MODELS = {"openai": "gpt-5-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}
keys = itertools.count()


class Person(BaseModel):
    """A person."""

    name: str


@pytest.fixture(params=sorted(MODELS))
def vendor(request: pytest.FixtureRequest, vendors: dict[str, WireSim]):
    """A vendor whose model declines."""
    sim = vendors[request.param]
    sim.reset()
    sim.script(fault("refusal"))
    yield request.param, sim
    sim.reset()


def fields(vendor: tuple[str, WireSim]) -> dict[str, Any]:
    name, sim = vendor
    return {"model": f"{name}:{MODELS[name]}", "base_url": address(name, sim), "api_key": f"sk-{next(keys)}"}


@pytest.mark.parametrize("streaming", [None, True], ids=["whole", "streamed"])
def test_langchain_has_a_message_with_its_reason(vendor, streaming):
    """It was asked once, billed, and says so."""
    message = ChatSurefoot(**fields(vendor), streaming=streaming).invoke("Hi")
    assert message.text == ""
    assert message.tool_calls == []
    assert message.response_metadata["finish_reason"] in {"refusal", "content_filter"}
    assert message.response_metadata["attempts"] == len(vendor[1].requests) == 1
    assert message.usage_metadata["input_tokens"] > 0
    if vendor[0] == "openai":
        assert "can't assist" in message.additional_kwargs["refusal"]


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_structured_output_tells_a_refusal_from_a_wrong_shape(vendor, method):
    """With `include_raw` nothing is raised for an answer; without it the reason is, and LangChain knows its class."""
    llm = ChatSurefoot(**fields(vendor))
    both = llm.with_structured_output(Person, method=method, include_raw=True).invoke("JSON: who?")
    assert both["parsed"] is None
    assert both["raw"].response_metadata["finish_reason"] in {"refusal", "content_filter"}
    with pytest.raises(ContentRefused) as caught:
        llm.with_structured_output(Person, method=method).invoke("JSON: who?")
    assert isinstance(caught.value, getattr(theirs, "ModelRefusalError", theirs.ModelInvalidRequestError))


async def test_llama_index_has_a_message_with_its_reason(vendor):
    """Whole and streamed, from any loop."""
    llm = Surefoot(**fields(vendor))
    asked = [ChatMessage("Hi")]
    for response in (
        llm.chat(asked),
        await llm.achat(asked),
        [*llm.stream_chat(asked)][-1],
        [one async for one in await llm.astream_chat(asked)][-1],
    ):
        assert response.message.content in {"", None}
        assert response.additional_kwargs["finish_reason"] in {"refusal", "content_filter"}
        assert response.raw.usage.prompt_tokens > 0
    assert len(vendor[1].requests) == 4


def test_the_core_raises_it_with_the_answer(vendor):
    """Whoever asks the core decides what a refusal is; what it cost is known, and in the trail."""
    with pytest.raises(ContentRefused) as caught:
        ChatModel(Target(fields(vendor)["model"], base_url=fields(vendor)["base_url"], api_key="sk-x")).invoke("Hi")
    reply = caught.value.reply
    assert reply.finish_reason == caught.value.code
    assert reply.usage.input_tokens > 0
    assert (reply.attempts, caught.value.attempts) == (1, 1)
    assert reply.trail[0].usage == reply.usage
    assert reply.cost_usd > 0


def test_another_target_is_asked_first(vendors):
    """Filters differ between vendors: that is the policy's to decide, not the adapter's."""
    vendors["openai"].reset()
    vendors["anthropic"].reset()
    vendors["openai"].script(fault("refusal"))
    vendors["anthropic"].answer = lambda _: PlainAnswer(text="here you are")
    try:
        second = Target("anthropic:claude-haiku-4-5", base_url=vendors["anthropic"].url, api_key="sk-x")
        llm = ChatSurefoot(**fields(("openai", vendors["openai"])), fallbacks=[second])
        assert llm.invoke("Hi").text == "here you are"
    finally:
        vendors["openai"].reset()
        vendors["anthropic"].answer = None
