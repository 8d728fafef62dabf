"""Every route of the gateway, in one table."""

from __future__ import annotations

import msgspec

from surefoot.gateway.page.views import PAGE_ROUTES
from surefoot.gateway.router import Route
from surefoot.gateway.routes import admin, batches, chat, embeddings, files, health, messages, models, openapi, rag, responses
from surefoot.gateway.settings import ServeSettings

ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/health/live", name="live", handle=health.live, access="open", admits=False),
    Route(method="GET", path="/health/ready", name="ready", handle=health.ready, access="open", admits=False),
    Route(method="GET", path="/openapi.json", name="openapi", handle=openapi.document, access="open", admits=False),
    Route(method="GET", path="/metrics", name="metrics", handle=health.metrics, access="admin", admits=False),
    Route(method="GET", path="/v1/models", name="models", handle=models.listed),
    Route(method="GET", path="/v1/models/{name}", name="models", handle=models.one),
    Route(method="POST", path="/v1/chat/completions", name="chat", handle=chat.completions, spends=True),
    Route(method="POST", path="/v1/embeddings", name="embeddings", handle=embeddings.embed, spends=True),
    Route(method="POST", path="/v1/responses", name="responses", handle=responses.responses, spends=True),
    Route(method="POST", path="/v1/messages", name="messages", handle=messages.messages, dialect="anthropic", spends=True),
    Route(method="POST", path="/v1/messages/count_tokens", name="count_tokens", handle=messages.count_tokens, dialect="anthropic"),
    Route(method="POST", path="/v1/files", name="files", handle=files.upload),
    Route(method="GET", path="/v1/files", name="files", handle=files.listed),
    Route(method="GET", path="/v1/files/{id}", name="files", handle=files.one),
    Route(method="DELETE", path="/v1/files/{id}", name="files", handle=files.delete),
    Route(method="GET", path="/v1/files/{id}/content", name="files", handle=files.content),
    Route(method="POST", path="/v1/batches", name="batches", handle=batches.create, spends=True),
    Route(method="GET", path="/v1/batches", name="batches", handle=batches.listed),
    Route(method="GET", path="/v1/batches/{id}", name="batches", handle=batches.one),
    Route(method="POST", path="/v1/batches/{id}/cancel", name="batches", handle=batches.cancel),
    Route(method="POST", path="/v1/rag/query", name="rag", handle=rag.query, spends=True),
    Route(method="POST", path="/admin/setup", name="setup", handle=admin.set_up, access="open"),
    Route(method="GET", path="/admin/keys", name="admin", handle=admin.keys, access="admin"),
    Route(method="POST", path="/admin/keys", name="admin", handle=admin.create_key, access="admin"),
    Route(method="GET", path="/admin/keys/{id}", name="admin", handle=admin.key, access="admin"),
    Route(method="PATCH", path="/admin/keys/{id}", name="admin", handle=admin.change_key, access="admin"),
    Route(method="DELETE", path="/admin/keys/{id}", name="admin", handle=admin.revoke_key, access="admin"),
    Route(method="POST", path="/admin/keys/{id}/rotate", name="admin", handle=admin.rotate_key, access="admin"),
    Route(method="GET", path="/admin/teams", name="admin", handle=admin.teams, access="admin"),
    Route(method="POST", path="/admin/teams", name="admin", handle=admin.set_team, access="admin"),
    *PAGE_ROUTES,
)


def routes_for(settings: ServeSettings) -> tuple[Route, ...]:
    """The table of what the settings want served, with the metrics for whom they say."""
    wanted = {
        "metrics": settings.metrics != "off", "files": settings.batches, "batches": settings.batches, "rag": settings.rag,
        "page": settings.page,
    }  # fmt: skip
    off = {name for name, is_wanted in wanted.items() if not is_wanted}
    served = tuple(route for route in ROUTES if route.name not in off)
    if settings.metrics != "open":
        return served
    return tuple(msgspec.structs.replace(route, access="open") if route.name == "metrics" else route for route in served)
