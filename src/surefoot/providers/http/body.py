"""What all request bodies have in common: JSON embedded as it was written, extras merged in, pictures recognised by their bytes."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from surefoot.errors import BadRequest, Misconfigured, Unsupported
from surefoot.text import cached_if_short
from surefoot.types import Tool

Fields: TypeAlias = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_NO_NAME = re.compile(r"[?#%\\]|(?:^|/)\.{0,2}(?:/|$)")  # a query, an escape, or a segment that leads elsewhere


@cached_if_short(256)
def checked_name(model: str, target: str) -> str:
    """`model`, if it can stand in the path of an address without leading out of its place.

    Raises BadRequest (nothing is sent) for one that holds a query, an escape, an empty segment, "." or "..", or what is no printable text:
    a model's name often comes from whoever calls a service.
    """
    if _NO_NAME.search(model) or not model.isprintable():
        raise BadRequest(f"{target}: model = {model[:80]!r} is no name of a model; nothing was sent", target=target)
    return model


def encoded(body: Fields, extra: str, target: str) -> bytes:
    """The body as JSON, with the fields of `extra` merged into it. Raises BadRequest for text that is no Unicode."""
    if extra:
        try:
            merge(body, extra_of(extra).fields)
        except BaseException:
            del extra  # a crash report prints this frame, and headers may hold keys
            raise
    try:
        return _encode(body)
    except UnicodeEncodeError as error:
        raise BadRequest(f"{target}: a name, an id or an argument in the request holds a lone surrogate", target=target) from error


@cached_if_short(256)
def raw(text: str, what: str) -> Raw:
    """JSON text, to be embedded as it is. Raises Misconfigured naming `what` if it is no JSON."""
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"{what} is not JSON: {error}") from error
    return Raw(text.encode())


@cached_if_short(64)
def fields(extra: str) -> dict[str, Raw]:
    """The fields of `extra`, each value as it was written. Raises Misconfigured if it is no JSON object."""
    try:
        return msgspec.json.decode(extra, type=dict[str, Raw])
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"extra must be the text of a JSON object: {error}") from error


JOINED = frozenset({"tools", "system", "parts", "stop", "stop_sequences", "stopSequences"})  # lists that are joined, not replaced


def merge(body: Fields, extra: Mapping[str, Raw]) -> None:
    """Lay `extra` over what was built: objects field by field, lists of JOINED item by item, all else in place of what was there.

    Tools of `extra`, the vendors' own, stand before the caller's. An object of another `type` is another thing altogether, and stands in
    place, too.
    """
    for name, value in extra.items():
        mine = body.get(name)
        if isinstance(mine, dict):
            inner = _object(value)
            if inner is not None and ("type" not in inner or "type" not in mine or msgspec.json.decode(inner["type"]) == mine["type"]):
                merge(mine, inner)
                continue
        elif name in JOINED and isinstance(mine, list | tuple) and (further := _further(name, value)):
            body[name] = [*further, *mine] if name == "tools" else [*mine, *further]
            continue
        body[name] = value


def _further(name: str, value: Raw) -> list[Any]:
    """The items of a list in `extra`; a text where blocks or texts are wanted is one."""
    head = bytes(value).lstrip()[:1]
    if head == b"[":
        return list(msgspec.json.decode(value, type=list[Raw]))
    if head == b'"' and name != "tools":
        return [{"type": "text", "text": value} if name == "system" else value]
    return []


def _object(value: Raw) -> dict[str, Raw] | None:
    return msgspec.json.decode(value, type=dict[str, Raw]) if bytes(value).lstrip()[:1] == b"{" else None


class Extra(Struct, frozen=True):
    """What `extra` says of the body, and of the request around it: headers and query parameters of this call alone."""

    fields: dict[str, Raw]
    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""

    def __repr__(self) -> str:
        """Names alone: headers may hold keys, and crash reports print this."""
        return f"Extra(fields: {', '.join(self.fields)}; headers: {', '.join(name for name, _ in self.headers)})"

    def over(self, headers: Mapping[str, str]) -> dict[str, str]:
        """`headers` with those of the call in place of theirs, whatever the case of a name."""
        own = {name.lower() for name, _ in self.headers}
        return {name: value for name, value in headers.items() if name.lower() not in own} | dict(self.headers)

    def with_header(self, name: str, value: str) -> Extra:
        """The same with one header more, unless the call says it itself."""
        return self if any(one.lower() == name for one, _ in self.headers) else replace(self, headers=(*self.headers, (name, value)))

    def path(self, path: str) -> str:
        """`path` with the query of the call."""
        return f"{path}{'&' if '?' in path else '?'}{self.query}" if self.query else path


NO_EXTRA = Extra({})
_FRAMING = {"content-length", "transfer-encoding", "host", "content-encoding"}  # of the message itself, which we write


@cached_if_short(64)
def extra_of(extra: str) -> Extra:
    """`extra` read: extra_headers, extra_query and extra_body mean what they mean in the vendors' SDKs, all else is a field of the body.

    Raises Misconfigured if it is no JSON object, BadRequest (nothing is sent) for headers that cannot go out, or for a `timeout`.
    """
    found = dict(fields(extra)) if extra else {}
    headers, query = _pairs(found.pop("extra_headers", None), "extra_headers"), _pairs(found.pop("extra_query", None), "extra_query")
    inner = found.pop("extra_body", None)
    if "timeout" in found:
        raise BadRequest(
            "extra: a timeout is no field of the body; say deadline_s=SECONDS (for the body itself: extra_body={'timeout': ...})"
        )
    if inner is not None and bytes(inner) != b"null":
        found |= _object(inner) or fields(bytes(inner).decode())
    bad = [name for name, value in headers if not _can_go_out(name, value)]
    if bad:
        del extra, found, headers  # a crash report prints this frame, and headers may hold keys
        raise BadRequest(f"extra_headers: {bad[0]!r} cannot be sent (a line break, a letter beyond ASCII, or ours to write)")
    return Extra(found, tuple(headers), urlencode(query))


def _can_go_out(name: str, value: str) -> bool:
    return bool(name) and name.isascii() and name.lower() not in _FRAMING and not any(mark in f"{name}{value}" for mark in "\r\n\0")


def _pairs(given: Raw | None, what: str) -> list[tuple[str, str]]:
    """Names and values as text; a list is several values, as in the SDKs; null is none."""
    if given is None or bytes(given) == b"null":
        return []
    try:
        values = msgspec.json.decode(given, type=dict[str, str | bool | int | float | list[str | int | float] | None])
    except msgspec.ValidationError as error:
        raise BadRequest(f"{what} must be an object of texts and numbers: {error}; nothing was sent") from error
    found = [(name, one) for name, value in values.items() for one in (value if isinstance(value, list) else [value]) if one is not None]
    return [(name, str(one).lower() if isinstance(one, bool) else str(one)) for name, one in found]


def own_tool(tool: Tool, vendor: str, target: str) -> Raw | None:
    """A tool in `vendor`'s own JSON, if it was given so. Raises Unsupported (nothing is sent) for another vendor's own tool."""
    if tool.vendor == vendor and tool.raw:
        return raw(tool.raw, f"tool {tool.name!r}")
    if not tool.parameters:
        raise Unsupported(f"{target}: tool {tool.name!r} is {tool.vendor or 'nobody'}'s own; nothing was sent, for it means nothing here")
    return None


def base64_text(data: bytes) -> str:
    """`data` in base64."""
    return b64encode(data).decode()


def sound_type(data: bytes) -> str:
    """The media type of a sound, by its first bytes; raw samples have no mark of their own."""
    if data[:4] == b"RIFF":
        return "audio/wav"
    if data[:3] == b"ID3" or data[:2] in {b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"}:
        return "audio/mpeg"
    return {b"OggS": "audio/ogg", b"fLaC": "audio/flac"}.get(
        data[:4], "audio/aac" if data[:2] in {b"\xff\xf1", b"\xff\xf9"} else "audio/pcm"
    )


def image_type(data: bytes, target: str) -> str:
    """The media type of a picture, by its first bytes. Raises Unsupported if it is none that models read."""
    for start, media_type in ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif")):
        if data.startswith(start):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise Unsupported(f"{target}: a picture of {len(data)} bytes is neither PNG, JPEG, GIF nor WebP; say its media_type")
