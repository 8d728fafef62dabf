"""Vectors as they come and as they are kept: checked for count, size and numbers, and added up. numpy is imported at first use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from surefoot.errors import MalformedReply
from surefoot.types import EmbedReply, Usage


def bad_rows(matrix: Any) -> list[int]:
    """The rows that are no vector: not finite somewhere, or zero everywhere."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.einsum("ij,ij->i", matrix, matrix)
    good = np.isfinite(sums) & (sums > 0)
    return [] if good.all() else np.flatnonzero(~good).tolist()


def check(reply: EmbedReply, count: int, dimensions: int | None) -> list[int]:
    """The rows of `reply` that are no vector. Raises MalformedReply when rows and texts cannot be matched, or the size is another."""
    shape: tuple[int, ...] = getattr(reply.vectors, "shape", ())
    if len(shape) != 2 or shape[0] != count:
        raise MalformedReply(f"{reply.target}: vectors of shape {tuple(shape)} for {count} texts", target=reply.target)
    if dimensions is not None and shape[1] != dimensions:
        raise MalformedReply(
            f"{reply.target}: vectors of {shape[1]} numbers came back, {dimensions} were asked for", target=reply.target, code="dimensions"
        )
    return bad_rows(reply.vectors)


def rows_of(matrix: Any) -> list[bytes]:
    """Each row as little-endian float32 bytes."""
    import numpy as np

    data = np.ascontiguousarray(matrix, dtype="<f4")
    size = data.shape[1] * 4
    raw = data.tobytes()
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def matrix_of(rows: Sequence[bytes]) -> Any:
    """float32 [len(rows), dim] out of rows of equal length; writable."""
    import numpy as np

    size = len(rows[0]) if rows else 0
    matrix: Any = np.empty((len(rows), size // 4), dtype="<f4")
    if size:
        view = memoryview(matrix).cast("B")  # a third of the time of join(): the bytes move once
        for i, row in enumerate(rows):
            view[i * size : (i + 1) * size] = row
    return matrix


def total(usages: Iterable[Usage]) -> Usage:
    """Tokens of several answers together; an estimate if one of them is."""
    found = list(usages)
    if len(found) == 1:
        return found[0]
    counts = [name for name in Usage.__struct_fields__ if name != "estimated"]
    return Usage(**{name: sum(getattr(one, name) for one in found) for name in counts}, estimated=any(one.estimated for one in found))
