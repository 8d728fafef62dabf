"""From records to columns of scores: each metric of each question is a value, not applicable, or an error, and errors stay errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from eval import metrics as m
from eval.data import Query, Window
from eval.records import Record, Shown
from eval.scores import Column, Score, column, failed, not_applicable, score

if TYPE_CHECKING:
    from eval.material import Asked, Material

__all__ = ["METRICS", "Row", "columns", "judged_passages", "judgements", "needs_depth", "outcomes", "ranking", "rows", "spoken"]

DEPTHS = (1, 3, 5, 10, 20, 100)
HALF = 0.5  # a passage is relevant if it holds half of a gold span: one cut between two passages then still has one
METRICS: dict[str, str] = {
    "exact_match": "answer: equal to an accepted one, both normalised (SQuAD; Turkish rules in Turkish)",
    "answer_f1": "answer: word F1 against the best accepted one (SQuAD)",
    "covered": "answer: holds an accepted one whole, word for word after normalisation",
    "citation_precision": "answer: share of the citations that hold a gold span",
    "citation_recall": "answer: share of the gold spans that lie in a citation",
    "groundedness": "answer: share of its words that stand in the passages it was given",
    "refusal": "answer: answered what can be answered, refused what cannot",
    "right": "answer: a right answer, or a refusal where nothing answers",
    "served": "answer: any answer came at all; a failed question counts 0, not as an error",
    "judged": "answer: a model's verdict on groundedness; advisory unless its card says otherwise",
    **{f"{name}@{k}": f"retrieval: {words}" for k in DEPTHS for name, words in {
        "nDCG": "normalised discounted cumulative gain", "R": "recall", "RR": "reciprocal rank (MRR)", "Success": "hit rate",
    }.items()},
}  # fmt: skip
_MARKS = re.compile(r"\s*\[\d+(?:\s*[,\u2013-]\s*\d+)*\]")


class Row(NamedTuple):
    """A question of one seed with its record; None where it was not asked yet."""

    key: str
    asked: Asked
    record: Record | None


def needs_depth(metric: str) -> int:
    """How many passages a metric looks at; 0 for those that look at none."""
    name, at, depth = metric.partition("@")
    return int(depth) if at and name and depth.isdigit() else 0


def rows(records: Iterable[Record], material: Material, system: str, seeds: Sequence[int]) -> list[Row]:
    """Every question that was to be asked of `system`; several seeds of a question are rows of one group."""
    last = {record.key: record for record in records if record.system == system}
    return [
        Row(one.query.id if len(seeds) == 1 else f"{one.query.id}#{seed}", one, last.get((system, one.query.id, seed)))
        for one in material.questions
        for seed in seeds
    ]


def columns(
    found: Sequence[Row], material: Material, metrics: Sequence[str], *, judge: Callable[[Row], Score] | None = None
) -> dict[str, Column]:
    """A column a metric, in the order asked for."""
    by_key = {row.key: row for row in found}
    table = _retrieved(found, material, [name for name in metrics if needs_depth(name)])
    for name in metrics:
        if name not in table:
            measure = judge if name == "judged" else ANSWERS[name]
            assert measure is not None
            table[name] = column(name, list(by_key), lambda key, it=measure, name=name: _of_answer(name, it, by_key[key], material))  # type: ignore[misc]
    return {name: table[name] for name in metrics}


def judgements(query: Query, passages: Iterable[Shown]) -> dict[str, int]:
    """Which passages are relevant, however the documents were cut: those that hold at least half of a gold span.

    Without spans every passage of a relevant document is.
    """
    if not query.gold:
        return {one.id: query.relevant[one.document] for one in passages if query.relevant.get(one.document, 0) > 0}
    return {one.id: 1 for one in passages if any(_shared(one.window, gold) >= HALF * (gold.end - gold.start) for gold in query.gold)}


def outcomes(found: Sequence[Row]) -> tuple[dict[str, str], m.Refusals]:
    """Each question's cell of the refusal matrix, and their counts."""
    cells: dict[str, str] = {}
    for row in found:
        record = row.record
        if record is None or record.error:
            cells[row.key] = "error"
        else:
            cells[row.key] = m.outcome(row.asked.query, refused=record.refused, right=_answered_right(record, row.asked))
    counted = m.refusals(
        RuntimeError(row.record.error if row.record else "not asked")
        if row.record is None or row.record.error
        else (row.asked.query, row.record.refused, cells[row.key] == "answered_right")
        for row in found
    )
    return cells, counted


