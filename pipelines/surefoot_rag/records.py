"""What the pipelines pass around: documents, passages, citations, answers.

Every span is a pair of character offsets, `[start, end)`, into `Document.text`: the extracted text, not the file's bytes.
So a citation can be checked (`document.text[start:end] == citation.text`) and survives cutting the documents differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from surefoot.types import Documented

__all__ = ["Answer", "Citation", "Document", "Heading", "Passage", "Scalar"]

Scalar = str | int | float | bool  # what vector stores accept as a metadata value


class Heading(msgspec.Struct, Documented, frozen=True, kw_only=True):
    """A heading's line in a document's text; `level` 1 is the outermost."""

    level: int
    """How deep it stands; 1 is the outermost."""
    text: str
    """Its words, without marks."""
    start: int
    """The offset of its first character in the document's text."""
    end: int
    """The offset after its last character."""


class Document(msgspec.Struct, Documented, frozen=True, kw_only=True):
    """One file's extracted text.

    `id` and `source` are the path relative to the folder it was loaded from, with forward slashes (`id` in Unicode NFC).
    `language` is "en", "tr" or "und"; `page_starts` holds the offset at which each page begins, empty where there are no pages.
    """

    id: str
    """Its name in an index: the path below the folder it was loaded from, with forward slashes, in Unicode NFC."""
    title: str
    """What it calls itself, or else its file's name."""
    text: str
    """The extracted text, into which all offsets point."""
    source: str
    """The path below the folder it was loaded from, with forward slashes, as the file system spells it."""
    language: str
    """"en", "tr", or "und" for all others."""
    metadata: Mapping[str, Scalar] = {}
    """Names and values that passages inherit and filters may ask for."""
    headings: tuple[Heading, ...] = ()
    """Its headings in order; empty where the format has none."""
    page_starts: tuple[int, ...] = ()
    """The offset at which each page begins; empty where there are no pages."""
    line_starts: tuple[int, ...] = ()
    """The offset at which each printed line begins; empty where there are no pages, or no lines on them."""


class Passage(msgspec.Struct, Documented, frozen=True, kw_only=True):
    """A stretch of a document: `document.text[start:end] == text`.

    `score` is the retriever's, None when nobody scored it; `page` is the page it begins on, from 1, None where the document has none.
    `metadata` is the document's, with `language`, `section` (the headings above the passage, joined by " > ") and, where there are pages,
    `last_page`; where those have lines, also `line` (the one it begins on) and `lines` (where in it further ones begin).
    """

    id: str
    """Its name in an index: made from the document's id and the text, so that a text that moved keeps it."""
    document_id: str
    """The document it was cut from."""
    title: str
    """The document's title."""
    text: str
    """The words, exactly as they stand in the document."""
    start: int
    """The offset of its first character in the document's text."""
    end: int
    """The offset after its last character."""
    source: str
    """The document's path, to be shown beside a citation."""
    score: float | None = None
    """The retriever's score: higher is better, comparable within one search only. None: nobody scored it."""
    page: int | None = None
    """The page it begins on, counted from 1. None: the document has no pages."""
    metadata: Mapping[str, Scalar] = {}
    """The document's, with `language`, `section` (the headings above it, joined by " > ") and, where there are pages, `last_page`."""


class Citation(msgspec.Struct, Documented, frozen=True, kw_only=True):
    """The characters `[start, end)` of a document that an answer rests on."""

    document_id: str
    """The document cited."""
    passage_id: str
    """The passage of it that the model was shown."""
    start: int
    """The offset of the first character cited, in the document's text."""
    end: int
    """The offset after the last one."""
    text: str
    """The words cited, exactly as they stand there."""
    page: int | None = None
    """The page they begin on, counted from 1. None: the document has no pages."""
    line: int | None = None
    """The printed line of that page they begin on, counted from 1. None: the document has no such lines."""


class Answer(msgspec.Struct, Documented, frozen=True, kw_only=True):
    """What was answered, from what, by whom, at which price.

    `passages` are those the model was shown, in their order; `refused` says that they did not hold the answer; `verdict` also tells
    half an answer apart ("undetermined": it says that something is not in the documents, and cites them for something else). `cost_usd` is
    None when no price is known; `attempts` counts the requests sent; `framework` is "langchain" or "llamaindex". `searched` is what was
    looked for: the question, with the earlier one it follows up. `unsupported` are the sentences that cite nothing or hold a number their
    passages do not; `removed_links` and `ignored_tool_calls` count what a model wrote and nobody got; `prompt_sha256` is the prompt file's.
    """

    text: str
    """The answer to show, without the marks the model was asked for."""
    citations: tuple[Citation, ...]
    """What it rests on, in the order of its marks; empty for a refusal."""
    passages: tuple[Passage, ...]
    """The passages the model was shown, in their order."""
    refused: bool
    """True if it says that the passages do not hold the answer."""
    model: str
    """The model that answered, as the provider names it."""
    input_tokens: int
    """Tokens of the prompt, as billed or, where the server counts none, as estimated."""
    output_tokens: int
    """Tokens of the answer, likewise."""
    seconds: float
    """From the question until the whole answer."""
    cost_usd: float | None
    """US dollars of all attempts. None: a price is unknown."""
    attempts: int
    """Requests sent to models; 0 for an answer from the cache."""
    framework: str
    """Through which it was asked: "langchain" or "llamaindex"."""
    searched: str = ""
    """What was looked for: the question, with the earlier one it follows up. Empty: nothing was."""
    unsupported: tuple[str, ...] = ()
    """Sentences that cite nothing, or hold a number that stands in none of the passages they cite."""
    removed_links: int = 0
    """Links and addresses to hosts nobody allowed, which were taken out of the text."""
    ignored_tool_calls: int = 0
    """Calls of tools that were never offered, which nobody ran."""
    prompt_sha256: str = ""
    """Of the prompt file, so that runs with different prompts are told apart. Empty: no prompt was used."""
    verdict: Verdict = "answered"
    """"answered", "refused", or "undetermined": it says so of one thing, and answers another."""


Verdict = Literal["answered", "refused", "undetermined"]
