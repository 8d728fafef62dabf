"""Without its framework, an adapter says what to install."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "framework", "extra"),
    [
        ("langchain_surefoot", "langchain_core", "surefoot\\[langchain\\]"),
        ("llama_index.llms.surefoot", "llama_index.core", "surefoot\\[llamaindex\\]"),
        ("llama_index.embeddings.surefoot", "llama_index.core", "surefoot\\[llamaindex\\]"),
    ],
)
def test_an_adapter_without_its_framework_names_the_command(module, framework, extra, monkeypatch):
    """`No module named 'langchain_core'` leaves a newcomer to guess which package that is, and of which version."""
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == framework else object())
    with pytest.raises(ModuleNotFoundError, match=extra):
        importlib.import_module(module)
