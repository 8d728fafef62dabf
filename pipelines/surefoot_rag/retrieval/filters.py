"""Filters by metadata: `{"language": "tr", "type": ["pdf", "html"]}` means Turkish and of either type.

One filter for both sides of a search, kept by the columns of `lexical`: both leave out the same passages.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from surefoot.errors import BadRequest
from surefoot_rag.records import Passage, Scalar

__all__ = ["Where", "flat", "options_of"]

Where: TypeAlias = "Mapping[str, Scalar | Sequence[Scalar]]"


def flat(passage: Passage) -> dict[str, Scalar]:
    """A passage's record as flat metadata: what vector stores keep, and what filters name."""
    row: dict[str, Scalar] = dict(passage.metadata)
    row |= {"document": passage.document_id, "title": passage.title, "start": passage.start, "end": passage.end, "source": passage.source}
    if passage.page is not None:
        row["page"] = passage.page
    return row


def options_of(where: Where | None, known: Collection[str]) -> dict[str, list[Scalar]]:
    """Each field with the values it may have. Raises BadRequest for a field that is none of `known`, or a value that is none."""
    wanted: dict[str, list[Scalar]] = {}
    for name, value in (where or {}).items():
        values = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
        wrong = [one for one in values if not isinstance(one, str | int | float | bool)]
        if not values or wrong:
            said = f"{wrong[0]!r}" if wrong else "an empty list"
            raise BadRequest(f"where: {name} = {said}; want a text, a number or a list of them; nothing was searched")
        wanted[str(name)] = values  # type: ignore[assignment]
    if wanted:
        for name in sorted(wanted.keys() - set(known)) if known else ():
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise BadRequest(f"where: no passage has a field {name}{hint} Known are {', '.join(sorted(known))}; nothing was searched")
    return wanted
