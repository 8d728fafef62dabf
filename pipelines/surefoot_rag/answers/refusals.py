"""Whether an answer says that the documents do not hold it: by the mark the prompt asks for, else by its wording in twelve languages.

Models seldom keep to the sentence they are told. "The passages do not mention the captain" is a refusal; "They do not say when, but the
ferry leaves from pier nine [2]" is half an answer, and is called undetermined rather than guessed at.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from pathlib import Path

from surefoot_rag.documents.sentences import sentence_spans
from surefoot_rag.records import Verdict

__all__ = ["CITED", "NO_ANSWER", "Verdict", "says_so", "verdict", "without_no_answer"]


NO_ANSWER = "[none]"  # not [0]: a model that counts from zero would refuse whenever it cites its first passage
CITED = re.compile(r"\[(\d+(?:\s*[,\u2013-]\s*\d+)*)\](?!\()")  # not a Markdown link
_NO_ANSWER = re.compile(r"[ \t]*\[\s*none\s*\]", re.IGNORECASE)
_BUT = re.compile(r"[,;] (?:but|ama|ancak|fakat|aber|mais|pero|ma|mas|maar|но)\b")
_FILLER_WORDS = 4  # "I'm sorry" and "Unfortunately" may stand before a refusal; a longer sentence says something
_PHRASES = Path(__file__).parent / "refusals.toml"
_GAP = r"[^.!?]{0,80}?"  # between a source and what is said of it: within one sentence


def verdict(answer: str) -> Verdict:
    """Refused: it says so, and cites nothing for anything else. Answered: it cites, or at least claims, and nowhere says so.

    Undetermined: it says so, and beside it cites passages for something else. An empty answer is an answer that says nothing: answered.
    """
    sentences = [answer[start:end] for start, end in sentence_spans(answer)]
    said = [bool(_NO_ANSWER.search(one)) or says_so(one) for one in sentences]
    if not any(said):
        return "answered"
    cites_more = any(CITED.search(one) for one, refuses in zip(sentences, said, strict=True) if not refuses)
    if cites_more or any(_goes_on(one) for one, refuses in zip(sentences, said, strict=True) if refuses):
        return "undetermined"
    opening = next((refuses for one, refuses in zip(sentences, said, strict=True) if refuses or len(one.split()) > _FILLER_WORDS), True)
    return "refused" if opening or _NO_ANSWER.search(answer) else "undetermined"


def without_no_answer(text: str) -> str:
    """`text` without the mark that was asked for: people get the sentence before it."""
    return _NO_ANSWER.sub("", text)


def _goes_on(sentence: str) -> bool:
    """Whether a sentence says that a part is not known and then cites a passage for another: "not the port, but the host is quay-2 [1]"."""
    return (
        bool(CITED.search(sentence))
        and re.search(r"[,;] (?:but|ama|ancak|fakat|aber|mais|pero|ma|mas|maar|но)\b", _plain(sentence)) is not None
    )


def says_so(sentence: str) -> bool:
    """Whether a sentence says that something is not known, or not in the documents."""
    text = _plain(CITED.sub(" ", sentence))
    return any(pattern.search(text) for pattern in _patterns())


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    found: list[str] = []
    for language in tomllib.loads(_PHRASES.read_text(encoding="utf-8")).values():
        provider = r"\b" if "sources" in language else ""  # where words have no spaces between them they have no edges either
        found += (f"{provider}(?:{one})" for one in language["unknowing"])
        if "sources" in language:
            sources = "|".join(language["sources"])
            found.append(rf"\b(?:{sources})\b{_GAP}\b(?:{'|'.join(language['silent'])})")
            if "unsaid" in language:
                found.append(rf"\b(?:{'|'.join(language['unsaid'])}){_GAP}\b(?:{sources})\b")
    return tuple(re.compile(_plain(one) if one.isascii() else one) for one in found)


def _plain(text: str) -> str:
    """Lower case without accents, with one kind of apostrophe and of space; I, İ and ı are all i."""
    folded = unicodedata.normalize("NFD", text.replace("\u2019", "'").replace("ı", "i").replace("İ", "i").casefold())
    return " ".join("".join(char for char in folded if not unicodedata.combining(char)).split())
