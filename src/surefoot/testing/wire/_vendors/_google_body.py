"""Gemini's requests, typed: what arrives at :generateContent and :batchEmbedContents, and its translation into an `Ask`."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from surefoot.testing.wire._model._brain import REASONING_TOKENS, Ask, PlainMessage, PlainTool
from surefoot.testing.wire._model._draft import Rejection
from surefoot.testing.wire._model._schema import Json

Body = TypeVar("Body")
TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
SCHEMA_WORDS = frozenset(
    ("additionalProperties", "defs", "ref", "anyOf", "default", "description", "enum", "example", "format", "items", "maxItems",
    "maxLength",
     "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "properties",
     "propertyOrdering",
     "required", "title", "type")
)  # fmt: skip
"""What Gemini's own Schema knows; JSON Schema proper goes into responseJsonSchema and parametersJsonSchema."""


_OPAQUE = frozenset(
    ("args", "response", "parametersJsonSchema", "responseJsonSchema", "default", "example")
)  # the caller's own names below
_NAMED = frozenset(("properties", "defs"))  # the keys are the caller's, the values are not


def camel(value: Any) -> Any:
    """Field names in camelCase: Google's JSON takes both spellings, and its SDK sends both in one body."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    out: Json = {}
    for key, sub in value.items():
        name = re.sub(r"_([a-z])", lambda found: found[1].upper(), key) if "_" in key else key
        if name in _OPAQUE:
            out[name] = sub
        elif name in _NAMED and isinstance(sub, dict):
            out[name] = {inner: camel(part) for inner, part in sub.items()}
        else:
            out[name] = camel(sub)
    return out


def read(body: bytes, kind: type[Body]) -> Body:
    """A request body as `kind`. Raises msgspec's errors."""
    return msgspec.convert(camel(msgspec.json.decode(body)), kind)


class FunctionCall(msgspec.Struct):
    """A called function; its arguments are an object."""

    name: str = ""
    args: Json | None = None
    id: str | None = None


class FunctionResponse(msgspec.Struct):
    """What a function returned."""

    name: str = ""
    response: Json | None = None
    id: str | None = None
    parts: list[Json] | None = None


class GooglePart(msgspec.Struct, rename="camel"):
    """One part of a content; exactly one of its fields is set."""

    text: str | None = None
    inline_data: Json | None = None
    file_data: Json | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    thought: bool = False
    thought_signature: str | None = None

    @property
    def media(self) -> str:
        """The kind of data carried: image, audio, document, or nothing."""
        data = self.inline_data or self.file_data
        if data is None:
            return ""
        kind = str(data.get("mimeType") or "")
        return kind.partition("/")[0] if kind.startswith(("image/", "audio/")) else "document"


class Content(msgspec.Struct):
    """One turn."""

    parts: list[GooglePart] = []
    role: str | None = None

    @property
    def text(self) -> str:
        """The text of all parts that are not thoughts."""
        return "\n".join(part.text for part in self.parts if part.text and not part.thought)


class FunctionDeclaration(msgspec.Struct, rename="camel", omit_defaults=True):
    """A tool as it is offered, with Gemini's own schema or a JSON schema."""

    name: str
    description: str | None = None
    parameters: Json | None = None
    parameters_json_schema: Json | None = None


class GoogleToolDef(msgspec.Struct, rename="camel", omit_defaults=True):
    """A group of functions; other kinds of tools run at the vendor's and are ignored."""

    function_declarations: list[FunctionDeclaration] | None = None


class GenerationConfig(msgspec.Struct, rename="camel"):
    """The parts of generationConfig that matter."""

    temperature: float | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    response_mime_type: str | None = None
    response_schema: Json | None = None
    response_json_schema: Json | None = None
    thinking_config: Json | None = None
    candidate_count: int | None = None
    response_modalities: list[str] | None = None


class GenerateBody(msgspec.Struct, rename="camel"):
    """The body of POST :generateContent."""

    contents: list[Content] = []
    system_instruction: Content | None = None
    tools: list[GoogleToolDef] | None = None
    tool_config: Json | None = None
    generation_config: GenerationConfig = msgspec.field(default_factory=GenerationConfig)


class EmbedOne(msgspec.Struct, rename="camel"):
    """One text to embed: all parts of its content become one vector."""

    content: Content
    model: str | None = None
    task_type: str | None = None
    output_dimensionality: int | None = None
    embed_content_config: Json | None = None

    @property
    def dimension(self) -> int | None:
        """The dimension asked for, at either of its two places."""
        nested = (self.embed_content_config or {}).get("outputDimensionality")
        return self.output_dimensionality or (int(nested) if nested else None)


class EmbedBatch(msgspec.Struct):
    """The body of POST :batchEmbedContents."""

    requests: list[EmbedOne]


def to_ask(body: GenerateBody, *, model: str, stream: bool, strict: bool, signed: bool) -> Ask:
    """The request without Gemini's dress. Raises Refusal(400) for what the API refuses, where `strict`.

    `signed` insists that the calls of the current turn carry their thoughtSignature.
    """
    config = body.generation_config
    ask = Ask(model=model, stream=stream, max_tokens=config.max_output_tokens, stop=tuple(config.stop_sequences or ()))
    if body.system_instruction is not None:
        ask.turns.append(PlainMessage(role="system", text=body.system_instruction.text))
    for content in body.contents:
        for part in content.parts:
            ask.images += part.media == "image"
            ask.audios += part.media == "audio"
            ask.files += part.media == "document"
            if part.function_response is not None:
                ask.turns.append(_told(part.function_response))
        called = tuple(part.function_call.name for part in content.parts if part.function_call is not None)
        if content.text or called:
            ask.turns.append(PlainMessage(role="assistant" if content.role == "model" else "user", text=content.text, calls=called))
    ask.audio_out = "AUDIO" in (config.response_modalities or [])
    ask.reasoning = _reasoning(config.thinking_config or {})
    _offer_tools(ask, body, strict=strict)
    _shape(ask, config, strict=strict)
    if strict:
        _check(body, signed=signed)
    return ask


