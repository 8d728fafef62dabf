"""Random answers in the vendors' own JSON, whole and as the events of a stream: after their documents, not after our readers."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.providers.sdk_requests import words

ARGUMENTS = ({"city": "İzmir"}, {}, {"to": ["a", "b"], "sum": 1.5}, {"deep": {"null": None, "text": '"quoted"\n'}})


def cut(luck: Random, text: str) -> list[str]:
    """`text` in pieces of any length."""
    pieces = []
    while text:
        at = luck.randint(1, 7)
        pieces.append(text[:at])
        text = text[at:]
    return pieces


def calls(luck: Random) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (f"call_{luck.randint(0, 10**9)}_{at}", luck.choice(["weather", "pay"]), luck.choice(ARGUMENTS))
        for at in range(luck.choice([0, 0, 1, 2]))
    ]


def framed(events: list[Any], *, named: bool = False, end: str = "") -> bytes:
    """Server-sent events, with names where the vendor gives some."""
    head = [f"event: {event['type']}\n" if named else "" for event in events]
    text = "".join(f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n" for name, event in zip(head, events, strict=True))
    return (text + end).encode()


# OpenAI, Chat Completions


def chat_answer(luck: Random) -> tuple[dict[str, Any], bytes]:
    """A completion and the chunks of the same."""
    made, text = calls(luck), words(luck)
    said: dict[str, Any] = {"role": "assistant", "content": text if not made or luck.random() < 0.5 else None}
    if luck.random() < 0.5:
        said |= {"refusal": None, "annotations": []}
    if made:
        said["tool_calls"] = [
            {"id": one, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}} for one, name, given in made
        ]
    finish = "tool_calls" if made else luck.choice(["stop", "stop", "length"])
    usage: dict[str, Any] = {"prompt_tokens": luck.randint(1, 99), "completion_tokens": luck.randint(1, 99)}
    usage["total_tokens"] = sum(usage.values())
    if luck.random() < 0.7:
        usage["prompt_tokens_details"] = {"cached_tokens": luck.choice([0, 1])}
        usage["completion_tokens_details"] = {"reasoning_tokens": luck.choice([0, 1])}
    about = {
        "id": f"chatcmpl-{luck.randint(0, 99)}",
        "created": 1,
        "model": "gpt-4.1-2026",
        "service_tier": "default",
        "system_fingerprint": "fp",
    }
    choice = {"index": 0, "message": said, "finish_reason": finish, "logprobs": None}
    whole = {**about, "object": "chat.completion", "choices": [choice], "usage": usage}

    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in cut(luck, said["content"] or "")]
    for at, (one, name, given) in enumerate(made):
        deltas.append({"tool_calls": [{"index": at, "id": one, "type": "function", "function": {"name": name, "arguments": ""}}]})
        deltas += [{"tool_calls": [{"index": at, "function": {"arguments": piece}}]} for piece in cut(luck, json.dumps(given))]
    frame = {**about, "object": "chat.completion.chunk"}
    events: list[Any] = [{**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    events.append({**frame, "choices": [], "usage": usage})
    return whole, framed(events, end="data: [DONE]\n\n")


# OpenAI, Responses


def responses_answer(luck: Random) -> tuple[dict[str, Any], bytes]:
    """A response and the events of the same."""
    items: list[dict[str, Any]] = []
    if luck.random() < 0.5:
        summary = [{"type": "summary_text", "text": words(luck)} for _ in range(luck.randint(0, 2))]
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "gAAA"})
    if luck.random() < 0.3:
        items.append({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": words(luck)}})
    made = calls(luck)
    for at in range(luck.randint(0 if made else 1, 2)):
        content = [{"type": "output_text", "text": words(luck), "annotations": [], "logprobs": []} for _ in range(luck.randint(1, 2))]
        items.append({"type": "message", "id": f"msg_{at}", "role": "assistant", "status": "completed", "content": content})
    items += [
        {"type": "function_call", "id": f"fc_{one}", "call_id": one, "name": name, "arguments": json.dumps(given), "status": "completed"}
        for one, name, given in made
    ]
    is_cut = not made and luck.random() < 0.2
    usage = {
        "input_tokens": luck.randint(5, 99), "output_tokens": luck.randint(7, 99), "total_tokens": 100,
        "input_tokens_details": {"cached_tokens": luck.choice([0, 5]), "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": luck.choice([0, 7])},
    }  # fmt: skip
    about = {
        "id": f"resp_{luck.randint(0, 99)}", "object": "response", "created_at": 1, "model": "gpt-5.6-2026", "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "error": None,
    }  # fmt: skip
    ended = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}} if is_cut else {"status": "completed"}
    whole = {**about, "output": items, "usage": usage, **ended}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {**about, "output": [], "status": "in_progress"}}]
    for at, item in enumerate(items):
        events += _item_events(luck, at, item)
    events.append({"type": f"response.{ended['status']}", "response": whole})
    return whole, framed([{**event, "sequence_number": number} for number, event in enumerate(events)], named=True)


def _item_events(luck: Random, at: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    where = {"output_index": at, "item_id": item["id"]}
    empty = {"message": {"content": []}, "reasoning": {"summary": []}, "function_call": {"arguments": ""}}.get(item["type"], {})
    made = [{"type": "response.output_item.added", "output_index": at, "item": {**item, **empty}}]
    for place, part in enumerate(item.get("summary", ())):
        about = {**where, "summary_index": place}
        made.append({"type": "response.reasoning_summary_part.added", **about, "part": {"type": "summary_text", "text": ""}})
        made += [{"type": "response.reasoning_summary_text.delta", **about, "delta": piece} for piece in cut(luck, part["text"])]
        made.append({"type": "response.reasoning_summary_part.done", **about, "part": part})
    for place, part in enumerate(item.get("content", ())):
        about = {**where, "content_index": place}
        made.append({"type": "response.content_part.added", **about, "part": {**part, "text": ""}})
        made += [{"type": "response.output_text.delta", **about, "delta": piece, "logprobs": []} for piece in cut(luck, part["text"])]
        made.append({"type": "response.content_part.done", **about, "part": part})
    if "arguments" in item:
        made += [{"type": "response.function_call_arguments.delta", **where, "delta": piece} for piece in cut(luck, item["arguments"])]
        made.append({"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"], "name": item["name"]})
    return [*made, {"type": "response.output_item.done", "output_index": at, "item": item}]


# Anthropic, Messages


def anthropic_answer(luck: Random) -> tuple[dict[str, Any], bytes]:
    """A message and the events of the same."""
    blocks: list[dict[str, Any]] = []
    if luck.random() < 0.4:
        blocks.append({"type": "thinking", "thinking": words(luck), "signature": "c2ln"})
    if luck.random() < 0.2:
        blocks.append({"type": "redacted_thinking", "data": "c2VjcmV0"})
    blocks += [{"type": "text", "text": words(luck)} for _ in range(luck.randint(1, 2))]
    if luck.random() < 0.3:
        blocks.append(
            {
                "type": "server_tool_use",
                "id": "srvtoolu_1",
                "name": "web_search",
                "input": {"query": words(luck)},
                "caller": {"type": "direct"},
            }
        )
        blocks.append({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [], "caller": {"type": "direct"}})
        blocks.append({"type": "text", "text": words(luck)})
    made = calls(luck)
    blocks += [{"type": "tool_use", "id": one, "name": name, "input": given, "caller": {"type": "direct"}} for one, name, given in made]
    stop = "tool_use" if made else luck.choice(["end_turn", "end_turn", "max_tokens", "stop_sequence"])
    usage = {"input_tokens": luck.randint(1, 99), "output_tokens": luck.randint(2, 99)}
    usage |= {"cache_read_input_tokens": luck.choice([0, 5]), "cache_creation_input_tokens": luck.choice([0, 6])}
    about = {"id": f"msg_{luck.randint(0, 99)}", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001"}
    whole = {**about, "content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": usage}
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {**about, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}},
        },
        {"type": "ping"},
    ]
    for at, block in enumerate(blocks):
        events += _block_events(luck, at, block)
    events.append(
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": usage["output_tokens"]}}
    )
    events.append({"type": "message_stop"})
    return whole, framed(events, named=True)


def _block_events(luck: Random, at: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    kind = block["type"]
    no_input: dict[str, Any] = {"input": {}}
    empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": no_input, "server_tool_use": no_input}
    pieces: list[dict[str, Any]] = []
    if kind == "text":
        pieces = [{"type": "text_delta", "text": piece} for piece in cut(luck, block["text"])]
    elif kind == "thinking":
        pieces = [{"type": "thinking_delta", "thinking": piece} for piece in cut(luck, block["thinking"])]
        pieces.append({"type": "signature_delta", "signature": block["signature"]})
    elif kind in {"tool_use", "server_tool_use"} and block["input"]:
        pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in cut(luck, json.dumps(block["input"]))]
    return [
        {"type": "content_block_start", "index": at, "content_block": {**block, **empty.get(kind, {})}},
        *({"type": "content_block_delta", "index": at, "delta": piece} for piece in pieces),
        {"type": "content_block_stop", "index": at},
    ]


# Google, generateContent


def google_answer(luck: Random) -> tuple[dict[str, Any], bytes]:
    """An answer and the chunks of the same."""
    parts: list[dict[str, Any]] = []
    if luck.random() < 0.4:
        parts.append({"text": words(luck), "thought": True})
    parts += [{"text": words(luck)} for _ in range(luck.randint(1, 3))]
    made = calls(luck)
    parts += [{"functionCall": {"id": one, "name": name, "args": given}, "thoughtSignature": "c2ln"} for one, name, given in made]
    usage = {
        "promptTokenCount": luck.randint(1, 99), "candidatesTokenCount": luck.randint(1, 99), "thoughtsTokenCount": luck.choice([0, 3]),
        "cachedContentTokenCount": luck.choice([0, 1]),
    }  # fmt: skip
    about = {"modelVersion": "gemini-2.5-flash", "responseId": f"r{luck.randint(0, 99)}"}
    finish = luck.choice(["STOP", "STOP", "MAX_TOKENS"]) if not made else "STOP"

    def answer(some: list[dict[str, Any]], *, is_last: bool) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": some, "role": "model"}, "index": 0}
        return {"candidates": [candidate | ({"finishReason": finish} if is_last else {})], "usageMetadata": usage, **about}

    pieces: list[dict[str, Any]] = []
    for part in parts:
        pieces += [{**part, "text": piece} for piece in cut(luck, part["text"])] if "text" in part else [part]
    events = [answer([piece], is_last=at == len(pieces) - 1) for at, piece in enumerate(pieces)]
    return answer(parts, is_last=True), framed(events)
