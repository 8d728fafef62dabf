"""The OpenAI protocol: our records to its JSON, and the request side of it only. Pure functions; nothing is sent here.

Schemas and extras are embedded as they were written, byte for byte: key order carries meaning for some models, and re-encoding costs more
than the call's own work. Source: the OpenAI API reference, "Create chat completion" and "Create embeddings".
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from surefoot.core.tool_dicts import ANTHROPIC_WORDS
from surefoot.errors import Unsupported
from surefoot.providers._parameters import note
from surefoot.providers.http.body import Fields, encoded, own_tool, raw
from surefoot.providers.openai.dialect import OpenAIDialect
from surefoot.providers.openai.messages import messages_of
from surefoot.providers.openai.models import UNSET, fitted, limit_field
from surefoot.types import ChatRequest, EmbedRequest, Schema, Tool, clean

__all__ = ["UNSET", "OpenAIDialect", "chat_body", "embed_body"]


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


def embed_body(request: EmbedRequest, model: str, *, dimensions: int | None, dialect: OpenAIDialect, form: str = "base64") -> bytes:
    """The body of POST /embeddings. In the `form` "base64" vectors come back as float32, in "float" as numbers in text."""
    prefix = dialect.query_prefix if request.role == "query" else dialect.document_prefix
    texts = [prefix + clean(text) for text in request.texts]
    body: Fields = {"model": model, "input": texts, "encoding_format": form}
    if dimensions is not None:
        body["dimensions"] = dimensions
    return encoded(body, request.extra, dialect.target)


def _tool(tool: Tool, dialect: OpenAIDialect) -> Fields | Raw:
    """A function; or a server's own tool, as it is. OpenAI's own Chat Completions knows none of its built-in tools."""
    own = own_tool(tool, "openai", dialect.target)
    if own is None:
        return {"type": "function", "function": _function(tool)}
    kind = msgspec.json.decode(own).get("type")
    if kind == "custom":  # the call of one is free text, which none of the frameworks could run
        raise Unsupported(
            f"{dialect.target}: tool {tool.name!r} takes free text, which is asked for in the Responses API: "
            'options=(("api", "responses"),); or give it as a function with one text parameter'
        )
    if dialect.is_openai and kind != "function":
        raise Unsupported(
            f"{dialect.target}: the tool {kind!r} exists in OpenAI's Responses API only, not in Chat Completions: leave out api"
        )
    return _openais(own) if dialect.is_openai and tool.raw else own


def _openais(own: Raw) -> Fields | Raw:
    """A function in OpenAI's spelling without Anthropic's words, which people write beside it and OpenAI answers with a 400."""
    given = msgspec.json.decode(own, type=dict[str, Raw])
    function = msgspec.json.decode(given.get("function", b"{}"), type=dict[str, Raw])
    if ANTHROPIC_WORDS.isdisjoint({*given, *function}):
        return own
    told: Fields = {name: value for name, value in given.items() if name not in ANTHROPIC_WORDS}
    return told | {"function": {name: value for name, value in function.items() if name not in ANTHROPIC_WORDS}}


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
