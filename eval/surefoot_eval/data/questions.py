"""Questions in our own format: lines of JSON, or rows of CSV; one question a line, or a conversation of several turns.

{"id": "en-01", "question": "How long is the cooldown?", "gold": [{"document_id": "en/breaker.md", "text": "lasts 45 seconds"}],
 "answer": "45 seconds"}
{"id": "en-c1", "turns": [{"question": "Which port does the gateway listen on?", "answer": "7410", "gold": [...]},
                          {"question": "And the health page?", "answer": "7411", "gold": [...]}]}
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import Query, TextSpan, span_of

__all__ = ["LabelledQuestion", "find_file", "read"]

LONG_WORDS = 12  # a question of more words is long; about the median of XQuAD's
COLUMNS = ("id", "question", "language", "answerable", "answer", "answers", "document", "quote")


class LabelledQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A question with its gold, its language, and the group that a resampling keeps together.

    `earlier` are the ids of the turns before it, in order, where it is a turn of a conversation.
    """

    query: Query
    language: str
    group: str
    earlier: tuple[str, ...] = ()

    @property
    def conversation(self) -> str:
        """The id of its conversation's first turn; its own where it stands alone."""
        return self.earlier[0] if self.earlier else self.query.id

    @property
    def slices(self) -> dict[str, str]:
        """What a report may cut by."""
        return {
            "language": self.language,
            "answerable": "yes" if self.query.answerable else "no",
            "length": "long" if len(self.query.text.split()) > LONG_WORDS else "short",
            "turn": "later" if self.earlier else "first",
        }


class _GoldOfLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an answer stands: by characters, or by a quotation (`text`) that stands in the document once."""

    document_id: str
    start: int | None = None
    end: int | None = None
    text: str = ""


class _Turn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question of a conversation; `answers` are all that is accepted, beside `answer`."""

    question: str
    answerable: bool = True
    gold: tuple[_GoldOfLine, ...] = ()
    answer: str = ""
    answers: tuple[str, ...] = ()


class _QuestionLine(_Turn, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of questions.jsonl, or a row of questions.csv: a question, or in its stead `turns`; `note` is for people."""

    id: str | int
    question: str = ""
    language: str = "und"
    cross_lingual: bool = False
    note: str = ""
    turns: tuple[_Turn, ...] = ()


def find_file(place: Path) -> Path:
    """The questions of a folder. Raises Misconfigured where there are none."""
    file = next((place / name for name in ("questions.jsonl", "questions.csv") if (place / name).is_file()), None)
    if file is None:
        raise Misconfigured(
            f"{place / 'questions.jsonl'}: no such file; a folder of questions holds docs/ and questions.jsonl or questions.csv"
        )
    return file


def read(file: Path, text: Mapping[str, str], *, groups: Mapping[str, str]) -> list[LabelledQuestion]:
    """Read and check a file of questions about documents; `text` and `groups` are theirs, by id.

    A conversation's turns become questions ID/1, ID/2, ..., in the group of its first gold document. Raises Misconfigured naming the line.
    """
    found: list[LabelledQuestion] = []
    lines: dict[str, int] = {}
    for number, row in _csv_rows(file) if file.suffix == ".csv" else _json_rows(file):
        where = f"{file}, line {number}"
        key = str(row.id)
        if row.turns and (row.question or row.gold or row.answer or row.answers):
            raise Misconfigured(f"{where}: either question or turns; what a turn asks and holds stands in the turn")
        asked = [(f"{key}/{at}", turn) for at, turn in enumerate(row.turns, 1)] or [(key, row)]
        queries = [_query(name, turn, text, where) for name, turn in asked]
        for query in queries:
            if lines.setdefault(query.id, number) != number:
                raise Misconfigured(f"{where}: {query.id!r} stands already in line {lines[query.id]}")
        first = next((gold.document for query in queries for gold in query.gold), "")
        ids = tuple(query.id for query in queries)
        found.extend(
            LabelledQuestion(query=query, language=row.language, group=groups.get(first, first) or key, earlier=ids[:at])
            for at, query in enumerate(queries)
        )
    return found


def _query(key: str, row: _Turn, text: Mapping[str, str], where: str) -> Query:
    if not row.question.strip():
        raise Misconfigured(f"{where}: {key!r} asks nothing; write question, or turns = [{{question, answer, gold}}, ...]")
    if row.answerable and not row.gold and not row.answer and not row.answers:
        raise Misconfigured(f"{where}: neither gold nor answer; write answerable = false where nothing answers it")
    gold = tuple(_span(one, text, where) for one in row.gold)
    return Query(
        id=key,
        text=row.question,
        relevant={one.document: 1 for one in gold},
        answers=tuple(dict.fromkeys([*([row.answer] if row.answer else []), *row.answers])),
        gold=gold,
        answerable=row.answerable,
    )


def _span(gold: _GoldOfLine, text: Mapping[str, str], where: str) -> TextSpan:
    if gold.document_id not in text:
        near = difflib.get_close_matches(gold.document_id, list(text), n=1)
        raise Misconfigured(f"{where}: no document {gold.document_id!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if gold.start is None or gold.end is None:
        if not gold.text:
            raise Misconfigured(f"{where}: gold in {gold.document_id} has neither start and end nor text")
        return TextSpan(gold.document_id, *span_of(text[gold.document_id], gold.text, gold.start, where=where))
    held = text[gold.document_id][gold.start : gold.end]
    if not held or (gold.text and held != gold.text):
        raise Misconfigured(f"{where}: {gold.document_id} [{gold.start}:{gold.end}] holds {held!r}, not its gold")
    return TextSpan(gold.document_id, gold.start, gold.end)


def _json_rows(file: Path) -> Iterator[tuple[int, _QuestionLine]]:
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line, type=_QuestionLine)
            except msgspec.MsgspecError as exc:
                raise Misconfigured(f"{file}, line {number}: {exc}") from exc


def _csv_rows(file: Path) -> Iterator[tuple[int, _QuestionLine]]:
    """Columns `id` and `question`; as needed `answer`, `answers` (";" between), `document` and `quote`, `language`, `answerable`."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.DictReader(lines)
        unknown = [name for name in table.fieldnames or () if name not in COLUMNS]
        missing = [name for name in ("id", "question") if name not in (table.fieldnames or ())]
        if unknown or missing:
            said = f"unknown column {unknown[0]!r}" if unknown else f"no column {missing[0]!r}"
            raise Misconfigured(f"{file}, line 1: {said}; known are {', '.join(COLUMNS)}")
        for row in table:
            answerable = (row.get("answerable") or "yes").strip().lower()
            if answerable not in {"yes", "no", "true", "false", "1", "0"}:
                raise Misconfigured(f"{file}, line {table.line_num}: answerable = {answerable!r}: want yes or no")
            quote, document = row.get("quote") or "", row.get("document") or ""
            if bool(quote) != bool(document):
                raise Misconfigured(f"{file}, line {table.line_num}: document and quote go together")
            yield (
                table.line_num,
                _QuestionLine(
                    id=row["id"],
                    question=row["question"],
                    language=row.get("language") or "und",
                    answerable=answerable in {"yes", "true", "1"},
                    gold=(_GoldOfLine(document_id=document, text=quote),) if quote else (),
                    answer=row.get("answer") or "",
                    answers=tuple(one.strip() for one in (row.get("answers") or "").split(";") if one.strip()),
                ),
            )
