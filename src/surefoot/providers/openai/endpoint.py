"""OpenAI, and every server that speaks its protocol: vLLM, Ollama, llama.cpp, Azure, OpenRouter, ... by `base_url`.

Chat Completions and Embeddings. The SDK sends (`lane="sdk"`), or the caller's own client of it (`client=`), or nothing but an aiohttp
session (`lane="direct"`); bodies, answers and event streams are our own functions' either way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from msgspec.structs import replace

from surefoot.core.deltas import Replay, to_deltas
from surefoot.core.stream import Stream
from surefoot.errors import BadRequest, Fault, Misconfigured, NotFound, SurefootError
from surefoot.facts import ModelFacts, model_of, provider_of
from surefoot.providers._parameters import LeftOutNotes
from surefoot.providers.http.answers.counts import counted, with_usage
from surefoot.providers.http.answers.vectors import VectorForm, limit_of_texts
from surefoot.providers.http.body import checked_name
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.exchange import Exchange, Lane, LaneOf, missing_extra, options_of, texts
from surefoot.providers.http.faults import ErrorBoundary, fault_of, request_id
from surefoot.providers.http.reading import ReadingContext
from surefoot.providers.http.sdk import STAND_IN, OwnClientLane, SdkLane, http_client, http_module, timeouts
from surefoot.providers.http.session import Sender
from surefoot.providers.http.sse import EventReader, UnreadBody
from surefoot.providers.http.transport import OPTIONS as TRANSPORT_OPTIONS
from surefoot.providers.http.transport import Transport, address_of, check_client, has_own_key, lane_of, no_key, transport_of
from surefoot.providers.openai import facts
from surefoot.providers.openai.models import RESPONSES, Api, api_of
from surefoot.providers.openai.requests import UNSET, OpenAIDialect, chat_body, embed_body
from surefoot.providers.openai.responses import chat_reply, vectors
from surefoot.providers.openai.responses_api.answers import chat_reply as responses_reply
from surefoot.providers.openai.responses_api.events import ResponsesReader
from surefoot.providers.openai.responses_api.requests import responses_body
from surefoot.providers.openai.stream import OpenAIChatReader
from surefoot.secret import KeySource
from surefoot.settings import Target
from surefoot.types import Call, ChatReply, ChatRequest, EmbedReply, EmbedRequest, Traits

logger = logging.getLogger(__name__)

MAX_BATCH_TOKENS = 300_000  # tokens of one embeddings request over all texts, ibid.

OPTIONS: dict[str, Any] = {
    "organization": None,  # left out, OPENAI_ORG_ID and OPENAI_PROJECT_ID count
    "project": None,
    "api_version": None,  # Azure's dated API: sent as ?api-version=
    "auth_header": None,  # "authorization" or "api-key"; None: api-key at Azure, unless the key is a token
    **TRANSPORT_OPTIONS,
    "max_tokens_field": None,  # None: max_completion_tokens at OpenAI, max_tokens elsewhere
    "stream_usage": True,  # False for servers that do not know stream_options
    "sampling": None,  # True or False: always or never send temperature and top_p; None: unless OpenAI's model refuses them
    "end_mark": False,  # True for servers that never give a finish reason: then the mark [DONE] alone ends a stream
    "refused": (),  # further parameters that are never sent: ("stop", "seed")
    "seed_field": "seed",  # what the server calls a seed: "random_seed" at Mistral
    "names": True,  # False for servers that refuse a message's name
    "strict_tools": True,  # False for servers that refuse `strict` in a tool
    "tools": True,  # False for servers that call no tools
    "schemas": "schema",  # what it holds an answer to: "schema", "object" (any JSON; the schema goes along in words) or "none"
    "thinking": "effort",  # how it is told to think: by "effort", by a "switch" (thinking.type), or by "both"
    "api": None,  # "chat" or "responses": which of OpenAI's two APIs is asked; None: as the model and the request want it
    "base_model": "",  # the model behind an Azure deployment of another name: decides which parameters are sent, its window and its price
    "encoding_format": None,  # "base64" or "float": how vectors come back; None: base64, and float where a server refuses that
    "document_prefix": "",  # put before each text to embed (e5, nomic and others want "passage: ", "query: ")
    "query_prefix": "",
    "max_batch_texts": None,
    "max_batch_tokens": None,
    "max_text_tokens": None,
}


UNKNOWN = ModelFacts(begins="")


class OpenAIProvider:
    """`openai:MODEL`, at OpenAI or at `target.base_url`. Sends once, never retries or waits; lives on one loop.

    `target.options` may hold the keys of OPTIONS. Raises Misconfigured for an unknown option or a missing package.
    """

    def __init__(self, target: Target, keys: KeySource | None) -> None:
        known = provider_of(target.provider) or facts.OPENAI
        options = options_of(target, {**OPTIONS, **dict(known.options)})
        if options["auth_header"] not in {None, "authorization", "api-key"}:
            raise Misconfigured(f"target {target.name}: auth_header = {options['auth_header']!r} must be 'authorization' or 'api-key'")
        if options["api"] not in {None, "chat", "responses"}:
            raise Misconfigured(f"target {target.name}: api = {options['api']!r} must be 'chat' or 'responses'")
        self._mark_ends = bool(options["end_mark"])
        self._form = VectorForm(target.name, options["encoding_format"])
        address = address_of(target) or known.address
        host = urlsplit(address).hostname or ""
        is_azure = target.provider == "azure" or facts.is_azure(host)
        is_openai = is_azure or facts.is_openai(host)
        self.target = target
        self._deployments = is_azure and urlsplit(address).path.rstrip("/") == "/openai"  # Azure's dated API has the model in the path
        self._notes = LeftOutNotes(target.name, logger)
        netloc = urlsplit(address).netloc.rpartition("@")[2]
        self._vendors: dict[Api, str] = {"chat": f"openai/{netloc}", "responses": f"{RESPONSES}/{netloc}"}
        self.dialect = _dialect(target, options, is_openai=is_openai, host=netloc)
        embedder = self._embedder = model_of(target.provider, target.model) or UNKNOWN
        self.traits = Traits(
            tools=options["tools"],
            schema=options["schemas"] != "none",
            embed="embed" in known.kinds,
            context_tokens=target.context_tokens,
            base_model=options["base_model"],
            space=self._space(target.dimensions, is_unit=True),
            host="" if is_openai else netloc,
            max_batch_texts=options["max_batch_texts"] or Traits().max_batch_texts,
            max_batch_tokens=options["max_batch_tokens"] or (MAX_BATCH_TOKENS if embedder.text_tokens else None),
            max_text_tokens=options["max_text_tokens"] or embedder.text_tokens,
            can_bound="max_tokens" not in self.dialect.refused,
        )
        self._exchange = Exchange(target, keys, _lane(target, options, address), variable=" or ".join(known.key_variables[:2]))

    def _space(self, dimensions: int | None, *, is_unit: bool) -> str:
        """provider/model/dimension/normalisation/prefix; a dimension nobody asked for is the model's own."""
        model = self.target.model
        size = dimensions or self._embedder.dimensions or "default"
        prefixes = (self.dialect.document_prefix, self.dialect.query_prefix)
        prefix = "|".join(quote(text, safe=" :") for text in prefixes) if any(prefixes) else "no-prefix"
        return f"{self.target.provider}/{model}/{size}/{'unit' if is_unit else 'as-is'}/{prefix}"

    async def chat(self, call: Call[ChatRequest]) -> ChatReply | Stream:
        """One exchange. Raises Unsupported or Misconfigured (nothing sent), or a Fault."""
        left_out: list[str] = []
        model = call.request.model or self.target.model
        api = api_of(call.request, call.request.model or self.dialect.base_model or model, self.dialect)
        write = chat_body if api == "chat" else responses_body
        body = write(call.request, self.target.model, stream=call.stream, dialect=self.dialect, left_out=left_out)
        if left_out:
            self._notes.emit(call, model, left_out)
        path = self._path("/chat/completions", model) if api == "chat" else "/responses"
        try:
            if call.stream:
                return await self._streamed(call, body, api, path)
            data, answer, endpoint = await self._exchange.whole(path, body, call)
            read = chat_reply if api == "chat" else responses_reply
            reply = read(data, answer.headers.get("content-type", ""), self._asked(call, answer, endpoint, self._vendors[api]))
            return with_usage(reply, call.request)
        except (BadRequest, NotFound) as refused:
            advised = with_remedy(refused, self.target.name)
            if advised is refused:
                raise
            raise advised from refused

    def _path(self, path: str, model: str) -> str:
        """Where a request goes, below the target's address."""
        return f"/deployments/{quote(checked_name(model, self.target.name), safe='')}{path}" if self._deployments else path

    async def _streamed(self, call: Call[ChatRequest], body: bytes, api: Api, path: str) -> Stream:
        read_whole, read_events = (chat_reply, OpenAIChatReader) if api == "chat" else (responses_reply, ResponsesReader)
        vendor = self._vendors[api]

        def reader(answer: UnreadBody, endpoint: ErrorBoundary) -> EventReader:
            return read_events(self._asked(call, answer, endpoint, vendor))

        def whole(data: bytes, answer: UnreadBody, endpoint: ErrorBoundary) -> Replay:
            content_type = answer.headers.get("content-type", "")
            return Replay(to_deltas(read_whole(data, content_type, self._asked(call, answer, endpoint, vendor))))

        return await self._exchange.stream(path, body, call, reader=reader, whole=whole)

    def _asked(self, call: Call[ChatRequest], answer: UnreadBody, endpoint: ErrorBoundary, vendor: str) -> ReadingContext:
        number = request_id(answer.headers)

        def emit(error: Any) -> SurefootError:
            return fault_of(self.target.name, error, request_id=number, key=endpoint.key, private=texts(call.request))

        return ReadingContext(self.target.name, number, call.request, emit, vendor, self._mark_ends)

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """One exchange: the vectors of all texts, in order, checked. Raises MalformedReply if one is missing, torn, zero or no number."""
        request = call.request
        name = self.target.name
        dimensions = request.dimensions or self.target.dimensions
        form = self._form.name
        body = embed_body(request, self.target.model, dimensions=dimensions, dialect=self.dialect, form=form)
        try:
            data, answer, endpoint = await self._exchange.whole(self._path("/embeddings", self.target.model), body, call)
            number = request_id(answer.headers)

            def emit(error: Any) -> SurefootError:
                return fault_of(name, error, request_id=number, key=endpoint.key, private=texts(request))

            expected = dimensions or (self._embedder.dimensions if self.dialect.is_openai else None)
            content_type, count = answer.headers.get("content-type", ""), len(request.texts)
            matrix, usage, model = vectors(
                data, content_type, count=count, target=name, request_id=number, emit=emit, expected=expected
            )  # fmt: skip
        except Fault as fault:
            told = self._form.learn(fault, request, form=form, dimensions=dimensions)
            if (most := limit_of_texts(fault, len(request.texts))) is not None:
                self.traits = replace(self.traits, max_batch_texts=min(most, self.traits.max_batch_texts))
            if told is fault:
                raise
            raise told from fault
        if request.unit_length:
            import numpy as np

            matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        return EmbedReply(
            vectors=matrix,
            usage=counted(usage, request, "", target=name),
            model=model or self.target.model,
            target=name,
            space=self._space(dimensions, is_unit=request.unit_length),
            request_id=number,
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


def _dialect(target: Target, options: dict[str, Any], *, is_openai: bool, host: str) -> OpenAIDialect:
    """How this target wants to be spoken to."""
    as_said = ("stream_usage", "sampling", "base_model", "seed_field", "names", "strict_tools", "schemas", "thinking", "tools")
    return OpenAIDialect(
        target=target.name,
        is_openai=is_openai,
        host=host,
        rows="" if target.provider in {"openai", "azure"} else target.provider,
        max_tokens_field=options["max_tokens_field"] or "",
        refused=refused_of(target, options["refused"]),
        api=options["api"] or "",
        **{name: options[name] for name in (*as_said, "document_prefix", "query_prefix")},
    )


def _lane(target: Target, options: dict[str, Any], address: str) -> Lane:
    kind = lane_of(target, "openai")
    if kind == "client":
        return _own_client(target, options)
    transport = transport_of(target, options, address)
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
        http_client=http_client(http, sender, sign=_sign(options, transport.address, target)),
    )
    return SdkLane(client, sender, http=http, status_error=openai.APIStatusError)


