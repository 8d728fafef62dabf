"""Every word that an official class takes at construction is understood by ours, or refused with another to say."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

pytest.importorskip("llama_index.llms.anthropic", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("langchain_anthropic", reason="the clients are not installed here: `make test-clients`")

from langchain_anthropic import ChatAnthropic
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAIEmbeddings
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.google_genai import GoogleGenAI
from llama_index.llms.openai import OpenAI, OpenAIResponses

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot.errors import Misconfigured

PAIRS = (
    (OpenAI, Surefoot, "openai:gpt-4o-mini"),
    (OpenAIResponses, Surefoot, "openai:gpt-4o-mini"),
    (Anthropic, Surefoot, "anthropic:claude-opus-4-7"),
    (GoogleGenAI, Surefoot, "google:gemini-3-flash"),
    (OpenAIEmbedding, SurefootEmbedding, "openai:text-embedding-3-small"),
    (ChatOpenAI, ChatSurefoot, "openai:gpt-4o-mini"),
    (AzureChatOpenAI, ChatSurefoot, "azure:gpt-4o-mini"),
    (ChatAnthropic, ChatSurefoot, "anthropic:claude-haiku-4-5"),
    (ChatGoogleGenerativeAI, ChatSurefoot, "google:gemini-3-flash"),
    (OpenAIEmbeddings, SurefootEmbeddings, "openai:text-embedding-3-small"),
    (GoogleGenerativeAIEmbeddings, SurefootEmbeddings, "google:gemini-embedding-001"),
)
NO_WORDS = {"self", "kwargs", "model", "model_name"}


def words_of(official: Any) -> dict[str, Any]:
    """The words of an official class with their defaults: LlamaIndex's stand in the signature, LangChain's in the fields."""
    if official.__module__.startswith("llama_index"):
        return {name: one.default for name, one in inspect.signature(official.__init__).parameters.items() if name not in NO_WORDS}
    plain = {name: field for name, field in official.model_fields.items() if field.default_factory is None}
    found = plain | {field.alias: field for field in plain.values() if field.alias}
    return {name: field.default for name, field in found.items() if name not in NO_WORDS}


@pytest.mark.heavy
@pytest.mark.parametrize(("official", "ours", "model"), PAIRS, ids=[one[0].__name__ for one in PAIRS])
def test_every_word_of_the_official_class_is_known(official, ours, model):
    """With the value that it has there by default, and with one that no class has by default; None says nothing and is taken."""
    where = "model_name" if ours is SurefootEmbedding else "model"
    unheard = []
    for word, default in words_of(official).items():
        for value in (default, 1):
            try:
                ours(**{where: model, word: value})
            except Misconfigured as refused:
                if value is None or "unknown field" in str(refused):
                    unheard.append(f"{word}={value!r}: {str(refused)[:160]}")
            except (ValidationError, TypeError, ValueError):  # known, and of another type
                pass
    assert not unheard, "\n".join(unheard)
