"""LlamaIndex's messages into surefoot's; a ChatReply and a stream's deltas back into ChatResponses."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    ChatMessage,
    ChatResponse,
    CitableBlock,
    CitationBlock,
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools import BaseTool
from msgspec.structs import replace

from surefoot.core.carried import KEY, carried, restored
from surefoot.core.tool_dicts import tool_of
from surefoot.errors import BadRequest, InvalidOutput
from surefoot.text import json_text, text_of
from surefoot.types import (
    ChatReply,
    Delta,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Schema,
    Text,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)

ROLES: dict[MessageRole, Role] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
SIGNATURES = "tool_call_signatures"  # in additional_kwargs: what a vendor wants back untouched
BROKEN = "invalid_tool_calls"  # in a whole message's additional_kwargs: place -> why the call there must not be run
FINISH = "finish_reason"  # in a response's additional_kwargs: the answer is whole


# --- messages in -------------------------------------------------------------------------------------------------------------------


def messages_in(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """LlamaIndex's messages as surefoot's, in order. Raises BadRequest (nothing sent) for a block without content."""
    return tuple(map(_message, messages))


def _message(message: ChatMessage) -> Message:
    extra = message.additional_kwargs
    role = ROLES[message.role]
    blocks = message.blocks
    if len(blocks) == 1 and type(blocks[0]) is TextBlock and not extra:  # plain text, as nearly all of them
        return Message(role=role, content=blocks[0].text)
    parts = _marked(blocks)
    calls = tuple(_tool_calls(message)) if role == "assistant" else ()
    if KEY in extra and role == "assistant":
        text = "".join(part.text for part in parts if isinstance(part, Text))
        kept, calls = restored(extra[KEY], text, [part for part in parts if isinstance(part, Image | File)], calls)
        parts = parts if kept is None else kept
    return Message(
        role=role,
        content=_plain(parts),
        name=text_of(extra.get("name") or ""),
        tool_calls=calls,
        tool_call_id=text_of(extra.get("tool_call_id") or "") if role == "tool" else "",
        is_error=bool(extra.get("is_error")) and role == "tool",
        cache=bool(blocks) and isinstance(blocks[-1], CachePoint) and blocks[-1].cache_control.ttl in {None, "5m"},
    )


def _plain(parts: tuple[Part, ...]) -> str | tuple[Part, ...]:
    """One text without fields of a vendor's own as text, all else as it is."""
    if not parts:
        return ""
    first = parts[0]
    return first.text if len(parts) == 1 and isinstance(first, Text) and not first.extra else parts


def _marked(blocks: Sequence[ContentBlock]) -> tuple[Part, ...]:
    """The parts of `blocks`; one before a CachePoint says that the prompt may be cached up to it (the last one says so by its message)."""
    found: list[Part] = []
    last = len(blocks) - 1
    for at, block in enumerate(blocks):
        if not isinstance(block, CachePoint):
            found += _parts(block)
            continue
        mark = block.cache_control.model_dump(exclude_none=True)
        part = found[-1] if found else None
        if isinstance(part, Text | Image | File) and not (at == last and mark.get("ttl") in {None, "5m"}):
            found[-1] = replace(part, extra=json_text({"cache_control": mark}), vendor="anthropic")
    return tuple(found)


def _parts(block: ContentBlock) -> Iterator[Part]:
    if isinstance(block, TextBlock):
        if block.text:
            yield Text(block.text)
    elif isinstance(block, ImageBlock):
        yield _image(block)
    elif isinstance(block, DocumentBlock | AudioBlock | VideoBlock):
        yield _file(block)
    elif isinstance(block, ThinkingBlock):
        signature = text_of(block.additional_information.get("signature") or "")
        if block.content or signature:
            yield Reasoning(text=block.content or "", signature=signature)
    elif isinstance(block, CitableBlock):
        for inner in block.content:
            yield from _parts(inner)
    elif isinstance(block, CitationBlock):
        yield from _parts(block.cited_content)
    elif not isinstance(block, ToolCallBlock | CachePoint):
        raise BadRequest(f"a {type(block).__name__} cannot be sent to a model; nothing was sent")


def _image(block: ImageBlock) -> Image:
    address = str(block.url) if block.url else ""
    if address and not address.startswith("data:") and not block.image:
        return Image(url=address, detail=block.detail or "")
    return Image(data=block.resolve_image().read(), media_type=block.image_mimetype or "image/png", detail=block.detail or "")


def _file(block: DocumentBlock | AudioBlock | VideoBlock) -> File:
    if isinstance(block, AudioBlock):
        return File(data=block.resolve_audio().read(), media_type=f"audio/{block.format or 'wav'}")
    if isinstance(block, VideoBlock):
        return File(data=block.resolve_video().read(), media_type=block.video_mimetype or "video/mp4")
    data = block.resolve_document().read()
    return File(data=data, media_type=block.document_mimetype or "application/pdf", name=block.title or "")


