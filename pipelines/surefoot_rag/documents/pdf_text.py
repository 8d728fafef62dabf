"""The text of a PDF's pages, by PDFium, and paragraphs out of their lines: a PDF stores where each line ends, not where a sentence goes on.

PDFium (Chrome's engine, in the wheels of pypdfium2) takes a twelfth to a nineteenth of pypdf's time for a page (1.5 ms against 28 for a
manual typeset by TeX, 1.9 against 21 for one by XSL), and tears fewer words: pypdf reads "ELE MENT" and "OP TIONAL" where letters are
kerned. pdftotext reads alike and is no faster, but is a program of the system's.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["PageText", "pdf_pages", "unwrap", "unwrapped"]

_engine = threading.Lock()  # PDFium is used by one thread at a time
_MARK = "\x00"  # where a line of the paper begins; no page's text holds it
_HYPHEN = "\ufffe"  # PDFium's sign for a hyphen at the end of a line

_ITEM = re.compile(r"\s*(?:[-*\u2022\u2013\u25aa\u25cf]|\d{1,3}[.)]|[a-z]\))\s")
_ENDED = re.compile(r"[.!?:\u2026][\"'\u201d\u2019)\]]*$")
_OPENS = re.compile(r"[\"'\u201c\u2018(\[]*[^\W_a-z\u00e7\u011f\u0131\u00f6\u015f\u00fc]")  # a capital or a digit
_SPACE = 0.85  # proportional fonts make lines of one width differ by about a tenth in characters
_TITLE = 0.6  # a heading seldom fills more of its line


class PageText(NamedTuple):
    """A page's paragraphs, and the offset in them at which each of its printed lines begins."""

    text: str
    line_starts: Sequence[int]


def pdf_pages(data: bytes) -> tuple[list[str], str] | None:
    """The text of each page as it stands, and the document's title; None when a password is wanted. Raises ValueError for no sound PDF."""
    try:
        import pypdfium2
    except ImportError as exc:
        raise ValueError('reading it needs pypdfium2: pip install "surefoot[rag]"') from exc
    with _engine:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as exc:
            if "password" in str(exc).lower():
                return None
            raise ValueError(f"it is not a sound PDF ({exc})") from exc
        try:
            title = str(document.get_metadata_dict().get("Title") or "")
            return [_text_of(page) for page in document], title
        except pypdfium2.PdfiumError as exc:
            raise ValueError(f"it is not a sound PDF ({exc})") from exc
        finally:
            document.close()


def _text_of(page: object) -> str:
    held = page.get_textpage()  # type: ignore[attr-defined]
    try:
        return str(held.get_text_bounded()).replace(_HYPHEN, "-")
    finally:
        held.close()
        page.close()  # type: ignore[attr-defined]


def unwrap(page: str) -> str:
    """`unwrapped`, its text alone."""
    return unwrapped(page).text


def unwrapped(page: str) -> PageText:
    """Join the lines of a page where the break was only the end of the paper.

    A break was forced when the next line's first word would not have fitted on the line before. Words cut by a hyphen are mended. A
    break that nothing forced becomes a blank line where a sentence had ended or a title stands alone, else it stays as it is.
    """
    lines = [line.rstrip() for line in page.split("\n")]
    lengths = sorted(len(line) for line in lines)
    width = lengths[int(len(lengths) * 0.95)]
    out = _marked(lines[0])
    for line, following in pairwise(lines):
        if not _forced(line, following, width):
            out += _break(line, following, width) + _marked(following)
        elif re.search(r"[^\W\d_]-$", line) and following[:1].islower():
            out = out[:-1] + _marked(following)
        else:
            out += " " + _marked(following.lstrip())
    pieces = re.sub(r"\n{3,}", "\n\n", out).strip().split(_MARK)
    starts, at = [], len(pieces[0])
    for piece in pieces[1:]:
        starts.append(at)
        at += len(piece)
    return PageText("".join(pieces), starts)


def _marked(line: str) -> str:
    return _MARK + line if line else ""


def _forced(line: str, following: str, width: int) -> bool:
    word = following.lstrip().split(" ", 1)[0]
    full = bool(line) and bool(word) and len(line) + 1 + len(word) > _SPACE * width
    return full and not _ITEM.match(following) and not (_ENDED.search(line) and _is_title(following, width))


def _break(line: str, following: str, width: int) -> str:
    apart = _ENDED.search(line) or _is_title(line, width)
    return "\n\n" if apart and _OPENS.match(following) and not _ITEM.match(following) else "\n"


def _is_title(line: str, width: int) -> bool:
    return bool(line) and len(line) < _TITLE * width and not line.endswith((".", "!", ",", ";")) and _OPENS.match(line) is not None
