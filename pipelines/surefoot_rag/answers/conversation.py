"""Several turns: a question that leans on an earlier one is searched together with it.

"How long does it last?" holds nothing to search for. Which questions lean is told by their words, not by a model: it costs no call, works
offline, and a poisoned passage cannot steer it.
"""

# ruff: noqa: SIM905 - lists of words read best as words

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from surefoot.errors import ContextTooLong
from surefoot.history import History
from surefoot.types import Message
from surefoot_rag.answers.prompting import without_marks
from surefoot_rag.documents.language import STOP_WORDS, fold, language_of

__all__ = ["earlier", "key", "leans", "remember", "standalone"]

FEW_WORDS = 2  # content words; a question with a pronoun and no more names nothing to look for
_PERSONAL = {  # a noun before it in the question may be what it means
    "en": frozenset("it its they them their theirs he him his she her hers".split()),
    "tr": frozenset(fold("o onu ona onun onda ondan onlar onları onların onlara orada oraya oradan kendisi").split()),
}
_POINTING = {  # with a noun beside it, it points at that: "this declaration"
    "en": frozenset("this that these those same former latter either neither both else then instead".split()),
    "tr": frozenset(
        fold("bu bunu buna bunun bundan bunlar bunların şu şunu burada aynı aynısı diğeri diğerinin öyleyse peki").split(),
    ),
}
_LIGHT = frozenset(fold("zaman kimde kimden kimle edilir edilmeli yapılır olur oldu").split())  # name nothing either
_STOPS = _LIGHT | frozenset(fold(word) for words_of in STOP_WORDS.values() for word in words_of)
_PRONOUNS = frozenset(word for table in (_PERSONAL, _POINTING) for kind in table.values() for word in kind)
_OPENERS = re.compile(r"^\s*(?:and|but|or|so|also|what about|how about|peki|ya|ve|ama)\b", re.IGNORECASE)
_DEFINITION = re.compile(r"^\s*(?:what|who)(?:'s| is| are| was| were)\b|\b(?:nedir|nelerdir|kimdir|ne demek(?:tir)?)\W*$", re.IGNORECASE)
_EMPTY_IT = re.compile(r"\bit (?:takes?|took|costs?|means?|possible|necessary)\b", re.IGNORECASE)  # as in "how long does it take to ..."
_EMPTY_IT_WORDS = 3  # content words after it, of which the question then is made
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
    """Whether a question needs an earlier one to be understood: it points back to a noun it does not hold, or names almost nothing."""
    language = language_of(question)
    found = [_Word(word, fold(word)) for word in re.findall(r"[^\W_]+", question.replace("\u2019", "'"))]
    content = [at for at, word in enumerate(found) if word.is_content]
    is_named = any(found[at].is_name for at in content if at)
    if not content or (_OPENERS.match(question) and len(content) <= FEW_WORDS):
        return True
    if len(content) == 1:
        return not is_named and not (_DEFINITION.search(question) and not _points(found, language))
    return any(_is_open(found, at, content, question, language, is_named=is_named) for at in range(len(found)))


class _Word(NamedTuple):
    written: str
    folded: str

    @property
    def is_content(self) -> bool:
        """Whether it may name something."""
        return self.folded not in _STOPS and self.folded not in _PRONOUNS and (len(self.folded) > 1 or self.folded.isdigit())

    @property
    def is_name(self) -> bool:
        """Whether it is written as names are."""
        return self.written[:1].isupper() or self.written[:1].isdigit()


def _points(found: Sequence[_Word], language: str) -> bool:
    return any(word.folded in _of(_PERSONAL, language) or word.folded in _of(_POINTING, language) for word in found)


def _of(table: Mapping[str, frozenset[str]], language: str) -> frozenset[str]:
    """A language's pronouns; all where the language is not plain."""
    return table.get(language) or table["en"] | table["tr"]


def _is_open(found: Sequence[_Word], at: int, content: Sequence[int], question: str, language: str, *, is_named: bool) -> bool:
    """Whether the word at `at` is a pronoun whose noun is not in the question."""
    word = found[at].folded
    if word in _of(_PERSONAL, language):
        before = [i for i in content if i < at]
        if any(found[i].is_name for i in before if i) or len(before) >= FEW_WORDS:
            return False
        beside = language == "tr" and word == "o" and at + 1 in content and len(content) > FEW_WORDS  # "o yıl": a determiner
        return not beside and not (_EMPTY_IT.search(question) and len(content) > _EMPTY_IT_WORDS)
    if word in _of(_POINTING, language):
        if len(content) <= FEW_WORDS:
            return not is_named
        return at + 1 not in content and not any(i < at for i in content)
    return False


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
