r"""Bytes of a file in, clean text out: Markdown, plain text, HTML, PDF, office files, data files.

HTML is parsed by selectolax (the lexbor engine) and not by the standard library's `html.parser`: pages in the wild leave tags
open and nest them wrongly, and only a parser that follows the HTML standard's repair rules tells the article from the menu then.
It is one wheel without dependencies. PDF is read by PDFium (`pdf_text`).

What every reader returns has `\n` line ends, Unicode NFC and no control characters; spans of citations point into that text.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from surefoot.errors import Misconfigured
from surefoot_rag.documents import office
from surefoot_rag.documents.data_text import csv_to_text, json_lines_to_text, json_to_text, notebook_to_markdown, rst_to_markdown
from surefoot_rag.documents.html_text import html_to_markdown
from surefoot_rag.documents.pdf_text import pdf_pages, unwrapped
from surefoot_rag.documents.tables import spread
from surefoot_rag.records import Heading, Scalar

__all__ = ["READERS", "Extracted", "UnreadableDocument", "decode", "headings_of"]


class UnreadableDocument(Misconfigured):
    """A file's text cannot be had; the message names the file, the reason and the remedy, `reason` the last two alone."""

    def __init__(self, file: object, reason: str) -> None:
        super().__init__(f"{file}: cannot be read: {reason}")
        self.reason = reason


class Extracted(NamedTuple):
    """What a reader got out of a file; `title` is "" when the file names none."""

    text: str
    title: str = ""
    metadata: Mapping[str, Scalar] = {}
    headings: tuple[Heading, ...] = ()
    page_starts: tuple[int, ...] = ()
    line_starts: tuple[int, ...] = ()


