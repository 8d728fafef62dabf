"""GET /openapi.json: the table of routes as an OpenAPI 3.1 document, made of the table itself."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from surefoot import __version__
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import WholeAnswer
from surefoot.gateway.router import NAME, SESSION_COOKIE, Access, Route
from surefoot.gateway.services import Services

WIRES = {
    "chat": "https://platform.openai.com/docs/api-reference/chat/create",
    "embeddings": "https://platform.openai.com/docs/api-reference/embeddings/create",
    "responses": "https://platform.openai.com/docs/api-reference/responses/create",
    "messages": "https://docs.anthropic.com/en/api/messages",
    "count_tokens": "https://docs.anthropic.com/en/api/messages-count-tokens",
    "files": "https://platform.openai.com/docs/api-reference/files",
    "batches": "https://platform.openai.com/docs/api-reference/batch",
}
REFUSALS = {
    "400": "The request cannot be read, or asks what cannot be.",
    "401": "No valid key.",
    "403": "A key of the wrong kind.",
    "404": "There is no such thing for this key.",
    "413": "The body is too large.",
    "429": "A limit or a budget of the key or its team; `x-should-retry` says whether waiting helps.",
    "503": "The gateway is full or ends; ask again after `retry-after-ms`.",
}
ERRORS: dict[str, Any] = {
    "OpenAIError": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    "AnthropicError": {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            },
            "request_id": {"type": "string"},
        },
    },
}  # fmt: skip


_BY_KEY: list[dict[str, list[str]]] = [{"key": []}, {"header": []}]
SECURITY: dict[Access, list[dict[str, list[str]]]] = {"open": [], "key": _BY_KEY, "admin": _BY_KEY, "session": [{"session": []}]}


async def document(services: Services, exchange: HttpExchange) -> WholeAnswer:  # noqa: ARG001 - the shape of all routes
    """The document."""
    return WholeAnswer(msgspec.json.encode(openapi(services.routes)))


def openapi(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The routes as an OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        item = paths.setdefault(route.path, {})
        names = re.findall(r"\{(\w+)\}", route.path)
        if names:
            schema = {"type": "string", "pattern": f"^{NAME.decode()}$"}
            item["parameters"] = [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]
        item[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "surefoot gateway", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": ERRORS,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key made by `surefoot keys create`."},
                "header": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "The same, as Anthropic's clients send it.",
                },
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE, "description": "Who has signed in at /ui/sign-in."},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    error = {"$ref": f"#/components/schemas/{'AnthropicError' if route.dialect == 'anthropic' else 'OpenAIError'}"}
    refused = {status: {"description": why, "content": {"application/json": {"schema": error}}} for status, why in REFUSALS.items()}
    words = re.sub(r"^(GET|POST|PATCH|DELETE) [^\s:]+(: )?", "", (inspect.getdoc(route.handle) or "").partition("\n")[0])
    said: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^A-Za-z0-9]+', '_', route.path)}",
        "tags": [route.name],
        "summary": words or route.path,
        "responses": {"2XX": {"description": "The answer; a stream of events where the request asks for one."}, **refused},
        "security": SECURITY[route.access],
    }
    if route.method in {"POST", "PATCH"}:
        kind = "multipart/form-data" if route.path == "/v1/files" else "application/json"
        said["requestBody"] = {"content": {kind: {"schema": {"type": "object"}}}}
    if route.name in WIRES:
        said["externalDocs"] = {"url": WIRES[route.name], "description": "The protocol whose words it speaks."}
    return said
