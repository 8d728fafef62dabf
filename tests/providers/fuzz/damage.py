"""Damage: to the values of an answer, to its events, to its bytes, to what stands around it. Each kind is a function with a name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

from msgspec import Struct

from tests.providers.fuzz.exchanges import GoodAnswer

RAW = "\ufdd0"  # stands around what is written into the JSON as it is
DEEP = 60_000  # brackets: deeper than any reader goes
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 10**18, 2**63, 10**40, 10**350, -(10**400), "", " ", "0", "12", "null", "text",
    "\u0000", "\ufeff", "\u2028", [], {}, [[]], [None], [{}], {"": ""}, [1, "a", None], {"text": "t"}, {"text": None},
    {"type": "text", "text": "x"}, {"error": {}},
    "\ud83d", "\ude00", "\ud800x", "e\u0301", "x" * 5000, "\\ud83d", '"', "data: x", "\n\ndata: {}\n\n", "[DONE]",
    {"type": "object"}, {"message": "m", "code": 1}, ["a", ["b", ["c"]]], {"a": {"b": {"c": {"d": []}}}},
)  # fmt: skip
WRITTEN = (  # what JSON cannot say, or says only by hand
    "NaN", "Infinity", "-Infinity", "1e999", "-0", "0.1e-400", "1" * 500, "9" * 5000, "[" * DEEP, "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP + "1" + "}" * DEEP, "[" * 900 + "]" * 900, "undefined", "'text'", "{'a': 1}", "tru", '"\\x41"', '"\\ud83d"', '"\t\n"',
    '{"index": 0, "index": 1}', '{"type": "text", "type": null}', "01", "+1", ".5", "0x10", "// no\n1", '{"a": 1,}', "[1,]",
)  # fmt: skip
TYPES = (
    "application/json", "text/event-stream", "text/html", "text/plain; charset=iso-8859-9", "", "application/octet-stream",
    "application/x-ndjson", "text/event-stream; charset=utf-16", "multipart/mixed; boundary=x", "APPLICATION/JSON", "image/png",
    "application/vnd.amazon.eventstream", 'application/json; charset="', ";;;",
)  # fmt: skip
STATUSES = (
    200, 201, 202, 204, 206, 301, 307, 400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 451, 498, 500, 502, 503, 504, 524, 529, 599,
)  # fmt: skip
PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"


class Damaged(Struct):
    """An answer as it goes over the wire: `breaks` if the connection is lost at its end."""

    exchange: GoodAnswer
    status: int
    headers: dict[str, str]
    body: bytes
    done: list[str]
    breaks: bool = False


def damaged(exchange: GoodAnswer, luck: Random) -> Damaged:
    """`exchange` with one to four kinds of damage."""
    done: list[str] = []
    values = exchange.pieces
    for change in luck.sample(VALUES, luck.choice((0, 1, 1, 2))):
        if values:
            values = change(values, luck)
            done.append(change.__name__)
    body = written(exchange, values)
    for spoil in luck.sample(OCTETS, luck.choice((0, 0, 1, 1, 2))):
        body = spoil(body, luck)
        done.append(spoil.__name__)
    headers = {"content-type": exchange.content_type, "x-request-id": "req_1"}
    found = Damaged(exchange, exchange.status, headers, body, done)
    if luck.random() < 0.15 or not done:
        around = luck.choice(AROUND)
        around(found, luck)
        done.append(around.__name__)
    return found


def written(exchange: GoodAnswer, values: list[Any]) -> bytes:
    """The body's bytes."""
    if not exchange.is_streamed:
        return as_json(values[0]) if values else b""
    found = []
    for value in values:
        kind = value.get("type") if isinstance(value, dict) else None
        name = b"event: %b\n" % kind.encode("utf-8", "replace") if exchange.names and isinstance(kind, str) else b""
        found.append(name + b"data: " + as_json(value) + b"\n\n")
    return b"".join(found) + exchange.end.encode()


def as_json(value: Any) -> bytes:
    """JSON with letters as they are, halves of emojis too, and with what is to be written by hand."""
    text = json.dumps(value, ensure_ascii=False)
    pieces = text.split(RAW)
    for at in range(1, len(pieces) - 1, 2):
        pieces[at - 1], pieces[at] = pieces[at - 1].removesuffix('"'), WRITTEN[int(pieces[at])]
        pieces[at + 1] = pieces[at + 1].removeprefix('"')
    return "".join(pieces).encode("utf-8", "surrogatepass")


