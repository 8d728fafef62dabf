"""Documents from files, and passages from documents, with ids and character spans that stay the same while the text does.

Passages are cut by semantic-text-splitter (Rust wheels, no dependencies): at headings and paragraphs where it can, at sentences
where it must, never inside a word unless the word alone is too long.
"""

from __future__ import annotations

import bisect
import hashlib
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from surefoot.errors import Misconfigured
from surefoot_rag.documents.folder import Skipped, relative, walk
from surefoot_rag.documents.language import language_of
from surefoot_rag.documents.readers import READERS, UnreadableDocument
from surefoot_rag.records import Document, Heading, Passage, Scalar

__all__ = [
    "OVERLAP_CHARS",
    "SIZE_CHARS",
    "Corpus",
    "Skipped",
    "UnreadableDocument",
    "find",
    "halves",
    "load",
    "passage_at",
    "passages",
    "read",
]

_log = logging.getLogger(__name__)

SIZE_CHARS = 900  # about 250 tokens of English, 330 of Turkish: inside every embedding model's window, a paragraph or two
MARK_DIGITS = 16  # of the SHA-256 of a passage's text, in its id: 64 bits, since ids of one document must not meet
MARKED_UP = frozenset(
    {"markdown", "html", "rst", "ipynb", "docx", "pptx", "xlsx", "epub"}
)  # types whose text has Markdown's headings, lists and code
OVERLAP_CHARS = 0  # cuts fall between paragraphs and sentences, so repeating text buys little and is paid for in every index


class Corpus(list[Document]):
    """The documents of a folder, in the order of their ids; `skipped` names the files left out (see `folder`)."""

    def __init__(self, documents: Iterable[Document] = (), *, skipped: Iterable[Skipped] = ()) -> None:
        super().__init__(documents)
        self.skipped: tuple[Skipped, ...] = tuple(skipped)


def load(path: str | Path, *, unreadable: Literal["raise", "skip"] = "raise") -> Corpus:
    """Read every document under a folder, or the one file named.

    What is left out is listed in `skipped`: files of unknown types, links that are not followed, and with `unreadable="skip"` also files
    that cannot be read. Names that begin with a dot are passed over in silence. To show progress, call `find` and `read` yourself.

    Raises Misconfigured when the path does not exist or holds no document; UnreadableDocument (a Misconfigured) naming the file and why.
    """
    root = Path(path)
    files, skipped = find(root)
    folder = root if root.is_dir() else root.parent
    documents = []
    for file in files:
        try:
            documents.append(read(file, folder))
        except UnreadableDocument as exc:
            if unreadable == "raise":
                raise
            skipped.append(Skipped(relative(file, folder), exc.reason))
    if not documents:
        lost = next(one for one in reversed(skipped) if one.kind == "unreadable")
        raise Misconfigured(f"{root}: none of its {len(files)} documents could be read; first: {lost.source}: {lost.reason}")
    return Corpus(documents, skipped=skipped)


def find(path: str | Path) -> tuple[list[Path], list[Skipped]]:
    """List the files under `path` that can be read, sorted, and those that cannot for their type.

    Raises Misconfigured when the path does not exist or holds nothing readable.
    """
    root = Path(path)
    if not root.exists():
        raise Misconfigured(f"{root}: no such file or folder; name the folder that holds your documents")
    known = ", ".join(sorted(READERS))
    if root.is_file():
        if root.suffix.lower() not in READERS:
            raise Misconfigured(f"{root}: files of type {root.suffix or 'none'} are not read; known are {known}")
        return [root], []
    files, skipped = walk(root, READERS)
    if not files:
        lost = next((f"; {one.source}: {one.reason}" for one in skipped if one.kind != "type"), "")
        raise Misconfigured(f"{root}: no document in it ({len(skipped)} other files{lost}); known types are {known}")
    return files, skipped


def read(file: Path, folder: Path) -> Document:
    """Read one file; its id is its path relative to `folder`. Raises UnreadableDocument naming the file and why."""
    source = relative(file, folder)
    try:
        got = READERS[file.suffix.lower()](file.read_bytes())
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise UnreadableDocument(file, reason) from exc
    if not got.text.strip():
        raise UnreadableDocument(file, "it holds no text; fill it or take it out of the folder")
    if blank := got.metadata.get("blank_pages"):
        _log.warning(
            "%s: %s of its %s pages hold no text, only pictures; run OCR over it to have them too", file, blank, len(got.page_starts)
        )
    return Document(
        id=unicodedata.normalize("NFC", source),
        title=got.title or next((each.text for each in got.headings), "") or file.stem.replace("_", " ").replace("-", " "),
        text=got.text,
        source=source,
        language=language_of(got.text),
        metadata=got.metadata,
        headings=got.headings,
        page_starts=got.page_starts,
        line_starts=got.line_starts,
    )


