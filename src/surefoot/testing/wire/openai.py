"""A simulated OpenAI: /chat/completions, /responses, /embeddings, /models, with or without /v1 or an Azure deployment before them."""

from __future__ import annotations

import math

import msgspec

from surefoot.testing.wire._model._brain import Ask, Counts, PlainAnswer, tokens_in
from surefoot.testing.wire._model._draft import Draft, Rejection, WireEvent
from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._server._http import WireReply, WireRequest
from surefoot.testing.wire._server._limits import Level, Quota
from surefoot.testing.wire._server._sim import ENCODE, WireSim
from surefoot.testing.wire._server._spoil import spoil_draft
from surefoot.testing.wire._vendors import _batches
from surefoot.testing.wire._vendors import _responses_wire as _responses
from surefoot.testing.wire._vendors._openai_body import ChatBody, EmbedBody, to_ask
from surefoot.testing.wire._vendors._openai_wire import CREATED, SPOILERS, chunks, completion, embeddings, error_body, nan_json
from surefoot.testing.wire._vendors._responses_body import ResponsesBody
from surefoot.testing.wire._vendors._responses_body import to_ask as responses_ask

MODELS = (
    "gpt-5-mini", "gpt-5", "gpt-4.1", "gpt-4o-mini", "gpt-4o-audio-preview", "o4-mini", "text-embedding-3-small", "text-embedding-3-large",
)  # fmt: skip
DIMENSIONS = {"text-embedding-3-large": 3072}
DEFAULT_DIMENSION = 1536
MAX_BATCH = 2048  # texts in one embeddings request, as the API documents

_RESPONSES = msgspec.json.Decoder(ResponsesBody)
_CHAT = msgspec.json.Decoder(ChatBody)
_EMBED = msgspec.json.Decoder(EmbedBody)


