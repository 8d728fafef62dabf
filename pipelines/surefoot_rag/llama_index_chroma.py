"""The reference pipeline with LlamaIndex: ChromaVectorStore under a VectorStoreIndex, the chat model for the answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

from llama_index.core import VectorStoreIndex
from llama_index.core.llms import ChatMessage, ChatResponse, MessageRole
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.utils import node_to_metadata_dict
from llama_index.vector_stores.chroma import ChromaVectorStore

from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel
from surefoot_rag.answers.answering import AnswerOptions, Framework, ModelOutput, Prompt, Search, find, options_for, run
from surefoot_rag.answers.streaming import AnswerStream
from surefoot_rag.records import Answer, Document, Passage
from surefoot_rag.retrieval.filters import flat
from surefoot_rag.retrieval.fusion import POOL
from surefoot_rag.retrieval.indexing import How, Indexed, sync
from surefoot_rag.retrieval.library import Library

FRAMEWORK = "llamaindex"


def index(library: Library, documents: Sequence[Document], *, tenant: str | None = None, **how: Unpack[How]) -> Indexed:
    """Make the tenant's index hold exactly `documents`, or exactly them of their `source`. `How` says what can be asked for."""
    return sync(library.of(tenant, create=True), documents, stored=_stored, how=how)


def retrieve(library: Library, question: str, **search: Unpack[Search]) -> list[Passage]:
    """The best passages, dense and lexical mixed; each carries its cosine as `score`. `Search` says what can be asked for."""
    return find(_PARTS, library, question, options_for(search))


def answer(library: Library, question: str, chat: ChatModel, **asked: Unpack[AnswerOptions]) -> Answer:
    """Answer from the documents, citing them, or say that they do not hold the answer. `AnswerOptions` says what can be asked for."""
    return run(_PARTS, library, question, chat, asked)


def stream(library: Library, question: str, chat: ChatModel, **asked: Unpack[AnswerOptions]) -> AnswerStream:
    """`answer`, sentence by sentence as it is written."""
    return AnswerStream(_PARTS, library, question, chat, asked)


def _store(library: Library) -> VectorStoreIndex:
    if library.dense is None:
        library.dense = VectorStoreIndex.from_vector_store(
            ChromaVectorStore(chroma_collection=library.collection), embed_model=SurefootEmbedding(embed=library.embed)
        )
    return library.dense  # type: ignore[no-any-return]


def _node(passage: Passage) -> TextNode:
    # Metadata is kept out of what is embedded: both frameworks then embed the same text, and ids mean the same vectors.
    meta = flat(passage)
    return TextNode(id_=passage.id, text=passage.text, metadata=meta, excluded_embed_metadata_keys=list(meta))


def _stored(passage: Passage) -> Mapping[str, Any]:
    return {key: "" if value is None else value for key, value in node_to_metadata_dict(_node(passage), remove_text=True).items()}


def _dense(library: Library, question: str, where: dict[str, object] | None) -> Mapping[str, float]:
    kwargs = {"vector_store_kwargs": {"where": where}} if where else {}
    found = _store(library).as_retriever(similarity_top_k=POOL, **kwargs).retrieve(question)
    # The store reports exp(-distance), distance being 1 - cosine.
    return {one.node.node_id: 1.0 + math.log(one.score) for one in found if one.score}


def _messages(turn: Prompt) -> list[ChatMessage]:
    earlier = [
        ChatMessage(role=MessageRole.ASSISTANT if one.role == "assistant" else MessageRole.USER, content=one.text) for one in turn.earlier
    ]
    return [
        ChatMessage(role=MessageRole.SYSTEM, content=turn.system),
        *earlier,
        ChatMessage(role=MessageRole.USER, content=turn.user),
    ]


def _said(response: ChatResponse) -> ModelOutput:
    meta = {**response.additional_kwargs, **(response.raw or {})}
    return ModelOutput(
        response.message.content or "",
        len(response.message.additional_kwargs.get("tool_calls") or ()),
        (int(meta.get("prompt_tokens", 0)), int(meta.get("completion_tokens", 0))),
        meta,
    )


def _say(chat: ChatModel, turn: Prompt) -> ModelOutput:
    return _said(Surefoot(chat=chat, **turn.options.options).chat(_messages(turn)))


def _stream(chat: ChatModel, turn: Prompt) -> Iterator[str | ModelOutput]:
    response: ChatResponse | None = None
    for response in Surefoot(chat=chat, **turn.options.options).stream_chat(_messages(turn)):
        if response.delta:
            yield response.delta
    if response is not None:
        yield _said(response)


_PARTS = Framework(FRAMEWORK, _dense, _say, _stream)