def _tool_calls(message: ChatMessage) -> Iterator[ToolCall]:
    """From the blocks, or from additional_kwargs where older messages and other classes keep them (dicts or SDK objects)."""
    signatures: Mapping[str, str] = message.additional_kwargs.get(SIGNATURES) or {}
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    for block in blocks:
        arguments = block.tool_kwargs if isinstance(block.tool_kwargs, str) else _arguments(block.tool_name, block.tool_kwargs)
        yield ToolCall(
            id=block.tool_call_id or "",
            name=block.tool_name,
            arguments=arguments or "{}",
            signature=signatures.get(block.tool_call_id or "", ""),
        )
    for call in () if blocks else message.additional_kwargs.get("tool_calls") or ():
        if isinstance(call, ToolSelection):
            yield ToolCall(id=call.tool_id, name=call.tool_name, arguments=_arguments(call.tool_name, call.tool_kwargs))
            continue
        wire = call if isinstance(call, Mapping) else call.model_dump()
        function = wire.get("function") or {}
        yield ToolCall(id=wire.get("id") or "", name=function.get("name") or "", arguments=function.get("arguments") or "{}")


def _arguments(name: str, values: Any) -> str:
    try:
        return json_text(values)
    except TypeError as wrong:
        raise BadRequest(f"call of {name!r}: its arguments are no JSON ({wrong}); nothing was sent") from wrong


# --- options in --------------------------------------------------------------------------------------------------------------------


def tool_in(tool: Any) -> Tool:
    """A LlamaIndex tool, or a dict of one in any vendor's spelling."""
    if isinstance(tool, Tool):
        return tool
    wire = tool.metadata.to_openai_tool(skip_length_check=True) if isinstance(tool, BaseTool) else tool
    if not isinstance(wire, Mapping):
        raise BadRequest(f"{type(tool).__name__} is no tool: pass LlamaIndex tools, or a dict of one")
    return tool_of(wire)


def strictly(tool: Tool, *, strict: bool) -> Tool:
    """`tool`, held to its schema or not; a vendor's own tool stays as it is."""
    return tool if tool.vendor or tool.strict is not None else replace(tool, strict=strict)


def tool_choice_in(choice: Any) -> str:
    """One of "auto", "none", "required" or a tool's name, also out of OpenAI's dict."""
    if isinstance(choice, Mapping):
        choice = (choice.get("function") or choice).get("name") or choice.get("type")
    return "required" if choice in {"any", "required"} else text_of(choice or "")


def schema_in(wanted: Any) -> Schema | None:
    """The answer's shape, out of OpenAI's response_format or a pydantic class."""
    if wanted is None or isinstance(wanted, Schema):
        return wanted
    if isinstance(wanted, type):
        return Schema.of(wanted.__name__, wanted.model_json_schema())  # type: ignore[attr-defined]
    if wanted.get("type") == "json_schema":
        inner = wanted["json_schema"]
        return Schema.of(inner.get("name") or "answer", inner.get("schema") or {"type": "object"}, strict=inner.get("strict"))
    return Schema() if wanted.get("type") == "json_object" else None


CONVERSIONS = {"tools": lambda tools: tuple(map(tool_in, tools or ())), "tool_choice": tool_choice_in, "schema": schema_in}


# --- answers out -------------------------------------------------------------------------------------------------------------------


def response_out(reply: ChatReply) -> ChatResponse:
    """The whole answer; token counts stand where LlamaIndex's counters read them."""
    usage = usage_out(reply.usage)
    more = {"citations": [msgspec.to_builtins(one) for one in reply.citations]} if reply.citations else {}
    return ChatResponse(
        message=_whole_out(reply),
        raw=raw_out(reply),
        logprobs=[_logprobs(one) for one in reply.logprobs] or None,
        additional_kwargs={**usage, FINISH: reply.finish_reason, **more},
    )


def _logprobs(one: TokenLogprob) -> list[LogProb]:
    """A token, then the likeliest ones at its place."""
    return [LogProb(token=token, logprob=logprob) for token, logprob in ((one.token, one.logprob), *one.top)]


def usage_out(usage: Usage) -> dict[str, int]:
    """Token counts in the words LlamaIndex reads."""
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": usage.total_tokens}


def raw_out(reply: ChatReply) -> dict[str, Any]:
    """What is known of the answer beside its words; plain values, so that events and memories can be stored."""
    return {
        "model": reply.model,
        "target": reply.target,
        FINISH: reply.finish_reason,
        "usage": {
            **usage_out(reply.usage),
            "cached_tokens": reply.usage.cached_tokens,
            "cache_write_tokens": reply.usage.cache_write_tokens,
            "reasoning_tokens": reply.usage.reasoning_tokens,
            "estimated": reply.usage.estimated,
        },
        "attempts": reply.attempts,
        "cost_usd": reply.cost_usd,
        "cached": reply.cached,
        "request_id": reply.request_id,
        "response_id": reply.response_id,
    }


