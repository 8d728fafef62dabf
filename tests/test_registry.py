"""One table of names; nothing is imported until it is used."""

from __future__ import annotations

from importlib import metadata

import pytest

from surefoot import registry
from surefoot.errors import Misconfigured


def test_an_unknown_provider_names_the_nearest():
    """A typo is found at once."""
    with pytest.raises(Misconfigured, match="did you mean 'anthropic'"):
        registry.provider("antropic")


def test_a_missing_extra_names_the_command(monkeypatch):
    """What to type stands in the message."""
    monkeypatch.setattr(registry, "_installed", lambda module: module != "openai")
    with pytest.raises(Misconfigured, match=r'pip install "surefoot\[openai\]"'):
        registry.provider("openai")


def test_a_stranger_registers_by_entry_point(monkeypatch):
    """A provider of one's own needs no change here."""
    point = metadata.EntryPoint(name="mine", value="my_package:MyEdge", group=registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [point])
    registry._strangers.cache_clear()
    try:
        assert registry.provider("mine").path == "my_package:MyEdge"
    finally:
        registry._strangers.cache_clear()


@pytest.mark.parametrize("path", [*registry.LAYERS.values(), *registry.STORES.values(), *(one.path for one in registry.PROVIDERS.values())])
def test_every_name_in_the_table_opens(path):
    """A table with a dead entry lies."""
    assert callable(registry.load(path))
