"""Blocks of content as dicts into our parts: OpenAI's, Anthropic's and Gemini's dialects, LangChain's v1 and v0.

A block that is not known here is taken for one of the vendor's that is asked, and goes there as it is.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from surefoot.errors import BadRequest
from surefoot.text import json_text, plain
from surefoot.types import File, Image, Opaque, Part, Reasoning, Text

Block = Mapping[str, Any]

# These repeat what a message's tool calls already hold, or mark places; they are not content.
CALLS = frozenset({"tool_call", "tool_call_chunk", "tool_use", "function_call"})
NOT_CONTENT = CALLS | {
    "invalid_tool_call", "input_json_delta", "server_tool_call_chunk", "citation", "cachePoint", "cache_point", "guard_content",
}  # fmt: skip
ANTHROPIC = frozenset({
    "server_tool_use", "mcp_tool_use", "search_result", "tool_reference", "container_upload", "compaction", "redacted_thinking",
})  # fmt: skip
SERVED, BEDROCKS = frozenset({"server_tool_call", "server_tool_result"}), frozenset({"cachePoint", "cache_point"})
EPHEMERAL = {"type": "ephemeral"}
MEDIA_TYPES = {"image": "image/png", "file": "application/pdf", "document": "application/pdf", "audio": "audio/wav", "video": "video/mp4"}
RESPONSES = "openai.responses"  # the vendor of items of OpenAI's Responses API, which its other API would refuse
ITEMS = frozenset({
    "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "computer_call", "mcp_call", "mcp_list_tools",
    "mcp_approval_request", "mcp_approval_response", "local_shell_call", "shell_call", "apply_patch_call", "custom_tool_call",
    "tool_search_call", "item_reference",
})  # fmt: skip
PROVIDERS = {  # LangChain's names in `model_provider`, as the vendors of parts
    "anthropic": "anthropic", "google_anthropic_vertex": "anthropic", "bedrock": "anthropic", "google_genai": "google",
    "google_vertexai": "google", "openai": "openai", "azure": "openai",
}  # fmt: skip
GEMINI_SEAL = "google:"  # before a signature of Gemini's in ours: see `providers.google`
KEPT = "surefoot"  # a part that no block can hold, as JSON text

_part_decoder = msgspec.json.Decoder(Part)


def parts(content: str | Sequence[str | Block], own: str = "") -> str | tuple[Part, ...]:
    """Message content as surefoot holds it: text stays text, blocks become parts in order. `own` is the vendor that is asked.

    Raises BadRequest (nothing sent) for a block without a type, or one whose bytes are no base64.
    """
    return placed(content, own)[0]


def placed(content: str | Sequence[str | Block], own: str = "") -> tuple[str | tuple[Part, ...], dict[str, int]]:
    """The same, and of each tool call that stands among the blocks how many parts stand before it, by its id."""
    places: dict[str, int] = {}
    if isinstance(content, str):
        return content, places
    found: list[Part] = []
    last = len(content) - 1
    for at, block in enumerate(content):
        if not isinstance(block, str) and block.get("type") in CALLS:
            places[str(block.get("call_id") or block.get("id") or "")] = len(found)
        elif (part := _part(block, own)) is not None:
            found.append(part if isinstance(block, str) else _marked(part, block, is_last=at == last))
    if len(found) == 1 and isinstance(found[0], Text) and not found[0].extra:
        return found[0].text, places  # one block of text is text: the shortest body, and one cache key for both spellings
    return tuple(found), places


def marks_cache(content: str | Sequence[str | Block]) -> bool:
    """True if the last block asks the vendor to cache the prompt up to here, for the usual time (Anthropic's mark, Bedrock's point)."""
    last = content[-1] if content else ""
    return not isinstance(content, str) and not isinstance(last, str) and (_mark(last) == EPHEMERAL or not BEDROCKS.isdisjoint(last))


def _mark(block: Block) -> Any:
    return block.get("cache_control") or (block.get("extras") or {}).get("cache_control")


def _marked(part: Part, block: Block, *, is_last: bool) -> Part:
    """`part` with Anthropic's own fields of its block: where the prompt is cached, what a text cites, whether a document may be cited."""
    if not isinstance(part, Text | Image | File) or part.extra:
        return part
    own: dict[str, Any] = {}
    mark = _mark(block)
    if mark and not (is_last and mark == EPHEMERAL):  # that one is the message's
        own["cache_control"] = mark
    names = ("citations",) if isinstance(part, Text) else ("citations", "context")
    own |= {name: block[name] for name in names if block.get(name)}
    return msgspec.structs.replace(part, extra=json_text(own), vendor="anthropic") if own else part


