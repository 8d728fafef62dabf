"""Data sets as the field keeps them: BEIR folders and SQuAD files in, with a fingerprint that says which data was measured.

Gold stands by document and character span, not by chunk, so that cutting the documents differently does not break it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from surefoot.errors import Misconfigured

__all__ = [
    "DatasetText",
    "Fingerprint",
    "Query",
    "TextSet",
    "TextSpan",
    "beir",
    "beir_documents",
    "fingerprint",
    "span_of",
    "spans_found",
    "squad",
]


class DatasetText(msgspec.Struct, frozen=True, kw_only=True):
    """A document; `group` is what a resampling must keep together or a fold must not cut (an article), by default the document itself."""

    id: str
    title: str
    text: str
    group: str

    @property
    def full(self) -> str:
        """Title and text as the published figures embed and index them."""
        return f"{self.title} {self.text}".strip()


class TextSpan(msgspec.Struct, frozen=True):
    """Characters `[start, end)` of a document's text."""

    document: str
    start: int
    end: int


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A question with its gold.

    `relevant` grades documents (above 0: relevant); `answers` are accepted texts; `gold` is where they stand; `answerable` is False where
    the data says that nothing answers it.
    """

    id: str
    text: str
    relevant: Mapping[str, int] = {}
    answers: tuple[str, ...] = ()
    gold: tuple[TextSpan, ...] = ()
    answerable: bool = True


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """Which data this was. Characters are Unicode code points of `DatasetText.full` and of the queries' texts."""

    documents: int
    document_chars: int
    queries: int
    query_chars: int
    judgements: int
    sha256: str

    def __str__(self) -> str:
        """One line for a report."""
        return (
            f"{self.documents:,} documents of {self.document_chars:,} characters, {self.queries:,} queries of {self.query_chars:,}, "
            f"{self.judgements:,} judgements, sha256 {self.sha256[:16]}"
        )


class TextSet(msgspec.Struct, frozen=True, kw_only=True):
    """Documents and queries of one split; `language` is "en", "tr" or "und"."""

    name: str
    split: str
    language: str
    documents: tuple[DatasetText, ...]
    queries: tuple[Query, ...]

    @property
    def fingerprint(self) -> Fingerprint:
        """Counts, characters and a digest of all that is measured."""
        return fingerprint(self.documents, self.queries)

    def group_of(self, query: Query) -> str:
        """The cluster a query belongs to: the group of its first relevant document; its own id where there is none."""
        groups = {text.id: text.group for text in self.documents}
        return next((groups[key] for key in sorted(query.relevant) if key in groups), query.id)


def fingerprint(documents: Iterable[DatasetText], queries: Iterable[Query]) -> Fingerprint:
    """The same for the same content in whatever order the files hold it."""
    texts, asked = sorted(documents, key=lambda one: one.id), sorted(queries, key=lambda one: one.id)
    digest = hashlib.sha256()
    for text in texts:
        _feed(digest, ["D", text.id, text.title, text.text])
    for query in asked:
        gold = sorted((window.document, window.start, window.end) for window in query.gold)
        _feed(digest, ["Q", query.id, query.text, sorted(query.relevant.items()), query.answers, gold, query.answerable])
    return Fingerprint(
        documents=len(texts),
        document_chars=sum(len(text.full) for text in texts),
        queries=len(asked),
        query_chars=sum(len(query.text) for query in asked),
        judgements=sum(len(query.relevant) for query in asked),
        sha256=digest.hexdigest(),
    )


def beir(folder: Path, *, split: str = "test", queries: str = "queries.jsonl", language: str = "en") -> TextSet:
    """Read `corpus.jsonl`, the queries and `qrels/SPLIT.tsv` of a BEIR folder.

    Only queries with a judgement in the split are kept, as BEIR and MTEB do. A query's metadata may hold `answers`, `answer_start` and
    `paragraph` (XQuAD), which become its gold. Raises Misconfigured naming the file and line that cannot be read or the judgement
    that names nothing.
    """
    texts = beir_documents(folder)
    judged = _qrels(folder / "qrels" / f"{split}.tsv")
    found = []
    for row in _rows(folder / queries, ("_id", "text")):
        row["_id"] = str(row["_id"])
        if row["_id"] in judged:
            extra = row.get("metadata") or {}
            starts = zip(extra.get("answers", ()), extra.get("answer_start", ()), strict=True)
            found.append(
                Query(
                    id=row["_id"],
                    text=row["text"],
                    relevant=judged[row["_id"]],
                    answers=tuple(extra.get("answers", ())),
                    gold=tuple(TextSpan(extra["paragraph"], start, start + len(text)) for text, start in starts),
                )
            )
    unknown = {key for grades in judged.values() for key in grades} - {text.id for text in texts}
    if unknown:
        raise Misconfigured(f"{folder}: the {split} judgements name {len(unknown)} documents that are not there, {min(unknown)!r} first")
    lost = judged.keys() - {query.id for query in found}
    if lost:
        raise Misconfigured(f"{folder}: the {split} judgements name {len(lost)} queries that are not in {queries}, {min(lost)!r} first")
    return TextSet(name=folder.name, split=split, language=language, documents=texts, queries=tuple(found))


