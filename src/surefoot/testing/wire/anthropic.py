"""A simulated Anthropic: /v1/messages, /v1/messages/count_tokens, /v1/models."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import msgspec

from surefoot.testing.wire._model._brain import Counts, PlainAnswer, think
from surefoot.testing.wire._model._draft import Draft, Rejection, WireEvent
from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._server._http import WireReply, WireRequest
from surefoot.testing.wire._server._limits import Quota
from surefoot.testing.wire._server._sim import ENCODE, WireSim
from surefoot.testing.wire._server._spoil import spoil_draft
from surefoot.testing.wire._vendors import _batches
from surefoot.testing.wire._vendors._anthropic_body import MessagesBody, prefixes, to_ask
from surefoot.testing.wire._vendors._anthropic_wire import SPOILERS, error_body, events, message, named

MODELS = ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5")

_MESSAGES = msgspec.json.Decoder(MessagesBody)


class AnthropicSim(WireSim):
    """Anthropic on loopback: `Anthropic(base_url=sim.url, api_key="any")`."""

    vendor = "anthropic"
    known_models = MODELS

    def draft(self, request: WireRequest, said: PlainAnswer | str | None) -> Draft:
        """Answer a message or count its tokens."""
        if request.path.endswith("/messages"):
            return self._message(request, said)
        if request.path.endswith("/messages/count_tokens"):
            body = _MESSAGES.decode(request.body)
            counts = think(to_ask(body, strict=False)).counts or Counts()
            return Draft(surface="count", payload={"input_tokens": counts.input}, counts=Counts(), model=body.model)
        raise Rejection(404, "not_found", f"Not found: {request.path}")

    def _message(self, request: WireRequest, fixed: PlainAnswer | str | None) -> Draft:
        body = _MESSAGES.decode(request.body)
        if self.models is not None and body.model not in self.models:
            raise Rejection(404, "not_found", f"model: {body.model}")
        said = self.said(to_ask(body, strict=self.strict), fixed)
        counts = said.counts or Counts()
        if self.context_tokens is not None and counts.input > self.context_tokens:
            raise Rejection(400, "context", f"prompt is too long: {counts.input} tokens > {self.context_tokens} maximum")
        counts.cached, counts.cache_write = self._cached(body)
        counts.input = max(counts.input, counts.cached + counts.cache_write)
        draft = Draft(surface="stream" if body.stream else "chat", payload={}, model=body.model, counts=counts)
        if body.stream:
            draft.events = events(said, counts, model=body.model, request_id=request.id)
        else:
            draft.payload = message(said, counts, model=body.model, request_id=request.id)
        return draft

    def _cached(self, body: MessagesBody) -> tuple[int, int]:
        """Tokens read from and written to the cache:

        The longest known prefix up to the last breakpoint, and what that breakpoint adds.
        """
        found = prefixes(body)
        marks = [size for _, size, marked in found if marked and size >= self.cache_from_tokens]
        if not marks:
            return 0, 0
        last = max(marks)
        read = max((size for mark, size, _ in found if size <= last and mark in self.prefixes), default=0)
        self.prefixes.update(mark for mark, size, _ in found if self.cache_from_tokens <= size <= last)
        return read, last - read

    def batch(self, request: WireRequest) -> WireReply | None:
        """Its batch API."""
        return _batches.anthropic(self, request)

    def listing(self, request: WireRequest) -> Json:
        """GET /v1/models and /v1/models/{id}."""
        _, found, name = request.path.partition("/models")
        if not found:
            raise Rejection(404, "not_found", f"Not found: {request.path}")
        known = self.models or self.known_models
        if name.strip("/"):
            if self.models is not None and name.strip("/") not in known:
                raise Rejection(404, "not_found", f"model: {name.strip('/')}")
            return _model(name.strip("/"))
        return {"data": [_model(m) for m in known], "has_more": False, "first_id": known[0], "last_id": known[-1]}

    def key_of(self, request: WireRequest) -> str | None:
        """`x-api-key`, or `Authorization: Bearer` as the SDK sends it since its second major version."""
        headers = request.headers
        return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ").strip() or None

    def event_bytes(self, event: WireEvent) -> bytes:
        """`event: name`, `data: {...}`, a blank line."""
        return event.data if isinstance(event.data, bytes) else b"event: %b\ndata: %b\n\n" % (event.name.encode(), ENCODE(event.data))

    def error(self, status: int, kind: str, message: str, retry_in_s: float | None, *, request_id: str) -> tuple[Json, str]:  # noqa: ARG002
        """Anthropic's error object; the hint as `retry-after`, in whole seconds."""
        return error_body(kind, message, request_id), "" if retry_in_s is None else f"retry-after: {math.ceil(retry_in_s)}\r\n"

    def error_event(self) -> WireEvent:
        """An `error` event that says overloaded."""
        return named(error_body("overloaded", ""))

    def head_lines(self, request_id: str) -> str:
        """`request-id` and Anthropic's constants."""
        return f"request-id: {request_id}\r\nanthropic-organization-id: org-surefoot\r\n"

    def rate_lines(self, quota: Quota, now_s: float) -> str:
        """`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`; resets are dates (RFC 3339)."""
        tokens = "input-tokens" if quota.output is not None else "tokens"
        lines = []
        for what, window in (("requests", quota.requests), (tokens, quota.tokens), ("output-tokens", quota.output)):
            if window is None:
                continue
            level = window.level(now_s)
            reset = (datetime.now(UTC) + timedelta(seconds=level.reset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
            name = f"anthropic-ratelimit-{what}"
            lines.append(f"{name}-limit: {level.limit}\r\n{name}-remaining: {level.remaining}\r\n{name}-reset: {reset}\r\n")
        return "".join(lines)

    def spoil(self, draft: Draft, how: str) -> None:
        """Anthropic's own ways first, then the shared ones."""
        spoil_draft(draft, how, own=SPOILERS, frame=self.event_bytes, error=self.error_event())


def _model(name: str) -> Json:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z", "lifecycle": "active"}
