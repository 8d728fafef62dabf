"""Several turns: a question that leans on an earlier one is searched together with it.

"How long does it last?" holds nothing to search for. Which questions lean is told by their words, not by a model: it costs no call, works
offline, and a poisoned passage cannot steer it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.language import STOP_WORDS, fold, language_of, words
from pipelines.prompting import without_marks
from surefoot.errors import ContextTooLong
from surefoot.history import History
from surefoot.types import Message

__all__ = ["earlier", "key", "leans", "remember", "standalone"]

FEW_WORDS = 2  # content words; a question with fewer names nothing to look for
_POINTERS = {
    "en": frozenset(
        [
            *("it", "its", "they", "them", "their", "theirs", "he", "him", "his", "she", "her", "hers", "that", "this", "those", "these"),
            *("there", "then", "else", "same", "former", "latter", "instead", "either", "neither", "both"),
        ]
    ),
    "tr": frozenset(
        fold(word)
        for word in (
            *("o", "onu", "ona", "onun", "onda", "ondan", "onlar", "onları", "onların", "bu", "bunu", "buna", "bunun", "bundan", "bunlar"),
            *("şu", "şunu", "orada", "oraya", "oradan", "burada", "peki", "öyleyse", "aynı", "aynısı", "diğeri", "diğerinin", "kendisi"),
        )
    ),
}
_OPENERS = re.compile(r"^\s*(?:and|but|or|so|also|what about|how about|why|when|where|who|peki|ya|ve|ama|neden|niye|kim)\b", re.IGNORECASE)
_LABEL = {"en": "earlier question", "tr": "önceki soru"}


def key(tenant: str, conversation: str) -> str:
    """A conversation's name in the history: one tenant's "chat 1" is not another's."""
    return f"{len(tenant)}:{tenant}:{conversation}" if tenant else conversation


def earlier(history: History, conversation: str) -> tuple[Message, ...]:
    """The turns so far that fit the history's window, without their citation marks; none where the newest alone is too long."""
    try:
        window = history.window(conversation)
    except ContextTooLong:
        return ()
    spoken = (one for one in window if one.role in {"user", "assistant"})
    return tuple(Message.assistant(without_marks(one.text)) if one.role == "assistant" else one for one in spoken)


def remember(history: History, conversation: str, question: str, answer: str) -> None:
    """Keep a turn: the question as it was asked and the answer as it was shown, never the passages."""
    history.add(conversation, Message.user(question), Message.assistant(answer))


def leans(question: str) -> bool:
    """Whether a question needs an earlier one to be understood: it points back, or names almost nothing itself."""
    found = words(question)
    language = "tr" if language_of(question) == "tr" else "en"
    content = [word for word in found if not any(word in stops for stops in STOP_WORDS.values())]
    if len(content) < FEW_WORDS:
        return True
    pointers = _POINTERS[language] if language_of(question) != "und" else _POINTERS["en"] | _POINTERS["tr"]
    return bool(pointers.intersection(found)) or (bool(_OPENERS.match(question)) and len(content) <= FEW_WORDS)


def standalone(question: str, turns: Sequence[Message]) -> str:
    """The question, followed by the earlier ones it leans on, back to the first that stands by itself."""
    if not turns or not leans(question):
        return question
    asked: list[str] = []
    for turn in reversed([one.text for one in turns if one.role == "user"]):
        asked.append(" ".join(turn.split()))
        if not leans(turn):
            break
    if not asked:
        return question
    label = _LABEL["tr" if language_of(f"{question} {asked[0]}") == "tr" else "en"]
    return f"{question.strip()} ({label}: {' '.join(reversed(asked))})"