class OpenAISim(WireSim):
    """OpenAI on loopback: `OpenAI(base_url=sim.url + "/v1", api_key="any")`."""

    vendor = "openai"
    known_models = MODELS

    def draft(self, request: WireRequest, said: PlainAnswer | str | None) -> Draft:
        """Answer a chat or an embeddings request."""
        if request.path.endswith("/chat/completions"):
            return self._chat(request, said)
        if request.path.endswith("/responses"):
            return self._respond(request, said)
        if request.path.endswith("/embeddings"):
            return self._embed(request)
        raise Rejection(404, "not_found", f"Invalid URL (POST {request.path})")

    def _chat(self, request: WireRequest, fixed: PlainAnswer | str | None) -> Draft:
        body = _CHAT.decode(request.body)
        self._knows(body.model)
        ask = to_ask(body, strict=self.strict)
        said = self.said(ask, fixed)
        counts = said.counts or Counts()
        self._check_length(ask, counts)
        counts.cached = self.seen_prefix(ask.prompt)
        n = body.n or 1
        if n > 1:
            counts.output *= n
        draft = Draft(surface="stream" if body.stream else "chat", payload={}, model=body.model, counts=counts)
        if body.stream:
            with_usage = bool((body.stream_options or {}).get("include_usage"))
            draft.events = chunks(said, counts, model=body.model, request_id=request.id, n=n, with_usage=with_usage)
        else:
            draft.payload = completion(said, counts, model=body.model, request_id=request.id, n=n)
        return draft

    def _respond(self, request: WireRequest, fixed: PlainAnswer | str | None) -> Draft:
        body = _RESPONSES.decode(request.body)
        self._knows(body.model)
        ask = responses_ask(body, fields=frozenset(request.json), strict=self.strict)
        said = self.said(ask, fixed)
        counts = said.counts or Counts()
        self._check_length(ask, counts)
        counts.cached = self.seen_prefix(ask.prompt)
        number = request.id.removeprefix("req_")
        items = _responses.items_of(said, counts, body, number=number)
        whole = _responses.response(items, said, counts, body, number=number)
        draft = Draft(surface="stream" if body.stream else "chat", payload={}, model=body.model, counts=counts, api="responses")
        if body.stream:
            draft.events = _responses.events(whole["output"], whole, counts, body, number=number)
        else:
            draft.payload = whole
        return draft

    def _check_length(self, ask: Ask, counts: Counts) -> None:
        if self.context_tokens is not None and counts.input + (ask.max_tokens or 0) > self.context_tokens:
            message = (
                f"This model's maximum context length is {self.context_tokens} tokens. However, your messages resulted in {counts.input} "
                "tokens. Please reduce the length of the messages."
            )
            raise Rejection(400, "context", message)

    def _embed(self, request: WireRequest) -> Draft:
        body = _EMBED.decode(request.body)
        self._knows(body.model)
        texts = body.texts
        if not texts or any(not text for text in texts):
            raise Rejection(
                400, "bad_request", "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
            )
        if len(texts) > MAX_BATCH:
            raise Rejection(400, "bad_request", f"'$.input' is too long: expected at most {MAX_BATCH} items, got {len(texts)}.")
        sizes = [tokens_in(text) for text in texts]
        if max(sizes) > self.embed_tokens:
            message = (
                f"This model's maximum context length is {self.embed_tokens} tokens, however you requested {max(sizes)} tokens. "
                "Please reduce your prompt."
            )
            raise Rejection(400, "context", message)
        counts = Counts(input=sum(sizes))
        dim = body.dimensions or self.dimensions or DIMENSIONS.get(body.model, DEFAULT_DIMENSION)
        payload = embeddings(texts, dim, model=body.model, counts=counts, base64=body.encoding_format == "base64")
        return Draft(surface="embed", payload=payload, model=body.model, counts=counts, texts=texts)

    def _knows(self, model: str) -> None:
        if self.models is not None and model not in self.models:
            raise Rejection(404, "not_found", f"The model `{model}` does not exist or you do not have access to it.")

    def batch(self, request: WireRequest) -> WireReply | None:
        """Its batch API."""
        return _batches.openai(self, request)

    def listing(self, request: WireRequest) -> Json:
        """GET /models and /models/{id}."""
        _, found, name = request.path.partition("/models")
        if not found:
            raise Rejection(404, "not_found", f"Invalid URL (GET {request.path})")
        entries = [{"id": m, "object": "model", "created": CREATED, "owned_by": "surefoot"} for m in self.models or self.known_models]
        if name.strip("/"):
            self._knows(name.strip("/"))
            return {"id": name.strip("/"), "object": "model", "created": CREATED, "owned_by": "surefoot"}
        return {"object": "list", "data": entries}

    def key_of(self, request: WireRequest) -> str | None:
        """`Authorization: Bearer`, or Azure's `api-key`."""
        headers = request.headers
        return headers.get("authorization", "").removeprefix("Bearer ").strip() or headers.get("api-key")

    def event_bytes(self, event: WireEvent) -> bytes:
        """`data: {...}` and a blank line; `event: NAME` before it in the Responses API."""
        if isinstance(event.data, bytes):
            return event.data
        name = b"event: %b\n" % event.name.encode() if event.name else b""
        return b"%bdata: %b\n\n" % (name, ENCODE(event.data))

    def error(self, status: int, kind: str, message: str, retry_in_s: float | None, *, request_id: str) -> tuple[Json, str]:  # noqa: ARG002
        """OpenAI's error object; the hint as `retry-after` and `retry-after-ms`."""
        body = error_body(kind, message)
        if kind == "rate_limit" and "tokens" in message:
            body["error"]["type"] = "tokens"
        if retry_in_s is None:
            return body, ""
        return body, f"retry-after-ms: {math.ceil(retry_in_s * 1000)}\r\nretry-after: {math.ceil(retry_in_s)}\r\n"

    def error_event(self) -> WireEvent:
        """An error object as a data event."""
        return WireEvent(error_body("unavailable", ""))

    def head_lines(self, request_id: str) -> str:
        """`x-request-id` and OpenAI's constants."""
        return f"x-request-id: {request_id}\r\nopenai-version: 2020-10-01\r\nopenai-processing-ms: 1\r\n"

    def rate_lines(self, quota: Quota, now_s: float) -> str:
        """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`."""
        levels = (("requests", quota.requests), ("tokens", quota.tokens))
        return "".join(_rate_lines(what, window.level(now_s)) for what, window in levels if window is not None)

    def spoil(self, draft: Draft, how: str) -> None:
        """OpenAI's own ways first, then the shared ones."""
        is_responses = draft.api == "responses"
        spoilers = _responses.SPOILERS if is_responses else SPOILERS
        error = _responses.error_event() if is_responses else self.error_event()
        spoil_draft(draft, how, own=spoilers, frame=self.event_bytes, error=error)
        if how == "embed_nan":
            draft.raw = nan_json(draft.payload)


def _rate_lines(what: str, level: Level) -> str:
    return (
        f"x-ratelimit-limit-{what}: {level.limit}\r\nx-ratelimit-remaining-{what}: {level.remaining}\r\n"
        f"x-ratelimit-reset-{what}: {_duration(level.reset_s)}\r\n"
    )


def _duration(seconds: float) -> str:
    """OpenAI's way to write a time: 12ms, 6.5s, 1m12s."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.0f}s" if minutes else f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
