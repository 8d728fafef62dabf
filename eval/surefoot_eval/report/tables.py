"""Every question of a run as a record: what was asked, found and said, beside gold and scores. As JSON lines, CSV, and a data frame."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from surefoot.errors import Misconfigured
from surefoot_eval.data.dataset import Dataset
from surefoot_eval.data.records import Record
from surefoot_eval.report.costs import seconds_of
from surefoot_eval.run.results import Results
from surefoot_eval.score.scoring import HALF, rows

__all__ = ["QuestionView", "ShownPassage", "frame", "read_views", "views", "write_tables"]

FILE = "questions.jsonl"
SHOWN = 400  # characters of a passage that are kept


class ShownPassage(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that was shown, and whether it holds gold (half of a span, as the metrics count it)."""

    document: str
    start: int
    end: int
    holds_gold: bool
    text: str


class QuestionView(msgspec.Struct, frozen=True, kw_only=True):
    """One question of one system; `scores` has the metrics that have a value, `why` says why others have none."""

    system: str
    id: str
    question: str
    language: str
    answerable: bool
    outcome: str
    answer: str
    refused: bool
    error: str
    accepted: tuple[str, ...]
    gold: tuple[str, ...]
    passages: tuple[ShownPassage, ...]
    seconds: float | None
    usd: float | None
    scores: dict[str, float]
    why: dict[str, str]


def views(results: Results, records: Sequence[Record], material: Dataset, seeds: Sequence[int]) -> list[QuestionView]:
    """A record for every question of every system, in their order."""
    found = []
    for name, one in results.systems.items():
        for row in rows(records, material, name, seeds):
            query, record = row.asked.query, row.record
            spans = [span for span in query.gold if span.document in material.text]
            scored = {metric: table[row.key] for metric, table in one.scores.items() if row.key in table}
            passages = [
                ShownPassage(
                    document=each.document,
                    start=each.start,
                    end=each.end,
                    holds_gold=any(
                        each.document == span.document
                        and min(each.end, span.end) - max(each.start, span.start) >= HALF * (span.end - span.start)
                        for span in spans
                    ),
                    text=material.shown(each)[:SHOWN],
                )
                for each in (record.passages if record else ())
            ]
            found.append(
                QuestionView(
                    system=name,
                    id=row.key,
                    question=material.in_context(row.asked),
                    language=row.asked.language,
                    answerable=query.answerable,
                    outcome=one.outcomes.get(row.key, "").replace("_", " "),
                    answer=record.answer if record else "",
                    refused=record.refused if record else False,
                    error=record.error if record else "not asked",
                    accepted=query.answers,
                    gold=tuple(material.text[span.document][span.start : span.end] for span in spans),
                    passages=tuple(passages),
                    seconds=seconds_of(record) if record else None,
                    usd=record.cost.usd if record else None,
                    scores={metric: each.value for metric, each in scored.items() if each.value is not None},
                    why={metric: each.reason for metric, each in scored.items() if each.value is None},
                )
            )
    return found


def write_tables(found: Sequence[QuestionView], out: Path) -> None:
    """`questions.jsonl`, and `questions.csv` with a row a question and a column a metric."""
    (out / FILE).write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in found))
    metrics = list(dict.fromkeys(name for one in found for name in (*one.scores, *one.why)))
    with (out / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*COLUMNS, *metrics])
        for one in found:
            table.writerow([*_cells(one), *(one.scores.get(name, "") for name in metrics)])


def read_views(run: Path) -> list[QuestionView]:
    """From a run's folder; none where it was written before there were any."""
    file = run / FILE
    if not file.is_file():
        return []
    return [msgspec.json.decode(line, type=QuestionView) for line in file.read_bytes().splitlines()]


def frame(run: Path) -> Any:
    """A pandas data frame with a row a question and a column a metric. Raises Misconfigured where pandas is missing."""
    try:
        import pandas as pd  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as exc:
        raise Misconfigured("a data frame needs pandas: run  pip install pandas") from exc
    found = read_views(run)
    return pd.DataFrame([{**dict(zip(COLUMNS, _cells(one), strict=True)), **one.scores} for one in found])


COLUMNS = (
    "system", "id", "question", "language", "answerable", "outcome", "answer", "accepted", "gold",
    "documents", "gold_rank", "error", "seconds", "usd",
)  # fmt: skip


def _cells(one: QuestionView) -> list[Any]:
    rank = next((at for at, each in enumerate(one.passages, 1) if each.holds_gold), None)
    documents = " | ".join(dict.fromkeys(each.document for each in one.passages))
    said = [one.system, one.id, one.question, one.language, one.answerable, one.outcome, _safe(one.answer), " | ".join(one.accepted)]
    return [*said, " | ".join(one.gold), documents, rank, one.error, one.seconds, one.usd]


def _safe(text: str) -> str:
    """A model's words must not become a formula in a spreadsheet."""
    return f"'{text}" if text[:1] in {"=", "+", "@", "\t", "\r"} else text
