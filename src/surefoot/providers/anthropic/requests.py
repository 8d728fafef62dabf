"""The Anthropic Messages API: our records to its JSON. Pure functions; nothing is sent here.

What it lacks is made up for where that is honest and left out where it is not: JSON schemas go natively or through a forced tool, an effort
becomes a thinking budget on models that know no effort, a seed has no place. Source: the Messages API reference; which model takes what
stands in `_anthropic_facts`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot.errors import Unsupported
from surefoot.providers._parameters import bounded_tokens, nearest_effort, note
from surefoot.providers.anthropic.facts import SAMPLING, AnthropicModelFacts, model_of
from surefoot.providers.http.body import Fields, base64_text, encoded, image_type, own_tool, raw
from surefoot.text import cached_if_short
from surefoot.types import ChatRequest, File, Image, Message, Opaque, Part, Reasoning, Schema, Text, Tool, ToolCall, clean, is_for

MAX_TOKENS = 8192  # the field is required: so much, or what the model may write at most; the caller's own limit comes first
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_000, "max": 32_000}
LEAST_BUDGET = 1024  # tokens; the API refuses less
MARKS = 4  # cache breakpoints of one request; the API refuses more
EPHEMERAL = {"type": "ephemeral"}
FOREIGN_SEALS = ("google:",)  # how other providers of ours mark a thought's seal; theirs would be refused as a corrupt one
ANY_OBJECT = '{"type":"object","additionalProperties":true}'
NAMED, NESTED = {"properties", "$defs", "definitions"}, {"items", "prefixItems", "anyOf", "oneOf", "allOf"}  # where schemas stand


class AnthropicDialect(Struct, frozen=True, kw_only=True):
    """What may differ by target: tokens to write at most where the request says none; `sampling` as for OpenAI targets."""

    target: str
    max_tokens: int = MAX_TOKENS
    sampling: bool | None = None


class AnthropicBody(Struct, frozen=True):
    """A request's bytes, and the name of the tool whose arguments are the answer ("" if none is)."""

    data: bytes
    answer_tool: str = ""


def chat_body(
    request: ChatRequest, model: str, *, stream: bool, dialect: AnthropicDialect, left_out: list[str] | None = None
) -> AnthropicBody:
    """The body of POST /v1/messages. What the model refuses is not sent; `left_out` is given the names of what had a meaning.

    Raises Unsupported for parts the API does not carry and for a conversation that the model cannot go on with, Misconfigured for schemas
    or extras that are no JSON, BadRequest for text that is no Unicode and for an effort that is none.
    """
    model = request.model or model
    row = model_of(model)
    _check_end(request, model, row, dialect.target)
    body: Fields = {"model": model, "max_tokens": 0, "messages": []}
    marks = [message for message in request.messages if message.cache][-MARKS:]
    _conversation(body, request, dialect.target, marks)
    stops = [stop for stop in request.stop if stop.strip()]  # blank ones are refused
    if stops:
        body["stop_sequences"] = stops
    if len(stops) < len(request.stop):
        note(left_out, "stop")
    if request.seed is not None:
        note(left_out, "seed")  # the API has none
    answer_tool = _answer_shape(body, request, row)
    if not answer_tool:
        _tools(body, request, dialect.target, row, left_out)
    _thinking(body, request, row, dialect, left_out)
    _sampling(body, request, row, dialect, left_out)
    if stream:
        body["stream"] = True
    return AnthropicBody(encoded(body, request.extra, dialect.target), answer_tool)


def _check_end(request: ChatRequest, model: str, row: AnthropicModelFacts, target: str) -> None:
    """Raise Unsupported (nothing is sent) for a conversation that ends with the model's own words, where it does not go on with them."""
    last = request.messages[-1] if request.messages else None
    if row.begun or last is None or last.role != "assistant" or last.tool_calls or not last.text.strip():
        return
    raise Unsupported(
        f"{target}: the last message is the assistant's, and {model} does not go on with an answer that was begun; end with a user's "
        "message that says how to go on, or give a schema for the answer's form; nothing was sent"
    )


