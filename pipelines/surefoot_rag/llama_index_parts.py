"""An index as parts of LlamaIndex: a retriever, and a query engine that gives cited answers; an agent's tool is made of either.

engine = LibraryQueryEngine(library, chat)
agent = FunctionAgent(tools=[QueryEngineTool.from_defaults(engine, name="ask_documents", description="...")], llm=llm)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import RESPONSE_TYPE, Response
from llama_index.core.callbacks import CallbackManager
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from surefoot import ChatModel
from surefoot_rag import llama_index_chroma
from surefoot_rag.answers.answering import afind, find
from surefoot_rag.answers.options import options_for
from surefoot_rag.records import Answer, Passage
from surefoot_rag.retrieval.filters import flat
from surefoot_rag.retrieval.library import Library

__all__ = ["LibraryNodeRetriever", "LibraryQueryEngine"]


class LibraryNodeRetriever(BaseRetriever):
    """The best passages of a Library, dense and lexical mixed, as LlamaIndex's nodes; their score is the cosine.

    `search` is what `retrieve` takes: `k=5, where={"language": "tr"}, rerank=CrossEncoder(...)`.
    """

    def __init__(self, library: Library, *, callback_manager: CallbackManager | None = None, **search: Any) -> None:
        super().__init__(callback_manager=callback_manager)
        self._library = library
        self._search = options_for(search)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _as_nodes(find(self._library, query_bundle.query_str, self._search))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _as_nodes(await afind(self._library, query_bundle.query_str, self._search))


class LibraryQueryEngine(BaseQueryEngine):
    """Cited answers: `response.source_nodes` are the passages cited, `metadata` has citations, verdict and what it took.

    `asked` is what `answer` takes: `k=5, refuse_unsupported=True, temperature=0`.
    """

    def __init__(self, library: Library, chat: ChatModel, *, callback_manager: CallbackManager | None = None, **asked: Any) -> None:
        super().__init__(callback_manager=callback_manager)
        options_for(asked)
        self._library = library
        self._chat = chat
        self._asked = asked

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return _as_response(llama_index_chroma.answer(self._library, query_bundle.query_str, self._chat, **self._asked))

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return _as_response(await llama_index_chroma.aanswer(self._library, query_bundle.query_str, self._chat, **self._asked))


def _as_nodes(found: Sequence[Passage]) -> list[NodeWithScore]:
    return [
        NodeWithScore(
            node=TextNode(id_=one.id, text=one.text, metadata=flat(one), start_char_idx=one.start, end_char_idx=one.end), score=one.score
        )
        for one in found
    ]


def _as_response(answer: Answer) -> Response:
    cited = {one.passage_id for one in answer.citations}
    about = msgspec.to_builtins(answer)
    meta = {name: about[name] for name in ("citations", "refused", "verdict", "model", "cost_usd", "attempts", "searched", "unsupported")}
    return Response(response=answer.text, source_nodes=_as_nodes([one for one in answer.passages if one.id in cited]), metadata=meta)
