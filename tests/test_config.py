"""surefoot.toml: what nobody understands fails at load, naming the line and the nearest known word."""

from __future__ import annotations

import pytest

from surefoot import load
from surefoot.config import discover
from surefoot.errors import Misconfigured

GOOD = """
[chat.default]
targets = ["openai:gpt-5-mini", "local:extractive"]
[chat.default.policy]
deadline_s = 60
[chat.pair]
targets = [["openai:gpt-5-mini", "openai:b"], "local:extractive"]
[target."openai:gpt-5-mini"]
requests_per_minute = 500
base_url = "http://127.0.0.1:9/v1"
[target."openai:b"]
base_url = "http://127.0.0.1:9/v1"
headers = { x-team = "search" }
"""


def file(tmp_path, text):
    path = tmp_path / "surefoot.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_models(tmp_path):
    """The same words as in Python."""
    models = load(file(tmp_path, GOOD))
    assert models.chat().targets == ("openai:gpt-5-mini", "local:extractive")
    assert models.chat().policy.deadline_s == 60
    assert models.chat("pair").targets == ("openai:gpt-5-mini", "openai:b", "local:extractive")
    assert models.chat() is models.chat("default")
    assert models.names("chat") == ("default", "pair")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("deadline_s", "deadline", ["line 5", "'deadline'", "'deadline_s'"]),
        ("deadline_s", "deadline_ms", ["line 5", "'deadline_s'"]),
        ("deadline_s = 60", 'deadline_s = "60"', ["line 5", "deadline_s"]),
        ("deadline_s = 60", "deadline_s = -1", ["deadline_s"]),
        ("[chat.pair]", "[chta.pair]", ["line 6", "'chat'"]),
        ("requests_per_minute", "request_per_minute", ["line 9", "'requests_per_minute'"]),
        ('[target."openai:b"]', '[target."openai:c"]', ["line 11", "used by no model", "openai:b"]),
        ('targets = ["openai:gpt-5-mini", "local:extractive"]', "", ["line 2", "needs targets"]),
        ('"local:extractive"]\n[chat.default', "7]\n[chat.default", ["not 7"]),
        ("[chat.default]", "[chat.default", ["not TOML", "line 2"]),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, words):
    """Whoever mistyped finds it at once."""
    assert old in GOOD
    with pytest.raises(Misconfigured) as caught:
        load(file(tmp_path, GOOD.replace(old, new, 1)))
    for word in words:
        assert word in str(caught.value)


def test_missing_file_name_and_key(tmp_path, monkeypatch):
    """Each names what to do."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Misconfigured, match="cannot be read"):
        load(tmp_path / "none.toml")
    models = load(file(tmp_path, '[chat.default]\ntargets = ["openai:gpt-5-mini"]\n'))
    with pytest.raises(Misconfigured, match=r"no \[chat.other\]"):
        models.chat("other")
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY"):
        models.chat()
    with pytest.raises(Misconfigured, match="describes no model"):
        load(file(tmp_path, ""))


def test_discover_finds_a_key_and_says_so(monkeypatch):
    """The demo always says which model answered, and why."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    found = discover()
    assert found is not None
    assert found.target.name.startswith("openai:")
    assert "OPENAI_API_KEY" in found.why
    assert "sk-test" not in repr(found)


def test_discover_finds_a_local_server(monkeypatch):
    """Anything that speaks the OpenAI protocol on a customary port."""
    from surefoot.testing.wire import OpenAISim

    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    with OpenAISim() as sim:
        monkeypatch.setattr("surefoot.config.LOCAL_SERVERS", ((int(sim.url.rsplit(":", 1)[1]), "Ollama"),))
        found = discover()
        assert found is not None
        assert found.target.base_url == f"{sim.url}/v1"
    monkeypatch.setattr("surefoot.config.LOCAL_SERVERS", ((9, "nothing"),))
    assert discover() is None
