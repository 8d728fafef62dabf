"""The Responses API: our records to its JSON. Pure functions; nothing is sent here.

The server keeps nothing (`store` is false): its thoughts come back encrypted, stand in the answer's parts, and are given back in their
place with the next turn. Source: the API reference, "Create a model response", and `openai.types.responses` of openai 3.57.0.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from surefoot.core.tool_dicts import ANTHROPIC_WORDS
from surefoot.errors import Unsupported
from surefoot.providers._foreign import long_id, own, own_fields, tell_thoughts, with_ids
from surefoot.providers._parameters import note
from surefoot.providers.http.body import Fields, base64_text, encoded, fields, image_type, own_tool, raw
from surefoot.providers.openai.dialect import OpenAIDialect
from surefoot.providers.openai.facts import model_of
from surefoot.providers.openai.messages import data_url
from surefoot.providers.openai.models import RESPONSES, fitted, row_of
from surefoot.types import ChatRequest, File, Image, Message, Opaque, Part, Reasoning, Schema, Text, Tool, ToolCall, clean, is_for

ENCRYPTED = "reasoning.encrypted_content"
MESSAGE_FIELDS = ("id", "status", "phase")  # of an item, not of the text in it
AT_MOST_64 = re.compile(r"(?s:.{1,64})")  # of a call's id
INPUT = "input"  # the one argument that the free text of a custom tool becomes


def responses_body(request: ChatRequest, model: str, *, stream: bool, dialect: OpenAIDialect, left_out: list[str] | None = None) -> bytes:
    """The body of POST /responses. What the model refuses is not sent; `left_out` is given the names of what had a meaning.

    Raises Unsupported for parts that the API does not carry, Misconfigured for schemas or extras that are no JSON, BadRequest for text that
    is no Unicode and for an effort that is none.
    """
    model = request.model or model
    base = request.model or dialect.base_model or model
    request = fitted(request, base, dialect, left_out, api="responses")
    request = with_ids(request, fits=AT_MOST_64, make=long_id)
    body: Fields = {"model": model, "input": _Items(dialect, left_out).of(request), "store": False}
    # A model that cannot think answers this with a 400; whoever serves OpenAI's model, or is told how much to think, is asked to.
    if row_of(base, dialect).is_thinker or model_of(base).is_thinker or request.reasoning_effort not in {"", "none"}:
        body["include"] = [ENCRYPTED]
    settings: tuple[tuple[str, float | None], ...] = (
        ("max_output_tokens", request.max_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
    )
    body.update({name: value for name, value in settings if value is not None})
    if request.reasoning_effort:
        body["reasoning"] = {"effort": request.reasoning_effort}
    if request.tools:
        _tools(body, request, dialect)
    if request.schema is not None:
        body["text"] = {"format": _shape(request.schema)}
    if stream:
        body["stream"] = True
    return encoded(body, _in_its_words(request.extra, body), dialect.target)


def _in_its_words(extra: str, body: Fields) -> str:
    """`extra` with the words of Chat Completions that have another place here; what is to be included, beside what is."""
    if not extra:
        return ""
    found: dict[str, Any] = dict(fields(extra))
    if "verbosity" in found:
        body.setdefault("text", {})["verbosity"] = found.pop("verbosity")
    included = list(body.get("include", ()))
    if bytes(found.pop("logprobs", Raw(b"false"))) == b"true":
        included.append("message.output_text.logprobs")
    if "include" in found:
        included += [one for one in msgspec.json.decode(found.pop("include"), type=list[str]) if one not in included]
    if included:
        body["include"] = included
    return msgspec.json.encode(found).decode()


class _Items:
    """Writes the conversation of one request as items."""

    def __init__(self, dialect: OpenAIDialect, left_out: list[str] | None) -> None:
        self._target = dialect.target
        self._host = dialect.host
        self._left_out = left_out
        self._custom: set[str] = set()  # ids of calls whose arguments are free text

    def of(self, request: ChatRequest) -> list[Any]:
        items: list[Any] = []
        for message in request.messages:
            if message.role == "assistant":
                self._answer(message, items)
            elif message.role == "tool":
                items.append(self._result(message))
            else:
                self._question(message, items)
        return items

    def _question(self, message: Message, items: list[Any]) -> None:
        if message.name:
            note(self._left_out, "name")
        content = message.content
        if isinstance(content, str):
            items.append({"role": message.role, "content": content})
            return
        parts: list[Any] = []
        for part in content:
            if isinstance(part, Opaque):
                value = own(part, RESPONSES, self._host, self._left_out)
                if value is not None:
                    (parts if part.kind.startswith("input_") else items).append(value)
            elif isinstance(part, Reasoning):
                tell_thoughts(part, self._left_out)
            else:
                parts.append(self._part(part))
        if parts:
            items.append({"role": message.role, "content": parts})

    def _answer(self, message: Message, items: list[Any]) -> None:
        """The model's own turn: its items in their order, each call after as many parts as stood before it."""
        parts = message.parts
        calls = list(message.tool_calls)
        for at in range(len(parts) + 1):
            while calls and (at == len(parts) or (calls[0].after is not None and calls[0].after <= at)):
                items.append(self._call(calls.pop(0)))
            if at < len(parts):
                self._said(parts[at], items)

    def _said(self, part: Part, items: list[Any]) -> None:
        if isinstance(part, Text):
            self._text(part, items)
        elif isinstance(part, Opaque):
            value = own(part, RESPONSES, self._host, self._left_out)
            # Thoughts without their encrypted content cannot be told apart by a server that has kept nothing.
            if value is not None and not (part.kind == "reasoning" and not fields(part.data).get("encrypted_content")):
                items.append(value)
        elif isinstance(part, Reasoning):
            tell_thoughts(part, self._left_out)
        elif isinstance(part, Image) and is_for(part.vendor, RESPONSES, self._host):
            items.append({"type": "image_generation_call", "result": base64_text(part.data)} | fields(part.extra))
        else:
            note(self._left_out, f"a {'picture' if isinstance(part, Image) else 'file'} of an answer")

    def _text(self, part: Text, items: list[Any]) -> None:
        """The model's words: as the item that they came in, or as a plain message."""
        own_ones = dict(own_fields(part, RESPONSES, self._host, self._left_out))
        about = {name: own_ones.pop(name) for name in MESSAGE_FIELDS if name in own_ones}
        if not about:
            items.append({"role": "assistant", "content": clean(part.text)})
            return
        block: Fields = {"type": "output_text", "text": clean(part.text), "annotations": own_ones.pop("annotations", []), **own_ones}
        last = items[-1] if items else None
        if isinstance(last, dict) and last.get("type") == "message" and last.get("id") == about.get("id"):
            last["content"].append(block)
        else:
            items.append({"type": "message", "role": "assistant", "status": "completed", "content": [block], **about})

    def _call(self, call: ToolCall) -> Fields:
        about = fields(call.extra) if call.extra and is_for(call.vendor, RESPONSES, self._host) else {}
        if call.extra and not about:
            note(self._left_out, f"{', '.join(fields(call.extra))} of {call.vendor}")
        if bytes(about.get("type", b"")) == b'"custom_tool_call"':
            self._custom.add(call.id)
            return {"call_id": call.id, "name": call.name, "input": clean(free_text(call)), **about}
        told: Fields = {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": clean(call.arguments)}
        return told | about

    def _result(self, message: Message) -> Fields:
        """A tool's result, pictures and files in it; the API has no flag for a failed one, so its text says so."""
        kind = "custom_tool_call_output" if message.tool_call_id in self._custom else "function_call_output"
        found: Fields = {"type": kind, "call_id": message.tool_call_id}
        if isinstance(message.content, tuple) and any(isinstance(part, Image | File | Opaque) for part in message.content):
            found["output"] = [*([{"type": "input_text", "text": "Error:"}] if message.is_error else []), *self._outputs(message)]
            return found
        text = clean(message.text)
        found["output"] = f"Error: {text}" if message.is_error and not text.lower().startswith("error") else text
        return found

    def _outputs(self, message: Message) -> list[Any]:
        found: list[Any] = []
        for part in message.parts:
            if isinstance(part, Opaque):
                value = own(part, RESPONSES, self._host, self._left_out)
                if value is not None:
                    found.append(value)
            elif not isinstance(part, Reasoning):
                found.append(self._part(part))
        return found

    def _part(self, part: Text | Image | File) -> Fields:
        extra = own_fields(part, RESPONSES, self._host, self._left_out)
        return _input(part, self._target) | extra


def _input(part: Text | Image | File, target: str) -> Fields:
    if isinstance(part, Text):
        return {"type": "input_text", "text": clean(part.text)}
    if isinstance(part, Image):
        url = part.url or data_url(part.data, part.media_type or image_type(part.data, target))
        return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
    if part.media_type.startswith("image/"):
        return {"type": "input_image", "image_url": part.url or data_url(part.data, part.media_type), "detail": "auto"}
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    if part.media_type.startswith(("audio/", "video/")):
        raise Unsupported(
            f"{target}: {part.media_type} has no place in the Responses API; send a transcript, or pictures, or give a model that hears "
            'options=(("api", "chat"),); nothing was sent'
        )
    return {"type": "input_file", "filename": part.name or "document.pdf", "file_data": data_url(part.data, part.media_type)}


def free_text(call: ToolCall) -> str:
    """What a custom tool was called with: the text itself, out of the argument that stands for it."""
    try:
        return str(call.parsed().get(INPUT, ""))
    except (ValueError, RecursionError):
        return call.arguments


def _tool(tool: Tool, dialect: OpenAIDialect) -> Fields | Raw:
    """A function; or one of the vendor's own tools as it is, which here all stand side by side."""
    given = own_tool(tool, "openai", dialect.target)
    if given is None:
        function: Fields = {"type": "function", "name": tool.name}
        if tool.description:
            function["description"] = clean(tool.description)
        # The vendor's default is true here and false in Chat Completions: left open it would refuse what the other takes.
        return function | {"parameters": raw(tool.parameters, f"the parameters of tool {tool.name!r}"), "strict": bool(tool.strict)}
    told = fields(tool.raw)
    inner = told.get("function")
    if inner is None or bytes(told.get("type", b"")) != b'"function"':
        return given
    rest = {
        name: value for name, value in told.items() if name == "defer_loading" or name not in {"function", *ANTHROPIC_WORDS}
    }  # both vendors defer tools
    return {"strict": False, **rest, **msgspec.json.decode(inner, type=dict[str, Raw])}  # as Chat Completions nests it


def _tools(body: Fields, request: ChatRequest, dialect: OpenAIDialect) -> None:
    body["tools"] = [_tool(tool, dialect) for tool in request.tools]
    choice = request.tool_choice
    if choice:
        body["tool_choice"] = choice if choice in {"auto", "none", "required"} else _named(choice, request)
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _named(choice: str, request: ChatRequest) -> Fields:
    """The tool that must be called: a function by its name, one of the vendor's own by its type."""
    own_one = next((tool for tool in request.tools if tool.name == choice and tool.raw and not tool.parameters), None)
    if own_one is None:
        return {"type": "function", "name": choice}
    kind = msgspec.json.decode(fields(own_one.raw).get("type", Raw(b'""')))
    return {"type": "custom", "name": choice} if kind == "custom" else {"type": kind}


def _shape(schema: Schema) -> Fields:
    if not schema.schema:
        return {"type": "json_object"}
    shape: Fields = {"type": "json_schema", "name": schema.name, "schema": raw(schema.schema, f"schema {schema.name!r}")}
    if schema.strict is not None:
        shape["strict"] = schema.strict
    return shape
