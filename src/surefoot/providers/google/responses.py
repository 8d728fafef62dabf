"""The Gemini API: its JSON to our records. Pure: bytes in, replies, deltas and vectors out, or one of our errors.

Lenient where a field may be missing, strict where a wrong answer would pass for a right one: no candidate, no finish reason, an error
object in a 200, a blocked prompt, vectors merged, lost, torn or not numbers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from surefoot.core._tool_calls import checked_tool_call, is_runnable
from surefoot.errors import ContentRefused, SurefootError
from surefoot.providers.google.requests import SEAL
from surefoot.providers.http import finish as _finish
from surefoot.providers.http.answers.lenient import Halves, raw_text
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.reading import ReadingContext, check_not_empty, decoded, failed, read_event, stacked
from surefoot.providers.http.redact import shown, snippet
from surefoot.providers.http.sse import is_end_mark
from surefoot.types import ChatReply, Delta, ToolCallDelta, Usage

if TYPE_CHECKING:
    from surefoot.types import Matrix


class _GoogleFunction(Struct):
    name: str | None = None
    id: str | None = None
    args: Raw = Raw()


class _Part(Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _GoogleFunction | None = None


class _Content(Struct):
    parts: list[_Part] | None = None


class _Candidate(Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None


class _Feedback(Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Answer(Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: dict[str, Any] | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Raw = Raw()


class _GoogleVector(Struct):
    values: list[float] | None = None


class _GoogleVectors(Struct, rename="camel"):
    embeddings: list[_GoogleVector] | None = None
    usage_metadata: dict[str, Any] | None = None
    error: Raw = Raw()


_answer = msgspec.json.Decoder(_Answer)
_vectors = msgspec.json.Decoder(_GoogleVectors)


def usage_of(told: dict[str, Any] | None) -> Usage:
    """Tokens billed, with details. Gemini counts thoughts beside the answer; here outputs include them."""
    if not told:
        return Usage(estimated=True)
    thoughts = _count(told, "thoughtsTokenCount")
    return Usage(
        input_tokens=_count(told, "promptTokenCount") + _count(told, "toolUsePromptTokenCount"),
        output_tokens=_count(told, "candidatesTokenCount") + thoughts,
        cached_tokens=_count(told, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        audio_input_tokens=_audio(told, "promptTokensDetails"),
        audio_output_tokens=_audio(told, "candidatesTokensDetails"),
    )


def _count(where: Any, name: str) -> int:
    value = where.get(name) if isinstance(where, dict) else None
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _audio(told: dict[str, Any], name: str) -> int:
    rows = told.get(name)
    rows = rows if isinstance(rows, list) else []
    return sum(_count(row, "tokenCount") for row in rows if isinstance(row, dict) and row.get("modality") == "AUDIO")


def _blocked(answer: _Answer, asked: ReadingContext) -> None:
    """Raise ContentRefused if the prompt was blocked: then there is no candidate."""
    feedback = answer.prompt_feedback
    if feedback is None or not feedback.block_reason or answer.candidates:
        return
    why = shown(feedback.block_reason_message or "", limit=120) or feedback.block_reason
    raise ContentRefused(
        f"{asked.target}: refused: the prompt was blocked ({why})",
        status=200,
        code=feedback.block_reason.lower(),
        request_id=answer.response_id or asked.request_id,
        target=asked.target,
    )


class GoogleChatReader:
    """Reads the chunks of one streamed answer, or the one chunk of a whole one. Holds the last delta back until usage is in."""

    __slots__ = (
        "_asked",
        "_calls",
        "_content",
        "_finish",
        "_halves",
        "_id",
        "_model",
        "_refusal",
        "_signature",
        "_usage",
        "done",
        "finished",
    )

    def __init__(self, asked: ReadingContext) -> None:
        self._asked = asked
        self._calls = 0
        self._content = False
        self._finish: str | None = None
        self._halves: Halves = {}
        self._refusal = ""
        self._id = asked.request_id
        self._model = ""
        self._signature = ""
        self._usage: dict[str, Any] | None = None
        self.finished = False
        self.done = False  # there is no end mark: the body ends after the chunk with the finish reason

    def read(self, data: bytes, out: list[Delta]) -> None:
        """One chunk, or an error object."""
        try:
            answer = _answer.decode(data)
        except (ValueError, RecursionError):
            if is_end_mark(data):
                self.done = True
                return
            answer = read_event(data, _Answer, self._asked, self._halves)
        if failed(answer.error):
            raise self._asked.emit(data)
        self._id = answer.response_id or self._id
        self._model = answer.model_version or self._model
        self._usage = answer.usage_metadata or self._usage  # snapshots are cumulative: the last one wins
        _blocked(answer, self._asked)
        for candidate in answer.candidates or ():
            if not candidate.index:  # further candidates are not ours to tell apart
                self._candidate(candidate, out)

    def _candidate(self, candidate: _Candidate, out: list[Delta]) -> None:
        text: list[str] = []
        thoughts: list[str] = []
        calls: list[ToolCallDelta] = []
        for part in (candidate.content.parts if candidate.content is not None else None) or ():
            if part.function_call is not None:
                if not self._calls or self._asked.request.parallel_tool_calls is not False:
                    calls.append(self._call(part.function_call, part.thought_signature or ""))
                continue  # Gemini cannot be told to call one tool at a time, so the caller who said so gets the first call alone
            (thoughts if part.thought else text).append(part.text or "")
            if part.thought_signature:
                self._signature = SEAL + part.thought_signature  # of several the last: it covers what came before
        delta = Delta(text="".join(text), reasoning="".join(thoughts), tool_calls=tuple(calls))
        if delta.is_content:
            self._content = self._content or bool(delta.text or calls)
            out.append(delta)
        if candidate.finish_reason and candidate.finish_reason != "FINISH_REASON_UNSPECIFIED":
            self._finish, self.finished = candidate.finish_reason, True
            self._refusal = candidate.finish_message or self._refusal

    def _call(self, function: _GoogleFunction, signature: str) -> ToolCallDelta:
        """A call, always whole. Where the server names no id, one is made up: results are matched to calls by it."""
        number, self._calls = self._calls, self._calls + 1
        arguments = raw_text(function.args)
        return ToolCallDelta(
            index=number,
            id=function.id or f"call_{secrets.token_hex(8)}",
            name=function.name or "",
            arguments="{}" if arguments in {"", "null"} else arguments,
            signature=signature and SEAL + signature,
        )

    def end(self, out: list[Delta]) -> None:
        """The last delta, with finish reason, usage and ids, if the finish or an end mark of somebody else's was seen."""
        if self._finish is None and not self.done:
            return
        finish = _finish.finish_of(self._finish, self._asked.target, request_id=self._id)
        if self._calls and (finish == "stop" or self._finish is None):
            finish = "tool_calls"
        if not self._content:
            check_not_empty(finish, self._refusal or self._finish or "", self._asked)
        calls: tuple[ToolCallDelta, ...] = ()
        if finish == "malformed_tool_call":  # what the model wrote, for the caller to see; never an empty object
            calls = (ToolCallDelta(index=self._calls, id=f"call_{secrets.token_hex(8)}", arguments=self._refusal or self._finish or ""),)
        usage = usage_of(self._usage) if self._usage else None
        out.append(
            Delta(
                tool_calls=calls,
                signature=self._signature,
                finish_reason=finish,
                usage=usage,
                model=self._model,
                request_id=self._id,
            )
        )


