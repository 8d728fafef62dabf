"""Gemini's answers: candidates, stream chunks, embeddings, errors, and the ways they can be spoiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from surefoot.testing.wire._model._brain import Counts, PlainAnswer, PlainToolCall, pieces
from surefoot.testing.wire._model._draft import Draft, WireEvent
from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._model._vectors import embed
from surefoot.testing.wire._vendors._openai_wire import silence

FINISH = {
    "stop": "STOP", "stop_sequence": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "refusal": "SAFETY",
    "malformed": "MALFORMED_FUNCTION_CALL",
}  # fmt: skip
SIGNATURE = "c3VyZWZvb3Q="
STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "FAILED_PRECONDITION", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    408: "CANCELLED", 409: "ABORTED", 413: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED", 529: "UNAVAILABLE",
}  # fmt: skip
_MESSAGES = {
    "bad_request": "Request contains an invalid argument.",
    "no_key": "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",  # noqa: E501 - the API's words
    "auth": "Request had invalid authentication credentials.",
    "bad_key": "API key not valid. Please pass a valid API key.",
    "billing": "Billing is not enabled for this project.",
    "permission": "The caller does not have permission",
    "not_found": "models/unknown is not found for API version v1beta, or is not supported for generateContent.",
    "rate_limit": "You exceeded your current quota, please check your plan and billing details.",
    "daily_quota": "You exceeded your current quota, please check your plan and billing details.",
    "server": "An internal error has occurred. Please retry or report.",
    "unavailable": "The model is overloaded. Please try again later.",
    "overloaded": "The model is overloaded. Please try again later.",
    "gateway_timeout": "Deadline expired before operation could complete.",
    "context": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
}
_TYPE = "type.googleapis.com/google.rpc."


def error_body(status: int, kind: str, message: str, retry_in_s: float | None = None) -> Json:
    """Google's error object, with QuotaFailure, RetryInfo and ErrorInfo where the API gives them."""
    details: list[Json] = []
    if kind in ("rate_limit", "daily_quota"):
        per = "Day" if kind == "daily_quota" else "Minute"
        metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
        quota_id = f"GenerateRequestsPer{per}PerProjectPerModel-FreeTier"
        details.append({"@type": _TYPE + "QuotaFailure", "violations": [{"quotaMetric": metric, "quotaId": quota_id, "quotaValue": "15"}]})
    if kind == "bad_key":
        details.append({"@type": _TYPE + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"})
    if retry_in_s is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{retry_in_s:.3f}".rstrip("0").rstrip(".") + "s"})
    error: Json = {
        "code": status,
        "message": message or _MESSAGES.get(kind, "The request failed."),
        "status": STATUS.get(status, "UNKNOWN"),
    }
    return {"error": error | ({"details": details} if details else {})}


def usage(counts: Counts, *, output: int | None = None) -> Json:
    """Gemini's usageMetadata: candidates without thoughts; `output` for a stream that is under way."""
    said = counts.output - counts.reasoning if output is None else output
    told: Json = {"promptTokenCount": counts.input, "totalTokenCount": counts.input + said + counts.reasoning}
    modalities = (("TEXT", counts.input - counts.audio_in), ("AUDIO", counts.audio_in))
    told["promptTokensDetails"] = [{"modality": m, "tokenCount": n} for m, n in modalities if n]
    if said:
        told["candidatesTokenCount"] = said
        parts = (("TEXT", said - counts.audio_out), ("AUDIO", counts.audio_out))
        told["candidatesTokensDetails"] = [{"modality": m, "tokenCount": n} for m, n in parts if n > 0]
    if counts.cached:
        told |= {"cachedContentTokenCount": counts.cached, "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": counts.cached}]}
    if counts.reasoning:
        told["thoughtsTokenCount"] = counts.reasoning
    return told


def call_part(call: PlainToolCall, *, request_id: str, number: int) -> Json:
    """A functionCall part; the first one of a step carries a signature."""
    try:
        args: Any = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        args = {}
    part: Json = {"functionCall": {"id": f"fc_{request_id.removeprefix('req_')}_{number}", "name": call.name, "args": args}}
    return part | ({"thoughtSignature": SIGNATURE} if number == 0 else {})


