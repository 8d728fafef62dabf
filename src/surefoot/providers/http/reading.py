"""What the readers of several vendors' answers share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from surefoot.errors import ContentRefused, MalformedReply, SurefootError
from surefoot.providers.http import finish as _finish
from surefoot.providers.http.answers import lenient
from surefoot.providers.http.answers.lenient import Halves
from surefoot.providers.http.answers.told import says_something, told_instead
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.redact import shown, snippet
from surefoot.providers.http.sse import EventReader, is_end_mark
from surefoot.types import ChatRequest, Delta, FinishReason, ToolCall, Usage

if TYPE_CHECKING:
    from surefoot.types import Matrix

T = TypeVar("T")


class ReadsAnswer(Protocol):
    """What every vendor's context of reading says."""

    @property
    def target(self) -> str:
        """The target's name."""

    @property
    def request_id(self) -> str:
        """The vendor's id of the request."""


class ReadingContext(Struct, frozen=True):
    """What an answer is read with: the target's name, the vendor's request id, the request, and how errors are told."""

    target: str
    request_id: str
    request: ChatRequest
    emit: Callable[[bytes], SurefootError]  # an error object -> our error
    vendor: str = ""  # whose the answer's own parts are: see `types.Opaque.vendor`
    mark_ends: bool = False  # an end mark alone ends a stream: the server never gives a finish reason


class VerbatimReader:
    """A vendor's reader; deltas carry the events read since those before, without OpenAI's end mark; of several of one event the first."""

    __slots__ = ("_events", "_reader")

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._events: list[bytes] = []

    @property
    def finished(self) -> bool:
        """The last token has been seen."""
        return self._reader.finished

    @property
    def done(self) -> bool:
        """The end mark has been seen."""
        return self._reader.done

    def read(self, data: bytes, out: list[Delta]) -> None:
        """One event."""
        before = len(out)
        self._reader.read(data, out)
        if not is_end_mark(data):
            self._events.append(bytes(data))
        self._attach(before, out)

    def end(self, out: list[Delta]) -> None:
        """The last delta."""
        before = len(out)
        try:
            self._reader.end(out)
        except ContentRefused as refused:
            refused.events = tuple(self._events)
            raise
        self._attach(before, out)

    def _attach(self, before: int, out: list[Delta]) -> None:
        if len(out) > before and self._events:
            out[before] = replace(out[before], events=tuple(self._events))
            self._events.clear()


def new_call_id() -> str:
    """An id for a tool call whose server gave none: results are matched to calls by it."""
    return f"call_{secrets.token_hex(8)}"


def own_id(given: str | None, seen: set[str]) -> str:
    """A call's id, or one made up where the server gave none, or one that a call before it has; it is then among those `seen`."""
    found = given if given and given not in seen else new_call_id()
    seen.add(found)
    return found


def apart(calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """Calls under ids of their own: a server that numbers nothing gives all of them one, and results could not be told apart."""
    if len(calls) < 2 or len({call.id for call in calls}) == len(calls):
        return calls
    seen: set[str] = set()
    return tuple(replace(call, id=own_id(call.id, seen)) for call in calls)


def check_not_empty(
    finish: FinishReason, why: str, asked: ReadingContext, *, usage: Usage | None = None, model: str = "", body: bytes = b""
) -> None:
    """Raise what an answer with neither text nor tool calls is, unless it is the answer. `body`: all of it, where it came at once."""
    error = _finish.check_not_empty(
        finish, asked.request, why=why, target=asked.target, request_id=asked.request_id, usage=usage, model=model, body=body
    )  # fmt: skip
    if error is not None:
        raise error


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, content_type: str, *, target: str, request_id: str) -> T:
    """A whole answer: read strictly, else leniently. Raises MalformedReply if it is none either way."""
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        read: T = lenient.read(body, decoder.type)
    except (ValueError, RecursionError) as error:
        raise unreadable(error, body, content_type, target=target, request_id=request_id) from error
    return read


def unreadable(error: Exception, body: bytes, content_type: str, *, target: str, request_id: str) -> MalformedReply:
    """What a whole answer is that no reading makes sense of."""
    why = f"the answer cannot be read: {snippet(body, content_type)} ({shown(str(error), limit=100)})"
    return malformed(target, why, request_id=request_id)


def read_event(data: bytes, kind: type[T], asked: ReadsAnswer, halves: Halves) -> T:
    """An event that a strict reading has refused, read leniently. Raises MalformedReply if it is none either way."""
    try:
        read: T = lenient.read(data, kind, halves)
    except (ValueError, RecursionError) as error:
        raise unreadable_event(error, data, asked) from error
    return read


def unreadable_event(error: Exception, data: bytes, asked: ReadsAnswer) -> MalformedReply:
    """What an event is that no reading makes sense of."""
    why = f"an event that is no answer: {snippet(data)} ({shown(str(error), limit=100)})"
    return malformed(asked.target, why, request_id=asked.request_id)


def failed(error: msgspec.Raw) -> bool:
    """Whether the field `error` of an answer says that there was one."""
    return bytes(error) not in {b"", b"null", b"{}", b'""', b"false"} and says_something(lenient.value_of(error))


def is_error_instead(body: bytes) -> bool:
    """Whether what should have been an answer, or a piece of one, is an error without the word."""
    return told_instead(body).is_error


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
