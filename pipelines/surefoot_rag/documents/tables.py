"""Rows of tables as text that can be cut anywhere.

A long table loses its header in all pieces but the first; a row that names its columns does not. Short tables stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["KEPT_CHARS", "as_text", "row_text", "spread"]

KEPT_CHARS = 900  # a table of at most this length is one passage (`corpus.SIZE_CHARS`) and stays a table
_TABLE = re.compile(
    r"^(?P<head>[ ]{0,3}\|[^\n]*\|)[ ]*\n[ ]{0,3}\|?[ :|-]*-[ :|-]*\n(?P<rows>(?:[ ]{0,3}\|[^\n]*(?:\n|\Z))+)", re.MULTILINE
)
_BAR = re.compile(r"(?<!\\)\|")
_FENCED = re.compile(r"^ {0,3}(```+|~~~+)[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)


def row_text(header: Sequence[str], row: Sequence[str]) -> str:
    """One row as a line that stands by itself: `- port: Bergen; depth: 11.2 m.`; "" for an empty one."""
    cells = [
        f"{name}: {value}" if name else value
        for name, value in zip((*header, *[""] * len(row)), (" ".join(cell.split()) for cell in row), strict=False)
        if value
    ]
    return f"- {'; '.join(cells)}." if cells else ""


def as_text(rows: Iterable[Sequence[str]]) -> str:
    """A whole table, its first row the header: as Markdown where it is short, else a line a row."""
    filled = [[" ".join(cell.split()) for cell in row] for row in rows]
    filled = [row for row in filled if any(row)]
    if len(filled) < 2:
        return row_text((), filled[0]) if filled else ""
    header, *body = filled
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in filled]
    markdown = "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])
    return markdown if len(markdown) <= KEPT_CHARS else "\n".join(row_text(header, row) for row in body)


def spread(markdown: str) -> str:
    """`markdown` with its long tables as a line a row; code is left alone."""
    fences = [match.span() for match in _FENCED.finditer(markdown)]

    def replaced(match: re.Match[str]) -> str:
        if len(match[0]) <= KEPT_CHARS or any(start <= match.start() < end for start, end in fences):
            return match[0]
        header = _cells(match["head"])
        return "\n".join(line for row in match["rows"].splitlines() if (line := row_text(header, _cells(row)))) + "\n"

    return _TABLE.sub(replaced, markdown)


def _cells(line: str) -> list[str]:
    return [cell.replace("\\|", "|").strip() for cell in _BAR.split(line.strip().removeprefix("|").removesuffix("|"))]
