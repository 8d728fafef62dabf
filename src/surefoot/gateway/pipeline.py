"""What every request goes through: route, authenticate, admit, read, answer, tell. One way for all routes: none has a way around.

A client that leaves cancels its own request: the call is cancelled with it, its connection upstream closed, what was used booked.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

from surefoot.gateway.errors import HttpError, http_error, plain_headers
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import Headers, KeyGrant, RequestEnded, StreamedAnswer, WholeAnswer
from surefoot.gateway.router import Route, Router
from surefoot.gateway.services import Services

LOOK_S = 0.02  # a client that leaves is noticed so late at most

_log = logging.getLogger("surefoot.gateway")


class Pipeline:
    """Answers HTTP requests: `await Pipeline(router, services)(scope, receive, send)`."""

    def __init__(self, router: Router, services: Services) -> None:
        self._router = router
        self._services = services

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        exchange = HttpExchange(scope, receive)
        route: Route | None = None
        try:
            routes, exchange.names = self._router.find(scope["raw_path"])
            if scope["method"] == "OPTIONS" and self._allowed(exchange):
                await self._send(exchange, send, WholeAnswer(b"", status=204, headers=_PREFLIGHT))
                return
            route = routes.get(scope["method"])
            if route is None:
                raise _no_route(scope, routes)  # noqa: TRY301 - answered below as every other failure
            exchange.route = route.name
            await self._answer(route, exchange, send)
        except asyncio.CancelledError:
            if not exchange.is_gone:
                raise
            _uncancel()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is answered and the process goes on
            if not exchange.is_gone:
                await self._refuse(route, exchange, error, send)
        finally:
            self._tell(exchange)

    async def _answer(self, route: Route, exchange: HttpExchange, send: Any) -> None:
        if route.access in {"key", "admin"}:
            exchange.grant = await self._grant(route, exchange)
            if route.spends:
                self._services.limits.check_budget(exchange.grant)
        if not route.admits:
            await exchange.read(self._services.settings.max_body_bytes)
            await self._send(exchange, send, await route.handle(self._services, exchange))
            return
        admission = self._services.admission
        if not admission.enter():
            await admission.wait()
            exchange.queued_s = asyncio.get_running_loop().time() - exchange.begun_at
        try:
            await exchange.read(self._services.settings.max_body_bytes)
            if route.spends:
                await self._services.limits.take(exchange)
            watch = _Watch(exchange)
            try:
                await self._send(exchange, send, await route.handle(self._services, exchange))
            finally:
                watch.end()
                if route.spends:
                    self._services.limits.settle(exchange)
        finally:
            admission.leave()

    async def _grant(self, route: Route, exchange: HttpExchange) -> KeyGrant:
        """Who asks. Raises HttpError: 401 without a valid key, 403 for one of the wrong kind."""
        secret = _bearer(exchange)
        grant = await self._services.keys.find(secret) if secret else None
        if grant is None:
            raise HttpError(
                401, "invalid_api_key", "no valid key: send one made by `surefoot keys create` as `Authorization: Bearer sf-...`"
            )
        if (route.access == "admin") != grant.is_admin:
            wants = "an admin's key" if route.access == "admin" else "a key for models, not an admin's"
            raise HttpError(403, "forbidden", f"{route.method} {route.path} wants {wants}")
        return grant

    async def _send(self, exchange: HttpExchange, send: Any, answer: WholeAnswer | StreamedAnswer) -> None:
        """Send the answer. Of a stream the first piece is awaited before the status: what fails before it has a status of its own."""
        if isinstance(answer, WholeAnswer):
            exchange.status = answer.status
            headers = [*answer.headers, *self._common(exchange), (b"content-length", b"%d" % len(answer.body))]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})
            return
        exchange.is_stream = True
        chunks = answer.chunks
        try:
            first = await anext(chunks)
            exchange.status = answer.status
            await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, *self._common(exchange)]})
            exchange.first_at = asyncio.get_running_loop().time()
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            await chunks.aclose()
        await send({"type": "http.response.body", "body": b""})

    async def _refuse(self, route: Route | None, exchange: HttpExchange, error: Exception, send: Any) -> None:
        found = http_error(error)
        if found.code == "internal_error":
            _log.error("request %s failed", exchange.request_id, exc_info=error)
        exchange.error = found.code
        exchange.attempts = exchange.attempts or found.attempts
        if exchange.status:  # the answer had begun: what its client has is not whole, and the connection says so
            _log.warning("request %s: the answer broke off: %s", exchange.request_id, found)
            raise error
        is_anthropic = route is not None and route.dialect == "anthropic"
        body = found.anthropic(exchange.request_id) if is_anthropic else found.openai()
        if found.attempts:
            exchange.told = ((b"x-surefoot-attempts", b"%d" % found.attempts),)
        await self._send(exchange, send, WholeAnswer(body, status=found.status, headers=plain_headers(found)))

    def _common(self, exchange: HttpExchange) -> Headers:
        """What every answer says."""
        own = ((b"x-request-id", exchange.request_id.encode()), (b"request-id", exchange.request_id.encode()), *exchange.told)
        origin = exchange.headers.get(b"origin")
        if origin is not None and self._allowed(exchange):
            return (*own, (b"access-control-allow-origin", origin), (b"vary", b"origin"))
        return own

    def _allowed(self, exchange: HttpExchange) -> bool:
        """Whether the page that asks may."""
        return exchange.header(b"origin") in self._services.settings.cors_origins

    def _tell(self, exchange: HttpExchange) -> None:
        """Tell every observer; one that fails is logged."""
        if not self._services.observers:
            return
        now = asyncio.get_running_loop().time()
        ended = RequestEnded(
            request_id=exchange.request_id,
            route=exchange.route,
            outcome=_outcome(exchange),
            status=exchange.status,
            error=exchange.error,
            model=exchange.model,
            target=exchange.target,
            key_id=exchange.grant.key_id,
            team=exchange.grant.team,
            is_stream=exchange.is_stream,
            seconds=now - exchange.begun_at,
            queued_s=exchange.queued_s,
            first_token_s=None if exchange.first_at is None else exchange.first_at - exchange.begun_at,
            attempts=exchange.attempts,
            cost_usd=exchange.cost_usd,
            usage=exchange.usage,
            is_cached=exchange.cached,
            client_retry=exchange.client_retry,
        )
        for observer in self._services.observers:
            try:
                observer(ended)
            except Exception:  # noqa: BLE001 - foreign code
                _log.exception("an observer of the gateway failed")


KEY_HEADERS = (b"authorization", b"x-api-key")
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, x-api-key, anthropic-version, x-surefoot-deadline-ms"),
    (b"access-control-max-age", b"600"),
)


def _outcome(exchange: HttpExchange) -> Literal["ok", "refused", "failed", "left"]:
    if exchange.is_gone and not exchange.error:
        return "left"
    if exchange.status >= 500 or (exchange.error and exchange.status < 400):
        return "failed"
    return "refused" if exchange.status >= 400 else "ok"


def _bearer(exchange: HttpExchange) -> str:
    """The key that was sent: as OpenAI's clients send it, or as Anthropic's; two that differ are none, nor is one header sent twice."""
    sent = exchange.scope["headers"]
    if len(exchange.headers) < len(sent) and any(sum(name == one for one, _ in sent) > 1 for name in KEY_HEADERS):
        return ""
    said = exchange.header(b"authorization")
    bearer = said[7:].strip() if said[:7].lower() == "bearer " else ""
    own = exchange.header(b"x-api-key").strip()
    return bearer if not own or own == bearer else own if not bearer else ""


def _no_route(scope: Any, routes: dict[str, Route]) -> HttpError:
    if routes:
        return HttpError(405, "method_not_allowed", f"{scope['method']} is not a method of this path; {', '.join(routes)} is")
    return HttpError(404, "not_found", f"{scope['method']} {scope['path'][:200]} is no route of this gateway")


class _Watch:
    """Cancels the current task when its client has left. It begins to look after LOOK_S: most answers out of a cache never need it."""

    __slots__ = ("_exchange", "_looking", "_task", "_timer")

    def __init__(self, exchange: HttpExchange) -> None:
        self._exchange = exchange
        self._task = asyncio.current_task()
        self._looking: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._begin)

    def _begin(self) -> None:
        self._looking = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        await self._exchange.until_gone()
        if self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        """The answer has been sent."""
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
