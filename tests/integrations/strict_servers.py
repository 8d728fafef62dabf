"""Servers on loopback that answer the first turn with a tool call, and refuse a second one that does not bring back what they sent.

Each is shaped after one house's documents: what it sends beside the call, and the error with which it refuses. They answer streamed and
whole. The paths of the refusals are the documented ones: a missing or changed field of the assistant's last turn.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Json = dict[str, Any]


class House(NamedTuple):
    """A house's dialect, the model that is asked, and the turn that must come back."""

    target: str
    path: str
    first: Any  # the message, blocks or parts of its first answer
    protocol: str = "openai"
    calls: int = 1


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bergen"}'}}
NINE = CALL | {"id": "a1B2c3D4e"}
KIMI = CALL | {"id": "functions.weather:0"}
SIGNED = CALL | {"extra_content": {"google": {"thought_signature": "SIG=="}}}
DETAILS = [
    {"type": "reasoning.text", "text": "hm", "index": 0, "signature": "S"},
    {"type": "reasoning.encrypted", "data": "ZZ", "index": 1},
]
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bergen"}}
BLOCKS = [
    {"type": "thinking", "thinking": "hm", "signature": "S1"},
    {"type": "redacted_thinking", "data": "ZZ"},
    {"type": "text", "text": "I look."},
    USE,
    {"type": "thinking", "thinking": "and so", "signature": "S2"},
    USE | {"id": "toolu_2", "input": {"city": "Oslo"}},
]
PARTS = [
    {"text": "I look.", "thoughtSignature": "T=="},
    {"functionCall": {"name": "weather", "id": "f1", "args": {"city": "Bergen"}}, "thoughtSignature": "F=="},
    {"functionCall": {"name": "weather", "id": "f2", "args": {"city": "Oslo"}}},
]
HOUSES = {
    "openai": House("openai:gpt-4.1", "/v1", {"content": None, "tool_calls": [CALL]}),
    "anthropic": House("anthropic:claude-opus-4-6", "", BLOCKS, "anthropic", calls=2),
    "gemini": House("google:gemini-3-pro", "", PARTS, "google", calls=2),
    "gemini as openai": House("openai:gemini-3-pro", "/v1beta/openai", {"content": None, "tool_calls": [SIGNED]}),
    "deepseek": House("deepseek:deepseek-reasoner", "", {"content": "", "reasoning_content": "hm", "tool_calls": [CALL]}),
    "kimi": House("moonshot:kimi-k2-thinking", "/v1", {"content": "", "reasoning_content": "hm", "tool_calls": [KIMI]}),
    "openrouter": House(
        "openrouter:x/y", "/api/v1", {"content": "", "reasoning": "hm", "reasoning_details": DETAILS, "tool_calls": [CALL]}
    ),
    "mistral": House("mistral:magistral-medium", "/v1", {"content": [THOUGHT], "tool_calls": [NINE]}),
}


class Strict:
    """What a house has seen: the requests it answered, and those it refused, with the reason."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.url = ""
        self.bodies: list[Json] = []
        self.refused: list[str] = []

    def answer(self, path: str, body: Json) -> tuple[int, str, bytes]:
        """Status, content type and body for a request."""
        self.bodies.append(body)
        said = self._said(body)
        wrong = self._wrong(said, body) if said is not None else ""
        if wrong:
            self.refused.append(wrong)
            return 400, "application/json", json.dumps({"error": {"message": wrong, "type": "invalid_request_error"}}).encode()
        is_stream = bool(body.get("stream")) or "streamGenerateContent" in path
        return WRITERS[self.house.protocol](None if said is not None else self.house.first, is_stream)

    def _said(self, body: Json) -> Any:
        """The assistant's turn, as it came back; None in the first turn."""
        if self.house.protocol == "google":
            return next((one["parts"] for one in body["contents"] if one["role"] == "model"), None)
        turn = next((one for one in body["messages"] if one["role"] == "assistant"), None)
        return turn if turn is None or self.house.protocol == "openai" else turn["content"]

    def _wrong(self, said: Any, body: Json) -> str:
        first = self.house.first
        if self.house.protocol != "openai":
            return "" if said == first else f"blocks of the latest assistant message cannot be modified: {said}"
        results = [one["tool_call_id"] for one in body["messages"] if one["role"] == "tool"]
        if results != [call["id"] for call in first["tool_calls"]]:
            return f"tool_call_ids did not have response messages: {results}"
        said, wanted = _spaceless(said), _spaceless(first)
        missing = [name for name, value in wanted.items() if value and said.get(name) != value]
        return f"missing in assistant message: {', '.join(missing)}" if missing else ""


def _spaceless(message: Json) -> Json:
    """A message whose calls' arguments are values: frameworks write them anew."""
    calls = [call["function"] | {"arguments": json.loads(call["function"]["arguments"])} for call in message.get("tool_calls", ())]
    return message | {"tool_calls": [one | {"function": call} for one, call in zip(message.get("tool_calls", ()), calls, strict=True)]}


def _openai(first: Json | None, is_stream: bool) -> tuple[int, str, bytes]:
    message = {"role": "assistant", **(first or {"content": "sunny"})}
    finish = "tool_calls" if first else "stop"
    about = {"id": "c-1", "created": 1, "model": "m"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    if not is_stream:
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return 200, "application/json", json.dumps({**about, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    calls = [{"index": at, **call} for at, call in enumerate(message.pop("tool_calls", ()))]
    deltas = [{name: value} for name, value in message.items() if value is not None] + [{"tool_calls": [call]} for call in calls]
    chunks = [{**about, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks += [{**about, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {**about, "choices": [], "usage": usage}]
    return 200, "text/event-stream", b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in chunks) + b"data: [DONE]\n\n"


def _anthropic(first: list[Json] | None, is_stream: bool) -> tuple[int, str, bytes]:
    blocks, stop = first or [{"type": "text", "text": "sunny"}], "tool_use" if first else "end_turn"
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": {"input_tokens": 5, "output_tokens": 1},
    }
    if not is_stream:
        return 200, "application/json", json.dumps({**message, "content": blocks, "stop_reason": stop}).encode()
    events: list[Json] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(blocks):
        begun, deltas = dict(block), []
        if block["type"] == "text":
            begun, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        elif block["type"] == "thinking":
            begun = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif block["type"] == "tool_use":
            begun, deltas = block | {"input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 7}}, {"type": "message_stop"}]
    return 200, "text/event-stream", b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in events)


def _google(first: list[Json] | None, is_stream: bool) -> tuple[int, str, bytes]:
    parts = first or [{"text": "sunny"}]
    about = {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2}, "modelVersion": "m", "responseId": "r-1"}

    def answer(some: list[Json], **fields: str) -> Json:
        return {"candidates": [{"content": {"parts": some, "role": "model"}, "index": 0, **fields}], **about}

    if not is_stream:
        return 200, "application/json", json.dumps(answer(parts, finishReason="STOP")).encode()
    chunks = [answer([part]) for part in parts[:-1]] + [answer(parts[-1:], finishReason="STOP")]
    return 200, "text/event-stream", b"".join(b"data: %s\r\n\r\n" % json.dumps(one).encode() for one in chunks)


WRITERS: dict[str, Callable[[Any, bool], tuple[int, str, bytes]]] = {"openai": _openai, "anthropic": _anthropic, "google": _google}


@contextmanager
def strict(name: str) -> Iterator[Strict]:
    """The house `name` on loopback."""
    seen = Strict(HOUSES[name])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, kind, data = seen.answer(self.path, body)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    seen.url = f"http://127.0.0.1:{server.server_address[1]}{seen.house.path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
