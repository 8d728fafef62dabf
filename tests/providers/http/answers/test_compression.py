"""Compressed answers, on both lanes and through a caller's own client: read, or refused by an error that names the coding."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import openai
import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.errors import MalformedReply
from surefoot.providers.http.answers.compression import ContentCodingError, Unpacker, codings_of, unpacker
from surefoot.providers.http.faults import BodyTooLarge
from tests.providers.http.servers import serving

SAID = "zipped " * 50
WHOLE = json.dumps({"choices": [{"message": {"content": SAID}, "finish_reason": "stop"}]}).encode()
EVENT = json.dumps({"choices": [{"index": 0, "delta": {"content": SAID}, "finish_reason": "stop"}]}).encode()
STREAM = b"data: %b\n\ndata: [DONE]\n\n" % EVENT


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def members(body: bytes) -> bytes:
    return gzip.compress(body[:30]) + gzip.compress(body[30:90]) + gzip.compress(body[90:])


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "several members": ("gzip", members),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without a frame": ("deflate", raw_deflate),
    "gzip twice": ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    "deflate, then gzip": ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
    "a character set instead": ("utf-8", bytes),
}
UNREAD = {"br": b"\x8b\x02\x80abc", "zstd": b"\x28\xb5\x2f\xfdabc", "compress": b"\x1f\x9dabc", "gzip, aws-chunked": gzip.compress(WHOLE)}


async def told(coding: str, body: bytes, *, how: str, streamed: bool) -> str:
    kind = b"text/event-stream" if streamed else b"application/json"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (kind, coding.encode(), len(body))
    async with serving(head + body) as at:
        own = openai.AsyncOpenAI(base_url=at.url, api_key="key-of-the-test", max_retries=0)
        words: dict[str, Any] = {"client": own} if how == "client" else {"base_url": at.url, "api_key": "key-of-the-test", "lane": how}
        chat = ChatModel(Target("openai:m", **words), policy=Policy(attempts=1, breaker=False))
        try:
            return "".join([delta.text async for delta in chat.astream("hi")]) if streamed else (await chat.ainvoke("hi")).text
        finally:
            await chat.aclose()
            await own.close()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("how", ["direct", "sdk", "client"])
@pytest.mark.parametrize("name", CODINGS)
async def test_compressed_answers_are_read(name, how, streamed):
    """aiohttp leaves all but single codings as they are, httpx drops all members of gzip but the first."""
    coding, pack = CODINGS[name]
    assert await told(coding, pack(STREAM if streamed else WHOLE), how=how, streamed=streamed) == SAID


@pytest.mark.parametrize("how", ["direct", "sdk", "client"])
@pytest.mark.parametrize("coding", UNREAD)
async def test_a_coding_that_is_not_read_is_named(coding, how):
    """Nobody asked for it; where a package reads br or zstd, it says that these bytes are none."""
    with pytest.raises(MalformedReply, match=f"(?i){coding.rpartition(' ')[2]}|brotli|decompress|zstandard"):
        await told(coding, UNREAD[coding], how=how, streamed=False)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("name", ["several members", "gzip twice", "deflate, then gzip", "deflate without a frame"])
def test_blocks_may_be_cut_anywhere(name, size):
    """And what follows the last member is padding."""
    coding, pack = CODINGS[name]
    body = pack(WHOLE) + (bytes(20) if name != "deflate, then gzip" else b"")
    reader = unpacker(coding, 10_000)
    assert reader is not None
    assert b"".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size)) == WHOLE


def test_a_bomb_ends_at_the_limit():
    """Ten megabytes in ten kilobytes, twice packed in a few hundred bytes."""
    bomb = gzip.compress(gzip.compress(bytes(10_000_000)))
    with pytest.raises(BodyTooLarge):
        Unpacker(("gzip", "gzip"), 1_000_000).feed(bomb)
    with pytest.raises(ContentCodingError, match="torn"):
        Unpacker(("gzip",), 1000).feed(b"\x1f\x8bnothing")


def test_codings_are_undone_last_first():
    """The header names them in the order in which they were applied."""
    assert codings_of("Deflate, GZIP") == ("gzip", "deflate")
    assert codings_of("identity,") == codings_of("") == codings_of("utf-8") == ()
    assert unpacker("identity", 1) is None
