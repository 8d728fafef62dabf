"""The parts of Gemini's answers, in their order: texts with the seals on them, pictures, sounds, code it ran; sources and probabilities.

What is not understood is an Opaque part. Sources: the Gemini API reference, its pages on thought signatures ("return all parts, and join
none that has a signature"), grounding and image generation, as of 2026-11.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot.providers.http.answers import lenient
from surefoot.text import json_text
from surefoot.types import CitedSource, File, Image, Opaque, Part, Reasoning, Text, TokenLogprob

NO_RAW = Raw()  # a field that is not there
SEAL = "google:"  # before a thought signature of Gemini's: another vendor's, sent to Gemini, is refused as a corrupt one
SAMPLES = ("audio/l16", "audio/pcm")  # raw samples, whose pieces can be joined
SOURCES = ("web", "retrievedContext", "maps")


class GoogleFunction(Struct, forbid_unknown_fields=True):
    """A call."""

    name: str | None = None
    id: str | None = None
    args: Raw = Raw()


class AnswerPart(Struct, rename="camel", forbid_unknown_fields=True):
    """A part of the kinds that are understood: text, a thought, a call."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: GoogleFunction | None = None


KNOWN = frozenset(AnswerPart.__struct_encode_fields__)
KNOWN_FUNCTION = frozenset(GoogleFunction.__struct_fields__)

_part = msgspec.json.Decoder(AnswerPart)


def part_of(raw: Raw) -> tuple[AnswerPart, str, Part | None]:
    """A part: what is understood of it, its other fields as JSON object text (of a call), and itself where it is no text and no call.

    What a strict reading refuses is read leniently. Raises ValueError or RecursionError for what is no part.
    """
    try:
        return _part.decode(raw), "", None
    except (ValueError, RecursionError):
        value = lenient.value_of(raw)
    if not isinstance(value, dict):
        return AnswerPart(text=lenient.text_of(value)), "", None
    known: AnswerPart = lenient.fitted({name: one for name, one in value.items() if name in KNOWN}, AnswerPart)
    unknown = {name: one for name, one in value.items() if name not in KNOWN}
    if known.function_call is None and unknown:
        return known, "", _other(value, unknown, raw)
    function = value.get("functionCall")
    inner = {name: one for name, one in function.items() if name not in KNOWN_FUNCTION} if isinstance(function, dict) else {}
    extra = unknown | ({"functionCall": inner} if inner else {})
    return known, json_text(extra) if extra else "", None


def _other(value: dict[str, Any], unknown: dict[str, Any], raw: Raw) -> Part:
    inline = value.get("inlineData")
    data = inline.get("data") if isinstance(inline, dict) else None
    if isinstance(inline, dict) and isinstance(data, str) and not value.get("thought"):
        media_type = _string(inline, "mimeType")
        own = {name: one for name, one in value.items() if name != "inlineData"}
        extra = json_text(own) if own else ""
        try:
            found = b64decode(data)
        except (binascii.Error, ValueError):
            found = b""
        if found and media_type.startswith("image/"):
            return Image(data=found, media_type=media_type, extra=extra, vendor="google")
        if found:
            return File(data=found, media_type=media_type or "application/octet-stream", extra=extra, vendor="google")
    return Opaque(vendor="google", kind=next(iter(unknown)), data=lenient.raw_text(raw))


def sealed_text(text: str, signature: str) -> Text:
    """A text with its seal, which stays on it."""
    return Text(text, json_text({"thoughtSignature": signature}), "google")


