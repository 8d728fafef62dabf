"""From records to columns of scores: each metric of each question is a value, not applicable, or an error, and errors stay errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from surefoot_eval.data.formats import Query, TextSpan
from surefoot_eval.data.records import Record, Shown
from surefoot_eval.metric_names import METRICS, OWN, needs_depth
from surefoot_eval.score import metrics as m
from surefoot_eval.score.correctness import says_any
from surefoot_eval.score.scores import Column, Score, column, failed, not_applicable, score
from surefoot_rag.documents.sentences import sentence_spans

if TYPE_CHECKING:
    from surefoot_eval.data.dataset import Dataset, LabelledQuestion

__all__ = ["METRICS", "ScoredRow", "columns", "judged_passages", "judgements", "needs_depth", "outcomes", "ranking", "rows", "spoken"]

NEAR = 400  # characters about a gold span in which its sentence is looked for
HALF = 0.5  # a passage is relevant if it holds half of a gold span: one cut between two passages then still has one
_MARKS = re.compile(r"\s*\[\d+(?:\s*[,\u2013-]\s*\d+)*\]")


class ScoredRow(NamedTuple):
    """A question of one seed with its record; None where it was not asked yet."""

    key: str
    asked: LabelledQuestion
    record: Record | None


def rows(records: Iterable[Record], material: Dataset, system: str, seeds: Sequence[int]) -> list[ScoredRow]:
    """Every question that was to be asked of `system`; several seeds of a question are rows of one group."""
    last = {record.key: record for record in records if record.system == system}
    return [
        ScoredRow(one.query.id if len(seeds) == 1 else f"{one.query.id}#{seed}", one, last.get((system, one.query.id, seed)))
        for one in material.questions
        for seed in seeds
    ]


def columns(
    found: Sequence[ScoredRow],
    material: Dataset,
    metrics: Sequence[str],
    *,
    judges: Mapping[str, Callable[[ScoredRow], Score]] | None = None,
) -> dict[str, Column]:
    """A column a metric, in the order asked for."""
    by_key = {row.key: row for row in found}
    table = _retrieved(found, material, [name for name in metrics if needs_depth(name)])
    for name in metrics:
        if name not in table:
            judge = (judges or {}).get(name)
            table[name] = column(name, list(by_key), lambda key, it=judge, name=name: _of_answer(name, it, by_key[key], material))  # type: ignore[misc]
    return {name: table[name] for name in metrics}


def judgements(query: Query, passages: Iterable[Shown]) -> dict[str, int]:
    """Which passages are relevant, however the documents were cut: those that hold at least half of a gold span.

    Without spans every passage of a relevant document is.
    """
    if not query.gold:
        return {one.id: query.relevant[one.document] for one in passages if query.relevant.get(one.document, 0) > 0}
    return {one.id: 1 for one in passages if any(_shared(one.window, gold) >= HALF * (gold.end - gold.start) for gold in query.gold)}


def outcomes(found: Sequence[ScoredRow], material: Dataset) -> tuple[dict[str, str], m.Refusals]:
    """Each question's cell of the refusal matrix, and their counts."""
    cells: dict[str, str] = {}
    for row in found:
        record = row.record
        if record is None or record.error:
            cells[row.key] = "error"
        else:
            cells[row.key] = m.outcome(row.asked.query, refused=record.refused, right=_says(record, row.asked, material))
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


def judged_passages(row: ScoredRow, material: Dataset) -> dict[str, int]:
    """What is relevant to a row's question: passages of the documents as they are cut now, or documents where no span is known."""
    query = row.asked.query
    if not query.gold:
        return dict(query.relevant)
    if _is_cut_otherwise(row, material):
        return {f"gold {at}": 1 for at in range(len(query.gold))}
    return judgements(query, [piece for key in query.relevant for piece in material.pieces(key)])


def ranking(row: ScoredRow, material: Dataset) -> dict[str, float] | Exception:
    """The order in which passages (or, without gold spans, their documents) were found, as falling scores; or why there is none."""
    record = row.record
    if record is None or record.error:
        return RuntimeError(record.error if record else "not asked")
    by_span = bool(row.asked.query.gold)
    if by_span and _is_cut_otherwise(row, material):
        return {key: float(-rank) for rank, key in enumerate(_gold_found(record.passages, row.asked.query.gold), 1)}
    keys = dict.fromkeys(one.id if by_span else one.document for one in record.passages)
    return {key: float(-rank) for rank, key in enumerate(keys, 1)}


def _is_cut_otherwise(row: ScoredRow, material: Dataset) -> bool:
    """Whether passages were shown that are not ours: another system's, or of another size."""
    shown = row.record.passages if row.record else ()
    return any(one.id not in {piece.id for piece in material.pieces(one.document)} for one in shown)


