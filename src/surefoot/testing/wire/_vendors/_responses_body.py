"""OpenAI's Responses API, typed: what arrives at /responses, and its translation into an `Ask`."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from surefoot.testing.wire._model._brain import REASONING_TOKENS, Ask, PlainMessage, PlainTool
from surefoot.testing.wire._model._draft import Rejection
from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._vendors._openai_body import TOOL_NAME, check_strict

KNOWN = frozenset({
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "max_output_tokens",
    "temperature", "top_p", "stream", "stream_options", "store", "include", "metadata", "previous_response_id", "user",
    "service_tier", "truncation", "top_logprobs", "prompt_cache_key", "safety_identifier", "max_tool_calls", "background", "prompt",
    "conversation",
})  # fmt: skip
THINKERS = ("o1", "o3", "o4", "gpt-5", "gpt-6")
ENCRYPTED = "reasoning.encrypted_content"
SERVER_SIDE = ("web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp")


class ResponsesBody(msgspec.Struct):
    """The body of POST /responses, the parts that matter."""

    model: str
    input: str | list[Json]
    instructions: str | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    text: Json | None = None
    reasoning: Json | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    store: bool | None = None
    include: list[str] | None = None

    @property
    def encrypts(self) -> bool:
        """Whether thoughts are to come back encrypted."""
        return ENCRYPTED in (self.include or ())

    @property
    def summarises(self) -> bool:
        """Whether thoughts are to be summed up."""
        return bool((self.reasoning or {}).get("summary"))


def sealed(item_id: str) -> str:
    """The encrypted thoughts of an item: what only this server could have written."""
    return f"gAAAA{blake2b(item_id.encode(), digest_size=24).hexdigest()}"


def to_ask(body: ResponsesBody, *, fields: frozenset[str], strict: bool) -> Ask:
    """The request without OpenAI's dress. Raises Rejection(400) for what the API refuses, where `strict`."""
    if strict:
        _check(body, fields)
    ask = Ask(model=body.model, turns=[])
    if body.instructions:
        ask.turns.append(PlainMessage(role="system", text=body.instructions))
    items = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input
    if strict:
        _check_order(items)
    names: dict[str, str] = {}
    for item in items:
        _turn(ask, item, names)
    _offer(ask, body)
    _shape(ask, body)
    ask.max_tokens = body.max_output_tokens
    ask.stream = bool(body.stream)
    effort = (body.reasoning or {}).get("effort")
    if effort is not None:
        ask.reasoning = REASONING_TOKENS.get(effort, 64)
    return ask


def _turn(ask: Ask, item: Json, names: dict[str, str]) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        role = "system" if item["role"] == "developer" else item["role"]
        text = _text(ask, item.get("content"))
        last = ask.turns[-1] if ask.turns else None
        if role == "assistant" and last is not None and last.role == "assistant" and not last.calls:
            last.text += text
        else:
            ask.turns.append(PlainMessage(role=role, text=text))  # type: ignore[arg-type]
    elif kind in {"function_call", "custom_tool_call"}:
        names[item["call_id"]] = item["name"]
        last = ask.turns[-1] if ask.turns else None
        if last is not None and last.role == "assistant":
            last.calls = (*last.calls, item["name"])
        else:
            ask.turns.append(PlainMessage(role="assistant", calls=(item["name"],)))
    elif kind in {"function_call_output", "custom_tool_call_output"}:
        text = _text(ask, item["output"])
        failed = text.lower().lstrip().startswith("error")
        ask.turns.append(PlainMessage(role="tool", text=text, tool=names.get(item["call_id"], ""), failed=failed))


