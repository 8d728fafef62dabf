"""The kind of job that a batch is: every item is a request through the route that it names, for the key that sent it.

Its key is looked up anew for every chunk, so that one that was revoked asks nothing more. A limit of requests or tokens a minute makes an
item wait; all else is its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.errors import Fault, Misconfigured
from surefoot.gateway.errors import HttpError, http_error
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import KeyGrant, WholeAnswer
from surefoot.gateway.services import Services
from surefoot.jobs.bodies import packed_error
from surefoot.jobs.kinds import ItemResult, Put
from surefoot.jobs.models import ModelSource
from surefoot.jobs.records import OpenChunk
from surefoot.models.requests import scope

DEADLINE_S = 600.0  # of an item: nobody waits for it
PATIENCE_S = 86_400.0  # for a limit a minute, in all: the batch's own day
ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings")  # routes that a batch's requests may name


class ItemAnswer(Struct, Documented, frozen=True, kw_only=True):
    """What came of a request that was answered."""

    request_id: str
    """Its id in the gateway's ledger."""
    body: str
    """The route's answer, as JSON."""


_answer = msgspec.json.Decoder(ItemAnswer)


class ServingModels(ModelSource):
    """What the gateway's jobs find their models in: the gateway itself."""

    def __init__(self, services: Services) -> None:
        super().__init__({}, None)
        self.services = services


class BatchKind:
    """Items are `{"id": ..., "body": JSON}`; the options say whose they are and which route they name."""

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, as they are: the gateway made them."""
        return dict(options)

    def item(self, given: Any) -> Any:
        """The item, as it is: the gateway has read it."""
        return {"id": given["id"], "body": given["body"]}

    def open(self, chunk: OpenChunk, models: ModelSource, limited: Any) -> BatchItems:
        """The runner. Raises Misconfigured outside a gateway."""
        del chunk, limited
        if not isinstance(models, ServingModels):
            raise Misconfigured("a batch of the gateway is worked on by `surefoot serve`")
        return BatchItems(models.services)

    def value(self, body: bytes) -> ItemAnswer:
        """The answer."""
        return _answer.decode(body)


class BatchItems:
    """Asks the items of a chunk, all at once."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self, chunk: OpenChunk, put: Put) -> str:
        """Ask every item and put what came of it."""
        grant = await self._services.keys.by_id(chunk.spec.options["owner"])
        endpoint = chunk.spec.options["endpoint"]
        handle = next(route.handle for route in self._services.routes if route.path == endpoint)

        async def one(n: int, item: Any) -> None:
            put(await self._answer(n, item["body"].encode(), grant, handle))

        with scope(priority="batch", tags={"job": chunk.job}, deadline_s=DEADLINE_S):
            async with asyncio.TaskGroup() as group:
                for n, item in chunk.items:
                    group.create_task(one(n, item))
        return ""

    async def _answer(self, n: int, body: bytes, grant: KeyGrant | None, handle: Callable[..., Awaitable[Any]]) -> ItemResult:
        exchange = HttpExchange({"headers": []}, None)
        exchange.body = body
        until = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                answer = await self._asked(exchange, grant, handle)
            except Exception as error:  # noqa: BLE001 - an item's error is its result
                found = http_error(error)
                wait_s = found.retry_after_s
                if wait_s is not None and asyncio.get_running_loop().time() + wait_s < until:
                    await asyncio.sleep(wait_s)
                    continue
                return ItemResult(n, ok=False, body=packed_error(_kept(found, exchange)), cost_usd=exchange.cost_usd or 0.0)
            told = ItemAnswer(request_id=exchange.request_id, body=answer.body.decode())
            return ItemResult(n, ok=True, body=msgspec.json.encode(told), cost_usd=exchange.cost_usd or 0.0)

    async def _asked(self, exchange: HttpExchange, grant: KeyGrant | None, handle: Callable[..., Awaitable[Any]]) -> WholeAnswer:
        if grant is None:
            raise HttpError(401, "invalid_api_key", "the key of this batch is not valid any more")
        exchange.grant = grant
        limits = self._services.limits
        limits.check_budget(exchange.grant)
        await limits.take(exchange)
        try:
            answer: WholeAnswer = await handle(self._services, exchange)
        finally:
            limits.settle(exchange)
        return answer


def _kept(error: HttpError, exchange: HttpExchange) -> Fault:
    """The item's error as the route told it, in a form that a job keeps."""
    return Fault(str(error), status=error.status, code=error.code, request_id=exchange.request_id)
