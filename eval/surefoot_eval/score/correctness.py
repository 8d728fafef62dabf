"""Whether an answer says an accepted answer: its words in one sentence, its numbers by value, not denied and not one of several offered.

It is strict: it takes no citation for an answer and no similar number for the right one. What it cannot see is the rest of what an answer
claims, and right answers in other words than any accepted one; for those there is a judge (`run/judge.py`).
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from surefoot_rag.answers.numbers import numbers
from surefoot_rag.documents.language import language_of
from surefoot_rag.documents.sentences import sentence_spans

__all__ = ["says", "says_any"]

EXTRA_WORDS = 3  # between the accepted answer's words, where they stand in another order: "Ines Okafor, who is the duty lead"
LEAST_STEM = 4  # letters of a word before an ending of a language with suffixes may follow it
LONGEST_SUFFIX = 7
ANYONE = frozenset(
    {"anyone", "anybody", "everyone", "everybody", "all", "nobody", "nothing", "none"}
)  # before "but", which then means except
MINUS = frozenset({"minus", "eksi"})
DECIMAL_COMMA = frozenset({"tr", "de", "fr", "es", "it", "nl", "pt", "ru", "pl"})
_WORDS = Path(__file__).parent / "correctness.toml"
_NUMBER = r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,:]\d+)*"
_TOKEN = re.compile(
    rf"(?P<minus>(?<![\w.,%])[-\u2212](?=\d))?(?P<number>{_NUMBER})|(?P<word>[^\W\d_]+(?:-\d+|\d+)*|[%$€£₺])|(?P<stop>[,;:()\u2014])"
)
_SUFFIX = re.compile(r"(?<=\w)['\u2019](?!t\b)[^\W\d_]+")
_NOT = re.compile(r"n['\u2019]t\b", re.IGNORECASE)
_ARTICLES = frozenset({"a", "an", "the"})
_SOFT = {"p": "b", "ç": "c", "t": "d", "k": "ğ"}
_TURKISH_NO = re.compile(r"\w{2,}(?:m[ae]z|m[ıiuü]yor|m[ae]d[ıi]|m[ae]m[ıi]ş|m[ae]y[ae]c[ae]|m[ae]m[ae]l[ıi])\w*")


class Lexicon(NamedTuple):
    """Words that decide: numbers, units and signs by what they mean, and words that deny, offer a choice, affirm or begin a clause."""

    numbers: Mapping[str, Decimal]
    units: Mapping[str, str]
    signs: Mapping[str, str]
    negates: frozenset[str]
    choice: frozenset[str]
    polar: frozenset[str]
    breaks: frozenset[str]


class Token(NamedTuple):
    """A word (folded), a number (all values it may have), or a mark that ends a clause; `negates` where it denies what is near."""

    word: str
    values: frozenset[Decimal] = frozenset()
    negates: bool = False
    ends: bool = False


@cache
def _lexicon() -> Lexicon:
    read: dict[str, Any] = tomllib.loads(_WORDS.read_text(encoding="utf-8"))
    numbers_of = {word: Decimal(value) for word, value in read["numbers"].items()}
    lists = [frozenset(read[name].split()) for name in ("negates", "choice", "polar", "breaks")]
    return Lexicon(numbers_of, read["units"], read["signs"], *lists)


def says(answer: str, accepted: str, *, language: str, question: str = "", context: str = "") -> bool:
    """Whether `answer` says `accepted`.

    `context` is the sentence of the document in which the accepted answer stands: what is denied there, or in the question, may be denied
    in the answer too.
    """
    gold = [one for one in _tokens(accepted, language) if not one.ends]
    if not gold:
        return False
    if len(gold) == 1 and gold[0].word in _lexicon().polar:
        first = next((one for one in _tokens(answer, language) if not one.ends), None)
        return first is not None and first.word == gold[0].word
    stands = _tokens(context, language_of(context), fallback=language)
    may_deny = any(_denied(stands, at) for at in _matches(stands, gold, language))
    asked = _tokens(question, language)
    asked_of = {one.word for one in asked if len(one.word) >= LEAST_STEM} if any(one.negates for one in asked) else set()
    sentences = [answer[start:end] for start, end in sentence_spans(answer)]
    if len(sentence_spans(accepted)) > 1:
        sentences.append(answer)
    for sentence in sentences:
        said = _tokens(sentence, language_of(sentence), fallback=language)
        for at in _matches(said, gold, language):
            if (may_deny or not _denied(said, at, asked_of)) and not _offers_another(said, range(at[0], at[-1] + 1), gold):
                return True
    return False


def says_any(answer: str, accepted: Iterable[str], *, language: str, question: str = "", contexts: Iterable[str] = ()) -> bool:
    """Whether it says one of several; `contexts` are the sentences in which they stand."""
    held = list(contexts) or [""]
    return any(says(answer, one, language=language, question=question, context=" ".join(held)) for one in accepted)


def _denied(said: Sequence[Token], at: Sequence[int], asked_of: AbstractSet[str] = frozenset()) -> bool:
    """Whether a word beside the tokens `at`, or between them, in their clause denies them.

    `asked_of` are the words of a question that denies itself ("which port is not used?"): a clause that repeats one may deny it, too.
    """
    start, end = at[0], at[-1] + 1
    while start > 0 and not said[start - 1].ends:
        start -= 1
    while end < len(said) and not said[end].ends:
        end += 1
    beside = [said[n] for n in range(start, end) if n not in at]
    return any(one.negates for one in beside) and not any(one.word in asked_of for one in beside)


def _offers_another(said: Sequence[Token], at: range, gold: Sequence[Token]) -> bool:
    """Whether another number stands beside it as a choice: "45 or 60 seconds" is no answer to how many."""
    if not any(one.values for one in gold):
        return False
    choice = _lexicon().choice
    near = range(max(0, at.start - 4), min(len(said), at.stop + 4))
    others = [n for n in near if said[n].values and not any(said[n].values & one.values for one in gold)]
    return any(said[n].word in choice for other in others for n in range(min(other, at.start), max(other, at.stop)))


def _matches(said: Sequence[Token], gold: Sequence[Token], language: str) -> Iterator[list[int]]:
    """Where the accepted answer's tokens stand: in their order one after the other, or in any order within a few words."""
    if not said:
        return
    size = len(gold)
    plain = [n for n, one in enumerate(said) if not one.ends]
    for first in range(len(plain) - size + 1):
        places = plain[first : first + size]
        if all(_alike(said[n], one, language) for n, one in zip(places, gold, strict=True)):
            yield places
    if size < 2:
        return
    for first in range(len(plain)):
        places = plain[first : first + size + EXTRA_WORDS]
        taken: set[int] = set()
        for one in gold:
            after = max((n for n in taken if said[n].values), default=-1) if one.values else -1  # numbers keep their order: 31 of 80
            place = next((n for n in places if n > after and n not in taken and _alike(said[n], one, language)), None)
            if place is None:
                break
            taken.add(place)
        else:
            yield sorted(taken)


