"""What a request asks for in the end, with the fields of `extra` laid over it: which model, how many answers, how many tokens at most.

`extra` goes into the body as it was written and wins over everything else, so whoever prices a request has to read it, too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from surefoot.types import ChatRequest, EmbedRequest


def model_asked(request: ChatRequest | EmbedRequest) -> str:
    """The model that `request` names itself, "" where it is the target's own."""
    said = _extra(request.extra).get("model") if request.extra else None
    if isinstance(said, str) and said:
        return said
    return request.model if isinstance(request, ChatRequest) else ""


@lru_cache(maxsize=256)
def _extra(text: str) -> dict[str, Any]:
    """The fields of an `extra`; none where it is no JSON object, which is refused when it is sent."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}
