"""Good answers of every API, whole, streamed, as vectors and as refusals: what is damaged then. One seed, one exchange."""

from __future__ import annotations

import json
from base64 import b64encode
from random import Random
from struct import pack
from typing import Any

from msgspec import Struct

from surefoot.types import ChatRequest, EmbedRequest, Message, Schema, Tool
from tests.providers import sdk_answers as answering
from tests.providers.sdk_requests import SHAPE, TOOLS, words

KEY = "sk-fuzz-0123456789abcdefghijklmnopqrstuvwxyz"
ASKED = "the caller's own words, 7391"
APIS = ("chat", "responses", "anthropic", "google")
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TEXTS = ("one", "two", "three")
SOURCE = {"type": "url_citation", "url_citation": {"url": "https://example.org", "title": "t", "start_index": 0, "end_index": 3}}


class GoodAnswer(Struct):
    """What a server answers: `pieces` are the events of a stream, or the one JSON value of all else, not yet bytes."""

    api: str
    kind: str  # "whole", "stream", "vectors", "refusal"
    pieces: list[Any]
    request: Any
    status: int = 200
    content_type: str = "application/json"
    names: bool = False  # events carry their names
    end: str = ""  # what follows the last event

    @property
    def is_streamed(self) -> bool:
        return self.kind == "stream"


def random_exchange(luck: Random) -> GoodAnswer:
    """Any API, any kind; Anthropic has no vectors."""
    api = luck.choice(APIS)
    kind = luck.choices(("whole", "stream", "vectors", "refusal"), (30, 50, 8, 12))[0]
    if kind == "vectors":
        return _vectors("google" if api == "google" else "chat", luck)
    request = _request(luck)
    if kind == "refusal":
        status = luck.choice((400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529, 200))
        return GoodAnswer(api, kind, [_refusal(api, luck)], request, status=status)
    make = {
        "chat": answering.chat_answer,
        "responses": answering.responses_answer,
        "anthropic": answering.anthropic_answer,
        "google": answering.google_answer,
    }[api]
    whole, body = make(luck)
    if kind == "whole":
        _enrich(api, whole, luck)
        return GoodAnswer(api, kind, [whole], request)
    events = _events(body)
    if luck.random() < 0.5:
        _enrich_events(api, events, luck)
    return GoodAnswer(
        api, kind, events, request, content_type="text/event-stream", names=api in {"responses", "anthropic"},
        end="data: [DONE]\n\n" if api == "chat" else "",
    )  # fmt: skip


def _request(luck: Random) -> ChatRequest:
    return ChatRequest(
        messages=(Message.user(ASKED),),
        tools=tuple(Tool.of(name, f"The {name}", shape) for name, shape in TOOLS.items()) if luck.random() < 0.8 else (),
        schema=Schema.of("shape", SHAPE) if luck.random() < 0.1 else None,
        stop=("END",) if luck.random() < 0.1 else (),
        parallel_tool_calls=luck.choice((None, None, None, False)),
    )


def _events(body: bytes) -> list[Any]:
    """The JSON values of a stream's events."""
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def _enrich(api: str, whole: dict[str, Any], luck: Random) -> None:
    """What vendors and compatible servers say beside text, calls and usage."""
    for add in luck.sample(ADDED[api], luck.randint(0, 3)):
        add(whole, luck)


def _enrich_events(api: str, events: list[Any], luck: Random) -> None:
    """The same in a stream: pieces of its own, anywhere before the end."""
    if api == "chat":
        about = {name: value for name, value in events[0].items() if name != "choices"}
        for delta in luck.sample(DELTAS, luck.randint(1, 3)):
            events.insert(luck.randint(0, len(events) - 2), {**about, "choices": [{"index": 0, "delta": delta}]})
    elif api == "google":
        about = {name: value for name, value in events[0].items() if name != "candidates"}
        for part in luck.sample(PARTS, luck.randint(1, 2)):
            candidate = {"content": {"parts": [part]}, "index": 0}
            events.insert(luck.randint(0, len(events) - 1), {**about, "candidates": [candidate]})
        if luck.random() < 0.5:
            events[-1]["candidates"][0] |= GROUNDED
    elif api == "anthropic":
        events.insert(luck.randint(1, len(events) - 2), {"type": "ping"})
        if luck.random() < 0.5:
            cited = {"type": "citations_delta", "citation": {"type": "web_search_result_location", "url": "https://e.org", "title": "t"}}
            events.insert(len(events) - 2, {"type": "content_block_delta", "index": 0, "delta": cited})
    elif luck.random() < 0.5:
        events.insert(1, {"type": "response.image_generation_call.partial_image", "partial_image_b64": PICTURE})


