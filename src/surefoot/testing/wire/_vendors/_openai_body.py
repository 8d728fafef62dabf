"""OpenAI's requests, typed: what arrives at /chat/completions and /embeddings, and its translation into an `Ask`."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

import msgspec

from surefoot.testing.wire._model._brain import REASONING_TOKENS, Ask, PlainMessage, PlainTool
from surefoot.testing.wire._model._draft import Rejection
from surefoot.testing.wire._model._schema import Json

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TOOL = "Invalid parameter: messages with role 'tool'"
_SOUNDS = ("wav", "mp3")
_PART_TYPES = ("text", "image_url", "input_audio", "file", "refusal")


class Function(msgspec.Struct):
    """A called function: its arguments are JSON in a string."""

    name: str
    arguments: str = ""


class ToolCallPart(msgspec.Struct):
    """A tool call in an assistant message."""

    id: str
    type: str = "function"
    function: Function | None = None


class OpenAIPart(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str = ""
    image_url: Json | None = None
    input_audio: Json | None = None
    file: Json | None = None
    refusal: str = ""


class OpenAIMessage(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str | list[OpenAIPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCallPart] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text of all parts."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text or part.refusal for part in self.content if part.text or part.refusal)


class FunctionDef(msgspec.Struct):
    """A tool's definition."""

    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class OpenAIToolDef(msgspec.Struct):
    """A tool as it is offered; only functions are known here."""

    type: str = "function"
    function: FunctionDef | None = None


class ChatBody(msgspec.Struct):
    """The body of POST /chat/completions, the parts that matter."""

    model: str
    messages: list[OpenAIMessage]
    tools: list[OpenAIToolDef] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    response_format: Json | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: Json | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    audio: Json | None = None
    temperature: float | None = None
    top_p: float | None = None


class EmbedBody(msgspec.Struct):
    """The body of POST /embeddings. `input` is a text, texts, tokens, or lists of tokens."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str = "float"
    dimensions: int | None = None

    @property
    def texts(self) -> list[str]:
        """One text per vector; tokens are written out as numbers."""
        if isinstance(self.input, str):
            return [self.input]
        if self.input and isinstance(self.input[0], int):
            return [" ".join(map(str, self.input))]
        return [item if isinstance(item, str) else " ".join(map(str, item if isinstance(item, list) else [item])) for item in self.input]


def to_ask(body: ChatBody, *, strict: bool) -> Ask:
    """The request without OpenAI's dress. Raises Refusal(400) for what the API refuses, where `strict`."""
    _check(body, strict=strict)
    names: dict[str, str] = {}
    turns: list[PlainMessage] = []
    ask = Ask(model=body.model, turns=turns)
    for message in body.messages:
        role = "system" if message.role == "developer" else message.role
        called = tuple(c.function.name for c in message.tool_calls or [] if c.function is not None)
        names.update({c.id: c.function.name for c in message.tool_calls or [] if c.function is not None})
        tool = names.get(message.tool_call_id or "", "") if role == "tool" else ""
        text = message.text
        failed = role == "tool" and text.lower().lstrip().startswith("error")
        turns.append(PlainMessage(role=role, text=text, calls=called, tool=tool, failed=failed))  # type: ignore[arg-type]
        if isinstance(message.content, list):
            kinds = [part.type for part in message.content]
            ask.images += kinds.count("image_url")
            ask.files += kinds.count("file")
            ask.audios += kinds.count("input_audio")
    if body.tools:
        _offer_tools(ask, body)
    _shape(ask, body)
    ask.stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    ask.max_tokens = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    ask.stream = bool(body.stream)
    if body.reasoning_effort is not None:
        ask.reasoning = REASONING_TOKENS.get(body.reasoning_effort, 64)
    ask.audio_out = "audio" in (body.modalities or [])
    return ask


def _offer_tools(ask: Ask, body: ChatBody) -> None:
    functions = [tool.function for tool in body.tools or [] if tool.function is not None]
    ask.tools = [PlainTool(name=f.name, description=f.description or "", schema=f.parameters or {}) for f in functions]
    ask.extra_text = msgspec.json.encode(body.tools).decode()
    ask.parallel = body.parallel_tool_calls is not False
    choice = body.tool_choice
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            allowed = choice.get("allowed_tools", {})
            wanted = {tool.get("function", {}).get("name") for tool in allowed.get("tools", [])}
            ask.tools = [tool for tool in ask.tools if tool.name in wanted]
            choice = allowed.get("mode", "auto")
        else:
            choice = str(choice.get("function", {}).get("name"))
            if choice not in {tool.name for tool in ask.tools}:
                raise Rejection(400, "bad_request", f"Tool choice '{choice}' not found in 'tools' parameter.")
    ask.choice = {"required": "any", None: "auto"}.get(choice, choice or "auto")


