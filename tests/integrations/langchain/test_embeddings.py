"""SurefootEmbeddings, over a scripted provider and inside Chroma."""

from __future__ import annotations

import pytest
from langchain_core.exceptions import ModelError

from langchain_surefoot import SurefootEmbeddings
from surefoot import EmbedModel, Policy
from surefoot.errors import BadRequest, Misconfigured, Overloaded
from surefoot.testing import Scripted


def around(*steps):
    provider = Scripted(*steps)
    return SurefootEmbeddings(embed=EmbedModel(provider, policy=Policy(backoff_base_s=0.001))), provider


async def test_sync_and_async_agree_and_are_lists_of_floats():
    """Vector stores take lists; numpy stays inside."""
    embed, provider = around()
    rows = embed.embed_documents(["a", "b"])
    assert rows == await embed.aembed_documents(["a", "b"])
    assert all(isinstance(value, float) for row in rows for value in row)
    assert embed.embed_query("a") == await embed.aembed_query("a")
    assert provider.calls == 4


def test_queries_and_documents_are_told_apart():
    """Models such as E5 want a prefix each."""
    embed, provider = around()
    embed.embed_documents(["a"])
    embed.embed_query("a")
    assert [request.role for request in provider.requests] == ["document", "query"]


def test_one_call_of_the_framework_is_one_call_of_ours():
    """Splitting belongs to surefoot, which knows the provider's limits."""
    embed, provider = around()
    embed.embed_documents([f"text {i}" for i in range(500)])
    assert provider.calls == 1


def test_two_failures_and_a_success_are_three_attempts():
    """One retry owner."""
    embed, provider = around(Overloaded("busy"), Overloaded("busy"), "ok")
    assert len(embed.embed_query("a")) == 4
    assert provider.calls == 3


async def test_nothing_to_embed_is_nothing_to_ask():
    """LangChain's stores call with an empty list."""
    embed, provider = around()
    assert embed.embed_documents([]) == await embed.aembed_documents([]) == []
    assert provider.calls == 0


def test_errors_are_ours_and_langchains():
    """As for chat."""
    embed, _ = around(BadRequest("no such model", status=400))
    with pytest.raises(BadRequest) as caught:
        embed.embed_query("a")
    assert isinstance(caught.value, ModelError)


def test_bad_fields_are_told_at_once():
    """Before anything is sent, naming the remedy."""
    with pytest.raises(Misconfigured, match="say model="):
        SurefootEmbeddings()
    with pytest.raises(Misconfigured, match="did you mean 'dimensions'"):
        SurefootEmbeddings(model="openai:m", dimension=3)


def test_a_key_is_shown_nowhere():
    """repr is logged."""
    embed = SurefootEmbeddings(model="openai:m", api_key="sk-secret", dimensions=3)
    assert "sk-secret" not in repr(embed) + repr(embed.surefoot)


def test_chroma_finds_what_was_put_in():
    """The documentation's own example."""
    chroma = pytest.importorskip("langchain_chroma")
    from chromadb.config import Settings

    embed, _ = around()
    store = chroma.Chroma(embedding_function=embed, collection_name="surefoot_test", client_settings=Settings(anonymized_telemetry=False))
    store.add_texts(["one", "two"])
    assert store.similarity_search("one", k=1)[0].page_content == "one"
