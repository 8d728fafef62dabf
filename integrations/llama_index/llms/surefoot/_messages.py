"""LlamaIndex's messages into surefoot's; also those that other classes have stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.llms.llm import ToolSelection
from msgspec.structs import replace

from surefoot.core.carried import KEY, restored
from surefoot.errors import BadRequest
from surefoot.facts import protocol_of
from surefoot.text import json_text, text_of
from surefoot.types import File, Image, Message, Opaque, Part, Reasoning, Role, Text, ToolCall

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
RESPONSES = "openai.responses"  # the vendor of OpenAI's items, which its other API would refuse
DEFAULT_TTL = "5m"  # of a cache point: Anthropic's own


# --- messages in -------------------------------------------------------------------------------------------------------------------


def messages_in(messages: Sequence[ChatMessage], target: str = "") -> tuple[Message, ...]:
    """LlamaIndex's messages as surefoot's, in order; `target` ("provider:model") says what its vendor takes by address.

    Calls with broken arguments are kept only where a tool message answers them: a provider refuses a call without a result. Raises
    BadRequest (nothing sent) for a block without content.
    """
    answered = {message.additional_kwargs.get("tool_call_id") for message in messages if ROLES[message.role] == "tool"}
    own = protocol_of(target)
    return tuple(_message(message, answered, own) for message in messages)


def _message(message: ChatMessage, answered: Collection[Any], own: str) -> Message:
    extra = message.additional_kwargs
    role = ROLES[message.role]
    blocks = message.blocks
    if len(blocks) == 1 and type(blocks[0]) is TextBlock and not extra:  # plain text, as nearly all of them
        return Message(role=role, content=blocks[0].text)
    parts = _marked(blocks, own)
    calls = tuple(_tool_calls(message, answered)) if role == "assistant" else ()
    if role == "assistant":
        text = "".join(part.text for part in parts if isinstance(part, Text))
        kept, calls = restored(extra.get(KEY), text, [part for part in parts if isinstance(part, Image | File)], calls)
        parts = (*_items(extra), *parts) if kept is None else kept
    return Message(
        role=role,
        content=_plain(parts),
        name=text_of(extra.get("name") or ""),
        tool_calls=calls,
        tool_call_id=text_of(extra.get("tool_call_id") or "") if role == "tool" else "",
        is_error=bool(extra.get("is_error")) and role == "tool",
        cache=bool(blocks) and isinstance(blocks[-1], CachePoint) and blocks[-1].cache_control.ttl in {None, DEFAULT_TTL},
    )


def _plain(parts: tuple[Part, ...]) -> str | tuple[Part, ...]:
    """One text without fields of a vendor's own as text, all else as it is."""
    if not parts:
        return ""
    first = parts[0]
    return first.text if len(parts) == 1 and isinstance(first, Text) and not first.extra else parts


def _marked(blocks: Sequence[ContentBlock], own: str) -> tuple[Part, ...]:
    """The parts of `blocks`; one before a CachePoint says that the prompt may be cached up to it (the last one says so by its message)."""
    found: list[Part] = []
    last = len(blocks) - 1
    for at, block in enumerate(blocks):
        if not isinstance(block, CachePoint):
            found += _parts(block, own)
            continue
        mark = block.cache_control.model_dump(exclude_none=True)
        part = found[-1] if found else None
        if isinstance(part, Text | Image | File) and not (at == last and mark.get("ttl") in {None, DEFAULT_TTL}):
            found[-1] = replace(part, extra=json_text({"cache_control": mark}), vendor="anthropic")
    return tuple(found)


def _items(extra: Mapping[str, Any]) -> Iterator[Part]:
    """What the servers of OpenAI's Responses API did, from where its class keeps it."""
    for item in extra.get("built_in_tool_calls") or ():
        plain = item if isinstance(item, Mapping) else item.model_dump(exclude_none=True)
        if str(plain.get("type") or "").endswith("_call"):
            yield Opaque.of(RESPONSES, plain)


