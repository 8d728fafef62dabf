"""The material of a suite: documents to index and questions to ask, whatever format they came in.

Gold stands by document and character span, so the documents may be cut into passages in any way.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace

import surefoot_rag
from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import DatasetText, Query, beir, beir_documents, fingerprint, squad
from surefoot_eval.data.questions import LabelledQuestion, find_file, read
from surefoot_eval.data.records import Shown
from surefoot_eval.data.suite import Data
from surefoot_rag.answers.answering import SILENT
from surefoot_rag.documents import corpus
from surefoot_rag.records import Document

SAMPLE = Path(next(iter(surefoot_rag.__path__))) / "sample"

__all__ = ["Dataset", "LabelledQuestion", "gather"]


class Dataset:
    """`documents` are to be indexed; `questions` asked. `history` says whose answers a later turn follows (see `Data`)."""

    def __init__(self, documents: Sequence[Document], questions: Sequence[LabelledQuestion], *, history: str = "own") -> None:
        self.documents = tuple(documents)
        self.questions = tuple(questions)
        self.history = history
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
    def has_turns(self) -> bool:
        """Whether a question follows another."""
        return any(one.earlier for one in self.questions)

    def in_context(self, asked: LabelledQuestion) -> str:
        """A question, after those of the same conversation that were asked before it."""
        return " > ".join([*(self.asked[key].query.text for key in asked.earlier), asked.query.text])

    def accepted(self, key: str) -> str:
        """What should be answered: the accepted answer, else the gold's own words; a refusal where nothing answers."""
        asked = self.asked[key]
        if not asked.query.answerable:
            return SILENT.get(asked.language, SILENT["en"])
        spans = (self.text[one.document][one.start : one.end] for one in asked.query.gold if one.document in self.text)
        return asked.query.answers[0] if asked.query.answers else next(spans, "")

    @property
    def data_mark(self) -> str:
        """Digest of the questions and their gold, and of which follows which."""
        mark = fingerprint([], [one.query for one in self.questions]).sha256
        if not self.has_turns:
            return mark
        turns = [f"{one.query.id}\0{one.earlier}" for one in self.questions]
        return hashlib.sha256("\0".join([mark, self.history, *sorted(turns)]).encode()).hexdigest()

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
    queries: Sequence[Query] | None = None
    if data.format == "folder":
        documents = _documents(place, data)
        group = {one.id: one.id for one in documents}
    else:
        texts, queries = _published(data, place)
        documents = [_document(one, data.language) for one in texts]
        group = {one.id: one.group for one in texts}
    if queries is None:
        questions = read(_questions_file(data, place, near), {one.id: one.text for one in documents}, groups=group)
    else:
        questions = [LabelledQuestion(query=one, language=data.language, group=_group(one, group)) for one in queries]
    if data.leave_out:
        if any(one.earlier for one in questions):
            raise Misconfigured("[data] leave_out: not with conversations, whose turns may rest on several documents")
        documents, questions = _left_out(documents, questions, group, data)
    chosen = _subset(questions, data)
    if not chosen:
        raise Misconfigured(f"{place}: no question in it")
    return Dataset(documents, chosen, history=data.history)


def _documents(place: Path, data: Data) -> list[Document]:
    """Those of docs/; where the suite names a file of questions, any folder will do, and what cannot be read is left out."""
    if (place / "docs").is_dir() or not data.file:
        return list(corpus.load(place / "docs"))
    return list(corpus.load(place, unreadable="skip"))


def _published(data: Data, place: Path) -> tuple[Sequence[DatasetText], Sequence[Query] | None]:
    """A data set's documents, and its questions where the suite names no file of others."""
    if data.format == "beir" and data.file:
        return beir_documents(place), None
    found = squad(place, language=data.language) if data.format == "squad" else beir(place, split=data.split, language=data.language)
    return found.documents, None if data.file else found.queries


def _questions_file(data: Data, place: Path, near: Path) -> Path:
    if not data.file:
        return find_file(place)
    tried = [near / data.file, (place if place.is_dir() else place.parent) / data.file]
    found = next((one for one in tried if one.is_file()), None)
    if found is None:
        raise Misconfigured(f"[data] file = {data.file!r}: neither in {near} nor in {tried[1].parent}")
    return found


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