def _own_client(target: Target, options: dict[str, Any]) -> OwnClientLane:
    import openai

    check_client(target, openai.AsyncOpenAI)
    return OwnClientLane(
        target.client, status_error=openai.APIStatusError, headers=dict(target.headers), limit=options["max_body_bytes"], target=target.name
    )  # fmt: skip


def _sign(options: dict[str, Any], address: str, target: Target | None = None) -> Callable[[str], dict[str, str]]:
    """A key as one header. Azure takes keys as `api-key`, and Entra's tokens (of a function, or by their form: eyJ...) as bearers.

    A header of the target's own that holds a key is the one: no second goes out beside it.
    """
    wanted = options["auth_header"]
    is_azure = bool(options["api_version"]) or facts.is_azure(urlsplit(address).hostname or "")
    is_azure = is_azure or (target is not None and target.provider == "azure")
    is_token = target is not None and callable(target.api_key)

    def sign(key: str) -> dict[str, str]:
        header = wanted or (
            "api-key" if is_azure and not is_token and not (key.startswith("eyJ") and key.count(".") == 2) else "authorization"
        )
        return {header: f"Bearer {key}" if header == "authorization" else key}

    return no_key if target is not None and has_own_key(target) else sign


REMEDIES = {
    **dict.fromkeys(("temperature", "top_p"), 'options=(("sampling", False),)'),
    "max_tokens": 'options=(("max_tokens_field", "max_completion_tokens"),)',
    **{name: f'options=(("refused", ("{name}",)),)' for name in ("stop", "seed", "parallel_tool_calls", "reasoning_effort")},
}
WHICH = 'options=(("base_model", "gpt-5-mini"),)'


