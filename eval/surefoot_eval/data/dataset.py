"""The material of a suite: documents to index and questions to ask, whatever format they came in.

Gold stands by document and character span, so the documents may be cut into passages in any way.
"""

from __future__ import annotations

import csv
import difflib
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
from msgspec.structs import replace

import surefoot_rag
from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import DatasetText, Query, TextSpan, beir, fingerprint, span_of, squad
from surefoot_eval.data.records import Shown
from surefoot_eval.data.suite import Data
from surefoot_rag.documents import corpus
from surefoot_rag.records import Document

SAMPLE = Path(next(iter(surefoot_rag.__path__))) / "sample"

__all__ = ["Dataset", "LabelledQuestion", "gather"]

LONG_WORDS = 12  # a question of more words is long; about the median of XQuAD's


class LabelledQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A question with its gold, its language, and the group that a resampling keeps together."""

    query: Query
    language: str
    group: str

    @property
    def slices(self) -> dict[str, str]:
        """What a report may cut by."""
        return {
            "language": self.language,
            "answerable": "yes" if self.query.answerable else "no",
            "length": "long" if len(self.query.text.split()) > LONG_WORDS else "short",
        }


class Dataset:
    """`documents` are to be indexed; `questions` asked."""

    def __init__(self, documents: Sequence[Document], questions: Sequence[LabelledQuestion]) -> None:
        self.documents = tuple(documents)
        self.questions = tuple(questions)
        self._pieces: dict[str, list[Shown]] = {}

    def pieces(self, document: str) -> list[Shown]:
        """The passages a document is cut into now; none for one that is not indexed."""
        if document not in self._pieces:
            one = self._by_id.get(document)
            cut = corpus.passages(one) if one is not None else []
            self._pieces[document] = [Shown(id=it.id, document=document, start=it.start, end=it.end) for it in cut]
        return self._pieces[document]

    @cached_property
    def _by_id(self) -> Mapping[str, Document]:
        return {one.id: one for one in self.documents}

    @cached_property
    def text(self) -> Mapping[str, str]:
        """Each document's text."""
        return {one.id: one.text for one in self.documents}

    def shown(self, passage: Shown) -> str:
        """The text of a passage that was shown; of one from elsewhere, what the record kept."""
        return passage.text or self.text.get(passage.document, "")[passage.start : passage.end]

    @cached_property
    def asked(self) -> Mapping[str, LabelledQuestion]:
        """Each question by its id."""
        return {one.query.id: one for one in self.questions}

    @property
    def data_mark(self) -> str:
        """Digest of the questions and their gold."""
        return fingerprint([], [one.query for one in self.questions]).sha256

    @property
    def corpus_mark(self) -> str:
        """Digest of the documents that are indexed."""
        return fingerprint([_text(one) for one in self.documents], []).sha256

    def __str__(self) -> str:
        """One line for a report."""
        return str(fingerprint([_text(one) for one in self.documents], [one.query for one in self.questions]))


def gather(data: Data, *, near: Path, root: Path | None = None) -> Dataset:
    """Read what `data` describes; paths are tried beside `near` (the suite's folder), then under `root` (`--data`).

    Raises Misconfigured naming what is not there, or a gold span that does not hold what it says.
    """
    place = _place(data, near, root)
    if data.format == "folder":
        documents, questions = _folder(place)
    else:
        texts = squad(place, language=data.language) if data.format == "squad" else beir(place, split=data.split, language=data.language)
        documents = [_document(one, data.language) for one in texts.documents]
        group = {one.id: one.group for one in texts.documents}
        questions = [LabelledQuestion(query=one, language=data.language, group=_group(one, group)) for one in texts.queries]
        if data.leave_out:
            documents, questions = _left_out(documents, questions, group, data)
    if data.format == "folder" and data.leave_out:
        groups = {one.id: one.id for one in documents}
        documents, questions = _left_out(documents, questions, groups, data)
    chosen = _subset(questions, data)
    if not chosen:
        raise Misconfigured(f"{place}: no question in it")
    return Dataset(documents, chosen)


def _place(data: Data, near: Path, root: Path | None) -> Path:
    if not data.path:
        if data.format != "folder":
            raise Misconfigured(f'[data] format = "{data.format}" needs a path')
        return SAMPLE
    tried = [near / data.path, *([root / data.path] if root else [])]
    found = next((one for one in tried if one.exists()), None)
    if found is None:
        hint = "" if root else "; --data FOLDER names the folder of public data sets"
        raise Misconfigured(f"[data] path = {data.path!r}: not in {' nor in '.join(str(one.parent) for one in tried)}{hint}")
    return found


