"""Anthropic's requests, typed: what arrives at /v1/messages, its translation into an `Ask`, and its cached prefixes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from surefoot.testing.wire._model._brain import REASONING_TOKENS, Ask, PlainMessage, PlainTool, tokens_in
from surefoot.testing.wire._model._draft import Rejection
from surefoot.testing.wire._model._schema import Json

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
MARKS = 4
MIN_THINKING = 1024  # tokens; the API's own floor for budget_tokens
_ENCODE = msgspec.json.Encoder(order="sorted").encode


class Block(msgspec.Struct, omit_defaults=True):
    """One content block, of any kind; which fields count depends on `type`."""

    type: str
    text: str = ""
    source: Json | None = None
    id: str = ""
    name: str = ""
    input: Json | None = None
    tool_use_id: str = ""
    content: str | list[Block] | None = None
    is_error: bool = False
    thinking: str = ""
    signature: str = ""
    cache_control: Json | None = None

    @property
    def told(self) -> str:
        """The text of a block, or of all blocks inside a tool result."""
        if isinstance(self.content, list):
            return "\n".join(block.told or f"[{block.type}]" for block in self.content)
        return self.text or self.content or ""


class AnthropicMessage(msgspec.Struct):
    """One message: a text or blocks."""

    role: str
    content: str | list[Block]

    @property
    def blocks(self) -> list[Block]:
        """The content as blocks."""
        return [Block(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class AnthropicToolDef(msgspec.Struct, omit_defaults=True):
    """A tool as it is offered; those with a `type` other than "custom" run at the vendor's and are never called here."""

    name: str
    description: str = ""
    input_schema: Json | None = None
    type: str | None = None
    cache_control: Json | None = None


class MessagesBody(msgspec.Struct):
    """The body of POST /v1/messages, the parts that matter; `max_tokens` is checked by hand, for its own error."""

    model: str
    messages: list[AnthropicMessage]
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    tools: list[AnthropicToolDef] | None = None
    tool_choice: Json | None = None
    stop_sequences: list[str] | None = None
    stream: bool = False
    temperature: float | None = None
    thinking: Json | None = None
    output_config: Json | None = None
    output_format: Json | None = None
    cache_control: Json | None = None


def to_ask(body: MessagesBody, *, strict: bool) -> Ask:
    """The request without Anthropic's dress. Raises Refusal(400) for what the API refuses, where `strict`."""
    system = body.system if isinstance(body.system, str) else "\n".join(b.text for b in body.system or [])
    turns = [PlainMessage(role="system", text=system)] if system else []
    names: dict[str, str] = {}
    ask = Ask(model=body.model, turns=turns, stream=body.stream, max_tokens=body.max_tokens, stop=tuple(body.stop_sequences or ()))
    for message in body.messages:
        blocks = message.blocks
        names.update({b.id: b.name for b in blocks if b.type == "tool_use"})
        for block in blocks:
            if block.type == "tool_result":
                turns.append(PlainMessage(role="tool", text=block.told, tool=names.get(block.tool_use_id, ""), failed=block.is_error))
            for part in (block, *(block.content if isinstance(block.content, list) else ())):
                ask.images += part.type == "image"
                ask.files += part.type == "document"
        text = "\n".join(b.text for b in blocks if b.type == "text" and b.text)
        called = tuple(b.name for b in blocks if b.type == "tool_use")
        if text or called or not blocks:
            role = message.role if message.role in ("user", "assistant", "system") else "user"
            turns.append(PlainMessage(role=role, text=text, calls=called))  # type: ignore[arg-type]
    _offer_tools(ask, body)
    _shape(ask, body)
    ask.reasoning = _reasoning(body)
    if strict:
        _check(body, ask)
    return ask


def _offer_tools(ask: Ask, body: MessagesBody) -> None:
    if not body.tools:
        return
    own = [tool for tool in body.tools if tool.type in (None, "custom")]
    ask.tools = [PlainTool(name=t.name, description=t.description, schema=t.input_schema or {}) for t in own]
    ask.extra_text = msgspec.json.encode(body.tools).decode()
    choice = body.tool_choice or {"type": "auto"}
    kind = choice.get("type")
    ask.choice = str(choice.get("name")) if kind == "tool" else {"any": "any", "none": "none"}.get(str(kind), "auto")
    ask.parallel = not choice.get("disable_parallel_tool_use", False)
    if kind == "tool" and ask.choice not in {tool.name for tool in body.tools}:
        raise Rejection(400, "bad_request", f"Tool '{ask.choice}' not found in provided tools")


def _shape(ask: Ask, body: MessagesBody) -> None:
    form = (body.output_config or {}).get("format") or body.output_format
    if not form:
        return
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise Rejection(400, "bad_request", "output_config.format: Input should be a json_schema with a schema")
    ask.schema = form["schema"]
    for path, found in _objects(form["schema"], "output_config.format.schema"):
        if found.get("additionalProperties") is not False:
            raise Rejection(400, "bad_request", f"{path}: For 'object' type, 'additionalProperties' must be explicitly set to false")


