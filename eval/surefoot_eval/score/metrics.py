"""The metrics: retrieval by trec_eval's own code (ir-measures over pytrec-eval), answers, citations, groundedness, refusals.

Sources: Rajpurkar et al., SQuAD, 2016 and 2018 (EM, F1 and their normalisation); BEGIN, TACL 2022 (the labels that groundedness was
calibrated on).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import Query, TextSpan, spans_found
from surefoot_eval.score.scores import Column, Score, failed, not_applicable, score
from surefoot_rag.documents.language import STOP_WORDS, words

__all__ = [
    "GROUNDED",
    "Refusals",
    "citation_precision",
    "citation_recall",
    "exact_match",
    "groundedness",
    "normalise",
    "refusals",
    "retrieval",
    "token_f1",
]

Run = Mapping[str, Mapping[str, float] | Exception]  # scores of documents by query id; an Exception where retrieval failed
MEASURES = ("nDCG@10", "R@5", "R@10", "R@100", "RR@10", "Success@1", "Success@5")  # Success@k is hit@k, RR@k is MRR's term
STEM_LETTERS = 5
STOP_WEIGHT = 0.5  # of a stop word beside a content word's 1; tried on BEGIN's dev part: 0 .940, .3 .954, .5 .956, .7 .954, 1 .950 (AUC)
GROUNDED = 0.75  # the threshold with the best kappa on BEGIN's dev part

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_SUFFIX = re.compile(r"(?<=\w)['\u2019]\w+")
_PUNCTUATION = frozenset(string.punctuation) | frozenset("\u2018\u2019\u201c\u201d\u00ab\u00bb\u2026\u2013\u2014")


def retrieval(run: Run, queries: Sequence[Query], measures: Sequence[str] = MEASURES) -> dict[str, Column]:
    """Each measure (ir-measures' names) for each query.

    A query without a relevant document is not applicable; one that found nothing counts 0, as in trec_eval -c; one that is missing
    from `run` or failed is an error. Equal scores rank by document id, descending, as in trec_eval, for every measure alike.
    Raises Misconfigured where ir-measures is missing or a measure is unknown.
    """
    try:
        import ir_measures
    except ImportError as exc:
        raise Misconfigured('retrieval metrics need ir-measures: pip install "surefoot[eval]"') from exc
    table: dict[str, dict[str, Score]] = {name: {} for name in measures}
    judged, found = {}, {}
    for query in queries:
        got = run.get(query.id)
        if not any(grade > 0 for grade in query.relevant.values()):
            _same(table, query.id, not_applicable("no document is relevant"))
        elif got is None or isinstance(got, Exception):
            _same(table, query.id, failed("not in the run" if got is None else f"{type(got).__name__}: {got}"))
        else:
            judged[query.id] = dict(query.relevant)
            order = sorted(sorted(got, reverse=True), key=lambda key: -got[key])
            found[query.id] = {key: float(-rank) for rank, key in enumerate(order)}
    try:
        parsed = {str(ir_measures.parse_measure(name)): name for name in measures}
    except (NameError, ValueError, SyntaxError) as exc:
        raise Misconfigured(f"unknown measure among {', '.join(measures)}: {exc}") from exc
    for one in ir_measures.iter_calc([ir_measures.parse_measure(name) for name in measures], judged, found) if judged else ():
        table[parsed[str(one.measure)]][one.query_id] = score(one.value)
    order_of = {query.id: at for at, query in enumerate(queries)}
    return {name: Column(name, dict(sorted(table[name].items(), key=lambda item: order_of[item[0]]))) for name in measures}


def _same(table: Mapping[str, dict[str, Score]], key: str, one: Score) -> None:
    for scores in table.values():
        scores[key] = one


def normalise(text: str, language: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces.

    Turkish: I becomes ı and İ becomes i, a suffix after an apostrophe is dropped ("Ankara'da" is "ankara"), nothing is an article.
    """
    text = unicodedata.normalize("NFC", text)
    if language == "tr":
        text = _SUFFIX.sub("", text).replace("İ", "i").replace("I", "ı")
    text = text.lower().replace("i\u0307", "i")
    text = "".join(char for char in text if char not in _PUNCTUATION)
    if language != "tr":
        text = _ARTICLES.sub(" ", text)
    return " ".join(text.split())


def exact_match(answer: str, query: Query, *, language: str, refused: bool) -> Score:
    """1.0 if the answer is one of the accepted, both normalised. A refused answerable question scores 0, as in SQuAD 2.0."""
    return _against_gold(query, refused=refused) or score(
        float(any(normalise(answer, language) == normalise(gold, language) for gold in query.answers))
    )


def token_f1(answer: str, query: Query, *, language: str, refused: bool) -> Score:
    """The best F1 of normalised words over the accepted answers; refusals as in `exact_match`."""
    said = normalise(answer, language).split()
    return _against_gold(query, refused=refused) or score(max(_f1(said, normalise(gold, language).split()) for gold in query.answers))


def _against_gold(query: Query, *, refused: bool) -> Score | None:
    if not query.answerable or not query.answers:
        return not_applicable("nothing answers it; see the refusal matrix" if not query.answerable else "no accepted answer is known")
    return score(0.0) if refused else None


def _f1(said: Sequence[str], gold: Sequence[str]) -> float:
    common = sum((Counter(said) & Counter(gold)).values())
    if not said or not gold:
        return float(said == gold)
    return 2 * common / (len(said) + len(gold))


def citation_precision(cited: Sequence[TextSpan], query: Query, *, refused: bool) -> Score:
    """Share of the citations that hold a gold span wholly. An answer without citations scores 0; a refusal is not applicable."""
    if outside := _without_citations(query, refused=refused):
        return outside
    return score(sum(spans_found(query.gold, [one]) > 0 for one in cited) / len(cited)) if cited else score(0.0)


def citation_recall(cited: Sequence[TextSpan], query: Query, *, refused: bool) -> Score:
    """Share of the gold spans that lie wholly inside one citation."""
    return _without_citations(query, refused=refused) or score(spans_found(query.gold, cited) / len(query.gold))


def _without_citations(query: Query, *, refused: bool) -> Score | None:
    if not query.gold:
        return not_applicable("no gold span is known")
    return not_applicable("refused") if refused else None


def groundedness(answer: str, passages: Iterable[str], *, refused: bool = False) -> Score:
    """Weighted share of the answer's words whose stem stands in the passages, 0 to 1; no model, no key.

    It tells copied from invented answers, not subtle errors. At `GROUNDED` and above an answer counts as grounded.
    """
    said = words(answer)
    if refused or not said:
        return not_applicable("refused" if refused else "no words")
    held = {_stem(word) for passage in passages for word in words(passage)}
    weights = [STOP_WEIGHT if any(word in stops for stops in STOP_WORDS.values()) else 1.0 for word in said]
    return score(sum(weight for word, weight in zip(said, weights, strict=True) if _stem(word) in held) / sum(weights))


def _stem(word: str) -> str:
    return word if word[0].isdigit() else word[:STEM_LETTERS]


Outcome = Literal["answered_right", "answered_wrong", "refused_right", "refused_wrong", "error"]


class Refusals(msgspec.Struct, frozen=True, kw_only=True):
    """How often it answered and refused, rightly and wrongly; wrong answers include every answer to what has none."""

    answered_right: int
    answered_wrong: int
    refused_right: int
    refused_wrong: int
    errors: int
    balanced_accuracy: float | None
    """Mean of the shares of answerable questions answered and unanswerable ones refused; None unless both kinds were asked."""


def outcome(query: Query, *, refused: bool, right: bool) -> Outcome:
    """The cell of the matrix; `right` is whether the answer was right, and means nothing where it refused."""
    if refused:
        return "refused_wrong" if query.answerable else "refused_right"
    return "answered_right" if query.answerable and right else "answered_wrong"


def refusals(rows: Iterable[tuple[Query, bool, bool] | Exception]) -> Refusals:
    """Count (query, refused, right) rows; an Exception counts as an error, never as a refusal."""
    cells: Counter[str] = Counter()
    asked, well = Counter[bool](), Counter[bool]()
    for row in rows:
        if isinstance(row, Exception):
            cells["error"] += 1
            continue
        query, refused, right = row
        cells[outcome(query, refused=refused, right=right)] += 1
        asked[query.answerable] += 1
        well[query.answerable] += refused != query.answerable
    both = asked[True] and asked[False]
    return Refusals(
        answered_right=cells["answered_right"],
        answered_wrong=cells["answered_wrong"],
        refused_right=cells["refused_right"],
        refused_wrong=cells["refused_wrong"],
        errors=cells["error"],
        balanced_accuracy=(well[True] / asked[True] + well[False] / asked[False]) / 2 if both else None,
    )
