"""The OpenAI protocol: its JSON to our records. Pure: bytes in, replies, deltas and vectors out, or one of our errors.

Lenient where servers differ (fields missing, null, of another shape), strict where a wrong answer would pass for a right one: no choices,
no finish, an error object in a 200, vectors lost, doubled, torn or not numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from surefoot.core._tool_calls import checked_tool_call, is_runnable
from surefoot.errors import SurefootError
from surefoot.providers.http import finish as _finish
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.reading import ReadingContext, check_not_empty, stacked
from surefoot.providers.http.redact import shown, snippet
from surefoot.types import ChatReply, Delta, FinishReason, ToolCall, ToolCallDelta, Usage

if TYPE_CHECKING:
    from surefoot.types import Matrix


class _OpenAIFunction(Struct):
    name: str | None = None
    arguments: Raw = Raw()  # text by the protocol; some servers send the object itself


class _Call(Struct):
    index: int | None = None
    id: str | None = None
    function: _OpenAIFunction | None = None


class _Audio(Struct):
    transcript: str | None = None


class _Said(Struct):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None
    audio: _Audio | None = None


class _Choice(Struct):
    index: int | None = None
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None
    error: Raw = Raw()  # a union with None would refuse an object


class _Body(Struct):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    object: str | None = None
    error: Raw = Raw()  # a union with None would refuse an object


class _OpenAIVector(Struct):
    embedding: bytes | list[float]  # msgspec reads base64 text straight into bytes
    index: int | None = None


class _OpenAIVectors(Struct):
    data: list[_OpenAIVector] | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    error: Raw = Raw()  # a union with None would refuse an object


_body = msgspec.json.Decoder(_Body)
_vectors = msgspec.json.Decoder(_OpenAIVectors)


def usage_of(usage: dict[str, Any] | None) -> Usage:
    """Tokens billed, with details; zeros and `estimated` where the server did not say."""
    if not usage:
        return Usage(estimated=True)
    inputs, outputs = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    if not inputs and not outputs and "prompt_cache_hit_tokens" not in usage:
        return Usage(input_tokens=_count(usage, "prompt_tokens"), output_tokens=_count(usage, "completion_tokens"))
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(inputs, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens"),
        reasoning_tokens=_count(outputs, "reasoning_tokens"),
        audio_input_tokens=_count(inputs, "audio_tokens"),
        audio_output_tokens=_count(outputs, "audio_tokens"),
    )


def _count(where: Any, name: str) -> int:
    value = where.get(name) if isinstance(where, dict) else None
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def chat_reply(body: bytes, content_type: str, asked: ReadingContext) -> ChatReply:
    """A whole answer. Raises MalformedReply if it is none, the error it carries, or ContentRefused if nothing but a refusal came."""
    answer = _decoded(_body, body, content_type, asked.target, asked.request_id)
    choices = answer.choices
    if _failed(answer.error) or answer.object == "error":
        raise asked.emit(body)
    if not choices or choices[0].message is None:
        raise malformed(asked.target, f"the answer holds no choice: {snippet(body, content_type)}", request_id=asked.request_id)
    choice = choices[0]
    said = choice.message
    assert said is not None
    if choice.finish_reason == "error" or _failed(choice.error):
        raise asked.emit(bytes(choice.error))
    text = _text(said) or (said.audio.transcript if said.audio is not None else "") or ""
    finish = finish_of(choice.finish_reason, asked, refused=bool(said.refusal), calls=bool(said.tool_calls))
    calls = tuple(_tool_call(call, is_cut=not is_runnable(finish)) for call in said.tool_calls or ())
    if not text and not calls:
        check_not_empty(finish, said.refusal or "", asked)
    return ChatReply(
        text=text,
        tool_calls=calls,
        reasoning=said.reasoning_content or said.reasoning or "",
        finish_reason=finish,
        usage=usage_of(answer.usage),
        model=answer.model or "",
        target=asked.target,
        request_id=asked.request_id,
    )


def _decoded(decoder: Any, body: bytes, content_type: str, target: str, request_id: str) -> Any:
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        why = f"the answer cannot be read: {snippet(body, content_type)} ({shown(str(error), limit=100)})"
        raise malformed(target, why, request_id=request_id) from error


def _failed(error: Raw) -> bool:
    return bytes(error) not in {b"", b"null", b"{}", b'""', b"false"}


def _text(said: _Said) -> str:
    """The text; some servers answer in parts."""
    content = said.content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    return content or ""


def _arguments(function: _OpenAIFunction | None) -> str:
    raw = bytes(function.arguments) if function is not None else b""
    if raw[:1] == b'"':
        return msgspec.json.decode(raw, type=str)
    return "" if raw == b"null" else raw.decode()


def _tool_call(call: _Call, *, is_cut: bool) -> ToolCall:
    name = (call.function.name if call.function is not None else "") or ""
    return checked_tool_call(id=call.id or "", name=name, arguments=_arguments(call.function), is_cut=is_cut)


def finish_of(reason: str | None, asked: ReadingContext, *, refused: bool, calls: bool) -> FinishReason:
    """Our word for a finish reason. Tool calls count as such also where a server says "stop" (a forced tool, Ollama) or nothing.

    A word that nobody knows may mean that the answer was cut: it stays "other", and no call of that answer is run.
    """
    finish = _finish.finish_of(reason, asked.target, request_id=asked.request_id)
    if refused and finish in {"stop", "other"}:
        return "refusal"
    return "tool_calls" if calls and (finish == "stop" or not reason) else finish


class OpenAIChatReader:
    """Reads the events of one streamed answer. Holds the last delta back until usage and the end mark are in."""

    __slots__ = ("_asked", "_calls", "_content", "_finish", "_last", "_model", "_refusal", "_usage", "done", "finished")

    def __init__(self, asked: ReadingContext) -> None:
        self._asked = asked
        self._calls: list[tuple[str, str]] = []  # id and name of each tool call so far
        self._last: dict[int, int] = {}  # the server's index -> ours
        self._content = False
        self._refusal = ""
        self._finish: str | None = None
        self._usage: dict[str, Any] | None = None
        self._model = ""
        self.finished = False
        self.done = False

    def read(self, data: bytes, out: list[Delta]) -> None:
        """One event: a chunk, an error object, or [DONE]."""
        if data.strip() == b"[DONE]":
            self.done = True
            return
        try:
            chunk = _body.decode(data)
        except (ValueError, RecursionError) as error:
            why = f"an event that is no answer: {snippet(data)}"
            raise malformed(self._asked.target, why, request_id=self._asked.request_id) from error
        if chunk.usage:
            self._usage = chunk.usage  # snapshots are cumulative: the last one wins
        if not chunk.choices:  # Azure's first chunk, the usage chunk, a ping
            if _failed(chunk.error) or chunk.object == "error":
                raise self._asked.emit(data)
            return
        self._model = chunk.model or self._model
        for choice in chunk.choices:
            if not choice.index:  # further choices (n > 1) are not ours to tell apart
                self._choice(choice, data if _failed(chunk.error) else None, out)

    def _choice(self, choice: _Choice, failed: bytes | None, out: list[Delta]) -> None:
        if failed is not None or _failed(choice.error) or choice.finish_reason == "error":
            raise self._asked.emit(failed or bytes(choice.error))
        said = choice.delta or choice.message
        if said is not None:
            text = _text(said) or (said.audio.transcript if said.audio is not None else "") or ""
            reasoning = said.reasoning_content or said.reasoning or ""
            calls = tuple(self._piece(call) for call in said.tool_calls) if said.tool_calls else ()
            if said.refusal:
                self._refusal += said.refusal
            if text or reasoning or calls:
                self._content = self._content or bool(text or calls)
                out.append(Delta(text=text, reasoning=reasoning, tool_calls=calls))
        if choice.finish_reason:
            self._finish, self.finished = choice.finish_reason, True

    def _piece(self, call: _Call) -> ToolCallDelta:
        """A piece of a tool call under an index of our own: some servers send none, or 0 for all of them, each with its id."""
        number = self._last.get(call.index or 0)
        known = self._calls
        if number is None or (call.id and known[number][0] and call.id != known[number][0]):
            number = next((i for i, (name, _) in enumerate(known) if call.id and name == call.id), len(known))
            if number == len(known):
                known.append(("", ""))
            self._last[call.index or 0] = number
        known_id, known_name = known[number]
        name = (call.function.name if call.function is not None else "") or ""
        if name == known_name:
            name = ""  # repeated with every piece by some servers; pieces of a name are joined
        known[number] = (known_id or call.id or "", known_name + name)
        return ToolCallDelta(index=number, id="" if known_id else call.id or "", name=name, arguments=_arguments(call.function))

    def end(self, out: list[Delta]) -> None:
        """The last delta, with finish reason, usage and ids, if the finish was seen."""
        if self._finish is None:
            return
        finish = finish_of(self._finish, self._asked, refused=bool(self._refusal), calls=bool(self._calls))
        if not self._content:
            check_not_empty(finish, self._refusal, self._asked)
        usage = usage_of(self._usage) if self._usage else None
        out.append(Delta(finish_reason=finish, usage=usage, model=self._model, request_id=self._asked.request_id))


def vectors(
    body: bytes, content_type: str, *, count: int, target: str, request_id: str, emit: Callable[[bytes], SurefootError]
) -> tuple[Matrix, Usage, str]:
    """The vectors of an embeddings answer in the order asked, float32 [count, dim]; usage; the model that answered.

    Raises MalformedReply if any is missing, doubled, not of one length, not finite or zero.
    """
    answer = _decoded(_vectors, body, content_type, target, request_id)
    if _failed(answer.error):
        raise emit(body)
    items = answer.data
    if items is None or len(items) != count:
        raise malformed(target, f"{count} texts were sent, {len(items or ())} vectors came back", request_id=request_id)
    places = [number if item.index is None else item.index for number, item in enumerate(items)]
    if sorted(places) != list(range(count)):
        raise malformed(target, "the vectors' indices are not those of the texts", request_id=request_id)
    try:
        matrix = stacked([item.embedding for item in items], places)
    except ValueError as error:
        raise malformed(target, str(error), request_id=request_id) from error
    return matrix, usage_of(answer.usage), answer.model or ""
