"""OpenAI, and every server that speaks its protocol: vLLM, Ollama, llama.cpp, Azure, OpenRouter, ... by `base_url`.

Chat Completions and Embeddings. The SDK sends (`lane="sdk"`), or the caller's own client of it (`client=`), or nothing but an aiohttp
session (`lane="direct"`); bodies, answers and event streams are our own functions' either way.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from surefoot.errors import SurefootError
from surefoot.providers._exchange import Exchange, Lane, missing_extra, no_stream, options_of, texts
from surefoot.providers._faults import Door, fault_of, malformed, request_id
from surefoot.providers._openai_read import Asked, ChatReader, chat_reply, vectors
from surefoot.providers._openai_wire import Dialect, chat_body, embed_body
from surefoot.providers._sse import Answer
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.sdk import STAND_IN, OwnClientLane, SdkLane, http_client, http_module, timeouts
from surefoot.providers.http.session import Sender
from surefoot.providers.http.transport import OPTIONS as TRANSPORT_OPTIONS
from surefoot.providers.http.transport import Transport, address_of, check_client, lane_of, transport_of
from surefoot.secret import KeySource
from surefoot.settle import Replay, Stream, split
from surefoot.target import Target
from surefoot.types import Call, ChatReply, ChatRequest, EmbedReply, EmbedRequest, Traits

BASE_URL = "https://api.openai.com/v1"
OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com", ".services.ai.azure.com")
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
MAX_BATCH_TEXTS = 2048  # texts of one embeddings request, the API reference says
MAX_BATCH_TOKENS = 300_000  # tokens of one embeddings request over all texts, ibid.
MAX_TEXT_TOKENS = 8192  # tokens of one text, ibid.; other servers say so themselves (a 400)

OPTIONS: dict[str, Any] = {
    "organization": None,  # left out, OPENAI_ORG_ID and OPENAI_PROJECT_ID count
    "project": None,
    "api_version": None,  # Azure's dated API: sent as ?api-version=, with the key also as `api-key`
    **TRANSPORT_OPTIONS,
    "max_tokens_field": None,  # None: max_completion_tokens at OpenAI, max_tokens elsewhere
    "stream_usage": True,  # False for servers that do not know stream_options
    "sampling": None,  # True or False: always or never send temperature and top_p; None: unless OpenAI's model refuses them
    "document_prefix": "",  # put before each text to embed (e5, nomic and others want "passage: ", "query: ")
    "query_prefix": "",
    "max_batch_texts": None,
    "max_batch_tokens": None,
    "max_text_tokens": None,
}


class OpenAIEdge:
    """`openai:MODEL`, at OpenAI or at `target.base_url`. Sends once, never retries or waits; lives on one loop.

    `target.options` may hold the keys of OPTIONS. Raises Misconfigured for an unknown option or a missing package.
    """

    def __init__(self, target: Target, keys: KeySource | None) -> None:
        options = options_of(target, OPTIONS)
        address = address_of(target) or BASE_URL
        is_openai = (urlsplit(address).hostname or "").endswith(OPENAI_HOSTS)
        self.target = target
        self.dialect = Dialect(
            target=target.name,
            is_openai=is_openai,
            max_tokens_field=options["max_tokens_field"] or ("max_completion_tokens" if is_openai else "max_tokens"),
            stream_usage=options["stream_usage"],
            sampling=options["sampling"],
            document_prefix=options["document_prefix"],
            query_prefix=options["query_prefix"],
        )
        known = target.model in DIMENSIONS
        self.traits = Traits(
            context_tokens=target.context_tokens,
            space=self._space(target.dimensions, is_unit=True),
            host="" if is_openai else urlsplit(address).netloc.rpartition("@")[2],
            max_batch_texts=options["max_batch_texts"] or MAX_BATCH_TEXTS,
            max_batch_tokens=options["max_batch_tokens"] or (MAX_BATCH_TOKENS if known else None),
            max_text_tokens=options["max_text_tokens"] or (MAX_TEXT_TOKENS if known else None),
        )
        self._exchange = Exchange(target, keys, _lane(target, options), variable="OPENAI_API_KEY")

    def _space(self, dimensions: int | None, *, is_unit: bool) -> str:
        """provider/model/dimension/normalisation/prefix; a dimension nobody asked for is the model's own."""
        model = self.target.model
        size = dimensions or DIMENSIONS.get(model) or "default"
        prefixes = (self.dialect.document_prefix, self.dialect.query_prefix)
        prefix = "|".join(quote(text, safe=" :") for text in prefixes) if any(prefixes) else "no-prefix"
        return f"openai/{model}/{size}/{'unit' if is_unit else 'as-is'}/{prefix}"

    async def chat(self, call: Call[ChatRequest]) -> ChatReply | Stream:
        """One exchange. Raises Unsupported or Misconfigured (nothing sent), or a Fault."""
        body = chat_body(call.request, self.target.model, stream=call.stream, dialect=self.dialect)
        if not call.stream:
            data, answer, door = await self._exchange.whole("/chat/completions", body, call)
            return chat_reply(data, answer.headers.get("content-type", ""), self._asked(call, answer, door))

        def reader(answer: Answer, door: Door) -> ChatReader:
            return ChatReader(self._asked(call, answer, door))

        def whole(data: bytes, answer: Answer, door: Door) -> Replay:
            content_type = answer.headers.get("content-type", "")
            if "json" not in content_type:
                raise malformed(self.target.name, no_stream(data, content_type, key=door.key), request_id=request_id(answer.headers))
            return Replay(split(chat_reply(data, content_type, self._asked(call, answer, door))))

        return await self._exchange.stream("/chat/completions", body, call, reader=reader, whole=whole)

    def _asked(self, call: Call[ChatRequest], answer: Answer, door: Door) -> Asked:
        number = request_id(answer.headers)

        def tell(error: Any) -> SurefootError:
            return fault_of(self.target.name, error, request_id=number, key=door.key, private=texts(call.request))

        return Asked(self.target.name, number, call.request, tell)

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """One exchange: the vectors of all texts, in order, checked. Raises MalformedReply if one is missing, torn, zero or no number."""
        request = call.request
        name = self.target.name
        dimensions = request.dimensions or self.target.dimensions
        body = embed_body(request, self.target.model, dimensions=dimensions, dialect=self.dialect)
        data, answer, door = await self._exchange.whole("/embeddings", body, call)
        number = request_id(answer.headers)

        def tell(error: Any) -> SurefootError:
            return fault_of(name, error, request_id=number, key=door.key, private=texts(request))

        content_type = answer.headers.get("content-type", "")
        matrix, usage, model = vectors(data, content_type, count=len(request.texts), target=name, request_id=number, tell=tell)
        expected = dimensions or (DIMENSIONS.get(self.target.model) if self.dialect.is_openai else None)
        if expected is not None and matrix.shape[1] != expected:
            raise malformed(name, f"vectors of {matrix.shape[1]} numbers came back, {expected} were expected", request_id=number)
        if request.unit_length:
            import numpy as np

            matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        return EmbedReply(
            vectors=matrix,
            usage=usage,
            model=model or self.target.model,
            target=name,
            space=self._space(dimensions, is_unit=request.unit_length),
            request_id=number,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._exchange.aclose()


def _lane(target: Target, options: dict[str, Any]) -> Lane:
    kind = lane_of(target, "openai")
    if kind == "client":
        return _own_client(target, options)
    transport = transport_of(target, options, target.base_url or BASE_URL)
    return _direct(target, options, transport) if kind == "direct" else _sdk(target, options, transport)


def _sdk(target: Target, options: dict[str, Any], transport: Transport) -> SdkLane:
    try:
        import openai
    except ImportError as error:
        raise missing_extra(target, "openai", "openai") from error
    http = http_module(openai.DefaultAsyncHttpxClient)
    sender = Sender(transport)
    version = options["api_version"]
    client = openai.AsyncOpenAI(
        api_key=STAND_IN,
        base_url=transport.address,  # given, so that the SDK reads no environment of its own
        organization=options["organization"],
        project=options["project"],
        max_retries=0,
        timeout=timeouts(http, connect_s=transport.connect_s),  # of which it writes a header
        default_headers=dict(target.headers),
        default_query={"api-version": version} if version else None,
        http_client=http_client(http, sender),
    )
    headers = _azure(STAND_IN) if version else {}
    return SdkLane(client, sender, http=http, status_error=openai.APIStatusError, headers=headers)


def _own_client(target: Target, options: dict[str, Any]) -> OwnClientLane:
    import openai

    check_client(target, openai.AsyncOpenAI)
    return OwnClientLane(
        target.client, status_error=openai.APIStatusError, headers=dict(target.headers), limit=options["max_body_bytes"]
    )  # fmt: skip


def _azure(key: str) -> dict[str, str]:
    return {"api-key": key}


def _direct(target: Target, options: dict[str, Any], transport: Transport) -> DirectLane:
    version = options["api_version"]
    headers = dict(target.headers)
    for name, header in (("organization", "openai-organization"), ("project", "openai-project")):
        if options[name]:
            headers[header] = options[name]
    return DirectLane(
        transport,
        sign=lambda key: {"authorization": f"Bearer {key}", **(_azure(key) if version else {})},
        headers=headers,
        query=f"?api-version={quote(version)}" if version else "",
    )
