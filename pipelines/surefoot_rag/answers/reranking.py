"""Other orders and other questions: rerankers and a rewriter, for `rerank=` and `rewrite=`.

answer(library, question, chat, rerank=CrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2"))
answer(library, question, chat, rerank=ChatReranker(chat), rewrite=ChatRewriter(chat), history=history)
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from surefoot import ChatModel, Message
from surefoot.errors import Misconfigured, SurefootError
from surefoot_rag.answers.conversation import standalone
from surefoot_rag.answers.prompting import filled, render
from surefoot_rag.answers.thinking import without_thinking
from surefoot_rag.records import Passage

__all__ = ["ChatReranker", "ChatRewriter", "CrossEncoder"]

_log = logging.getLogger(__name__)

LONGEST = 400  # characters of a question that is searched for; a model that writes more has begun to answer
TURNS = 6  # that a question is rewritten with


class CrossEncoder:
    """A model that reads question and passage together (sentence-transformers), loaded at the first use; it costs nothing a call.

    `model` is a name of the local cache or the hub, or a folder. Raises Misconfigured, naming the command, where it is not installed.
    """

    def __init__(self, model: str) -> None:
        if find_spec("sentence_transformers") is None:
            raise Misconfigured('a cross-encoder needs sentence-transformers: run  pip install "surefoot[st]"')
        self._name = model
        self._model: Any = None
        self._lock = threading.Lock()

    def __call__(self, question: str, passages: Sequence[Passage]) -> list[float]:
        """A score a passage."""
        with self._lock:
            if self._model is None:
                from sentence_transformers import CrossEncoder as Encoder

                try:
                    self._model = Encoder(self._name, device="cpu")
                except Exception as error:  # what is under it raises its own
                    raise Misconfigured(f"the cross-encoder {self._name} cannot be loaded: {type(error).__name__}: {error}") from error
            return [float(score) for score in self._model.predict([(question, one.text) for one in passages], show_progress_bar=False)]


class ChatReranker:
    """A chat model puts the passages in order, in one call. One that fails, or names none, leaves them as they were."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat

    def __call__(self, question: str, passages: Sequence[Passage]) -> list[float]:
        """Higher is better; passages that the model does not name come last, in their order."""
        system, user = render(question, passages, name="rerank")
        try:
            said = self._chat.invoke([Message.system(system), Message.user(user)], temperature=0).text
        except SurefootError as error:
            _log.warning("the passages stay in their order: %s: %s", type(error).__name__, error)
            return [0.0] * len(passages)
        named = list(dict.fromkeys(int(number) for number in re.findall(r"\d+", without_thinking(said))))
        place = {number - 1: at for at, number in enumerate(named)}
        return [float(-place.get(at, len(named))) for at in range(len(passages))]


class ChatRewriter:
    """A chat model writes what is searched for: the question made to stand by itself. Where it fails, the rule without a model does."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat

    def __call__(self, question: str, turns: Sequence[Message]) -> str:
        """The question to search for; without earlier turns the question itself, and nothing is asked."""
        if not turns:
            return question
        said = "\n".join(f"{one.role}: {' '.join(one.text.split())}" for one in turns[-TURNS:])
        system, user = filled("rewrite", turns=said, question=question)
        try:
            text = without_thinking(self._chat.invoke([Message.system(system), Message.user(user)], temperature=0).text)
        except SurefootError as error:
            _log.warning("the question is not rewritten: %s: %s", type(error).__name__, error)
            return standalone(question, turns)
        text = " ".join(text.split()).strip('"')
        return text if 0 < len(text) <= LONGEST else standalone(question, turns)
