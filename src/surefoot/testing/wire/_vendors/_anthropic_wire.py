"""Anthropic's answers: messages, stream events, errors, and the ways they can be spoiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from surefoot.testing.wire._model._brain import Counts, PlainAnswer, PlainToolCall, pieces
from surefoot.testing.wire._model._draft import Draft, WireEvent
from surefoot.testing.wire._model._schema import Json

FINISH = {
    "stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "tools": "tool_use", "refusal": "refusal",
    "malformed": "tool_use",
}  # fmt: skip
SIGNATURE = "c3VyZWZvb3Qtc2ltdWxhdGVkLXNpZ25hdHVyZQ=="
REFUSED = {"type": "refusal", "category": None, "explanation": "The simulated model declines."}

NO_CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."
_INVALID = "invalid_request_error"
_KINDS: dict[str, tuple[str, str]] = {
    "bad_request": (_INVALID, "The request is not valid."),
    "no_key": ("authentication_error", "x-api-key header is required"),
    "auth": ("authentication_error", "invalid x-api-key"),
    "billing": ("billing_error", "There is an issue with your billing or payment information."),
    "permission": ("permission_error", "Your API key does not have permission to use the specified resource."),
    "not_found": ("not_found_error", "The requested resource was not found."),
    "timeout": ("timeout_error", "The request timed out."),
    "conflict": ("conflict_error", "The resource was changed by another request."),
    "too_large": ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
    "unprocessable": (_INVALID, "The request could not be processed."),
    "rate_limit": ("rate_limit_error", "This request would exceed your organization's rate limit."),
    "credit": (_INVALID,
    NO_CREDIT),
    "server": ("api_error", "Internal server error"),
    "bad_gateway": ("api_error", "Bad gateway"),
    "unavailable": ("api_error", "Service unavailable"),
    "gateway_timeout": ("timeout_error", "Gateway timeout"),
    "overloaded": ("overloaded_error", "Overloaded"),
    "context": (_INVALID, "prompt is too long: 210000 tokens > 200000 maximum"),
}  # fmt: skip


def error_body(kind: str, message: str, request_id: str = "") -> Json:
    """Anthropic's error object."""
    type_, default = _KINDS.get(kind, _KINDS["server"])
    body: Json = {"type": "error", "error": {"type": type_, "message": message or default}}
    return body | {"request_id": request_id} if request_id else body


def usage(counts: Counts, *, output: int | None = None) -> Json:
    """Anthropic's usage: input without what the cache read or wrote."""
    return {
        "input_tokens": counts.input - counts.cached - counts.cache_write, "output_tokens": counts.output if output is None else output,
        "cache_creation_input_tokens": counts.cache_write, "cache_read_input_tokens": counts.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": counts.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens_details": {"thinking_tokens": counts.reasoning if output is None else 0}, "service_tier": "standard",
    }  # fmt: skip


def tool_block(call: PlainToolCall, request_id: str, number: int) -> Json:
    """A tool_use block; arguments cut off by the token limit are an empty object, as the API gives them."""
    try:
        given: Any = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        given = {}
    return {"type": "tool_use", "id": f"toolu_{request_id.removeprefix('req_')}_{number}", "name": call.name, "input": given}


def blocks_of(said: PlainAnswer, request_id: str) -> list[Json]:
    """The content: thinking, text, tool calls."""
    blocks: list[Json] = []
    if said.reasoning:
        blocks.append({"type": "thinking", "thinking": said.reasoning, "signature": SIGNATURE})
    if said.text:
        blocks.append({"type": "text", "text": said.text})
    return blocks + [tool_block(call, request_id, number) for number, call in enumerate(said.calls)]


def message(said: PlainAnswer, counts: Counts, *, model: str, request_id: str) -> Json:
    """A message object."""
    return {
        "id": f"msg_{request_id.removeprefix('req_')}", "type": "message", "role": "assistant", "model": model,
        "content": blocks_of(said, request_id), "stop_reason": FINISH[said.finish], "stop_sequence": said.stopped_by,
        "stop_details": REFUSED if said.finish == "refusal" else None, "usage": usage(counts),
    }  # fmt: skip


def named(data: Json, tokens: int = 0) -> WireEvent:
    """An event whose name is its type."""
    return WireEvent(data, str(data["type"]), tokens)


