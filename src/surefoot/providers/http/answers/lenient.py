"""A second, lenient reading of JSON that the strict one refused: an answer that was paid for is not lost to a field that nobody needs.

What the vendors' SDKs read, read here as well: a byte order mark, bytes that are no UTF-8, half an emoji, NaN, line breaks inside a text,
numbers as text, null or `{}` where a list is expected. What does not fit a field is left out, as if the server had not sent it; a required
field that does not fit is an error. JSON that is cut or torn stays unread: half an answer is none.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

from surefoot.text import clean

MAX_NODES = 4_000_000  # values of a document read leniently: as Python objects some 300 MB at most
MAX_HALVES = 64  # of emojis, waiting for the other half; a stream has one or two
MAX_DEPTH = 200  # of objects and lists in one another; vendors go to ten, and what reads them by recursion ends at some 400
MAX_DIGITS = 300  # of one number: no count is longer, every float can hold it, and Python takes squares to read them
TEXT_FIELDS = ("text", "content", "value", "message", "summary", "thinking")  # where servers put the text of what should have been text

Path: TypeAlias = tuple[str | int, ...]
Halves: TypeAlias = dict[Path, str]  # where in an event half an emoji stood; its other half comes with the next event

_GAP = re.compile(r"[\s,\[\]\x1e]*")
_decoder = json.JSONDecoder(
    strict=False, parse_constant=lambda _: None, parse_int=lambda digits: int(digits) if len(digits) <= MAX_DIGITS else None
)


class Unfit(ValueError):
    """A value that is nothing of what was expected at its place."""


def read(data: bytes, kind: Any, halves: Halves | None = None) -> Any:
    """`data` as `kind`, read leniently. Raises ValueError or RecursionError where it is no JSON, or not even nearly a `kind`.

    `halves`, kept from one event of a stream to the next, joins the halves of an emoji that came in two events; without it, and where the
    other half never comes, U+FFFD stands in its place.
    """
    return fitted(cleaned(data, halves), kind)


def cleaned(data: bytes, halves: Halves | None = None) -> Any:
    """`data` as Python has it, its texts whole, null for what JSON cannot say. Raises ValueError or RecursionError where it is no JSON."""
    return _Clean(halves).value(document(data), ())


def fitted(value: Any, kind: Any) -> Any:
    """A value that is `cleaned`, as `kind`. Raises ValueError or RecursionError where it is not even nearly one."""
    return msgspec.json.decode(json.dumps(_fit(value, inspected(kind)), ensure_ascii=False), type=kind)


def value_of(raw: msgspec.Raw) -> Any:
    """JSON that was kept as it was sent, decoded; None for what is none, or goes deeper than MAX_DEPTH."""
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        pass
    else:
        return None if _is_deep(value, bytes(raw)) else value
    try:
        return cleaned(bytes(raw))
    except (ValueError, RecursionError):
        return None


def document(data: bytes) -> Any:
    """`data` as Python has it. Raises ValueError where it is no JSON, has more than MAX_NODES values or goes deeper than MAX_DEPTH."""
    value, end = _decoder.raw_decode(text := text_of_json(data))
    if text[end:].strip():
        raise Unfit("more than one JSON document")
    if _is_deep(value, data):
        raise Unfit(f"JSON of more than {MAX_DEPTH} levels")
    return value


def _is_deep(value: Any, data: bytes) -> bool:
    """Whether `value`, which was `data`, goes deeper than MAX_DEPTH."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            one
            for holder in level
            for one in (holder.values() if type(holder) is dict else holder if type(holder) is list else ())
            if type(one) is dict or type(one) is list
        ]
        if not level:
            return False
    return True


def documents(data: bytes) -> list[bytes]:
    """The JSON documents of a body that holds several: in an array, one a line, or one after the other. Raises ValueError for what is none.

    A body that ends in the middle of one gives those before it.
    """
    text = text_of_json(data)
    found: list[bytes] = []
    at = _between(text, 0)
    while at < len(text):
        try:
            value, at = _decoder.raw_decode(text, at)
        except ValueError:
            if not found:
                raise
            break
        found.append(json.dumps(value).encode())
        at = _between(text, at)
    return found


def _between(text: str, at: int) -> int:
    """Where the next document begins."""
    gap = _GAP.match(text, at)
    return gap.end() if gap is not None else at


def text_of_json(data: bytes) -> str:
    """`data` as text from its first sign on: UTF-8, or UTF-16 and UTF-32 by their marks; U+FFFD for each byte that is none."""
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_NODES:
        raise Unfit(f"more than {MAX_NODES} values")
    coding = json.detect_encoding(data[:4])
    try:
        text = data.decode(coding, "surrogatepass")
    except UnicodeDecodeError:
        text = data.decode(coding, "replace")
    return text.removeprefix("\ufeff").lstrip(" \t\r\n\x00")


def raw_text(raw: msgspec.Raw) -> str:
    """JSON as it was sent; msgspec does not look at the letters of what it does not decode."""
    return bytes(raw).decode("utf-8", "replace")


def text_of(value: Any) -> str:
    """The text of a text, a number, a part (`{"text": ...}`) or a list of them; "" where there is none, or too deep."""
    if isinstance(value, str):
        return value
    try:
        return _text_within(value)
    except RecursionError:
        return ""