def _shape(ask: Ask, body: ChatBody) -> None:
    form = body.response_format or {}
    kind = form.get("type", "text")
    if kind == "json_schema":
        inner: dict[str, Any] = form.get("json_schema") or {}
        schema = inner.get("schema")
        if not isinstance(schema, dict):
            raise Rejection(400, "bad_request", "Missing required parameter: 'response_format.json_schema.schema'.")
        if inner.get("strict"):
            check_strict(schema, where=f"response_format '{inner.get('name', '')}'")
        ask.schema = schema
    elif kind == "json_object":
        if "json" not in ask.prompt.lower():
            message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            raise Rejection(400, "bad_request", message)
        ask.json_mode = True
    elif kind != "text":
        raise Rejection(400, "bad_request", f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.")


def check_strict(schema: Json, *, where: str, path: tuple[str, ...] = ()) -> None:
    """OpenAI's strict dialect: every object closed, every property required. Raises Refusal(400) in the API's words."""
    if "properties" in schema or schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise Rejection(
                400, "bad_request",
                f"Invalid schema for {where}: In context={path}, 'additionalProperties' is required to be supplied and to be false.",
            )  # fmt: skip
        missing = set(schema.get("properties") or {}) - set(schema.get("required") or [])
        if missing:
            raise Rejection(
                400, "bad_request",
                f"Invalid schema for {where}: In context={path}, 'required' is required to be supplied and to be an array including every "
                f"key in properties. Missing '{min(missing)}'.",
            )  # fmt: skip
    for word in ("properties", "$defs", "definitions"):
        for name, sub in (schema.get(word) or {}).items():
            check_strict(sub, where=where, path=(*path, word, name))
    for word in ("anyOf", "allOf"):
        for number, sub in enumerate(schema.get(word) or []):
            check_strict(sub, where=where, path=(*path, word, str(number)))
    if isinstance(schema.get("items"), dict):
        check_strict(schema["items"], where=where, path=(*path, "items"))


def _check(body: ChatBody, *, strict: bool) -> None:
    if not body.messages:
        raise Rejection(400, "bad_request", "Invalid 'messages': empty array. Expected an array with minimum length 1.")
    if body.temperature is not None and not 0 <= body.temperature <= 2:
        raise Rejection(400, "bad_request", f"Invalid 'temperature': decimal {body.temperature} is outside of the range 0 to 2.")
    for number, tool in enumerate(body.tools or []):
        if tool.function is not None:
            if not TOOL_NAME.fullmatch(tool.function.name):
                message = f"Invalid 'tools[{number}].function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
                raise Rejection(400, "bad_request", message)
            if tool.function.strict:
                check_strict(tool.function.parameters or {}, where=f"function '{tool.function.name}'")
    if strict:
        _check_order(body.messages)


def _check_sounds(message: OpenAIMessage) -> None:
    for part in message.content if isinstance(message.content, list) else ():
        if part.type != "input_audio":
            continue
        sound = part.input_audio or {}
        if sound.get("format") not in _SOUNDS:
            raise Rejection(400, "bad_request", f"Invalid value: '{sound.get('format')}'. Supported values are: 'wav' and 'mp3'.")
        try:
            is_sound = bool(b64decode(str(sound.get("data")), validate=True))
        except ValueError:
            is_sound = False
        if not is_sound:
            raise Rejection(400, "bad_request", "Invalid 'input_audio.data': it is no base64 of a recording.")


def _check_order(messages: list[OpenAIMessage]) -> None:
    """Each tool call is answered right after it, each tool message answers a call: the API insists."""
    open_ids: set[str] = set()
    for number, message in enumerate(messages):
        if message.role not in _ROLES:
            raise Rejection(400, "bad_request", f"Invalid value: '{message.role}'. Supported values are: {', '.join(_ROLES)}.")
        if message.role == "tool":
            if message.tool_call_id not in open_ids:
                # "preceeding" is the API's own spelling
                raise Rejection(400, "bad_request", f"{_TOOL} must be a response to a preceeding message with 'tool_calls'.")
            open_ids.discard(message.tool_call_id)
            continue
        if open_ids:
            break
        open_ids = {call.id for call in message.tool_calls or []}
        kinds = [part.type for part in message.content] if isinstance(message.content, list) else []
        _check_sounds(message)
        if wrong := [kind for kind in kinds if kind not in _PART_TYPES]:
            supported = ", ".join(_PART_TYPES)
            raise Rejection(
                400, "bad_request", f"Invalid value: '{wrong[0]}' at messages[{number}].content. Supported values are: {supported}."
            )
    if open_ids:
        raise Rejection(
            400, "bad_request",
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following "
            f"tool_call_ids did not have response messages: {', '.join(sorted(open_ids))}",
        )  # fmt: skip
