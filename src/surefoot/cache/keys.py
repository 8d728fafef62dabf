"""Canonical bytes and digest of a request: the cache key, the single-flight key, the idempotency key.

Every field counts unless it is known not to matter (a deny-list, never an allow-list): a field added to a request later is
part of the digest by itself. `stream`, tags and deadlines live in the Call and so never enter. VERSION changes whenever the
canonical form does, which makes older cache rows misses.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from surefoot.text import cached_if_short
from surefoot.types import ChatRequest, EmbedRequest, Tool

VERSION = b"1"
_encoder = msgspec.json.Encoder(order=None)


@cached_if_short(512)
def canonical_json(text: str) -> str:
    """`text` (JSON) with sorted keys and no spaces; text that is not JSON is returned as it is."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return msgspec.json.encode(value, order="sorted").decode()


def canonical(request: ChatRequest | EmbedRequest) -> bytes:
    """The request as bytes: equal for equal meaning, whatever order keys of schemas and extras were written in."""
    if isinstance(request, ChatRequest):
        changes: dict[str, object] = {}
        if request.tools:
            changes["tools"] = tuple(_canonical(tool) for tool in request.tools)
        if request.schema is not None and request.schema.schema:
            changes["schema"] = msgspec.structs.replace(request.schema, schema=canonical_json(request.schema.schema))
        if request.extra:
            changes["extra"] = canonical_json(request.extra)
        if request.prompt_cache:
            changes["prompt_cache"] = ""  # what the vendor keeps of the prompt, which no answer shows
        if changes:
            request = msgspec.structs.replace(request, **changes)
        return b"c" + VERSION + _encoder.encode(request)
    if request.extra:
        request = msgspec.structs.replace(request, extra=canonical_json(request.extra))
    return b"e" + VERSION + _encoder.encode(request)


def _canonical(tool: Tool) -> Tool:
    return msgspec.structs.replace(tool, parameters=canonical_json(tool.parameters), raw=canonical_json(tool.raw))


def digest(request: ChatRequest | EmbedRequest, *scope: str) -> str:
    """40 hex digits over the canonical request and `scope` (tenant, answering model, ...), prefix-free."""
    state = blake2b(canonical(request), digest_size=20)
    for word in scope:
        raw = word.encode()
        state.update(b"%d:" % len(raw))
        state.update(raw)
    return state.hexdigest()
