"""The reference pipeline with LlamaIndex: ChromaVectorStore under a VectorStoreIndex, the chat model for the answer."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.schema import TextNode
from llama_index.vector_stores.chroma import ChromaVectorStore

from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from pipelines.answering import TOP_K, assemble, ranked
from pipelines.corpus import passages as cut
from pipelines.library import Library, metadata_of, steps
from pipelines.prompting import render
from pipelines.records import Answer, Document, Passage
from pipelines.retrieval import POOL
from surefoot import ChatModel

FRAMEWORK = "llamaindex"


def _store(library: Library) -> VectorStoreIndex:
    if library.dense is None:
        library.dense = VectorStoreIndex.from_vector_store(
            ChromaVectorStore(chroma_collection=library.collection), embed_model=SurefootEmbedding(embed=library.embed)
        )
    return library.dense  # type: ignore[no-any-return]


def _node(passage: Passage) -> TextNode:
    # Metadata is kept out of what is embedded: both frameworks then embed the same text, and ids mean the same vectors.
    meta = metadata_of(passage)
    return TextNode(id_=passage.id, text=passage.text, metadata=meta, excluded_embed_metadata_keys=list(meta))


def index(library: Library, documents: Sequence[Document], *, progress: bool = True) -> tuple[int, int]:
    """Make the index hold exactly `documents`; returns how many passages were added and how many removed."""
    wanted = [passage for document in documents for passage in cut(document)]
    new = library.missing(wanted)
    store = _store(library)
    for part in steps(new, progress=progress):
        store.insert_nodes([_node(one) for one in part])
    return len(new), library.forget_others(wanted)


def retrieve(library: Library, question: str, *, k: int = TOP_K) -> list[Passage]:
    """The best `k` passages, dense and lexical scores fused; each carries its cosine as `score`."""
    found = _store(library).as_retriever(similarity_top_k=POOL).retrieve(question)
    # The store reports exp(-distance), distance being 1 - cosine.
    cosines = {one.node.node_id: 1.0 + math.log(one.score) for one in found if one.score}
    return ranked(library, question, cosines, k=k)


def answer(library: Library, question: str, chat: ChatModel, *, k: int = TOP_K, **options: Any) -> Answer:
    """Answer from the documents, citing them, or say that they do not hold the answer."""
    started = time.perf_counter()
    found = retrieve(library, question, k=k)
    system, user = render(question, found)
    said = Surefoot(chat=chat, **options).chat(
        [ChatMessage(role=MessageRole.SYSTEM, content=system), ChatMessage(role=MessageRole.USER, content=user)]
    )
    meta = {**said.additional_kwargs, **(said.raw or {})}
    return assemble(
        said.message.content or "",
        found,
        framework=FRAMEWORK,
        seconds=time.perf_counter() - started,
        meta=meta,
        tokens=(int(meta.get("prompt_tokens", 0)), int(meta.get("completion_tokens", 0))),
    )
