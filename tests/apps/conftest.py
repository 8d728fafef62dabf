"""What the applications' tests share: a model on a simulated wire, with scripted answers, and the offline reader."""

from __future__ import annotations

import pytest

from apps.answerer import OFFLINE, Answerer, find
from surefoot import ChatModel, Policy, Target
from surefoot.testing.wire import OpenAISim


@pytest.fixture
def offline() -> Answerer:
    """The reader that composes nothing."""
    return find(OFFLINE)


@pytest.fixture
def sim():
    with OpenAISim() as one:
        yield one


@pytest.fixture
def online(sim) -> Answerer:
    """A model that says what the simulator's script says."""
    target = Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="sk-test")
    return Answerer(ChatModel(target, policy=Policy(attempts=1)), "gpt-5-mini, simulated", can_write=True)


@pytest.fixture
def keyless(monkeypatch, tmp_path):
    """No key in the environment, no .env, no local server: an empty folder to work in."""
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("surefoot.discovery.LOCAL_SERVERS", ())
    monkeypatch.chdir(tmp_path)
    return tmp_path
