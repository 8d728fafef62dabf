"""Where an index is kept: what the pipelines ask of a store of passages, and how `--index` names one.

A folder holds an embedded Chroma database; `http://` and `https://` name a Chroma server; `https://api.trychroma.com` is Chroma Cloud,
whose key is read from CHROMA_API_KEY. Any other vector store of a framework is kept beside a record (`recorded`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from surefoot.errors import Misconfigured
from surefoot_rag.records import Passage, Scalar
from surefoot_rag.retrieval.filters import flat

__all__ = ["FIELDS", "FOREIGN", "INDEX_DIR", "Backend", "State", "is_address", "own", "passage_of", "passages_of", "place_of"]

INDEX_DIR = Path(".surefoot/index")
FIELDS = frozenset({"document", "title", "start", "end", "source", "page"})  # of a Passage itself, not of its metadata
FOREIGN = frozenset({"document_id", "doc_id", "ref_doc_id"})  # LlamaIndex's own


class State(msgspec.Struct, frozen=True):
    """What a collection is known to be: a new `version` whenever it changes, `is_whole` False while it does."""

    version: str
    is_whole: bool


class Backend(Protocol):
    """A store of one collection of passages with their vectors. Foreign errors leave it as surefoot's."""

    batch: int
    """Rows that may be written at once."""
    can_name: bool
    """Whether `nearest` takes the passages to choose from."""

    def count(self) -> int:
        """Passages held."""

    def rows(self, documents: Collection[str] | None = None) -> Iterator[tuple[str, dict[str, Scalar]]]:
        """The id and the metadata (`filters.flat`) of every passage, or of those of some documents."""

    def passages(self) -> Iterator[Passage]:
        """Every passage."""

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Those of these passages that are there now."""

    def nearest(self, vector: Any, count: int, *, among: Sequence[str] | None = None) -> dict[str, float]:
        """The `count` passages nearest to a vector (of all, or of those named), with their cosines, best first."""

    def vectors(self, ids: Sequence[str]) -> dict[str, tuple[str, Any]]:
        """The text and the vector of each passage; {} where vectors cannot be read."""

    def put(self, passages: Sequence[Passage], vectors: Sequence[Any], metadatas: Sequence[Mapping[str, Scalar]]) -> None:
        """Keep passages; what stands under the same ids is replaced."""

    def amend(self, ids: Sequence[str], metadatas: Sequence[Mapping[str, Scalar | None]]) -> None:
        """Correct metadata; None takes a field away."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete passages."""

    def state(self) -> State | None:
        """What the last writer said; None: nobody has."""

    def write_state(self, state: State) -> None:
        """Say it to all that read."""


def is_address(index: object) -> bool:
    """Whether `--index` names a server and not a folder. Raises Misconfigured for an address of another kind."""
    scheme, found, rest = str(index).partition("://")
    if found and scheme.lower() not in {"http", "https"}:
        raise Misconfigured(f"index {index}: want a folder, or http:// or https:// and the host of a Chroma server")
    if found and not urlsplit(str(index)).hostname:
        raise Misconfigured(f"index {scheme}://{rest}: it names no host; want http://HOST:PORT")
    return bool(found)


def place_of(index: str | Path) -> Path:
    """The folder on this machine for what is kept beside an index: the folder itself, or one for the server below INDEX_DIR."""
    if not is_address(index):
        return Path(index)
    url = urlsplit(str(index))
    said = f"{url.hostname}:{url.port}{url.path}?{url.query}"  # without who asks
    return INDEX_DIR / f"{re.sub('[^a-z0-9.]', '-', (url.hostname or '').lower())}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def passage_of(key: str, text: str, meta: Mapping[str, Any]) -> Passage:
    """The passage that `filters.flat` flattened."""
    return Passage(
        id=key,
        document_id=str(meta["document"]),
        title=str(meta["title"]),
        text=text,
        start=int(meta["start"]),
        end=int(meta["end"]),
        source=str(meta["source"]),
        page=int(meta["page"]) if "page" in meta else None,
        metadata={name: value for name, value in own(meta).items() if name not in FIELDS},
    )


def passages_of(rows: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Iterator[Passage]:
    """The passages of rows of id, text and metadata."""
    return (passage_of(*row) for row in rows)


def own(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without what the frameworks add."""
    return {name: value for name, value in meta.items() if name not in FOREIGN and not name.startswith("_")}


def is_unchanged(passage: Passage, stored: Mapping[str, Scalar]) -> bool:
    """Whether an index holds the passage's metadata as it is now (its text is in its id)."""
    return flat(passage) == stored
