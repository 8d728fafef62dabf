"""Several folders in one index: each is indexed again by itself, and takes nothing of the others away.

A passage's metadata name the folder it came from. The first folder's documents keep their paths as ids; those of a further folder stand
under its name, so that two README.md stay apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from surefoot_rag.records import Document, Scalar

__all__ = ["FOLDER", "DocumentSource", "in_scope", "placed", "said"]

FOLDER = "folder"  # metadata: the absolute path of the folder that was indexed
NAMED = 5  # documents named before they are removed

Rows = Mapping[str, Mapping[str, Scalar]]


class DocumentSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where documents come from, and what of the index may be removed for them.

    `folder` is an absolute path. By default what was indexed from it and is no longer there is removed; with `is_partial` (a single file)
    only what the documents at hand replace; with `replaces_all` everything else in the index.
    """

    folder: str
    is_partial: bool = False
    replaces_all: bool = False

    @classmethod
    def of(cls, path: str | Path, *, replaces_all: bool = False) -> DocumentSource:
        """The source for a folder, or for one file of it."""
        place = Path(path).resolve()
        return cls(folder=str(place.parent if place.is_file() else place), is_partial=place.is_file(), replaces_all=replaces_all)


def placed(documents: Sequence[Document], present: Rows, source: DocumentSource | None) -> list[Document]:
    """The documents with the ids and metadata they have in an index that may hold other folders."""
    if source is None:
        return list(documents)
    prefix = "" if source.replaces_all else _prefix(documents, present, source.folder)
    return [replace(one, id=prefix + one.id, metadata={**one.metadata, FOLDER: source.folder}) for one in documents]


def _prefix(documents: Sequence[Document], present: Rows, folder: str) -> str:
    """What stands before the ids of `folder`: as before; nothing for the first; else its name, told apart from all that is there."""
    others = set()
    for row in present.values():
        if row.get(FOLDER) == folder:
            return str(row["document"]).removesuffix(unicodedata.normalize("NFC", str(row["source"])))
        others.add(str(row["document"]))
    unclaimed = {str(row["document"]) for row in present.values() if FOLDER not in row}
    if not others or (len(unclaimed) == len(others) and unclaimed & {one.id for one in documents}):
        return ""  # the first; or an index made before folders were told apart, of this one
    name, number = Path(folder).name or "root", 1
    while any(one.startswith(f"{name}/") for one in others):
        number += 1
        name = f"{Path(folder).name}-{number}"
    return f"{unicodedata.normalize('NFC', name)}/"


def in_scope(present: Rows, documents: Sequence[Document], source: DocumentSource | None) -> set[str]:
    """The ids of the passages that `documents` may replace or take away."""
    if source is None or source.replaces_all:
        return set(present)
    given = {one.id for one in documents}
    return {key for key, row in present.items() if row["document"] in given or (row.get(FOLDER) == source.folder and not source.is_partial)}


def said(gone: Sequence[str], present: Rows, documents: Sequence[Document]) -> str:
    """What is about to be removed, in a sentence; "" if no document goes whole."""
    lost = sorted({str(present[key]["document"]) for key in gone} - {one.id for one in documents})
    if not lost:
        return ""
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    return f"removing {len(lost)} documents that are no longer there: {', '.join(lost[:NAMED])}{more}"
