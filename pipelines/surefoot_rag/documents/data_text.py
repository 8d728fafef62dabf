"""Text out of data files and notebooks: CSV, JSON lines, Jupyter, reStructuredText. Nothing but the standard library."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from surefoot_rag.documents.tables import row_text

__all__ = ["csv_to_text", "json_lines_to_text", "json_to_text", "notebook_to_markdown", "rst_to_markdown"]

_LONG_CELL = 200  # characters; a longer value is prose and gets a paragraph of its own
_MARK = r"[!-/:-@\[-`{-~]"
_ADORNED = re.compile(  # a title with a line of one mark under it, and perhaps the same above
    rf"^(?:(?P<over>({_MARK})\2{{2,}})[ \t]*\n)?(?P<title>\S[^\n]*)\n(?P<under>({_MARK})\5{{2,}})[ \t]*$", re.MULTILINE
)


def csv_to_text(text: str) -> str:
    """A line a row, each with its columns' names. The separator is told by the first lines. Raises ValueError for what is no table."""
    csv.field_size_limit(2**31 - 1)
    sample = text[:8192]
    try:
        dialect: Any = csv.Sniffer().sniff(sample, delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    try:
        rows = [row for row in csv.reader(io.StringIO(text), dialect) if any(cell.strip() for cell in row)]
    except csv.Error as exc:
        raise ValueError(f"it is no table that can be read: {exc}") from exc
    if not rows:
        return ""
    header = [" ".join(cell.split()) for cell in rows[0]]
    if len(rows) == 1 or any(re.fullmatch(r"[-+\d.,% ]+", cell) for cell in header if cell):
        header, rows = [], [[], *rows]  # numbers name no columns
    return "\n".join(row_text(header, row) for row in rows[1:])


def json_lines_to_text(text: str) -> str:
    """A paragraph a record. Raises ValueError naming the line that is no JSON."""
    out = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as exc:
            raise ValueError(f"line {number} is no JSON: {exc}") from exc
        out.append(_record_text(record))
    return "\n\n".join(out)


def json_to_text(text: str) -> str:
    """A paragraph a record of a list, or of the lists inside an object; else the one record. Raises ValueError for what is no JSON."""
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise ValueError(f"it is no JSON: {exc}") from exc
    if isinstance(value, list):
        return "\n\n".join(_record_text(one) for one in value)
    if not isinstance(value, Mapping):
        return str(value)
    inside = {key: one for key, one in value.items() if isinstance(one, list) and any(isinstance(item, Mapping) for item in one)}
    own = _record_text({key: one for key, one in value.items() if key not in inside})
    lists = [f"# {key}\n\n" + "\n\n".join(_record_text(item) for item in one) for key, one in inside.items()]
    return "\n\n".join(part for part in (own, *lists) if part)


def _record_text(record: Any) -> str:
    """Short values on one line, each with its name; long ones are prose and get lines of their own."""
    fields = list(_flat(record, ""))
    short = [f"{name}: {value}" if name else value for name, value in fields if len(value) <= _LONG_CELL]
    prose = [value if not name else f"{name}: {value}" for name, value in fields if len(value) > _LONG_CELL]
    return "\n".join([*([f"{'; '.join(short)}."] if short else []), *prose])


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(one, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        if all(isinstance(one, str | int | float) for one in value):
            yield name, ", ".join(str(one) for one in value)
        else:
            for one in value:
                yield from _flat(one, name)
    elif value is not None and str(value).strip():
        yield name, str(value).strip()


def notebook_to_markdown(text: str) -> str:
    """Words as they stand, code as code; what the code printed is left out. Raises ValueError for what is no notebook."""
    try:
        book = json.loads(text)
        language = book.get("metadata", {}).get("kernelspec", {}).get("language", "python")
        cells = [(cell["cell_type"], "".join(cell.get("source", ""))) for cell in book["cells"]]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"it is no Jupyter notebook ({type(exc).__name__}: {exc})") from exc
    parts = [f"```{language}\n{source}\n```" if kind == "code" else source for kind, source in cells if source.strip()]
    return "\n\n".join(parts) + "\n"


def rst_to_markdown(text: str) -> str:
    """ReStructuredText with Markdown's headings, their levels told by the order in which their marks first appear."""
    levels: dict[tuple[str, bool], int] = {}

    def heading(match: re.Match[str]) -> str:
        title, under = match["title"].strip(), match["under"]
        over = match["over"] or ""
        if len(under) < len(title) or (over and over != under) or not any(char.isalnum() for char in title):
            return match[0]
        level = levels.setdefault((under[0], bool(over)), len(levels) + 1)
        return f"{'#' * min(level, 6)} {title}"

    return _ADORNED.sub(heading, text)
