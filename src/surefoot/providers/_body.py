"""What all request bodies have in common: JSON embedded as it was written, extras on top, pictures recognised by their bytes."""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from surefoot.errors import BadRequest, Misconfigured, Unsupported

Fields: TypeAlias = dict[str, Any]

_encode = msgspec.json.Encoder().encode


def encoded(body: Fields, extra: str, target: str) -> bytes:
    """The body as JSON, with the fields of `extra` laid over it. Raises BadRequest for text that is no Unicode."""
    if extra:
        body.update(fields(extra))
    try:
        return _encode(body)
    except UnicodeEncodeError as error:
        raise BadRequest(f"{target}: a name, an id or an argument in the request holds a lone surrogate", target=target) from error


@lru_cache(maxsize=256)
def raw(text: str, what: str) -> Raw:
    """JSON text, to be embedded as it is. Raises Misconfigured naming `what` if it is no JSON."""
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"{what} is not JSON: {error}") from error
    return Raw(text.encode())


@lru_cache(maxsize=64)
def fields(extra: str) -> dict[str, Raw]:
    """The fields of `extra`, each value as it was written. Raises Misconfigured if it is no JSON object."""
    try:
        return msgspec.json.decode(extra, type=dict[str, Raw])
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"extra must be the text of a JSON object: {error}") from error


def base64_text(data: bytes) -> str:
    """`data` in base64."""
    return b64encode(data).decode()


def image_type(data: bytes, target: str) -> str:
    """The media type of a picture, by its first bytes. Raises Unsupported if it is none that models read."""
    for start, media_type in ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif")):
        if data.startswith(start):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise Unsupported(f"{target}: a picture of {len(data)} bytes is neither PNG, JPEG, GIF nor WebP; say its media_type")