def _parts(block: ContentBlock, own: str) -> Iterator[Part]:
    if isinstance(block, TextBlock):
        if block.text:
            yield Text(block.text)
    elif isinstance(block, ImageBlock):
        yield _image(block)
    elif isinstance(block, DocumentBlock | AudioBlock | VideoBlock):
        yield _file(block, own)
    elif isinstance(block, ThinkingBlock):
        yield from _thoughts(block)
    elif isinstance(block, CitableBlock) and own == "anthropic" and all(isinstance(inner, TextBlock) for inner in block.content):
        texts = [{"type": "text", "text": inner.text} for inner in block.content if isinstance(inner, TextBlock)]
        about = {"source": block.source, "title": block.title, "citations": {"enabled": True}}
        yield Opaque.of("anthropic", {"type": "search_result", **about, "content": texts})
    elif isinstance(block, CitableBlock):
        for inner in block.content:
            yield from _parts(inner, own)
    elif isinstance(block, CitationBlock):
        yield from _parts(block.cited_content, own)
    elif not isinstance(block, ToolCallBlock | CachePoint):
        raise BadRequest(f"a {type(block).__name__} cannot be sent to a model; nothing was sent")


def _thoughts(block: ThinkingBlock) -> Iterator[Part]:
    """Thoughts; items of OpenAI's Responses API, and what Claude keeps sealed, as they came."""
    about = block.additional_information
    if about.get("encrypted_content") or str(about.get("id") or "").startswith("rs_"):
        yield Opaque.of(RESPONSES, {"summary": [], **about, "type": "reasoning"})
        return
    if about.get("type") == "redacted_thinking" and about.get("data"):
        yield Opaque.of("anthropic", {"type": "redacted_thinking", "data": about["data"]})
        return
    signature = text_of(about.get("signature") or "")
    if block.content or signature:
        yield Reasoning(text=block.content or "", signature=signature)


def _image(block: ImageBlock) -> Image:
    address = str(block.url) if block.url else ""
    if address and not address.startswith("data:") and not block.image:
        return Image(url=address, detail=block.detail or "")
    return Image(data=block.resolve_image().read(), media_type=block.image_mimetype or "image/png", detail=block.detail or "")


def _file(block: DocumentBlock | AudioBlock | VideoBlock, own: str) -> File:
    if isinstance(block, AudioBlock):
        return File(data=block.resolve_audio().read(), media_type=f"audio/{block.format or 'wav'}")
    address = str(block.url) if block.url else ""
    if own in {"anthropic", "google"} and address.startswith(("http://", "https://", "gs://")):  # these fetch it themselves
        kind = block.video_mimetype if isinstance(block, VideoBlock) else block.document_mimetype
        return File(url=address, media_type=kind or ("" if isinstance(block, VideoBlock) else "application/pdf"))
    if isinstance(block, VideoBlock):
        return File(data=block.resolve_video().read(), media_type=block.video_mimetype or "video/mp4")
    data = block.resolve_document().read()
    return File(data=data, media_type=block.document_mimetype or "application/pdf", name=block.title or "")


def _tool_calls(message: ChatMessage, answered: Collection[Any]) -> Iterator[ToolCall]:
    """The calls to send back; broken ones only where they are answered."""
    broken: Mapping[str, str] = message.additional_kwargs.get(BROKEN) or {}
    for place, call in enumerate(said_calls(message)):
        why = broken.get(str(place))
        if not why:
            yield call
        elif call.id in answered:
            yield replace(call, error=why)


def said_calls(message: ChatMessage) -> Iterator[ToolCall]:
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
        function = wire.get("function") or wire  # an item of the Responses API has its name beside its id
        number = wire.get("call_id") or wire.get("id") or ""
        yield ToolCall(id=number, name=function.get("name") or "", arguments=function.get("arguments") or "{}")


def _arguments(name: str, values: Any) -> str:
    try:
        return json_text(values)
    except TypeError as wrong:
        raise BadRequest(f"call of {name!r}: its arguments are no JSON ({wrong}); nothing was sent") from wrong
