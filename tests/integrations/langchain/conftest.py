"""The files langchain-tests would download."""

from __future__ import annotations

import base64
import struct
import zlib

import httpx
import pytest


def _png() -> bytes:
    """A white picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\x00\xff\xff\xff")) + chunk(b"IEND", b"")


WAV = (
    b"RIFF"
    + struct.pack("<I", 38)
    + b"WAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    + b"data"
    + struct.pack("<I", 2)
    + b"\0\0"
)
PDF = base64.b64decode(
    "JVBERi0xLjEKMSAwIG9iajw8L1R5cGUvQ2F0YWxvZy9QYWdlcyAyIDAgUj4+ZW5kb2JqCjIgMCBvYmo8PC9UeXBlL1BhZ2VzL0tpZHNbMyAwIFJdL0NvdW50IDE+PmVuZG9iagoz"
    "IDAgb2JqPDwvVHlwZS9QYWdlL1BhcmVudCAyIDAgUi9NZWRpYUJveFswIDAgOSA5XT4+ZW5kb2JqCnRyYWlsZXI8PC9Sb290IDEgMCBSPj4KJSVFT0YK"
)
SERVED = {".png": ("image/png", _png()), ".wav": ("audio/wav", WAV), ".pdf": ("application/pdf", PDF)}


@pytest.fixture
def served_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve what langchain-tests fetches (one picture, one PDF, one sound) from here.

    The suite calls `httpx.get` on addresses in the wide web. What it checks is that the model takes the bytes, whatever they show, so a
    one-pixel picture, a blank page and two samples of silence do. Any other address fails the test.
    """

    def get(url: str, **_: object) -> httpx.Response:
        media_type, data = SERVED[url[url.rindex(".") :]]
        return httpx.Response(200, content=data, headers={"content-type": media_type}, request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "surefoot")  # else it warns of addresses that nobody asks here
