"""What every route works with: the models, the keys, who watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from surefoot.config import Models
from surefoot.errors import Misconfigured
from surefoot.gateway.admission import AdmissionQueue
from surefoot.gateway.calls.log import CallLog
from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange, tell_cache
from surefoot.gateway.keys.limits import KeyLimits
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.metrics import GatewayMetrics
from surefoot.gateway.records import KeyGrant, RequestEnded
from surefoot.gateway.settings import ServeSettings
from surefoot.models.chat import ChatModel
from surefoot.models.embed import EmbedModel
from surefoot.settings import Target
from surefoot.telemetry.prometheus import PrometheusMetrics
from surefoot.usage.ledger import Ledger


class Keys(Protocol):
    """Who may ask."""

    async def find(self, secret: str) -> KeyGrant | None:
        """What the bearer of `secret` may do; None for one that is unknown, expired or revoked."""

    async def by_id(self, key_id: str) -> KeyGrant | None:
        """The same of the key with that id, for what goes on when its request is over."""


class Services:
    """The gateway's parts, for its routes."""

    def __init__(self, models: Models, keys: Keys, settings: ServeSettings) -> None:
        self.models = models
        self.keys = keys
        self.settings = settings
        self.admission = AdmissionQueue(most=settings.max_in_flight, queue=settings.max_queued, queue_s=settings.queue_s)
        self.observers: list[Callable[[RequestEnded], None]] = []
        self.metrics = PrometheusMetrics() if settings.metrics != "off" else None
        if self.metrics is not None:
            self.observers.append(GatewayMetrics(self.metrics, self.admission))
        self.calls: CallLog | None = None
        """Puts down each request for the page; None where nothing is kept."""
        if settings.calls_days and isinstance(keys, SqlKeys):
            self.calls = CallLog(keys.database, keep_days=settings.calls_days)
            self.observers.append(self.calls)
        self.is_draining = False
        self.limits = KeyLimits(keys.database if isinstance(keys, SqlKeys) else None)
        self.batches: Any = None
        """What /v1/files and /v1/batches work with (`gateway.batches.serving.Batches`); None: they are not served."""
        self.indexes: dict[str, Any] = {}
        """What /v1/rag/query answers from, by name."""
        self.routes: tuple[Any, ...] = ()
        """The table that is served."""
        self._built: dict[tuple[str, str], ChatModel | EmbedModel] = {}
        self.ledger: Ledger | None = None
        """Where what calls cost is put down, for models without a ledger of their own."""

    def open(self) -> None:
        """Build every model, so that what is wrong with one is known at the start. Raises Misconfigured."""
        if self.settings.ledger:
            self.ledger = Ledger.at(self.settings.ledger, spool=self.settings.spool or None)
        for kind in ("chat", "embed"):
            for name in self.models.names(kind):
                model = self.models.chat(name) if kind == "chat" else self.models.embed(name)
                if self.ledger is not None and not self.models.has_ledger(kind, name):
                    model.subscribe(self.ledger, inline=True)
                if self.metrics is not None:
                    self.metrics.watch(model)
                if self.models.has_cache(kind, name):
                    model.subscribe(tell_cache, inline=True)
                if self.calls is not None:
                    model.subscribe(self.calls.heard, inline=True)
                self._built[kind, name] = model

    async def aclose(self) -> None:
        """Close the models, book what is left, and close the keys."""
        if self.batches is not None:
            await self.batches.aclose()
        for model in self._built.values():
            await model.aclose()
        await self.limits.aclose()
        if self.calls is not None:
            await self.calls.aclose()
        if isinstance(self.keys, SqlKeys):
            await self.keys.aclose()

    def chat(self, exchange: HttpExchange, name: str) -> ChatModel:
        """The chat model `name`, if the key may ask it. Raises HttpError (404)."""
        return self._model("chat", exchange, name)  # type: ignore[return-value]

    def embed(self, exchange: HttpExchange, name: str) -> EmbedModel:
        """The embedding model `name`, if the key may ask it. Raises HttpError (404)."""
        return self._model("embed", exchange, name)  # type: ignore[return-value]

    @property
    def built(self) -> dict[tuple[str, str], ChatModel | EmbedModel]:
        """The models by kind ("chat", "embed") and name."""
        return dict(self._built)

    def names(self, grant: KeyGrant) -> list[str]:
        """The models that the key may ask."""
        known = dict.fromkeys(name for _, name in self._built)
        return [name for name in known if not grant.models or name in grant.models]

    def targets(self, name: str) -> tuple[Target, ...]:
        """The targets of the chat model `name`."""
        return self.models.targets("chat", name)

    def _model(self, kind: str, exchange: HttpExchange, name: str) -> ChatModel | EmbedModel:
        found = self._built.get((kind, name)) if not exchange.grant.models or name in exchange.grant.models else None
        if found is None:
            known = ", ".join(one for one in self.names(exchange.grant) if (kind, one) in self._built) or "none"
            raise HttpError(
                404, "model_not_found", f"there is no {kind} model {name[:100]!r} for this key; there are: {known}", param="model"
            )
        exchange.model = name
        return self.limits.view(exchange.grant, name, found)


class StaticKeys:
    """Keys that are given: `StaticKeys({"sf-...": KeyGrant(key_id="k1")})`, for a service that keeps its own."""

    def __init__(self, grants: dict[str, KeyGrant]) -> None:
        for secret in grants:
            if len(secret) < 32 or len(set(secret)) < 12:
                raise Misconfigured("a key of fewer than 32 characters, or of few different ones, can be guessed; make 32 random bytes")
        self._grants = dict(grants)

    async def find(self, secret: str) -> KeyGrant | None:
        """What the bearer may do."""
        return self._grants.get(secret)

    async def by_id(self, key_id: str) -> KeyGrant | None:
        """The same of the key with that id."""
        return next((one for one in self._grants.values() if one.key_id == key_id), None)