class PartsSoFar:
    """The parts of an answer, put together from the pieces of a stream: texts go on until something else comes."""

    __slots__ = ("_is_thought", "_run", "found", "raws")

    def __init__(self) -> None:
        self.found: list[Part] = []
        self.raws: list[Any] = []  # the same as the API has them
        self._run: list[str] = []
        self._is_thought = False

    def text(self, text: str, *, is_thought: bool) -> None:
        """The next piece of a text or a thought."""
        if is_thought is not self._is_thought:
            self.flush()
            self._is_thought = is_thought
        self._run.append(text)

    def add(self, part: Part | None, raw: Raw) -> None:
        """A part that is whole, or a piece of a sound; None for a call, which is kept elsewhere."""
        self.flush()
        self.raws.append(raw)
        last = self.found[-1] if self.found else None
        if isinstance(part, File) and isinstance(last, File) and _goes_on(last.media_type, part.media_type):
            self.found[-1] = msgspec.structs.replace(last, data=last.data + part.data)
        elif part is not None:
            self.found.append(part)

    def flush(self) -> None:
        """End the text under way."""
        text = "".join(self._run)
        self._run.clear()
        if text:
            self.found.append(Reasoning(text=text) if self._is_thought else Text(text))
            self.raws.append({"text": text, "thought": True} if self._is_thought else {"text": text})

    @property
    def is_unusual(self) -> bool:
        """Whether there is more than thoughts and one text without a seal."""
        texts = [part for part in self.found if not isinstance(part, Reasoning)]
        return len(texts) > 1 or any(not isinstance(part, Text) or part.extra for part in texts)


def _goes_on(before: str, after: str) -> bool:
    """Whether two sounds are pieces of one."""
    return before == after and after.lower().startswith(SAMPLES)


def citations_of(candidate: Mapping[str, Any], text: str) -> tuple[CitedSource, ...]:
    """The sources of `text`: what supports which passage, or all that was found; then what was quoted."""
    grounding = candidate.get("groundingMetadata")
    grounding = grounding if isinstance(grounding, dict) else {}
    sources = [_source(one) for one in _dicts(grounding.get("groundingChunks"))]
    found: list[CitedSource] = []
    octets = text.encode()
    for support in _dicts(grounding.get("groundingSupports")):
        segment = support.get("segment")
        start, end = _place(segment if isinstance(segment, dict) else {}, octets)
        indices = support.get("groundingChunkIndices")
        found += [
            msgspec.structs.replace(sources[at], start=start, end=end)
            for at in (indices if isinstance(indices, list) else ())
            if isinstance(at, int) and 0 <= at < len(sources)
        ]
    quoted = candidate.get("citationMetadata")
    for one in _dicts((quoted.get("citationSources") or quoted.get("citations")) if isinstance(quoted, dict) else None):
        start, end = _place(one, octets)
        found.append(CitedSource(url=_string(one, "uri"), title=_string(one, "title"), start=start, end=end))
    return tuple(found or sources)


def _source(chunk: dict[str, Any]) -> CitedSource:
    told = next((one for name in SOURCES if isinstance(one := chunk.get(name), dict)), {})
    return CitedSource(url=_string(told, "uri"), title=_string(told, "title"), text=_string(told, "text"))


def _place(segment: dict[str, Any], octets: bytes) -> tuple[int, int | None]:
    """Where a passage stands, in characters: the API counts bytes, and leaves out a 0."""
    start, end = segment.get("startIndex", 0), segment.get("endIndex")
    characters = [len(octets[:at].decode("utf-8", "ignore")) if isinstance(at, int) and at >= 0 else None for at in (start, end)]
    return characters[0] or 0, characters[1]


def logprobs_of(candidate: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """The tokens with their probabilities."""
    told = candidate.get("logprobsResult")
    told = told if isinstance(told, dict) else {}
    tops = [_dicts(one.get("candidates")) for one in _dicts(told.get("topCandidates"))]
    return tuple(
        TokenLogprob(
            token=_string(one, "token"),
            logprob=_number(one),
            top=tuple((_string(other, "token"), _number(other)) for other in (tops[at] if at < len(tops) else ())),
        )
        for at, one in enumerate(_dicts(told.get("chosenCandidates")))
    )


def _number(one: dict[str, Any]) -> float:
    return lenient.float_of(one.get("logProbability"))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _string(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""
