"""Chains, retrievers, compressors, memories and agents of langchain-classic, and ragas' measures over both classes."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

pytest.importorskip("langchain_classic", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("langchain_openai", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("ragas", reason="the clients are not installed here: `make test-clients`")

from langchain_classic.agents import AgentExecutor, create_react_agent, create_tool_calling_agent
from langchain_classic.chains import (
    ConversationalRetrievalChain,
    HypotheticalDocumentEmbedder,
    RetrievalQA,
    create_history_aware_retriever,
    create_retrieval_chain,
)
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_classic.chains.summarize import load_summarize_chain
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_classic.evaluation import load_evaluator
from langchain_classic.memory import ConversationBufferMemory, ConversationSummaryMemory
from langchain_classic.output_parsers import OutputFixingParser
from langchain_classic.retrievers import (
    ContextualCompressionRetriever,
    EnsembleRetriever,
    MultiQueryRetriever,
    ParentDocumentRetriever,
)
from langchain_classic.retrievers.document_compressors import EmbeddingsFilter, LLMChainExtractor, LLMChainFilter, LLMListwiseRerank
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import PydanticOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.stores import InMemoryByteStore, InMemoryStore
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from pydantic import BaseModel

from surefoot.testing.wire import Ask, PlainAnswer
from tests.clients.beside import Desk, after_tools, call
from tests.clients.beside import beside as any_beside

beside = functools.partial(any_beside, framework="langchain")
BOTH = ("openai", "google")  # the vendors that have embeddings, too
DOCUMENTS = [
    Document("The harbour office opens at eight.", metadata={"source": "a"}),
    Document("Cats sleep all day long.", metadata={"source": "b"}),
    Document("The ferry to Izmir leaves at noon.", metadata={"source": "c"}),
]
QUESTION = "when does the harbour office open"


def store(desk: Desk) -> InMemoryVectorStore:
    return InMemoryVectorStore.from_documents(DOCUMENTS, desk.embed())


def counting(desk: Desk) -> Any:
    """A model that counts words: `map_reduce` counts to see what fits, and the official classes fetch their vocabularies."""
    return desk.llm(custom_get_token_ids=lambda text: list(range(len(text.split()))))


def texts(documents: list[Document]) -> list[str]:
    return [one.page_content for one in documents]


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return f"rain in {city}"


@beside(*BOTH)
def test_retrieval_chain(desk: Desk):
    desk.answers("At eight.")
    prompt = ChatPromptTemplate.from_messages([("system", "Answer from: {context}"), ("human", "{input}")])
    chain = create_retrieval_chain(store(desk).as_retriever(search_kwargs={"k": 2}), create_stuff_documents_chain(desk.llm(), prompt))
    answer = chain.invoke({"input": QUESTION})
    streamed = [one["answer"] for one in chain.stream({"input": QUESTION}) if one.get("answer")]
    assert answer["answer"] == "".join(streamed) == "At eight."
    return {"answer": answer["answer"], "context": texts(answer["context"]), "streamed": streamed}


@beside("openai")  # the official embeddings of Google fail on the text that StrOutputParser gives
def test_history_aware_retrieval(desk: Desk):
    desk.answers(["opening of the harbour office", "At eight."])
    asks = ChatPromptTemplate.from_messages([MessagesPlaceholder("chat_history"), ("human", "{input}")])
    answers = ChatPromptTemplate.from_messages([("system", "{context}"), MessagesPlaceholder("chat_history"), ("human", "{input}")])
    llm = desk.llm()
    chain = create_retrieval_chain(
        create_history_aware_retriever(llm, store(desk).as_retriever(search_kwargs={"k": 1}), asks),
        create_stuff_documents_chain(llm, answers),
    )
    answer = chain.invoke({"input": "and when?", "chat_history": [HumanMessage("a harbour office?"), AIMessage("Yes.")]})
    assert texts(answer["context"]) == ["The harbour office opens at eight."]
    return {"answer": answer["answer"], "context": texts(answer["context"])}


@beside(*BOTH)
def test_retrieval_qa_in_four_ways(desk: Desk):
    desk.answers("At eight.\nScore: 90")
    answers = {}
    for way in ("stuff", "map_reduce", "refine", "map_rerank"):
        chain = RetrievalQA.from_chain_type(llm=counting(desk), chain_type=way, retriever=store(desk).as_retriever())
        answers[way] = chain.invoke({"query": QUESTION})["result"]
    return answers


@beside("openai")
def test_conversational_retrieval_with_memory(desk: Desk):
    desk.answers("At eight.")
    memory = ConversationBufferMemory(memory_key="chat_history", return_messages=True)
    chain = ConversationalRetrievalChain.from_llm(desk.llm(), store(desk).as_retriever(), memory=memory)
    chain.invoke({"question": QUESTION})
    return {"answer": chain.invoke({"question": "really?"})["answer"], "memory": [one.text for one in memory.chat_memory.messages]}


@beside(*BOTH)
def test_several_queries_and_an_ensemble(desk: Desk):
    desk.answers("harbour\noffice hours\nopening")
    retriever = store(desk).as_retriever(search_kwargs={"k": 1})
    several = MultiQueryRetriever.from_llm(retriever, desk.llm()).invoke(QUESTION)
    ensemble = EnsembleRetriever(retrievers=[retriever, store(desk).as_retriever(search_kwargs={"k": 2})], weights=[0.7, 0.3])
    return {"several": sorted(texts(several)), "ensemble": texts(ensemble.invoke(QUESTION))}


@beside(*BOTH, differs={"sent": "with_structured_output asks for a function, that of the official classes for a schema"})
def test_compressors(desk: Desk):
    def answer(ask: Ask) -> PlainAnswer | str:
        if ask.tools:
            return call(ask.tools[0].name, ranked_document_ids=[2, 0])
        if ask.schema is not None:
            return '{"ranked_document_ids": [2, 0]}'
        if "YES" in ask.prompt:
            return "YES" if "harbour office opens" in ask.prompt else "NO"
        return "opens at eight" if "harbour office opens" in ask.prompt else "NO_OUTPUT"

    desk.answers(answer)
    llm, base = desk.llm(), store(desk).as_retriever()
    found: dict[str, Any] = {
        name: texts(ContextualCompressionRetriever(base_compressor=compressor, base_retriever=base).invoke(QUESTION))
        for name, compressor in {
            "extracted": LLMChainExtractor.from_llm(llm),
            "filtered": LLMChainFilter.from_llm(llm),
            "near": EmbeddingsFilter(embeddings=desk.embed(), k=1),
        }.items()
    }
    assert found["extracted"] == ["opens at eight"]
    return {**found, "ranked": texts(LLMListwiseRerank.from_llm(llm, top_n=2).compress_documents(DOCUMENTS, "ferry"))}


@beside(*BOTH)
def test_hypothetical_documents_parents_and_cached_embeddings(desk: Desk):
    desk.answers("The harbour office opens at eight.")
    imagined = HypotheticalDocumentEmbedder.from_llm(desk.llm(), desk.embed(), prompt_key="web_search").embed_query(QUESTION)
    parents = ParentDocumentRetriever(
        vectorstore=InMemoryVectorStore(desk.embed()),
        docstore=InMemoryStore(),
        child_splitter=RecursiveCharacterTextSplitter(chunk_size=15, chunk_overlap=0),
        search_kwargs={"k": 1},
    )
    parents.add_documents(DOCUMENTS)
    kept = CacheBackedEmbeddings.from_bytes_store(desk.embed(), InMemoryByteStore(), namespace="m", key_encoder="sha256")
    first = kept.embed_documents(["a", "b"])
    before = len(desk.sim.requests)
    assert kept.embed_documents(["a", "b"]) == first
    assert len(desk.sim.requests) == before
    return {"imagined": [round(one, 4) for one in imagined[:8]], "parents": texts(parents.invoke("harbour")), "size": len(first[0])}


@beside("openai", "anthropic", "google")
async def test_summaries_of_long_documents(desk: Desk):
    desk.answers("short")
    documents = [Document("long text " * 50)] * 3
    found = {}
    for way in ("stuff", "map_reduce", "refine"):
        chain = load_summarize_chain(counting(desk), chain_type=way)
        found[way] = (await chain.ainvoke({"input_documents": documents}))["output_text"]
    return found


BLOCKS = "what it streams is text, where the official class has blocks, which the executor hands on"


@beside("openai", "anthropic", "google", differs={"anthropic: called": BLOCKS, "google: called": BLOCKS})
def test_executors_of_agents(desk: Desk):
    """By tool calls, and by text that ends at a stop sequence."""
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{input}"), MessagesPlaceholder("agent_scratchpad")])
    desk.answers(after_tools(call("weather", city="Izmir"), "Wet."))
    executor = AgentExecutor(
        agent=create_tool_calling_agent(desk.llm(), [weather], prompt), tools=[weather], return_intermediate_steps=True
    )
    called = executor.invoke({"input": "weather?"})
    steps = [list(one) for one in executor.stream({"input": "weather?"})]
    desk.answers(["Thought: look\nAction: weather\nAction Input: Izmir\nObservation: made up", "I now know\nFinal Answer: wet"])
    react = PromptTemplate.from_template("{tools} {tool_names} {input} {agent_scratchpad}")
    written = AgentExecutor(agent=create_react_agent(desk.llm(), [weather], react), tools=[weather]).invoke({"input": "weather?"})
    assert written["output"] == "wet"
    return {
        "called": [called["output"], [str(result) for _, result in called["intermediate_steps"]]],
        "steps": steps,
        "written": written["output"],
    }


@beside("openai", "anthropic", "google")
def test_memories_parsers_and_judges(desk: Desk):
    class Person(BaseModel):
        name: str
        age: int

    desk.answers("They greeted each other.")
    llm = desk.llm()
    memory = ConversationSummaryMemory(llm=llm)
    memory.save_context({"input": "hello"}, {"output": "hi"})
    desk.answers('{"name": "Ali", "age": 5}')
    fixed = OutputFixingParser.from_llm(parser=PydanticOutputParser(pydantic_object=Person), llm=llm).parse("garbage")
    desk.answers("It is short.\nY")
    judged = load_evaluator("criteria", llm=llm, criteria="conciseness").evaluate_strings(prediction="a", input="b")
    return {"memory": memory.buffer, "fixed": fixed.model_dump(), "judged": judged["value"]}


@beside("openai", differs={"sent": "ragas knows by their names which classes give several answers to one request, and asks others twice"})
async def test_ragas_faithfulness_and_relevancy(desk: Desk):
    """Its judges ask for JSON in words, several at once, and embed the questions they made up."""
    from ragas.dataset_schema import SingleTurnSample
    from ragas.embeddings import LangchainEmbeddingsWrapper
    from ragas.llms import LangchainLLMWrapper
    from ragas.metrics import Faithfulness, LLMContextRecall, ResponseRelevancy

    def answer(ask: Ask) -> str:
        if '"statements"' in ask.prompt and "verdict" not in ask.prompt:
            return '{"statements": ["The office opens at eight.", "It closes at nine."]}'
        if "verdict" in ask.prompt and "statements" in ask.prompt:
            first = {"statement": "The office opens at eight.", "reason": "said", "verdict": 1}
            second = {"statement": "It closes at nine.", "reason": "not said", "verdict": 0}
            return json.dumps({"statements": [first, second]})
        if "attributed" in ask.prompt:
            return '{"classifications": [{"statement": "It opens at eight.", "reason": "said", "attributed": 1}]}'
        return '{"question": "When does the harbour office open?", "noncommittal": 0}'

    desk.answers(answer)
    llm, vectors = LangchainLLMWrapper(desk.llm()), LangchainEmbeddingsWrapper(desk.embed())
    sample = SingleTurnSample(
        user_input=QUESTION,
        response="It opens at eight and closes at nine.",
        reference="It opens at eight.",
        retrieved_contexts=[DOCUMENTS[0].page_content],
    )
    scores = {
        "faithfulness": await Faithfulness(llm=llm).single_turn_ascore(sample),
        "relevancy": await ResponseRelevancy(llm=llm, embeddings=vectors, strictness=2).single_turn_ascore(sample),
        "recall": await LLMContextRecall(llm=llm).single_turn_ascore(sample),
    }
    assert scores["faithfulness"] == 0.5
    return {name: round(float(score), 3) for name, score in scores.items()}