def with_remedy(refused: BadRequest | NotFound, target: str) -> BadRequest | NotFound:
    """A refusal with what to say instead: nobody can tell by its name which model is behind a deployment, or a proxy."""
    told = str(refused)
    named = next((name for name in REMEDIES if f"'{name}'" in told), None)
    if "v1/responses" in told:
        advice = 'ask in the Responses API: options=(("api", "responses"),)'
    elif named is not None and refused.code in {"unsupported_parameter", "unsupported_value"}:
        advice = f"if this target's model never takes it, give it {REMEDIES[named]}, or say which model it is: {WHICH}"
    else:
        return refused
    return type(refused)(
        f"{told}; {advice}", status=refused.status, code=refused.code, request_id=refused.request_id, target=target
    )  # fmt: skip


def refused_of(target: Target, given: Any) -> tuple[str, ...]:
    """The option `refused`, checked."""
    names = (given,) if isinstance(given, str) else tuple(given or ())
    for name in names:
        if name not in UNSET:
            raise Misconfigured(f"target {target.name}: refused = {name!r} is no parameter that can be left out: {', '.join(UNSET)}")
    return names


def _direct(target: Target, options: dict[str, Any], transport: Transport) -> DirectLane:
    version = options["api_version"]
    headers = dict(target.headers)
    for name, header in (("organization", "openai-organization"), ("project", "openai-project")):
        if options[name]:
            headers[header] = options[name]
    return DirectLane(
        transport,
        sign=_sign(options, transport.address, target),
        headers=headers,
        query=f"?api-version={quote(version)}" if version else "",
    )
