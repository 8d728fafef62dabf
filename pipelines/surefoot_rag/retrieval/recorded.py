"""Any vector store of a framework, beside a record of what it holds.

LangChain's and LlamaIndex's vector stores share no way to list what is in them, so what was put there, with its text and metadata, is
recorded in an SQLite file (or in memory, for stores that live there). The vectors are in the store alone.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from surefoot.errors import Misconfigured
from surefoot_rag.records import Passage, Scalar
from surefoot_rag.retrieval.backends import State, own, passage_of

__all__ = ["RecordedBackend", "VectorStore"]

_TABLES = """
CREATE TABLE IF NOT EXISTS passages (id TEXT PRIMARY KEY, document TEXT NOT NULL, text TEXT NOT NULL, meta BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS of_document ON passages (document);
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
MOST_NAMES = 500  # ids named in one statement


class VectorStore(Protocol):
    """A framework's vector store, as its pipeline module adapts it."""

    def add(self, passages: Sequence[Passage], vectors: Sequence[Any], metadatas: Sequence[Mapping[str, Scalar]]) -> None:
        """Add passages under their ids; none of them is there."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete passages."""

    def nearest(self, vector: Any, count: int) -> dict[str, float]:
        """The nearest passages with their cosines, best first."""


class RecordedBackend:
    """A `Backend` over a framework's vector store. `place` is the folder of the record; None: in memory."""

    batch = 500
    can_name = False

    def __init__(self, vectors: VectorStore, name: str, place: Path | None, *, space: str, create: bool) -> None:
        self.store = vectors
        self._lock = threading.RLock()
        file = None if place is None else place / "records" / f"{name}.db"
        if file is not None and not file.is_file() and not create:
            raise Misconfigured(f"no index in {place}: index documents into it first")
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        self._record = sqlite3.connect(":memory:" if file is None else file, check_same_thread=False, timeout=30, isolation_level=None)
        self._record.executescript(_TABLES)
        if (found := self._said("space")) not in {None, space}:
            raise Misconfigured(
                f"{place} was indexed in the embedding space {found!r}, the model at hand is {space!r}: use the model it was made with"
            )
        self._say("space", space)

    def _said(self, name: str) -> str | None:
        rows = self._rows("SELECT value FROM about WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def _say(self, name: str, value: str) -> None:
        self._rows("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._record.execute(sql, values).fetchall()

    def _many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._lock:
            self._record.execute("BEGIN")
            try:
                self._record.executemany(sql, rows)
            except BaseException:
                self._record.execute("ROLLBACK")
                raise
            self._record.execute("COMMIT")

    def count(self) -> int:
        """Passages held."""
        return int(self._rows("SELECT count(*) FROM passages")[0][0])

    def rows(self, documents: Collection[str] | None = None) -> Iterator[tuple[str, dict[str, Scalar]]]:
        """Id and metadata of every passage, or of those of some documents."""
        if documents is None:
            found = self._rows("SELECT id, meta FROM passages")
        else:
            found = [row for part in _parts(sorted(documents)) for row in self._named("SELECT id, meta FROM passages WHERE document", part)]
        return ((key, own(msgspec.msgpack.decode(meta))) for key, meta in found)

    def _named(self, sql: str, names: Sequence[str]) -> list[Any]:
        return self._rows(f"{sql} IN ({', '.join('?' * len(names))})", names)

    def passages(self) -> Iterator[Passage]:
        """Every passage."""
        return (
            passage_of(key, text, msgspec.msgpack.decode(meta)) for key, text, meta in self._rows("SELECT id, text, meta FROM passages")
        )

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Those of these passages that are there now."""
        found = [row for part in _parts(ids) for row in self._named("SELECT id, text, meta FROM passages WHERE id", part)]
        return {key: passage_of(key, text, msgspec.msgpack.decode(meta)) for key, text, meta in found}

    def nearest(self, vector: Any, count: int, *, among: Sequence[str] | None = None) -> dict[str, float]:
        """The nearest passages, as the store finds them."""
        del among
        return self.store.nearest(vector, count)

    def vectors(self, ids: Sequence[str]) -> dict[str, tuple[str, Any]]:
        """None: the frameworks' stores do not give them back."""
        del ids
        return {}

    def put(self, passages: Sequence[Passage], vectors: Sequence[Any], metadatas: Sequence[Mapping[str, Scalar]]) -> None:
        """Keep passages; recorded after the store has them, so that a run that was killed puts them again."""
        if there := list(self.get([one.id for one in passages])):
            self.store.delete(there)
        self.store.add(passages, vectors, metadatas)
        rows = [(one.id, one.document_id, one.text, msgspec.msgpack.encode(meta)) for one, meta in zip(passages, metadatas, strict=True)]
        self._many("INSERT OR REPLACE INTO passages VALUES (?, ?, ?, ?)", rows)

    def amend(self, ids: Sequence[str], metadatas: Sequence[Mapping[str, Scalar | None]]) -> None:
        """Correct metadata in the record, which filters and answers are made from."""
        rows = [
            (msgspec.msgpack.encode({name: value for name, value in meta.items() if value is not None}), key)
            for key, meta in zip(ids, metadatas, strict=True)
        ]
        self._many("UPDATE passages SET meta = ? WHERE id = ?", rows)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete passages: from the record first, so that none is served that is gone."""
        if ids:
            self._many("DELETE FROM passages WHERE id = ?", [(key,) for key in ids])
            self.store.delete(ids)

    def state(self) -> State | None:
        """What the last writer said."""
        said = self._said("state")
        return None if said is None else msgspec.json.decode(said, type=State)

    def write_state(self, state: State) -> None:
        """Say it to all that read the record."""
        self._say("state", msgspec.json.encode(state).decode())


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), MOST_NAMES):
        yield list(ids[start : start + MOST_NAMES])
