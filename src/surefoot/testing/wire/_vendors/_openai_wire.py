"""OpenAI's answers: completions, chunks, embeddings, errors, and the ways they can be spoiled."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import lru_cache

from surefoot.testing.wire._model._brain import Counts, PlainAnswer, pieces
from surefoot.testing.wire._model._draft import Draft, WireEvent
from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._model._vectors import as_bytes, embed, embed_bytes

CREATED = 1_767_225_600  # 1 January 2026: the same answer each time
FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tools": "tool_calls", "refusal": "stop", "malformed": "stop"}
FINGERPRINT = "fp_surefoot"
DONE = WireEvent(b"data: [DONE]\n\n")

TOO_LONG = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. Please reduce the length of the "
    "messages."
)
NO_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_INVALID = "invalid_request_error"
_KINDS: dict[str, tuple[str, str | None, str | None, str]] = {  # kind: type, code, param, message
    "bad_request": (_INVALID, None, None, "The request is not valid."),
    "no_key": (_INVALID, None, None, "You didn't provide an API key."),
    "auth": (_INVALID, "invalid_api_key", None, "Incorrect API key provided."),
    "billing": (_INVALID, "billing_not_active", None, "Your account is not active, please check your billing details."),
    "permission": (_INVALID, "unsupported_country_region_territory", None, "Country, region, or territory not supported"),
    "not_found": (_INVALID, "model_not_found", "model", "The model does not exist or you do not have access to it."),
    "timeout": ("server_error", "timeout", None, "Request timed out."),
    "conflict": (_INVALID, "conflict", None, "The resource was updated by another request."),
    "too_large": (_INVALID, "request_too_large", None, "Maximum content size limit exceeded."),
    "unprocessable": (_INVALID, None, None, "The request could not be processed."),
    "rate_limit": ("requests", "rate_limit_exceeded", None, "Rate limit reached for requests."),
    "quota": ("insufficient_quota", "insufficient_quota", None, NO_QUOTA),
    "server": ("server_error", None, None, "The server had an error while processing your request. Sorry about that!"),
    "bad_gateway": ("server_error", None, None, "Bad gateway."),
    "unavailable": ("service_unavailable", "service_unavailable", None, "The engine is currently overloaded, please try again later."),
    "gateway_timeout": ("server_error", None, None, "Gateway timeout."),
    "overloaded": ("server_error", "overloaded", None, "Overloaded"),
    "context": (_INVALID, "context_length_exceeded", "messages", TOO_LONG),
    "content": (_INVALID, "content_policy_violation", None, "Your request was rejected as a result of our safety system."),
}  # fmt: skip


def error_body(kind: str, message: str) -> Json:
    """OpenAI's error object."""
    type_, code, param, default = _KINDS.get(kind, _KINDS["server"])
    return {"error": {"message": message or default, "type": type_, "param": param, "code": code}}


