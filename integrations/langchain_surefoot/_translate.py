"""LangChain's messages and options into a ChatRequest; a ChatReply and a stream's deltas back into LangChain's messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.json import parse_partial_json

from langchain_surefoot._blocks import marks_cache, parts
from surefoot.core.tool_dicts import tool_of, vendor_of
from surefoot.errors import BadRequest
from surefoot.text import plain
from surefoot.types import ChatReply, Delta, Message, Part, Reasoning, Role, Schema, Text, Tool, ToolCall, Usage

REASONING, SIGNATURE, TOOL_SIGNATURES = "reasoning_content", "reasoning_signature", "tool_call_signatures"  # in additional_kwargs
ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant", "ai": "assistant", "tool": "tool",
}  # fmt: skip
TOOL_INDEX = 10_000  # in v1 streams text and tool blocks share one index space; a tool call's piece must never meet a text's


# --- messages in -------------------------------------------------------------------------------------------------------------------


def messages_in(messages: Sequence[BaseMessage]) -> tuple[Message, ...]:
    """LangChain's messages as surefoot's, in order.

    Anthropic's tool_result blocks inside a human message become tool messages before it. Calls with broken arguments are kept only
    where a tool message answers them: a provider refuses a call without a result. Raises BadRequest for content nobody can send.
    """
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    found: list[Message] = []
    for message in messages:
        found.extend(_message(message, answered))
    return tuple(found)


def _message(message: BaseMessage, answered: set[str]) -> Iterator[Message]:
    content: Any = message.content
    if isinstance(message, AIMessage):
        yield _assistant(message, answered)
    elif isinstance(message, ToolMessage):
        yield Message(
            role="tool",
            content=parts(content),
            tool_call_id=message.tool_call_id,
            name=message.name or "",
            is_error=message.status == "error",
            cache=marks_cache(content),
        )
    elif isinstance(message, FunctionMessage):
        yield Message(role="tool", content=parts(content), name=message.name, tool_call_id=message.name)
    elif isinstance(message, SystemMessage | HumanMessage | ChatMessage):
        role = message.role if isinstance(message, ChatMessage) else message.type
        if role not in ROLES:
            raise BadRequest(f"message with the role {role!r}: known are {', '.join(ROLES)}; nothing was sent")
        if not isinstance(content, str):
            results = [block for block in content if isinstance(block, Mapping) and block.get("type") == "tool_result"]
            yield from map(_tool_result, results)
            if results and len(results) == len(content):
                return
            content = [block for block in content if block not in results] if results else content
        yield Message(role=ROLES[role], content=parts(content), name=message.name or "", cache=marks_cache(content))
    else:
        raise BadRequest(f"a {type(message).__name__} cannot be sent to a model; nothing was sent")


def _tool_result(block: Mapping[str, Any]) -> Message:
    content, is_error = parts(block.get("content") or ""), bool(block.get("is_error"))
    return Message(role="tool", content=content, tool_call_id=block.get("tool_use_id", ""), is_error=is_error)


def _assistant(message: AIMessage, answered: set[str]) -> Message:
    """The model's own earlier turn: text, sealed thoughts, and the calls it made."""
    extra = message.additional_kwargs
    signatures: Mapping[str, str] = extra.get(TOOL_SIGNATURES) or {}
    calls = [
        ToolCall(
            id=call["id"] or "",
            name=call["name"],
            arguments=_arguments(call["name"], call["args"]),
            signature=signatures.get(call["id"] or "", ""),
        )
        for call in message.tool_calls
    ]
    calls += [
        ToolCall(id=call["id"] or "", name=call["name"] or "", arguments=call["args"] or "", error=call["error"] or "not valid JSON")
        for call in message.invalid_tool_calls
        if call["id"] in answered
    ]
    content: Any = message.content
    found = parts(content)
    if SIGNATURE in extra and not (isinstance(found, tuple) and any(isinstance(part, Reasoning) and part.signature for part in found)):
        sealed = Reasoning(text=extra.get(REASONING) or "", signature=extra[SIGNATURE])
        texts: tuple[Part, ...] = (Text(found),) if isinstance(found, str) and found else () if isinstance(found, str) else found
        found = (sealed, *(part for part in texts if not isinstance(part, Reasoning)))
    return Message(role="assistant", content=found, name=message.name or "", tool_calls=tuple(calls), cache=marks_cache(content))


