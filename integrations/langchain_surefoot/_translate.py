"""LangChain's options into a ChatRequest; a ChatReply and a stream's deltas back into LangChain's messages."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.json import parse_partial_json

from langchain_surefoot._blocks import shown
from langchain_surefoot._messages import REASONING, SIGNATURE, TOOL_SIGNATURES
from surefoot.adapter.answers import more_of, other_choices
from surefoot.core.carried import KEY, carried
from surefoot.core.tool_dicts import ANTHROPIC_WORDS, tool_of, vendor_of
from surefoot.errors import BadRequest
from surefoot.types import ChatReply, ChatRequest, Delta, File, Part, Schema, Text, TokenLogprob, Tool, Usage

TOOL_INDEX = 10_000  # in v1 streams text and tool blocks share one index space; a tool call's piece must never meet a text's


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
        return convert_to_openai_tool(tool, strict=strict) | _extras(tool)
    except ValueError as error:
        raise BadRequest(f"a tool cannot be bound: {error}; a provider's own one may also go into extra={{'tools': [...]}}") from error


def _extras(tool: Any) -> dict[str, Any]:
    """Anthropic's own words for a tool, where LangChain's tools have them."""
    given = getattr(tool, "extras", None)
    return {name: value for name, value in given.items() if name in ANTHROPIC_WORDS} if isinstance(given, dict) else {}


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
    if reply.response_id:
        metadata["id"] = reply.response_id
    if reply.citations:
        metadata["citations"] = [msgspec.to_builtins(one) for one in reply.citations]
    if reply.logprobs:
        metadata["logprobs"] = {"content": [_logprob(one) for one in reply.logprobs]}
    if reply.usage.estimated:
        metadata["usage_estimated"] = True
    if reply.raw_json:
        metadata |= more_of(reply)
    return metadata


def _logprob(one: TokenLogprob) -> dict[str, Any]:
    """A token as OpenAI's classes show it."""
    top = [{"token": token, "logprob": logprob} for token, logprob in one.top]
    return {"token": one.token, "logprob": one.logprob, "top_logprobs": top}


def _kwargs_out(reply: ChatReply, refusal: str = "") -> dict[str, Any]:
    extra: dict[str, Any] = {"refusal": refusal} if refusal else {}
    for part in reply.audio if reply.content else ():  # as OpenAI's classes have it
        extra["audio"] = {**(json.loads(part.extra) if part.extra else {}), "data": b64encode(part.data).decode()}
    if reply.signature:
        extra[SIGNATURE] = reply.signature
    if signatures := {call.id: call.signature for call in reply.tool_calls if call.signature}:
        extra[TOOL_SIGNATURES] = signatures
    if kept := carried(reply.content, reply.tool_calls):
        extra[KEY] = kept
    return extra


def _content_out(reply: ChatReply) -> str | list[str | dict[str, Any]]:
    """The text; or its blocks in order, where there are pictures, sounds, or work of the vendor's own servers between them."""
    found: list[str | dict[str, Any]] = []
    for part in reply.content:
        found += [{"type": "text", "text": part.text}] if isinstance(part, Text) and part.text else shown([part])
    return found if any(isinstance(block, dict) and block["type"] != "text" for block in found) else reply.text


def message_out(reply: ChatReply, refusal: str = "") -> AIMessage:
    """The whole answer. Calls with broken arguments stand in `invalid_tool_calls`, never among those that are run.

    An answer that a filter or the model withheld is one without text; its reason stands in `finish_reason`, and `refusal` beside it.
    """
    extra = _kwargs_out(reply, refusal)
    if reply.reasoning:
        extra[REASONING] = reply.reasoning
    return AIMessage(
        content=_content_out(reply) if reply.content else reply.text,
        additional_kwargs=extra,
        tool_calls=[tool_call(name=call.name, args=call.parsed(), id=call.id) for call in reply.tool_calls if not call.error],
        invalid_tool_calls=[
            invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error=call.error) for call in reply.invalid_tool_calls
        ],
        usage_metadata=usage_out(reply.usage),
        response_metadata=metadata_out(reply),
    )


def result_out(reply: ChatReply, request: ChatRequest | None = None, *, refusal: str = "") -> ChatResult:
    """`message_out` in the envelope LangChain's `_generate` returns; older callbacks read token counts off `llm_output`.

    Where `request` asked for several answers (`n`), each is a generation.
    """
    message = message_out(reply, refusal)
    told = message.response_metadata
    generations = [
        ChatGeneration(message=message, generation_info={name: told[name] for name in ("finish_reason", "logprobs") if name in told})
    ]
    if request is not None and request.extra:
        generations += [ChatGeneration(message=_another(one, message)) for one in other_choices(reply, request)]
    return ChatResult(generations=generations, llm_output=output_out(told["model_name"], reply.usage))


def _another(reply: ChatReply, first: AIMessage) -> AIMessage:
    """One of several answers of one call, which are billed together: its usage stands with the first."""
    message = message_out(reply)
    message.usage_metadata = None
    about = {**first.response_metadata, "finish_reason": reply.finish_reason}
    message.response_metadata = {name: value for name, value in about.items() if name not in {"cost_usd", "attempts", "logprobs"}}
    return message


def output_out(model_name: str, usage: Usage) -> dict[str, Any]:
    """Token counts in OpenAI's words, as `llm_output` and `response_metadata["token_usage"]` of the customary classes have them.

    Tracers and counters of cost that find them there look nowhere else, so the details stand here, too.
    """
    counts = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": usage.audio_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.audio_output_tokens},
    }
    return {"token_usage": counts, "model_name": model_name}


def outputs_joined(outputs: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The `llm_output` of many answers: counts added up. Streamed answers have none."""
    told = [output for output in outputs if output]
    if not told:
        return {}
    return {"token_usage": _added([one["token_usage"] for one in told]), "model_name": told[0]["model_name"]}


def _added(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts added up, name by name, details as well."""
    return {
        name: _added([one[name] for one in counts]) if isinstance(first, dict) else sum(one[name] for one in counts)
        for name, first in counts[0].items()
    }


def chunks_out(delta: Delta) -> Iterator[ChatGenerationChunk]:
    """A delta as chunks: thought, text and tool calls apart, since LangChain reads one kind of block from a chunk."""
    if delta.reasoning:
        yield _chunk(AIMessageChunk(content="", additional_kwargs={REASONING: delta.reasoning}))
    if delta.text:
        yield _chunk(AIMessageChunk(content=delta.text))
    if delta.parts and (blocks := shown([part for part in delta.parts if not is_piece(part)])):
        yield _chunk(AIMessageChunk(content=blocks))
    if delta.is_restart:  # a resumed stream begins again: the reader must be able to see where
        yield _chunk(AIMessageChunk(content="", response_metadata={"marker": delta.marker}))
    if delta.tool_calls:
        pieces = [
            tool_call_chunk(name=piece.name or None, args=piece.arguments, id=piece.id or None, index=TOOL_INDEX + piece.index)
            for piece in delta.tool_calls
        ]
        yield _chunk(AIMessageChunk(content="", tool_call_chunks=pieces))


def is_piece(part: Part) -> bool:
    """Whether the part is a piece of a sound, which is shown when it is whole."""
    return isinstance(part, File) and part.media_type.startswith("audio/")


def last_chunk_out(reply: ChatReply, indices: Sequence[int], refusal: str = "") -> ChatGenerationChunk:
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
        content=shown(reply.audio) if reply.content and reply.audio else "",
        additional_kwargs=_kwargs_out(reply, refusal),
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
