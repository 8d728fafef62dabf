"""Warming does before the first call what it would wait for, and asks nobody."""

from __future__ import annotations

import asyncio

from surefoot import ChatModel, EmbedModel, Target
from surefoot.providers.local import embed as local_embed
from surefoot.testing.wire import OpenAISim


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
