"""Amazon's event stream, in which Bedrock wraps a vendor's events, read as the server-sent events that it carries.

A frame: its length, the length of its headers and a checksum of both; the headers; the payload; a checksum of all. The payload of an event
is `{"bytes": "..."}`, the vendor's event in base64; an exception comes as a frame of its own.

Source: the AWS event stream specification (smithy.io, "Amazon Event Stream Specification"), and botocore's eventstream.py.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Iterator
from zlib import crc32

import msgspec

from surefoot.providers.http.sse import MAX_EVENT_BYTES, UnreadBody

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_PRELUDE = struct.Struct("!III")
_CHECK_BYTES = 4
_VALUE_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # of a header's value, by its type; 6 and 7 say their length
_TEXT = 7


class EventStreamDecodeError(ValueError):
    """Bytes that are no event stream."""


class AwsEvents:
    """An answer whose `block()` gives server-sent events instead of Amazon's frames. Raises EventStreamDecodeError for broken frames."""

    __slots__ = ("_answer", "_rest", "headers", "status")

    def __init__(self, answer: UnreadBody) -> None:
        self._answer = answer
        self._rest = b""
        self.status = answer.status
        self.headers = answer.headers

    async def read(self) -> bytes:
        """All events."""
        blocks = []
        while block := await self.block():
            blocks.append(block)
        return b"".join(blocks)

    async def block(self) -> bytes:
        """The next events; empty at the end of the body."""
        while True:
            block = await self._answer.block()
            if not block:
                if self._rest:
                    raise EventStreamDecodeError("the event stream ends in the middle of a frame")
                return b""
            self._rest += block
            if events := b"".join(self._frames()):
                return events

    async def aclose(self) -> None:
        """Drop the connection, unless the body was read to its end."""
        await self._answer.aclose()

    def _frames(self) -> Iterator[bytes]:
        """The events of the frames that are whole."""
        while len(self._rest) >= _PRELUDE.size:
            size, head_size, check = _PRELUDE.unpack_from(self._rest)
            if crc32(self._rest[: _PRELUDE.size - _CHECK_BYTES]) != check or not _PRELUDE.size + head_size + _CHECK_BYTES <= size:
                raise EventStreamDecodeError("the event stream holds what is no frame")
            if size > MAX_EVENT_BYTES:
                raise EventStreamDecodeError(f"an event of more than {MAX_EVENT_BYTES} bytes")
            if len(self._rest) < size:
                return
            frame, self._rest = self._rest[:size], self._rest[size:]
            if crc32(frame[:-_CHECK_BYTES]) != int.from_bytes(frame[-_CHECK_BYTES:]):
                raise EventStreamDecodeError("a frame of the event stream arrived broken")
            head_end = _PRELUDE.size + head_size
            yield _event(_headers(frame[_PRELUDE.size : head_end]), frame[head_end:-_CHECK_BYTES])


def _headers(data: bytes) -> dict[str, str]:
    """The headers that are text."""
    found = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name, kind = data[at + 1 : name_end].decode(), data[name_end]
            at = name_end + 1
            if kind in _VALUE_BYTES:
                at += _VALUE_BYTES[kind]
                continue
            value_end = at + 2 + int.from_bytes(data[at : at + 2])
            if kind == _TEXT:
                found[name] = data[at + 2 : value_end].decode()
            at = value_end
    except (IndexError, UnicodeDecodeError) as error:
        raise EventStreamDecodeError("a frame of the event stream has broken headers") from error
    return found


def _event(headers: dict[str, str], payload: bytes) -> bytes:
    """A frame as the vendor's server-sent event; an exception as the vendor's own error event."""
    try:
        said = msgspec.json.decode(payload) if payload else {}
        kind = headers.get(":exception-type") or headers.get(":error-code")
        if kind:
            message = said.get("message") or said.get("Message") or headers.get(":error-message", "")
            return b"data: " + msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}}) + b"\n\n"
        data = b64decode(said.get("bytes", ""))
    except (ValueError, AttributeError, TypeError) as error:
        raise EventStreamDecodeError("an event of the event stream is no JSON") from error
    return b"data: " + data + b"\n\n" if data else b""