def _alike(said: Token, gold: Token, language: str) -> bool:
    if gold.values or said.values:
        return bool(said.values & gold.values)
    if said.word == gold.word:
        return True
    if language == "tr":
        soft = gold.word[:-1] + _SOFT[gold.word[-1]] if gold.word[-1] in _SOFT else gold.word
        longer = len(said.word) - len(gold.word)
        return len(gold.word) >= LEAST_STEM and 0 < longer <= LONGEST_SUFFIX and said.word.startswith((gold.word, soft))
    return len(gold.word) >= LEAST_STEM and said.word.rstrip("s") == gold.word.rstrip("s")


def _tokens(text: str, language: str, *, fallback: str = "") -> list[Token]:
    """Words and numbers; `language` says how a number is written, and where it is unknown both readings count."""
    text = _NOT.sub(" not", unicodedata.normalize("NFKC", text))
    text = re.sub(r"\bper cent\b", "percent", _SUFFIX.sub("", text))
    turkish = "tr" in (language, fallback)
    lexicon = _lexicon()
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        if match["stop"]:
            found.append(Token(match["stop"], ends=True))
        elif match["number"]:
            values = _read(match["number"], language)
            found.append(Token(match[0], frozenset(-one for one in values) if match["minus"] else values))
        else:
            found += _of_word(_folded(match["word"], turkish=turkish), lexicon)
    return _signs_behind(_joined(found, lexicon), lexicon)


def _of_word(word: str, lexicon: Lexicon) -> list[Token]:
    if word in _ARTICLES:
        return []
    if word in lexicon.breaks:
        return [Token(word, ends=True)]
    if word in lexicon.numbers:
        return [Token(word, frozenset({lexicon.numbers[word]}))]
    word = lexicon.units.get(word, word)
    return [Token(word, negates=word in lexicon.negates or bool(_TURKISH_NO.fullmatch(word)))]


def _joined(found: Sequence[Token], lexicon: Lexicon) -> list[Token]:
    """Number words that make one number are one token, also behind digits ("1.2 million"); "not only" denies nothing."""
    made: list[Token] = []
    for one in found:
        last = made[-1] if made else Token("")
        if one.word in lexicon.numbers and last.values and (value := _together(last, one, lexicon)):
            made[-1] = Token(last.word, value)
        elif one.word == "only" and last.word == "not":
            made.pop()
        elif one.word == "but" and last.word in ANYONE:
            made.append(Token("but", negates=True))
        else:
            made.append(one)
    return made


def _together(first: Token, second: Token, lexicon: Lexicon) -> frozenset[Decimal] | None:
    """What two number words beside each other mean together: fifty three, two hundred; None where they are two numbers."""
    (small,) = second.values
    if small in {100, 1000, 1_000_000}:
        return frozenset(value * small for value in first.values)
    large = max(first.values)
    fits = first.word in lexicon.numbers and large >= 10 and large % 10 ** len(str(small)) == 0
    return frozenset({large + small}) if fits else None


def _signs_behind(found: Sequence[Token], lexicon: Lexicon) -> list[Token]:
    """A percent sign or a currency before its number moves behind it; "minus" before a number is its sign."""
    made: list[Token] = []
    for one in found:
        last = made[-1] if made else Token("")
        if one.values and last.word in lexicon.signs.values():
            made[-1:] = [one, last]
        elif one.values and last.word in MINUS:
            made[-1] = Token(one.word, frozenset(-value for value in one.values))
        else:
            made.append(one)
    return made


def _read(written: str, language: str) -> frozenset[Decimal]:
    """The values a number may have, by the language's decimal mark: "1.450" is 1450 in Turkish and 1.45 in English."""
    both = frozenset(value for one in numbers(written) for value in one)
    if len(both) < 2 or language in {"", "und"}:
        return both
    grouping = "." if language in DECIMAL_COMMA else ","
    return frozenset({max(both) if grouping in written else min(both)})


def _folded(word: str, *, turkish: bool) -> str:
    if turkish:
        word = word.replace("İ", "i").replace("I", "ı")
    return word.casefold().replace("i\u0307", "i")
