"""Google's Gemini API, and gateways that speak it, by `base_url`; Vertex AI through a client of the caller's.

google-genai sends (`lane="sdk"`), or the caller's own client of it (`client=genai.Client(vertexai=True, ...)`), or nothing but an aiohttp
session (`lane="direct"`), see `_google_lanes`; bodies, answers and event streams are our own functions' either way.

Vertex AI is another API under the same SDK: no keys but tokens of a service account, an address for each region, other embeddings. A client
of the caller's knows how; embeddings are not asked there. Its OpenAI-compatible address works as an `openai:` target, see VERTEX.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from surefoot.core.deltas import Replay, to_deltas
from surefoot.core.stream import Stream
from surefoot.errors import Fault, Misconfigured, SurefootError, Unsupported
from surefoot.facts import ModelFacts, model_of, provider_of
from surefoot.providers._parameters import LeftOutNotes
from surefoot.providers.google.facts import PROVIDERS
from surefoot.providers.google.lanes import is_vertex, lane_for
from surefoot.providers.google.requests import GoogleDialect, chat_body, embed_body, path_of
from surefoot.providers.google.responses import GoogleChatReader, chat_reply, vectors
from surefoot.providers.http.answers.counts import counted, with_usage
from surefoot.providers.http.answers.vectors import limit_of_texts
from surefoot.providers.http.exchange import Exchange, LaneOf, options_of, texts
from surefoot.providers.http.faults import ErrorBoundary, fault_of, malformed
from surefoot.providers.http.reading import ReadingContext
from surefoot.providers.http.sse import UnreadBody
from surefoot.providers.http.transport import OPTIONS as TRANSPORT_OPTIONS
from surefoot.secret import KeySource
from surefoot.settings import Target
from surefoot.types import Call, ChatReply, ChatRequest, EmbedReply, EmbedRequest, Traits

logger = logging.getLogger(__name__)

API_VERSION = "v1beta"  # takes every field we send, through either generation of the SDK (2.x defaults to it, 3.x to v1)
MAX_BATCH_TEXTS = 100  # of one batchEmbedContents, the API reference says
TASK_TYPES = ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY")
PREFIXES = ("title: none | text: ", "task: search result | query: ")  # gemini-embedding-2 wants the task in the text, ibid.

OPTIONS: dict[str, Any] = {
    "api_version": API_VERSION,
    **TRANSPORT_OPTIONS,
    "thoughts": None,  # True or False: always or never ask for summaries of thoughts; None: where reasoning_effort is given, and in streams
    "task_types": None,  # (for documents, for queries); None: TASK_TYPES, or none where the model takes prefixes
    "document_prefix": None,  # put before each text to embed; None: PREFIXES for gemini-embedding-2, else nothing
    "query_prefix": None,
    "max_batch_texts": MAX_BATCH_TEXTS,
    "max_batch_tokens": None,
    "max_text_tokens": None,
}


VERTEX_OPTIONS = ("vertexai", "project", "location", "credentials")
VERTEX = (
    'Vertex AI takes no Gemini API key, and is a provider of its own: Target("vertex:MODEL", options=(("project", ...), '
    '("location", ...))); or give Target(..., client=genai.Client(vertexai=True, project=..., location=...)), or use its '
    'OpenAI-compatible address: Target("openai:google/MODEL", base_url="https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/'
    'locations/LOCATION/endpoints/openapi", api_key=ACCESS_TOKEN)'
)


class GoogleProvider:
    """`google:MODEL`. Sends once, never retries or waits; lives on one loop.

    `target.options` may hold the keys of OPTIONS. Raises Misconfigured for an unknown option or a missing package.
    """

    def __init__(self, target: Target, keys: KeySource | None) -> None:
        known = provider_of(target.provider) or PROVIDERS["google"]
        if target.provider == "google" and any(name in VERTEX_OPTIONS for name, _ in target.options):
            raise Misconfigured(f"target {target.name}: {VERTEX}")
        options = options_of(target, {**OPTIONS, **dict(known.options)})
        model = target.model
        by_prefix = model.startswith("gemini-embedding-2")
        default = PREFIXES if by_prefix else ("", "")
        given = (options["document_prefix"], options["query_prefix"])
        task_types = options["task_types"]
        if task_types is None:
            task_types = ("", "") if by_prefix else TASK_TYPES
        self.target = target
        self._notes = LeftOutNotes(target.name, logger)
        self._embedder = model_of("google", model) or ModelFacts(begins="")
        self.dialect = GoogleDialect(
            target=target.name,
            thoughts=options["thoughts"],
            task_types=(task_types[0], task_types[1]),
            prefixes=(default[0] if given[0] is None else given[0], default[1] if given[1] is None else given[1]),
        )
        self.traits = Traits(
            context_tokens=target.context_tokens,
            embed=not is_vertex(target),
            space=self._space(target.dimensions, is_unit=True),
            max_batch_texts=options["max_batch_texts"],
            max_batch_tokens=options["max_batch_tokens"],
            max_text_tokens=options["max_text_tokens"] or self._embedder.text_tokens,
        )
        self._exchange = Exchange(target, keys, lane_for(target, options), variable=" or ".join(known.key_variables))

    def _space(self, dimensions: int | None, *, is_unit: bool) -> str:
        """provider/model/dimension/normalisation/prefix; a task type is Google's own kind of prefix."""
        model = self.target.model
        size = dimensions or self._embedder.dimensions or "default"
        marks = self.dialect.prefixes if any(self.dialect.prefixes) else self.dialect.task_types
        prefix = quote("|".join(marks), safe=" :|") if any(marks) else "no-prefix"
        return f"google/{model}/{size}/{'unit' if is_unit else 'as-is'}/{prefix}"

    async def chat(self, call: Call[ChatRequest]) -> ChatReply | Stream:
        """One exchange. Raises Unsupported or Misconfigured (nothing sent), or a Fault."""
        model = call.request.model or self.target.model
        verb = "streamGenerateContent" if call.stream else "generateContent"
        path = path_of(model, verb, target=self.target.name, is_vertex=is_vertex(self.target))
        left_out: list[str] = []
        body = chat_body(call.request, self.target.model, dialect=self.dialect, stream=call.stream, left_out=left_out)
        self._notes.emit(call, model, left_out)
        if not call.stream:
            data, answer, endpoint = await self._exchange.whole(path, body, call)
            return with_usage(chat_reply(data, answer.headers.get("content-type", ""), self._asked(call, endpoint)), call.request)

        def reader(answer: UnreadBody, endpoint: ErrorBoundary) -> GoogleChatReader:
            del answer
            return GoogleChatReader(self._asked(call, endpoint))

        def whole(data: bytes, answer: UnreadBody, endpoint: ErrorBoundary) -> Replay:
            return Replay(to_deltas(chat_reply(data, answer.headers.get("content-type", ""), self._asked(call, endpoint))))

        return await self._exchange.stream(f"{path}?alt=sse", body, call, reader=reader, whole=whole)

    def _asked(self, call: Call[ChatRequest], endpoint: ErrorBoundary) -> ReadingContext:
        def emit(error: Any) -> SurefootError:
            return fault_of(self.target.name, error, key=endpoint.key, private=texts(call.request))

        return ReadingContext(self.target.name, "", call.request, emit)  # Google names its answers in the body only

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """One exchange: the vectors of all texts, in order, checked. Raises MalformedReply if one is missing, torn, zero or no number."""
        request = call.request
        name = self.target.name
        if is_vertex(self.target):
            raise Unsupported(f"{name}: embeddings are another API on Vertex AI, which is not spoken here; use a Gemini API key for them")
        dimensions = request.dimensions or self.target.dimensions
        body = embed_body(request, self.target.model, dimensions=dimensions, dialect=self.dialect)
        try:
            data, answer, endpoint = await self._exchange.whole(path_of(self.target.model, "batchEmbedContents", target=name), body, call)
        except Fault as fault:
            if (most := limit_of_texts(fault, len(request.texts))) is not None:
                self.traits = replace(self.traits, max_batch_texts=min(most, self.traits.max_batch_texts))
            raise

        def emit(error: Any) -> SurefootError:
            return fault_of(name, error, key=endpoint.key, private=texts(request))

        matrix, usage = vectors(data, answer.headers.get("content-type", ""), count=len(request.texts), target=name, emit=emit)
        expected = dimensions or self._embedder.dimensions
        if expected is not None and matrix.shape[1] != expected:
            raise malformed(name, f"vectors of {matrix.shape[1]} numbers came back, {expected} were expected")
        if request.unit_length:
            import numpy as np

            matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        return EmbedReply(
            vectors=matrix,
            usage=counted(usage, request, "", target=name),
            model=self.target.model,
            target=name,
            space=self._space(dimensions, is_unit=request.unit_length),
        )

    def reroute(self, lane: LaneOf) -> None:
        """Send by what `lane` makes of the source of keys, such as in the vendor's batches."""
        self._exchange.reroute(lane)

    async def warm(self) -> None:
        """Open a connection for the first request; nothing is sent."""
        await self._exchange.connect()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._exchange.aclose()
