"""An answer as it is written: pieces to show at once, and the whole Answer, judged, at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from surefoot import ChatModel, scope
from surefoot.errors import SurefootError
from surefoot_rag.answers.answering import Framework, ModelOutput, finish, links, options_for, prepare
from surefoot_rag.answers.refusals import without_no_answer
from surefoot_rag.answers.thinking import Thinking
from surefoot_rag.records import Answer, Passage
from surefoot_rag.retrieval.library import Library

__all__ = ["AnswerStream"]


class AnswerStream:
    """Iterate for the text, piece by piece; `passages` are known at once, `answer` when the last piece has come.

    Pieces are whole sentences and lines, since a link is only seen as one when it is whole; joined they are the answer's text but for marks
    that name no passage and the white space around it. Closing early drops the connection; then there is no `answer`.
    """

    def __init__(self, parts: Framework, library: Library, question: str, chat: ChatModel, asked: Mapping[str, Any]) -> None:
        self._parts = parts
        self._turn = prepare(library, question, chat, options_for(asked))
        self._said = parts.stream(chat, self._turn)
        self._thinking = Thinking()
        self._links = links(self._turn)
        self._pieces = self._read()
        self._answer: Answer | None = None

    @property
    def passages(self) -> tuple[Passage, ...]:
        """What the model was shown."""
        return self._turn.found

    @property
    def answer(self) -> Answer:
        """The whole, as `answer()` gives it. Raises SurefootError while pieces are still to come."""
        if self._answer is None:
            raise SurefootError("the answer is not whole yet: iterate to the end first")
        return self._answer

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
        said, shown, restarted = ModelOutput("", 0, (0, 0), {}), "", 0
        while (piece := self._next()) is not None:
            if isinstance(piece, ModelOutput):
                said = piece
                continue
            text, restarts = self._thinking.feed(piece), self._thinking.restarts
            if restarts > restarted:  # all so far was thinking that the prompt had opened
                restarted, shown = restarts, ""
                self._links.end()
            text = self._links.feed(text)
            shown += text
            if text := without_no_answer(text):
                yield text
        rest = self._links.feed(self._thinking.end()) + self._links.end()
        shown += rest
        if rest := without_no_answer(rest):
            yield rest
        self._answer = finish(self._parts, self._turn, said, shown, self._links.removed)
        if not without_no_answer(shown).strip():
            yield self._answer.text

    def _next(self) -> str | ModelOutput | None:
        with scope(tenant=self._turn.tenant or None):  # for this piece, and for nothing the reader does between two
            return next(self._said, None)