_BOMS = (  # the longer first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TURKISH_BYTES = frozenset(b"\xd0\xdd\xde\xf0\xfd\xfe")  # Ğ İ Ş ğ ı ş in cp1254; the only letters where it differs from cp1252
_WESTERN = frozenset(
    "çğıöşüÇĞİÖŞÜâîûÂÎÛàáãäåæèéêëìíïñòóôõøùúßÀÁÃÄÅÆÈÉÊËÌÍÏÑÒÓÔÕØÙÚ\u201c\u201d\u2018\u2019\u2013\u2014\u2026\u20ac£°«»§·\u2022\xa0\xad"
)
_WEB_NAMES = {  # what browsers take these names for (WHATWG Encoding); a page that can say "utf-16" in ASCII is not UTF-16
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "cp1252",
    "iso-8859-9": "cp1254",
    "latin5": "cp1254",
    "utf-16": "",
    "utf-16le": "",
    "utf-16be": "",
}
_FOREIGN = 0.3  # Turkish prose has about 15 % non-ASCII letters; another alphabet read as cp1254 has nearly 100 %
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\xad\u200b\u2060\ufeff]")  # soft hyphens and zero-width marks too
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})  # typeset PDFs have them
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_FENCE = re.compile(r"^ {0,3}(```+|~~~+)[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE)
_SETEXT = re.compile(r"^ {0,3}(?![-*+>#|])(\S[^\n]*)\n {0,3}(=+|-{2,})[ \t]*$", re.MULTILINE)


def decode(data: bytes) -> tuple[str, str]:
    """Turn bytes into text; return it with the encoding's name.

    In order: a byte order mark, UTF-8, UTF-16 without a mark, then the two Windows code pages of western Europe and Turkey (cp1254
    where one of the six letters that only it has appears). Statistical detectors were tried on short Turkish files and named
    hp_roman8 and cp1250, so the rest is refused rather than guessed. Raises ValueError saying why.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data.decode(name), name
    if not (nuls := data.count(0)):
        try:
            return data.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            return _decode_code_page(data)
    low, high = data[0::2].count(0), data[1::2].count(0)
    if len(data) % 2 == 0 and nuls > len(data) // 4 and min(low, high) * 20 < max(low, high):
        name = "utf-16-le" if high > low else "utf-16-be"
        return data.decode(name), name
    raise ValueError("it holds binary data, not text")


def _decode_code_page(data: bytes) -> tuple[str, str]:
    name = "cp1254" if _TURKISH_BYTES.intersection(data) else "cp1252"
    text = data.decode(name, errors="replace")
    foreign = [char for char in text if ord(char) > 127]
    letters = sum(char.isalpha() for char in text)
    known = sum(char in _WESTERN for char in foreign)
    if known < 0.8 * len(foreign) or sum(char.isalpha() for char in foreign) > _FOREIGN * letters:
        raise ValueError("its encoding is neither UTF-8 nor one that can be told safely; save it as UTF-8")
    return text, name


def clean(text: str) -> str:
    """Normalise line ends, white space and Unicode form; drop control characters and halves of surrogate pairs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ").replace("\x0c", "\n").replace("\t", "    ")
    text = text.translate(_LIGATURES)
    text = _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")
    return unicodedata.normalize("NFC", text)


def headings_of(text: str) -> tuple[Heading, ...]:
    """Find Markdown's headings in `text`, both kinds, none inside fenced code."""
    fences = [match.span() for match in _FENCE.finditer(text)]
    found = [Heading(level=len(match[1]), text=match[2].strip(), start=match.start(), end=match.end()) for match in _ATX.finditer(text)] + [
        Heading(level=1 if match[2][0] == "=" else 2, text=match[1].strip(), start=match.start(), end=match.end())
        for match in _SETEXT.finditer(text)
    ]
    outside = (each for each in found if not any(start <= each.start < end for start, end in fences))
    return tuple(sorted(outside, key=lambda each: each.start))


def _read_markdown(data: bytes) -> Extracted:
    raw, encoding = decode(data)
    text, title = clean(raw), ""
    if front := _FRONT_MATTER.match(text):
        named = re.search(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", front[1], re.MULTILINE)
        title = named[1] if named else ""
        text = text[front.end() :]
    text = spread(text)
    headings = headings_of(text)
    title = title or next((each.text for each in headings if each.level == 1), "")
    return Extracted(text, title, {"type": "markdown", "encoding": encoding}, headings)


def _read_text(data: bytes) -> Extracted:
    raw, encoding = decode(data)
    text = clean(raw)
    first, _, rest = text.lstrip().partition("\n")
    alone = rest.startswith("\n") or re.match(r"[=\-~*]{3,}\s*\n", rest) is not None
    return Extracted(text, first.strip() if alone and len(first) <= 100 else "", {"type": "text", "encoding": encoding})


def _read_html(data: bytes) -> Extracted:
    raw, encoding = _decode_html(data)
    text, title = html_to_markdown(raw)
    return _marked_up(text, title, type="html", encoding=encoding)


def _marked_up(text: str, title: str = "", **metadata: Scalar) -> Extracted:
    """Light Markdown that another format was turned into."""
    text = clean(text)
    return Extracted(text, clean(title).strip(), metadata, headings_of(text))


def _from_text(kind: str, convert: Callable[[str], str]) -> Callable[[bytes], Extracted]:
    def read(data: bytes) -> Extracted:
        raw, encoding = decode(data)
        return _marked_up(convert(raw.replace("\r\n", "\n").replace("\r", "\n")), type=kind, encoding=encoding)

    return read


def _from_package(kind: str, convert: Callable[[bytes], tuple[str, str]]) -> Callable[[bytes], Extracted]:
    def read(data: bytes) -> Extracted:
        try:
            return _marked_up(*convert(data), type=kind)
        except (ValueError, OSError):
            raise
        except Exception as exc:  # the one place: these readers raise what the XML under them raises
            raise ValueError(f"it is not a sound .{kind} file ({type(exc).__name__}: {exc})") from exc

    return read


def _read_slides(data: bytes) -> Extracted:
    """Slides are pages; an empty one is counted, too."""
    found: list[list[str]] = []

    def joined(data: bytes) -> tuple[str, str]:
        slides, title = office.pptx_to_slides(data)
        found.append([clean(slide).strip() for slide in slides])
        return "\n\n".join(found[0]), title

    got = _from_package("pptx", joined)(data)
    return got._replace(page_starts=_starts(found[0]))


def _decode_html(data: bytes) -> tuple[str, str]:
    """Believe a byte order mark, then the page's own declaration, then `decode`."""
    named = re.search(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)", data[:2048], re.IGNORECASE)
    declared = named[1].decode("ascii").lower() if named else ""
    encoding = _WEB_NAMES.get(declared, declared)
    if encoding and not data.startswith(tuple(mark for mark, _ in _BOMS)):
        with contextlib.suppress(LookupError, UnicodeError):  # pages lie about it
            return data.decode(encoding), encoding
    return decode(data)


def _read_pdf(data: bytes) -> Extracted:
    got = pdf_pages(data)
    if got is None:
        raise ValueError("it is locked by a password; save an unlocked copy")
    pages, title = [unwrapped(clean(page)) for page in got[0]], got[1]
    if not any(page.text.strip() for page in pages):
        raise ValueError(f"its {len(pages)} page(s) hold no text, only pictures; run OCR over it first, for example with ocrmypdf")
    blank = sum(not page.text.strip() for page in pages)
    starts = _starts([page.text for page in pages])
    lines = tuple(start + at for start, page in zip(starts, pages, strict=True) for at in page.line_starts)
    meta: dict[str, Scalar] = {"type": "pdf", "pages": len(pages), "blank_pages": blank}
    return Extracted("\n\n".join(page.text for page in pages), clean(title).strip(), meta, page_starts=starts, line_starts=lines)


def _starts(pages: Sequence[str]) -> tuple[int, ...]:
    """Where each page begins, two line breaks between them."""
    starts, at = [], 0
    for page in pages:
        starts.append(at)
        at += len(page) + 2
    return tuple(starts)


READERS: Mapping[str, Callable[[bytes], Extracted]] = {
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".txt": _read_text,
    ".text": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".xhtml": _read_html,
    ".pdf": _read_pdf,
    ".rst": _from_text("rst", rst_to_markdown),
    ".csv": _from_text("csv", csv_to_text),
    ".tsv": _from_text("csv", csv_to_text),
    ".json": _from_text("json", json_to_text),
    ".jsonl": _from_text("jsonl", json_lines_to_text),
    ".ndjson": _from_text("jsonl", json_lines_to_text),
    ".ipynb": _from_text("ipynb", notebook_to_markdown),
    ".docx": _from_package("docx", office.docx_to_markdown),
    ".pptx": _read_slides,
    ".xlsx": _from_package("xlsx", lambda data: (office.xlsx_to_markdown(data), "")),
    ".epub": _from_package("epub", office.epub_to_markdown),
}
"""What reads which file, by its name's ending; each raises ValueError with the reason when it cannot."""