def _odd(luck: Random) -> Any:
    return f"{RAW}{luck.randrange(len(WRITTEN))}{RAW}" if luck.random() < 0.3 else deepcopy(luck.choice(ODD))


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every container with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        _places(value[key], found)
    return found


def _copy(values: list[Any]) -> list[Any]:
    copied: list[Any] = json.loads(json.dumps(values))
    return copied


# Values


def swap(values: list[Any], luck: Random) -> list[Any]:
    """Other types in some fields."""
    found = _copy(values)
    for _ in range(luck.choice((1, 1, 2, 5))):
        if places := _places(found, []):
            where, key = luck.choice(places)
            where[key] = _odd(luck)
    return found


def drop(values: list[Any], luck: Random) -> list[Any]:
    """Fields left out."""
    found = _copy(values)
    for _ in range(luck.choice((1, 1, 2, 5))):
        if places := _places(found, []):
            where, key = luck.choice(places)
            del where[key]
    return found


def rename(values: list[Any], luck: Random) -> list[Any]:
    """A field under another name, or another field's."""
    found = _copy(values)
    places = [(where, key) for where, key in _places(found, []) if isinstance(where, dict)]
    if places:
        where, key = luck.choice(places)
        other = luck.choice((key.upper(), f"{key}_", "error", "message", "type", "", luck.choice(places)[1]))
        where[other] = where.pop(key)
    return found


def move(values: list[Any], luck: Random) -> list[Any]:
    """A value from elsewhere in the answer."""
    found = _copy(values)
    if places := _places(found, []):
        (where, key), (other, name) = luck.choice(places), luck.choice(places)
        where[key] = json.loads(json.dumps(other[name]))
    return found


def add(values: list[Any], luck: Random) -> list[Any]:
    """A field that nobody knows, or an error beside the answer."""
    found = _copy(values)
    places = [where for where, _ in _places(found, []) if isinstance(where, dict)]
    if places:
        luck.choice(places)[luck.choice(("x", "error", "usage", "index", "refusal", "type", "detail", "code"))] = _odd(luck)
    return found


def repeat(values: list[Any], luck: Random) -> list[Any]:
    """Events twice."""
    at = luck.randrange(len(values))
    return [*values[: at + 1], *values[at : at + luck.randint(1, 4)], *values[at + 1 :]]


def leave_out(values: list[Any], luck: Random) -> list[Any]:
    """Events missing; the last ones most of all."""
    if luck.random() < 0.5:
        return values[: luck.randrange(len(values))]
    at = luck.randrange(len(values))
    return values[:at] + values[at + luck.randint(1, 3) :]


def reorder(values: list[Any], luck: Random) -> list[Any]:
    """Events in another order."""
    found = [*values]
    at, other = luck.randrange(len(found)), luck.randrange(len(found))
    found.insert(other, found.pop(at))
    return luck.sample(found, len(found)) if luck.random() < 0.2 else found


def mix(values: list[Any], luck: Random) -> list[Any]:
    """Something else among the events."""
    at = luck.randint(0, len(values))
    other = luck.choice(
        ({"error": {"message": "boom", "code": 500}}, {"type": "ping"}, {}, [], None, "text", 7, {"choices": []}, _odd(luck))
    )
    return [*values[:at], other, *values[at:]]


# Bytes


def flip(body: bytes, luck: Random) -> bytes:
    """Some bits changed."""
    found = bytearray(body)
    for _ in range(luck.choice((1, 1, 3, 20)) if found else 0):
        found[luck.randrange(len(found))] ^= 1 << luck.randrange(8)
    return bytes(found)


def cut(body: bytes, luck: Random) -> bytes:
    """The end missing."""
    return body[: luck.randint(0, max(len(body) - 1, 0))]


def hole(body: bytes, luck: Random) -> bytes:
    """A piece missing."""
    at = luck.randint(0, len(body))
    return body[:at] + body[at + luck.choice((1, 2, 10, 100)) :]


def stutter(body: bytes, luck: Random) -> bytes:
    """A piece twice."""
    at = luck.randint(0, len(body))
    size = luck.choice((1, 2, 10, 100))
    return body[: at + size] + body[at:]


