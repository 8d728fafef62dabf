"""A simulated Gemini: :generateContent, :streamGenerateContent, :countTokens, :embedContent, :batchEmbedContents, /models."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec

from surefoot.testing.wire._model._brain import Counts, PlainAnswer, tokens_in
from surefoot.testing.wire._model._draft import Draft, Rejection, WireEvent
from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._server._http import WireReply, WireRequest
from surefoot.testing.wire._server._limits import Quota
from surefoot.testing.wire._server._sim import ENCODE, WireSim
from surefoot.testing.wire._server._spoil import spoil_draft
from surefoot.testing.wire._vendors import _batches
from surefoot.testing.wire._vendors._google_body import Content, EmbedBatch, EmbedOne, GenerateBody, read, to_ask
from surefoot.testing.wire._vendors._google_wire import FULL_DIMENSION, SPOILERS, chunks, embedding, error_body, response
from surefoot.testing.wire._vendors._openai_wire import nan_json

MODELS = ("gemini-3-flash", "gemini-3-pro", "gemini-2.5-flash", "gemini-embedding-001", "gemini-embedding-2")
MAX_BATCH = 100  # requests in one batchEmbedContents, as the API documents


class GeminiSim(WireSim):
    """Gemini on loopback: `genai.Client(api_key="any", http_options=HttpOptions(base_url=sim.url))`.

    `signatures` insists that function calls sent back carry their thoughtSignature, as Gemini 3 does. All parts of one content become one
    vector, as with the real embedding models: the SDK merges plain strings for some of them.
    """

    vendor = "google"
    known_models = MODELS

    def __init__(self, *, signatures: bool = False, **options: Any) -> None:
        """`options` are those of `WireSim`."""
        super().__init__(**options)
        self.signatures = signatures

    def draft(self, request: WireRequest, said: PlainAnswer | str | None) -> Draft:
        """Answer by the verb after the colon."""
        path, _, verb = request.path.rpartition(":")
        model = path.rpartition("/models/")[2]
        answers = {"batchEmbedContents": self._batch, "embedContent": self._one, "countTokens": self._count}
        if self.models is not None and model not in self.models:
            raise Rejection(404, "not_found", f"models/{model} is not found for API version v1beta, or is not supported for {verb}.")
        if verb in ("generateContent", "streamGenerateContent"):
            return self._generate(request, model, said, stream=verb.startswith("stream"))
        if verb in answers:
            return answers[verb](request, model)
        raise Rejection(404, "not_found", f"Not found: {request.path}")

    def _generate(self, request: WireRequest, model: str, fixed: PlainAnswer | str | None, *, stream: bool) -> Draft:
        body = read(request.body, GenerateBody)
        ask = to_ask(body, model=model, stream=stream, strict=self.strict, signed=self.signatures)
        said = self.said(ask, fixed)
        counts = said.counts or Counts()
        if self.context_tokens is not None and counts.input > self.context_tokens:
            message = f"The input token count ({counts.input}) exceeds the maximum number of tokens allowed ({self.context_tokens})."
            raise Rejection(400, "context", message)
        counts.cached = self.seen_prefix(ask.prompt)
        thoughts = bool((body.generation_config.thinking_config or {}).get("includeThoughts"))
        shared = {"model": model, "request_id": request.id, "thoughts": thoughts}
        draft = Draft(surface="stream" if stream else "chat", payload={}, model=model, counts=counts)
        if stream:
            draft.events = chunks(said, counts, **shared)  # type: ignore[arg-type]
            if "alt=sse" not in request.query:  # without it the API streams one JSON array
                draft.raw, draft.events = ENCODE([event.data for event in draft.events]), None
        else:
            draft.payload = response(said, counts, **shared)  # type: ignore[arg-type]
        return draft

    def _count(self, request: WireRequest, model: str) -> Draft:
        told = msgspec.json.decode(request.body, type=dict[str, msgspec.Raw])
        raw = bytes(told["generateContentRequest"]) if "generateContentRequest" in told else request.body
        ask = to_ask(read(raw, GenerateBody), model=model, stream=False, strict=False, signed=False)
        counts = self.said(ask, "").counts or Counts()
        details = [{"modality": "TEXT", "tokenCount": counts.input}]
        return Draft(surface="count", payload={"totalTokens": counts.input, "promptTokensDetails": details}, counts=Counts(), model=model)

    def _batch(self, request: WireRequest, model: str) -> Draft:
        wanted = read(request.body, EmbedBatch).requests
        if len(wanted) > MAX_BATCH:
            raise Rejection(400, "bad_request", f"* BatchEmbedContentsRequest.requests: at most {MAX_BATCH} requests can be in one batch")
        return self._embed(wanted, model, lambda found: {"embeddings": found})

    def _one(self, request: WireRequest, model: str) -> Draft:
        return self._embed([read(request.body, EmbedOne)], model, lambda found: {"embedding": found[0]})

    def _embed(self, wanted: list[EmbedOne], model: str, wrap: Any) -> Draft:
        texts = [_text(one.content) for one in wanted]
        if not texts or any(not text for text in texts):
            raise Rejection(400, "bad_request", "* EmbedContentRequest.content contains an empty Part.")
        sizes = [tokens_in(text) for text in texts]
        if max(sizes) > self.embed_tokens:
            message = f"The input token count ({max(sizes)}) exceeds the maximum number of tokens allowed ({self.embed_tokens})."
            raise Rejection(400, "context", message)
        default = self.dimensions or FULL_DIMENSION
        found = [embedding(text, one.dimension or default, model=model) for one, text in zip(wanted, texts, strict=True)]
        counts = Counts(input=sum(sizes))
        usage = {"promptTokenCount": counts.input, "promptTokenDetails": [{"modality": "TEXT", "tokenCount": counts.input}]}
        return Draft(surface="embed", payload=wrap(found) | {"usageMetadata": usage}, counts=counts, model=model, texts=texts)

    def batch(self, request: WireRequest) -> WireReply | None:
        """Its batch API."""
        return _batches.google(self, request)

    def listing(self, request: WireRequest) -> Json:
        """GET /models and /models/{id}."""
        _, found, name = request.path.partition("/models")
        if not found:
            raise Rejection(404, "not_found", f"Not found: {request.path}")
        if name.strip("/"):
            if self.models is not None and name.strip("/") not in self.models:
                raise Rejection(404, "not_found", f"models/{name.strip('/')} is not found for API version v1beta.")
            return _model(name.strip("/"))
        return {"models": [_model(m) for m in self.models or self.known_models]}

    def key_of(self, request: WireRequest) -> str | None:
        """`x-goog-api-key`, `?key=`, or a bearer token."""
        headers = request.headers
        given = headers.get("x-goog-api-key") or (parse_qs(request.query).get("key") or [""])[0]
        return given or headers.get("authorization", "").removeprefix("Bearer ").strip() or None

    def let_in(self, request: WireRequest) -> str:
        """Google answers 403 to no key and 400 to a wrong one."""
        try:
            return super().let_in(request)
        except Rejection as refusal:
            if refusal.kind == "no_key":
                raise Rejection(403, "no_key", "") from None
            raise Rejection(400, "bad_key", "") from None

    def event_bytes(self, event: WireEvent) -> bytes:
        """`data: {...}` with CRLF line ends, as Google writes them."""
        return event.data if isinstance(event.data, bytes) else b"data: " + ENCODE(event.data) + b"\r\n\r\n"

    def error(self, status: int, kind: str, message: str, retry_in_s: float | None, *, request_id: str) -> tuple[Json, str]:  # noqa: ARG002
        """Google's error object; the hint as RetryInfo in its details, no header."""
        return error_body(status, kind, message, retry_in_s), ""

    def error_event(self) -> WireEvent:
        """An error object as a data event."""
        return WireEvent(error_body(503, "unavailable", ""))

    def head_lines(self, request_id: str) -> str:
        """Google names no request in its headers; the simulator does, under a name of its own."""
        return f"x-sim-request-id: {request_id}\r\nserver-timing: gfet4t7; dur=1\r\n"

    def rate_lines(self, quota: Quota, now_s: float) -> str:  # noqa: ARG002 - the shared signature
        """None: Gemini tells its limits only in errors."""
        return ""

    def spoil(self, draft: Draft, how: str) -> None:
        """Gemini's own ways first, then the shared ones."""
        if how.startswith("embed_") and "embeddings" not in draft.payload:
            draft.payload = {"embeddings": [draft.payload["embedding"]]}
        spoil_draft(draft, how, own=SPOILERS, frame=self.event_bytes, error=self.error_event())
        if how == "embed_nan":
            draft.raw = nan_json(draft.payload)


def _text(content: Content) -> str:
    """All parts of one content together: one vector."""
    return "\n".join(part.text or f"[{part.media}]" for part in content.parts if part.text or part.media)


def _model(name: str) -> Json:
    verbs = ["embedContent"] if "embedding" in name else ["generateContent", "countTokens"]
    return {
        "name": f"models/{name}", "version": "001", "displayName": name, "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
        "supportedGenerationMethods": verbs,
    }  # fmt: skip
