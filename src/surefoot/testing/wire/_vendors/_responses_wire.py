"""OpenAI's Responses API: its answers, events, and the ways they can be spoiled."""

from __future__ import annotations

from collections.abc import Callable

from surefoot.testing.wire._model._brain import Counts, PlainAnswer, pieces
from surefoot.testing.wire._model._draft import Draft, WireEvent
from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._vendors._openai_wire import CREATED
from surefoot.testing.wire._vendors._responses_body import SERVER_SIDE, ResponsesBody, sealed

SORRY = "I'm sorry, I can't assist with that."
FINISH = {"length": "max_output_tokens"}  # why an answer is incomplete


def usage(counts: Counts) -> Json:
    """The API's usage object; details are parts of the totals."""
    return {
        "input_tokens": counts.input, "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
        "output_tokens": counts.output, "output_tokens_details": {"reasoning_tokens": counts.reasoning}, "total_tokens": counts.total,
    }  # fmt: skip


def items_of(said: PlainAnswer, counts: Counts, body: ResponsesBody, *, number: str) -> list[Json]:
    """The items of an answer: thoughts, what the server searched for, words, calls."""
    found: list[Json] = []
    thinks = bool(counts.reasoning or said.reasoning)
    if thinks:
        found.append(_thoughts(said, body, number))
    found += [_searched(tool["type"], number) for tool in body.tools or () if tool.get("type") in SERVER_SIDE]
    if said.finish == "refusal":
        found.append(_message(number, [{"type": "refusal", "refusal": said.text or SORRY}]))
    elif said.text or not said.calls:
        found.append(_message(number, [{"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}]))
    mark = "_rs_" if thinks else "_"
    custom = {tool["name"] for tool in body.tools or () if tool.get("type") == "custom"}
    for at, call in enumerate(said.calls):
        about = {"id": f"fc_{number}_{at}", "call_id": f"call_{number}{mark}{at}", "name": call.name, "status": "completed"}
        if call.name in custom:
            found.append({"type": "custom_tool_call", **about, "input": call.arguments})
        else:
            found.append({"type": "function_call", **about, "arguments": call.arguments})
    return found


def _thoughts(said: PlainAnswer, body: ResponsesBody, number: str) -> Json:
    summary = [{"type": "summary_text", "text": said.reasoning}] if body.summarises and said.reasoning else []
    item: Json = {"type": "reasoning", "id": f"rs_{number}", "summary": summary}
    if body.encrypts:
        item["encrypted_content"] = sealed(item["id"])
    return item


def _searched(kind: str, number: str) -> Json:
    plain = kind.removesuffix("_preview")
    item: Json = {"type": f"{plain}_call", "id": f"{plain[:2]}_{number}", "status": "completed"}
    if plain == "web_search":
        item["action"] = {"type": "search", "query": "cooldown"}
    return item


def _message(number: str, content: list[Json]) -> Json:
    return {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": content}


def response(items: list[Json], said: PlainAnswer, counts: Counts, body: ResponsesBody, *, number: str) -> Json:
    """A response object."""
    why = FINISH.get(said.finish)
    if why is not None:
        items = [*items[:-1], items[-1] | {"status": "incomplete"}]
    return {
        **frame(body, number), "status": "incomplete" if why else "completed", "output": items, "usage": usage(counts),
        "incomplete_details": {"reason": why} if why else None, "completed_at": CREATED,
    }  # fmt: skip


def frame(body: ResponsesBody, number: str) -> Json:
    """What every event about the response repeats of it; what is null or the default is left out, so that streams stay short."""
    return {
        "id": f"resp_{number}", "object": "response", "created_at": CREATED, "status": "in_progress", "error": None, "model": body.model,
        "output": [], "parallel_tool_calls": body.parallel_tool_calls is not False, "store": body.store is not False,
        "tool_choice": body.tool_choice or "auto", "tools": [],
    }  # fmt: skip


class _Events:
    """Events in the making, numbered."""

    def __init__(self) -> None:
        self.made: list[WireEvent] = []

    def add(self, kind: str, *, tokens: int = 0, **fields: object) -> None:
        data: Json = {"type": kind, "sequence_number": len(self.made), **fields}
        self.made.append(WireEvent(data, kind, tokens))


def events(items: list[Json], whole: Json, counts: Counts, body: ResponsesBody, *, number: str) -> list[WireEvent]:
    """The events of a streamed answer, the one that ends it included."""
    made = _Events()
    begun = frame(body, number)
    made.add("response.created", response=begun)
    made.add("response.in_progress", response=begun)
    for at, item in enumerate(items):
        _item(made, at, item, counts)
    made.add(f"response.{whole['status']}", response=whole)
    return made.made


def _item(made: _Events, at: int, item: Json, counts: Counts) -> None:
    where = {"output_index": at, "item_id": item["id"]}
    kind = item["type"]
    if kind == "reasoning":
        made.add("response.output_item.added", output_index=at, item={**item, "summary": []}, tokens=counts.reasoning)
        for place, part in enumerate(item["summary"]):
            about = {**where, "summary_index": place}
            made.add("response.reasoning_summary_part.added", **about, part={"type": "summary_text", "text": ""})
            for piece in pieces(part["text"]):
                made.add("response.reasoning_summary_text.delta", **about, delta=piece)
            made.add("response.reasoning_summary_text.done", **about, text=part["text"])
            made.add("response.reasoning_summary_part.done", **about, part=part)
    elif kind == "message":
        made.add("response.output_item.added", output_index=at, item={**item, "status": "in_progress", "content": []})
        for place, part in enumerate(item["content"]):
            _part(made, {**where, "content_index": place}, part)
    elif kind == "function_call":
        made.add("response.output_item.added", output_index=at, item={**item, "arguments": "", "status": "in_progress"}, tokens=2)
        for piece in pieces(item["arguments"]):
            made.add("response.function_call_arguments.delta", **where, delta=piece, tokens=1)
        made.add("response.function_call_arguments.done", **where, arguments=item["arguments"])
    elif kind == "custom_tool_call":
        made.add("response.output_item.added", output_index=at, item={**item, "input": "", "status": "in_progress"}, tokens=2)
        for piece in pieces(item["input"]):
            made.add("response.custom_tool_call_input.delta", **where, delta=piece, tokens=1)
        made.add("response.custom_tool_call_input.done", **where, input=item["input"])
    else:
        made.add("response.output_item.added", output_index=at, item={**item, "status": "in_progress"})
        made.add(f"response.{kind}.in_progress", **where)
        made.add(f"response.{kind}.completed", **where)
    made.add("response.output_item.done", output_index=at, item=item)


def _part(made: _Events, where: Json, part: Json) -> None:
    if part["type"] == "refusal":
        made.add("response.content_part.added", **where, part={"type": "refusal", "refusal": ""})
        for piece in pieces(part["refusal"]):
            made.add("response.refusal.delta", **where, delta=piece, tokens=1)
        made.add("response.refusal.done", **where, refusal=part["refusal"])
    else:
        made.add("response.content_part.added", **where, part={**part, "text": ""})
        for piece in pieces(part["text"]):
            made.add("response.output_text.delta", **where, delta=piece, logprobs=[], tokens=1)
        made.add("response.output_text.done", **where, text=part["text"], logprobs=[])
    made.add("response.content_part.done", **where, part=part)


# Spoiling


def error_event() -> WireEvent:
    """An `error` event that says overloaded."""
    data: Json = {"type": "error", "sequence_number": 7, "code": "server_error", "message": "The server is overloaded.", "param": None}
    return WireEvent(data, "error")


def _body(draft: Draft) -> list[Json]:
    """The response objects of a draft that hold the answer."""
    if draft.events is None:
        return [draft.payload]
    last = draft.events[-1].data
    return [last["response"]] if isinstance(last, dict) and "response" in last else []


def _answer_null(draft: Draft) -> None:
    draft.payload["output"] = None


def _answer_empty(draft: Draft) -> None:
    draft.payload = {"object": "response"}


def _error_in_200(draft: Draft) -> None:
    draft.payload |= {"status": "failed", "output": [], "error": {"code": "server_error", "message": "The server had an error."}}
    draft.counts = Counts()


def _no_text(draft: Draft) -> None:
    for body in _body(draft):
        body["output"] = []
    if draft.events is not None:
        draft.events = [*draft.events[:2], draft.events[-1]]


def _broken_arguments(draft: Draft) -> None:
    for body in _body(draft):
        for item in body["output"]:
            if item["type"] == "function_call":
                item["arguments"] = item["arguments"][:-1] + ',"'
    for event in draft.events or ():
        data = event.data
        if isinstance(data, dict) and data["type"] == "response.function_call_arguments.delta" and data["delta"].endswith("}"):
            data["delta"] = data["delta"][:-1] + ',"'


def _refusal(draft: Draft) -> None:
    item = {
        "type": "message",
        "id": "msg_r",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "refusal", "refusal": SORRY}],
    }
    for body in _body(draft):
        body["output"] = [item]
    if draft.events is not None:
        made = _Events()
        made.made = draft.events[:2]
        _item(made, 0, item, Counts())
        draft.events = [*made.made, draft.events[-1]]


def _no_terminal(draft: Draft) -> None:
    draft.events = (draft.events or [])[:-1]


def _duplicate_usage(draft: Draft) -> None:
    events = draft.events or []
    draft.events = [*events, events[-1]]


def _queued_first(draft: Draft) -> None:
    events = draft.events or []
    first = events[0].data
    if isinstance(first, dict):
        draft.events = [WireEvent({**first, "type": "response.queued"}, "response.queued"), *events]


SPOILERS: dict[str, Callable[[Draft], None]] = {
    "answer_null": _answer_null, "answer_empty": _answer_empty, "error_in_200": _error_in_200, "empty_completion": _no_text,
    "malformed_tool_json": _broken_arguments, "refusal": _refusal, "no_terminal": _no_terminal, "duplicate_usage": _duplicate_usage,
    "empty_first_chunk": _queued_first,
}  # fmt: skip
