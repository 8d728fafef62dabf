"""Text as the extractive reader sees it: blocks, sentences and words of prose and Markdown, in English and Turkish.

Words are compared without case, accents or endings, so that `İstanbul'da`, `ISTANBUL` and `istanbul` are one. Pure functions of
their text; nothing here knows a question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from surefoot.providers.local.extractive import words as lists

Language = Literal["en", "tr"]
Kind = Literal["text", "item", "row", "code", "heading"]

# What a word may be; a bit each.
NAME, NUMBER, DATE, PERCENT, INITIAL, STOP = 1, 2, 4, 8, 16, 32
CODE_CHARS = 240  # a longer listing is read in pieces of about this size
LONG_CHARS = 1200  # text without a full stop (logs, data) is read in pieces of this size, so that time stays linear
TERM_CHARS = 60  # a bold phrase that opens a paragraph and is no longer is the term it explains
HEADING_WORDS = 12  # a line by itself, this short and without a full stop, is a heading also without a `#`
CACHED_PASSAGES = 256  # a conversation asks the same documents again; about 30 kB each

_LETTERS = r"(?:[^\W_][\u0300-\u036f]*)+"  # a letter may come with its accent apart, as in lower-cased "İ" and in many PDFs
WORD = re.compile(rf"\d+(?:[.,:]\d+)+|{_LETTERS}(?:['’`´]{_LETTERS})*")
_APOSTROPHES = "'’`´"
_END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’»)\]*_]*\s+")
_OPENING = "\"'“‘«([*_`"
_BEFORE = re.compile(r"[\w.'’]+$")
_BLANK = " \t\r\n\f\v\u00a0\ufeff"
_LINE = re.compile(r"[^\n]*\n?")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,2}[.)])\s+")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_ROW = re.compile(r"\s*\|")
_YEAR = re.compile(r"(1\d|20)\d\ds?")  # 1066, 2026, 1980s
_ROMAN = re.compile(r"[IVXLC]+")
_TURKISH_LETTERS = frozenset("çğıöşüÇĞİÖŞÜ")
_VOICED = str.maketrans("bdgc", "ptkc")
_STEM_LETTERS = 5  # Turkish: what is left of a word without its endings; better than Snowball on XQuAD (0.949 against 0.944 nDCG@10)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, list item, table row or piece of code: characters [start, end) of its passage, and its words.

    `where` maps a stem to the positions it stands at; `context` holds the stems of the headings above it.
    """

    start: int
    end: int
    kind: Kind
    stems: tuple[str, ...]
    folded: tuple[str, ...]
    flags: tuple[int, ...]
    where: dict[str, list[int]]
    context: frozenset[str]


@lru_cache(maxsize=65536)
def fold(word: str) -> str:
    """Lower-case letters without accents; Turkish ı, İ and I all become i, so text typed without a Turkish keyboard matches."""
    low = unicodedata.normalize("NFKD", word).lower().replace("ı", "i")
    return "".join(char for char in low if not unicodedata.combining(char)).strip() or word


@lru_cache(maxsize=65536)
def analyse(word: str, language: Language) -> tuple[str, str]:
    """Fold a word and find its stem. What follows an apostrophe is an ending (NFL'de, Tesla's), except after one letter (O'Neill)."""
    for position, char in enumerate(word):
        if char in _APOSTROPHES:
            word = word[:position] if position > 1 else word.replace(char, "")
            break
    folded = fold(word)
    return folded, folded[:_STEM_LETTERS].translate(_VOICED) if language == "tr" else _english_stem(folded)


def _english_stem(word: str) -> str:
    """Cut the commonest inflections; light on purpose, for trigrams catch what it misses."""
    if len(word) <= 3 or word[0].isdigit():
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("sses") or (word.endswith("es") and len(word) > 4 and word[-3] in "sxzh"):
        word = word[:-2]
    elif word.endswith("s") and word[-2] not in "sui":
        word = word[:-1]
    for ending in ("ing", "edly", "ed", "ly"):
        root = word.removesuffix(ending)
        if root != word and len(root) >= 3 and any(vowel in root for vowel in "aeiouy"):
            word = root[:-1] if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "lsz" else root
            break
    if word.endswith("e") and len(word) > 3:
        return word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