def _text_within(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "".join(map(_text_within, value))
    if isinstance(value, dict):
        return next((found for name in TEXT_FIELDS if (found := _text_within(value.get(name)))), "")
    return ""


def float_of(value: Any) -> float:
    """A number as a float that JSON has; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if isfinite(number) else 0.0


@lru_cache(maxsize=64)
def inspected(kind: Any) -> inspect.Type:
    """What msgspec knows of a type."""
    return inspect.type_info(kind)


class _Clean:
    """Makes the texts of one document whole."""

    def __init__(self, halves: Halves | None) -> None:
        self._halves = halves

    def value(self, value: Any, path: Path) -> Any:
        """`value`, which stands at `path`, with whole texts and null for numbers without end."""
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, dict):
            return {clean(name): self.value(one, (*path, name)) for name, one in value.items()}
        if isinstance(value, list):
            if {*map(type, value)} <= {int, float} and all(map(isfinite, value)):  # a vector
                return value
            return [self.value(one, (*path, place)) for place, one in enumerate(value)]
        return None if isinstance(value, float) and not isfinite(value) else value

    def _text(self, text: str, path: Path) -> str:
        """`text` joined with the half of an emoji that came before at this place; its own last half is kept for what comes next."""
        if self._halves is None:
            return clean(text)
        text = self._halves.pop(path, "") + text
        if "\ud800" <= text[-1:] <= "\udbff" and len(self._halves) < MAX_HALVES:
            self._halves[path], text = text[-1], text[:-1]
        return clean(text)


def _fit(value: Any, kind: inspect.Type) -> Any:
    """`value` in the shape of `kind`. Raises Unfit."""
    if isinstance(kind, inspect.UnionType):
        return _one_of(value, kind)
    fit = _BY_KIND.get(type(kind))
    return value if fit is None else fit(value, kind)


def _one_of(value: Any, kind: inspect.UnionType) -> Any:
    """The alternative that is of the value's own kind; else the first that it can be made into."""
    if value is None:
        return None
    others = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
    wanted = _NATURAL.get(type(value), ())
    for one in sorted(others, key=lambda one: not isinstance(one, wanted)):
        try:
            return _fit(value, one)
        except Unfit:
            continue
    raise Unfit


def _struct(value: Any, kind: inspect.StructType) -> dict[str, Any]:
    """The fields that fit, of those that are known."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise Unfit(f"{type(value).__name__} where an object is expected")
    found = {}
    for field in kind.fields:
        name = field.encode_name
        if name not in value:
            continue
        try:
            found[name] = _fit(value[name], field.type)
        except Unfit:
            if field.required:
                raise
    return found


def _list(value: Any, kind: inspect.ListType) -> list[Any]:
    """A list; of objects without those that are none; from an object that PHP made of a list; or with one object in it."""
    of = kind.item_type
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=int)] if all(map(str.isdecimal, value)) else [value]
    if not isinstance(value, list):
        raise Unfit
    if isinstance(of, inspect.FloatType) and {*map(type, value)} <= {int, float}:
        return list(value)
    found = []
    for one in value:
        try:
            found.append(_fit(one, of))
        except Unfit:
            if not isinstance(of, inspect.StructType | inspect.DictType):
                raise
    if any(value) and not found:
        raise Unfit
    return found


def _mapping(value: Any, kind: inspect.DictType) -> dict[str, Any]:
    """An object; an empty list is one to PHP."""
    if value == []:
        return {}
    if not isinstance(value, dict):
        raise Unfit
    return {name: _fit(one, kind.value_type) for name, one in value.items()}


def _text(value: Any, kind: inspect.StrType) -> str:
    """A text, also one that came as a number or in parts."""
    del kind
    found = text_of(value)
    if not (found or isinstance(value, str)):
        raise Unfit
    return found


def _number(value: Any, kind: inspect.IntType | inspect.FloatType) -> int | float:
    """A number, also one that came as text."""
    number = _number_of(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not (isinstance(number, int) or isfinite(number)):
        raise Unfit
    if isinstance(kind, inspect.FloatType):
        if abs(number) > sys.float_info.max:
            raise Unfit
        return float(number)
    if number != int(number) or abs(number) >= 2**63:
        raise Unfit
    return int(number)


def _number_of(text: str) -> int | float | None:
    if len(text) > MAX_DIGITS or not text.isascii():
        return None
    try:
        return int(text) if text.strip().lstrip("+-").isdecimal() else float(text)
    except ValueError:
        return None


def _truth(value: Any, kind: inspect.BoolType) -> bool:
    """True or false, also as a number or in words."""
    del kind
    if value in (True, False):
        return bool(value)
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise Unfit


def _octets(value: Any, kind: inspect.BytesType) -> str:
    """Base64, also in the letters of addresses and without its padding."""
    del kind
    if not isinstance(value, str):
        raise Unfit
    letters = "".join(value.split()).rstrip("=").replace("-", "+").replace("_", "/")
    if len(letters) % 4 == 1:
        raise Unfit("base64 that is cut")
    return letters + "=" * (-len(letters) % 4)


_BY_KIND: dict[type[inspect.Type], Callable[..., Any]] = {
    inspect.StructType: _struct,
    inspect.ListType: _list,
    inspect.DictType: _mapping,
    inspect.StrType: _text,
    inspect.IntType: _number,
    inspect.FloatType: _number,
    inspect.BoolType: _truth,
    inspect.BytesType: _octets,
}
_NATURAL: dict[type, tuple[type[inspect.Type], ...]] = {
    str: (inspect.StrType, inspect.BytesType),
    dict: (inspect.StructType, inspect.DictType),
    list: (inspect.ListType,),
    bool: (inspect.BoolType,),
    int: (inspect.IntType, inspect.FloatType),
    float: (inspect.FloatType,),
}
