"""Warming does before the first call what it would wait for, and asks nobody."""

from __future__ import annotations

import asyncio

import openai
import pytest

from surefoot import ChatModel, EmbedModel, Target
from surefoot.errors import ConnectionLost
from surefoot.providers.local import embed as local_embed
from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim
from tests.models.test_closing import until
from tests.redis_proxy import closed_port


def test_a_warm_model_is_built_and_nobody_was_asked():
    """Twice does no harm; the async view is the same."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:m", base_url=f"{sim.url}/v1", api_key="k"))
        assert chat.warm() == {}
        built = chat._stack.ready()
        assert built is not None
        assert asyncio.run(chat.awarm()) == {}
        assert chat._stack.ready() is built
        assert not sim.requests
        assert chat.invoke("hi").text
        chat.close()


SIMS = [(OpenAISim, "openai:gpt-4.1", "/v1"), (AnthropicSim, "anthropic:claude-haiku-4-5", ""), (GeminiSim, "google:gemini-2.5-flash", "")]


@pytest.mark.parametrize("lane", ["direct", "sdk"])
@pytest.mark.parametrize(("kind", "name", "path"), SIMS, ids=["openai", "anthropic", "google"])
def test_a_connection_stands_before_the_first_call_which_takes_it(kind, name, path, lane):
    """Name look-up, TCP and TLS take as long as a short answer; nothing is sent for it, and a second warming opens no second."""
    with kind() as sim:
        chat = ChatModel(Target(name, base_url=f"{sim.url}{path}", api_key="k", lane=lane))
        for _ in range(2):
            assert chat.warm() == {}
        until(lambda: len(sim._live) == 1)
        (first,) = sim._live
        assert not sim.requests
        assert chat.invoke("hi").text
        assert list(sim._live) == [first]
        chat.close()


def test_targets_are_connected_to_at_once_and_what_is_not_there_is_told():
    """A fallback that is gone is noticed at the start, not when it is needed."""
    with OpenAISim() as sim:
        there = Target("openai:m", base_url=f"{sim.url}/v1", api_key="k")
        gone = Target("openai:gone", base_url=f"http://127.0.0.1:{closed_port()}/v1", api_key="k", lane="direct")
        chat = ChatModel(there, gone)
        failed = chat.warm()
        assert list(failed) == ["openai:gone"]
        assert isinstance(failed["openai:gone"], ConnectionLost)
        until(lambda: len(sim._live) == 1)
        assert chat.invoke("hi").text
        chat.close()


def test_a_callers_own_client_opens_its_connections_itself():
    """Its pool has no word for it; it is not asked."""
    with OpenAISim() as sim:
        client = openai.AsyncOpenAI(base_url=f"{sim.url}/v1", api_key="k")
        chat = ChatModel(Target("openai:gpt-4.1", client=client))
        assert chat.warm() == {}
        assert chat.invoke("hi").text
        assert len(sim.requests) == 1
        chat.close()


def test_a_local_models_files_are_read(monkeypatch):
    """The first text does not wait for them."""
    embed = EmbedModel("local:multilingual-e5-small")
    assert embed.warm() == {}
    monkeypatch.setattr(local_embed, "load", None)
    assert embed.embed(["x"]).shape == (1, 384)


def test_a_target_that_cannot_be_warmed_is_told_and_not_raised():
    """An option that its provider refuses; the other target is warm."""
    wrong = Target("openai:n", base_url="http://127.0.0.1:9/v1", api_key="k", options=(("api_versio", "1"),))
    failed = ChatModel("local:extractive", wrong).warm()
    assert list(failed) == ["openai:n"]
    assert "did you mean 'api_version'" in str(failed["openai:n"])
