"""What importing an adapter loads beside its framework: what its class is made of, and nothing that only some methods need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import langchain_surefoot
from langchain_surefoot import ChatSurefoot

ROOT = Path(__file__).parent.parent.parent
CHAT = "from langchain_surefoot import ChatSurefoot"
LLM = "from llama_index.llms.surefoot import Surefoot"
LANGCHAIN_ALONE = "import langchain_core.language_models.chat_models"
LLAMAINDEX_ALONE = "import llama_index.core.llms.function_calling"
OWN = {"surefoot", "langchain_surefoot", "langchain_core", "llama_index", "msgspec", "typing_extensions"}  # the last by msgspec
LATER = {  # of the core: needed once a model is built, or by some methods of it
    "surefoot.models.build", "surefoot.layers", "surefoot.providers.http", "surefoot.providers.openai.endpoint",
    "surefoot.storage", "surefoot.credentials", "surefoot.config",
    "surefoot.history", "surefoot.usage.tokens", "surefoot.usage.vocabulary", "surefoot.usage._token_weights", "difflib", "sqlite3",
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
        pytest.param("from surefoot import ChatModel, Target", "", {"surefoot.adapter", "surefoot.providers.registry"}, id="core"),
        pytest.param(
            CHAT,
            LANGCHAIN_ALONE,
            {
                "langchain_surefoot.embeddings",
                "langchain_surefoot.history",
                "langchain_core.embeddings.embeddings",
                "langchain_core.tools.base",
                "langchain_core.output_parsers.json",
                "langchain_core.output_parsers.pydantic",
            },
            id="langchain",
        ),
        pytest.param(LLM, LLAMAINDEX_ALONE, {"llama_index.embeddings.surefoot"}, id="llama_index"),
    ],
)
def test_an_import_loads_nothing_that_only_some_methods_need(code, framework, later):
    """Whoever only asks a question does not pay for token tables, parsers, tools, embeddings or a database."""
    found = loaded(code, beyond=framework)
    assert "surefoot.models.base" in found
    assert not found & (LATER | later)
    assert {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) <= OWN


def test_embeddings_load_no_chat_model():
    """LangChain's chat model is most of what LangChain costs to import."""
    found = loaded("from langchain_surefoot import SurefootEmbeddings")
    assert "langchain_surefoot.embeddings" in found
    assert not {"langchain_surefoot.chat", "langchain_core.language_models.chat_models", "sqlite3"} & found


def test_the_framework_is_imported_before_our_adapter():
    """From within chat.py LangChain's imports lie deeper in the stack, where they cost a third more CPU."""
    code = (
        "sys.modules['langchain_surefoot.chat'] = None  # cannot be imported: what is there by then came before it\n"
        f"try:\n    {CHAT}\nexcept ModuleNotFoundError:\n    print('langchain_core.language_models.chat_models' in sys.modules)"
    )
    assert fresh(code) == ["True"]


def test_a_bare_import_is_enough_for_langchains_load():
    """The class is registered with LangChain before anybody has asked for it, under the name it gives itself."""
    told = ChatSurefoot(model="local:extractive", attempts=2).to_json()
    code = (
        "import langchain_surefoot\nfrom langchain_core.load import load\n"
        "print('langchain_surefoot.chat' in sys.modules)\n"
        f"print(load({told!r}, allowed_objects='all', valid_namespaces=['langchain_surefoot']).attempts)"
    )
    assert fresh(code) == ["False", "2"]


def test_every_public_name_and_module_opens():
    """Names are loaded when they are asked for, and `dir` knows them before."""
    assert set(langchain_surefoot.__all__) <= set(dir(langchain_surefoot))
    for name in langchain_surefoot.__all__:
        assert getattr(langchain_surefoot, name).__name__ == name
    modules = ["errors", "embeddings", "chat", "history"]
    code = f"import langchain_surefoot as door\nprint(*[getattr(door, name).__name__ for name in {modules}])"
    assert fresh(code) == [f"langchain_surefoot.{name}" for name in modules]
    with pytest.raises(AttributeError, match="no attribute 'Nobody'"):
        _ = langchain_surefoot.Nobody


def test_the_fields_types_can_be_read():
    """Tools that read annotations (forms, documentation) find every type of every field at run time."""
    hints = get_type_hints(ChatSurefoot)
    assert set(ChatSurefoot.model_fields) <= set(hints)
    assert hints["chat"] == langchain_surefoot.chat.ChatModel | None