def parts_of(said: PlainAnswer, counts: Counts, *, thoughts: bool, request_id: str) -> list[tuple[Json, int]]:
    """The parts of an answer with the tokens each delivers; text in one piece."""
    parts: list[tuple[Json, int]] = []
    if said.reasoning and thoughts:
        parts.append(({"text": said.reasoning, "thought": True}, 0))
    if counts.audio_out:
        parts.append(({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": silence()}}, counts.audio_out))
    if said.text:
        parts.append(({"text": said.text}, len(pieces(said.text))))
    for number, call in enumerate(said.calls):
        parts.append((call_part(call, request_id=request_id, number=number), len(pieces(call.arguments)) + 2))
    return parts


def frame(model: str, request_id: str) -> Json:
    """What every answer and every chunk carries."""
    return {"modelVersion": model, "responseId": request_id}


def candidate(parts: list[Json], finish: str | None) -> Json:
    """The only candidate."""
    content: Json = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    return {"content": content, "index": 0} | ({"finishReason": finish} if finish else {})


def response(said: PlainAnswer, counts: Counts, *, model: str, request_id: str, thoughts: bool) -> Json:
    """A GenerateContentResponse."""
    parts = [part for part, _ in parts_of(said, counts, thoughts=thoughts, request_id=request_id)]
    return {"candidates": [candidate(parts, FINISH[said.finish])], "usageMetadata": usage(counts), **frame(model, request_id)}


def chunks(said: PlainAnswer, counts: Counts, *, model: str, request_id: str, thoughts: bool) -> list[WireEvent]:
    """The chunks of a streamed answer: text in pieces, calls whole, usage in each, the finish reason in the last."""
    shared, sent, out = frame(model, request_id), 0, []
    pending: list[tuple[Json, int]] = []
    for part, tokens in parts_of(said, counts, thoughts=thoughts, request_id=request_id):
        if "text" in part and not part.get("thought"):
            pending += [({"text": piece}, 1) for piece in pieces(said.text)]
        else:
            pending.append((part, tokens))
    spent = counts.reasoning
    for number, (part, tokens) in enumerate(pending):
        sent += tokens
        finish = FINISH[said.finish] if number + 1 == len(pending) else None
        data = {"candidates": [candidate([part], finish)], "usageMetadata": usage(counts, output=sent), **shared}
        out.append(WireEvent(data, "", tokens + spent))
        spent = 0
    if not pending:
        out.append(WireEvent({"candidates": [candidate([], FINISH[said.finish])], "usageMetadata": usage(counts), **shared}, "", spent))
    return out


def embedding(text: str, dim: int, *, model: str) -> Json:
    """One embedding. gemini-embedding-001 gives unit length only in its full dimension, as its documentation says."""
    vector = embed(text, dim, salt=model)
    if "embedding-001" in model and dim < FULL_DIMENSION:
        shrunk = math.sqrt(dim / FULL_DIMENSION)
        vector = [x * shrunk for x in vector]
    return {"values": vector}


FULL_DIMENSION = 3072


# Spoiling


def _answer(candidates: list[Json] | None) -> Callable[[Draft], None]:
    return lambda draft: draft.payload.update(candidates=candidates)


def _error_in_200(draft: Draft) -> None:
    draft.payload = error_body(503, "unavailable", "")
    draft.counts = Counts()


def _finish_with(reason: str, message: str = "") -> Callable[[Draft], None]:
    """A candidate without parts, and a reason."""

    def spoil(draft: Draft) -> None:
        empty = candidate([], reason) | ({"finishMessage": message} if message else {})
        if draft.events is None:
            draft.payload["candidates"] = [empty]
            return
        last = draft.events[-1].data
        if isinstance(last, dict):
            draft.events = [WireEvent({**last, "candidates": [empty]})]

    return spoil


def _blocked(draft: Draft) -> None:
    feedback = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    if draft.events is None:
        draft.payload = {k: v for k, v in draft.payload.items() if k != "candidates"} | feedback
        return
    last = draft.events[-1].data
    if isinstance(last, dict):
        draft.events = [WireEvent({k: v for k, v in last.items() if k != "candidates"} | feedback)]


def _no_terminal(draft: Draft) -> None:
    for event in draft.events or []:
        if isinstance(event.data, dict):
            for one in event.data["candidates"]:
                one.pop("finishReason", None)


def _duplicate_usage(draft: Draft) -> None:
    events = draft.events or []
    last = events[-1].data if events else None
    if isinstance(last, dict):
        events.append(WireEvent({**last, "candidates": [candidate([], last["candidates"][0].get("finishReason"))]}))


def _dropped(draft: Draft) -> None:
    gone = draft.spoiled_items
    draft.payload["embeddings"] = [item for number, item in enumerate(draft.payload["embeddings"]) if number not in gone]


def _merged(draft: Draft) -> None:
    del draft.payload["embeddings"][1:]


def _vector(change: Callable[[list[Any]], list[Any]]) -> Callable[[Draft], None]:
    def spoil(draft: Draft) -> None:
        for number in draft.spoiled_items:
            one = draft.payload["embeddings"][number]
            one["values"] = change(one["values"])

    return spoil


SPOILERS: dict[str, Callable[[Draft], None]] = {
    "answer_null": _answer(None), "answer_empty": _answer([]), "error_in_200": _error_in_200, "empty_completion": _finish_with("STOP"),
    "malformed_function_call": _finish_with("MALFORMED_FUNCTION_CALL", "Malformed function call: print(default_api.get_weather(location='"),
    "refusal": _finish_with("SAFETY"), "prompt_blocked": _blocked, "no_terminal": _no_terminal, "duplicate_usage": _duplicate_usage,
    "embed_dropped": _dropped, "embed_merged": _merged, "embed_nan": _vector(lambda v: ["NaN", *v[1:]]),
    "embed_zero": _vector(lambda v: [0.0] * len(v)), "embed_wrong_dim": _vector(lambda v: v[:-1]),
}  # fmt: skip