def noise(body: bytes, luck: Random) -> bytes:
    """Bytes of any kind in between."""
    at = luck.randint(0, len(body))
    return (
        body[:at]
        + luck.choice(
            (luck.randbytes(luck.randint(1, 30)), b"\x00", b"\xff\xfe", b"\n\n", b"\r", b'"', b"}", b"\xed\xa0\x80", b"\x1e", PAGE)
        )
        + body[at:]
    )


def mark(body: bytes, luck: Random) -> bytes:
    """Byte order marks, white space, comments before it."""
    return (
        luck.choice(
            (b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\xff\xfe", b"\xfe\xff", b" \n\t", b": hello\n\n", b")]}',\n", b"\x00", b"\n" * 3000)
        )
        + body
    )


def lines(body: bytes, luck: Random) -> bytes:
    """Other ends of lines."""
    return body.replace(b"\n", luck.choice((b"\r", b"\r\n", b"\n\n", b"\n\r", b"", b"\xc2\x85", b"\xe2\x80\xa8", b"\\n")))


def recode(body: bytes, luck: Random) -> bytes:
    """Another character set."""
    text = body.decode("utf-8", "replace")
    return text.encode(luck.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "iso8859-9", "utf-7", "cp1254")), "replace")


def unframe(body: bytes, luck: Random) -> bytes:
    """Frames of events lost or changed."""
    return body.replace(b"data: ", luck.choice((b"", b"data:", b"data:\t", b"DATA: ", b"data : ", b"dat: ", b"data: data: ", b"  data: ")))


def packed(body: bytes, luck: Random) -> bytes:
    """Compressed, and nobody says so."""
    found = gzip.compress(body, mtime=0)
    return cut(found, luck) if luck.random() < 0.3 else found


def page(body: bytes, luck: Random) -> bytes:
    """A proxy's page instead, or behind it."""
    return PAGE if luck.random() < 0.5 else body[: luck.randint(0, len(body))] + PAGE


def double(body: bytes, luck: Random) -> bytes:
    """The whole answer twice, or in a list."""
    return body + body if luck.random() < 0.5 else b"[" + body + b"," + body + b"]"


def duplicate_key(body: bytes, luck: Random) -> bytes:
    """A name twice in one object."""
    name = luck.choice((b"choices", b"type", b"index", b"content", b"finish_reason", b"candidates", b"id", b"data"))
    value = luck.choice((b"null", b"1", b"[]", b"{}", b'"x"'))
    return body.replace(b'{"', b'{"%b": %b, "' % (name, value), luck.choice((1, -1)))


# Around


def other_type(damaged: Damaged, luck: Random) -> None:
    """Called what it is not."""
    damaged.headers["content-type"] = luck.choice(TYPES)


def other_status(damaged: Damaged, luck: Random) -> None:
    """Another status for the same body."""
    damaged.status = luck.choice(STATUSES)


def odd_headers(damaged: Damaged, luck: Random) -> None:
    """Headers that say strange things."""
    damaged.status = luck.choice(STATUSES)
    odd = ("", "-1", "nan", "inf", "1e999", "9" * 400, "soon", "Thu, 99 Foo 2026", "\u00b2", "\xff", "1m2s", "0x1f")
    for name in (
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-reset-requests",
        "anthropic-ratelimit-requests-reset",
        "x-should-retry",
        "location",
    ):
        if luck.random() < 0.5:
            damaged.headers[name] = luck.choice(odd)


def no_headers(damaged: Damaged, luck: Random) -> None:
    """None at all."""
    del luck
    damaged.headers.clear()


def lost(damaged: Damaged, luck: Random) -> None:
    """The connection breaks at the end."""
    damaged.body = cut(damaged.body, luck) if luck.random() < 0.5 else damaged.body
    damaged.breaks = True


def nothing(damaged: Damaged, luck: Random) -> None:
    """No body."""
    del luck
    damaged.body = b""


VALUES: list[Callable[[list[Any], Random], list[Any]]] = [swap, swap, drop, rename, move, add, repeat, leave_out, reorder, mix]
OCTETS: list[Callable[[bytes, Random], bytes]] = [
    flip, cut, cut, hole, stutter, noise, mark, lines, recode, unframe, packed, page, double, duplicate_key,
]  # fmt: skip
AROUND: list[Callable[[Damaged, Random], None]] = [other_type, other_status, odd_headers, no_headers, lost, nothing]