class _GoldOfLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an answer stands: by characters, or by a quotation (`text`) that stands in the document once."""

    document_id: str
    start: int | None = None
    end: int | None = None
    text: str = ""


class _QuestionLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of questions.jsonl, or a row of questions.csv; `answers` are all that is accepted, beside `answer`."""

    id: str | int
    question: str
    language: str = "und"
    answerable: bool = True
    gold: tuple[_GoldOfLine, ...] = ()
    answer: str = ""
    answers: tuple[str, ...] = ()
    cross_lingual: bool = False


def _folder(place: Path) -> tuple[list[Document], list[LabelledQuestion]]:
    """`docs/` and `questions.jsonl` or `questions.csv`: the sample's own format, fit for anybody's documents."""
    documents = list(corpus.load(place / "docs"))
    text = {one.id: one.text for one in documents}
    file = next((place / name for name in ("questions.jsonl", "questions.csv") if (place / name).is_file()), None)
    if file is None:
        raise Misconfigured(
            f"{place / 'questions.jsonl'}: no such file; a folder of questions holds docs/ and questions.jsonl or questions.csv"
        )
    found: list[LabelledQuestion] = []
    lines: dict[str, int] = {}
    for number, row in _csv_rows(file) if file.suffix == ".csv" else _json_rows(file):
        where = f"{file}, line {number}"
        key = str(row.id)
        if lines.setdefault(key, number) != number:
            raise Misconfigured(f"{where}: {key!r} stands already in line {lines[key]}")
        if row.answerable and not row.gold and not row.answer and not row.answers:
            raise Misconfigured(f"{where}: neither gold nor answer; write answerable = false where nothing answers it")
        gold = tuple(_span(one, text, where) for one in row.gold)
        query = Query(
            id=key,
            text=row.question,
            relevant={one.document: 1 for one in gold},
            answers=tuple(dict.fromkeys([*([row.answer] if row.answer else []), *row.answers])),
            gold=gold,
            answerable=row.answerable,
        )
        found.append(LabelledQuestion(query=query, language=row.language, group=gold[0].document if gold else key))
    return documents, found


def _span(gold: _GoldOfLine, text: Mapping[str, str], where: str) -> TextSpan:
    if gold.document_id not in text:
        near = difflib.get_close_matches(gold.document_id, list(text), n=1)
        raise Misconfigured(f"{where}: no document {gold.document_id!r} in docs/" + (f"; did you mean {near[0]!r}?" if near else ""))
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


COLUMNS = ("id", "question", "language", "answerable", "answer", "answers", "document", "quote")


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


def _left_out(
    documents: list[Document], questions: list[LabelledQuestion], group: Mapping[str, str], data: Data
) -> tuple[list[Document], list[LabelledQuestion]]:
    """Take a share of the groups out of the index: their questions become unanswerable, exactly, in any language."""
    names = sorted(set(group.values()))
    out = set(random.Random(f"{data.seed}:out").sample(names, round(len(names) * data.leave_out)))
    kept = [one for one in documents if group[one.id] not in out]
    asked = [
        replace(one, query=replace(one.query, relevant={}, answers=(), gold=(), answerable=False)) if one.group in out else one
        for one in questions
    ]
    return kept, asked


def _subset(questions: list[LabelledQuestion], data: Data) -> list[LabelledQuestion]:
    if not data.questions or data.questions >= len(questions):
        return questions
    groups: dict[str, list[LabelledQuestion]] = defaultdict(list)
    for one in questions:
        groups[one.group].append(one)
    names = sorted(groups)
    random.Random(f"{data.seed}:subset").shuffle(names)
    chosen: set[str] = set()
    for name in names:
        for one in groups[name]:
            if len(chosen) < data.questions:
                chosen.add(one.query.id)
    return [one for one in questions if one.query.id in chosen]


def _group(query: Query, group: Mapping[str, str]) -> str:
    return next((group[key] for key in sorted(query.relevant) if key in group), query.id)


def _document(text: DatasetText, language: str) -> Document:
    return Document(id=text.id, title=text.title, text=text.text, source=text.id, language=language, metadata={"type": "text"})


def _text(document: Document) -> DatasetText:
    return DatasetText(id=document.id, title=document.title, text=document.text, group=document.id)