@lru_cache(maxsize=65536)
def trigrams(folded: str) -> frozenset[str]:
    """Three-letter pieces of a folded word with its ends marked."""
    marked = f"^{folded}$"
    return frozenset(marked[at : at + 3] for at in range(len(marked) - 2))


@lru_cache(maxsize=CACHED_PASSAGES)
def detect(text: str) -> Language:
    """English or Turkish, by small words and by the letters of others; English where neither shows. A name's letters count less."""
    turkish = english = 0
    for match in WORD.finditer(text, 0, 600):
        word, folded = match[0], fold(match[0])
        if folded in lists.TURKISH_HINTS or folded.startswith(lists.TURKISH_QUESTIONS):
            turkish += 2
        elif folded in lists.ENGLISH_HINTS:
            english += 2
        elif not word.isascii() and not _TURKISH_LETTERS.isdisjoint(word):
            turkish += 1 if word[0].isupper() else 2
    return "tr" if turkish > english else "en"


@lru_cache(maxsize=CACHED_PASSAGES)
def sentences(text: str, language: Language) -> tuple[Sentence, ...]:
    """Cut a passage, in order, headings left out: they are the `context` of what they stand above.

    `language` is the question's, for the words must be stemmed alike; sentences end by the rules of the passage's own language.
    A passage of headings alone is read as its headings.
    """
    own = detect(text)
    found: list[Sentence] = []
    heading: frozenset[str] = frozenset()
    table: frozenset[str] | None = None
    titles: list[Sentence] = []
    for start, end, kind in blocks(text):
        if kind == "heading":
            title = _sentence(text, start, end, kind, language, frozenset())
            titles.append(title)
            heading, table = frozenset(title.stems), None
            continue
        context = heading
        if kind == "row":
            table = frozenset(_sentence(text, start, end, kind, language, heading).stems) if table is None else table
            context = heading | table
        else:
            table = None
        spans = _cut(text, start, end, own) if kind in {"text", "item"} else [(start, end)]
        spans = [piece for span in spans for piece in _pieces(text, *span)]
        found.extend(_sentence(text, *span, kind, language, context) for span in spans)
    return tuple(sentence for sentence in (found or titles) if sentence.stems)


def blocks(text: str) -> list[tuple[int, int, Kind]]:
    """List (start, end, kind) of paragraphs, list items, table rows, headings and listings, in order, trimmed of white space."""
    raw = list(_raw_blocks(text))
    found: list[tuple[int, int, Kind]] = []
    for number, (rough_start, rough_end, kind) in enumerate(raw):
        body = text[rough_start:rough_end].rstrip()
        end = rough_start + len(body)
        start = end - len(body.lstrip(_BLANK))
        if start == end:
            continue
        alone = kind == "text" and "\n" not in text[start:end] and number + 1 < len(raw) and text[end - 1] not in ".!?…:;,"
        short = alone and len(text[start:end].split()) <= HEADING_WORDS
        found.append((start, end, "heading" if short else kind))
    return found


def _raw_blocks(text: str) -> Iterator[tuple[int, int, Kind]]:
    kind: Kind | None = None  # of the block being gathered, text[start:end]; None between blocks
    start = end = 0
    in_fence = False
    for line in _LINE.finditer(text):
        is_fence = _FENCE.match(line[0]) is not None
        in_fence ^= is_fence
        if in_fence and not is_fence:
            offset, found = 0, "code" if line[0].strip() else kind
        else:
            offset, found = _line_kind(line[0], kind)
        if (found == kind == "code" and end - start < CODE_CHARS) or (found == "text" and kind in {"text", "item"}):
            end = line.end()
            continue
        if kind:
            yield start, end, kind
        start, end, kind = line.start() + offset, line.end(), found
    if kind:
        yield start, end, kind