def _gold_found(passages: Sequence[Shown], gold: Sequence[TextSpan]) -> dict[str, None]:
    """The ranking by gold spans, however the documents were cut: each stands where at least half of it is first shown."""
    keys: dict[str, None] = {}
    for rank, one in enumerate(passages):
        held = [f"gold {at}" for at, span in enumerate(gold) if _shared(one.window, span) >= HALF * (span.end - span.start)]
        keys.update(dict.fromkeys([key for key in held if key not in keys] or [f"passage {rank}"]))
    return keys


def _retrieved(found: Sequence[ScoredRow], material: Dataset, measures: Sequence[str]) -> dict[str, Column]:
    if not measures:
        return {}
    queries = [Query(id=row.key, text=row.asked.query.text, relevant=judged_passages(row, material)) for row in found]
    return m.retrieval({row.key: ranking(row, material) for row in found}, queries, measures)


def _shared(one: TextSpan, other: TextSpan) -> int:
    return max(0, min(one.end, other.end) - max(one.start, other.start)) if one.document == other.document else 0


def _of_answer(name: str, judge: Callable[[ScoredRow], Score] | None, row: ScoredRow, material: Dataset) -> Score:
    record = row.record
    if name == "served":
        return failed("not asked") if record is None else score(float(not record.error))
    if record is None or record.error:
        return failed(record.error if record else "not asked")
    if judge:
        return judge(row)
    if name not in OWN:
        return ANSWERS[name](record, row.asked, material)
    own = OWN[name](record, row.asked, material)
    return own if isinstance(own, Score) else not_applicable("the metric gave none") if own is None else score(own)


def _exact(record: Record, asked: LabelledQuestion, _: Dataset) -> Score:
    return m.exact_match(spoken(record.answer), asked.query, language=asked.language, refused=record.refused)


def _f1(record: Record, asked: LabelledQuestion, _: Dataset) -> Score:
    return m.token_f1(spoken(record.answer), asked.query, language=asked.language, refused=record.refused)


def _precision(record: Record, asked: LabelledQuestion, _: Dataset) -> Score:
    return m.citation_precision(record.citations, asked.query, refused=record.refused)


def _recall(record: Record, asked: LabelledQuestion, _: Dataset) -> Score:
    return m.citation_recall(record.citations, asked.query, refused=record.refused)


def _grounded(record: Record, _: LabelledQuestion, material: Dataset) -> Score:
    texts = [material.shown(one) for one in record.passages]
    return m.groundedness(spoken(record.answer), texts, refused=record.refused)


def _refusal(record: Record, asked: LabelledQuestion, _: Dataset) -> Score:
    return score(float(record.refused != asked.query.answerable))


def _right(record: Record, asked: LabelledQuestion, material: Dataset) -> Score:
    if record.refused or not asked.query.answerable:
        return score(float(record.refused and not asked.query.answerable))
    if not asked.query.answers and not asked.query.gold:
        return not_applicable("no accepted answer is known")
    return score(float(_says(record, asked, material)))


def _says(record: Record, asked: LabelledQuestion, material: Dataset) -> bool:
    """Strictly: an accepted answer, or the gold span's own words."""
    gold = [one for one in asked.query.gold if one.document in material.text]
    quoted = [material.text[one.document][one.start : one.end] for one in gold]
    contexts = [_sentence_of(material.text[one.document], one) for one in gold]
    accepted = dict.fromkeys([*asked.query.answers, *quoted])
    return says_any(spoken(record.answer), accepted, language=asked.language, question=asked.query.text, contexts=contexts)


def _sentence_of(text: str, span: TextSpan) -> str:
    """The sentence in which a span begins."""
    first = max(0, span.start - NEAR)
    part = text[first : span.end + NEAR]
    return next((part[start:end] for start, end in sentence_spans(part) if start <= span.start - first < end), "")


def _covered(record: Record, asked: LabelledQuestion, _: Dataset) -> Score:
    if record.refused or not asked.query.answerable:
        return score(float(record.refused and not asked.query.answerable))
    said = f" {m.normalise(spoken(record.answer), asked.language)} "
    holds = any(f" {m.normalise(gold, asked.language)} " in said for gold in asked.query.answers)
    cites = any(_shared(cited, gold) >= HALF * (gold.end - gold.start) for cited in record.citations for gold in asked.query.gold)
    return score(float(holds or cites))


ANSWERS: Mapping[str, Callable[..., Score]] = {
    "exact_match": _exact,
    "answer_f1": _f1,
    "covered": _covered,
    "citation_precision": _precision,
    "citation_recall": _recall,
    "groundedness": _grounded,
    "refusal": _refusal,
    "right": _right,
}
