"""The OpenAI protocol: our records to its JSON, and the request side of it only. Pure functions; nothing is sent here.

Schemas and extras are embedded as they were written, byte for byte: key order carries meaning for some models, and re-encoding costs more
than the call's own work. Source: the OpenAI API reference, "Create chat completion" and "Create embeddings".
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from surefoot.errors import Unsupported
from surefoot.facts import base_name
from surefoot.providers._parameters import bounded_tokens, check_stops, nearest_effort, note
from surefoot.providers.http.body import Fields, encoded, own_tool, raw
from surefoot.providers.openai.facts import AZURE_OTHERS, MODELS, MOST_STOPS, OTHER, SAMPLING, OpenAIModelFacts, model_of
from surefoot.providers.openai.messages import messages_of
from surefoot.types import ChatRequest, EmbedRequest, Schema, Tool, clean


class OpenAIDialect(Struct, frozen=True, kw_only=True):
    """What differs between servers of the protocol; `seed_field` to `tools`: see OPTIONS in `endpoint`.

    `host`: whose own fields of a conversation are given back. `rows`: the provider whose table says what its models take; "" for none.
    `max_tokens_field`: OpenAI's own models want `max_completion_tokens`, most others know only `max_tokens`; "": by the model.
    `stream_usage`: ask for usage at a stream's end. `sampling`: whether temperature and top_p may be sent; None: unless OpenAI's reasoning
    models refuse them. `refused`: parameters never to be sent. `base_model`: the model behind a deployment of another name. `prefixes`:
    put before each text to embed, for documents and for queries.
    """

    target: str
    host: str = ""
    is_openai: bool = False
    rows: str = ""
    max_tokens_field: str = ""
    stream_usage: bool = True
    sampling: bool | None = None
    refused: tuple[str, ...] = ()
    base_model: str = ""
    seed_field: str = "seed"
    names: bool = True
    strict_tools: bool = True
    schemas: Literal["schema", "object", "none"] = "schema"
    thinking: Literal["effort", "switch", "both"] = "effort"
    tools: bool = True
    document_prefix: str = ""
    query_prefix: str = ""

    @property
    def is_narrow(self) -> bool:
        """Whether the server takes less than the protocol has."""
        return not (self.names and self.strict_tools and self.tools and self.schemas == "schema")


def chat_body(request: ChatRequest, model: str, *, stream: bool, dialect: OpenAIDialect, left_out: list[str] | None = None) -> bytes:
    """The body of POST /chat/completions. What the model refuses is not sent; `left_out` is given the names of what had a meaning.

    Raises Unsupported for parts the protocol does not carry and for tools beside an effort that shuts them out, Misconfigured for schemas
    or extras that are no JSON, BadRequest for text that is no Unicode.
    """
    model = request.model or model
    base = request.model or dialect.base_model or model
    request = fitted(request, base, dialect, left_out)
    body: Fields = {"model": model, "messages": _messages(request, model, dialect, left_out)}
    settings: tuple[tuple[str, float | None], ...] = (
        (limit_field(base, dialect), request.max_tokens),
        (dialect.seed_field, request.seed),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
    )
    body.update({name: value for name, value in settings if value is not None})
    if request.stop:
        body["stop"] = request.stop
    if request.reasoning_effort:
        body.update(_thinking(request.reasoning_effort, dialect))
    if request.tools:
        _tools(body, request, dialect)
    if request.schema is not None:
        body["response_format"] = _shape(request.schema)
    if dialect.is_narrow:
        _narrow(body, request, dialect, left_out)
    if stream:
        body["stream"] = True
        if dialect.stream_usage:
            body["stream_options"] = {"include_usage": True}
    return encoded(body, request.extra, dialect.target)


def _messages(request: ChatRequest, model: str, dialect: OpenAIDialect, left_out: list[str] | None) -> list[Fields]:
    return messages_of(
        request, host=dialect.host, house=dialect.rows, model=model, target=dialect.target, is_openai=dialect.is_openai, left_out=left_out
    )  # fmt: skip


def row_of(model: str, dialect: OpenAIDialect) -> OpenAIModelFacts:
    """What `model` takes where the dialect's target is."""
    return model_of(model, dialect.rows or "openai") if dialect.is_openai or dialect.rows else OTHER


