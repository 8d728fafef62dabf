"""The reference pipeline with LangChain: Chroma for the dense side, an LCEL chain for the answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from langchain_chroma import Chroma
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from pipelines.answering import TOP_K, assemble, ranked
from pipelines.corpus import passages as cut
from pipelines.library import Library, metadata_of, steps
from pipelines.prompting import render
from pipelines.records import Answer, Document, Passage
from pipelines.retrieval import POOL
from surefoot import ChatModel

FRAMEWORK = "langchain"


def _store(library: Library) -> Chroma:
    if library.dense is None:
        library.dense = Chroma(
            client=library.client, collection_name=library.name, embedding_function=SurefootEmbeddings(embed=library.embed)
        )
    return library.dense  # type: ignore[no-any-return]


def index(library: Library, documents: Sequence[Document], *, progress: bool = True) -> tuple[int, int]:
    """Make the index hold exactly `documents`; returns how many passages were added and how many removed."""
    wanted = [passage for document in documents for passage in cut(document)]
    new = library.missing(wanted)
    store = _store(library)
    for part in steps(new, progress=progress):
        store.add_texts([one.text for one in part], metadatas=[metadata_of(one) for one in part], ids=[one.id for one in part])
    return len(new), library.forget_others(wanted)


def retrieve(library: Library, question: str, *, k: int = TOP_K) -> list[Passage]:
    """The best `k` passages, dense and lexical scores fused; each carries its cosine as `score`."""
    found = _store(library).similarity_search_with_score(question, k=POOL)
    return ranked(library, question, {document.id: 1.0 - distance for document, distance in found if document.id}, k=k)


def answer(library: Library, question: str, chat: ChatModel, *, k: int = TOP_K, **options: Any) -> Answer:
    """Answer from the documents, citing them, or say that they do not hold the answer."""
    started = time.perf_counter()

    def prompt(found: list[Passage]) -> list[Any]:
        system, user = render(question, found)
        return [SystemMessage(system), HumanMessage(user)]

    found = retrieve(library, question, k=k)
    chain = RunnableLambda(prompt) | ChatSurefoot(chat=chat, **options)
    said: AIMessage = chain.invoke(found)
    usage = said.usage_metadata
    return assemble(
        str(said.text),
        found,
        framework=FRAMEWORK,
        seconds=time.perf_counter() - started,
        meta=said.response_metadata,
        tokens=(usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0),
    )