def beir_documents(folder: Path) -> tuple[DatasetText, ...]:
    """The documents of a BEIR folder, its `corpus.jsonl`. Raises Misconfigured naming the line that cannot be read."""
    return tuple(
        DatasetText(id=str(row["_id"]), title=row.get("title") or "", text=row["text"], group=str(row["_id"]))
        for row in _rows(folder / "corpus.jsonl", ("_id", "text"))
    )


def squad(file: Path, *, language: str = "en") -> TextSet:
    """Read SQuAD 1.1 or 2.0 JSON: one document a paragraph, its article as the group.

    Spans that do not hold their answer raise Misconfigured: gold that points elsewhere makes every figure wrong. `is_impossible`
    questions have no answer, no gold and no relevant document.
    """
    if not file.is_file():
        raise Misconfigured(f"{file}: no such file")
    texts: list[DatasetText] = []
    found: list[Query] = []
    try:
        articles = json.loads(file.read_text(encoding="utf-8-sig"))["data"]
    except (ValueError, KeyError, TypeError) as exc:
        raise Misconfigured(f"{file}: no SQuAD file, an object with data ({type(exc).__name__}: {exc})") from exc
    for number, article in enumerate(articles):
        group = f"{number:03}-{article.get('title') or ''}".rstrip("-")
        for paragraph in article["paragraphs"]:
            key = f"p{len(texts):03}"
            texts.append(DatasetText(id=key, title="", text=paragraph["context"], group=group))
            found.extend(_asked(item, texts[-1], file) for item in paragraph["qas"])
    twice = [key for key, times in Counter(query.id for query in found).items() if times > 1]
    if twice:
        raise Misconfigured(f"{file}: {len(twice)} ids stand for several questions, {twice[0]!r} first")
    return TextSet(name=file.stem, split="all", language=language, documents=tuple(texts), queries=tuple(found))


def spans_found(gold: Iterable[TextSpan], got: Iterable[TextSpan]) -> int:
    """How many of `gold` lie wholly inside one of `got`: passages or citations, however the documents were cut."""
    held = list(got)
    return sum(any(one.document == it.document and one.start <= it.start and it.end <= one.end for one in held) for it in gold)


def span_of(text: str, said: str, start: Any, *, where: str) -> tuple[int, int]:
    """Where an answer stands: at its offset, which some files write as text; without one the quotation must stand in the text once.

    Raises Misconfigured where it stands elsewhere, nowhere, or twice.
    """
    if not said:
        raise Misconfigured(f"{where}: an answer without text")
    if start is None or start == "":
        places = [match.start() for match in re.finditer(re.escape(said), text)]
        if len(places) != 1:
            raise Misconfigured(f"{where}: {said[:60]!r} stands in its text {len(places)} times; give the offset (answer_start)")
        return places[0], places[0] + len(said)
    try:
        at = int(start)
    except (TypeError, ValueError) as exc:
        raise Misconfigured(f"{where}: the offset {start!r} is no number") from exc
    if text[at : at + len(said)] == said:
        return at, at + len(said)
    raise Misconfigured(f"{where} says its answer {said[:60]!r} is at {at}, where {text[at : at + len(said)]!r} stands")


def _asked(item: Mapping[str, Any], text: DatasetText, file: Path) -> Query:
    missing = [name for name in ("id", "question") if name not in item]
    if missing:
        raise Misconfigured(f"{file}: a question of paragraph {text.id} ({text.text[:40]!r}) has no {', '.join(missing)}")
    impossible = bool(item.get("is_impossible"))
    told = item.get("answers", ())
    if not impossible and not told:
        raise Misconfigured(f"{file}: question {item['id']} has no answers, and is_impossible does not say that nothing answers it")
    gold = []
    for answer in () if impossible else told:
        span = span_of(text.text, answer.get("text", ""), answer.get("answer_start"), where=f"{file}: question {item['id']}")
        gold.append(TextSpan(text.id, *span))
    return Query(
        id=str(item["id"]),
        text=item["question"],
        relevant={} if impossible else {text.id: 1},
        answers=() if impossible else tuple(dict.fromkeys(answer["text"] for answer in told)),
        gold=tuple(dict.fromkeys(gold)),
        answerable=not impossible,
    )


def _rows(file: Path, needed: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        raise Misconfigured(f"{file}: no such file")
    seen: dict[str, int] = {}
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as exc:
                raise Misconfigured(f"{file}, line {number}: not JSON ({exc})") from exc
            missing = [name for name in needed if not isinstance(row, dict) or name not in row]
            if missing:
                raise Misconfigured(f"{file}, line {number}: no {', '.join(missing)}")
            first = seen.setdefault(str(row["_id"]), number)
            if first != number:
                raise Misconfigured(f"{file}, line {number}: {row['_id']!r} stands already in line {first}")
            yield row


def _qrels(file: Path) -> dict[str, dict[str, int]]:
    """BEIR's three columns under a header, or TREC's four without one."""
    if not file.is_file():
        raise Misconfigured(f"{file}: no such file")
    judged: dict[str, dict[str, int]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split("\t")
        if not line.strip() or (number == 1 and cells[-1] == "score"):
            continue
        try:
            query, document, grade = (cells[0], *cells[-2:]) if len(cells) in {3, 4} else ("", "", "")
            judged.setdefault(query, {})[document] = int(grade)
        except ValueError as exc:
            raise Misconfigured(f"{file}, line {number}: expected query, document and a whole grade between tabs") from exc
    return judged


def _feed(digest: Any, record: list[Any]) -> None:
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    digest.update(len(line).to_bytes(8, "big") + line)
