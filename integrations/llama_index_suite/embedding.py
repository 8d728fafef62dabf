"""The suite for embedding classes."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CBEventType
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode

from llama_index_suite._base import CountingHandler, CountingLimiter, FrameworkSuite, listening

TEXTS = ["The cat sleeps.", "Rain in Izmir.", "Merhaba dünya, 你好 👋"]
TOLERANCE = 1e-4  # providers round differently from call to call


class EmbeddingSuite(FrameworkSuite):
    """Derive, set `embedding_class` and `embedding_params`."""

    embedding_class: type[BaseEmbedding]
    embedding_params: Mapping[str, Any] = {}

    @pytest.fixture
    def embed(self) -> BaseEmbedding:
        """The object under test, anew for every check."""
        return self.embedding_class(**self.embedding_params)

    def test_is_an_embedding_with_a_name(self, embed: BaseEmbedding) -> None:
        """Stored indices find classes by it."""
        assert isinstance(embed, BaseEmbedding)
        assert embed.class_name() not in {"", "base_component", "BaseEmbedding"}
        assert embed.model_name != "unknown"

    def test_payload_is_plain_and_holds_no_key(self, embed: BaseEmbedding) -> None:
        """It goes into every event and from there into logs."""
        assert json.dumps(embed.to_payload(), default=str)
        self.holds_no_secret(embed.to_payload())

    def test_stored_and_loaded_it_is_the_same_class(self, embed: BaseEmbedding) -> None:
        """Ingestion pipelines store and hash their transformations."""
        stored = embed.to_dict()
        self.holds_no_secret(stored)
        assert self.embedding_class.from_dict({**stored, **self.embedding_params}).model_name == embed.model_name

    def test_text(self, embed: BaseEmbedding) -> None:
        """A list of floats."""
        _is_vector(embed.get_text_embedding(TEXTS[0]))

    def test_text_async(self, embed: BaseEmbedding) -> None:
        """The same, awaited."""
        _same(asyncio.run(_awaited(embed.aget_text_embedding(TEXTS[0]))), embed.get_text_embedding(TEXTS[0]))

    def test_query(self, embed: BaseEmbedding) -> None:
        """As long as a document's: they are compared."""
        vector = embed.get_query_embedding(TEXTS[0])
        _is_vector(vector)
        assert len(vector) == len(embed.get_text_embedding(TEXTS[0]))

    def test_query_async(self, embed: BaseEmbedding) -> None:
        """The same, awaited."""
        _same(asyncio.run(_awaited(embed.aget_query_embedding(TEXTS[0]))), embed.get_query_embedding(TEXTS[0]))

    def test_batch_keeps_the_order(self, embed: BaseEmbedding) -> None:
        """Row i is text i, as if it had been asked alone."""
        rows = embed.get_text_embedding_batch(TEXTS)
        assert len(rows) == len(TEXTS)
        for row, text in zip(rows, TEXTS, strict=True):
            _same(row, embed.get_text_embedding(text))

    def test_batch_async(self, embed: BaseEmbedding) -> None:
        """The same, awaited."""
        rows = asyncio.run(_awaited(embed.aget_text_embedding_batch(TEXTS)))
        for row, expected in zip(rows, embed.get_text_embedding_batch(TEXTS), strict=True):
            _same(row, expected)

    def test_batch_longer_than_one_request(self) -> None:
        """Batches are cut and put together again."""
        embed = self.embedding_class(**{**self.embedding_params, "embed_batch_size": 2})
        texts = [f"text number {i}" for i in range(5)]
        rows = embed.get_text_embedding_batch(texts)
        assert len(rows) == 5
        _same(rows[4], embed.get_text_embedding(texts[4]))

    def test_batch_with_workers(self) -> None:
        """num_workers asks for batches in parallel; the order stays."""
        embed = self.embedding_class(**{**self.embedding_params, "embed_batch_size": 1, "num_workers": 3})
        rows = asyncio.run(_awaited(embed.aget_text_embedding_batch(TEXTS)))
        _same(rows[2], embed.get_text_embedding(TEXTS[2]))

    def test_empty_batch(self, embed: BaseEmbedding) -> None:
        """Nothing in, nothing out, nothing asked."""
        assert embed.get_text_embedding_batch([]) == []
        assert asyncio.run(_awaited(embed.aget_text_embedding_batch([]))) == []

    def test_equal_texts_have_equal_vectors(self, embed: BaseEmbedding) -> None:
        """A text is nearest to itself."""
        first, second, other = embed.get_text_embedding_batch([TEXTS[0], TEXTS[0], TEXTS[1]])
        _same(first, second)
        assert embed.similarity(first, second) >= embed.similarity(first, other)

    def test_vectors_are_numbers(self, embed: BaseEmbedding) -> None:
        """No NaN, no infinity, not all zero."""
        for row in embed.get_text_embedding_batch(TEXTS):
            assert all(math.isfinite(value) for value in row)
            assert any(row)

    def test_aggregated_query(self, embed: BaseEmbedding) -> None:
        """Several queries, one vector."""
        _is_vector(embed.get_agg_embedding_from_queries(TEXTS[:2]))

    def test_one_object_on_two_loops(self, embed: BaseEmbedding) -> None:
        """A client tied to the first loop dies with "Event loop is closed"."""
        _same(*[asyncio.run(_awaited(embed.aget_query_embedding(TEXTS[0]))) for _ in range(2)])

    def test_nodes(self, embed: BaseEmbedding) -> None:
        """As a transformation, sync and async."""
        nodes = [TextNode(text=text) for text in TEXTS]
        embed(nodes)
        assert all(node.embedding for node in nodes)
        again = asyncio.run(_awaited(embed.acall([TextNode(text=text) for text in TEXTS])))
        _same(again[0].embedding, nodes[0].embedding)

    def test_ingestion_pipeline(self, embed: BaseEmbedding) -> None:
        """The usual place of a transformation."""
        nodes = IngestionPipeline(transformations=[embed]).run(nodes=[TextNode(text=text) for text in TEXTS])
        assert [bool(node.embedding) for node in nodes] == [True] * len(TEXTS)

    def test_index_finds_the_text_itself(self, embed: BaseEmbedding) -> None:
        """Documents in, the nearest out."""
        index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=embed)
        assert not isinstance(embed, MockEmbedding)
        assert TEXTS[1] in index.as_retriever(similarity_top_k=1).retrieve(TEXTS[1])[0].text

    def test_callbacks_begin_and_end_once(self, embed: BaseEmbedding) -> None:
        """Token counters listen to them."""
        handler = CountingHandler()
        embed.callback_manager = handler.manager
        embed.get_query_embedding(TEXTS[0])
        assert handler.started.count(CBEventType.EMBEDDING) == handler.ended.count(CBEventType.EMBEDDING) == 1

    def test_events_tell_start_and_end(self, embed: BaseEmbedding) -> None:
        """Tracing is built on them; none may hold a key."""
        with listening() as heard:
            embed.get_text_embedding_batch(TEXTS[:1])
        assert heard.names.count("EmbeddingStartEvent") == heard.names.count("EmbeddingEndEvent") == 1
        self.holds_no_secret(*[event.model_dump() for event in heard.heard])

    def test_a_rate_limiter_is_asked_once_a_call(self) -> None:
        """LlamaIndex's own seam for limits."""
        limiter = CountingLimiter()
        embed = self.embedding_class(**{**self.embedding_params, "rate_limiter": limiter})
        embed.get_query_embedding(TEXTS[0])
        asyncio.run(_awaited(embed.aget_query_embedding(TEXTS[0])))
        assert limiter.asked == 2


async def _awaited(answer: Any) -> Any:
    return await answer


def _is_vector(vector: Any) -> None:
    assert isinstance(vector, list)
    assert vector
    assert all(isinstance(value, float) for value in vector)


def _same(one: Any, other: Any) -> None:
    assert len(one) == len(other)
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) < TOLERANCE