def _sampling(body: Fields, request: ChatRequest, row: AnthropicModelFacts, dialect: AnthropicDialect, left_out: list[str] | None) -> None:
    """Temperature or top_p, where the model takes it; one that thinks by a number of tokens takes neither."""
    thinks = body.get("thinking", {}).get("type") == "enabled"
    refused = SAMPLING if thinks else row.refused
    if dialect.sampling is not None:
        refused = frozenset() if dialect.sampling else SAMPLING
    elif row.one_of_two and request.temperature is not None:
        refused = refused | {"top_p"}
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        if value is None:
            continue
        if name in refused:
            if value != 1:  # the API's own default
                note(left_out, name)
        elif name == "temperature" and value > 1 and not dialect.sampling:  # the API's ceiling
            note(left_out, name)
            body[name] = 1.0
        else:
            body[name] = value


def _thinking(body: Fields, request: ChatRequest, row: AnthropicModelFacts, dialect: AnthropicDialect, left_out: list[str] | None) -> None:
    """An effort as the model knows it: as such, as a number of tokens, or not at all; and the answer's limit, of which thinking is a part.

    Where the caller sets no limit, the thinking's room comes on top of the answer's, up to the model's own limit.
    """
    thought = 0  # tokens, about
    effort = request.reasoning_effort
    is_forced = body.get("tool_choice", {}).get("type") in {"tool", "any"}  # the API refuses to think before a forced tool
    if row.thinking == "adaptive":
        thought = _by_effort(body, effort, row, is_forced=is_forced, target=dialect.target, left_out=left_out)
    elif effort and effort != "none":
        if row.thinking == "no" or is_forced:
            note(left_out, "reasoning_effort")
        else:
            thought = _tokens_of(effort, model=body["model"], target=dialect.target, left_out=left_out)
    asked = bounded_tokens(request.max_tokens, row.output, left_out)
    answer_tokens = dialect.max_tokens + thought
    limit = body["max_tokens"] = asked or min(answer_tokens, row.output or answer_tokens)
    if row.thinking == "budget" and thought:
        budget = min(thought, limit // 2 if asked else limit - min(dialect.max_tokens, limit // 2))
        if budget >= LEAST_BUDGET:
            body["thinking"] = {"type": "enabled", "budget_tokens": budget}
        else:
            note(left_out, "reasoning_effort")


def _by_effort(body: Fields, effort: str, row: AnthropicModelFacts, *, is_forced: bool, target: str, left_out: list[str] | None) -> int:
    """Ask for an effort by its word. Returns about how many tokens the model will think."""
    if effort == "none" and row.off:
        body["thinking"] = {"type": row.off}
        return 0
    if effort:
        if row.efforts is None:
            effort = "low" if effort == "minimal" else effort
        else:
            effort = nearest_effort(effort, row.efforts, target=target, model=body["model"], left_out=left_out)
        body.setdefault("output_config", {})["effort"] = effort
        if not is_forced:
            body["thinking"] = {"type": "adaptive"}
    elif not row.thinks:
        return 0
    return 0 if is_forced or row.output is None else BUDGETS.get(effort, BUDGETS["high"])


def _tokens_of(effort: str, *, model: str, target: str, left_out: list[str] | None) -> int:
    """How many tokens the model shall think; an effort that is a number is taken as one."""
    if effort.isdecimal():
        return int(effort)
    return BUDGETS[nearest_effort(effort, tuple(BUDGETS), target=target, model=model, left_out=left_out)]


def _answer_shape(body: Fields, request: ChatRequest, row: AnthropicModelFacts) -> str:
    """Ask for the schema: natively where model and schema allow it, else by forcing a tool, whose name is returned.

    Beside tools of the caller's own the native way is the only one: a forced tool would shut theirs out. Objects that do not say whether
    they are closed are closed then: what fits the closed schema fits the open one.
    """
    schema = request.schema
    if schema is None:
        return ""
    is_native = row.schemas and is_closed(schema.schema)
    if schema.schema and (is_native or request.tools or not row.forced_tools):
        shape = schema.schema if is_native else closed(schema.schema)
        body["output_config"] = {"format": {"type": "json_schema", "schema": raw(shape, f"schema {schema.name!r}")}}
        return ""
    if request.tools or not row.forced_tools:
        beside = "beside tools" if request.tools else "for this model"
        raise Unsupported(f"Anthropic has no JSON mode {beside}; give a schema, or ask for JSON in words; nothing was sent")
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", schema.name)[:64] or "answer"
    body["tools"] = [_answer_tool(name, schema)]
    body["tool_choice"] = {"type": "tool", "name": name}
    return name


def _answer_tool(name: str, schema: Schema) -> Fields:
    parameters = schema.schema or ANY_OBJECT
    return {
        "name": name,
        "description": "Give the answer: its arguments are the answer.",
        "input_schema": raw(parameters, f"schema {schema.name!r}"),
    }


@cached_if_short(64)
def is_closed(schema: str) -> bool:
    """Whether every object of a JSON schema forbids further properties, as the native way demands."""

    def says_so(part: Any) -> bool:
        if isinstance(part, list):
            return all(says_so(item) for item in part)
        if not isinstance(part, dict):
            return True
        is_object = part.get("type") == "object" or "properties" in part
        return (not is_object or part.get("additionalProperties") is False) and all(says_so(value) for value in part.values())

    return bool(schema) and says_so(msgspec.json.decode(raw(schema, "the schema")))


@cached_if_short(64)
def closed(schema: str) -> str:
    """A JSON schema with its objects closed. Raises Unsupported where one asks for keys without names (a dict[str, ...])."""

    def close(part: Any) -> Any:
        if isinstance(part, list):
            return [close(item) for item in part]
        if not isinstance(part, dict):
            return part
        found = {
            word: {name: close(one) for name, one in value.items()} if word in NAMED else close(value) if word in NESTED else value
            for word, value in part.items()
        }
        is_object = found.get("type") == "object" or "properties" in found
        if is_object and found.setdefault("additionalProperties", False) is not False:
            raise Unsupported("beside tools Anthropic takes no schema with keys of any name; name them, or ask by a tool of your own")
        return found

    return msgspec.json.encode(close(msgspec.json.decode(raw(schema, "the schema")))).decode()


def _tool(tool: Tool, target: str) -> Fields | Raw:
    return own_tool(tool, "anthropic", target) or {
        "name": tool.name,
        **({"description": clean(tool.description)} if tool.description else {}),
        "input_schema": raw(tool.parameters, f"the parameters of tool {tool.name!r}"),
        **({"strict": tool.strict} if tool.strict is not None else {}),
    }


def _tools(body: Fields, request: ChatRequest, target: str, row: AnthropicModelFacts, left_out: list[str] | None) -> None:
    """The tools, and which of them may be called. Of models that cannot be forced, the one tool wanted is all that they are given."""
    if not request.tools:
        return
    tools = request.tools
    choice = request.tool_choice
    if not row.forced_tools and choice not in {"", "auto", "none"}:
        tools = tuple(tool for tool in tools if tool.name == choice) or tools
        choice = "auto"
        note(left_out, "tool_choice")
    body["tools"] = [_tool(tool, target) for tool in tools]
    named: Fields = {"type": {"required": "any", "": "auto"}.get(choice, choice)}
    if choice not in {"", "auto", "none", "required"}:
        named = {"type": "tool", "name": choice}
    if request.parallel_tool_calls is not None and choice != "none":
        named["disable_parallel_tool_use"] = not request.parallel_tool_calls
    if choice or request.parallel_tool_calls is not None:
        body["tool_choice"] = named


def _conversation(body: Fields, request: ChatRequest, target: str, marks: list[Message]) -> None:
    """System texts apart, tool results as the user's, neighbours of one role as one turn: the API wants turns to alternate."""
    system: list[Fields] = []
    turns: list[Fields] = body["messages"]
    for message in request.messages:
        blocks: list[Fields] = [{"type": "text", "text": clean(message.text)}] if message.role == "system" else _blocks(message, target)
        blocks = [block for block in blocks if block.get("type") != "text" or block["text"].strip()]  # blank texts are refused
        if not blocks:
            continue
        if any(message is one for one in marks):
            blocks[-1]["cache_control"] = EPHEMERAL
        role = "assistant" if message.role == "assistant" else "user"
        if message.role == "system":
            system += blocks
        elif turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if system:
        body["system"] = system
    if turns and turns[-1]["role"] == "assistant" and turns[-1]["content"][-1]["type"] == "text":
        last = turns[-1]["content"][-1]
        last["text"] = last["text"].rstrip()  # the beginning of an answer must not end in white space


def _blocks(message: Message, target: str) -> list[Fields]:
    if message.role == "tool":
        result: Fields = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        inner = [block for part in message.parts for block in _part(part, target)]
        if inner:
            result["content"] = inner
        if message.is_error:
            result["is_error"] = True
        return [result]
    thinks = message.role == "assistant"
    blocks = [block for part in message.parts if thinks or not isinstance(part, Reasoning) for block in _part(part, target)]
    return blocks + [_called(call) for call in message.tool_calls]


def _called(call: ToolCall) -> Fields:
    """A call the model made. Arguments that are no JSON object cannot be sent as such: they go as the text they are."""
    try:
        call.parsed()
    except (ValueError, RecursionError):
        return {"type": "tool_use", "id": call.id, "name": call.name, "input": {"not_json": clean(call.arguments)}}
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": Raw((call.arguments or "{}").encode())}


def _part(part: Part, target: str) -> list[Fields]:
    if isinstance(part, Text):
        return [{"type": "text", "text": clean(part.text)}]
    if isinstance(part, Reasoning):
        return _thoughts(part)
    if isinstance(part, Opaque):
        return [part.value()] if is_for(part.vendor, "anthropic") else []
    if isinstance(part, Image):
        return [{"type": "image", "source": _picture(part, target)}]
    assert isinstance(part, File)
    return [_document(part, target)]


def _picture(part: Image, target: str) -> Fields:
    if not part.url:
        return _inline(base64_text(part.data), part.media_type or image_type(part.data, target))
    if not part.url.startswith("data:"):
        return {"type": "url", "url": part.url}
    head, _, data = part.url[5:].partition(",")
    return _inline(data, head.partition(";")[0])


def _document(part: File, target: str) -> Fields:
    if part.media_type.startswith("image/"):
        return {"type": "image", "source": _inline(base64_text(part.data), part.media_type)}
    if part.media_type == "application/pdf":
        source = _inline(base64_text(part.data), part.media_type)
    elif part.media_type.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": part.data.decode("utf-8", "replace")}
    else:
        raise Unsupported(f"{target}: {part.media_type} cannot be sent to this model; it reads pictures, PDF and plain text")
    return {"type": "document", "source": source, **({"title": part.name} if part.name else {})}


def _inline(data: str, media_type: str) -> Fields:
    return {"type": "base64", "media_type": media_type, "data": data}


def _thoughts(part: Reasoning) -> list[Fields]:
    """Thinking blocks as they came. A thought without a seal, or with another vendor's, is refused by the API: it is left out."""
    seal = part.signature
    if not seal or seal.startswith(FOREIGN_SEALS):
        return []
    if not seal.startswith("["):
        return [{"type": "thinking", "thinking": part.text, "signature": seal}]
    try:
        blocks = msgspec.json.decode(seal, type=list[dict[str, Any]])  # several blocks, sealed one by one: see _anthropic_read.sealed
    except (ValueError, RecursionError):
        return []
    return blocks if all(block.get("type") in {"thinking", "redacted_thinking"} for block in blocks) else []
