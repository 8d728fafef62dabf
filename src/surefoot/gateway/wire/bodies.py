"""Bodies of requests, read: the fields that are known as values, the others as they were written."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from surefoot.gateway.errors import HttpError
from surefoot.models.requests import SDK_WORDS
from surefoot.text import json_text

Fields = dict[str, Raw]
_fields = msgspec.json.Decoder(Fields)


def fields_of(body: bytes) -> Fields:
    """The fields of a JSON object. Raises HttpError (400)."""
    try:
        return _fields.decode(body)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, "invalid_json", f"the body is not a JSON object: {error}") from error


def value_of(fields: Fields, name: str) -> Any:
    """The value of a field, taken out; None where it is not there or null. Raises HttpError (400)."""
    raw = fields.pop(name, None)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, "invalid_json", f"{name} is not JSON: {error}", param=name) from error


def text_field(fields: Fields, name: str) -> str:
    """A field that must be text. Raises HttpError (400)."""
    found = value_of(fields, name)
    if not isinstance(found, str) or not found:
        raise HttpError(400, "invalid_request", f"{name} must be text, and not empty", param=name)
    return found


def flag(fields: Fields, name: str) -> bool:
    """A field that is true, or false where it is missing. Raises HttpError (400)."""
    found = value_of(fields, name)
    if found is not None and not isinstance(found, bool):
        raise HttpError(400, "invalid_request", f"{name} is true or false", param=name)
    return bool(found)


def rest_of(fields: Fields, *, without: Collection[str] = ()) -> str:
    """The fields that nobody has taken, as the text of an object; "" where none is left.

    Raises HttpError (400) for the library's own words: they would let a client write headers, or name another model than it may ask.
    """
    for name in SDK_WORDS:
        if name in fields:
            raise HttpError(400, "invalid_request", f"{name} is no field of this API; its fields stand in the body themselves", param=name)
    kept = {name: value for name, value in fields.items() if name not in without and bytes(value) != b"null"}
    return json_text(kept) if kept else ""
