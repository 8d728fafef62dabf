"""A question taken apart for the extractive reader: its terms, its names, and the kind of answer it wants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from surefoot.providers.local.extractive import words as lists
from surefoot.providers.local.extractive.text import DATE, INITIAL, NAME, NUMBER, PERCENT, STOP, WORD, Language, Sentence, analyse, words

TYPES = ("date", "count", "much", "percent", "quantity", "who", "where", "why", "how")
NUMERIC = frozenset({"count", "much", "quantity"})

# Patterns on the folded question with a space at either end; of each group the first that fits counts.
_ENGLISH_QUANTITY = (
    r" (number|population|age|size|length|distance|amount|rank|cost|price|temperature|rate|limit|default|maximum|minimum|score|timeout"
    r"|port) "
)
_ENGLISH_PLACE = r" (where|(what|which) (\w+ )?(city|country|state|place|location|region|area|town|continent|island|nation|county)) "
_ENGLISH = (
    (("date", r" (when|(what|which) (\w+ )?(years?|dates?|day|month|century|decades?|time|period)) "),),
    (
        ("count", r" how (many|often) "),
        ("much", r" how (much|long|old|far|tall|large|big|high|fast|deep|wide|heavy|few|close) "),
        ("how", r" how "),
        ("quantity", _ENGLISH_QUANTITY),
    ),
    (("percent", r" (percent|percentage|proportion|fraction) "),),
    (("who", r" (who|whom|whose) "),),
    (("where", _ENGLISH_PLACE),),
    (("why", r" (why|(what|which) (\w+ )?(reasons?|causes?|caused|purpose)) "),),
)
_TURKISH_DATE = (
    r" (ne zaman\w*|(hangi|kac) (\w+ )?(yil|yili|yilda|yilinda|yillar\w*|tarih\w*|gun|gunu|ay|ayda|yuzyil\w*|donem\w*)"
    r"|kacinci yuzyil\w*|kacta) "
)
_TURKISH_QUANTITY = (
    r" (sayisi|nufus\w*|yasi|boyut\w*|uzunlug\w*|mesafe\w*|miktar\w*|maliyet\w*|sicaklig\w*|hiz\w*|sinir\w*|varsayilan|surer|suresi"
    r"|port\w*) "
)
_TURKISH_CAUSE = (  # "neye neden oldu" asks what was caused, not why
    r" (nicin|niye|hangi neden\w*|sebebi\w*|nedeni\w*|amaci\w*|(?<!neye )(?<!nelere )(?<!neyin )neden(?! ol(du|ur|mus\w*|an)? )) "
)
_TURKISH = (
    (("date", _TURKISH_DATE),),
    (
        ("count", r" (kac|kaci|kacinci|kacini|kactir|kacta) "),
        ("much", r" ne (kadar\w*|siklikla|uzunlukta) "),
        ("how", r" nasil\w* "),
        ("quantity", _TURKISH_QUANTITY),
    ),
    (("percent", r" (yuzde\w*|oran\w*) "),),
    (("who", r" kim\w* "),),
    (("where", r" (nere\w*|hangi (\w+ )?(sehir\w*|sehr\w*|ulke\w*|yer\w*|bolge\w*|kent\w*|eyalet\w*|kita\w*|ada\w*)) "),),
    (("why", _TURKISH_CAUSE),),
)
_DURATION = (  # a unit of time, and a question for one
    r"(seconds?|minutes?|hours?|days?|nights?|weeks?|months?|years?|decades?|centur\w+|s|ms|min|h|(saniye|dakika|saat|gun|gece|hafta|yil)\w{0,5}"
    r"|ay(da|i|lik)?)"
)
_IS_DURATION = re.compile(_DURATION)
_WANTS_DURATION = re.compile(rf" (how long|how many {_DURATION}|kac {_DURATION}|ne kadar sur\w*) ")
_TYPES = {
    language: tuple(tuple((name, re.compile(pattern)) for name, pattern in group) for group in groups)
    for language, groups in (("en", _ENGLISH), ("tr", _TURKISH))
}
_ASKING = {"en": frozenset({"what", "which", "many", "much"}), "tr": frozenset({"hangi", "kac", "ne", "tane", "tur"})}
_ASKED_BEFORE = frozenset({"nedir", "kimdir", "neydi", "nelerdir", "kimdi"})  # Turkish: the noun asked for stands before these
_LANGUAGES: tuple[Language, ...] = ("en", "tr")
_CAUSES = {language: frozenset(analyse(word, language)[1] for word in lists.CAUSES[language]) for language in _LANGUAGES}
_MANNERS = {language: frozenset(analyse(word, language)[1] for word in lists.MANNERS[language]) for language in _LANGUAGES}


@dataclass(frozen=True, slots=True)
class Question:
    """A question's words, as stems: `terms` are those with content, in order, each once; `focus` the nouns asked for ("which *player*").

    `folded` gives each term's whole word; `pairs` are neighbours among the terms; `small` the words without content; `types` come
    from TYPES.
    """

    language: Language
    terms: tuple[str, ...]
    folded: dict[str, str]
    names: frozenset[str]
    numbers: frozenset[str]
    small: frozenset[str]
    pairs: tuple[tuple[str, str], ...]
    focus: frozenset[str]
    types: frozenset[str]
    wants_duration: bool
    stems: frozenset[str]


def ask(text: str, language: Language) -> Question:
    """Take a question apart."""
    stems, folds, flags = words(text, 0, len(text), language)
    places = [at for at, flag in enumerate(flags) if not flag & STOP]
    folded: dict[str, str] = {}
    for at in places:
        folded.setdefault(stems[at], folds[at])
    first = WORD.search(text)
    owned = first is not None and ("'" in first[0] or "’" in first[0])
    joined = " " + " ".join(folds) + " "
    return Question(
        language=language,
        terms=tuple(folded),
        folded=folded,
        names=frozenset(stems[at] for at in places if flags[at] & NAME and (_has_inner_capital(flags, at) or (at == 0 and owned))),
        numbers=frozenset(stems[at] for at in places if folds[at][0].isdigit()),
        small=frozenset(stem for stem, flag in zip(stems, flags, strict=True) if flag & STOP),
        pairs=tuple((stems[a], stems[b]) for a, b in pairwise(places) if stems[a] != stems[b]),
        focus=_focus(stems, folds, flags, language),
        types=frozenset(name for group in _TYPES[language] if (name := next((n for n, p in group if p.search(joined)), None))),
        wants_duration=_WANTS_DURATION.search(joined) is not None,
        stems=frozenset(stems),
    )


def _has_inner_capital(flags: list[int], at: int) -> bool:
    """A capital inside the question; at its beginning only when the next word has one too ("Marlowe Clinic's ...")."""
    return not flags[at] & INITIAL or (at + 1 < len(flags) and bool(flags[at + 1] & NAME))


def _focus(stems: list[str], folds: list[str], flags: list[int], language: Language) -> frozenset[str]:
    found = set()
    for at, word in enumerate(folds):
        if word not in _ASKING[language]:
            continue
        for following in range(at + 1, min(at + 4, len(folds))):
            if not flags[following] & STOP and folds[following] not in _ASKING[language]:
                found.add(stems[following])
                break
    if language == "tr" and not found:
        found.update(stems[at - 1] for at, word in enumerate(folds) if at and word in _ASKED_BEFORE and not flags[at - 1] & STOP)
    return frozenset(found)


def candidates(question: Question, sentence: Sentence, kind: str) -> list[int]:
    """Positions of the words of a sentence that could be an answer of this kind and are not the question's own."""
    flags, stems, folded = sentence.flags, sentence.stems, sentence.folded
    if kind == "why":
        return [at for at, stem in enumerate(stems) if stem in _CAUSES[question.language]]
    if kind == "how":
        endings = ("arak", "erek") if question.language == "tr" else ()
        return [at for at, stem in enumerate(stems) if stem in _MANNERS[question.language] or folded[at].endswith(endings)]
    mask = {"date": DATE, "percent": PERCENT, "who": NAME, "where": NAME}.get(kind, NUMBER)
    found = [at for at, flag in enumerate(flags) if flag & mask and stems[at] not in question.stems]
    if kind in NUMERIC:  # a year, a day of a month or a time of day counts nothing
        found = [at for at in found if not flags[at] & DATE and ":" not in folded[at] and not _is_dated(folded, at)]
        return [at for at in found if not question.wants_duration or any(map(_IS_DURATION.fullmatch, folded[at + 1 : at + 3]))]
    if kind == "who":  # a sentence may begin with a person's two names
        return [at for at in found if not flags[at] & (INITIAL | DATE) or (at + 1 < len(flags) and flags[at + 1] & NAME)]
    return [at for at in found if not flags[at] & (INITIAL | DATE)] if kind == "where" else found


def _is_dated(folded: tuple[str, ...], at: int) -> bool:
    return any(word in lists.MONTHS for word in (*folded[max(0, at - 1) : at], *folded[at + 1 : at + 2]))