def chat_reply(body: bytes, content_type: str, asked: ReadingContext) -> ChatReply:
    """A whole answer. Raises MalformedReply if it is none, the error it carries, or ContentRefused if nothing but a refusal came."""
    answer = decoded(_answer, body, content_type, target=asked.target, request_id=asked.request_id)
    if failed(answer.error):
        raise asked.emit(body)
    _blocked(answer, asked)
    if not answer.candidates:
        raise malformed(asked.target, f"the answer holds no candidate: {snippet(body, content_type)}", request_id=asked.request_id)
    reader = GoogleChatReader(asked)
    deltas: list[Delta] = []
    reader.read(body, deltas)
    if not reader.finished:
        raise malformed(asked.target, "an answer without a finish reason is not whole", request_id=asked.request_id)
    reader.end(deltas)
    last = deltas[-1]
    cut = not is_runnable(last.finish_reason)
    return ChatReply(
        text="".join(delta.text for delta in deltas),
        tool_calls=tuple(
            checked_tool_call(id=call.id, name=call.name, arguments=call.arguments, signature=call.signature, is_cut=cut)
            for delta in deltas
            for call in delta.tool_calls
        ),
        reasoning="".join(delta.reasoning for delta in deltas),
        signature=last.signature,
        finish_reason=last.finish_reason or "other",
        usage=usage_of(answer.usage_metadata),
        model=last.model,
        target=asked.target,
        request_id=last.request_id,
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
