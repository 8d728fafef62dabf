"""POST /v1/embeddings."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import WholeAnswer
from surefoot.gateway.routes.asking import call_options
from surefoot.gateway.services import Services
from surefoot.gateway.wire.bodies import fields_of, rest_of, text_field, value_of


async def embed(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """The vectors of one text or many, as numbers or in base64."""
    fields = fields_of(exchange.body)
    name = text_field(fields, "model")
    model = services.embed(exchange, name)
    texts = _texts(value_of(fields, "input"))
    form = value_of(fields, "encoding_format") or "float"
    if form not in {"float", "base64"}:
        raise HttpError(400, "invalid_request", "encoding_format is 'float' or 'base64'", param="encoding_format")
    options: dict[str, Any] = call_options(exchange, stream=False)
    dimensions = value_of(fields, "dimensions")
    if dimensions is not None:
        options["dimensions"] = dimensions
    extra = rest_of(fields)
    if extra:
        options["extra"] = extra
    reply = await model.areply(texts, unit_length=False, **options)
    exchange.note(target=reply.target, trail=reply.trail, cost_usd=reply.cost_usd, usage=reply.usage, cached=reply.cached)
    rows = [b64encode(row.tobytes()).decode() for row in reply.vectors] if form == "base64" else reply.vectors.tolist()
    tokens = reply.usage.input_tokens
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)],
        "model": reply.model or name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return WholeAnswer(msgspec.json.encode(body))


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise HttpError(400, "invalid_request", "input is a text or a list of texts, at least one", param="input")
    if not all(isinstance(one, str) for one in texts):
        raise HttpError(
            400, "unsupported", "input in tokens is not taken: which model's they are, no other could tell; send text", param="input"
        )
    return texts
