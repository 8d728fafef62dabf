"""The ASGI application: start, requests, and an end at which those in flight are answered."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from surefoot import runtime
from surefoot.config import Models
from surefoot.gateway.batches.serving import Batches
from surefoot.gateway.pipeline import Pipeline
from surefoot.gateway.router import Router
from surefoot.gateway.routes import routes_for
from surefoot.gateway.routes.rag import opened
from surefoot.gateway.services import Keys, Services
from surefoot.gateway.settings import ServeSettings
from surefoot.secret import Secret

_log = logging.getLogger("surefoot.gateway")


class Gateway:
    """`Gateway(surefoot.load("surefoot.toml"), keys)`: an ASGI application for a server of one event loop.

    Its start makes that loop the background loop and builds every model, so that a wrong setting is known before the first request.
    `services.observers` hear of each request once it has ended.
    """

    def __init__(self, models: Models, keys: Keys, settings: ServeSettings | None = None) -> None:
        self.services = Services(models, keys, settings or ServeSettings())
        self.router = Router(routes_for(self.services.settings))
        self.services.routes = self.router.routes
        self.on_start: Callable[[], Awaitable[None]] | None = None
        """Awaited once, before the first request."""
        self._pipeline = Pipeline(self.router, self.services)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One connection's request, or the life of the server."""
        if scope["type"] == "http":
            await self._pipeline(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    async def start(self) -> None:
        """Begin, on the loop that serves. Raises Misconfigured for a model that cannot be built."""
        if not runtime.is_home():
            runtime.adopt()
        self.services.open()
        self.services.indexes = opened(self.services.settings.rag, self.services)
        if self.services.settings.batches:
            self.services.batches = Batches(Secret(self.services.settings.batches), self.services)
            self.services.batches.start()
        if self.on_start is not None:
            await self.on_start()

    async def stop(self) -> None:
        """Wait for what is in flight, at most `drain_s`, and close the models."""
        self.services.is_draining = True
        await self.services.admission.until_empty(self.services.settings.drain_s)
        await self.services.aclose()

    async def _live(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:  # noqa: BLE001 - the server says it and ends
                    _log.error("the gateway cannot start: %s", error)
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return
