"""LangChain's content blocks into surefoot's parts: v1 and v0 blocks, OpenAI's and Anthropic's dialects."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from surefoot.errors import BadRequest
from surefoot.types import File, Image, Opaque, Part, Reasoning, Text

Block = Mapping[str, Any]

# These repeat what AIMessage.tool_calls already holds, or mark places; they are not content.
NOT_CONTENT = frozenset({
    "tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use", "input_json_delta", "function_call", "server_tool_call",
    "server_tool_call_chunk", "server_tool_result", "redacted_thinking", "citation", "cachePoint",
})  # fmt: skip
MEDIA_TYPES = {"image": "image/png", "file": "application/pdf", "document": "application/pdf", "audio": "audio/wav", "video": "video/mp4"}


def parts(content: str | Sequence[str | Block]) -> str | tuple[Part, ...]:
    """Message content as surefoot holds it: text stays text, blocks become parts in order.

    Raises BadRequest (nothing sent) for a block of unknown type, or one whose bytes are no base64.
    """
    if isinstance(content, str):
        return content
    found = [part for block in content if (part := _part(block)) is not None]
    if len(found) == 1 and isinstance(found[0], Text):
        return found[0].text  # one block of text is text: the shortest body, and one cache key for both spellings
    return tuple(found)


def marks_cache(content: str | Sequence[str | Block]) -> bool:
    """True if a block asks the vendor to cache the prompt up to here (Anthropic's cache_control)."""
    return not isinstance(content, str) and any(not isinstance(block, str) and "cache_control" in block for block in content)


def _part(block: str | Block) -> Part | None:
    if isinstance(block, str):
        return Text(block) if block else None
    kind = block.get("type", "text" if "text" in block else "")
    if kind == "non_standard":
        value = block["value"]
        return Opaque(**value) if set(value) == {"vendor", "kind", "data"} else _part(value)
    if kind in NOT_CONTENT:
        return None
    read = READERS.get(kind)
    if read is None:
        raise BadRequest(f"content block of type {kind!r}: known are {', '.join(sorted(READERS))}; nothing was sent")
    return read(block)


def _text(block: Block) -> Part | None:
    return Text(block["text"]) if block.get("text") else None


def _refusal(block: Block) -> Part | None:
    return Text(block["refusal"]) if block.get("refusal") else None


def _reasoning(block: Block) -> Part | None:
    text = block.get("reasoning") or block.get("thinking") or ""
    signature = block.get("signature") or (block.get("extras") or {}).get("signature") or ""
    return Reasoning(text=text, signature=signature) if text or signature else None


def _image(block: Block) -> Part:
    """v1 {"base64", "mime_type"} or {"url"}; v0 {"source_type"}; Anthropic {"source"}; OpenAI {"image_url"}."""
    detail = block.get("detail") or (block.get("extras") or {}).get("detail") or ""
    where = block.get("image_url")
    if isinstance(where, Mapping):
        detail = where.get("detail") or detail
        where = where.get("url")
    data, media_type, url = _bytes_or_url(block, where)
    return Image(url=url, detail=detail) if url else Image(data=data, media_type=media_type, detail=detail)


def _file(block: Block) -> Part:
    """v1 and v0 files, OpenAI's {"file": {"file_data"}}, Anthropic's documents; plain-text documents become text."""
    inner = block.get("file")
    inner = inner if isinstance(inner, Mapping) else {}
    source = block.get("source")
    if isinstance(source, Mapping) and source.get("type") == "text":
        return Text(source.get("data", ""))
    data, media_type, url = _bytes_or_url(block, inner.get("file_data"))
    if url:
        raise BadRequest(f"file block with the address {url[:80]!r}: providers take files as bytes; pass base64 and mime_type")
    extras = block.get("extras") or block.get("metadata") or {}
    name = block.get("filename") or inner.get("filename") or extras.get("filename") or block.get("title") or extras.get("name") or ""
    return File(data=data, media_type=media_type, name=name)


def _plain(block: Block) -> Part:
    """A text document: its text if it is at hand, else its bytes."""
    return Text(block["text"]) if block.get("text") else _file({"mime_type": "text/plain", **block})


def _input_audio(block: Block) -> Part:
    sound = block.get("input_audio") or {}
    return File(data=_decoded(sound.get("data", ""), "audio"), media_type=f"audio/{sound.get('format') or 'wav'}")


def _bytes_or_url(block: Block, where: Any) -> tuple[bytes, str, str]:
    """(bytes, media type, "") or (b"", "", address), from whichever of the dialects `block` speaks."""
    kind = str(block.get("type"))
    source = block.get("source")
    if isinstance(source, Mapping):  # Anthropic
        where = where or source.get("url")
        data, media_type = source.get("data"), source.get("media_type")
    else:
        data = block.get("base64") or (block.get("data") if block.get("source_type") == "base64" else None)
        media_type = block.get("mime_type")
    where = where or block.get("url")
    if data is None and isinstance(where, str) and where:
        if not where.startswith("data:"):
            return b"", "", where
        head, _, data = where.partition(",")
        media_type = head.removeprefix("data:").partition(";")[0] or media_type
    if not isinstance(data, str):
        raise BadRequest(f"{kind} block without base64 or url (ids of files uploaded elsewhere are not supported); nothing was sent")
    return _decoded(data, kind), media_type or MEDIA_TYPES.get(kind, "application/octet-stream"), ""


def _decoded(data: str, kind: str) -> bytes:
    try:
        return base64.b64decode(data)
    except (binascii.Error, ValueError) as broken:
        raise BadRequest(f"{kind} block: its data is no base64 ({broken}); nothing was sent") from broken


READERS: dict[str, Callable[[Block], Part | None]] = {
    "text": _text,
    "refusal": _refusal,
    "reasoning": _reasoning,
    "thinking": _reasoning,
    "image": _image,
    "image_url": _image,
    "file": _file,
    "document": _file,
    "text-plain": _plain,
    "audio": _file,
    "video": _file,
    "input_audio": _input_audio,
}
