"""/v1/batches: files of requests, done as durable jobs. A key sees its own, and what it may spend holds for each of its requests."""

from __future__ import annotations

import asyncio

from surefoot.gateway.batches.records import BatchAsked, BatchRecord
from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import WholeAnswer
from surefoot.gateway.routes.files import answer, listing, page_of, serving
from surefoot.gateway.services import Services
from surefoot.gateway.wire.bodies import fields_of, rest_of, text_field, value_of


async def create(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """POST /v1/batches: begin one. All of its lines are read now, and a wrong one refuses it."""
    fields = fields_of(exchange.body)
    asked = BatchAsked(
        input_file_id=text_field(fields, "input_file_id"),
        endpoint=text_field(fields, "endpoint"),
        metadata=_metadata(value_of(fields, "metadata")),
    )
    if value_of(fields, "completion_window") != "24h":
        raise HttpError(400, "invalid_request", "completion_window is '24h'", param="completion_window")
    if rest := rest_of(fields):
        raise HttpError(400, "unsupported", f"not served here: {rest[:200]}")
    return answer(await serving(services).create(exchange, asked))


async def listed(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """GET /v1/batches: newest first."""
    after, limit = page_of(exchange)
    batches = serving(services)
    found = await batches.files.batches(exchange.grant.key_id, after=after, limit=limit + 1)
    return listing(list(await asyncio.gather(*map(batches.shown, found))), limit)


async def one(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """GET /v1/batches/{id}."""
    return answer(await serving(services).shown(await _record(services, exchange)))


async def cancel(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """POST /v1/batches/{id}/cancel: nothing more is asked; what was done is kept."""
    return answer(await serving(services).cancel(await _record(services, exchange)))


async def _record(services: Services, exchange: HttpExchange) -> BatchRecord:
    return await serving(services).files.batch(exchange.grant.key_id, exchange.names[0])


def _metadata(said: object) -> dict[str, str]:
    if said is None:
        return {}
    if (
        not isinstance(said, dict)
        or len(said) > 16
        or not all(isinstance(one, str) and len(one) <= 512 for pair in said.items() for one in pair)
    ):
        raise HttpError(400, "invalid_request", "metadata is at most 16 pairs of text, of at most 512 characters", param="metadata")
    return said
