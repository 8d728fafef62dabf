"""A chat model that needs nobody's help: a key, or a model server on this machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from surefoot import ChatModel
from surefoot.discovery import Discovery, discover, look_around
from surefoot.providers import registry


def test_discover_finds_a_key_and_says_so(monkeypatch):
    """The demo always says which model answered, and why."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    found = discover()
    assert found is not None
    assert found.target.name.startswith("openai:")
    assert "OPENAI_API_KEY" in found.why
    assert "sk-test" not in repr(found)


VENDOR_KEYS = {
    "OPENAI_API_KEY": "openai:",
    "ANTHROPIC_API_KEY": "anthropic:",
    "GEMINI_API_KEY": "google:",
    "GOOGLE_API_KEY": "google:",
}


@pytest.fixture
def keyless(monkeypatch, tmp_path):
    """A folder without a .env file, an environment without keys, a machine without local servers."""
    for variable in (*VENDOR_KEYS, "SUREFOOT_DOTENV"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("surefoot.discovery.LOCAL_SERVERS", ())
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.mark.parametrize(("variable", "provider"), VENDOR_KEYS.items())
@pytest.mark.parametrize("in_file", [True, False])
def test_each_vendors_key_is_seen_also_in_a_dotenv_file(keyless, variable, provider, in_file):
    """A key of Google's or Anthropic's, or one in .env, must not end at the offline reader."""
    assert look_around() == Discovery(None)
    if in_file:
        Path(".env").write_text(f"{variable}=CANARY-1234\n", encoding="utf-8")
    else:
        keyless.setenv(variable, "CANARY-1234")
    found = discover()
    assert found is not None
    assert found.target.name.startswith(provider)
    assert found.why == f"{variable} stands in {'.env' if in_file else 'the environment'}"
    assert "CANARY" not in repr(found)
    assert len(ChatModel(found.target).targets) == 1  # the model is found by the same key


def test_a_key_that_cannot_be_used_is_said_with_what_to_install(keyless):
    """Passing it over in silence leaves its owner with the offline reader and no idea why; the next key is still taken."""
    keyless.setenv("ANTHROPIC_API_KEY", "CANARY-1234")
    entry = msgspec.structs.replace(registry.PROVIDERS["anthropic"], needs=("nowhere",))
    keyless.setitem(registry.PROVIDERS, "anthropic", entry)
    around = look_around()
    assert around.found is None
    (hint,) = around.hints
    assert "ANTHROPIC_API_KEY" in hint
    assert 'pip install "surefoot[anthropic]"' in hint
    assert "CANARY" not in hint
    keyless.setenv("GOOGLE_API_KEY", "CANARY-5678")
    around = look_around()
    assert around.found is not None
    assert around.found.target.provider == "google"
    assert around.hints == (hint,)


@pytest.mark.parametrize("value", ["", "   "])
def test_an_empty_key_is_no_key(keyless, value):
    """Compose files and CI set variables to nothing."""
    keyless.setenv("OPENAI_API_KEY", value)
    Path(".env").write_text("# OPENAI_API_KEY=sk-old\nGEMINI_API_KEY=\n", encoding="utf-8")
    assert look_around() == Discovery(None)


def test_discover_finds_a_local_server(monkeypatch):
    """Anything that speaks the OpenAI protocol on a customary port."""
    from surefoot.testing.wire import OpenAISim

    for variable in VENDOR_KEYS:
        monkeypatch.delenv(variable, raising=False)
    with OpenAISim() as sim:
        monkeypatch.setattr("surefoot.discovery.LOCAL_SERVERS", ((int(sim.url.rsplit(":", 1)[1]), "Ollama"),))
        found = discover()
        assert found is not None
        assert found.target.base_url == f"{sim.url}/v1"
    monkeypatch.setattr("surefoot.discovery.LOCAL_SERVERS", ((9, "nothing"),))
    assert discover() is None
