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

from surefoot.core.tool_dicts import ANTHROPIC_WORDS
from surefoot.errors import Unsupported
from surefoot.providers._parameters import bounded_tokens, nearest_effort, note
from surefoot.providers.anthropic.caching import mark_stable
from surefoot.providers.anthropic.facts import SAMPLING, AnthropicModelFacts, model_of
from surefoot.providers.anthropic.messages import conversation
from surefoot.providers.http.body import Fields, encoded, fields, own_tool, raw
from surefoot.text import cached_if_short
from surefoot.types import ChatRequest, Schema, Tool, clean

MAX_TOKENS = 8192  # the field is required: so much, or what the model may write at most; the caller's own limit comes first
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_000, "max": 32_000}
LEAST_BUDGET = 1024  # tokens; the API refuses less
SHOWN = {"type": "adaptive", "display": "summarized"}  # thinking that is seen: a sign of life while it lasts
ANY_OBJECT = '{"type":"object","additionalProperties":true}'
NAMED, NESTED = {"properties", "$defs", "definitions"}, {"items", "prefixItems", "anyOf", "oneOf", "allOf"}  # where schemas stand


class AnthropicDialect(Struct, frozen=True, kw_only=True):
    """What may differ by target: its host; tokens to write at most where the request says none; `sampling` as for OpenAI targets."""

    target: str
    host: str = ""
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
    conversation(body, request, host=dialect.host, target=dialect.target, left_out=left_out)
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
    if request.prompt_cache:
        mark_stable(body, request.prompt_cache, request.extra)
    if stream:
        body["stream"] = True
        if row.thinks and row.hides and not _is_forced(body):
            body.setdefault("thinking", SHOWN)
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
    is_forced = _is_forced(body)
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


def _is_forced(body: Fields) -> bool:
    """Whether a tool must be called: the API refuses to think before it."""
    return body.get("tool_choice", {}).get("type") in {"tool", "any"}


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
            body["thinking"] = SHOWN if row.hides else {"type": "adaptive"}
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
        **(_words(tool) if tool.vendor == "openai" else {}),
    }


def _words(tool: Tool) -> dict[str, Raw]:
    """Anthropic's own words in a function of OpenAI's spelling."""
    given = fields(tool.raw)
    function = given.get("function")
    inner = fields(bytes(function).decode()) if function is not None else {}
    return {name: value for name, value in (given | inner).items() if name in ANTHROPIC_WORDS}


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
