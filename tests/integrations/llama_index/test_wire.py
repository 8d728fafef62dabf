"""LlamaIndex's own parts over Surefoot, through the vendors' real SDKs: evaluators, a Chroma store, engines that chat and stream."""

from __future__ import annotations

import json
import uuid

import chromadb
import pytest
from chromadb.config import Settings as ChromaSettings
from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.evaluation import (
    AnswerRelevancyEvaluator,
    BatchEvalRunner,
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    GuidelineEvaluator,
    PairwiseComparisonEvaluator,
    RelevancyEvaluator,
    SemanticSimilarityEvaluator,
)
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.vector_stores.chroma import ChromaVectorStore

from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot.events import CallEnded
from surefoot.testing.wire import WireSim
from tests.integrations.conftest import address

MODELS = {"openai": "openai:gpt-5-mini", "anthropic": "anthropic:claude-haiku-4-5", "google": "google:gemini-3-flash"}
EMBEDDINGS = {"openai": "openai:text-embedding-3-small", "google": "google:gemini-embedding-001"}
CONTEXT = ["The cooldown of the breaker is five seconds."]
# What a model would say to each evaluator's prompt, by a phrase that stands in it.
VERDICTS = {
    "is supported by the context": "YES",
    "is in line with the context": "YES",
    "a line with only the score": "4.5\nClose to the reference.",
    "guidelines": '{"passing": true, "feedback": "It is short."}',
    "[[A]]": "[[A]] is better.",
    "relevant": "It answers what was asked.\n[RESULT] 2",
}


def verdict(ask):
    return next((said for phrase, said in VERDICTS.items() if phrase in ask.prompt), None)


@pytest.fixture(params=list(MODELS))
def vendor(request, vendors: dict[str, WireSim]):
    """(the model's name, its simulator as new)"""
    sim = vendors[request.param]
    sim.reset()
    before, sim.answer = sim.answer, verdict
    yield request.param, sim
    sim.answer = before


def chat(vendor) -> Surefoot:
    provider, sim = vendor
    return Surefoot(model=MODELS[provider], base_url=address(provider, sim), api_key="sk-x")


def embedding(vendors: dict[str, WireSim], provider: str = "openai") -> SurefootEmbedding:
    return SurefootEmbedding(EMBEDDINGS[provider], base_url=address(provider, vendors[provider]), api_key="sk-x")


async def test_evaluators_judge_by_the_model_behind(vendor):
    """Each reads the verdict out of a real answer; one request each."""
    llm, case = chat(vendor), {"query": "How long is the cooldown?", "response": "Five seconds.", "contexts": CONTEXT}
    judged = {
        "faithful": await FaithfulnessEvaluator(llm=llm).aevaluate(**case),
        "relevant": await RelevancyEvaluator(llm=llm).aevaluate(**case),
        "correct": await CorrectnessEvaluator(llm=llm).aevaluate(**case, reference="5 s"),
        "guided": await GuidelineEvaluator(llm=llm, guidelines="Be short.").aevaluate(**case),
        "to the point": await AnswerRelevancyEvaluator(llm=llm).aevaluate(**case),
    }
    assert {name: (result.score, result.invalid_result) for name, result in judged.items()} == {
        "faithful": (1.0, False),
        "relevant": (1.0, False),
        "correct": (4.5, False),
        "guided": (1.0, False),
        "to the point": (1.0, False),
    }
    better = await PairwiseComparisonEvaluator(llm=llm, enforce_consensus=False).aevaluate(**case, second_response="Nine.", reference="5 s")
    assert better.score == 1.0
    assert sum(request.method == "POST" for request in vendor[1].requests) >= 6


async def test_a_batch_of_evaluations_runs_side_by_side(vendor):
    """BatchEvalRunner's workers share our limits; the order is kept."""
    runner = BatchEvalRunner({"relevant": RelevancyEvaluator(llm=chat(vendor))}, workers=4)
    results = await runner.aevaluate_response_strs(
        queries=[f"q{i}" for i in range(8)], response_strs=[f"a{i}" for i in range(8)], contexts_list=[CONTEXT] * 8
    )
    assert [(result.query, result.passing) for result in results["relevant"]] == [(f"q{i}", True) for i in range(8)]