def _objects(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    if "properties" in schema or schema.get("type") == "object":
        yield path, schema
    for word in ("properties", "$defs", "definitions"):
        for name, sub in (schema.get(word) or {}).items():
            yield from _objects(sub, f"{path}.{word}.{name}")
    for word in ("anyOf", "allOf"):
        for number, sub in enumerate(schema.get(word) or []):
            yield from _objects(sub, f"{path}.{word}.{number}")
    if isinstance(schema.get("items"), dict):
        yield from _objects(schema["items"], f"{path}.items")


def _reasoning(body: MessagesBody) -> int:
    thinking = body.thinking or {}
    kind = thinking.get("type")
    effort = (body.output_config or {}).get("effort") or "medium"
    if kind == "enabled":
        return min(int(thinking.get("budget_tokens", MIN_THINKING)), REASONING_TOKENS.get(str(effort), 64))
    return REASONING_TOKENS.get(str(effort), 64) if kind in ("adaptive", "between_tools") else 0


def _check(body: MessagesBody, ask: Ask) -> None:
    if body.max_tokens is None:
        raise Rejection(400, "bad_request", "max_tokens: Field required")
    if body.max_tokens < 1:
        raise Rejection(400, "bad_request", "max_tokens: Input should be greater than or equal to 1")
    if body.temperature is not None and not 0 <= body.temperature <= 1:
        raise Rejection(400, "bad_request", "temperature: range: 0..1")
    if not body.messages:
        raise Rejection(400, "bad_request", "messages: at least one message is required")
    thinking = body.thinking or {}
    if thinking.get("type") == "enabled":
        if int(thinking.get("budget_tokens", 0)) < MIN_THINKING:
            raise Rejection(400, "bad_request", "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if int(thinking["budget_tokens"]) >= body.max_tokens:
            raise Rejection(400, "bad_request", "`max_tokens` must be greater than `thinking.budget_tokens`.")
    if thinking.get("type") in ("enabled", "adaptive") and ask.tools and ask.choice not in ("auto", "none"):
        raise Rejection(400, "bad_request", "Thinking may not be enabled when tool_choice forces tool use.")
    for number, tool in enumerate(body.tools or []):
        if not TOOL_NAME.fullmatch(tool.name):
            raise Rejection(400, "bad_request", f"tools.{number}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool.type in (None, "custom") and (tool.input_schema or {}).get("type") != "object":
            raise Rejection(400, "bad_request", f"tools.{number}.custom.input_schema.type: Field required")
    _check_order(body.messages)
    _check_marks(body)


def _check_marks(body: MessagesBody) -> None:
    """At most four cache breakpoints, none on thoughts, and none of an hour after one of five minutes."""
    blocks = [block for message in body.messages for block in message.blocks]
    inner = [each for block in blocks for each in (block, *(block.content if isinstance(block.content, list) else ()))]
    system = body.system if isinstance(body.system, list) else []
    marks = [part.cache_control for part in (*(body.tools or ()), *system, *inner) if part.cache_control]
    marks += [body.cache_control] if body.cache_control else []
    if len(marks) > MARKS:
        raise Rejection(400, "bad_request", f"A maximum of {MARKS} blocks with cache_control may be provided. Found {len(marks)}.")
    if any(block.cache_control for block in inner if block.type in ("thinking", "redacted_thinking")):
        raise Rejection(400, "bad_request", "cache_control cannot be set on thinking blocks")
    lives = [mark.get("ttl", "5m") for mark in marks]
    if lives != sorted(lives):
        raise Rejection(400, "bad_request", "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")


def _check_order(messages: list[AnthropicMessage]) -> None:
    """Text is not empty; each tool_use is answered in the next message, each tool_result answers the one before."""
    open_ids: set[str] = set()
    for number, message in enumerate(messages):
        blocks = message.blocks
        if message.role not in ("user", "assistant", "system"):
            raise Rejection(400, "bad_request", f'messages.{number}.role: Unexpected role "{message.role}".')
        if (not blocks or message.content == "") and number + 1 < len(messages):
            raise Rejection(400, "bad_request", f"messages.{number}: all messages must have non-empty content")
        if any(b.type == "text" and not b.text for b in blocks):
            raise Rejection(400, "bad_request", "messages: text content blocks must be non-empty")
        answered = {b.tool_use_id for b in blocks if b.type == "tool_result"}
        if stray := answered - open_ids:
            message_text = f"unexpected `tool_use_id` found in `tool_result` blocks: {min(stray)}."
            raise Rejection(400, "bad_request", f"messages.{number}.content.0: {message_text} {_PAIR_RESULT}")
        if message.role == "assistant" and not open_ids:
            open_ids = {b.id for b in blocks if b.type == "tool_use"}
            continue
        if missing := open_ids - answered:
            text = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(sorted(missing))}."
            raise Rejection(400, "bad_request", f"messages.{number}: {text} {_PAIR_USE}")
        open_ids = set()
    if open_ids:
        text = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(sorted(open_ids))}."
        raise Rejection(400, "bad_request", f"messages.{len(messages) - 1}: {text} {_PAIR_USE}")


_PAIR_USE = "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
_PAIR_RESULT = "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."


def prefixes(body: MessagesBody) -> list[tuple[bytes, int, bool]]:
    """Every prefix of the prompt that ends with a block: its digest, its size in tokens, whether a cache breakpoint stands there.

    The order is the API's: tools, system, messages. Empty when nothing is marked.
    """
    system = [Block(type="text", text=body.system)] if isinstance(body.system, str) else body.system or []
    parts: list[tuple[str, AnthropicToolDef | Block]] = [("tool", tool) for tool in body.tools or []]
    parts += [("system", block) for block in system]
    parts += [(message.role, block) for message in body.messages for block in message.blocks]
    if body.cache_control is None and not any(part.cache_control for _, part in parts):
        return []
    digest, size, found = blake2b(digest_size=16), 0, []
    for number, (role, part) in enumerate(parts):
        marked = part.cache_control is not None or (body.cache_control is not None and number + 1 == len(parts))
        written = _ENCODE(msgspec.structs.replace(part, cache_control=None))
        digest.update(role.encode() + written)
        size += tokens_in(written.decode())
        found.append((digest.digest(), size, marked))
    return found