def _part(block: str | Block, own: str) -> Part | None:
    if isinstance(block, str):
        return Text(block) if block else None
    kind = block.get("type", "text" if "text" in block else "")
    if kind == "non_standard":
        value = block["value"]
        return _part_decoder.decode(value[KEPT]) if set(value) == {KEPT} else _part(value, own)
    if kind in NOT_CONTENT or (not kind and not BEDROCKS.isdisjoint(block)):
        return None
    read = READERS.get(kind)
    if read is not None and not _is_elsewhere(block):
        return _owned(read(block), own)
    return _served(block, own) if kind in SERVED else _vendors(block, kind, own)


def _vendors(block: Block, kind: Any, own: str) -> Part:
    """A block that is a vendor's own, as it stands."""
    if kind in ITEMS:
        return Opaque.of(RESPONSES, {name: value for name, value in block.items() if name != "index"}, kind=kind)
    is_known = kind in READERS or kind in ANTHROPIC or str(kind).endswith("_tool_result")
    if not isinstance(kind, str) or not kind or not (own or is_known):
        raise BadRequest(f"content block of type {kind!r}: known are {', '.join(sorted(READERS))}; nothing was sent")
    return _opaque(block, kind, own)


def _opaque(block: Block, kind: str, own: str) -> Part:
    """A block that is a vendor's own: Anthropic's by its type, else that of the vendor that is asked."""
    source, file_id = block.get("source"), block.get("file_id")
    if file_id and own not in {"openai", "anthropic"}:
        raise BadRequest(
            f"{kind} block with file_id: OpenAI and Anthropic alone know ids of files uploaded elsewhere, Gemini addresses; pass url or "
            "base64; nothing was sent"
        )
    if file_id and own == "anthropic" and kind in MEDIA_TYPES:
        kind = "image" if kind == "image" else "document"
        block = {"type": kind, "source": {"type": "file", "file_id": file_id}}
    elif file_id and own == "openai" and kind == "file" and not isinstance(block.get("file"), Mapping):
        block = {"type": "file", "file": {"file_id": file_id}}
    elif file_id and own == "openai" and kind in MEDIA_TYPES:
        raise BadRequest(f"{kind} block with file_id: OpenAI takes ids of files here, none of pictures; pass base64 or url")
    if kind == "search_result" and own not in {"", "anthropic"}:  # which is text for all others
        return Text("\n".join(str(one.get("text") or "") for one in block.get("content") or () if isinstance(one, Mapping)))
    is_anthropic = kind in ANTHROPIC or kind.endswith("_tool_result") or isinstance(source, Mapping)
    try:
        return Opaque.of("anthropic" if is_anthropic else own or "openai", {"type": kind, **block}, kind=kind)
    except TypeError as error:
        raise BadRequest(f"{kind} block: it cannot be written as JSON ({error}); nothing was sent") from error


def _owned(part: Part | None, own: str) -> Part | None:
    """Sealed thoughts as those of the vendor that is known to have sealed them: another one would refuse its seal."""
    if not (isinstance(part, Reasoning) and part.signature and own in {"anthropic", "google"}):
        return part
    seal = part.signature if own == "anthropic" or part.signature.startswith(GEMINI_SEAL) else GEMINI_SEAL + part.signature
    return msgspec.structs.replace(part, signature=seal, vendor=part.vendor or own)


def _served(block: Block, own: str) -> Part | None:
    """A v1 block of a tool that the vendor's server ran: back in Claude's own form; those of others are not told apart."""
    result = (block.get("extras") or {}).get("block_type")
    if own != "anthropic" or (block["type"] == "server_tool_result" and not result):
        return None
    if block["type"] == "server_tool_result":
        return Opaque.of(own, {"type": result, "tool_use_id": block.get("tool_call_id"), "content": block.get("output")})
    told = {"type": "server_tool_use", "id": block.get("id"), "name": block.get("name"), "input": block.get("args") or {}}
    return Opaque.of(own, told)


def _is_elsewhere(block: Block) -> bool:
    """Whether the block names a file that was uploaded, or parts that only the vendor reads, instead of bytes or an address."""
    source, inner = block.get("source"), block.get("file")
    if isinstance(source, Mapping):
        return source.get("type") in {"file", "content"}
    return bool(block.get("file_id") or (isinstance(inner, Mapping) and inner.get("file_id")))


def _text(block: Block) -> Part | None:
    return Text(block["text"]) if block.get("text") else None


def _refusal(block: Block) -> Part | None:
    return Text(block["refusal"]) if block.get("refusal") else None