def passages(document: Document, *, size_chars: int = SIZE_CHARS, overlap_chars: int = OVERLAP_CHARS) -> list[Passage]:
    """Cut a document into passages of at most `size_chars` characters, in order; together they hold every word.

    A heading that would stand alone is joined to what follows it, so a passage may exceed `size_chars` by its headings. `id` is
    "{document_id}#{sixteen hex digits of the text's SHA-256}", with ".2" and so on where a text stands in a document again: it says
    nothing of the place, so that a new line on top of a document changes one id and not all.
    Raises Misconfigured when `overlap_chars` is not less than `size_chars`.
    """
    if size_chars < 1 or not 0 <= overlap_chars < size_chars:
        raise Misconfigured(f"size_chars={size_chars}, overlap_chars={overlap_chars}: want 0 <= overlap_chars < size_chars")
    cuts = _splitter(document.metadata.get("type") in MARKED_UP, size_chars, overlap_chars).chunk_indices(document.text)
    spans = ((start, start + len(piece)) for start, piece in cuts if piece.strip())
    outline, seen = Outline(document), Counter[str]()
    found = []
    for start, end in _join_headings(outline, spans):
        text = document.text[start:end]
        seen[text] += 1
        found.append(passage_at(document, outline, start, end, number=seen[text]))
    return found


def halves(document: Document, start: int, end: int) -> list[tuple[int, int]]:
    """Spans of at most half the length that hold the words of `[start, end)`, cut where a reader would; [] where nothing is left to cut."""
    text = document.text[start:end]
    cuts = _splitter(document.metadata.get("type") in MARKED_UP, max(1, (len(text) + 1) // 2), 0).chunk_indices(text)
    spans = [(start + at, start + at + len(piece)) for at, piece in cuts if piece.strip()]
    return [] if (start, end) in spans else spans


@lru_cache(maxsize=8)
def _splitter(markdown: bool, size_chars: int, overlap_chars: int) -> MarkdownSplitter | TextSplitter:  # noqa: FBT001
    return (MarkdownSplitter if markdown else TextSplitter)(size_chars, overlap_chars)


class Outline:
    """A document's headings by place: which stand above a character, and whether a stretch is nothing else. Found by bisection."""

    def __init__(self, document: Document) -> None:
        self._text = document.text
        self._headings = document.headings
        self._starts = [heading.start for heading in document.headings]
        self._paths: list[tuple[str, ...]] = []  # of each heading, from the outermost to itself
        path: list[Heading] = []
        for heading in document.headings:
            while path and path[-1].level >= heading.level:
                path.pop()
            path.append(heading)
            self._paths.append(tuple(one.text for one in path))

    def above(self, at: int) -> tuple[str, ...]:
        """The headings over the character `at`, one beginning there included, the outermost first."""
        index = bisect.bisect_right(self._starts, at)
        return self._paths[index - 1] if index else ()

    def is_all(self, start: int, end: int) -> bool:
        """Whether `[start, end)` holds headings and white space alone."""
        at = start
        index = max(0, bisect.bisect_right(self._starts, start) - 1)
        for heading in self._headings[index : bisect.bisect_left(self._starts, end)]:
            if heading.end <= start:
                continue
            if self._text[at : heading.start].strip():
                break
            at = min(heading.end, end)
        return at > start and not self._text[at:end].strip()


def _join_headings(outline: Outline, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    held: int | None = None  # where headings begin that still wait for their text
    last = 0
    for start, end in spans:
        held = start if held is None else held
        last = end
        if not outline.is_all(start, end):
            yield held, end
            held = None
    if held is not None:
        yield held, last


def passage_at(document: Document, outline: Outline, start: int, end: int, *, number: int = 1) -> Passage:
    """The passage `[start, end)` of a document, the `number`-th of this text in it, with its id, page and the headings above it."""
    text = document.text[start:end]
    mark = hashlib.sha256(text.encode()).hexdigest()[:MARK_DIGITS]
    page = bisect.bisect_right(document.page_starts, start) or None
    added: dict[str, Scalar] = {"language": document.language, "section": " > ".join(outline.above(start))}
    if page:
        added["last_page"] = bisect.bisect_left(document.page_starts, end)
        added |= _lines(document, start, end, document.page_starts[page - 1])
    return Passage(
        id=f"{document.id}#{mark}" + (f".{number}" if number > 1 else ""),
        document_id=document.id,
        title=document.title,
        text=text,
        start=start,
        end=end,
        source=document.source,
        page=page,
        metadata={**document.metadata, **added},
    )


def _lines(document: Document, start: int, end: int, page_start: int) -> dict[str, Scalar]:
    """The printed line a passage begins on, counted on its page, and where in it further lines begin: "80 165 p240", p for a new page."""
    if not document.line_starts:
        return {}
    first = bisect.bisect_right(document.line_starts, start)
    before = bisect.bisect_left(document.line_starts, page_start)
    later = document.line_starts[first : bisect.bisect_left(document.line_starts, end)]
    pages = {_first_line(document, at) for at in document.page_starts}
    marks = (f"{'p' if at in pages else ''}{at - start}" for at in later)
    return {"line": max(1, first - before), "lines": " ".join(marks)}


def _first_line(document: Document, page_start: int) -> int:
    at = bisect.bisect_left(document.line_starts, page_start)
    return document.line_starts[at] if at < len(document.line_starts) else -1
