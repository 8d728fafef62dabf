"""Anthropic's Messages API, and gateways that speak it, by `base_url`.

The SDK's client carries the bytes (`lane="sdk"`) or a shared aiohttp session does (`lane="direct"`); bodies, answers and event streams are
read by our own functions either way. There are no embeddings here.
"""

from __future__ import annotations

from typing import Any

from surefoot.errors import SurefootError, Unsupported
from surefoot.providers._anthropic_read import Asked, ChatReader, chat_reply
from surefoot.providers._anthropic_wire import MAX_TOKENS, Dialect, chat_body
from surefoot.providers._direct import DirectLane
from surefoot.providers._exchange import Exchange, Lane, missing_extra, no_stream, options_of, texts
from surefoot.providers._faults import Door, fault_of, malformed, request_id
from surefoot.providers._http import CONNECT_S, SdkLane, http_module, pooled_client, timeouts, writing
from surefoot.providers._pattern import STAND_IN, Recorder
from surefoot.providers._sse import Answer
from surefoot.secret import KeySource
from surefoot.settle import Replay, Stream, split
from surefoot.target import Target
from surefoot.types import Call, ChatReply, ChatRequest, EmbedReply, EmbedRequest, Traits

BASE_URL = "https://api.anthropic.com"
PATH = "/v1/messages"
API_VERSION = "2023-06-01"  # what the direct lane says; the SDK says its own

OPTIONS: dict[str, Any] = {
    "connect_s": CONNECT_S,
    "max_tokens": MAX_TOKENS,  # the API wants a limit; this one where the request names none
    "sampling": None,  # True or False: always or never send temperature and top_p; None: unless the model refuses them
    "beta": "",  # the anthropic-beta header, for features behind one
}


class AnthropicEdge:
    """`anthropic:MODEL`. Sends once, never retries or waits; lives on one loop.

    `target.options` may hold the keys of OPTIONS. Raises Misconfigured for an unknown option or a missing package.
    """

    def __init__(self, target: Target, keys: KeySource | None) -> None:
        options = options_of(target, OPTIONS)
        self.target = target
        self.dialect = Dialect(target=target.name, max_tokens=options["max_tokens"], sampling=options["sampling"])
        self.traits = Traits(context_tokens=target.context_tokens, embed=False)
        headers = dict(target.headers)
        if options["beta"]:
            headers["anthropic-beta"] = options["beta"]
        connect_s = options["connect_s"]
        lane: Lane = _direct(target, headers, connect_s) if target.lane == "direct" else _sdk(target, headers, connect_s)
        self._exchange = Exchange(target, keys, lane, variable="ANTHROPIC_API_KEY")

    async def chat(self, call: Call[ChatRequest]) -> ChatReply | Stream:
        """One exchange. Raises Unsupported or Misconfigured (nothing sent), or a Fault."""
        body = chat_body(call.request, self.target.model, stream=call.stream, dialect=self.dialect)

        def asked(answer: Answer, door: Door) -> Asked:
            number = request_id(answer.headers)

            def tell(error: bytes) -> SurefootError:
                return fault_of(self.target.name, error, request_id=number, key=door.key, private=texts(call.request))

            return Asked(self.target.name, number, call.request, body.answer_tool, tell)

        if not call.stream:
            data, answer, door = await self._exchange.whole(PATH, body.data, call)
            return chat_reply(data, answer.headers.get("content-type", ""), asked(answer, door))

        def reader(answer: Answer, door: Door) -> ChatReader:
            return ChatReader(asked(answer, door))

        def whole(data: bytes, answer: Answer, door: Door) -> Replay:
            content_type = answer.headers.get("content-type", "")
            if "json" not in content_type:
                raise malformed(self.target.name, no_stream(data, content_type, key=door.key), request_id=request_id(answer.headers))
            return Replay(split(chat_reply(data, content_type, asked(answer, door))))

        return await self._exchange.stream(PATH, body.data, call, reader=reader, whole=whole)

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """There is no such thing here. Raises Unsupported."""
        del call
        raise Unsupported(f"{self.target.name}: Anthropic offers no embeddings; use openai:, google: or local: for them")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._exchange.aclose()


def _sdk(target: Target, headers: dict[str, str], connect_s: float | None) -> SdkLane:
    try:
        import anthropic
    except ImportError as error:
        raise missing_extra(target, "anthropic", "anthropic") from error
    http = http_module(anthropic.DefaultAsyncHttpxClient)
    recorder = Recorder(http)
    client = anthropic.AsyncAnthropic(
        api_key=STAND_IN,  # given, so that no profile on disk is read
        base_url=target.base_url or BASE_URL,  # given, so that the SDK reads no environment of its own
        max_retries=0,
        timeout=timeouts(http, connect_s=connect_s),  # of which it writes a header
        default_headers=headers,
        http_client=recorder.client,
    )
    return SdkLane(pooled_client(anthropic, connect_s=connect_s), writing(client, recorder))


def _direct(target: Target, headers: dict[str, str], connect_s: float | None) -> DirectLane:
    return DirectLane(
        target.base_url or BASE_URL,
        sign=lambda key: {"x-api-key": key},
        headers={"anthropic-version": API_VERSION, **headers},
        connect_s=connect_s,
    )
