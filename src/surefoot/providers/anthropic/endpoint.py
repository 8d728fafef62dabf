"""Anthropic's Messages API, and gateways that speak it, by `base_url`.

The SDK sends (`lane="sdk"`), or the caller's own client of it (`client=`: Bedrock's, Vertex AI's), or nothing but an aiohttp session
(`lane="direct"`); bodies, answers and event streams are our own functions' either way. There are no embeddings here.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from surefoot.core.deltas import Replay, to_deltas
from surefoot.core.stream import Stream
from surefoot.errors import SurefootError, Unsupported
from surefoot.facts import provider_of
from surefoot.providers._parameters import LeftOutNotes
from surefoot.providers.anthropic import clouds
from surefoot.providers.anthropic.facts import PROVIDERS
from surefoot.providers.anthropic.messages import vendor_of
from surefoot.providers.anthropic.requests import MAX_TOKENS, AnthropicDialect, chat_body
from surefoot.providers.anthropic.responses import AnthropicContext, chat_reply
from surefoot.providers.anthropic.stream import AnthropicChatReader
from surefoot.providers.http.answers.counts import with_usage
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.exchange import Exchange, Lane, LaneOf, missing_extra, options_of, texts
from surefoot.providers.http.faults import ErrorBoundary, fault_of, request_id
from surefoot.providers.http.sdk import STAND_IN, OwnClientLane, SdkLane, http_client, http_module, timeouts
from surefoot.providers.http.session import Sender
from surefoot.providers.http.sse import UnreadBody
from surefoot.providers.http.transport import OPTIONS as TRANSPORT_OPTIONS
from surefoot.providers.http.transport import Transport, address_of, check_client, has_own_key, lane_of, no_key, transport_of
from surefoot.secret import KeySource
from surefoot.settings import Target
from surefoot.types import Call, ChatReply, ChatRequest, EmbedReply, EmbedRequest, Traits

logger = logging.getLogger(__name__)

FACTS = PROVIDERS["anthropic"]
PATH = "/v1/messages"
API_VERSION = "2023-06-01"  # what the direct lane says; the SDK says its own

OPTIONS: dict[str, Any] = {
    **TRANSPORT_OPTIONS,
    "max_tokens": MAX_TOKENS,  # the API wants a limit; this one where the request names none
    "sampling": None,  # True or False: always or never send temperature and top_p; None: unless the model refuses them
    "beta": "",  # the anthropic-beta header, for features behind one
}


class AnthropicProvider:
    """`anthropic:MODEL`. Sends once, never retries or waits; lives on one loop.

    `target.options` may hold the keys of OPTIONS. Raises Misconfigured for an unknown option or a missing package.
    """

    def __init__(self, target: Target, keys: KeySource | None) -> None:
        known = provider_of(target.provider) or FACTS
        options = options_of(target, {**OPTIONS, **dict(known.options)})
        self.target = target
        self._notes = LeftOutNotes(target.name, logger)
        host = urlsplit(address_of(target) or FACTS.address).netloc.rpartition("@")[2]
        self.dialect = AnthropicDialect(target=target.name, host=host, max_tokens=options["max_tokens"], sampling=options["sampling"])
        self.traits = Traits(context_tokens=target.context_tokens, embed=False, answer_tokens=options["max_tokens"])
        lane = _lane(target, options, has_key=keys is not None)
        self._exchange = Exchange(target, keys, lane, variable=" or ".join(known.key_variables), signs=known.signs and keys is None)

    async def chat(self, call: Call[ChatRequest]) -> ChatReply | Stream:
        """One exchange. Raises Unsupported or Misconfigured (nothing sent), or a Fault."""
        left_out: list[str] = []
        body = chat_body(call.request, self.target.model, stream=call.stream, dialect=self.dialect, left_out=left_out)
        model = call.request.model or self.target.model
        self._notes.emit(call, model, left_out)
        vendor = vendor_of(model, self.dialect.host)

        def asked(answer: UnreadBody, endpoint: ErrorBoundary) -> AnthropicContext:
            number = request_id(answer.headers)

            def emit(error: bytes) -> SurefootError:
                return fault_of(self.target.name, error, request_id=number, key=endpoint.key, private=texts(call.request))

            return AnthropicContext(self.target.name, number, call.request, body.answer_tool, emit, vendor)

        if not call.stream:
            data, answer, endpoint = await self._exchange.whole(PATH, body.data, call)
            return with_usage(chat_reply(data, answer.headers.get("content-type", ""), asked(answer, endpoint)), call.request)

        def reader(answer: UnreadBody, endpoint: ErrorBoundary) -> AnthropicChatReader:
            return AnthropicChatReader(asked(answer, endpoint))

        def whole(data: bytes, answer: UnreadBody, endpoint: ErrorBoundary) -> Replay:
            return Replay(to_deltas(chat_reply(data, answer.headers.get("content-type", ""), asked(answer, endpoint))))

        return await self._exchange.stream(PATH, body.data, call, reader=reader, whole=whole)

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """There is no such thing here. Raises Unsupported."""
        del call
        raise Unsupported(f"{self.target.name}: Anthropic offers no embeddings; use openai:, google: or local: for them")

    def reroute(self, lane: LaneOf) -> None:
        """Send by what `lane` makes of the source of keys, such as in the vendor's batches."""
        self._exchange.reroute(lane)

    async def warm(self) -> None:
        """Open a connection for the first request; nothing is sent."""
        await self._exchange.connect()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._exchange.aclose()


def _lane(target: Target, options: dict[str, Any], *, has_key: bool) -> Lane:
    headers = dict(target.headers)
    if options["beta"]:
        headers["anthropic-beta"] = options["beta"]
    kind = lane_of(target, "anthropic")
    if kind == "client":
        return _own_client(target, options, headers)
    if target.provider in clouds.CLOUDS:
        return clouds.cloud_lane(target, options, headers, lane=kind, has_key=has_key)
    transport = transport_of(target, options, target.base_url or FACTS.address)
    if kind == "sdk":
        return _sdk(target, transport, headers)
    return DirectLane(transport, sign=no_key if has_own_key(target) else sign, headers={"anthropic-version": API_VERSION, **headers})


def _sdk(target: Target, transport: Transport, headers: dict[str, str]) -> SdkLane:
    try:
        import anthropic
    except ImportError as error:
        raise missing_extra(target, "anthropic", "anthropic") from error
    http = http_module(anthropic.DefaultAsyncHttpxClient)
    sender = Sender(transport)
    client = anthropic.AsyncAnthropic(
        api_key=STAND_IN,  # given, so that no profile on disk is read
        base_url=transport.address,  # given, so that the SDK reads no environment of its own
        max_retries=0,
        timeout=timeouts(http, connect_s=transport.connect_s),  # of which it writes a header
        default_headers=headers,
        http_client=http_client(http, sender, sign=no_key if has_own_key(target) else None),
    )
    return SdkLane(client, sender, http=http, status_error=anthropic.APIStatusError)


def sign(key: str) -> dict[str, str]:
    """A key as its header."""
    return {"x-api-key": key}


def _own_client(target: Target, options: dict[str, Any], headers: dict[str, str]) -> OwnClientLane:
    import anthropic

    check_client(target, anthropic.AsyncAnthropic, "AsyncAnthropicBedrock, AsyncAnthropicVertex")
    return OwnClientLane(
        target.client, status_error=anthropic.APIStatusError, headers=headers, limit=options["max_body_bytes"], target=target.name
    )  # fmt: skip
