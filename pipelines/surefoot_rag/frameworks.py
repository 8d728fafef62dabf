"""Which framework answers, with which models, and how an answer is shown."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from surefoot import ChatModel, EmbedModel, load
from surefoot.errors import Misconfigured
from surefoot_rag.answers.links import Links
from surefoot_rag.records import Answer, Citation

MODULES = {"langchain": "surefoot_rag.langchain_chroma", "llamaindex": "surefoot_rag.llama_index_chroma"}


CHAT, EMBED = "local:extractive", "local:multilingual-e5-small"  # offline, unless configured


NEEDS = ("chromadb", "langchain_chroma", "llama_index", "semantic_text_splitter", "selectolax", "pypdfium2", "bm25s")


def check_installed() -> None:
    """Raise Misconfigured, naming the command to run, where what the pipelines import is not installed."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise Misconfigured(f'the pipelines need {", ".join(missing)}, not installed here: run  pip install "surefoot[rag]"')


def models(config: str | None) -> tuple[ChatModel, EmbedModel]:
    """The configured models, or the offline defaults."""
    if config is None:
        return ChatModel(CHAT), EmbedModel(EMBED)
    loaded = load(config)
    return loaded.chat("default"), loaded.embed("default")


def framework(name: str) -> Any:
    """The module with index(), retrieve(), answer() for a framework."""
    return import_module(MODULES[name])


def show(answer: Answer) -> None:
    """Print an answer with its sources, and what it took."""
    print(show_text(answer))


def _place(cited: Citation) -> str:
    if cited.page is None:
        return ""
    return f", page {cited.page}" + (f", line {cited.line}" if cited.line is not None else "")


def show_text(answer: Answer) -> str:
    """An answer with its sources, links taken out of what they quote, and what it took."""
    quoted = ((one, Links().clean(" ".join(one.text.split())[:160])) for one in answer.citations)
    cited = [f'  - {one.document_id}{_place(one)} [{one.start}:{one.end}] "{words}"' for one, words in quoted]
    cost = "price unknown" if answer.cost_usd is None else f"${answer.cost_usd:.6f}"
    took = (
        f"  ({answer.framework}, {answer.model}, {answer.seconds:.2f} s, {answer.input_tokens} + {answer.output_tokens} tokens, "
        f"{answer.attempts} attempt{'s' if answer.attempts != 1 else ''}, {cost})"
    )
    return "\n".join([answer.text, *cited, took])
