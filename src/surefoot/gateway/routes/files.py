"""/v1/files: what batches are made of, and what came of them. A key sees its own."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec

from surefoot.gateway.batches.serving import Batches
from surefoot.gateway.batches.uploads import form_of
from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import JSON_TYPE, StreamedAnswer, WholeAnswer
from surefoot.gateway.services import Services

PAGE = 20
MOST = 100
JSON_LINES = ((b"content-type", b"application/jsonl"), (b"cache-control", b"no-store"))


async def upload(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """POST /v1/files: keep a file of requests."""
    form = form_of(exchange.header(b"content-type"), exchange.body)
    purpose = form.get("purpose", ("", b""))[1].decode("utf-8", "replace")
    if purpose != "batch":
        raise HttpError(400, "invalid_request", "purpose is 'batch': files for anything else are not kept here", param="purpose")
    name, content = form.get("file", ("", b""))
    if not content:
        raise HttpError(400, "invalid_request", "the form's field file is missing or empty", param="file")
    record = await serving(services).files.add_file(exchange.grant.key_id, name[:200] or "requests.jsonl", content)
    return answer(record.shown())


async def listed(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """GET /v1/files: those that were uploaded, newest first."""
    after, limit = page_of(exchange)
    found = await serving(services).files.files(exchange.grant.key_id, after=after, limit=limit + 1)
    return listing([one.shown() for one in found], limit)


async def one(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """GET /v1/files/{id}."""
    batches, owner, name = serving(services), exchange.grant.key_id, exchange.names[0]
    output = await batches.output(owner, name)
    return answer((output[0] if output is not None else await batches.files.file(owner, name)).shown())


async def content(services: Services, exchange: HttpExchange) -> WholeAnswer | StreamedAnswer:
    """GET /v1/files/{id}/content: as it came, or line by line what came of a batch."""
    batches, owner, name = serving(services), exchange.grant.key_id, exchange.names[0]
    output = await batches.output(owner, name)
    if output is not None:
        return StreamedAnswer(output[1], headers=JSON_LINES)
    return WholeAnswer(await batches.files.content(owner, name), headers=JSON_LINES)


async def delete(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """DELETE /v1/files/{id}; a batch's answers go with the batch, after 30 days."""
    await serving(services).files.delete_file(exchange.grant.key_id, exchange.names[0])
    return answer({"id": exchange.names[0], "object": "file", "deleted": True})


def serving(services: Services) -> Batches:
    """The files and batches of the gateway, which has these routes only with them."""
    batches: Batches | None = services.batches
    assert batches is not None, "the routes are there only with them"
    return batches


def page_of(exchange: HttpExchange) -> tuple[str, int]:
    """The id behind which a list goes on, and how many it shall hold. Raises HttpError (400)."""
    said = parse_qs(exchange.scope.get("query_string", b"").decode("latin-1"))
    limit = said.get("limit", [str(PAGE)])[-1]
    if not (limit.isascii() and limit.isdigit() and len(limit) < 6 and int(limit)):
        raise HttpError(400, "invalid_request", "limit is a whole number of at least 1", param="limit")
    return said.get("after", [""])[-1], min(int(limit), MOST)


def listing(found: list[dict[str, Any]], limit: int) -> WholeAnswer:
    """A page of a list; `found` holds one more where there are more."""
    shown = found[:limit]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return answer({"object": "list", "data": shown, "has_more": len(found) > limit, "first_id": first, "last_id": last})


def answer(value: Any) -> WholeAnswer:
    """`value` as JSON that no cache keeps."""
    return WholeAnswer(msgspec.json.encode(value), headers=(JSON_TYPE, (b"cache-control", b"no-store")))