def spoken(answer: str) -> str:
    """An answer without its citation marks."""
    return _MARKS.sub("", answer).strip()


def judged_passages(row: Row, material: Material) -> dict[str, int]:
    """What is relevant to a row's question: passages of the documents as they are cut now, or documents where no span is known."""
    query = row.asked.query
    if not query.gold:
        return dict(query.relevant)
    return judgements(query, [piece for key in query.relevant for piece in material.pieces(key)])


def ranking(row: Row) -> dict[str, float] | Exception:
    """The order in which passages (or, without gold spans, their documents) were found, as falling scores; or why there is none."""
    record = row.record
    if record is None or record.error:
        return RuntimeError(record.error if record else "not asked")
    by_span = bool(row.asked.query.gold)
    keys = dict.fromkeys(one.id if by_span else one.document for one in record.passages)
    return {key: float(-rank) for rank, key in enumerate(keys, 1)}


def _retrieved(found: Sequence[Row], material: Material, measures: Sequence[str]) -> dict[str, Column]:
    if not measures:
        return {}
    queries = [Query(id=row.key, text=row.asked.query.text, relevant=judged_passages(row, material)) for row in found]
    return m.retrieval({row.key: ranking(row) for row in found}, queries, measures)


def _shared(one: Window, other: Window) -> int:
    return max(0, min(one.end, other.end) - max(one.start, other.start)) if one.document == other.document else 0


def _of_answer(name: str, measure: Callable[..., Score], row: Row, material: Material) -> Score:
    record = row.record
    if name == "served":
        return failed("not asked") if record is None else score(float(not record.error))
    if record is None or record.error:
        return failed(record.error if record else "not asked")
    return measure(row) if name == "judged" else measure(record, row.asked, material)


def _exact(record: Record, asked: Asked, _: Material) -> Score:
    return m.exact_match(spoken(record.answer), asked.query, language=asked.language, refused=record.refused)


def _f1(record: Record, asked: Asked, _: Material) -> Score:
    return m.token_f1(spoken(record.answer), asked.query, language=asked.language, refused=record.refused)


def _covered(record: Record, asked: Asked, _: Material) -> Score:
    if not asked.query.answerable or not asked.query.answers:
        return not_applicable("nothing answers it" if not asked.query.answerable else "no accepted answer is known")
    return score(float(not record.refused and _holds(record.answer, asked)))


def _precision(record: Record, asked: Asked, _: Material) -> Score:
    return m.citation_precision(record.citations, asked.query, refused=record.refused)


def _recall(record: Record, asked: Asked, _: Material) -> Score:
    return m.citation_recall(record.citations, asked.query, refused=record.refused)


def _grounded(record: Record, _: Asked, material: Material) -> Score:
    texts = [material.text[one.document][one.start : one.end] for one in record.passages]
    return m.groundedness(spoken(record.answer), texts, refused=record.refused)


def _refusal(record: Record, asked: Asked, _: Material) -> Score:
    return score(float(record.refused != asked.query.answerable))


def _right(record: Record, asked: Asked, _: Material) -> Score:
    if record.refused or not asked.query.answerable:
        return score(float(record.refused and not asked.query.answerable))
    return score(float(_answered_right(record, asked)))


def _answered_right(record: Record, asked: Asked) -> bool:
    """It holds an accepted answer; or, being worded otherwise than the gold, cites a sentence that does."""
    if _holds(record.answer, asked):
        return True
    return any(_shared(cited, gold) >= HALF * (gold.end - gold.start) for cited in record.citations for gold in asked.query.gold)


def _holds(answer: str, asked: Asked) -> bool:
    said = f" {m.normalise(spoken(answer), asked.language)} "
    return any(f" {m.normalise(gold, asked.language)} " in said for gold in asked.query.answers)


ANSWERS: Mapping[str, Callable[..., Score]] = {
    "exact_match": _exact,
    "answer_f1": _f1,
    "covered": _covered,
    "citation_precision": _precision,
    "citation_recall": _recall,
    "groundedness": _grounded,
    "refusal": _refusal,
    "right": _right,
    "served": _of_answer,
}
