"""The blocks of an answer, in their order: what is understood as our parts, everything else as an Opaque part of its vendor.

Claude thinks between calls and texts, its servers search and run code in between, and the API refuses a turn in which a thought is missing
or moved. Sources: the Messages API reference, its pages on extended thinking, citations and server tools, as of 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot.providers.http.answers import lenient
from surefoot.text import json_text
from surefoot.types import CitedSource, Opaque, Part, Reasoning, Text

NO_RAW = Raw()  # a field that is not there
EMPTY = {b"", b"null", b"{}", b"[]"}


class AnswerBlock(Struct, forbid_unknown_fields=True):
    """A block of the kinds that are understood: text, thinking, redacted_thinking, tool_use."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw()
    citations: Raw = NO_RAW


class AskedCall(Struct):
    """A call of the caller's tools, `after` so many parts."""

    id: str
    name: str
    arguments: str
    extra: str
    after: int


class AnswerContent(Struct):
    """An answer's blocks, read."""

    texts: list[str] = []
    thoughts: list[tuple[str, str, str]] = []  # kind, text, seal
    calls: list[AskedCall] = []
    parts: list[Part] = []
    citations: list[CitedSource] = []
    has_answer: bool = False  # a tool's arguments are the answer

    @property
    def is_unusual(self) -> bool:
        """Whether it is more than one text, and calls after it."""
        parts = self.parts
        return len(parts) > 1 or any(type(part) is not Text or part.extra for part in parts) or self.is_mixed

    @property
    def is_mixed(self) -> bool:
        """Whether a call stands before a part."""
        return any(self.place(call) is not None for call in self.calls)

    def place(self, call: AskedCall) -> int | None:
        """How many parts stand before `call`; None for all, which is usual."""
        return call.after if call.after < len(self.parts) else None


KNOWN = frozenset(AnswerBlock.__struct_fields__)
TYPES = ("text", "thinking", "redacted_thinking", "tool_use")

_block = msgspec.json.Decoder(AnswerBlock)
_fields = msgspec.json.Decoder(dict[str, Raw])


def block_of(raw: Raw) -> tuple[AnswerBlock, dict[str, Raw]]:
    """A block, and its fields that are not known here. Of a kind that is not understood the type alone.

    What a strict reading refuses is read leniently. Raises ValueError or RecursionError for what is no block.
    """
    try:
        return _block.decode(raw), {}
    except (ValueError, RecursionError):
        value = lenient.value_of(raw)
    if value is None and bytes(raw).strip() != b"null":
        raise ValueError("a block that is no JSON, or of too many levels")
    if not isinstance(value, dict):
        return AnswerBlock(type="text", text=lenient.text_of(value)), {}
    kind = value.get("type")
    if kind not in TYPES:
        return AnswerBlock(type=kind if isinstance(kind, str) else ""), {}
    try:
        fields = _fields.decode(raw)
        unknown = {name: fields.pop(name) for name in [*fields] if name not in KNOWN}
        return _block.decode(msgspec.json.encode(fields)), unknown
    except (ValueError, RecursionError):
        unknown = {name: Raw(msgspec.json.encode(one)) for name, one in value.items() if name not in KNOWN}
    block: AnswerBlock = lenient.fitted({name: one for name, one in value.items() if name in KNOWN}, AnswerBlock)
    return block, unknown


def plain_text(raws: Sequence[Raw]) -> str | None:
    """The text of an answer that is one text and nothing else; None for all others."""
    if len(raws) != 1:
        return None
    try:
        block = _block.decode(raws[0])
    except (ValueError, RecursionError):
        return None
    return block.text if block.type == "text" and (block.citations is NO_RAW or bytes(block.citations) in EMPTY) else None


def content_of(raws: Sequence[Raw], *, answer_tool: str, vendor: str) -> AnswerContent:
    """The blocks `raws` of an answer of `vendor`'s (see `Opaque.vendor`); calls of `answer_tool` are text."""
    found = AnswerContent()
    length = 0
    for raw in raws:
        block, unknown = block_of(raw)
        if block.type == "text":
            text = block.text or ""
            found.parts.append(_text(block, unknown, vendor))
            if block.citations is not NO_RAW:
                found.citations += cited(block.citations, start=length, end=length + len(text))
            found.texts.append(text)
            length += len(text)
        elif block.type == "thinking":
            found.thoughts.append((block.type, block.thinking or "", block.signature or ""))
            found.parts.append(Reasoning(text=block.thinking or "", signature=block.signature or "", vendor=vendor))
        elif block.type == "tool_use" and block.name == answer_tool:
            found.texts.append(lenient.raw_text(block.input))
            found.parts.append(Text(found.texts[-1]))
            found.has_answer = True
        elif block.type == "tool_use":
            arguments = lenient.raw_text(block.input)
            extra = _json({name: value for name, value in unknown.items() if bytes(value) not in EMPTY})
            found.calls.append(AskedCall(block.id or "", block.name or "", arguments, extra, len(found.parts)))
        else:
            if block.type == "redacted_thinking":
                found.thoughts.append((block.type, "", block.data or ""))
            found.parts.append(Opaque(vendor=vendor, kind=block.type or "block", data=lenient.raw_text(raw)))
    return found


def _text(block: AnswerBlock, unknown: dict[str, Raw], vendor: str) -> Text:
    own = {name: value for name, value in (*unknown.items(), ("citations", block.citations)) if bytes(value) not in EMPTY}
    return Text(block.text or "", _json(own), vendor) if own else Text(block.text or "")


def cited(citations: Raw, *, start: int, end: int) -> list[CitedSource]:
    """The sources of the text from `start` to `end`."""
    rows = lenient.value_of(citations)
    return [_cited(row, start, end) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _cited(row: dict[str, Any], start: int, end: int) -> CitedSource:
    source, number = row.get("source"), row.get("document_index")
    url = _string(row, "url") or (source if isinstance(source, str) and source.startswith(("http:", "https:")) else "")
    return CitedSource(
        url=url,
        title=_string(row, "title") or _string(row, "document_title"),
        text=_string(row, "cited_text"),
        source="" if url else _string(row, "file_id") or _string(row, "source") or (str(number) if isinstance(number, int) else ""),
        start=start,
        end=end,
    )


def _string(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _json(fields: dict[str, Raw]) -> str:
    return json_text(fields) if fields else ""


def sealed(blocks: Sequence[tuple[str, str, str]]) -> str:
    """Thinking blocks (kind, text, seal) as one signature: the vendor's own for one block, a JSON list of blocks for several.

    They must go back untouched, each with its own seal; texts joined under the seals joined would be refused.
    """
    if len(blocks) == 1 and blocks[0][0] == "thinking":
        return blocks[0][2]
    kept: list[dict[str, str]] = [
        {"type": kind, "thinking": text, "signature": seal} if kind == "thinking" else {"type": kind, "data": seal}
        for kind, text, seal in blocks
        if seal
    ]
    return msgspec.json.encode(kept).decode() if kept else ""
