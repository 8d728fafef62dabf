"""LlamaIndex: query and chat engines, synthesizers, structured prediction, rerankers, evaluators, ingestion."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

import pytest

pytest.importorskip("llama_index.llms.anthropic", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("llama_index.llms.openai", reason="the clients are not installed here: `make test-clients`")

from llama_index.core import Document, PromptTemplate, SummaryIndex, VectorStoreIndex
from llama_index.core.evaluation import (
    BatchEvalRunner,
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    GuidelineEvaluator,
    RelevancyEvaluator,
    SemanticSimilarityEvaluator,
)
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.llms import ChatMessage
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.postprocessor import LLMRerank
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.query_engine import CitationQueryEngine, RouterQueryEngine, SubQuestionQueryEngine, TransformQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector, PydanticSingleSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel

from surefoot.testing.wire import Ask, PlainAnswer
from tests.clients.beside import Desk, call
from tests.clients.beside import beside as any_beside

beside = functools.partial(any_beside, framework="llama_index")
CHATS = ("openai", "anthropic", "google")
TEXTS = ("The harbour office opens at eight.", "Cats sleep all day long.", "The ferry to Izmir leaves at noon.")
QUESTION = "when does the harbour office open"


OFFERED = "ours demands the call of a program's tool, the official class of Anthropic only offers it"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


ALI = Person(name="Ali", age=5)


def person(ask: Ask) -> PlainAnswer | str:
    """A person in the form that is asked for."""
    return call(ask.tools[0].name, name="Ali", age=5) if ask.tools else '{"name": "Ali", "age": 5}'


def nodes() -> list[TextNode]:
    return [TextNode(text=text, id_=f"node-{at}") for at, text in enumerate(TEXTS)]


def index(desk: Desk) -> VectorStoreIndex:
    return VectorStoreIndex(nodes(), embed_model=desk.embed())


def scored() -> list[NodeWithScore]:
    return [NodeWithScore(node=node, score=1.0) for node in nodes()]


@beside(*CHATS)
def test_synthesizers(desk: Desk):
    desk.answers("At eight.")
    modes = (ResponseMode.COMPACT, ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE, ResponseMode.SIMPLE_SUMMARIZE, ResponseMode.ACCUMULATE)
    return {mode.value: str(get_response_synthesizer(desk.llm(), response_mode=mode).synthesize(QUESTION, scored())) for mode in modes}


@beside(*CHATS, "responses")
async def test_streamed_answers(desk: Desk):
    desk.answers("At eight it opens.")
    llm = desk.llm()
    whole = await get_response_synthesizer(llm).asynthesize(QUESTION, scored())
    streamed = await asyncio.to_thread(get_response_synthesizer(llm, streaming=True).synthesize, QUESTION, scored())
    at_once = get_response_synthesizer(llm, streaming=True, use_async=True)
    awaited = await at_once.asynthesize(QUESTION, scored())
    return {
        "whole": str(whole),
        "streamed": await asyncio.to_thread(lambda: [one for one in streamed.response_gen if one]),
        "awaited": [one async for one in awaited.async_response_gen() if one],
    }


@beside("openai")
def test_query_engine_cites(desk: Desk):
    desk.answers("It opens at eight [1].")
    engine = CitationQueryEngine.from_args(index(desk), llm=desk.llm(), similarity_top_k=2, text_splitter=TokenTextSplitter())
    answer = engine.query(QUESTION)
    return {"answer": str(answer), "sources": [one.node.get_content() for one in answer.source_nodes]}


@beside("openai")
def test_query_engine_of_sub_questions(desk: Desk):
    def answer(ask: Ask) -> str:
        if "sub-question" in ask.prompt.lower():
            parts = [{"sub_question": "when?", "tool_name": "harbour"}, {"sub_question": "who?", "tool_name": "cats"}]
            return f"```json\n{json.dumps({'items': parts})}\n```"
        return f"answer to {len(ask.prompt.split())} words"

    desk.answers(answer)
    llm = desk.llm()
    tools = [
        QueryEngineTool.from_defaults(index(desk).as_query_engine(llm=llm, similarity_top_k=1), name=name, description=f"about {name}")
        for name in ("harbour", "cats")
    ]
    engine = SubQuestionQueryEngine.from_defaults(
        tools,
        llm=llm,
        question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
        response_synthesizer=get_response_synthesizer(llm),
        verbose=False,
        use_async=True,
    )
    answer_ = engine.query(QUESTION)
    return {"answer": str(answer_), "parts": sorted(one.node.get_content() for one in answer_.source_nodes)}


@beside(*CHATS, differs={"anthropic: sent": OFFERED})
def test_routers(desk: Desk):
    def answer(ask: Ask) -> PlainAnswer | str:
        if ask.tools:
            return call(ask.tools[0].name, index=1, reason="said so")
        return '[{"choice": 2, "reason": "said so"}]' if "choice" in ask.prompt else "At noon."

    desk.answers(answer)
    llm = desk.llm()
    tools = [
        QueryEngineTool.from_defaults(SummaryIndex([node]).as_query_engine(llm=llm), name=f"d{at}", description=f"documents {at}")
        for at, node in enumerate(nodes()[1:])
    ]
    found = {}
    for selector in (LLMSingleSelector, LLMMultiSelector, PydanticSingleSelector):
        engine = RouterQueryEngine(
            selector=selector.from_defaults(llm=llm), query_engine_tools=tools, llm=llm, summarizer=get_response_synthesizer(llm)
        )
        answered = engine.query("ferry?")
        found[selector.__name__] = [str(answered), [one.node.get_content() for one in answered.source_nodes]]
    return found


@beside("openai")
def test_chat_engines(desk: Desk):
    desk.answers("At eight.")
    found: dict[str, Any] = {}
    for mode in ("simple", "condense_question", "context", "condense_plus_context"):
        engine = index(desk).as_chat_engine(chat_mode=mode, llm=desk.llm(), similarity_top_k=1)
        texts = [str(engine.chat(QUESTION)), str(engine.chat("really?"))]
        texts.append("".join(engine.stream_chat("and streamed?").response_gen))
        found[mode] = {"texts": texts, "history": [[one.role.value, one.content] for one in engine.chat_history]}
    assert found["context"]["texts"] == ["At eight."] * 3
    return found


@beside("openai")
async def test_chat_engine_streams_from_a_loop(desk: Desk):
    desk.answers("At eight it opens.")
    engine = index(desk).as_chat_engine(chat_mode="condense_plus_context", llm=desk.llm(), similarity_top_k=1)
    await engine.achat(QUESTION)
    streamed = await engine.astream_chat("really?")
    tokens = [one async for one in streamed.async_response_gen()]
    return {"tokens": [one for one in tokens if one], "history": [[one.role.value, one.content] for one in engine.chat_history]}


@beside("openai")
def test_imagined_and_fused_queries_and_reranking(desk: Desk):
    def answer(ask: Ask) -> str:
        if "Relevance" in ask.prompt:
            return "Doc: 2, Relevance: 9\nDoc: 1, Relevance: 3"
        return "harbour\noffice\nopening" if "search queries" in ask.prompt else "At eight."

    desk.answers(answer)
    llm, vectors = desk.llm(), index(desk)
    imagined = TransformQueryEngine(vectors.as_query_engine(llm=llm, similarity_top_k=1), HyDEQueryTransform(llm=llm)).query(QUESTION)
    ranked = LLMRerank(llm=llm, top_n=1).postprocess_nodes(scored()[:2], query_str="cats?")
    fused = QueryFusionRetriever([vectors.as_retriever(similarity_top_k=1)], llm=llm, num_queries=3, use_async=True).retrieve(QUESTION)
    assert [one.node.get_content() for one in ranked] == [TEXTS[1]]
    return {"imagined": str(imagined), "ranked": [one.score for one in ranked], "fused": sorted(one.node.get_content() for one in fused)}


@beside(*CHATS, differs={"sent": "the official classes ask for a schema, ours any vendor for a function"})
def test_structured_prediction(desk: Desk):
    desk.answers(person)
    llm, prompt = desk.llm(), PromptTemplate("who is {x}?")
    found = [llm.structured_predict(Person, prompt, x="y"), asyncio.run(llm.astructured_predict(Person, prompt, x="y"))]
    if desk.wire != "anthropic":  # the official class's streams there end without the fields
        found.append(list(llm.stream_structured_predict(Person, prompt, x="y"))[-1])
    found.append(llm.as_structured_llm(Person).chat([ChatMessage("who?")]).raw)
    assert all(Person.model_validate(one.model_dump()) == ALI for one in found)
    return {"found": [one.model_dump() for one in found]}


@beside(*CHATS, differs={"anthropic: sent": OFFERED})
def test_programs(desk: Desk):
    desk.answers(person)
    programs = (LLMTextCompletionProgram, FunctionCallingProgram)
    found = [one.from_defaults(output_cls=Person, prompt_template_str="who is {x}?", llm=desk.llm())(x="y") for one in programs]
    return {"found": [one.model_dump() for one in found]}


@beside("openai")
async def test_evaluators(desk: Desk):
    def answer(ask: Ask) -> PlainAnswer | str:
        if ask.tools:
            return call(ask.tools[0].name, passing=True, feedback="fine")
        if "be brief" in ask.prompt:
            return '{"passing": true, "feedback": "fine"}'
        return "4.0\nGood." if "score" in ask.prompt else "YES"

    desk.answers(answer)
    llm = desk.llm()
    asked = {"query": QUESTION, "response": "At eight.", "contexts": [TEXTS[0]]}
    batch = await BatchEvalRunner({"faithful": FaithfulnessEvaluator(llm=llm)}, workers=2).aevaluate_response_strs(
        queries=[QUESTION] * 2, response_strs=["At eight."] * 2, contexts_list=[[TEXTS[0]]] * 2
    )
    found = {
        "faithful": (await FaithfulnessEvaluator(llm=llm).aevaluate(**asked)).passing,
        "relevant": (await RelevancyEvaluator(llm=llm).aevaluate(**asked)).passing,
        "correct": (await CorrectnessEvaluator(llm=llm).aevaluate(query=QUESTION, response="At eight.", reference="Eight.")).score,
        "guided": (await GuidelineEvaluator(llm=llm, guidelines="be brief").aevaluate(**asked)).passing,
        "near": (await SemanticSimilarityEvaluator(embed_model=desk.embed()).aevaluate(response="a b", reference="a b")).passing,
        "batch": [one.passing for one in batch["faithful"]],
    }
    assert found["correct"] == 4.0
    return found


@beside("openai")
async def test_ingestion_with_a_cache(desk: Desk):
    documents = [Document(text=text, doc_id=f"d{at}") for at, text in enumerate(TEXTS)]
    pipeline = IngestionPipeline(transformations=[TokenTextSplitter(), desk.embed(embed_batch_size=2)], cache=IngestionCache())
    first = pipeline.run(documents=documents)
    before = len(desk.sim.requests)
    again = await pipeline.arun(documents=documents)
    assert len(desk.sim.requests) == before
    assert [one.embedding for one in again] == [one.embedding for one in first]
    return {"texts": [one.get_content() for one in first], "vectors": [[round(x, 5) for x in one.embedding[:6]] for one in first]}


@beside("openai")
def test_ingestion_with_workers(desk: Desk):
    """Each worker is a process of its own, which unpickles the embedding model, its literal key included."""
    documents = [Document(text=text, doc_id=f"d{at}") for at, text in enumerate(TEXTS)]
    nodes = IngestionPipeline(transformations=[desk.embed()], disable_cache=True).run(documents=documents, num_workers=2)
    keys = {request.headers.get("authorization") for request in desk.sim.requests}
    vectors = [[round(x, 5) for x in one.embedding[:6]] for one in nodes]
    return {"texts": [one.get_content() for one in nodes], "vectors": vectors, "keys": keys}
