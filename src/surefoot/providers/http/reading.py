"""What the readers of several vendors' answers share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from surefoot.errors import SurefootError
from surefoot.providers.http import finish as _finish
from surefoot.types import ChatRequest, FinishReason

if TYPE_CHECKING:
    from surefoot.types import Matrix


class ReadingContext(Struct, frozen=True):
    """What an answer is read with: the target's name, the vendor's request id, the request, and how errors are told."""

    target: str
    request_id: str
    request: ChatRequest
    emit: Callable[[bytes], SurefootError]  # an error object -> our error
    vendor: str = ""  # whose the answer's own parts are: see `types.Opaque.vendor`


def new_call_id() -> str:
    """An id for a tool call whose server gave none: results are matched to calls by it."""
    return f"call_{secrets.token_hex(8)}"


def check_not_empty(finish: FinishReason, why: str, asked: ReadingContext) -> None:
    """Raise what an answer with neither text nor tool calls is, unless it is the answer."""
    error = _finish.check_not_empty(finish, asked.request, why=why, target=asked.target, request_id=asked.request_id)
    if error is not None:
        raise error


def stacked(rows: Sequence[bytes | list[float]], places: Sequence[int]) -> Matrix:
    """Rows (little-endian float32 bytes, or numbers) as one float32 matrix, row i at `places[i]`.

    Raises ValueError if rows differ in length, hold NaN or infinity, or are zero.
    """
    import numpy as np

    first = rows[0]
    dim = len(first) // 4 if isinstance(first, bytes) else len(first)
    matrix = np.empty((len(rows), dim), dtype=np.float32)
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and are told of below
        for row, place in zip(rows, places, strict=True):
            size = len(row) if isinstance(row, list) else len(row) / 4
            if size != dim or not dim:
                raise ValueError(f"vectors of {dim} and of {size:g} numbers in one answer")
            matrix[place] = row if isinstance(row, list) else np.frombuffer(row, dtype="<f4")
        squares = np.einsum("ij,ij->i", matrix, matrix)
    if not np.isfinite(squares).all():
        raise ValueError("a vector holds NaN or infinity")
    if not squares.all():
        raise ValueError("a vector is zero")
    return matrix
