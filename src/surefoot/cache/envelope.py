"""What a kept value looks like: a version, a checksum over its key and its bytes, then the bytes.

A row that is torn, tampered with, moved to another key, or another program's is told apart and never decoded. The bytes are msgpack or
raw numbers: nothing that a reader could execute. The checksum is no signature: whoever may write the store may write a valid row.
"""

from __future__ import annotations

from hashlib import blake2b

MARK = b"sf\x01"  # the last byte is the version of everything inside; older rows are then misses
CHECKSUM_BYTES = 8
HEAD_BYTES = len(MARK) + CHECKSUM_BYTES


def packed(key: str, payload: bytes) -> bytes:
    """`payload` as it is kept under `key`."""
    return MARK + _checksum(key, payload) + payload


def unpacked(key: str, cached: object) -> bytes | None:
    """What was sealed under `key`; None if `cached` is not exactly that, or not even bytes."""
    if not isinstance(cached, bytes):
        return None
    payload = cached[HEAD_BYTES:]
    if cached[: len(MARK)] != MARK or cached[len(MARK) : HEAD_BYTES] != _checksum(key, payload):
        return None
    return payload


def _checksum(key: str, payload: bytes) -> bytes:
    state = blake2b(key.encode(), digest_size=CHECKSUM_BYTES)
    state.update(payload)
    return state.digest()
