"""Vectors as servers send them, and what their refusals teach: how many texts at once, in which form, of which length."""

from __future__ import annotations

import re
from collections.abc import Sequence

from surefoot.errors import BadRequest, Fault, Misconfigured, Overloaded, SurefootError, Transient
from surefoot.types import EmbedRequest

REFUSALS = (BadRequest, Overloaded)  # some servers fail inside over a field that they do not know
WIDE, DIMENSIONS = "float64", "dimensions"  # codes of a MalformedReply: numbers of 64 bits, vectors of another length than was asked for
NOISE = 0.2  # of all floats of 32 bits five in six are no number that a vector holds; in a vector none is
DENSE = 0.9  # so many of a vector's numbers are not exactly zero; sparse ones of 32 bits would be mistaken
LEAST_DOUBLES = 3  # numbers of 64 bits from which on their halves show a pattern
_FORMAT = re.compile(r"encoding[_ ]format|base64", re.IGNORECASE)
_LENGTH = re.compile(r"dimension|matryoshka|dimensionality", re.IGNORECASE)
_MANY = re.compile(r"batch|inputs?\b|texts?\b|array|items|elements|documents|requests|sentences", re.IGNORECASE)
_SIZES = re.compile(r"tokens?\b|characters?\b|context|bytes", re.IGNORECASE)  # it is one text that is too long, or all together
_BOUND = re.compile(
    r"(?:larger than|greater than|exceed|maximum|max\b|at most|up to|more than|limit|between \d+ and|>|<=)\D{0,40}?(\d{1,6})(?![\w.]*\d)",
    re.IGNORECASE,
)
_SAID = re.compile(r"HTTP \d{3}(?: \(.*?\))?: (.*)", re.DOTALL)


def places_of(indices: Sequence[int | None]) -> list[int] | None:
    """The row of each vector, by its index; None where the indices are not those of the texts.

    Without indices, and where all are 0, the order is the server's word; some count from 1.
    """
    count = len(indices)
    if not any(indices):
        return list(range(count))
    places = [number if index is None else index for number, index in enumerate(indices)]
    found = sorted(places)
    if found == list(range(count)):
        return places
    return [place - 1 for place in places] if found == list(range(1, count + 1)) and count > 1 else None


def is_float64(row: bytes, expected: int | None) -> bool:
    """Whether a vector came in numbers of 64 bits instead of 32: twice as many then, and no vector that any model makes.

    Read as 32 bits, one half of each number is its last digits: noise of any size, or zero for round numbers; the other is near 1.
    `expected` is how many numbers there should be, None where nobody knows.
    """
    import numpy as np

    size = len(row) // 8
    if len(row) % 8 or not size or (expected is None and size < LEAST_DOUBLES):
        return False
    if expected is not None:
        return size == expected
    low, high = np.frombuffer(row, dtype="<f4").reshape(-1, 2).T
    told = np.abs(high[high != 0])
    if not (told.size > DENSE * size and np.isfinite(told).all() and ((told > 0.1) & (told < 3)).all()):
        return False
    sizes = np.abs(low[low != 0])
    if not sizes.size:
        return bool(told.size >= LEAST_DOUBLES and not (told == 1).all())
    with np.errstate(invalid="ignore"):
        noise = ~np.isfinite(sizes) | (sizes > 1e3) | (sizes < 1e-9)
    return bool(noise.mean() > NOISE)


def limit_of_texts(error: SurefootError, sent: int) -> int | None:
    """How many texts a server takes at once, as it says in refusing `sent` of them; None if that is not why."""
    found = _SAID.search(str(error)) if sent > 1 and isinstance(error, REFUSALS) else None
    if found is None or not _MANY.search(found[1]) or _SIZES.search(found[1]):
        return None
    limits = [limit for said in _BOUND.findall(found[1]) if 0 < (limit := int(said)) < sent]
    return min(limits, default=None)


def refuses_form(error: SurefootError) -> bool:
    """Whether a server refused a request for the form in which it wants its vectors back."""
    return isinstance(error, REFUSALS) and _FORMAT.search(str(error)) is not None


def with_dimensions_remedy(error: Fault, dimensions: int) -> Fault:
    """`error`, saying what to do where the server refused the length of the vectors that was asked for."""
    if not isinstance(error, BadRequest) or not _LENGTH.search(str(error)):
        return error
    return BadRequest(
        f"{error}; dimensions={dimensions} was asked for: leave it out, for this model has one length alone, or name a length that it has",
        status=error.status, code="dimensions", request_id=error.request_id, target=error.target,
    )  # fmt: skip


class VectorForm:
    """In which form one target's vectors come back: base64, a third of the size of numbers in text, or numbers where that is refused.

    `given` is the target's own word for it; Misconfigured for one that is none.
    """

    __slots__ = ("_is_free", "_target", "name")

    def __init__(self, target: str, given: str | None) -> None:
        if given not in {None, "base64", "float"}:
            raise Misconfigured(f"target {target}: encoding_format = {given!r} must be 'base64' or 'float'")
        self._target = target
        self._is_free = given is None
        self.name = given or "base64"

    def learn(self, fault: Fault, request: EmbedRequest, *, form: str, dimensions: int | None) -> Fault:
        """`fault` as it is to be told, of a request for vectors in `form`.

        After a refusal of base64 the next request asks for numbers; the fault is a Transient then, so that the retry layer sends it.
        """
        is_refused = refuses_form(fault) or fault.code == WIDE
        if is_refused and form == "base64" and self._is_free and "encoding_format" not in request.extra:
            self.name = "float"
            return Transient(
                f"{self._target}: no base64 comes from there ({fault}); from now on it is asked for numbers",
                status=fault.status, code="encoding_format", retry_after_s=0.0, request_id=fault.request_id, target=self._target,
            )  # fmt: skip
        if fault.code in {WIDE, DIMENSIONS}:
            fault.retryable = False  # it would answer the same
        return fault if dimensions is None else with_dimensions_remedy(fault, dimensions)