def _text(ask: Ask, content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    kinds = [part.get("type") for part in content]
    ask.images += kinds.count("input_image")
    ask.files += kinds.count("input_file")
    return "\n".join(part.get("text") or part.get("refusal") or "" for part in content if part.get("text") or part.get("refusal"))


def _offer(ask: Ask, body: ResponsesBody) -> None:
    functions = [tool for tool in body.tools or () if tool.get("type") in {"function", "custom"}]
    for tool in functions:
        schema = tool.get("parameters") or (
            {"type": "object"} if tool["type"] == "function" else {"properties": {"input": {"type": "string"}}}
        )
        ask.tools.append(PlainTool(name=tool["name"], description=tool.get("description") or "", schema=schema))
    if body.tools:
        ask.extra_text = msgspec.json.encode(body.tools).decode()
    ask.parallel = body.parallel_tool_calls is not False
    choice = body.tool_choice
    if isinstance(choice, dict):
        choice = str(choice.get("name") or "auto")
        if choice != "auto" and choice not in {tool.name for tool in ask.tools}:
            raise Rejection(400, "bad_request", f"Tool choice '{choice}' not found in 'tools' parameter.")
    ask.choice = {"required": "any", None: "auto"}.get(choice, choice or "auto")


def _shape(ask: Ask, body: ResponsesBody) -> None:
    form = (body.text or {}).get("format") or {}
    kind = form.get("type", "text")
    if kind == "json_schema":
        schema = form.get("schema")
        if not isinstance(schema, dict):
            raise Rejection(400, "bad_request", "Missing required parameter: 'text.format.schema'.")
        if form.get("strict"):
            check_strict(schema, where=f"response_format '{form.get('name', '')}'")
        ask.schema = schema
    elif kind == "json_object":
        if "json" not in ask.prompt.lower():
            message = "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'."
            raise Rejection(400, "bad_request", message)
        ask.json_mode = True
    elif kind != "text":
        raise Rejection(400, "bad_request", f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.")


def _check(body: ResponsesBody, fields: frozenset[str]) -> None:
    unknown = sorted(fields - KNOWN)
    if unknown:
        raise Rejection(400, "bad_request", f"Unknown parameter: '{unknown[0]}'.")
    if body.encrypts and not body.model.startswith(THINKERS):
        raise Rejection(400, "bad_request", "Encrypted content is not supported with this model.")
    for number, tool in enumerate(body.tools or ()):
        if "function" in tool:
            raise Rejection(400, "bad_request", f"Missing required parameter: 'tools[{number}].name'.")
        if tool.get("type") == "function":
            if not TOOL_NAME.fullmatch(tool["name"]):
                message = f"Invalid 'tools[{number}].name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
                raise Rejection(400, "bad_request", message)
            if tool.get("strict"):  # left out, the API itself makes the schema a strict one
                check_strict(tool.get("parameters") or {}, where=f"function '{tool['name']}'")


def _check_order(items: list[Json]) -> None:
    """Each call is answered, each result answers a call, thoughts stand before what they led to, and are this server's own."""
    calls = {item["call_id"] for item in items if item.get("type") in {"function_call", "custom_tool_call"}}
    results = {item["call_id"] for item in items if item.get("type") in {"function_call_output", "custom_tool_call_output"}}
    if lost := sorted(results - calls):
        raise Rejection(400, "bad_request", f"No tool call found for function call output with call_id {lost[0]}.")
    if left := sorted(calls - results):
        raise Rejection(400, "bad_request", f"No tool output found for function call {left[0]}.")
    seen: set[str] = set()
    for at, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "reasoning":
            _check_thoughts(item, items[at + 1] if at + 1 < len(items) else None)
            seen.add(item["id"].removeprefix("rs_"))
        elif kind == "item_reference":
            raise Rejection(
                404, "not_found", f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false."
            )
        elif kind == "function_call":
            number = _thought_of(item["call_id"])
            if number and number not in seen:
                message = (
                    f"Item '{item.get('id', item['call_id'])}' of type 'function_call' was provided without its required 'reasoning' item: "
                )
                raise Rejection(400, "bad_request", f"{message}'rs_{number}'.")
        elif kind == "message":
            wrong = _wrong_part(item)
            if wrong:
                raise Rejection(400, "bad_request", f"Invalid value: '{wrong}' at input[{at}].content.")


def _wrong_part(item: Json) -> str:
    known = {"output_text", "refusal"} if item["role"] == "assistant" else {"input_text", "input_image", "input_file"}
    content = item.get("content")
    return next((str(part.get("type")) for part in content if part.get("type") not in known), "") if isinstance(content, list) else ""


def _check_thoughts(item: Json, following: Json | None) -> None:
    if item.get("encrypted_content") != sealed(str(item.get("id"))):
        message = f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false."
        raise Rejection(404, "not_found", message)
    if following is None or (
        following.get("type", "message") not in {"message", "function_call", "custom_tool_call", "reasoning"}
        and not str(following.get("type")).endswith("_call")
    ):
        raise Rejection(400, "bad_request", f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.")


def _thought_of(call_id: str) -> str:
    """The number of the answer that a call belongs to, if there were thoughts before it: it stands in the call's id."""
    number, mark, _ = call_id.removeprefix("call_").partition("_rs_")
    return number if mark else ""
