"""Text out of Word, PowerPoint, Excel and EPUB files, as light Markdown, by python-docx, python-pptx and openpyxl (extra `formats`).

These are the readers everybody uses, kept for more than ten years. EPUB is a ZIP of web pages and needs none.
"""

from __future__ import annotations

import datetime as dt
import io
import posixpath
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from selectolax.lexbor import LexborHTMLParser

from surefoot_rag.documents.html_text import html_to_markdown
from surefoot_rag.documents.tables import as_text

__all__ = ["docx_to_markdown", "epub_to_markdown", "pptx_to_slides", "xlsx_to_markdown"]

MOST_BYTES = 1 << 30  # unpacked; a small file may unpack to more than any memory
_HEADINGS = {f"Heading {level}": "#" * level + " " for level in range(1, 7)} | {"Title": "# "}


def docx_to_markdown(data: bytes) -> tuple[str, str]:
    """A Word document's text and its title. Raises ValueError for what cannot be opened."""
    docx = _needed("docx", "python-docx")
    _checked(data)
    document = docx.Document(io.BytesIO(data))
    return "\n\n".join(_docx_blocks(document)), document.core_properties.title or ""


def _docx_blocks(document: Any) -> Iterator[str]:
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            text = as_text([cell.text for cell in row.cells] for row in block.rows)
        else:
            style = (block.style.name if block.style is not None else "") or ""
            mark = _HEADINGS.get(style, "- " if style.startswith("List") else "")
            text = mark + (" ".join(block.text.split()) if mark else block.text) if block.text.strip() else ""
        if text.strip():
            yield text


def pptx_to_slides(data: bytes) -> tuple[list[str], str]:
    """The text of each slide, its notes below, and the title. Raises ValueError for what cannot be opened."""
    pptx = _needed("pptx", "python-pptx")
    _checked(data)
    shown = pptx.Presentation(io.BytesIO(data))
    return [_slide(slide) for slide in shown.slides], shown.core_properties.title or ""


def _slide(slide: Any) -> str:
    title = slide.shapes.title
    parts = [f"## {' '.join(title.text.split())}"] if title is not None and title.text.strip() else []
    parts += (text for shape in slide.shapes if title is None or shape.shape_id != title.shape_id for text in _shape(shape))
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None and notes.text.strip():
        parts.append(notes.text)
    return "\n\n".join(parts)


def _shape(shape: Any) -> Iterator[str]:
    if hasattr(shape, "shapes"):
        for one in shape.shapes:
            yield from _shape(one)
    elif getattr(shape, "has_table", False):
        yield as_text([cell.text for cell in row.cells] for row in shape.table.rows)
    elif getattr(shape, "has_text_frame", False) and shape.text_frame.text.strip():
        yield shape.text_frame.text


def xlsx_to_markdown(data: bytes) -> str:
    """Every sheet under its name, a line a row; cells as they were last computed. Raises ValueError for what cannot be opened."""
    openpyxl = _needed("openpyxl", "openpyxl")
    _checked(data)
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    sheets = ((sheet.title, as_text(_filled(sheet.iter_rows(values_only=True)))) for sheet in book.worksheets)
    return "\n\n".join(f"## {title}\n\n{rows}" for title, rows in sheets if rows)


def _filled(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[str]]:
    for row in rows:
        cells = [_cell(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield cells


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        return value.date().isoformat()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def epub_to_markdown(data: bytes) -> tuple[str, str]:
    """A book's chapters in reading order, and its title. Raises ValueError for one that is locked or damaged."""
    with _checked(data) as book:
        names = set(book.namelist())
        if "META-INF/rights.xml" in names:
            raise ValueError("it is locked by DRM")
        try:
            (root, *_) = _xml(book.read("META-INF/container.xml")).css("rootfile")
            opf = root.attributes.get("full-path") or ""
            package = _xml(book.read(opf))
        except (KeyError, ValueError) as exc:
            raise ValueError(f"it is not a sound EPUB ({type(exc).__name__}: {exc})") from exc
        pages = {one.attributes.get("id"): one.attributes.get("href") or "" for one in package.css("manifest item")}
        parts = []
        for one in package.css("spine itemref"):
            name = posixpath.normpath(posixpath.join(posixpath.dirname(opf), unquote(pages.get(one.attributes.get("idref"), ""))))
            if name in names and name.endswith((".xhtml", ".html", ".htm")):
                parts.append(html_to_markdown(book.read(name).decode("utf-8", "replace"))[0])
        title = next((one.text(deep=True).strip() for one in package.css("metadata *") if (one.tag or "").endswith("title")), "")
    return "\n\n".join(part for part in parts if part.strip()), title


def _xml(data: bytes) -> LexborHTMLParser:
    # An HTML parser finds elements and attributes as well, and knows no entities that grow.
    return LexborHTMLParser(data.decode("utf-8", "replace"))


def _checked(data: bytes) -> zipfile.ZipFile:
    """The file as a ZIP. Raises ValueError if it is none, or would unpack to too much."""
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise ValueError("it is locked by a password, or of the format before 2007; save an unlocked copy of today's")
    try:
        packed = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as exc:
        raise ValueError(f"it is damaged ({exc})") from exc
    if sum(one.file_size for one in packed.infolist()) > MOST_BYTES:
        raise ValueError(f"it would unpack to more than {MOST_BYTES >> 20} MB")
    return packed


def _needed(module: str, package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise ValueError(f'reading it needs {package}: pip install "surefoot[formats]"') from exc
