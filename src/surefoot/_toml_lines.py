"""On which line each key of a TOML text stands: `tomllib` does not say.

Written for text that `tomllib` has read, or has refused because something stands in it twice; of other text it finds what it can.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]  # keys and, in arrays, places counted from 0

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' + r"|'''.*?'{3,5}" + r'|"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


class TomlLines:
    """The lines of a text's keys. `twice` is the first that stands there two times: its path, its second line and its first."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[KeyPath, int] = {}
        self._said: set[KeyPath] = set()  # by a header or a key of their own, not only as the beginning of a longer one
        self._arrays: dict[KeyPath, int] = {}  # arrays of tables, and how many they have so far
        self.twice: tuple[KeyPath, int, int] | None = None
        with suppress(IndexError, ValueError, RecursionError):  # text that is no TOML: whoever asks knows
            self._document()

    def line(self, path: KeyPath) -> int | None:
        """The line of `path`, or of the innermost table around it that stands in the text."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)

    def own_line(self, path: KeyPath) -> int | None:
        """The line of `path` itself; None where it stands nowhere."""
        return self._lines.get(path)

    def _document(self) -> None:
        table: KeyPath = ()
        while self._skip():
            line = self._line()
            if self._text.startswith("[[", self._at):
                table = self._within(self._header(2))
                number = self._arrays.get(table, 0)
                self._arrays[table] = number + 1
                self._lines.setdefault(table, line)
                table = (*table, number)
                self._lines[table] = line
            elif self._text[self._at] == "[":
                table = self._within(self._header(1))
                self._say(table, line)
            else:
                self._pair(table)

    def _within(self, path: KeyPath) -> KeyPath:
        """A header's path, with the last place of each array of tables that it leads through."""
        found: KeyPath = ()
        for number, key in enumerate(path):
            found = (*found, key)
            if found in self._arrays and number < len(path) - 1:
                found = (*found, self._arrays[found] - 1)
        return found

    def _header(self, brackets: int) -> KeyPath:
        self._at += brackets
        path = self._key()
        self._skip()
        self._at += brackets
        return path

    def _say(self, path: KeyPath, line: int) -> None:
        """Note that `path` stands on `line`."""
        for end in range(1, len(path)):
            self._lines.setdefault(path[:end], line)
        if path in self._said and self.twice is None:
            self.twice = (path, line, self._lines[path])
        self._said.add(path)
        self._lines[path] = line

    def _pair(self, table: KeyPath) -> None:
        """One `key = value`."""
        line = self._line()
        path = (*table, *self._key())
        self._say(path, line)
        self._skip()
        if self._text[self._at] != "=":
            raise ValueError("no value")
        self._at += 1
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip()
        first = self._text[self._at]
        if first == "[":
            self._inside("]", path)
        elif first == "{":
            self._inside("}", path)
        else:
            match = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            if match is None:
                raise ValueError("no value")
            self._at = match.end()

    def _inside(self, closing: str, path: KeyPath) -> None:
        """The elements of an array, or the pairs of an inline table."""
        self._at += 1
        number = 0
        while self._skip() and self._text[self._at] != closing:
            if self._text[self._at] == ",":
                self._at += 1
            elif closing == "}":
                self._pair(path)
            else:
                self._lines[*path, number] = self._line()
                self._value((*path, number))
                number += 1
        self._at += 1

    def _key(self) -> KeyPath:
        """A key, dotted or not."""
        path: list[str] = []
        while True:
            self._skip()
            bare = _BARE_KEY.match(self._text, self._at)
            quoted = None if bare else _STRING.match(self._text, self._at)
            match = bare or quoted
            if match is None:
                raise ValueError("no key")
            path.append(match[0] if quoted is None else _unquoted(match[0]))
            self._at = match.end()
            self._skip()
            if self._text[self._at] != ".":
                return tuple(path)
            self._at += 1

    def _skip(self) -> bool:
        """Pass over blanks, line breaks and comments; False at the end of the text."""
        match = _BLANK.match(self._text, self._at)
        assert match is not None  # it may be empty
        self._at = match.end()
        return self._at < len(self._text)

    def _line(self) -> int:
        return bisect_right(self._starts, self._at)


def _unquoted(key: str) -> str:
    found: Any = tomllib.loads(f"key = {key}")["key"]
    return str(found)
