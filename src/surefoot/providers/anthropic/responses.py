"""The Anthropic Messages API: its JSON to our records. Pure: bytes in, replies and deltas out, or one of our errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot.core._tool_calls import checked_tool_call, is_runnable
from surefoot.errors import SurefootError
from surefoot.providers.anthropic.blocks import AnswerContent, content_of, plain_text, sealed
from surefoot.providers.http import finish as _finish
from surefoot.providers.http.answers.counts import count
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.reading import apart, decoded, failed, is_error_instead, new_call_id, unreadable
from surefoot.providers.http.redact import snippet
from surefoot.types import ChatReply, ChatRequest, FinishReason, Opaque, ToolCall, Usage


class StopDetails(Struct):
    """Why the model declined."""

    explanation: str | None = None
    category: str | None = None


class _Message(Struct):
    type: str | None = None
    content: list[Raw] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    id: str | None = None
    error: Raw = Raw()


NOTHING_ELSE = AnswerContent()  # of an answer that is one text

_message = msgspec.json.Decoder(_Message)


class AnthropicContext(Struct, frozen=True):
    """What an answer is read with: the target's name, the request id, the request, the tool that is the answer, how errors are told.

    `vendor` is whose the answer's own parts are: see `types.Opaque.vendor`.
    """

    target: str
    request_id: str
    request: ChatRequest
    answer_tool: str
    emit: Callable[[bytes], SurefootError]
    vendor: str = "anthropic"


def usage_of(usage: dict[str, Any] | None) -> Usage:
    """Tokens billed. The API counts cached input apart; ours include it."""
    if not usage:
        return Usage(estimated=True)
    read, written = count(usage, "cache_read_input_tokens"), count(usage, "cache_creation_input_tokens")
    output = count(usage, "output_tokens")
    return Usage(
        input_tokens=count(usage, "input_tokens") + read + written,
        output_tokens=output,
        cached_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(count(usage.get("cache_creation"), "ephemeral_1h_input_tokens"), written),
        reasoning_tokens=min(count(usage.get("output_tokens_details"), "thinking_tokens"), output),
    )


def chat_reply(body: bytes, content_type: str, asked: AnthropicContext) -> ChatReply:
    """A whole answer. Raises MalformedReply if it is none, the error it carries, or ContentRefused if nothing but a refusal came."""
    answer = decoded(_message, body, content_type, target=asked.target, request_id=asked.request_id)
    if answer.type == "error" or failed(answer.error):
        raise asked.emit(body)
    if answer.content is None and is_error_instead(body):
        raise asked.emit(body)
    if answer.content is None or (not answer.content and answer.stop_reason is None):
        raise malformed(asked.target, f"the answer holds no content: {snippet(body, content_type)}", request_id=asked.request_id)
    finish = _finish.finish_of(answer.stop_reason, asked.target, request_id=asked.request_id)
    is_cut = not is_runnable(finish)
    content = NOTHING_ELSE
    text = plain_text(answer.content)
    if text is None:
        try:
            content = content_of(answer.content, answer_tool=asked.answer_tool, vendor=asked.vendor)
        except (ValueError, RecursionError) as error:
            raise unreadable(error, body, content_type, target=asked.target, request_id=asked.request_id) from error
        text = "".join(content.texts)
        if content.has_answer and finish == "tool_calls":
            finish = "stop"
    if not text and not content.calls and not any(isinstance(part, Opaque) for part in content.parts):
        usage = usage_of(answer.usage)
        check_not_empty(finish, answer.stop_reason, answer.stop_details, asked, usage=usage, model=answer.model or "", body=body)
    return ChatReply(
        text=text,
        tool_calls=apart(_calls(content, asked.vendor, is_cut=is_cut)) if content.calls else (),
        reasoning="".join([said for _, said, _ in content.thoughts]),
        signature=sealed(content.thoughts) if content.thoughts else "",
        finish_reason=finish,
        usage=usage_of(answer.usage),
        model=answer.model or "",
        target=asked.target,
        request_id=asked.request_id,
        content=tuple(content.parts) if content.is_unusual else (),
        raw_json=body,
        response_id=answer.id or "",
        citations=tuple(content.citations),
    )


def _calls(content: AnswerContent, vendor: str, *, is_cut: bool) -> tuple[ToolCall, ...]:
    return tuple(
        checked_tool_call(
            id=call.id or new_call_id(), name=call.name, arguments=call.arguments, is_cut=is_cut,
            extra=call.extra, vendor=vendor if call.extra else "", after=content.place(call),
        )
        for call in content.calls
    )  # fmt: skip


def check_not_empty(
    finish: FinishReason,
    reason: str | None,
    details: StopDetails | None,
    asked: AnthropicContext,
    *,
    usage: Usage | None = None,
    model: str = "",
    body: bytes = b"",
) -> None:
    """Raise what an answer with neither text nor tool calls is, unless it is the answer, or a stop sequence came first."""
    why = (details.explanation or details.category or "") if details else ""
    error = _finish.check_not_empty(
        finish,
        asked.request,
        why=why or "the model declines to answer",
        target=asked.target,
        request_id=asked.request_id,
        usage=usage,
        model=model,
        body=body,
    )
    if error is not None and reason != "stop_sequence":
        raise error
