"""A question that was made and not looked at yet, and the documents it was made from."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import beir_documents, squad
from surefoot_rag.documents import corpus
from surefoot_rag.documents.language import language_of
from surefoot_rag.records import Document, Passage
from surefoot_rag.retrieval.lexical import Lexical

__all__ = ["Candidate", "Material", "documents_of", "spread"]

T = TypeVar("T")
Kind = Literal["rule", "model", "near-miss"]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A question with what it rests on.

    `quote` is the sentence that answers it, at `[start, end)` of `document`; a near miss has none, and nothing answers it. `rank` is the
    place at which BM25 finds that sentence, from 1 (0: not looked for); `margin` is its score over that of the best passage without it.
    """

    id: str
    kind: Kind
    language: str
    question: str
    answer: str = ""
    document: str = ""
    quote: str = ""
    start: int = 0
    end: int = 0
    rank: int = 0
    margin: float = 0.0
    note: str = ""


class Material:
    """Documents with their passages, searched by words alone."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = tuple(documents)
        self.passages: tuple[Passage, ...] = tuple(one for document in self.documents for one in corpus.passages(document))
        if not self.passages:
            raise Misconfigured("there is no text in these documents to ask about")

    @cached_property
    def words(self) -> Lexical:
        """BM25 over the passages."""
        return Lexical(self.passages)

    @cached_property
    def by_id(self) -> dict[str, Passage]:
        """Each passage by its id."""
        return {one.id: one for one in self.passages}

    @cached_property
    def text(self) -> dict[str, str]:
        """Each document's text by its id."""
        return {one.id: one.text for one in self.documents}


def documents_of(place: Path, kind: str) -> tuple[list[Document], str]:
    """Read a folder of documents (or the docs/ in it), a SQuAD file, or a BEIR folder; also says what was left out and why."""
    if kind == "folder":
        loaded = corpus.load(place / "docs" if (place / "docs").is_dir() else place, unreadable="skip")
        left = len(loaded.skipped)
        return list(loaded), f"{left} files left out, {loaded.skipped[0].source} first ({loaded.skipped[0].reason})" if left else ""
    texts = squad(place).documents if kind == "squad" else beir_documents(place)
    return [Document(id=one.id, title=one.title, text=one.text, source=one.id, language=language_of(one.text)) for one in texts], ""


def spread(found: Sequence[T], count: int, *, seed: int, document: Callable[[T], str]) -> list[T]:
    """`count` of what was found, of all documents by turns, and of each document not only from its beginning."""
    draw = random.Random(seed)
    by_document: dict[str, list[T]] = {}
    for one in found:
        by_document.setdefault(document(one), []).append(one)
    for several in by_document.values():
        draw.shuffle(several)
    names = sorted(by_document)
    draw.shuffle(names)
    chosen: list[T] = []
    while len(chosen) < count and any(by_document.values()):
        chosen += [by_document[name].pop() for name in names if by_document[name]]
    return chosen[:count]
