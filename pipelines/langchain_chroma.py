"""The reference pipeline with LangChain: Chroma for the dense side, an LCEL chain for the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

from langchain_chroma import Chroma
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from pipelines.answering import Asked, Framework, Said, Search, Turn, find, run, wish_of
from pipelines.filters import flat
from pipelines.indexing import How, Indexed, bring
from pipelines.library import Library
from pipelines.records import Answer, Document, Passage
from pipelines.retrieval import POOL
from pipelines.streaming import AnswerStream
from surefoot import ChatModel

FRAMEWORK = "langchain"


def index(library: Library, documents: Sequence[Document], *, tenant: str | None = None, **how: Unpack[How]) -> Indexed:
    """Make the tenant's index hold exactly `documents`, or exactly them of their `source`. `How` says what can be asked for."""
    return bring(library.of(tenant, create=True), documents, stored=flat, how=how)


def retrieve(library: Library, question: str, **search: Unpack[Search]) -> list[Passage]:
    """The best passages, dense and lexical mixed; each carries its cosine as `score`. `Search` says what can be asked for."""
    return find(_PARTS, library, question, wish_of(search))


def answer(library: Library, question: str, chat: ChatModel, **asked: Unpack[Asked]) -> Answer:
    """Answer from the documents, citing them, or say that they do not hold the answer. `Asked` says what can be asked for."""
    return run(_PARTS, library, question, chat, asked)


def stream(library: Library, question: str, chat: ChatModel, **asked: Unpack[Asked]) -> AnswerStream:
    """`answer`, sentence by sentence as it is written."""
    return AnswerStream(_PARTS, library, question, chat, asked)


def _store(library: Library) -> Chroma:
    if library.dense is None:
        library.dense = Chroma(
            client=library.client, collection_name=library.name, embedding_function=SurefootEmbeddings(embed=library.embed)
        )
    return library.dense  # type: ignore[no-any-return]


def _dense(library: Library, question: str, where: dict[str, object] | None) -> Mapping[str, float]:
    found = _store(library).similarity_search_with_score(question, k=POOL, filter=where)  # type: ignore[arg-type]
    return {document.id: 1.0 - distance for document, distance in found if document.id}


def _messages(turn: Turn) -> list[BaseMessage]:
    earlier = [AIMessage(one.text) if one.role == "assistant" else HumanMessage(one.text) for one in turn.earlier]
    return [SystemMessage(turn.system), *earlier, HumanMessage(turn.user)]


def _chain(chat: ChatModel, turn: Turn) -> Runnable[Turn, Any]:
    return RunnableLambda(_messages) | ChatSurefoot(chat=chat, **turn.wish.options)


def _said(message: AIMessage) -> Said:
    usage = message.usage_metadata
    return Said(
        str(message.text),
        len(message.tool_calls) + len(message.invalid_tool_calls),
        (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0),
        message.response_metadata,
    )


def _say(chat: ChatModel, turn: Turn) -> Said:
    return _said(_chain(chat, turn).invoke(turn))


def _pour(chat: ChatModel, turn: Turn) -> Iterator[str | Said]:
    whole: AIMessageChunk | None = None
    for chunk in _chain(chat, turn).stream(turn):
        whole = chunk if whole is None else whole + chunk
        if text := str(chunk.text):
            yield text
    if whole is not None:
        yield _said(whole)


_PARTS = Framework(FRAMEWORK, _dense, _say, _pour)