def limit_field(model: str, dialect: OpenAIDialect) -> str:
    """What the limit of an answer is called: OpenAI's own models have a word of their own, wherever they are served."""
    if dialect.max_tokens_field:
        return dialect.max_tokens_field
    is_theirs = not base_name(model).startswith(AZURE_OTHERS) if dialect.is_openai else row_of(model, dialect) in MODELS
    return "max_completion_tokens" if is_theirs else "max_tokens"


def _thinking(effort: str, dialect: OpenAIDialect) -> Fields:
    """An effort in the server's words."""
    if dialect.thinking == "effort" or (dialect.thinking == "both" and effort != "none"):
        return {"reasoning_effort": effort}
    return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}


def _narrow(body: Fields, request: ChatRequest, dialect: OpenAIDialect, left_out: list[str] | None) -> None:
    """Take out what the server does not know: names, `strict`, schemas. Raises Unsupported (nothing is sent) where that cannot be."""
    if not dialect.tools and request.tools:
        raise Unsupported(f"{dialect.target}: models there call no tools; ask another provider's for that; nothing was sent")
    if not dialect.names:
        named = [message for message in body["messages"] if message.pop("name", "")]
        if named:
            note(left_out, "name")
    if not dialect.strict_tools:
        strict = [tool["function"].pop("strict", None) for tool in body.get("tools", ()) if isinstance(tool, dict)]
        if True in strict:
            note(left_out, "strict")
    schema = request.schema
    if schema is None or dialect.schemas == "schema":
        return
    if dialect.schemas == "none":
        raise Unsupported(
            f"{dialect.target}: answers there are held to no form; ask for it by a tool of your own, or in words; nothing was sent"
        )
    body["response_format"] = {"type": "json_object"}
    if schema.schema:
        note(left_out, "schema")
        at = next((i for i, message in enumerate(body["messages"]) if message["role"] != "system"), len(body["messages"]))
        words = f"Answer with one JSON object that fits this JSON schema, and nothing else:\n{schema.schema}"
        body["messages"].insert(at, {"role": "system", "content": clean(words)})


def embed_body(request: EmbedRequest, model: str, *, dimensions: int | None, dialect: OpenAIDialect) -> bytes:
    """The body of POST /embeddings; vectors come back as base64 of float32, a third of the size of numbers in text."""
    prefix = dialect.query_prefix if request.role == "query" else dialect.document_prefix
    texts = [prefix + clean(text) for text in request.texts]
    body: Fields = {"model": model, "input": texts, "encoding_format": "base64"}
    if dimensions is not None:
        body["dimensions"] = dimensions
    return encoded(body, request.extra, dialect.target)


UNSET: dict[str, Any] = {
    "temperature": None, "top_p": None, "stop": (), "parallel_tool_calls": None, "seed": None, "max_tokens": None, "reasoning_effort": "",
}  # fmt: skip
WITHOUT_LOSS = {("temperature", 1), ("top_p", 1), ("parallel_tool_calls", True), ("parallel_tool_calls", False)}  # OpenAI's own defaults