def _message(whole: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = whole["choices"][0]["message"]
    return found


def _on_call(whole: dict[str, Any], luck: Random) -> None:
    del luck
    for call in _message(whole).get("tool_calls") or ():
        call["extra_content"] = {"google": {"thought_signature": "c2ln"}}


LOGPROBS = {"content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2.0}]}]}
DETAILS = [{"type": "reasoning.text", "text": "hm", "signature": "x", "index": 0}]
BLOCKS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "so"}]
DELTAS: list[dict[str, Any]] = [
    {"reasoning_content": "hm"},
    {"reasoning": "hm", "reasoning_details": DETAILS},
    {"content": BLOCKS},
    {"audio": {"id": "a1", "data": b64encode(bytes(6)).decode(), "transcript": "hi"}},
    {"images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}]},
    {"annotations": [SOURCE]},
    {"refusal": "no"},
    {"function_call": {"name": "weather", "arguments": '{"city": "x"}'}},
]
PARTS: list[dict[str, Any]] = [
    {"inlineData": {"mimeType": "image/png", "data": PICTURE}},
    {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
    {"text": "sealed", "thoughtSignature": "c2ln"},
    {"fileData": {"fileUri": "https://example.org/f", "mimeType": "image/png"}},
    {"functionCall": {"name": "clock"}},
]
GROUNDED: dict[str, Any] = {
    "groundingMetadata": {
        "groundingChunks": [{"web": {"uri": "https://example.org", "title": "t"}}],
        "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 3, "text": "abc"}, "groundingChunkIndices": [0]}],
    },
    "citationMetadata": {"citationSources": [{"startIndex": 0, "endIndex": 3, "uri": "https://example.org"}]},
    "logprobsResult": {
        "chosenCandidates": [{"token": "a", "logProbability": -0.1}],
        "topCandidates": [{"candidates": [{"token": "a", "logProbability": -0.1}]}],
    },
    "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}],
}
ITEM_TEXT = {"type": "output_text", "text": "cited", "annotations": [{"type": "url_citation", "url": "https://e.org", "title": "t"}]}
SEEN: dict[str, Any] = {"type": "web_search_result_location", "url": "https://e.org", "title": "t", "cited_text": "c"}
ADDED: dict[str, list[Any]] = {
    "chat": [
        *(lambda whole, luck, delta=delta: _message(whole).update(delta) for delta in DELTAS),
        lambda whole, luck: whole["choices"][0].update(logprobs=LOGPROBS),
        lambda whole, luck: whole.update(citations=["https://example.org"], search_results=[{"url": "https://e.org", "title": "t"}]),
        lambda whole, luck: whole["choices"].append({"index": 1, "message": {"content": "2"}, "finish_reason": "stop"}),
        _on_call,
    ],
    "responses": [
        lambda whole, luck: whole["output"].append(
            {"type": "message", "id": "m", "role": "assistant", "content": [{**ITEM_TEXT, "logprobs": LOGPROBS["content"]}]}
        ),
        lambda whole, luck: whole["output"].append(
            {"type": "image_generation_call", "id": "i", "status": "completed", "result": PICTURE}
        ),
        lambda whole, luck: whole["output"].append({"type": "mcp_call", "id": "x", "name": "n", "arguments": "{}", "output": "o"}),
        lambda whole, luck: whole["output"].append(
            {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
        ),
    ],
    "anthropic": [
        lambda whole, luck: whole["content"].append({"type": "text", "text": "cited", "citations": [SEEN]}),
        lambda whole, luck: whole["content"].append({"type": "mcp_tool_use", "id": "x", "name": "n", "input": {"a": 1}}),
        lambda whole, luck: whole["usage"].update(cache_creation={"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}),
        lambda whole, luck: whole.update(stop_reason="refusal", stop_details={"type": "refusal", "explanation": "no"}),
        lambda whole, luck: whole.update(container={"id": "c", "expires_at": "2026-01-01T00:00:00Z"}),
    ],
    "google": [
        *(lambda whole, luck, part=part: whole["candidates"][0]["content"]["parts"].append(part) for part in PARTS),
        lambda whole, luck: whole["candidates"][0].update(GROUNDED),
        lambda whole, luck: whole.update(promptFeedback={"blockReason": "SAFETY"}),
        lambda whole, luck: whole["candidates"].append({"content": {"parts": [{"text": "2"}]}, "finishReason": "STOP", "index": 1}),
    ],
}  # fmt: skip


def _refusal(api: str, luck: Random) -> Any:
    """An error as a vendor, a proxy or a framework says it; some repeat the key, or what the caller wrote."""
    said = luck.choice(
        ("Rate limit reached, try again in 20s", f"Incorrect API key provided: {KEY}", f"cannot read {ASKED!r}", words(luck))
    )
    shapes: list[Any] = [
        {"error": {"message": said, "type": "invalid_request_error", "param": None, "code": "context_length_exceeded"}},
        {"type": "error", "error": {"type": "overloaded_error", "message": said}, "request_id": "r"},
        {"error": {"code": 429, "message": said, "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "RetryInfo", "retryDelay": "17s"}]}},
        [{"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}],
        {"detail": [{"loc": ["body", "messages", 0], "msg": said, "type": "value_error", "input": ASKED}]},
        {"detail": said},
        {"error": said},
        {"object": "error", "message": said, "code": 40303},
        {"base_resp": {"status_code": 1002, "status_msg": said}},
        {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": json.dumps({"error": {"message": said}})}}},
        {"code": 10013, "msg": said},
        {"message": said, "errors": [{"message": said, "code": "x"}]},
        said,
    ]
    del api
    return luck.choice(shapes)


def _vectors(api: str, luck: Random) -> GoodAnswer:
    """Three vectors of three numbers, as numbers or in base64."""
    rows = [[luck.uniform(-1, 1) for _ in range(3)] for _ in TEXTS]
    request = EmbedRequest(texts=TEXTS, unit_length=luck.random() < 0.5)
    if api == "google":
        return GoodAnswer(api, "vectors", [{"embeddings": [{"values": row} for row in rows]}], request)
    is_packed = luck.random() < 0.5
    data = [
        {"object": "embedding", "index": at, "embedding": b64encode(pack("<3f", *row)).decode() if is_packed else row}
        for at, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return GoodAnswer(api, "vectors", [{"object": "list", "data": data, "model": "m", "usage": usage}], request)