def events(said: PlainAnswer, counts: Counts, *, model: str, request_id: str) -> list[WireEvent]:
    """The events of a streamed message, message_stop included."""
    start = message(msgspec.structs.replace(said, text="", calls=(), reasoning=""), counts, model=model, request_id=request_id)
    start |= {"stop_reason": None, "stop_sequence": None, "stop_details": None, "usage": usage(counts, output=1)}
    out = [named({"type": "message_start", "message": start})]
    for index, block in enumerate(blocks_of(said, request_id)):
        kind = block["type"]
        deltas: list[WireEvent] = []
        opening: Json
        if kind == "thinking":
            deltas = [_delta(index, {"type": "thinking_delta", "thinking": piece}) for piece in pieces(said.reasoning)]
            deltas.append(_delta(index, {"type": "signature_delta", "signature": SIGNATURE}, counts.reasoning))
            opening = {"type": "thinking", "thinking": "", "signature": ""}
        elif kind == "text":
            deltas = [_delta(index, {"type": "text_delta", "text": piece}, 1) for piece in pieces(said.text)]
            opening = {"type": "text", "text": ""}
        else:
            call = said.calls[index - (len(blocks_of(said, request_id)) - len(said.calls))]
            deltas = [_delta(index, {"type": "input_json_delta", "partial_json": ""}, 2)]
            deltas += [_delta(index, {"type": "input_json_delta", "partial_json": piece}, 1) for piece in pieces(call.arguments)]
            opening = {**block, "input": {}}
        out.append(named({"type": "content_block_start", "index": index, "content_block": opening}))
        if index == 0:
            out.append(named({"type": "ping"}))
        out += [*deltas, named({"type": "content_block_stop", "index": index})]
    return [*out, _last(said, counts), named({"type": "message_stop"})]


def _delta(index: int, delta: Json, tokens: int = 0) -> WireEvent:
    return named({"type": "content_block_delta", "index": index, "delta": delta}, tokens)


def _last(said: PlainAnswer, counts: Counts) -> WireEvent:
    details = REFUSED if said.finish == "refusal" else None
    delta = {"stop_reason": FINISH[said.finish], "stop_sequence": said.stopped_by, "stop_details": details}
    told = usage(counts)
    kept = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens_details")
    return named({"type": "message_delta", "delta": delta, "usage": {key: told[key] for key in kept}})


# Spoiling


def _answer(content: list[Json] | None) -> Callable[[Draft], None]:
    return lambda draft: draft.payload.update(content=content)


def _error_in_200(draft: Draft) -> None:
    draft.payload = error_body("overloaded", "")
    draft.counts = Counts()


def _no_text(draft: Draft) -> None:
    if draft.events is None:
        draft.payload |= {"content": [], "stop_reason": "end_turn"}
    else:
        draft.events = [e for e in draft.events if e.name in ("message_start", "message_delta", "message_stop")]


def _refusal(draft: Draft) -> None:
    if draft.events is None:
        draft.payload |= {"content": [], "stop_reason": "refusal", "stop_details": REFUSED}
        return
    _no_text(draft)
    for event in draft.events:
        if event.name == "message_delta" and isinstance(event.data, dict):
            event.data["delta"] |= {"stop_reason": "refusal", "stop_details": REFUSED}


def _broken_arguments(draft: Draft) -> None:
    """Only a stream carries arguments as text; the last piece loses its end."""
    found = [e for e in draft.events or [] if isinstance(e.data, dict) and e.data.get("delta", {}).get("type") == "input_json_delta"]
    if found and isinstance(found[-1].data, dict):
        found[-1].data["delta"]["partial_json"] = ',"'


def _no_terminal(draft: Draft) -> None:
    draft.events = [e for e in draft.events or [] if e.name not in ("message_delta", "message_stop")]


def _duplicate_usage(draft: Draft) -> None:
    found = draft.events or []
    draft.events = [one for e in found for one in ((e, e) if e.name == "message_delta" else (e,))]


SPOILERS: dict[str, Callable[[Draft], None]] = {
    "answer_null": _answer(None), "answer_empty": _answer([]), "error_in_200": _error_in_200, "empty_completion": _no_text,
    "refusal": _refusal,
    "malformed_tool_json": _broken_arguments, "no_terminal": _no_terminal, "duplicate_usage": _duplicate_usage,
}  # fmt: skip
