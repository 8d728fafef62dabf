"""The models that a key may ask, as OpenAI lists them."""

from __future__ import annotations

from typing import Any

import msgspec

from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import WholeAnswer
from surefoot.gateway.services import Services

MADE_S = 1_700_000_000  # the protocol wants a moment; the configuration knows none


async def listed(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """All of them."""
    return WholeAnswer(msgspec.json.encode({"object": "list", "data": [_model(name) for name in services.names(exchange.grant)]}))


async def one(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """One. Raises HttpError (404)."""
    name = exchange.names[0]
    if name not in services.names(exchange.grant):
        raise HttpError(404, "model_not_found", f"there is no model {name!r} for this key", param="model")
    return WholeAnswer(msgspec.json.encode(_model(name)))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": MADE_S, "owned_by": "surefoot"}
