"""BM25 over passages, language-aware, with their metadata as columns; kept on disk beside the index, so that opening one reads no passage.

A filter is a mask over columns of small numbers, not a look at every passage. Stems are kept too: what an index held before is not stemmed
again when one document changes, and not even read.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from surefoot_rag.records import Passage, Scalar
from surefoot_rag.retrieval.filters import flat
from surefoot_rag.retrieval.fusion import K1, POOL, B, query_tokens, tokens

__all__ = ["Lexical"]

_ROWS, _WORDS, _STEMS, _ENDS = "columns.msgpack", "stems.msgpack", "stems.npy", "ends.npy"


class _Column(msgspec.Struct, frozen=True, gc=False):
    """One metadata field: the value of each row as a place in `values`, -1 where the row has none; 32-bit little-endian numbers."""

    codes: bytes
    values: list[bool | int | float | str]


class _Rows(msgspec.Struct, frozen=True):
    ids: list[str]
    columns: dict[str, _Column]


class _Stems(NamedTuple):
    """The stems of all rows, one after the other, as places in `words` (int32); `ends` says where each row's end (int64)."""

    words: list[str]
    places: Any
    ends: Any


class Lexical:
    """BM25 in Lucene's form over passages; titles are searched with the text. `known` is one whose stems may be used again."""

    def __init__(self, passages: Iterable[Passage], *, known: Lexical | None = None) -> None:
        given = list(passages)
        old = known._kept_stems() if known is not None else None  # noqa: SLF001 - same class
        self._made(_Rows([one.id for one in given], _columns([flat(one) for one in given])), _stemmed(given, known, old))

    def _made(self, rows: _Rows, stems: _Stems) -> Lexical:
        self._folder: Path | None = None
        self._rows = rows
        self._stems: _Stems | None = stems
        self._place: dict[str, int] | None = None
        self._index: Any = _bm25(stems) if len(stems.places) else None
        return self

    def __len__(self) -> int:
        """Passages."""
        return len(self._rows.ids)

    @property
    def fields(self) -> frozenset[str]:
        """The metadata fields that any passage has."""
        return frozenset(self._rows.columns)

    def updated(self, put: Sequence[Passage], gone: Collection[str]) -> Lexical | None:
        """The words after `put` were added or corrected and `gone` removed; nothing else is stemmed. None: what is kept cannot be read."""
        import numpy as np

        fresh = [one.id for one in put]
        away = {*fresh, *gone}
        kept = np.fromiter((key not in away for key in self._rows.ids), dtype=bool, count=len(self))
        added = Lexical(put, known=self)
        old, new = self._kept_stems(), added._kept_stems()
        if old is None or new is None:
            return None
        lengths = np.diff(old.ends, prepend=0)
        words = {word: at for at, word in enumerate(old.words)}
        moved = np.fromiter((words.setdefault(word, len(words)) for word in new.words), dtype=np.int32, count=len(new.words))
        places = np.concatenate([old.places[np.repeat(kept, lengths)], moved[new.places] if len(new.places) else new.places])
        ends = np.cumsum(np.concatenate([lengths[kept], np.diff(new.ends, prepend=0)]), dtype=np.int64)
        ids = [*(key for key, is_kept in zip(self._rows.ids, kept, strict=True) if is_kept), *fresh]
        rows = _Rows(ids, _joined(self._rows, kept, added._rows))
        return Lexical.__new__(Lexical)._made(rows, _Stems(list(words), places, ends))  # noqa: SLF001 - same class

    def rows(self) -> dict[str, dict[str, Scalar]]:
        """The metadata of every passage by id, as `filters.flat` gives it."""
        found: dict[str, dict[str, Scalar]] = {key: {} for key in self._rows.ids}
        for name, column in self._rows.columns.items():
            values = column.values
            for row, code in zip(found.values(), _codes(column).tolist(), strict=True):
                if code >= 0:
                    row[name] = values[code]
        return found

    def search(self, question: str, k: int = POOL, *, wanted: Mapping[str, Sequence[Scalar]] | None = None) -> dict[str, float]:
        """The best `k` passages with their scores; those sharing no word with the question, or that `wanted` leaves out, are left out."""
        asked = [word for word in query_tokens(question) if self._index is not None and word in self._index.vocab_dict]
        if self._index is None or not asked:
            return {}
        scores = self._index.get_scores(asked)
        if wanted:
            scores = scores * self.allowed(wanted)
        best = scores.argpartition(-k)[-k:] if k < len(scores) else range(len(scores))
        ranked = sorted(best, key=lambda i: (-scores[i], i))
        return {self._rows.ids[i]: float(scores[i]) for i in ranked if scores[i] > 0}

    def allowed(self, wanted: Mapping[str, Sequence[Scalar]]) -> Any:
        """Which rows a filter leaves in: bool [len(self)]. A number is not the text of it, and true is not one, as in the store."""
        import numpy as np

        mask = np.ones(len(self), dtype=bool)
        for name, values in wanted.items():
            column = self._rows.columns.get(name)
            kinds = {(type(value), value) for value in values}
            codes = [] if column is None else [code for code, value in enumerate(column.values) if (type(value), value) in kinds]
            mask &= np.isin(_codes(column), codes) if column is not None else False
        return mask

    def among(self, ids: Iterable[str], mask: Any) -> set[str]:
        """Those of `ids` that `mask` (of `allowed`) leaves in."""
        if self._place is None:
            self._place = {key: at for at, key in enumerate(self._rows.ids)}
        place = self._place
        return {key for key in ids if key in place and mask[place[key]]}

    def ids(self, mask: Any) -> list[str]:
        """The passages that `mask` (of `allowed`) leaves in."""
        return [self._rows.ids[at] for at in mask.nonzero()[0]]

    def _kept_stems(self) -> _Stems | None:
        if self._stems is None and self._folder is not None:
            import numpy as np

            try:
                words = msgspec.msgpack.decode((self._folder / _WORDS).read_bytes(), type=list[str])
                return _Stems(words, np.load(self._folder / _STEMS), np.load(self._folder / _ENDS))
            except (OSError, ValueError, msgspec.MsgspecError):  # a help, no more: they are made again
                return None
        return self._stems

    def save(self, folder: Path) -> None:
        """Write everything into `folder`, which is new. Another process may have it: then it is as it was."""
        import numpy as np

        stems = self._kept_stems()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / _ROWS).write_bytes(msgspec.msgpack.encode(self._rows))
        if stems is not None:
            (folder / _WORDS).write_bytes(msgspec.msgpack.encode(stems.words))
            np.save(folder / _STEMS, stems.places)
            np.save(folder / _ENDS, stems.ends)
        if self._index is not None:
            self._index.save(str(folder), show_progress=False)
        self._folder, self._stems = folder, None

    @classmethod
    def load(cls, folder: Path) -> Lexical:
        """What was saved. Raises OSError or ValueError where it is not whole."""
        import bm25s

        self = cls.__new__(cls)
        self._folder, self._stems, self._place = folder, None, None
        self._rows = msgspec.msgpack.decode((folder / _ROWS).read_bytes(), type=_Rows)
        is_empty = not (folder / "params.index.json").exists()
        self._index = None if is_empty else bm25s.BM25.load(str(folder), mmap=True, show_progress=False)
        return self