def _arguments(name: str, values: Any) -> str:
    try:
        return json.dumps(values, ensure_ascii=False, default=plain)
    except (TypeError, ValueError) as wrong:
        raise BadRequest(f"call of {name!r}: its arguments are no JSON ({wrong}); nothing was sent") from wrong


# --- options in --------------------------------------------------------------------------------------------------------------------


def tool_in(tool: Any) -> Tool:
    """A tool in any of LangChain's spellings (function, pydantic class, BaseTool, a dict in any vendor's)."""
    return tool if isinstance(tool, Tool) else tool_of(wire_of(tool))


def wire_of(tool: Any, *, strict: bool | None = None) -> Any:
    """A tool as it is bound: OpenAI's dict of a function, which LangChain's tracing reads, or a vendor's own dict as it is.

    LangChain's conversion would turn a vendor's tool that has a name into a function of that name without parameters.
    """
    if isinstance(tool, Tool):
        return tool
    if isinstance(tool, Mapping) and (vendor_of(tool) or "input_schema" in tool or tool.get("type") == "function"):
        return dict(tool) if strict is None or vendor_of(tool) or "function" in tool else {**tool, "strict": strict}
    try:
        return convert_to_openai_tool(tool, strict=strict)
    except ValueError as error:
        raise BadRequest(f"a tool cannot be bound: {error}; a provider's own one may also go into extra={{'tools': [...]}}") from error


def tool_choice_in(choice: Any) -> str:
    """One of "auto", "none", "required" or a tool's name, out of OpenAI's, Anthropic's and LangChain's spellings."""
    if isinstance(choice, Mapping):
        named: Any = choice.get("function")
        choice = (named if isinstance(named, Mapping) else choice).get("name") or choice.get("type")
    if choice is True or choice in {"any", "required"}:
        return "required"
    return choice or ""


def schema_in(wanted: Any) -> Schema | None:
    """The answer's shape, out of OpenAI's response_format, a JSON Schema, a pydantic class or a TypedDict."""
    if wanted is None or isinstance(wanted, Schema):
        return wanted
    if isinstance(wanted, Mapping) and wanted.get("type") in {"json_schema", "json_object", "text"}:
        inner = wanted.get("json_schema") or {}
        if wanted["type"] == "json_schema":
            return Schema.of(inner.get("name") or "answer", inner.get("schema") or {"type": "object"}, strict=inner.get("strict"))
        return Schema() if wanted["type"] == "json_object" else None
    schema = convert_to_json_schema(wanted)
    return Schema.of(schema.get("title") or "answer", schema)


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "tools": lambda tools: tuple(map(tool_in, tools or ())),
    "tool_choice": tool_choice_in,
    "schema": schema_in,
}


# --- answers out -------------------------------------------------------------------------------------------------------------------


def usage_out(usage: Usage) -> UsageMetadata:
    """Token counts as LangChain reads them; details only where there are any."""
    out = UsageMetadata(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=usage.total_tokens)
    paid_in = {"audio": usage.audio_input_tokens, "cache_creation": usage.cache_write_tokens, "cache_read": usage.cached_tokens}
    paid_out = {"audio": usage.audio_output_tokens, "reasoning": usage.reasoning_tokens}
    if any(paid_in.values()):
        out["input_token_details"] = InputTokenDetails(**{name: count for name, count in paid_in.items() if count})  # type: ignore[typeddict-item]
    if any(paid_out.values()):
        out["output_token_details"] = OutputTokenDetails(**{name: count for name, count in paid_out.items() if count})  # type: ignore[typeddict-item]
    return out


def metadata_out(reply: ChatReply) -> dict[str, Any]:
    """What is known of the answer beside its words."""
    metadata: dict[str, Any] = {
        "model_name": reply.model or reply.target.partition(":")[2],
        "model_provider": "surefoot",
        "finish_reason": reply.finish_reason,
        "target": reply.target,
        "attempts": reply.attempts,
        "cost_usd": reply.cost_usd,
        "cached": reply.cached,
    }
    if reply.request_id:
        metadata["request_id"] = reply.request_id
    if reply.usage.estimated:
        metadata["usage_estimated"] = True
    return metadata


