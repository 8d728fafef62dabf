"""What the pipelines pass around: documents, passages, citations, answers.

Every span is a pair of character offsets, `[start, end)`, into `Document.text`: the extracted text, not the file's bytes.
So a citation can be checked (`document.text[start:end] == citation.text`) and survives cutting the documents differently.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pipelines.refusals import Verdict

__all__ = ["Answer", "Citation", "Document", "Heading", "Passage", "Scalar"]

Scalar = str | int | float | bool  # what vector stores accept as a metadata value


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """A heading's line in a document's text; `level` 1 is the outermost."""

    level: int
    text: str
    start: int
    end: int


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One file's extracted text.

    `id` and `source` are the path relative to the folder it was loaded from, with forward slashes (`id` in Unicode NFC).
    `language` is "en", "tr" or "und"; `page_starts` holds the offset at which each page begins, empty where there are no pages.
    """

    id: str
    title: str
    text: str
    source: str
    language: str
    metadata: Mapping[str, Scalar] = {}
    headings: tuple[Heading, ...] = ()
    page_starts: tuple[int, ...] = ()


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a document: `document.text[start:end] == text`.

    `score` is the retriever's, None when nobody scored it; `page` is the page it begins on, from 1, None where the document has none.
    `metadata` is the document's, with `language`, `section` (the headings above the passage, joined by " > ") and, where there are pages,
    `last_page`.
    """

    id: str
    document_id: str
    title: str
    text: str
    start: int
    end: int
    source: str
    score: float | None = None
    page: int | None = None
    metadata: Mapping[str, Scalar] = {}


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """The characters `[start, end)` of a document that an answer rests on."""

    document_id: str
    passage_id: str
    start: int
    end: int
    text: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered, from what, by whom, at which price.

    `passages` are those the model was shown, in their order; `refused` says that they did not hold the answer; `verdict` also tells
    half an answer apart ("undetermined": it says that something is not in the documents, and cites them for something else). `cost_usd` is
    None when no price is known; `attempts` counts the requests sent; `framework` is "langchain" or "llamaindex". `searched` is what was
    looked for: the question, with the earlier one it follows up. `unsupported` are the sentences that cite nothing or hold a number their
    passages do not; `removed_links` and `ignored_tool_calls` count what a model wrote and nobody got; `prompt_sha256` is the prompt file's.
    """

    text: str
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    refused: bool
    model: str
    input_tokens: int
    output_tokens: int
    seconds: float
    cost_usd: float | None
    attempts: int
    framework: str
    searched: str = ""
    unsupported: tuple[str, ...] = ()
    removed_links: int = 0
    ignored_tool_calls: int = 0
    prompt_sha256: str = ""
    verdict: Verdict = "answered"
