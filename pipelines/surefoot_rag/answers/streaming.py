"""An answer as it is written: pieces to show at once, and the whole Answer, judged, at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from surefoot import ChatModel, scope
from surefoot.errors import SurefootError
from surefoot_rag.answers.answering import Framework, ModelOutput, Prompt, finish, links, prepare
from surefoot_rag.answers.options import options_for
from surefoot_rag.answers.refusals import without_no_answer
from surefoot_rag.answers.thinking import Thinking
from surefoot_rag.records import Answer, Passage
from surefoot_rag.retrieval.library import Library

__all__ = ["AnswerStream", "AsyncAnswerStream"]


class AnswerStream:
    """Iterate for the text, piece by piece; `passages` are known at once, `answer` when the last piece has come.

    Pieces are whole sentences and lines, since a link is only seen as one when it is whole; joined they are the answer's text but for marks
    that name no passage and the white space around it. With `refuse_unsupported` the answer comes in one piece, when it is known to be
    supported. Closing early drops the connection; then there is no `answer`.
    """

    def __init__(self, parts: Framework, library: Library, question: str, chat: ChatModel, asked: Mapping[str, Any]) -> None:
        self._turn = prepare(library, question, chat, options_for(asked))
        self._said = parts.stream(chat, self._turn)
        self._written = _Written(parts, self._turn)
        self._pieces = self._read()

    @property
    def passages(self) -> tuple[Passage, ...]:
        """What the model was shown."""
        return self._turn.found

    @property
    def answer(self) -> Answer:
        """The whole, as `answer()` gives it. Raises SurefootError while pieces are still to come."""
        return self._written.whole()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading."""
        self._pieces.close()  # type: ignore[attr-defined]
        if (close := getattr(self._said, "close", None)) is not None:
            close()

    def _read(self) -> Iterator[str]:
        while (piece := self._next()) is not None:
            if text := self._written.feed(piece):
                yield text
        if rest := self._written.end():
            yield rest

    def _next(self) -> str | ModelOutput | None:
        with scope(tenant=self._turn.tenant or None):  # for this piece, and for nothing the reader does between two
            return next(self._said, None)


class AsyncAnswerStream:
    """AnswerStream for `async for`: the search runs on a thread at the first step, then the pieces come on the caller's loop."""

    def __init__(self, parts: Framework, library: Library, question: str, chat: ChatModel, asked: Mapping[str, Any]) -> None:
        self._parts = parts
        self._asked = (library, question, chat, options_for(asked))
        self._turn: Prompt | None = None
        self._said: AsyncIterator[str | ModelOutput] | None = None
        self._written: _Written | None = None
        self._pieces = self._read()

    async def open(self) -> Self:
        """Search now, so that `passages` are known before the first piece."""
        if self._turn is None:
            self._turn = await asyncio.to_thread(prepare, *self._asked)
            self._said = self._parts.astream(self._asked[2], self._turn)
            self._written = _Written(self._parts, self._turn)
        return self

    @property
    def passages(self) -> tuple[Passage, ...]:
        """What the model was shown. Raises SurefootError before `open` or the first piece."""
        if self._turn is None:
            raise SurefootError("nothing was searched yet: await open() or take the first piece")
        return self._turn.found

    @property
    def answer(self) -> Answer:
        """The whole, as `aanswer()` gives it. Raises SurefootError while pieces are still to come."""
        if self._written is None:
            raise SurefootError("the answer is not whole yet: iterate to the end first")
        return self._written.whole()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop reading."""
        await self._pieces.aclose()  # type: ignore[attr-defined]
        if (close := getattr(self._said, "aclose", None)) is not None:
            await close()

    async def _read(self) -> AsyncIterator[str]:
        await self.open()
        assert self._written is not None
        while (piece := await self._next()) is not None:
            if text := self._written.feed(piece):
                yield text
        if rest := await asyncio.to_thread(self._written.end):
            yield rest

    async def _next(self) -> str | ModelOutput | None:
        assert self._turn is not None
        assert self._said is not None
        with scope(tenant=self._turn.tenant or None):
            return await anext(self._said, None)


class _Written:
    """What has been written so far: `feed` gives what can be shown of a piece, `end` the rest."""

    def __init__(self, parts: Framework, turn: Prompt) -> None:
        self._parts = parts
        self._turn = turn
        self._thinking = Thinking()
        self._links = links(turn)
        self._restarted = 0
        self._shown = ""
        self._said = ModelOutput("", 0, (0, 0), {})
        self._answer: Answer | None = None

    def feed(self, piece: str | ModelOutput) -> str:
        """What can be shown now."""
        if isinstance(piece, ModelOutput):
            self._said = piece
            return ""
        text, restarts = self._thinking.feed(piece), self._thinking.restarts
        if restarts > self._restarted:  # all so far was thinking that the prompt had opened
            self._restarted, self._shown = restarts, ""
            self._links.end()
        return self._show(self._links.feed(text))

    def end(self) -> str:
        """What was held back; then the answer is whole."""
        rest = self._show(self._links.feed(self._thinking.end()) + self._links.end())
        self._answer = finish(self._parts, self._turn, self._said, self._shown, self._links.removed)
        is_silent = not without_no_answer(self._shown).strip()
        return self._answer.text if is_silent or self._turn.options.refuse_unsupported else rest

    def _show(self, text: str) -> str:
        self._shown += text
        return "" if self._turn.options.refuse_unsupported else without_no_answer(text)

    def whole(self) -> Answer:
        """The answer."""
        if self._answer is None:
            raise SurefootError("the answer is not whole yet: iterate to the end first")
        return self._answer