def usage(counts: Counts) -> Json:
    """OpenAI's usage object; details are parts of the totals."""
    return {
        "prompt_tokens": counts.input, "completion_tokens": counts.output, "total_tokens": counts.total,
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": counts.audio_in},
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning, "audio_tokens": counts.audio_out, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip


def call_id(request_id: str, number: int) -> str:
    """A tool call's id, unique in the simulator's life."""
    return f"call_{request_id.removeprefix('req_')}_{number}"


def completion(said: PlainAnswer, counts: Counts, *, model: str, request_id: str, n: int) -> Json:
    """A chat.completion object."""
    message: Json = {"role": "assistant", "content": said.text or None, "refusal": None, "annotations": []}
    if said.finish == "refusal":
        message |= {"content": None, "refusal": said.text or "I can't help with that."}
    if said.calls:
        message["tool_calls"] = [
            {"id": call_id(request_id, i), "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for i, c in enumerate(said.calls)
        ]
    if counts.audio_out:
        audio = {"id": f"audio_{request_id}", "data": silence(), "transcript": said.text, "expires_at": CREATED + 3600}
        message |= {"content": None, "audio": audio}
    choice: Json = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH[said.finish]}
    return {
        "id": f"chatcmpl-{request_id}", "object": "chat.completion", "created": CREATED, "model": model,
        "choices": [choice] if n == 1 else [{**choice, "index": i} for i in range(n)],
        "usage": usage(counts), "service_tier": "default", "system_fingerprint": FINGERPRINT,
    }  # fmt: skip


@lru_cache(maxsize=1)
def silence() -> str:
    """A tenth of a second of silence, 24 kHz PCM16, base64: what the simulated voice says."""
    return b64encode(b"\0" * 4800).decode()


def chunks(said: PlainAnswer, counts: Counts, *, model: str, request_id: str, n: int, with_usage: bool) -> list[WireEvent]:
    """The events of a streamed completion, `[DONE]` included."""
    frame: Json = {
        "id": f"chatcmpl-{request_id}", "object": "chat.completion.chunk", "created": CREATED, "model": model, "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }  # fmt: skip
    tail: Json = {"usage": None} if with_usage else {}
    spent = counts.reasoning + counts.audio_out
    events: list[WireEvent] = []

    def add(delta: Json, finish: str | None = None, *, tokens: int = 0, index: int = 0) -> None:
        nonlocal spent
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        events.append(WireEvent({**frame, "choices": [choice], **tail}, "", tokens + spent))
        spent = 0

    key = "refusal" if said.finish == "refusal" else "content"
    for index in range(n):
        add({"role": "assistant", "content": "" if said.text else None, "refusal": None}, index=index)
        for piece in pieces(said.text):
            add({key: piece}, tokens=1, index=index)
        for number, call in enumerate(said.calls):
            opening = {"id": call_id(request_id, number), "type": "function", "function": {"name": call.name, "arguments": ""}}
            add({"tool_calls": [{"index": number, **opening}]}, tokens=2, index=index)
            for piece in pieces(call.arguments):
                add({"tool_calls": [{"index": number, "function": {"arguments": piece}}]}, tokens=1, index=index)
        add({}, FINISH[said.finish], index=index)
    if with_usage:
        events.append(WireEvent({**frame, "choices": [], "usage": usage(counts)}))
    return [*events, DONE]


def embeddings(texts: list[str], dim: int, *, model: str, counts: Counts, base64: bool) -> Json:
    """A list of embeddings, as base64 float32 or as numbers."""
    written: list[str] | list[list[float]]
    if base64:
        written = [b64encode(embed_bytes(text, dim, salt=model)).decode() for text in texts]
    else:
        written = [embed(text, dim, salt=model) for text in texts]
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(written)]
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": counts.input, "total_tokens": counts.input}}


# Spoiling


def _answer_null(draft: Draft) -> None:
    draft.payload["choices"] = None


def _answer_empty(draft: Draft) -> None:
    draft.payload["choices"] = []


def _error_in_200(draft: Draft) -> None:
    draft.payload = error_body("unavailable", "") | {"choices": None}
    draft.counts = Counts()


def _no_text(draft: Draft) -> None:
    if draft.events is not None:
        draft.events = [e for e in draft.events if not e.tokens]
        return
    for choice in draft.payload["choices"]:
        choice["message"] = {"role": "assistant", "content": "", "refusal": None}
        choice["finish_reason"] = "stop"


def _broken_arguments(draft: Draft) -> None:
    if draft.events is None:
        for choice in draft.payload["choices"]:
            for call in choice["message"].get("tool_calls") or []:
                call["function"]["arguments"] = call["function"]["arguments"][:-1] + ',"'
        return
    last = [e for e in draft.events if isinstance(e.data, dict) and any(c["delta"].get("tool_calls") for c in e.data["choices"])]
    if last and isinstance(last[-1].data, dict):
        last[-1].data["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] = ',"'


def _refusal(draft: Draft) -> None:
    said = "I'm sorry, I can't assist with that."
    if draft.events is None:
        for choice in draft.payload["choices"]:
            choice["message"] = {"role": "assistant", "content": None, "refusal": said}
            choice["finish_reason"] = "stop"
        return
    first = draft.events[0].data
    if isinstance(first, dict):
        frame = {k: v for k, v in first.items() if k != "choices"}
        blank: Json = {"index": 0, "logprobs": None, "finish_reason": None}
        middle = [WireEvent({**frame, "choices": [{**blank, "delta": {"refusal": p}}]}, "", 1) for p in pieces(said)]
        draft.events = [draft.events[0], *middle, *(e for e in draft.events[1:] if not e.tokens)]


def _no_terminal(draft: Draft) -> None:
    draft.events = [e for e in draft.events or [] if isinstance(e.data, dict) and not any(c["finish_reason"] for c in e.data["choices"])]


def _duplicate_usage(draft: Draft) -> None:
    events = draft.events or []
    twice = [e for e in events if isinstance(e.data, dict) and e.data.get("usage")]
    draft.events = [*events[:-1], *twice, DONE]


def _empty_first(draft: Draft) -> None:
    filtered = [{"prompt_index": 0, "content_filter_results": {}}]
    frame: Json = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": filtered}
    draft.events = [WireEvent(frame), *(draft.events or [])]


def _dropped(draft: Draft) -> None:
    gone = draft.spoiled_items
    draft.payload["data"] = [item for number, item in enumerate(draft.payload["data"]) if number not in gone]


def _index_lies(draft: Draft) -> None:
    draft.payload["data"][-1]["index"] = len(draft.payload["data"]) + 4


def _merged(draft: Draft) -> None:
    del draft.payload["data"][1:]


def dimension_of(payload: Json) -> int:
    """How many numbers a vector of this answer has."""
    first = payload["data"][0]["embedding"]
    return len(b64decode(first)) // 4 if isinstance(first, str) else len(first)


def _vector(change: Callable[[list[float]], list[float]]) -> Callable[[Draft], None]:
    def spoil(draft: Draft) -> None:
        changed = change(embed("spoiled", dimension_of(draft.payload)))
        for number in draft.spoiled_items:
            item = draft.payload["data"][number]
            item["embedding"] = b64encode(as_bytes(changed)).decode() if isinstance(item["embedding"], str) else changed

    return spoil


def nan_json(payload: object) -> bytes:
    """JSON with NaN as Python and several servers write it: not valid JSON, but seen in the field."""
    return json.dumps(payload).encode()


SPOILERS: dict[str, Callable[[Draft], None]] = {
    "answer_null": _answer_null, "answer_empty": _answer_empty, "error_in_200": _error_in_200, "empty_completion": _no_text,
    "malformed_tool_json": _broken_arguments, "refusal": _refusal, "no_terminal": _no_terminal, "duplicate_usage": _duplicate_usage,
    "empty_first_chunk": _empty_first, "embed_dropped": _dropped, "embed_reordered": lambda draft: draft.payload["data"].reverse(),
    "embed_index_lies": _index_lies, "embed_merged": _merged, "embed_nan": _vector(lambda v: [float("nan"), *v[1:]]),
    "embed_zero": _vector(lambda v: [0.0] * len(v)), "embed_wrong_dim": _vector(lambda v: v[:-1]),
}  # fmt: skip
