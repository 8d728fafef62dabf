"""Every route of the gateway, in one table."""

from __future__ import annotations

import msgspec

from surefoot.gateway.router import Route
from surefoot.gateway.routes import admin, chat, embeddings, health, messages, models, responses
from surefoot.gateway.settings import ServeSettings

ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/health/live", name="live", handle=health.live, access="open", admits=False),
    Route(method="GET", path="/health/ready", name="ready", handle=health.ready, access="open", admits=False),
    Route(method="GET", path="/metrics", name="metrics", handle=health.metrics, access="admin", admits=False),
    Route(method="GET", path="/v1/models", name="models", handle=models.listed),
    Route(method="GET", path="/v1/models/{name}", name="models", handle=models.one),
    Route(method="POST", path="/v1/chat/completions", name="chat", handle=chat.completions, spends=True),
    Route(method="POST", path="/v1/embeddings", name="embeddings", handle=embeddings.embed, spends=True),
    Route(method="POST", path="/v1/responses", name="responses", handle=responses.responses, spends=True),
    Route(method="POST", path="/v1/messages", name="messages", handle=messages.messages, dialect="anthropic", spends=True),
    Route(method="POST", path="/v1/messages/count_tokens", name="count_tokens", handle=messages.count_tokens, dialect="anthropic"),
    Route(method="POST", path="/admin/setup", name="setup", handle=admin.set_up, access="open"),
    Route(method="GET", path="/admin/keys", name="admin", handle=admin.keys, access="admin"),
    Route(method="POST", path="/admin/keys", name="admin", handle=admin.create_key, access="admin"),
    Route(method="GET", path="/admin/keys/{id}", name="admin", handle=admin.key, access="admin"),
    Route(method="PATCH", path="/admin/keys/{id}", name="admin", handle=admin.change_key, access="admin"),
    Route(method="DELETE", path="/admin/keys/{id}", name="admin", handle=admin.revoke_key, access="admin"),
    Route(method="POST", path="/admin/keys/{id}/rotate", name="admin", handle=admin.rotate_key, access="admin"),
    Route(method="GET", path="/admin/teams", name="admin", handle=admin.teams, access="admin"),
    Route(method="POST", path="/admin/teams", name="admin", handle=admin.set_team, access="admin"),
)


def routes_for(settings: ServeSettings) -> tuple[Route, ...]:
    """The table, with the metrics for whom the settings say."""
    known = {"admin": ROUTES, "off": tuple(route for route in ROUTES if route.name != "metrics")}
    return known.get(settings.metrics) or tuple(
        msgspec.structs.replace(route, access="open") if route.name == "metrics" else route for route in ROUTES
    )
