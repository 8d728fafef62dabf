"""The reference pipeline with LangChain: Chroma for the dense side, an LCEL chain for the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Unpack

from langchain_chroma import Chroma
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.vectorstores import VectorStore

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
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

FRAMEWORK = "langchain"


def index(library: Library, documents: Sequence[Document], *, tenant: str | None = None, **how: Unpack[How]) -> Indexed:
    """Make the tenant's index hold exactly `documents`, or exactly them of their `source`. `How` says what can be asked for."""
    return sync(library.of(tenant, create=True), documents, stored=flat, how=how)


def add(library: Library, documents: Sequence[Document], *, tenant: str | None = None, **how: Unpack[How]) -> Indexed:
    """Add documents to the tenant's index, or replace those of the same ids; all others stay."""
    return indexing.put(library.of(tenant, create=True), documents, stored=flat, how=how)


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


def vector_store(library: Library) -> VectorStore:
    """LangChain's own vector store over the same passages: what its retrievers, chains and indexers take."""
    if isinstance(library.backend, RecordedBackend):
        return library.backend.store.inner  # type: ignore[attr-defined, no-any-return]
    return Chroma(
        client=library.backend.client,  # type: ignore[attr-defined]
        collection_name=library.name,
        embedding_function=SurefootEmbeddings(embed=library.embed),
    )


def stored_in(make: Callable[[str, Embeddings], VectorStore]) -> Callable[[str, EmbedModel], LangChainStore]:
    """Any vector store of LangChain, for `Library(..., store=...)`: `make` takes the collection's name and the embeddings it must use."""

    def opened(name: str, embed: EmbedModel) -> LangChainStore:
        known = _KnownEmbeddings(embed)
        return LangChainStore(make(name, known), known)

    return opened


class LangChainStore:
    """A vector store that is given vectors, though LangChain's take texts alone and embed them themselves."""

    def __init__(self, inner: VectorStore, known: _KnownEmbeddings) -> None:
        self.inner = inner
        self._known = known

    def add(self, passages: Sequence[Passage], vectors: Sequence[Any], metadatas: Sequence[Mapping[str, Scalar]]) -> None:
        """Add passages under their ids."""
        texts = [one.text for one in passages]
        with self._known.holding(dict(zip(texts, vectors, strict=True))):
            self.inner.add_texts(texts, [dict(meta) for meta in metadatas], ids=[one.id for one in passages])

    def delete(self, ids: Sequence[str]) -> None:
        """Delete passages."""
        self.inner.delete(list(ids))

    def nearest(self, vector: Any, count: int) -> dict[str, float]:
        """The nearest passages. Stores that answer with distances, not cosines, are known by their order: the best has the least."""
        mark = f"vector {id(vector)}"
        with self._known.holding({mark: vector}):
            found = [(one.id, float(score)) for one, score in self.inner.similarity_search_with_score(mark, k=count) if one.id]
        is_distance = len(found) > 1 and found[0][1] < found[-1][1]
        return {str(key): 1.0 - score if is_distance else score for key, score in found}


class _KnownEmbeddings(SurefootEmbeddings):
    """Embeddings that give out vectors that are known already."""

    def __init__(self, embed: EmbedModel) -> None:
        super().__init__(embed=embed)
        self._held: dict[str, Any] = {}

    @contextmanager
    def holding(self, vectors: Mapping[str, Any]) -> Iterator[None]:
        """These texts are not embedded again meanwhile."""
        self._held.update(vectors)
        try:
            yield
        finally:
            for text in vectors:
                self._held.pop(text, None)

    def embed_documents(self, texts: list[str], chunk_size: int | None = None, **kwargs: Any) -> list[list[float]]:
        """The vectors held; of other texts, the model's."""
        held = [self._held.get(text) for text in texts]
        return super().embed_documents(texts, chunk_size, **kwargs) if any(one is None for one in held) else [_floats(one) for one in held]

    def embed_query(self, text: str, **kwargs: Any) -> list[float]:
        """The vector held, or the model's."""
        held = self._held.get(text)
        return super().embed_query(text, **kwargs) if held is None else _floats(held)


def _floats(vector: Any) -> list[float]:
    return [float(value) for value in vector]


def _messages(turn: Prompt) -> list[BaseMessage]:
    earlier = [AIMessage(one.text) if one.role == "assistant" else HumanMessage(one.text) for one in turn.earlier]
    return [SystemMessage(turn.system), *earlier, HumanMessage(turn.user)]


def _chain(chat: ChatModel, turn: Prompt) -> Runnable[Prompt, Any]:
    return RunnableLambda(_messages) | ChatSurefoot(chat=chat, **turn.options.options)


def _said(message: AIMessage) -> ModelOutput:
    usage = message.usage_metadata
    return ModelOutput(
        str(message.text),
        len(message.tool_calls) + len(message.invalid_tool_calls),
        (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0),
        message.response_metadata,
    )


def _say(chat: ChatModel, turn: Prompt) -> ModelOutput:
    return _said(_chain(chat, turn).invoke(turn))


def _stream(chat: ChatModel, turn: Prompt) -> Iterator[str | ModelOutput]:
    whole: AIMessageChunk | None = None
    for chunk in _chain(chat, turn).stream(turn):
        whole = chunk if whole is None else whole + chunk
        if text := str(chunk.text):
            yield text
    if whole is not None:
        yield _said(whole)


async def _asay(chat: ChatModel, turn: Prompt) -> ModelOutput:
    return _said(await _chain(chat, turn).ainvoke(turn))


async def _astream(chat: ChatModel, turn: Prompt) -> AsyncIterator[str | ModelOutput]:
    whole: AIMessageChunk | None = None
    async for chunk in _chain(chat, turn).astream(turn):
        whole = chunk if whole is None else whole + chunk
        if text := str(chunk.text):
            yield text
    if whole is not None:
        yield _said(whole)


_PARTS = Framework(FRAMEWORK, _say, _stream, _asay, _astream)
