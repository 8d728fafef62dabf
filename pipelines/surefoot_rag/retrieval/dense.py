"""The dense side of a search: the passages whose vectors are nearest to the question's, with a filter at hardly any cost.

A store filters by looking through its metadata, which took a question at 50,000 passages from 10 ms to 130. The columns of the lexical side
know at once who is allowed: of a wide filter, more neighbours are taken and those allowed kept; of a narrow one, those allowed are named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from surefoot_rag.records import Scalar
from surefoot_rag.retrieval.backends import Backend
from surefoot_rag.retrieval.fusion import POOL
from surefoot_rag.retrieval.lexical import Lexical

__all__ = ["nearest"]

SPARE = 1.5  # times as many neighbours as a filter's share asks for, since chance spreads them
MOST = 2_000  # neighbours taken to be sifted: beyond, naming those allowed costs less


def nearest(
    backend: Backend, lexical: Lexical, vector: Any, wanted: Mapping[str, Sequence[Scalar]], *, count: int = POOL
) -> dict[str, float]:
    """The `count` nearest passages that `wanted` leaves in, with their cosines."""
    if not wanted:
        return backend.nearest(vector, count)
    mask = lexical.allowed(wanted)
    allowed = int(mask.sum())
    if not allowed:
        return {}
    taken = math.ceil(SPARE * count * len(lexical) / allowed)
    if taken <= MOST or not backend.can_name:
        while True:
            found = backend.nearest(vector, taken)
            kept = lexical.among(found, mask)
            if len(kept) >= min(count, allowed) or len(found) < taken:
                return dict([(key, score) for key, score in found.items() if key in kept][:count])
            if backend.can_name:
                break  # those allowed lie far from this question
            taken *= 4
    return backend.nearest(vector, count, among=lexical.ids(mask))
