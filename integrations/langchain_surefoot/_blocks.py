"""Parts of answers as LangChain's content blocks. How blocks are read: `surefoot.core.content`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from surefoot.types import File, Image, Opaque, Part


def shown(parts: Sequence[Part]) -> list[str | dict[str, Any]]:
    """What a reader of an answer sees of `parts`: pictures, sounds, and what the vendor's own servers did, in the vendor's words."""
    return [block for part in parts if (block := _shown(part)) is not None]


def _shown(part: Part) -> dict[str, Any] | None:
    if isinstance(part, Opaque):
        value = part.value()
        if part.is_block or (part.vendor == "google" and isinstance(value, dict)):
            return {"type": part.kind, **value}
        return None
    if isinstance(part, Image):
        return {"type": "image", "url": part.url} if part.url else {"type": "image", **_bytes(part)}
    if isinstance(part, File) and part.data:
        kind = part.media_type.partition("/")[0]
        return {"type": kind if kind in {"audio", "video"} else "file", **_bytes(part)}
    return None


def _bytes(part: Image | File) -> dict[str, str]:
    return {"base64": base64.b64encode(part.data).decode(), "mime_type": part.media_type}
