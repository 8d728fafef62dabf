"""SurefootEmbedding, over a scripted provider."""

from __future__ import annotations

import pytest
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from llama_index.embeddings.surefoot import SurefootEmbedding
from surefoot import EmbedModel, Policy
from surefoot.errors import BadRequest, Misconfigured, Overloaded
from surefoot.testing import Scripted


def around(*steps, **fields):
    provider = Scripted(*steps)
    return SurefootEmbedding(embed=EmbedModel(provider, policy=Policy(backoff_base_s=0.001)), **fields), provider


async def test_sync_and_async_agree_and_are_lists_of_floats():
    """Vector stores take lists; numpy stays inside."""
    embed, _ = around()
    rows = embed.get_text_embedding_batch(["a", "b"])
    assert rows == await embed.aget_text_embedding_batch(["a", "b"])
    assert all(isinstance(value, float) for row in rows for value in row)
    assert embed.get_text_embedding("a") == await embed.aget_text_embedding("a") == rows[0]
    assert embed.get_query_embedding("a") == await embed.aget_query_embedding("a")


async def test_one_batch_of_the_framework_is_one_call_of_ours():
    """LlamaIndex's default would make one call a text."""
    embed, provider = around()
    await embed.aget_text_embedding_batch([f"text {i}" for i in range(100)])
    embed.get_text_embedding_batch([f"text {i}" for i in range(100)])
    assert provider.calls == 2


def test_queries_and_documents_are_told_apart():
    """Models such as E5 want a prefix each."""
    embed, provider = around()
    embed.get_text_embedding("a")
    embed.get_query_embedding("a")
    assert [request.role for request in provider.requests] == ["document", "query"]


def test_two_failures_and_a_success_are_three_attempts():
    """One retry owner."""
    embed, provider = around(Overloaded("busy"), Overloaded("busy"), "ok")
    assert len(embed.get_query_embedding("a")) == 4
    assert provider.calls == 3


def test_llamaindexs_own_cache_is_refused():
    """It is keyed by the text alone: two models, or a query and a document, would share a vector."""
    with pytest.raises(Misconfigured, match="surefoot_cache"):
        SurefootEmbedding(model_name="openai:m", embeddings_cache=SimpleKVStore())
    with pytest.raises(Misconfigured, match="use surefoot_cache"):
        around()[0].embeddings_cache = SimpleKVStore()


def test_errors_are_ours():
    """LlamaIndex has no error family of its own."""
    embed, _ = around(BadRequest("no such model"))
    with pytest.raises(BadRequest):
        embed.get_query_embedding("a")


def test_bad_fields_are_told_at_once():
    """Before anything is sent, naming the remedy."""
    with pytest.raises(Misconfigured, match="say model="):
        SurefootEmbedding()
    with pytest.raises(Misconfigured, match="did you mean 'dimensions'"):
        SurefootEmbedding(model_name="openai:m", dimension=3)
    with pytest.raises(Misconfigured, match="concurrency and embed= are both given"):
        around(concurrency=3)


def test_a_key_is_shown_nowhere():
    """Events, repr and to_dict are logged and stored."""
    embed = SurefootEmbedding(model_name="openai:m", api_key="sk-secret")
    assert "sk-secret" not in f"{embed!r} {embed.to_dict()} {embed.to_payload()} {embed.to_json()}"


def test_serialised_and_loaded_it_is_the_same():
    """IngestionPipeline hashes and stores its transformations."""
    embed = SurefootEmbedding("openai:m", dimensions=3, fallbacks=["openai:n"], api_key="k")
    again = SurefootEmbedding.from_dict(embed.to_dict())
    assert (again.model_name, again.dimensions, again.fallbacks) == ("openai:m", 3, ("openai:n",))


def test_an_ingestion_pipeline_embeds_its_nodes():
    """The usual place of an embedding model."""
    embed, provider = around()
    nodes = IngestionPipeline(transformations=[embed]).run(nodes=[TextNode(text="one"), TextNode(text="two")])
    assert [len(node.embedding) for node in nodes] == [4, 4]
    assert provider.calls == 1
