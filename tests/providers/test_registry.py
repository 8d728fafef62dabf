"""One table of names; nothing is imported until it is used."""

from __future__ import annotations

from importlib import metadata

import pytest

from surefoot import facts
from surefoot.errors import Misconfigured
from surefoot.providers import registry
from surefoot.settings import Target

FACTS = facts.ProviderFacts(
    path="my_package:MyEdge", key_variables=("MY_KEY",), price_id="mistral", models=(facts.ModelFacts(begins="large", output=999),)
)


def test_an_unknown_provider_names_the_nearest():
    """A typo is found at once."""
    with pytest.raises(Misconfigured, match="did you mean 'anthropic'"):
        registry.provider("antropic")


def test_a_missing_extra_names_the_command(monkeypatch):
    """What to type stands in the message."""
    monkeypatch.setattr(registry, "_installed", lambda module: module != "aiohttp")
    with pytest.raises(Misconfigured, match=r'needs aiohttp, .*pip install "surefoot\[openai\]"'):
        registry.provider("openai")


def test_an_sdk_is_needed_only_by_its_own_lane(monkeypatch):
    """Without one, requests go out without it; who asks for it by name is told what to install."""
    monkeypatch.setattr(registry, "_installed", lambda module: module != "openai")
    assert registry.provider("openai", lane="auto").sdk == "openai"
    assert registry.provider("openai", lane="direct").sdk == "openai"
    with pytest.raises(Misconfigured, match=r'needs openai, .*pip install "surefoot\[openai\]"'):
        registry.provider("openai", lane="sdk")


def test_a_plugin_registers_by_entry_point(monkeypatch):
    """A provider of one's own needs no change here."""
    point = metadata.EntryPoint(name="mine", value="my_package:MyEdge", group=registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [point] if group == registry.ENTRY_POINT_GROUP else [])
    registry._plugins.cache_clear()
    try:
        assert registry.provider("mine").path == "my_package:MyEdge"
    finally:
        registry._plugins.cache_clear()


def test_a_plugin_brings_its_own_facts(monkeypatch):
    """Its models' windows, limits and price name are found as ours are."""
    points = {
        registry.ENTRY_POINT_GROUP: [metadata.EntryPoint(name="mine", value="my_package:MyEdge", group=registry.ENTRY_POINT_GROUP)],
        registry.FACTS_GROUP: [metadata.EntryPoint(name="mine", value="tests.providers.test_registry:FACTS", group=registry.FACTS_GROUP)],
    }
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: points[group])
    monkeypatch.setattr(facts, "_added", {})
    registry._plugins.cache_clear()
    try:
        assert registry.provider("mine").key_variables == ("MY_KEY",)
        assert facts.output_limit("mine", "large-2026-01-01") == 999
        assert facts.name_in("price_id", "mine") == "mistral"
        assert facts.name_in("telemetry_id", "mine") == "mine"
    finally:
        registry._plugins.cache_clear()
        facts.model_of.cache_clear()


@pytest.mark.parametrize("path", [one.path for one in registry.PROVIDERS.values()])
def test_every_name_in_the_table_opens(path):
    """A table with a dead entry lies."""
    assert callable(registry.load(path))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("anthropic:claude-haiku-4-5", "embed", "anthropic has no models that embed texts; take one of openai, google, local"),
        ("openai:text-embedding-3-small", "chat", "cannot chat; it is an embedding model: give it to EmbedModel"),
        ("google:gemini-embedding-001", "chat", "cannot chat"),
        ("openai:gpt-5-mini", "embed", "cannot embed texts; it is a chat model: give it to ChatModel"),
        ("google:gemini-3-flash", "embed", "cannot embed"),
        ("local:extractive", "embed", "cannot embed"),
        ("local:smollm3", "chat", "local:extractive, local:smollm2"),
    ],
)
def test_a_model_of_the_wrong_kind_is_refused_when_it_is_named(name, kind, words):
    """Found at the first call, it would be found in production."""
    with pytest.raises(Misconfigured, match=words):
        registry.check_kind(Target(name), kind)


def test_at_another_address_a_name_may_mean_anything():
    """Servers of one's own name their models as they like."""
    registry.check_kind(Target("openai:gpt-4.1", base_url="http://127.0.0.1:1/v1"), "embed")
    registry.check_kind(Target("openai:my-model"), "embed")
    registry.check_kind(Target("local:some/sentence-transformer"), "embed")