def fitted(request: ChatRequest, model: str, dialect: OpenAIDialect, left_out: list[str] | None = None) -> ChatRequest:
    """`request` without what `model` answers with a 400, so that one setting serves a row of fallbacks; see `_openai_facts`.

    The names of what was left out and meant something are added to `left_out`. Models that refuse parallel_tool_calls call one tool at a
    time. Raises Unsupported (nothing is sent) for a model of another API and for tools that the model does not take, or not beside an
    effort; BadRequest for an effort that is none, and for more stop sequences than are taken.
    """
    row = row_of(model, dialect)
    if row.api != "chat":
        raise Unsupported(
            f"{dialect.target}: {model} answers in OpenAI's Responses API only, not in Chat Completions, which is spoken here; ask another "
            "model of the family; nothing was sent"
        )
    if dialect.is_openai:
        check_stops(() if "stop" in row.refused else request.stop, MOST_STOPS, target=dialect.target)
    asked = request.reasoning_effort
    effort = _effort(request, model, row, dialect, left_out)
    tokens = bounded_tokens(request.max_tokens, row.output, left_out)
    changes: dict[str, Any] = {} if effort == asked else {"reasoning_effort": effort}
    if tokens != request.max_tokens:
        changes["max_tokens"] = tokens
    refused = {*row.refused, *dialect.refused}
    if effort != "none" if effort else row.thinks:
        refused |= row.refused_thinking
    if dialect.sampling is not None:
        refused = refused - SAMPLING if dialect.sampling else refused | SAMPLING
    for name in refused & UNSET.keys():
        value = getattr(request, name)
        if value != UNSET[name]:
            changes[name] = UNSET[name]
            if (name, value) not in WITHOUT_LOSS:
                note(left_out, name)
    return replace(request, **changes) if changes else request


def _effort(request: ChatRequest, model: str, row: OpenAIModelFacts, dialect: OpenAIDialect, left_out: list[str] | None) -> str:
    """The effort as the model knows it, beside the tools asked for."""
    effort = request.reasoning_effort
    if effort and row.efforts == ("none",):  # it thinks or does not
        note(left_out, "reasoning_effort") if effort != "none" else None
        effort = "none" if effort == "none" else ""
    elif effort and row.efforts is not None and (row.efforts or effort != "none"):
        effort = nearest_effort(effort, row.efforts, target=dialect.target, model=model, left_out=left_out)
    elif row.efforts == ():
        effort = ""
    if not request.tools or row.tools == "any" or (effort == "none" and row.tools != "none"):
        return effort
    if row.tools == "none":
        raise Unsupported(
            f"{dialect.target}: {model} takes no function tools in Chat Completions: ask another model, or for an answer's form give a "
            "schema; nothing was sent"
        )
    if effort:
        raise Unsupported(
            f"{dialect.target}: {model} takes function tools in Chat Completions with reasoning_effort='none' only, not {effort!r}: "
            "leave the effort out, or ask another model"
        )
    if row.tools == "say_none":
        note(left_out, "reasoning_effort")
        return "none"
    return ""


def _tool(tool: Tool, dialect: OpenAIDialect) -> Fields | Raw:
    """A function; or a server's own tool, as it is. OpenAI's own Chat Completions knows none of its built-in tools."""
    own = own_tool(tool, "openai", dialect.target)
    if own is None:
        return {"type": "function", "function": _function(tool)}
    kind = msgspec.json.decode(own).get("type")
    if kind == "custom":  # the call of one is free text, which none of the frameworks could run
        raise Unsupported(f"{dialect.target}: tool {tool.name!r} takes free text; give it as a function with one text parameter")
    if dialect.is_openai and kind != "function":
        raise Unsupported(f"{dialect.target}: the tool {kind!r} exists in OpenAI's Responses API only, not in Chat Completions")
    return own


def _tools(body: Fields, request: ChatRequest, dialect: OpenAIDialect) -> None:
    body["tools"] = [_tool(tool, dialect) for tool in request.tools]
    choice = request.tool_choice
    if choice:
        body["tool_choice"] = choice if choice in {"auto", "none", "required"} else {"type": "function", "function": {"name": choice}}
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _shape(schema: Schema) -> Fields:
    if not schema.schema:
        return {"type": "json_object"}
    shape: Fields = {"name": schema.name, "schema": raw(schema.schema, f"schema {schema.name!r}")}
    if schema.strict is not None:
        shape["strict"] = schema.strict
    return {"type": "json_schema", "json_schema": shape}


def _function(tool: Tool) -> Fields:
    function: Fields = {"name": tool.name}
    if tool.description:
        function["description"] = clean(tool.description)
    function["parameters"] = raw(tool.parameters, f"the parameters of tool {tool.name!r}")
    if tool.strict is not None:
        function["strict"] = tool.strict
    return function
