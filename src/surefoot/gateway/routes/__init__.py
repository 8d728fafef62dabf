"""Every route of the gateway, in one table."""

from __future__ import annotations

from surefoot.gateway.router import Route
from surefoot.gateway.routes import chat, embeddings, health, models

ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/health/live", name="live", handle=health.live, access="open", admits=False),
    Route(method="GET", path="/health/ready", name="ready", handle=health.ready, access="open", admits=False),
    Route(method="GET", path="/v1/models", name="models", handle=models.listed),
    Route(method="GET", path="/v1/models/{name}", name="models", handle=models.one),
    Route(method="POST", path="/v1/chat/completions", name="chat", handle=chat.completions, spends=True),
    Route(method="POST", path="/v1/embeddings", name="embeddings", handle=embeddings.embed, spends=True),
)
