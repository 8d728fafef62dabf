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
from surefoot.providers.http.answers.counts import count
from surefoot.providers.http.answers.vectors import DIMENSIONS, WIDE, is_float64, places_of
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.reading import (
    ReadingContext,
    apart,
    check_not_empty,
    failed,
    is_error_instead,
    new_call_id,
    stacked,
    unreadable,
)
from surefoot.providers.http.reading import decoded as decoded_as
from surefoot.providers.http.redact import snippet
from surefoot.providers.openai.calls import arguments_of, calls_of
from surefoot.providers.openai.parts import end_of, extra_of, id_of, is_unusual, text_of, thoughts_of
from surefoot.providers.openai.shapes import NO_RAW, OpenAICall, decoded
from surefoot.types import AnswerEnd, ChatReply, File, FinishReason, Image, ToolCall, Usage

if TYPE_CHECKING:
    from surefoot.types import Matrix


class _OpenAIVector(Struct):
    embedding: bytes | list[float]  # msgspec reads base64 text straight into bytes
    index: int | None = None


class _OpenAIVectors(Struct):
    data: list[_OpenAIVector] | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    error: Raw = Raw()  # a union with None would refuse an object


_vectors = msgspec.json.Decoder(_OpenAIVectors)

PLAIN_COUNTS = 3  # fields of a usage that has no details: prompt, completion, total
PLAIN_FIELDS = {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
PLAIN_END = AnswerEnd()  # of an answer that is text and calls


def usage_of(usage: dict[str, Any] | None) -> Usage:
    """Tokens billed, with details; zeros and `estimated` where the server did not say.

    DeepSeek, Moonshot and gateways to Anthropic count cached tokens beside the prompt's details, others under the Responses API's names.
    xAI counts thoughts beside the answer, some gateways what the cache held beside the prompt: the total tells.
    """
    if not usage:
        return Usage(estimated=True)
    inputs, outputs = _details(usage, "prompt_tokens_details"), _details(usage, "completion_tokens_details")
    prompt = count(usage, "prompt_tokens", "input_tokens", "prompt_eval_count")
    answer = count(usage, "completion_tokens", "output_tokens", "eval_count")
    rest = count(usage, "total_tokens") - prompt - answer  # counted in the total alone
    if rest > 0 and not (prompt and answer):
        prompt, answer, rest = prompt or rest, answer or (rest if prompt else 0), 0
    if not inputs and not outputs and (len(usage) <= PLAIN_COUNTS or (rest <= 0 and usage.keys() <= PLAIN_FIELDS)):
        return Usage(input_tokens=prompt, output_tokens=answer + max(rest, 0))  # Gemini's thoughts, over its OpenAI address
    cached = count(inputs, "cached_tokens") or count(usage, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
    written = count(inputs, "cache_write_tokens", "cache_creation_tokens") or count(usage, "cache_creation_input_tokens")
    if rest > 0 and rest == count(outputs, "reasoning_tokens"):
        answer += rest
    elif rest > 0 and rest == cached + written:
        prompt += rest
    cached = min(cached, prompt)
    return Usage(
        input_tokens=prompt,
        output_tokens=answer,
        cached_tokens=cached,
        cache_write_tokens=min(written, prompt - cached),
        reasoning_tokens=min(count(outputs, "reasoning_tokens"), answer),
        audio_input_tokens=count(inputs, "audio_tokens"),
        audio_output_tokens=count(outputs, "audio_tokens"),
    )


def _details(usage: dict[str, Any], name: str) -> Any:
    """What is counted apart; None where all of it is 0, as OpenAI says it of most answers."""
    found = usage.get(name)
    return None if type(found) is dict and not any(found.values()) else found


def chat_reply(body: bytes, content_type: str, asked: ReadingContext) -> ChatReply:
    """A whole answer. Raises MalformedReply if it is none, the error it carries, or ContentRefused if nothing but a refusal came."""
    try:
        answer, unknown = decoded(body)
    except (ValueError, RecursionError) as error:
        raise unreadable(error, body, content_type, target=asked.target, request_id=asked.request_id) from error
    choices = answer.choices
    if (answer.error is not NO_RAW and failed(answer.error)) or answer.object == "error":
        raise asked.emit(body)
    if not choices or choices[0].message is None:
        if not choices and is_error_instead(body):
            raise asked.emit(body)
        raise malformed(asked.target, f"the answer holds no choice: {snippet(body, content_type)}", request_id=asked.request_id)
    choice = choices[0]
    said = choice.message
    assert said is not None
    if choice.finish_reason == "error" or (choice.error is not NO_RAW and failed(choice.error)):
        raise asked.emit(bytes(choice.error))
    text = text_of(said)
    whole = calls_of(said)
    finish = finish_of(choice.finish_reason, asked, refused=bool(said.refusal), calls=bool(whole))
    cut = not is_runnable(finish)
    calls: tuple[ToolCall, ...] = ()
    if whole:
        found = enumerate(whole)
        calls = apart(tuple(_tool_call(call, extra_of(unknown, number, call), asked.vendor, is_cut=cut) for number, call in found))
    more = end_of(answer, choice, said, unknown, vendor=asked.vendor) if is_unusual(answer, choice, said, unknown) else PLAIN_END
    if not text and not calls and not any(isinstance(part, Image | File) for part in more.content):
        check_not_empty(finish, said.refusal or "", asked, usage=usage_of(answer.usage), model=answer.model or "", body=body)
    return ChatReply(
        text=text,
        tool_calls=calls,
        reasoning=thoughts_of(said),
        finish_reason=finish,
        usage=usage_of(answer.usage),
        model=answer.model or "",
        target=asked.target,
        request_id=asked.request_id,
        content=more.content,
        raw_json=body,
        response_id=id_of(answer),
        citations=more.citations,
        logprobs=more.logprobs,
    )


def _tool_call(call: OpenAICall, extra: str, vendor: str, *, is_cut: bool) -> ToolCall:
    name = (call.function.name if call.function is not None else "") or ""
    return checked_tool_call(
        id=call.id or new_call_id(), name=name, arguments=arguments_of(call.function), is_cut=is_cut,
        extra=extra, vendor=vendor if extra else "",
    )  # fmt: skip


def finish_of(reason: str | None, asked: ReadingContext, *, refused: bool, calls: bool) -> FinishReason:
    """Our word for a finish reason. Tool calls count as such also where a server says "stop" (a forced tool, Ollama) or nothing.

    A word that nobody knows may mean that the answer was cut: it stays "other", and no call of that answer is run.
    """
    finish = _finish.finish_of(reason, asked.target, request_id=asked.request_id)
    if refused and finish in {"stop", "other"}:
        return "refusal"
    return "tool_calls" if calls and (finish == "stop" or not reason) else finish


def vectors(
    body: bytes,
    content_type: str,
    *,
    count: int,
    target: str,
    request_id: str,
    emit: Callable[[bytes], SurefootError],
    expected: int | None = None,
) -> tuple[Matrix, Usage, str]:
    """The vectors of an embeddings answer in the order asked, float32 [count, dim]; usage; the model that answered.

    Raises MalformedReply if any is missing, doubled, not of one length, not finite or zero; with the code WIDE where they came in numbers
    of 64 bits, DIMENSIONS where all have another length than the `expected` one.
    """
    answer = decoded_as(_vectors, body, content_type, target=target, request_id=request_id)
    if failed(answer.error):
        raise emit(body)
    items = answer.data
    if items is None or len(items) != count:
        raise malformed(target, f"{count} texts were sent, {len(items or ())} vectors came back", request_id=request_id)
    places = places_of([item.index for item in items])
    if places is None:
        raise malformed(target, "the vectors' indices are not those of the texts", request_id=request_id)
    rows = [item.embedding for item in items]
    if isinstance(rows[0], bytes) and is_float64(rows[0], expected):
        why = f'the vectors came in numbers of 64 bits, {len(rows[0]) // 8} each; options=(("encoding_format", "float"),) asks for text'
        raise malformed(target, why, request_id=request_id, code=WIDE)
    try:
        matrix = stacked(rows, places)
    except ValueError as error:
        raise malformed(target, str(error), request_id=request_id) from error
    if expected is not None and matrix.shape[1] != expected:
        why = f"vectors of {matrix.shape[1]} numbers came back, {expected} were expected"
        raise malformed(target, why, request_id=request_id, code=DIMENSIONS)
    return matrix, usage_of(answer.usage), answer.model or ""
