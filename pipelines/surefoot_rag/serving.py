"""An index as `surefoot serve` asks it: one tenant's part a question, never another's."""

from __future__ import annotations

import asyncio
import copy
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from threading import Lock
from typing import Any

from surefoot import ChatModel, EmbedModel
from surefoot_rag.frameworks import framework
from surefoot_rag.records import Answer, Passage
from surefoot_rag.retrieval.library import Library

OPEN = 256  # tenants whose part is kept open


class ServedIndex:
    """The index at `index`, a folder or the address of a Chroma server, for many tenants. `embed`: the model that it was made with."""

    def __init__(self, index: str, *, name: str, embed: EmbedModel) -> None:
        self._index = index
        self._framework = name
        self._parts = framework(name)
        self._embed = embed
        self._open: OrderedDict[str, Library] = OrderedDict()
        self._lock = Lock()

    async def answer(self, question: str, tenant: str, chat: ChatModel, embed: EmbedModel, asked: Mapping[str, Any]) -> Answer:
        """The cited answer from the passages of `tenant`, the models asked through `chat` and `embed`.

        Raises Misconfigured where nothing was indexed for the tenant, BadRequest for options that cannot be.
        """
        library = await self._library(tenant, embed)
        found: Answer = await self._parts.aanswer(library, question, chat, **asked)
        return found

    async def stream(
        self, question: str, tenant: str, chat: ChatModel, embed: EmbedModel, asked: Mapping[str, Any]
    ) -> AsyncGenerator[tuple[Passage, ...] | str | Answer, None]:
        """The same in pieces: first the passages, then sentences, last the whole."""
        library = await self._library(tenant, embed)
        stream = await self._parts.astream(library, question, chat, **asked).open()
        async with stream:
            yield stream.passages
            async for piece in stream:
                yield piece
            yield stream.answer

    async def _library(self, tenant: str, embed: EmbedModel) -> Library:
        """The tenant's part, whose questions are embedded by `embed`."""
        found = copy.copy(await asyncio.to_thread(self._of, tenant))
        found.embed = embed
        return found

    def _of(self, tenant: str) -> Library:
        with self._lock:
            found = self._open.get(tenant)
            if found is None:
                found = self._open[tenant] = Library(self._index, framework=self._framework, embed=self._embed, tenant=tenant)
                if len(self._open) > OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(tenant)
            return found
