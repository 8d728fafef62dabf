"""Content codings that HTTP libraries leave as they are, or read by half: x-gzip, several at once, several members of gzip.

aiohttp undoes one coding of a body (and refuses br and zstd where their packages are missing), httpx any number, but of gzip the first
member alone: the rest of an answer would be lost in silence.
"""

from __future__ import annotations

import zlib

from surefoot.providers.http.faults import BodyTooLarge

PACKED = frozenset({"gzip", "x-gzip", "deflate"})  # what zlib reads
PLAIN = frozenset({"", "identity", "none", "utf-8", "utf8"})  # no codings; some servers write their character set there
BY_AIOHTTP = frozenset({"gzip", "deflate", "br", "zstd"})


class ContentCodingError(Exception):
    """A body in a coding that nobody here reads, or torn within it."""


def codings_of(header: str) -> tuple[str, ...]:
    """The codings of a `content-encoding`, the last applied first."""
    found = [coding for part in header.split(",") if (coding := part.strip().lower()) not in PLAIN]
    return tuple(reversed(found))


def unpacker(header: str, limit: int) -> Unpacker | None:
    """What reads a body of this `content-encoding` up to `limit` bytes; None for one that is not packed.

    Raises ContentCodingError for a coding that is not known here.
    """
    codings = codings_of(header)
    for coding in codings:
        if coding not in PACKED:
            raise ContentCodingError(f"it is encoded as {coding[:40]!r}, which was not asked for and is not read here")
    return Unpacker(codings, limit) if codings else None


class Unpacker:
    """Undoes codings, block by block; never more than `limit` bytes at once."""

    __slots__ = ("_limit", "_stages")

    def __init__(self, codings: tuple[str, ...], limit: int) -> None:
        self._limit = limit
        self._stages = [_Stage(is_gzip=coding != "deflate") for coding in codings]

    def feed(self, block: bytes) -> bytes:
        """What `block` says; may be empty. Raises ContentCodingError, or BodyTooLarge beyond the limit."""
        for stage in self._stages:
            block = stage.feed(block, self._limit)
        return block


class _Stage:
    """One coding: members of gzip one after another, or deflate with and without zlib's frame."""

    __slots__ = ("_has_ended", "_is_gzip", "_member")

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._member: zlib._Decompress | None = None
        self._has_ended = False  # a member has: what follows and is none is padding

    def feed(self, block: bytes, limit: int) -> bytes:
        """What `block` says."""
        found: list[bytes] = []
        size = 0
        while block:
            if self._member is None:
                if self._has_ended and not (self._is_gzip and block[:1] == b"\x1f"):
                    break
                self._member = zlib.decompressobj(31 if self._is_gzip else 15 if block[0] & 15 == zlib.DEFLATED else -15)
            try:
                piece = self._member.decompress(block, limit - size + 1)
            except zlib.error as error:
                raise ContentCodingError(f"its compression is torn ({error})") from error
            size += len(piece)
            if size > limit:
                raise BodyTooLarge(limit)
            found.append(piece)
            block = self._member.unconsumed_tail
            if self._member.eof:
                block, self._member, self._has_ended = self._member.unused_data, None, True
        return b"".join(found)
