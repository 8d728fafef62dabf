"""What a request asks for in the end, with the fields of `extra` laid over it: which model, how many answers, how many tokens at most.

`extra` goes into the body as it was written and wins over everything else, so whoever prices a request has to read it, too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from surefoot.text import cached_if_short
from surefoot.types import ChatRequest, EmbedRequest

TOKEN_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens", "max_new_tokens", "num_predict")
ANSWER_FIELDS = ("n", "candidateCount")
NESTED = "generationConfig"  # Google's


def model_asked(request: ChatRequest | EmbedRequest) -> str:
    """The model that `request` names itself, "" where it is the target's own."""
    if request.extra:
        said = _extra(request.extra).get("model")
        if isinstance(said, str) and said:
            return said
    return request.model if isinstance(request, ChatRequest) else ""


def tokens_asked(request: ChatRequest) -> int | None:
    """How many tokens an answer may have, as `request` says; None where it does not."""
    return (_number(request.extra, TOKEN_FIELDS) if request.extra else None) or request.max_tokens


def answers_asked(request: ChatRequest) -> int:
    """How many answers to one prompt `request` asks for."""
    return (_number(request.extra, ANSWER_FIELDS) if request.extra else None) or 1


def _number(extra: str, names: tuple[str, ...]) -> int | None:
    """The largest whole number above 0 that `extra` gives to one of `names`."""
    fields = _extra(extra)
    nested = fields.get(NESTED)
    both = (fields, nested) if isinstance(nested, dict) else (fields,)
    return max((found for one in both for name in names if type(found := one.get(name)) is int and found > 0), default=None)


@cached_if_short(256)
def _extra(text: str) -> dict[str, Any]:
    """The fields of an `extra`; none where it is no JSON object, which is refused when it is sent."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}