def _reasoning(block: Block) -> Part | None:
    if not {"summary", "encrypted_content"}.isdisjoint(block):  # an item of OpenAI's Responses API
        return Opaque.of(RESPONSES, {name: value for name, value in block.items() if name != "index"})
    text = block.get("reasoning") or block.get("thinking") or ""
    signature = block.get("signature") or (block.get("extras") or {}).get("signature") or ""
    if not isinstance(text, str):  # Mistral's thinking is a list
        return Opaque.of("openai", block)
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
    """v1 and v0 files, OpenAI's {"file": {"file_data"}}, Anthropic's documents; a text that nobody cites is text."""
    inner = block.get("file")
    inner = inner if isinstance(inner, Mapping) else {}
    extras = block.get("extras") or block.get("metadata") or {}
    name = block.get("filename") or inner.get("filename") or extras.get("filename") or block.get("title") or extras.get("name") or ""
    source = block.get("source")
    if isinstance(source, Mapping) and source.get("type") == "text":
        text = source.get("data", "")
        return File(data=text.encode(), media_type="text/plain", name=name) if block.get("citations") or name else Text(text)
    data, media_type, url = _bytes_or_url(block, inner.get("file_data"))
    if url:
        given = block.get("mime_type") or (source.get("media_type") if isinstance(source, Mapping) else None)
        return File(url=url, media_type=given or MEDIA_TYPES.get(str(block.get("type")), "application/pdf"), name=name)
    return File(data=data, media_type=media_type, name=name)


def _plain(block: Block) -> Part:
    """A text document: its text if it is at hand, else its bytes."""
    return Text(block["text"]) if block.get("text") else _file({"mime_type": "text/plain", **block})


def _input_audio(block: Block) -> Part:
    sound = block.get("input_audio") or {}
    return File(data=_decoded(sound.get("data", ""), "audio"), media_type=f"audio/{sound.get('format') or 'wav'}")


def _media(block: Block) -> Part:
    """Gemini's, as its classes spell it: bytes or an address, with the media type."""
    media_type = str(block.get("mime_type") or "")
    url = block.get("file_uri")
    data = block.get("data")
    if url:
        return Image(url=str(url), media_type=media_type) if media_type.startswith("image/") else File(url=str(url), media_type=media_type)
    octets = data if isinstance(data, bytes) else _decoded(str(data or ""), "media")
    return Image(data=octets, media_type=media_type) if media_type.startswith("image/") else File(data=octets, media_type=media_type)


def _json(block: Block) -> Part:
    """Bedrock's form of a tool's result."""
    return Text(json.dumps(block.get("json"), ensure_ascii=False, default=plain))


def _code(block: Block) -> Part:
    code = {"language": block.get("language") or "PYTHON", "code": block.get("executable_code")}
    return Opaque.of("google", {"executableCode": code}, kind="executableCode")


def _code_result(block: Block) -> Part:
    told = block.get("outcome")
    outcome = {"1": "OUTCOME_OK", "2": "OUTCOME_FAILED", "3": "OUTCOME_DEADLINE_EXCEEDED"}.get(str(told), told)
    ran = {"outcome": outcome, "output": block.get("code_execution_result")}
    return Opaque.of("google", {"codeExecutionResult": ran}, kind="codeExecutionResult")


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
    where = where or block.get("url") or block.get("file_url")
    if data is None and isinstance(where, str) and where:
        if not where.startswith("data:"):
            return b"", "", where
        head, _, data = where.partition(",")
        media_type = head.removeprefix("data:").partition(";")[0] or media_type
    if not isinstance(data, str):
        raise BadRequest(f"{kind} block without base64, url or file_id; nothing was sent")
    return _decoded(data, kind), media_type or MEDIA_TYPES.get(kind, "application/octet-stream"), ""


def _decoded(data: str, kind: str) -> bytes:
    try:
        return base64.b64decode(data)
    except (binascii.Error, ValueError) as broken:
        raise BadRequest(f"{kind} block: its data is no base64 ({broken}); nothing was sent") from broken


READERS: dict[str, Callable[[Block], Part | None]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _refusal,
    "reasoning": _reasoning,
    "thinking": _reasoning,
    "image": _image,
    "image_url": _image,
    "input_image": _image,
    "file": _file,
    "input_file": _file,
    "document": _file,
    "text-plain": _plain,
    "audio": _file,
    "video": _file,
    "input_audio": _input_audio,
    "media": _media,
    "json": _json,
    "executable_code": _code,
    "code_execution_result": _code_result,
}