def _told(result: FunctionResponse) -> PlainMessage:
    given = result.response or {}
    value = given.get("result", given.get("output", given.get("error", given)))
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return PlainMessage(role="tool", text=text, tool=result.name, failed="error" in given)


def _reasoning(config: Json) -> int:
    level, budget = config.get("thinkingLevel"), config.get("thinkingBudget")
    if budget is not None:
        return REASONING_TOKENS["medium"] if budget < 0 else min(int(budget), REASONING_TOKENS["medium"])
    if level is not None:
        return REASONING_TOKENS.get(str(level).lower(), 64)
    return REASONING_TOKENS["medium"] if config.get("includeThoughts") else 0


def _offer_tools(ask: Ask, body: GenerateBody, *, strict: bool) -> None:
    declared = [f for tool in body.tools or [] for f in tool.function_declarations or []]
    if not declared:
        return
    for number, function in enumerate(declared):
        where = f"tools[0].function_declarations[{number}]"
        if not TOOL_NAME.fullmatch(function.name):
            raise Rejection(400, "bad_request", f"* GenerateContentRequest.{where}.name: Invalid function name.")
        if strict and function.parameters is not None:
            check_schema(function.parameters, f"{where}.parameters")
    ask.tools = [
        PlainTool(name=f.name, description=f.description or "", schema=f.parameters_json_schema or f.parameters or {}) for f in declared
    ]
    ask.extra_text = msgspec.json.encode(body.tools).decode()
    calling = (body.tool_config or {}).get("functionCallingConfig") or {}
    allowed = calling.get("allowedFunctionNames")
    if allowed:
        if unknown := set(allowed) - {t.name for t in ask.tools}:
            raise Rejection(400, "bad_request", f"allowed_function_names: {min(unknown)} is not one of the declared functions.")
        ask.tools = [tool for tool in ask.tools if tool.name in allowed]
    ask.choice = {"ANY": "any", "NONE": "none"}.get(str(calling.get("mode", "AUTO")).upper(), "auto")


def _shape(ask: Ask, config: GenerationConfig, *, strict: bool) -> None:
    schema = config.response_json_schema or config.response_schema
    is_json = config.response_mime_type == "application/json"
    if schema is not None:
        if not is_json and config.response_mime_type != "text/x.enum":
            raise Rejection(400, "bad_request", "response_schema requires response_mime_type 'application/json'.")
        if strict and config.response_schema is not None:
            check_schema(config.response_schema, "generation_config.response_schema")
        ask.schema = schema
    ask.json_mode = is_json


def check_schema(schema: Json, where: str) -> None:
    """Gemini's own Schema knows fewer words than JSON Schema. Raises Refusal(400) in the API's words."""
    if unknown := set(schema) - SCHEMA_WORDS:
        raise Rejection(
            400, "bad_request", f"Invalid JSON payload received. Unknown name \"{min(unknown)}\" at '{where}': Cannot find field."
        )
    for name, sub in (schema.get("properties") or {}).items():
        check_schema(sub, f"{where}.properties[{name}]")
    for number, sub in enumerate(schema.get("anyOf") or []):
        check_schema(sub, f"{where}.any_of[{number}]")
    if isinstance(schema.get("items"), dict):
        check_schema(schema["items"], f"{where}.items")


def _check(body: GenerateBody, *, signed: bool) -> None:
    temperature = body.generation_config.temperature
    if temperature is not None and not 0 <= temperature <= 2:
        raise Rejection(400, "bad_request", f"Unable to submit request because temperature value {temperature} must be between 0 and 2.")
    if not body.contents:
        raise Rejection(400, "bad_request", "* GenerateContentRequest.contents: contents is not specified")
    waiting = 0
    for number, content in enumerate(body.contents):
        if content.role not in (None, "user", "model", "function"):
            raise Rejection(400, "bad_request", "Please use a valid role: user, model.")
        if not content.parts:
            raise Rejection(400, "bad_request", f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.")
        answers = sum(part.function_response is not None for part in content.parts)
        if answers != waiting:
            raise Rejection(400, "bad_request", _UNPAIRED)
        waiting = sum(part.function_call is not None for part in content.parts)
    if waiting:
        raise Rejection(400, "bad_request", "Please ensure that function response turn comes immediately after a function call turn.")
    if signed:
        _check_signatures(body.contents)


_UNPAIRED = (
    "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
)


def _check_signatures(contents: list[Content]) -> None:
    """The first call of each step since the user last spoke must carry its signature."""
    spoke = max((n for n, c in enumerate(contents) if c.role != "model" and c.text), default=-1)
    for content in contents[spoke + 1 :]:
        calls = [part for part in content.parts if part.function_call is not None]
        if calls and not calls[0].thought_signature:
            raise Rejection(400, "bad_request", "Function call is missing a thought_signature in functionCall parts.")
