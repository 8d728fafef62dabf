"""BM25 over passages, language-aware, with their metadata as columns; kept on disk beside the index, so that opening one reads no passage.

A filter is a mask over columns of small numbers, not a look at every passage. Tokens are kept too: what an index held before is not stemmed
again when one document changes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from surefoot_rag.records import Passage, Scalar
from surefoot_rag.retrieval.filters import flat
from surefoot_rag.retrieval.fusion import K1, POOL, B, query_tokens, tokens

__all__ = ["Lexical"]

_ROWS, _TOKENS = "rows.msgpack", "tokens.msgpack"


class _Column(msgspec.Struct, frozen=True, gc=False):
    """One metadata field: the value of each row as a place in `values`, -1 where the row has none; 32-bit little-endian numbers."""

    codes: bytes
    values: list[bool | int | float | str]


class _Rows(msgspec.Struct, frozen=True):
    ids: list[str]
    columns: dict[str, _Column]


class _StemRows(msgspec.Struct, frozen=True):
    """The stems of each row as places in `words`, and what they were made of: its id (which holds its text) and its title."""

    words: list[str]
    rows: dict[str, list[int]]


class Lexical:
    """BM25 in Lucene's form over passages; titles are searched with the text. `known` is one whose stems may be used again."""

    def __init__(self, passages: Iterable[Passage], *, known: Lexical | None = None) -> None:
        import bm25s

        given = list(passages)
        vocabulary, held = known._stems() if known is not None else ({}, {})  # noqa: SLF001 - same class
        stems: dict[str, list[int]] = {}
        for one in given:
            key = f"{one.id}\n{one.title}"
            stems[key] = held.get(key) or [vocabulary.setdefault(word, len(vocabulary)) for word in tokens(f"{one.title} {one.text}")]
        self._folder: Path | None = None
        self._tokens: _StemRows | None = _StemRows(list(vocabulary), stems)
        self._rows = _Rows([one.id for one in given], _columns([flat(one) for one in given]))
        self._index: Any = None
        if any(stems.values()):
            self._index = bm25s.BM25(k1=K1, b=B, method="lucene")
            rows = [stems[f"{one.id}\n{one.title}"] for one in given]
            self._index.index(bm25s.tokenization.Tokenized(ids=rows, vocab=dict(vocabulary)), show_progress=False)

    @property
    def fields(self) -> frozenset[str]:
        """The metadata fields that any passage has."""
        return frozenset(self._rows.columns)

    def search(self, question: str, k: int = POOL, *, wanted: Mapping[str, Sequence[Scalar]] | None = None) -> dict[str, float]:
        """The best `k` passages with their scores; those sharing no word with the question, or that `wanted` leaves out, are left out."""
        asked = [word for word in query_tokens(question) if self._index is not None and word in self._index.vocab_dict]
        if self._index is None or not asked:
            return {}
        scores = self._index.get_scores(asked)
        for name, values in (wanted or {}).items():
            scores = scores * self._having(name, values)
        best = scores.argsort()[::-1][:k]
        return {self._rows.ids[i]: float(scores[i]) for i in best if scores[i] > 0}

    def _having(self, name: str, values: Sequence[Scalar]) -> Any:
        """Which rows have one of `values`; a number is not the text of it, and true is not one, as in the store."""
        import numpy as np

        column = self._rows.columns.get(name)
        if column is None:
            return np.zeros(len(self._rows.ids), dtype=bool)
        kinds = {(type(value), value) for value in values}
        codes = [code for code, value in enumerate(column.values) if (type(value), value) in kinds]
        return np.isin(np.frombuffer(column.codes, dtype="<i4"), codes)

    def _stems(self) -> tuple[dict[str, int], dict[str, list[int]]]:
        kept = self._tokens
        if kept is None and self._folder is not None:
            try:
                kept = msgspec.msgpack.decode((self._folder / _TOKENS).read_bytes(), type=_StemRows)
            except (OSError, msgspec.MsgspecError):  # a help, no more: they are made again
                kept = None
        return ({}, {}) if kept is None else ({word: at for at, word in enumerate(kept.words)}, kept.rows)

    def save(self, folder: Path) -> None:
        """Write everything into `folder`, which is new."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / _ROWS).write_bytes(msgspec.msgpack.encode(self._rows))
        (folder / _TOKENS).write_bytes(msgspec.msgpack.encode(self._tokens or _StemRows([], {})))
        if self._index is not None:
            self._index.save(str(folder), show_progress=False)
        self._folder, self._tokens = folder, None

    @classmethod
    def load(cls, folder: Path) -> Lexical:
        """What was saved. Raises OSError or ValueError where it is not whole."""
        import bm25s

        self = cls.__new__(cls)
        self._folder, self._tokens = folder, None
        self._rows = msgspec.msgpack.decode((folder / _ROWS).read_bytes(), type=_Rows)
        is_empty = not (folder / "params.index.json").exists()
        self._index = None if is_empty else bm25s.BM25.load(str(folder), mmap=True, show_progress=False)
        return self


def _columns(rows: Sequence[Mapping[str, Scalar]]) -> dict[str, _Column]:
    import numpy as np

    codes: dict[str, Any] = {}
    places: dict[str, dict[tuple[type, Scalar], int]] = {}
    for at, row in enumerate(rows):
        for name, value in row.items():
            if name not in codes:
                codes[name], places[name] = np.full(len(rows), -1, dtype="<i4"), {}
            codes[name][at] = places[name].setdefault((type(value), value), len(places[name]))
    return {name: _Column(codes[name].tobytes(), [value for _, value in places[name]]) for name in codes}
