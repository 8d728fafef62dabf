"""Arguments of tool calls as servers write them that are not quite the protocol's: null, text in text, the same object twice."""

from __future__ import annotations

import json
import re
from typing import Any

from surefoot.text import clean

NOTHING = frozenset({"", "null", "[]", '""', "None", "undefined"})
WRAPPINGS = 3  # times that a server encodes an object as text
_GAP = re.compile(r"\s*")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(strict=False, parse_constant=_no_number)


def mended(arguments: str) -> str | None:
    """The JSON object that `arguments` mean, as text; None where they are cut or broken, or mean no one object.

    Nothing is guessed: null and blanks are no arguments; an object encoded as text is that object; one that is repeated as a whole, or
    stands after an empty one, is itself; a line break or half an emoji inside a text stays text.
    """
    text = arguments
    for _ in range(WRAPPINGS):
        if text.strip() in NOTHING:
            return "{}"
        found = _documents(text)
        if len(found) == 1 and isinstance(found[0], str):
            text = found[0]
            continue
        objects = [one for one in found if isinstance(one, dict)]
        if len(objects) < len(found) or not objects:
            return None
        told = [one for one in objects if one]
        if any(one != told[0] for one in told):
            return None
        return json.dumps(_clean(told[0] if told else {}), ensure_ascii=False)
    return None


def _documents(text: str) -> list[Any]:
    """The JSON documents in `text`, one after the other; none if one is broken."""
    found: list[Any] = []
    at = _after_gap(text, 0)
    while at < len(text):
        try:
            value, at = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        found.append(value)
        at = _after_gap(text, at)
    return found


def _after_gap(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap is not None else at


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(name): _clean(one) for name, one in value.items()}
    return [_clean(one) for one in value] if isinstance(value, list) else value
