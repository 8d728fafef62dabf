"""The reference pipeline with LlamaIndex: ChromaVectorStore under a VectorStoreIndex, the chat model for the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Unpack

from llama_index.core.llms import ChatMessage, ChatResponse, MessageRole
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQuery
from llama_index.core.vector_stores.utils import node_to_metadata_dict
from llama_index.vector_stores.chroma import ChromaVectorStore

from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, EmbedModel
from surefoot_rag.answers.answering import Framework, ModelOutput, Prompt, afind, arun, find, run
from surefoot_rag.answers.options import AnswerOptions, Search, options_for
from surefoot_rag.answers.streaming import AnswerStream, AsyncAnswerStream
from surefoot_rag.records import Answer, Document, Passage, Scalar
from surefoot_rag.retrieval import indexing
from surefoot_rag.retrieval.filters import flat
from surefoot_rag.retrieval.indexing import How, Indexed, sync
from surefoot_rag.retrieval.library import Library
from surefoot_rag.retrieval.recorded import RecordedBackend

FRAMEWORK = "llamaindex"


def index(library: Library, documents: Sequence[Document], *, tenant: str | None = None, **how: Unpack[How]) -> Indexed:
    """Make the tenant's index hold exactly `documents`, or exactly them of their `source`. `How` says what can be asked for."""
    return sync(library.of(tenant, create=True), documents, stored=_stored, how=how)


def add(library: Library, documents: Sequence[Document], *, tenant: str | None = None, **how: Unpack[How]) -> Indexed:
    """Add documents to the tenant's index, or replace those of the same ids; all others stay."""
    return indexing.put(library.of(tenant, create=True), documents, stored=_stored, how=how)


def delete(library: Library, document_ids: Sequence[str], *, tenant: str | None = None) -> int:
    """Delete documents by their ids; the number of passages that went. Raises BadRequest for one that is not there."""
    return indexing.delete(library.of(tenant), document_ids)


def retrieve(library: Library, question: str, **search: Unpack[Search]) -> list[Passage]:
    """The best passages, dense and lexical mixed; each carries its cosine as `score`. `Search` says what can be asked for."""
    return find(library, question, options_for(search))


def answer(library: Library, question: str, chat: ChatModel, **asked: Unpack[AnswerOptions]) -> Answer:
    """Answer from the documents, citing them, or say that they do not hold the answer. `AnswerOptions` says what can be asked for."""
    return run(_PARTS, library, question, chat, asked)


def stream(library: Library, question: str, chat: ChatModel, **asked: Unpack[AnswerOptions]) -> AnswerStream:
    """`answer`, sentence by sentence as it is written."""
    return AnswerStream(_PARTS, library, question, chat, asked)


async def aretrieve(library: Library, question: str, **search: Unpack[Search]) -> list[Passage]:
    """`retrieve`, awaited; the event loop is not held up."""
    return await afind(library, question, options_for(search))


async def aanswer(library: Library, question: str, chat: ChatModel, **asked: Unpack[AnswerOptions]) -> Answer:
    """`answer`, awaited."""
    return await arun(_PARTS, library, question, chat, asked)


def astream(library: Library, question: str, chat: ChatModel, **asked: Unpack[AnswerOptions]) -> AsyncAnswerStream:
    """`stream` for `async for` and `async with`."""
    return AsyncAnswerStream(_PARTS, library, question, chat, asked)


def vector_store(library: Library) -> BasePydanticVectorStore:
    """LlamaIndex's own vector store over the same passages: what its indexes take."""
    if isinstance(library.backend, RecordedBackend):
        return library.backend.store.inner  # type: ignore[attr-defined, no-any-return]
    return ChromaVectorStore(chroma_collection=library.backend.collection)  # type: ignore[attr-defined]


def stored_in(make: Callable[[str], BasePydanticVectorStore]) -> Callable[[str, EmbedModel], LlamaIndexStore]:
    """Any vector store of LlamaIndex, for `Library(..., store=...)`: `make` takes the collection's name."""
    return lambda name, _: LlamaIndexStore(make(name))


class LlamaIndexStore:
    """A vector store given nodes that are embedded already."""

    def __init__(self, inner: BasePydanticVectorStore) -> None:
        self.inner = inner

    def add(self, passages: Sequence[Passage], vectors: Sequence[Any], metadatas: Sequence[Mapping[str, Scalar]]) -> None:
        """Add passages under their ids."""
        del metadatas
        nodes = [_node(one) for one in passages]
        for node, vector in zip(nodes, vectors, strict=True):
            node.embedding = [float(value) for value in vector]
        self.inner.add(nodes)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete passages."""
        self.inner.delete_nodes(list(ids))

    def nearest(self, vector: Any, count: int) -> dict[str, float]:
        """The nearest passages with what the store calls their similarity."""
        found = self.inner.query(VectorStoreQuery(query_embedding=[float(value) for value in vector], similarity_top_k=count))
        return dict(zip(found.ids or (), found.similarities or (), strict=True))


def _node(passage: Passage) -> TextNode:
    # Metadata is kept out of what is embedded: both frameworks then embed the same text, and ids mean the same vectors.
    meta = flat(passage)
    return TextNode(id_=passage.id, text=passage.text, metadata=meta, excluded_embed_metadata_keys=list(meta))


def _stored(passage: Passage) -> Mapping[str, Any]:
    return {key: "" if value is None else value for key, value in node_to_metadata_dict(_node(passage), remove_text=True).items()}


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


async def _asay(chat: ChatModel, turn: Prompt) -> ModelOutput:
    return _said(await Surefoot(chat=chat, **turn.options.options).achat(_messages(turn)))


async def _astream(chat: ChatModel, turn: Prompt) -> AsyncIterator[str | ModelOutput]:
    response: ChatResponse | None = None
    async for response in await Surefoot(chat=chat, **turn.options.options).astream_chat(_messages(turn)):
        if response.delta:
            yield response.delta
    if response is not None:
        yield _said(response)


_PARTS = Framework(FRAMEWORK, _say, _stream, _asay, _astream)
