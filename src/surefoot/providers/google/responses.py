"""The Gemini API: its JSON to our records. Pure: bytes in, replies, deltas and vectors out, or one of our errors.

Lenient where a field may be missing, strict where a wrong answer would pass for a right one: no candidate, no finish reason, an error
object in a 200, a blocked prompt, vectors merged, lost, torn or not numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from surefoot.core.deltas import from_deltas
from surefoot.errors import ContentRefused, SurefootError
from surefoot.providers._merge import merged
from surefoot.providers.google.parts import (
    NO_RAW,
    SEAL,
    AnswerPart,
    GoogleFunction,
    PartsSoFar,
    citations_of,
    logprobs_of,
    part_of,
    sealed_text,
)
from surefoot.providers.http import finish as _finish
from surefoot.providers.http.answers.counts import count, larger
from surefoot.providers.http.answers.lenient import Halves, raw_text, value_of
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.reading import (
    ReadingContext,
    check_not_empty,
    decoded,
    failed,
    is_error_instead,
    new_call_id,
    own_id,
    read_event,
    stacked,
    unreadable_event,
)
from surefoot.providers.http.redact import shown, snippet
from surefoot.providers.http.sse import is_end_mark
from surefoot.types import AnswerEnd, ChatReply, Delta, ToolCallDelta, Usage

if TYPE_CHECKING:
    from surefoot.types import Matrix


class _Content(Struct):
    parts: list[Raw] | None = None


class _Candidate(Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None
    grounding_metadata: Raw = NO_RAW
    url_context_metadata: Raw = NO_RAW
    citation_metadata: Raw = NO_RAW
    logprobs_result: Raw = NO_RAW
    safety_ratings: Raw = NO_RAW


class _Feedback(Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Answer(Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: dict[str, Any] | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Raw = NO_RAW


class _GoogleVector(Struct):
    values: list[float] | None = None


class _GoogleVectors(Struct, rename="camel"):
    embeddings: list[_GoogleVector] | None = None
    usage_metadata: dict[str, Any] | None = None
    error: Raw = NO_RAW


MALFORMED = frozenset(word for word, finish in _finish.FINISHES.items() if finish == "malformed_tool_call")
OTHERS = ("grounding_metadata", "url_context_metadata", "citation_metadata", "logprobs_result", "safety_ratings")

_answer = msgspec.json.Decoder(_Answer)
_vectors = msgspec.json.Decoder(_GoogleVectors)


def usage_of(told: dict[str, Any] | None) -> Usage:
    """Tokens billed, with details. Gemini counts thoughts beside the answer; here outputs include them."""
    if not told:
        return Usage(estimated=True)
    thoughts = count(told, "thoughtsTokenCount")
    inputs = count(told, "promptTokenCount") + count(told, "toolUsePromptTokenCount")
    outputs = count(told, "candidatesTokenCount") + thoughts
    return Usage(
        input_tokens=inputs,
        output_tokens=outputs,
        cached_tokens=min(count(told, "cachedContentTokenCount"), inputs),
        reasoning_tokens=thoughts,
        audio_input_tokens=_audio(told, "promptTokensDetails"),
        audio_output_tokens=_audio(told, "candidatesTokensDetails"),
    )


def _audio(told: dict[str, Any], name: str) -> int:
    rows = told.get(name)
    if not isinstance(rows, list):
        return 0
    return sum(count(row, "tokenCount") for row in rows if isinstance(row, dict) and row.get("modality") == "AUDIO")


def _blocked(answer: _Answer, asked: ReadingContext) -> None:
    """Raise ContentRefused if the prompt was blocked: then there is no candidate."""
    feedback = answer.prompt_feedback
    if feedback is None or not feedback.block_reason or answer.candidates:
        return
    why = shown(feedback.block_reason_message or "", limit=120) or feedback.block_reason
    refused = ContentRefused(
        f"{asked.target}: refused: the prompt was blocked ({why})",
        status=200,
        code=feedback.block_reason.lower(),
        request_id=answer.response_id or asked.request_id,
        target=asked.target,
    )
    refused.refusal = feedback.block_reason_message or feedback.block_reason
    refused.reply = ChatReply(
        finish_reason="content_filter", usage=usage_of(answer.usage_metadata), target=asked.target, request_id=refused.request_id
    )  # fmt: skip
    raise refused


class GoogleChatReader:
    """Reads the chunks of one streamed answer, or the one chunk of a whole one. Holds the last delta back until usage is in."""

    __slots__ = (
        "_asked", "_calls", "_content", "_ended", "_finish", "_first", "_halves", "_id", "_ids", "_last", "_model", "_others", "_parts",
        "_refusal",
        "_signature", "_texts", "_usage", "done", "finished",
    )  # fmt: skip

    def __init__(self, asked: ReadingContext) -> None:
        self._asked = asked
        self._calls: list[int] = []  # of each call: how many parts stand before it
        self._content = False
        self._finish: str | None = None
        self._first = self._last = self._ended = b""  # chunks: the first, the last, that with the finish reason
        self._halves: Halves = {}
        self._id = asked.request_id
        self._ids: set[str] = set()  # of the calls
        self._model = ""
        self._others: dict[str, Any] = {}  # the candidate's other fields
        self._parts = PartsSoFar()
        self._refusal = ""
        self._signature = ""
        self._texts: list[str] = []
        self._usage: dict[str, Any] | None = None
        self.finished = False
        self.done = False  # there is no end mark: the body ends after the chunk with the finish reason

    def read(self, data: bytes, out: list[Delta]) -> None:
        """One chunk, or an error object. Somebody else's end mark ends the reading, and without a finish reason no answer."""
        try:
            answer = _answer.decode(data)
        except (ValueError, RecursionError):
            if is_end_mark(data):
                self.done = True
                return
            answer = read_event(data, _Answer, self._asked, self._halves)
        self.take(answer, data, out)

    def take(self, answer: _Answer, data: bytes, out: list[Delta]) -> None:
        """What was read of `data`."""
        if (answer.error is not NO_RAW and failed(answer.error)) or (answer.candidates is None and is_error_instead(data)):
            raise self._asked.emit(data)
        self._first = self._first or data
        self._last = data
        self._id = answer.response_id or self._id
        self._model = answer.model_version or self._model
        if answer.usage_metadata:
            self._usage = larger(self._usage, answer.usage_metadata)
        _blocked(answer, self._asked)
        for candidate in answer.candidates or ():
            if not candidate.index:  # further candidates are not ours to tell apart
                self._candidate(candidate, out)
        if self.finished and not self._ended:
            self._ended = data

    def _candidate(self, candidate: _Candidate, out: list[Delta]) -> None:
        for raw in (candidate.content.parts if candidate.content is not None else None) or ():
            try:
                part, extra, other = part_of(raw)
            except (ValueError, RecursionError) as error:
                raise unreadable_event(error, bytes(raw), self._asked) from error
            if part.function_call is not None:
                self._call(part.function_call, part.thought_signature or "", extra, raw, out)
            elif other is None:
                self._text(part, raw, out)
            else:
                self._parts.add(other, raw)
                self._content = True
                out.append(Delta(parts=(other,)))
        if not (
            candidate.grounding_metadata is candidate.citation_metadata is candidate.safety_ratings is NO_RAW
            and candidate.url_context_metadata is candidate.logprobs_result is NO_RAW
        ):
            self._note(candidate)
        if candidate.finish_reason and candidate.finish_reason != "FINISH_REASON_UNSPECIFIED":
            self._finish, self.finished = candidate.finish_reason, True
            self._refusal = candidate.finish_message or self._refusal

    def _note(self, candidate: _Candidate) -> None:
        """Keep what a candidate has beside its parts."""
        for name in OTHERS:
            value = getattr(candidate, name)
            if value is not NO_RAW and bytes(value) != b"null":
                self._others[name] = merged(self._others.get(name) if name == "logprobs_result" else None, value_of(value))

    def _text(self, part: AnswerPart, raw: Raw, out: list[Delta]) -> None:
        """A piece of text or of a thought. One with a seal stands by itself: it must not be joined with others."""
        text = part.text or ""
        if text and not part.thought and part.thought_signature is None:
            self._content = True
            self._texts.append(text)
            self._parts.text(text, is_thought=False)
            out.append(Delta(text=text))
            return
        if part.thought_signature:
            self._signature = SEAL + part.thought_signature  # of several the last: it covers what came before
        if part.thought:
            self._parts.text(text, is_thought=True)
            if text:
                out.append(Delta(reasoning=text))
            return
        if part.thought_signature:
            self._parts.add(sealed_text(text, part.thought_signature), raw)
        if text:
            self._content = True
            self._texts.append(text)
            out.append(Delta(text=text))

    def _call(self, function: GoogleFunction, signature: str, extra: str, raw: Raw, out: list[Delta]) -> None:
        """A call, always whole. Where the server names no id, one is made up: results are matched to calls by it.

        Gemini cannot be told to call one tool at a time, so the caller who said so gets the first call alone.
        """
        if self._calls and self._asked.request.parallel_tool_calls is False:
            return
        self._parts.add(None, raw)
        self._content = True
        arguments = raw_text(function.args)
        piece = ToolCallDelta(
            index=len(self._calls),
            id=own_id(function.id, self._ids),
            name=function.name or "",
            arguments="{}" if arguments in {"", "null"} else arguments,
            signature=signature and SEAL + signature,
            extra=extra,
            vendor="google" if extra else "",
        )
        self._calls.append(len(self._parts.found))
        out.append(Delta(tool_calls=(piece,)))

    def end(self, out: list[Delta]) -> None:
        """The last delta, with finish reason, usage and ids, if the finish was seen."""
        if self._finish is None:
            return
        finish = _finish.finish_of(self._finish, self._asked.target, request_id=self._id)
        if self._calls and finish == "stop":
            finish = "tool_calls"
        usage = usage_of(self._usage) if self._usage else None
        if not self._content:
            check_not_empty(finish, self._refusal or self._finish or "", self._asked, usage=usage, model=self._model)
        self._parts.flush()
        last = len(self._parts.found)
        calls = tuple(ToolCallDelta(index=at, after=after) for at, after in enumerate(self._calls) if after < last)
        if finish == "malformed_tool_call":  # what the model wrote, for the caller to see; never an empty object
            calls += (ToolCallDelta(index=len(self._calls), id=new_call_id(), arguments=self._refusal or self._finish or ""),)
        out.append(
            Delta(
                tool_calls=calls,
                signature=self._signature,
                finish_reason=finish,
                usage=usage,
                model=self._model,
                request_id=self._id,
                end=self._end(is_mixed=bool(calls)),
            )
        )

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called, or should have been."""
        return bool(self._calls) or (self._finish or "").lower() in MALFORMED

    def _end(self, *, is_mixed: bool) -> AnswerEnd:
        parts = self._parts
        others = {_camel(name): value for name, value in self._others.items()}
        is_noted = "groundingMetadata" in others or "citationMetadata" in others
        return AnswerEnd(
            content=tuple(parts.found) if parts.is_unusual or is_mixed else (),
            raw_json=self._first if self._first is self._last else self._whole(others),
            response_id="" if self._id == self._asked.request_id else self._id,
            citations=citations_of(others, "".join(self._texts)) if is_noted else (),
            logprobs=logprobs_of(others) if "logprobsResult" in others else (),
        )

    def _whole(self, others: dict[str, Any]) -> bytes:
        """The answer as it would have come in one piece."""
        found: dict[str, Any] = {}
        candidate: dict[str, Any] = {}
        for data in (self._first, self._ended, self._last):
            event = value_of(Raw(data)) if data else None
            event = event if isinstance(event, dict) else {}
            rows = event.pop("candidates", None)
            found |= {name: value for name, value in event.items() if value is not None}
            if isinstance(rows, list) and rows and isinstance(rows[0], dict) and not rows[0].get("index"):
                candidate |= {name: value for name, value in rows[0].items() if value is not None}
        candidate |= {"content": {"parts": self._parts.raws, "role": "model"}, "finishReason": self._finish, "index": 0, **others}
        return msgspec.json.encode(found | {"candidates": [candidate]} | ({"usageMetadata": self._usage} if self._usage else {}))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


def chat_reply(body: bytes, content_type: str, asked: ReadingContext) -> ChatReply:
    """A whole answer. Raises MalformedReply if it is none, the error it carries, or ContentRefused if nothing but a refusal came."""
    answer = decoded(_answer, body, content_type, target=asked.target, request_id=asked.request_id)
    reader = GoogleChatReader(asked)
    deltas: list[Delta] = []
    reader.take(answer, body, deltas)
    if not answer.candidates:
        if is_error_instead(body):
            raise asked.emit(body)
        raise malformed(asked.target, f"the answer holds no candidate: {snippet(body, content_type)}", request_id=asked.request_id)
    if not reader.finished:
        raise malformed(asked.target, "an answer without a finish reason is not whole", request_id=asked.request_id)
    reader.end(deltas)
    last = deltas[-1]
    end = last.end or AnswerEnd()
    return ChatReply(
        text=deltas[0].text if len(deltas) == 2 else "".join([delta.text for delta in deltas]),
        tool_calls=from_deltas(deltas).tool_calls if reader.has_calls else (),
        reasoning="".join([delta.reasoning for delta in deltas]),
        signature=last.signature,
        finish_reason=last.finish_reason or "other",
        usage=last.usage or usage_of(None),
        model=last.model,
        target=asked.target,
        request_id=last.request_id,
        content=end.content,
        raw_json=body,
        response_id=end.response_id,
        citations=end.citations,
        logprobs=end.logprobs,
    )


def vectors(body: bytes, content_type: str, *, count: int, target: str, emit: Callable[[bytes], SurefootError]) -> tuple[Matrix, Usage]:
    """The vectors of a :batchEmbedContents answer, float32 [count, dim], and usage.

    Raises MalformedReply if any is missing, not of one length, not finite or zero. They carry no index: their order is the server's word.
    """
    answer = decoded(_vectors, body, content_type, target=target, request_id="")
    if failed(answer.error):
        raise emit(body)
    rows: list[bytes | list[float]] = [item.values or [] for item in answer.embeddings or ()]
    if len(rows) != count:
        raise malformed(target, f"{count} texts were sent, {len(rows)} vectors came back")
    try:
        matrix = stacked(rows, range(count))
    except ValueError as error:
        raise malformed(target, str(error)) from error
    return matrix, usage_of(answer.usage_metadata)