def _kwargs_out(reply: ChatReply) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if reply.signature:
        extra[SIGNATURE] = reply.signature
    if signatures := {call.id: call.signature for call in reply.tool_calls if call.signature}:
        extra[TOOL_SIGNATURES] = signatures
    return extra


def message_out(reply: ChatReply) -> AIMessage:
    """The whole answer. Calls with broken arguments stand in `invalid_tool_calls`, never among those that are run."""
    extra = _kwargs_out(reply)
    if reply.reasoning:
        extra[REASONING] = reply.reasoning
    return AIMessage(
        content=reply.text,
        additional_kwargs=extra,
        tool_calls=[tool_call(name=call.name, args=call.parsed(), id=call.id) for call in reply.tool_calls if not call.error],
        invalid_tool_calls=[
            invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error=call.error) for call in reply.invalid_tool_calls
        ],
        usage_metadata=usage_out(reply.usage),
        response_metadata=metadata_out(reply),
    )


def result_out(reply: ChatReply) -> ChatResult:
    """`message_out` in the envelope LangChain's `_generate` returns; older callbacks read token counts off `llm_output`."""
    message = message_out(reply)
    return ChatResult(
        generations=[ChatGeneration(message=message)], llm_output=output_out(message.response_metadata["model_name"], reply.usage)
    )


def output_out(model_name: str, usage: Usage) -> dict[str, Any]:
    """Token counts in OpenAI's words, as `llm_output` and `response_metadata["token_usage"]` of the customary classes have them."""
    counts = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": usage.total_tokens}
    return {"token_usage": counts, "model_name": model_name}


def outputs_joined(outputs: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The `llm_output` of many answers: counts added up. Streamed answers have none."""
    told = [output for output in outputs if output]
    if not told:
        return {}
    names = told[0]["token_usage"]
    return {"token_usage": {name: sum(one["token_usage"][name] for one in told) for name in names}, "model_name": told[0]["model_name"]}


def chunks_out(delta: Delta) -> Iterator[ChatGenerationChunk]:
    """A delta as chunks: thought, text and tool calls apart, since LangChain reads one kind of block from a chunk."""
    if delta.reasoning:
        yield _chunk(AIMessageChunk(content="", additional_kwargs={REASONING: delta.reasoning}))
    if delta.text:
        yield _chunk(AIMessageChunk(content=delta.text))
    if delta.is_restart:  # a resumed stream begins again: the reader must be able to see where
        yield _chunk(AIMessageChunk(content="", response_metadata={"marker": delta.marker}))
    if delta.tool_calls:
        pieces = [
            tool_call_chunk(name=piece.name or None, args=piece.arguments, id=piece.id or None, index=TOOL_INDEX + piece.index)
            for piece in delta.tool_calls
        ]
        yield _chunk(AIMessageChunk(content="", tool_call_chunks=pieces))


def last_chunk_out(reply: ChatReply, indices: Sequence[int]) -> ChatGenerationChunk:
    """The end of a stream: usage and metadata once, since LangChain adds up what it sees twice.

    `indices` are the deltas' tool call indices in order. LangChain repairs cut JSON when it joins chunks, and would run a call with
    half its arguments: a call that is broken gets an ending no repair survives, so that it stays invalid.
    """
    broken = [
        tool_call_chunk(name=None, args=_beyond_repair(call.arguments), id=None, index=TOOL_INDEX + index)
        for index, call in zip(indices, reply.tool_calls, strict=False)
        if call.error
    ]
    message = AIMessageChunk(
        content="",
        additional_kwargs=_kwargs_out(reply),
        tool_call_chunks=broken,
        usage_metadata=usage_out(reply.usage),
        response_metadata=metadata_out(reply),
        chunk_position="last",
    )
    return _chunk(message)


def _beyond_repair(arguments: str) -> str:
    def repaired(text: str) -> bool:
        try:
            return isinstance(parse_partial_json(text), dict)
        except ValueError:
            return False

    return next((ending for ending in ("", "]", '"]', '\\"]', "}]", '"}]') if not repaired(arguments + ending)), "")


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)
