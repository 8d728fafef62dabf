"""Whether the process lives, whether it wants requests, and what it has counted. None asks a store, a model or anybody else."""

from __future__ import annotations

import msgspec

from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import WholeAnswer
from surefoot.gateway.services import Services
from surefoot.telemetry.prometheus import CONTENT_TYPE


async def live(services: Services, exchange: HttpExchange) -> WholeAnswer:  # noqa: ARG001 - the shape of all routes
    """The process answers."""
    return WholeAnswer(b'{"status":"ok"}')


async def ready(services: Services, exchange: HttpExchange) -> WholeAnswer:  # noqa: ARG001
    """200 while new requests are welcome; 503 once the process has been told to end."""
    if services.is_draining:
        return WholeAnswer(b'{"status":"draining"}', status=503)
    admission = services.admission
    return WholeAnswer(msgspec.json.encode({"status": "ok", "in_flight": admission.in_flight, "queued": admission.queued}))


async def metrics(services: Services, exchange: HttpExchange) -> WholeAnswer:  # noqa: ARG001
    """All metrics in Prometheus' text format."""
    assert services.metrics is not None, "the route is there only with them"
    return WholeAnswer(services.metrics.exposition(), headers=((b"content-type", CONTENT_TYPE.encode()),))