def _stemmed(given: Sequence[Passage], known: Lexical | None, old: _Stems | None) -> _Stems:
    """The stems of passages; of one that `known` has under the same id (which holds its text) and title, as they were."""
    import numpy as np

    words = {word: at for at, word in enumerate(old.words)} if old is not None else {}
    place: dict[str, int] = {}
    titles: list[Scalar | None] = []
    if old is not None and known is not None:
        place = {key: at for at, key in enumerate(known._rows.ids)}  # noqa: SLF001 - same module
        column = known._rows.columns.get("title")  # noqa: SLF001
        titles = [column.values[code] if code >= 0 else None for code in _codes(column).tolist()] if column is not None else []
    starts = np.concatenate([[0], old.ends]) if old is not None else None
    found: list[Any] = []
    for one in given:
        at = place.get(one.id, -1)
        if old is not None and starts is not None and at >= 0 and titles and titles[at] == one.title:
            found.append(old.places[starts[at] : starts[at + 1]])
        else:
            stems = tokens(f"{one.title} {one.text}")
            found.append(np.fromiter((words.setdefault(word, len(words)) for word in stems), dtype=np.int32, count=len(stems)))
    places = np.concatenate(found) if found else np.zeros(0, dtype=np.int32)
    return _Stems(list(words), places, np.cumsum([len(one) for one in found], dtype=np.int64))


def _bm25(stems: _Stems) -> Any:
    import bm25s
    import numpy as np

    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    rows = [one.tolist() for one in np.split(stems.places, stems.ends[:-1])]
    used = set(chain.from_iterable(rows))
    vocabulary = {word: at for at, word in enumerate(stems.words) if at in used}
    if len(vocabulary) < len(stems.words):  # words of passages that went: a column of the index each, if they stayed
        narrow = {at: number for number, at in enumerate(vocabulary.values())}
        rows = [[narrow[at] for at in row] for row in rows]
        vocabulary = {word: narrow[at] for word, at in vocabulary.items()}
    index.index(bm25s.tokenization.Tokenized(ids=rows, vocab=vocabulary), show_progress=False)
    return index


def _codes(column: _Column) -> Any:
    import numpy as np

    return np.frombuffer(column.codes, dtype="<i4")


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


def _joined(old: _Rows, kept: Any, new: _Rows) -> dict[str, _Column]:
    """The columns of the rows of `old` that are kept, then of those of `new`; values that no row has any more are dropped."""
    import numpy as np

    found: dict[str, _Column] = {}
    for name in {**old.columns, **new.columns}:
        one, other = old.columns.get(name), new.columns.get(name)
        codes = _codes(one)[kept] if one is not None else np.full(int(kept.sum()), -1, dtype="<i4")
        values = dict.fromkeys((type(value), value) for value in (one.values if one is not None else ()))
        places = {key: at for at, key in enumerate(values)}
        fresh = np.full(len(new.ids), -1, dtype="<i4")
        if other is not None:
            moved = np.array([places.setdefault((type(value), value), len(places)) for value in other.values], dtype="<i4")
            given = _codes(other)
            fresh = np.where(given >= 0, moved[given], -1).astype("<i4")
        both = np.concatenate([codes, fresh])
        used = np.unique(both[both >= 0])
        if len(used):
            narrow = np.full(len(places), -1, dtype="<i4")
            narrow[used] = np.arange(len(used), dtype="<i4")
            all_values = [value for _, value in places]
            found[name] = _Column(np.where(both >= 0, narrow[both], -1).astype("<i4").tobytes(), [all_values[at] for at in used.tolist()])
    return found