def _message_out(text: str, reasoning: str, signature: str, calls: Sequence[ToolCall]) -> ChatMessage:
    """An assistant message; tool calls stand both in blocks and in additional_kwargs, because LlamaIndex reads both."""
    blocks: list[ContentBlock] = []
    if reasoning or signature:
        blocks.append(ThinkingBlock(content=reasoning or None, additional_information={"signature": signature} if signature else {}))
    if text or not calls:
        blocks.append(TextBlock(text=text))
    extra: dict[str, Any] = {}
    blocks += [
        ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments if call.error else call.parsed())
        for call in calls
    ]
    if calls:
        extra["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in calls
        ]
    if signatures := {call.id: call.signature for call in calls if call.signature}:
        extra[SIGNATURES] = signatures
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=extra)


def _whole_out(reply: ChatReply) -> ChatMessage:
    """The message of a whole answer, with the calls that must not be run: also those whose arguments look whole (the answer was cut)."""
    message = _message_out(reply.text, reply.reasoning, reply.signature, reply.tool_calls)
    for picture in reply.images:  # in base64: LlamaIndex takes bytes that happen to be some for it
        message.blocks.append(
            ImageBlock(url=picture.url) if picture.url else ImageBlock(image=b64encode(picture.data), image_mimetype=picture.media_type)
        )
    for sound in reply.audio:
        if sound.data:
            message.blocks.append(AudioBlock(audio=b64encode(sound.data), format=sound.media_type.removeprefix("audio/")))
    if kept := carried(reply.content, reply.tool_calls):
        message.additional_kwargs[KEY] = kept
    if broken := {str(place): call.error for place, call in enumerate(reply.tool_calls) if call.error}:
        message.additional_kwargs[BROKEN] = broken
    return message


class Growing:
    """A streamed answer as LlamaIndex wants it: every response carries the message so far and the piece that is new."""

    def __init__(self) -> None:
        self._text = ""
        self._reasoning = ""
        self._calls: dict[int, list[ToolCallDelta]] = {}

    def add(self, delta: Delta) -> ChatResponse | None:
        """The response so far, or None for a delta a reader sees nothing of."""
        if not (delta.is_content or delta.is_restart):
            return None
        self._text += delta.text
        self._reasoning += delta.reasoning
        for piece in delta.tool_calls:
            self._calls.setdefault(piece.index, []).append(piece)
        extra: dict[str, Any] = {"thinking_delta": delta.reasoning} if delta.reasoning else {}
        if delta.is_restart:
            extra["marker"] = delta.marker  # a resumed stream begins again: the reader must be able to see where
        message = _message_out(self._text, self._reasoning, "", [_so_far(self._calls[index]) for index in sorted(self._calls)])
        return ChatResponse(message=message, delta=delta.text, additional_kwargs=extra)

    @staticmethod
    def whole(reply: ChatReply) -> ChatResponse:
        """The last response: nothing new to read, usage and metadata beside the whole message."""
        last = response_out(reply)
        last.delta = ""
        return last


def _so_far(pieces: Sequence[ToolCallDelta]) -> ToolCall:
    """A call under way: its arguments are text until the end, whatever they look like."""
    return ToolCall(
        id=next((piece.id for piece in pieces if piece.id), ""),
        name="".join([piece.name for piece in pieces]),
        arguments="".join([piece.arguments for piece in pieces]),
        error="not whole yet",
    )


def selections_out(response: ChatResponse) -> list[ToolSelection]:
    """The tools a response calls. Of a stream under way, the arguments as far as they can be read.

    Raises InvalidOutput if a whole answer has a call with broken arguments, or was cut: a tool is never run with half of them.
    """
    found: list[ToolSelection] = []
    broken: Mapping[str, str] = response.message.additional_kwargs.get(BROKEN) or {}
    for place, call in enumerate(_tool_calls(response.message)):
        if why := broken.get(str(place)):
            raise InvalidOutput(f"tool {call.name}: {why}; it was not run", partial=call.arguments)
        arguments = parsed(call, is_whole=FINISH in response.additional_kwargs)
        found.append(ToolSelection(tool_id=call.id, tool_name=call.name, tool_kwargs=arguments))
    return found


def parsed(call: ToolCall, *, is_whole: bool) -> dict[str, Any]:
    """The arguments of `call` as a dict; repaired only where more may come."""
    try:
        return call.parsed()
    except ValueError as broken:
        if is_whole:
            message = f"tool {call.name}: the model's arguments are no JSON object ({broken}); they were not run"
            raise InvalidOutput(message, partial=call.arguments) from broken
    try:
        value = parse_partial_json(call.arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
