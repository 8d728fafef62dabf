"""A string that matches a regular expression, the smallest plain one: for `pattern` in a JSON schema.

Walks the parse tree of the standard library's `re`. Look-arounds and back-references are ignored, so the caller
gets a best effort there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_PLAIN = "a1A0 -_.@/b2B"  # tried in this order when a set of characters is asked for


def sample(pattern: str) -> str:
    """A string `re.search(pattern, ...)` accepts, or "" when the pattern cannot be read."""
    try:
        tree = parser.parse(pattern)
    except re.error:
        return ""
    text = _walk(tree)
    return text if re.search(pattern, text) else text.strip()


def _walk(nodes: Iterable[Any]) -> str:
    out: list[str] = []
    for kind, arg in nodes:
        if kind is op.LITERAL:
            out.append(chr(arg))
        elif kind is op.NOT_LITERAL:
            out.append(next(c for c in _PLAIN if ord(c) != arg))
        elif kind is op.ANY:
            out.append("a")
        elif kind is op.IN:
            out.append(_member(arg))
        elif kind is op.BRANCH:
            out.append(_walk(arg[1][0]))
        elif kind is op.SUBPATTERN:
            out.append(_walk(arg[-1]))
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, _, inner = arg
            out.append(_walk(inner) * least)
    return "".join(out)


def _member(items: list[tuple[Any, Any]]) -> str:
    negated = bool(items) and items[0][0] is op.NEGATE
    for char in _PLAIN + "".join(map(chr, range(33, 127))):
        if any(_holds(item, char) for item in items) != negated:
            return char
    kind, arg = items[0]
    return chr(arg if kind is op.LITERAL else arg[0])


def _holds(item: tuple[Any, Any], char: str) -> bool:
    kind, arg = item
    if kind is op.LITERAL:
        return bool(ord(char) == arg)
    if kind is op.RANGE:
        return bool(arg[0] <= ord(char) <= arg[1])
    if kind is op.CATEGORY:
        classes = {op.CATEGORY_DIGIT: r"\d", op.CATEGORY_NOT_DIGIT: r"\D", op.CATEGORY_WORD: r"\w", op.CATEGORY_NOT_WORD: r"\W",
                   op.CATEGORY_SPACE: r"\s", op.CATEGORY_NOT_SPACE: r"\S"}  # fmt: skip
        return bool(re.match(classes[arg], char))
    return False
