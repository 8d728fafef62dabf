"""What importing an adapter loads beside its framework: what its class is made of, and nothing that only some methods need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LLM = "from llama_index.llms.surefoot import Surefoot"
LLAMAINDEX_ALONE = "import llama_index.core.llms.function_calling"
OWN = {"surefoot", "langchain_surefoot", "langchain_core", "llama_index", "msgspec", "typing_extensions"}  # the last by msgspec
LATER = {  # of the core: needed once a model is built, or by some methods of it
    "surefoot.rooms", "surefoot.layers", "surefoot.providers", "surefoot.stores", "surefoot.credentials", "surefoot.config",
    "surefoot.history", "surefoot.tokens", "surefoot.vocabulary", "surefoot._token_weights", "difflib", "sqlite3",
}  # fmt: skip


def fresh(code: str) -> list[str]:
    """The words that `code` prints in an interpreter of its own."""
    paths = [str(ROOT / "src"), str(ROOT / "integrations")]
    script = f"import sys\nsys.path[:0] = {paths}\n{code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()


def loaded(code: str, *, beyond: str = "") -> set[str]:
    """The modules that `code` loads, without those that `beyond` loads."""
    return set(fresh(f"{beyond}\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"))


@pytest.mark.parametrize(
    ("code", "framework", "later"),
    [
        pytest.param("from surefoot import ChatModel, Target", "", {"surefoot.adapter", "surefoot.registry"}, id="core"),
        pytest.param(LLM, LLAMAINDEX_ALONE, {"llama_index.embeddings.surefoot"}, id="llama_index"),
    ],
)
def test_an_import_loads_nothing_that_only_some_methods_need(code, framework, later):
    """Whoever only asks a question does not pay for token tables, parsers, tools, embeddings or a database."""
    found = loaded(code, beyond=framework)
    assert "surefoot.model" in found
    assert not found & (LATER | later)
    assert {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) <= OWN
