"""The reference pipeline with LangChain: Chroma for the dense side, an LCEL chain for the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

from langchain_chroma import Chroma
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from surefoot import ChatModel
from surefoot_rag.answers.answering import AnswerOptions, Framework, ModelOutput, Prompt, Search, find, options_for, run
from surefoot_rag.answers.streaming import AnswerStream
from surefoot_rag.records import Answer, Document, Passage
from surefoot_rag.retrieval.filters import flat
from surefoot_rag.retrieval.fusion import POOL
from surefoot_rag.retrieval.indexing import How, Indexed, sync
from surefoot_rag.retrieval.library import Library

FRAMEWORK = "langchain"


def index(library: Library, documents: Sequence[Document], *, tenant: str | None = None, **how: Unpack[How]) -> Indexed:
    """Make the tenant's index hold exactly `documents`, or exactly them of their `source`. `How` says what can be asked for."""
    return sync(library.of(tenant, create=True), documents, stored=flat, how=how)


def retrieve(library: Library, question: str, **search: Unpack[Search]) -> list[Passage]:
    """The best passages, dense and lexical mixed; each carries its cosine as `score`. `Search` says what can be asked for."""
    return find(_PARTS, library, question, options_for(search))


def answer(library: Library, question: str, chat: ChatModel, **asked: Unpack[AnswerOptions]) -> Answer:
    """Answer from the documents, citing them, or say that they do not hold the answer. `AnswerOptions` says what can be asked for."""
    return run(_PARTS, library, question, chat, asked)


def stream(library: Library, question: str, chat: ChatModel, **asked: Unpack[AnswerOptions]) -> AnswerStream:
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


_PARTS = Framework(FRAMEWORK, _dense, _say, _stream)