def _line_kind(line: str, kind: Kind | None) -> tuple[int, Kind | None]:
    """Where the words of a line begin, and what it is; None for a blank line, a fence and the rule under a table's head."""
    if not line.strip() or _FENCE.match(line):
        return 0, None
    if heading := _HEADING.match(line):
        return heading.end(), "heading"
    if _ROW.match(line):
        return 0, "row" if set(line.strip()) - set("|-: ") else None
    item = _ITEM.match(line)
    if item and (kind != "text" or not line.lstrip()[0].isdigit()):  # "1998. " may be the end of a wrapped sentence
        return item.end(), "item"
    return 0, "text"


def _cut(text: str, start: int, end: int, language: Language) -> list[tuple[int, int]]:
    """Sentence spans of text[start:end]; decimals, abbreviations, initials and Turkish ordinals ("3. yüzyıl") do not end one."""
    found = []
    at = start
    for match in _END.finditer(text, start, end):
        if match.end() >= end:
            break
        if _ends_here(text, match, at, end, language):
            found.append((at, match.start() + len(match[0].rstrip())))
            at = match.end()
    return [*found, (at, end)]


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > LONG_CHARS:
        space = text.rfind(" ", start + 1, start + LONG_CHARS)
        stop = space if space > 0 else start + LONG_CHARS
        yield start, stop
        start = stop + (space > 0)
    yield start, end


def _ends_here(text: str, match: re.Match[str], at: int, end: int, language: Language) -> bool:
    after = match.end()
    while after < end and text[after] in _OPENING:
        after += 1
    following = WORD.match(text, after)
    if following is None:
        return True
    if text[after].islower() and text[after - 1] != "`":
        return False
    word = fold(following[0])
    if text[at : at + 2] == "**" and "**" in match[0] and match.end() - at <= TERM_CHARS:
        return False  # "**Cooldown.** How long ...": a term belongs to its explanation
    if not match[0].startswith(".") or match[0].startswith("..") or (len(word) > 1 and word in lists.STOP_WORDS[language]):
        return True  # "In", "The", "Bu" with a capital begin a sentence whatever stands before them
    before = _BEFORE.search(text[max(at, match.start() - 20) : match.start()])
    last = before[0] if before else ""
    if "." in last or fold(last) in lists.ABBREVIATIONS or (len(last) == 1 and last.isupper()):
        return False
    return not (language == "tr" and ((last.isdigit() and len(last) <= 3) or _ROMAN.fullmatch(last)))


def _sentence(text: str, start: int, end: int, kind: Kind, language: Language, context: frozenset[str]) -> Sentence:
    stems, folded, flags = words(text, start, end, language)
    where: dict[str, list[int]] = {}
    for position, stem in enumerate(stems):
        where.setdefault(stem, []).append(position)
    return Sentence(start, end, kind, tuple(stems), tuple(folded), tuple(flags), where, context)


def words(text: str, start: int, end: int, language: Language) -> tuple[list[str], list[str], list[int]]:
    """Stems, folded words and flags of text[start:end], one each per word."""
    stems: list[str] = []
    folds: list[str] = []
    flags: list[int] = []
    for match in WORD.finditer(text, start, end):
        folded, stem = analyse(match[0], language)
        stems.append(stem)
        folds.append(folded)
        flags.append(_flags(text, match, folded, language) | (0 if flags else INITIAL))
    return stems, folds, flags


def _flags(text: str, match: re.Match[str], folded: str, language: Language) -> int:
    first = match[0][0]
    found = 0
    if folded in lists.STOP_WORDS[language]:
        found |= STOP
    elif first.isupper():
        found |= NAME
    if first.isdigit():
        found |= NUMBER
        if _YEAR.fullmatch(folded):
            found |= DATE
        if text[match.end() : match.end() + 1] == "%" or text[match.start() - 1 : match.start()] == "%":
            found |= PERCENT
    elif folded in lists.NUMBER_WORDS[language]:
        found |= NUMBER
    if folded in lists.DATE_WORDS:
        found |= DATE
    if folded in lists.PERCENT_WORDS:
        found |= PERCENT
    return found
