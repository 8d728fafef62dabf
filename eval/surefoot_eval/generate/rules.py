"""Questions out of sentences by rule, English and Turkish, with no model and no key.

A number becomes "how many" or "kaç" where it stands, a year "in which year", a name that begins an English sentence "who or what", any
other name a gap. They are plain questions, good to see whether an index finds what it holds; a model's (`written.py`) are nearer to
people's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from surefoot_eval.generate.candidates import Candidate
from surefoot_rag.answers.conversation import leans
from surefoot_rag.documents.language import STOP_WORDS, fold, language_of
from surefoot_rag.documents.sentences import sentence_spans
from surefoot_rag.records import Document

__all__ = ["GAP", "names", "questions"]

LEAST_WORDS, MOST_WORDS = 6, 40  # of a sentence: below there is nothing to ask with, above it asks for several things
LONG_CLAUSE = 16  # words; of a longer sentence only the clause with the answer is asked
LEAST_CLAUSE = 6
MOST_ASKED = 30  # words of a question
_UNSAID = re.compile(r"[|`{}<>=]|\*\*|https?://|\[\d+\]")  # tables, code, markup and citations make no sentence to ask
_WHOLE = re.compile(r"[.!][\"'\u201d\u2019)]*$")
_CLAUSE = re.compile(r"[;:]\s|\s?\u2014\s?")  # at a comma the rest is often no clause
_NUMBER = r"\d+(?:[.,:]\d+)*"
_NAME = r"[A-ZÀ-ÞĞİŞ][\w-]*(?:(?: (?:of|the|van|von|de|der|la|ve))* [A-ZÀ-ÞĞİŞ][\w-]*)*"
_YEAR = r"(?:1\d|20)\d\d"
_POINTS = {
    "en": frozenset("it they this that these those he she we i you there here such its their his her".split()),  # noqa: SIM905
    "tr": frozenset(fold("bu şu o onlar bunlar biz siz bunun onun burada orada böyle").split()),
}
_STOPPED = frozenset(fold(word) for of_language in STOP_WORDS.values() for word in of_language)
_STOPS = "|".join(sorted(STOP_WORDS["en"] | STOP_WORDS["tr"]))  # "9 and 10", "687 ve 760": no count of anything
_UNITS = "million|billion|thousand|milyon|milyar|bin"


class _AskingRule(NamedTuple):
    """What is looked for in a sentence (`answer` is the group that is asked for) and what stands in its place in the question."""

    pattern: re.Pattern[str]
    asks: str


_ENGLISH = (
    _AskingRule(re.compile(rf"\b(?P<lead>in|since|until|before|after|by) (?P<answer>{_YEAR})(?!\w|[.,:]\d)"), r"\g<lead> which year"),
    _AskingRule(re.compile(r"(?P<answer>[$€£]\d[\d.,]*\d(?: (?:million|billion))?|[$€£]\d)"), "how much money"),
    _AskingRule(re.compile(rf"(?P<answer>{_NUMBER}(?: ?%| per ?cent))"), "what percentage"),
    _AskingRule(re.compile(r"\bat (?P<answer>\d{1,2}[:.]\d\d)(?!\w)"), "at what time"),
    _AskingRule(
        re.compile(rf"(?<![\w.$€£-])(?P<answer>{_NUMBER}(?: (?:{_UNITS}))?)(?= [a-z]{{3,}})(?! (?:per ?cent|{_STOPS})\b)"), "how many"
    ),
)
_TURKISH = (
    _AskingRule(re.compile(rf"\b(?P<answer>{_YEAR}) yılı(?:n(?P<lead>da|dan|a))?(?!\w)"), r"hangi yıl\g<lead>"),
    _AskingRule(re.compile(rf"\b(?P<answer>{_YEAR})['\u2019][dt][ea](?!\w)"), "hangi yılda"),
    _AskingRule(re.compile(rf"\byüzde (?P<answer>{_NUMBER})(?!['\u2019\d])"), "yüzde kaç"),
    _AskingRule(re.compile(rf"(?<![\w.])(?P<answer>{_NUMBER}(?: (?:{_UNITS}))?)(?= [a-zçğıöşü]{{2,}})(?! (?:{_STOPS})\b)"), "kaç"),
    _AskingRule(re.compile(rf"(?<![\w.])(?P<answer>{_NUMBER})['\u2019](?P<suffix>[a-zçğıöşü]+)"), ""),
)
_SUFFIXES = (  # of a Turkish number, and how the question word takes it
    (re.compile(r"[dt][ıiuü]r"), "kaçtır"), (re.compile(r"[dt][ae]n"), "kaçtan"), (re.compile(r"[dt][ae]"), "kaçta"),
    (re.compile(r"n?[ıiuü]n"), "kaçın"), (re.compile(r"s?[ıiuü]"), "kaçı"), (re.compile(r"y?[ae]"), "kaça"),
)  # fmt: skip
_VERB = re.compile(r"(?:is|was|has|had|are|were|have|can|will|may|must|does|did|\w{2,}(?:s|ed))$")
_BEGINS = re.compile(r"[.!?:*_#|>][\s\"\u201c(]*$|[(\u201c\u2018`]$")  # a sentence, a term in bold, a bracket, a title or code
_GAP = {"en": "What is left out here: \u201c{}\u201d?", "tr": "Burada boş bırakılan nedir: \u201c{}\u201d?"}
GAP = "____"


def questions(document: Document) -> Iterator[Candidate]:
    """All that the rules make of a document, in its order; each with the sentence it was made from as gold."""
    number = 0
    for start, end in sentence_spans(document.text):
        sentence = document.text[start:end]
        language = language_of(sentence) if document.language == "und" else document.language
        if language not in _GAP or not _can_be_asked(sentence, language):
            continue
        for question, answer in _of(sentence, language):
            if LEAST_CLAUSE <= len(question.split()) <= MOST_ASKED and not leans(question):
                number += 1
                yield Candidate(
                    id=f"{document.id}:{number}", kind="rule", language=language, question=question, answer=answer,
                    document=document.id, quote=sentence, start=start, end=end,
                )  # fmt: skip


def names(text: str) -> list[str]:
    """What a sentence names: capitalised words that do not begin it, in order; suffixes after an apostrophe are left out."""
    found = [_without_lead(match) for match in re.finditer(_NAME, text)]
    return [name for at, name in found if at and not _BEGINS.search(text[:at]) and text[:at].count('"') % 2 == 0 and _is_name(name)]


def _without_lead(match: re.Match[str]) -> tuple[int, str]:
    """A name and where it begins, without words that only stand before it: "At Kestrel Freight"."""
    lead = re.match(rf"(?i:(?:{_STOPS})\s+)+", match[0])
    return (match.start() + lead.end(), match[0][lead.end() :]) if lead else (match.start(), match[0])


def _is_name(name: str) -> bool:
    return len(name) > 2 and fold(name) not in _STOPPED


def _can_be_asked(sentence: str, language: str) -> bool:
    """Prose of one sentence that points at nothing before it."""
    said = sentence.split()
    if not LEAST_WORDS <= len(said) <= MOST_WORDS or _UNSAID.search(sentence) or not _WHOLE.search(sentence):
        return False
    return "\n\n" not in sentence and not {fold(word.strip(",.'\u2019")) for word in said[:2]} & _POINTS[language]


def _of(sentence: str, language: str) -> Iterator[tuple[str, str]]:
    """Each question with its answer; at most one for each stretch of the sentence."""
    flat = " ".join(sentence.split())
    taken: set[int] = set()
    for rule in _ENGLISH if language == "en" else _TURKISH:
        for match in rule.pattern.finditer(flat):
            if taken.isdisjoint(range(*match.span("answer"))):
                taken |= set(range(*match.span("answer")))
                asked = match.expand(rule.asks) if rule.asks else _inflected(match["suffix"])
                if asked:
                    yield _asked(flat, match.span(), asked), match["answer"]
    if language == "en" and (subject := re.match(rf"(?:The )?(?P<name>{_NAME}) (?P<verb>\w+) ", flat)):
        said = subject["name"].removeprefix("The ")
        if " " in said and fold(said.split()[0]) not in _STOPPED and _VERB.match(subject["verb"]) and _is_name(said):
            yield _asked(flat, (0, subject.end("name")), "Who or what"), said
    for name in dict.fromkeys(names(flat)):
        at = flat.find(name, 1)
        if taken.isdisjoint(range(at, at + len(name))) and flat.count(name) == 1:
            start, end = _clause(flat, at, at + len(name))
            yield _GAP[language].format(f"{flat[start:at]}{GAP}{flat[at + len(name) : end]}".strip(" ,;:.!")), name


def _asked(sentence: str, span: tuple[int, int], words: str) -> str:
    """The clause about `span` with question words in its place."""
    start, end = _clause(sentence, *span)
    said = f"{sentence[start : span[0]]}{words}{sentence[span[1] : end]}".strip(" ,;:.!\"'\u201c\u201d()")
    return f"{said[:1].upper()}{said[1:]}?"


def _clause(sentence: str, start: int, end: int) -> tuple[int, int]:
    """Of a long sentence the clause that holds `[start, end)`, unless that is too short to be understood."""
    if len(sentence.split()) <= LONG_CLAUSE:
        return 0, len(sentence)
    cuts = [0, *(match.end() for match in _CLAUSE.finditer(sentence)), len(sentence)]
    first, last = max(cut for cut in cuts if cut <= start), min(cut for cut in cuts if cut >= end)
    return (first, last) if len(sentence[first:last].split()) >= LEAST_CLAUSE else (0, len(sentence))


def _inflected(suffix: str) -> str:
    return next((asked for pattern, asked in _SUFFIXES if pattern.fullmatch(suffix)), "")