async def test_similarity_of_meaning_comes_from_our_embeddings(vendors):
    """The same text is the same vector."""
    result = await SemanticSimilarityEvaluator(embed_model=embedding(vendors)).aevaluate(response="five seconds", reference="five seconds")
    assert result.score == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("provider", list(EMBEDDINGS))
async def test_a_chroma_store_finds_filters_and_streams(vendor, provider, vendors):
    """Index into Chroma, ask through a filter, read the answer as a stream; the question is embedded as a question."""
    client = chromadb.EphemeralClient(settings=ChromaSettings(anonymized_telemetry=False))
    collection = client.create_collection(f"c{uuid.uuid4().hex}", embedding_function=None)
    store = ChromaVectorStore(chroma_collection=collection)
    nodes = [TextNode(text=f"passage {number} of {tenant}", metadata={"tenant": tenant}) for tenant in ("a", "b") for number in range(3)]
    index = VectorStoreIndex(
        nodes, storage_context=StorageContext.from_defaults(vector_store=store), embed_model=embedding(vendors, provider)
    )
    assert collection.count() == 6
    engine = index.as_query_engine(
        llm=chat(vendor), streaming=True, similarity_top_k=6, filters=MetadataFilters(filters=[MetadataFilter(key="tenant", value="b")])
    )
    answer = engine.query("Which passage?")
    text = "".join(answer.response_gen)
    assert len(text) > 10
    assert {node.metadata["tenant"] for node in answer.source_nodes} == {"b"}
    assert "passage 0 of a" not in str(vendor[1].requests[-1].body)


def test_an_ingestion_cache_never_serves_another_models_vectors(vendors):
    """LlamaIndex keys its cache by the transformation: ours names model, role and dimension."""
    cache = IngestionCache()
    documents = [Document(text="one sentence. another one.")]

    def vectors(embed: SurefootEmbedding) -> list[int]:
        pipeline = IngestionPipeline(transformations=[SentenceSplitter(), embed], cache=cache)
        return [len(node.embedding) for node in pipeline.run(documents=documents)]

    first = vectors(embedding(vendors))
    sent = len(vendors["openai"].requests)
    assert vectors(embedding(vendors)) == first
    assert len(vendors["openai"].requests) == sent  # the same model: nothing asked again
    assert vectors(embedding(vendors, "google")) != first
    short = SurefootEmbedding(EMBEDDINGS["openai"], base_url=address("openai", vendors["openai"]), api_key="sk-x", dimensions=8)
    assert vectors(short) == [8] * len(first)


async def test_a_chat_engine_over_documents_remembers_and_counts_tokens(vendor, vendors, monkeypatch):
    """CondensePlusContext: the second question is asked with the first in view; the counter reads the vendor's own numbers."""
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = chat(vendor)
    monkeypatch.setattr(Settings, "_callback_manager", CallbackManager([counter]))  # an engine gives its model the global one
    index = VectorStoreIndex.from_documents([Document(text=CONTEXT[0])], embed_model=embedding(vendors))
    engine = index.as_chat_engine(chat_mode="condense_plus_context", llm=llm)
    await engine.achat("How long is the cooldown?")
    reply = await engine.astream_chat("And why?")
    said = "".join([token async for token in reply.async_response_gen()])
    assert said
    assert "How long is the cooldown?" in str(vendor[1].requests[-1].body)
    assert counter.total_llm_token_count > 20


async def test_words_about_the_call_reach_no_wire(vendor):
    """Tenant, tags, priority and deadline are surefoot's own, through every way to ask."""
    name, sim = vendor
    llm = Surefoot(MODELS[name], base_url=address(name, sim), api_key="k")
    events: list[object] = []
    llm.surefoot.subscribe(events.append)
    words = {"tenant": "TENANT-MARK", "tags": {"TAG-MARK": "VALUE-MARK"}, "priority": "batch", "deadline_s": 60}
    turn = [ChatMessage(role="user", content="hi")]
    llm.chat(turn, **words)
    llm.complete("hi", **words)
    list(llm.stream_chat(turn, **words))
    await llm.achat(turn, **words)
    [_ async for _ in await llm.astream_complete("hi", **words)]
    assert len(sim.requests) == 5
    for request in sim.requests:
        assert not {"tags", "tenant", "priority", "deadline_s"} & json.loads(request.body).keys()
        assert b"MARK" not in request.body
    llm.surefoot.flush_events()
    assert {event.tags for event in events if isinstance(event, CallEnded)} == {(("TAG-MARK", "VALUE-MARK"),)}
