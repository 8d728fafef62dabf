"""The SDK lane: the vendor's SDK writes and sends each request, through its low-level `post`; the answer comes back unread.

The SDK does what it is good at: addresses, headers, signing. Its retries are off, and bodies and answers are ours. `SdkLane` gives a
client of our making an HTTP client that sends over the session all targets share; `OwnClientLane` sends through a client that the caller
made, over whatever that brings along.

No client of our making ever holds a key: it gets STAND_IN, and the key takes its place on the way out.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from surefoot.errors import Misconfigured
from surefoot.providers.http.answers.compression import PACKED, Unpacker, codings_of, unpacker
from surefoot.providers.http.body import NO_EXTRA, Extra, checked_name
from surefoot.providers.http.faults import BodyTooLarge
from surefoot.providers.http.session import Sender, SessionAnswer, lowered
from surefoot.secret import Secret

STAND_IN = "key-of-surefoot-stands-here"
_STAND_IN = STAND_IN.encode()
UNREAD = {"X-Stainless-Raw-Response": "stream"}  # the SDKs' own word for: give the response back unread
OURS = "surefoot"  # names, among a response's extensions, the answer that it stands for
AIOHTTP_WRITES = frozenset({b"content-length", b"host", b"accept-encoding", b"connection", b"transfer-encoding"})
DECODED = frozenset({b"content-length", b"content-encoding", b"transfer-encoding"})  # no longer true of a body that has been read

_key: contextvars.ContextVar[Secret | None] = contextvars.ContextVar("surefoot_key", default=None)


class SdkLane:
    """Posts through `client`, an SDK client of openai's or anthropic's that was made with `http_client(http, sender)`."""

    def __init__(
        self,
        client: Any,
        sender: Sender,
        *,
        http: Any,
        status_error: type[Exception],
        headers: Mapping[str, str] | None = None,
        as_fields: bool = False,
    ) -> None:
        """`as_fields`: bodies are given to the client as dicts, since it takes the model out of them for the address."""
        self._client = client
        self._as_fields = as_fields
        self._sender = sender
        self._status_error = status_error
        self._response_type = http.Response
        self._options = {"headers": {**UNREAD, **(headers or {})}, "max_retries": 0}

    async def post(self, path: str, body: bytes, key: Secret | None, extra: Extra = NO_EXTRA) -> SessionAnswer:
        """Send `body` once. An answer with any status is an answer.

        What the SDK raises passes through (call it inside an ErrorBoundary).
        """
        content: dict[str, Any] = {"body": msgspec.json.decode(body)} if self._as_fields else {"content": body}
        with keyed(key):
            try:
                response = await self._client.post(
                    extra.path(path), **content, cast_to=self._response_type, options=options_with(extra, self._options, self._client)
                )
            except self._status_error as error:
                response = error.response  # type: ignore[attr-defined]
        answer: SessionAnswer = response.extensions[OURS]
        return answer

    async def connect(self) -> None:
        """Open a connection for the first request; nothing is sent."""
        await self._sender.connect()

    async def aclose(self) -> None:
        """Drop what is still being answered, and the connections unless another target uses them."""
        await self._sender.aclose()


class keyed:  # noqa: N801 - used like a function
    """Within it, requests that are sent over an `http_client` carry `key` where they hold STAND_IN."""

    __slots__ = ("_key", "_token")

    def __init__(self, key: Secret | None) -> None:
        self._key = key

    def __enter__(self) -> None:
        self._token = _key.set(self._key)

    def __exit__(self, *_: object) -> None:
        _key.reset(self._token)


class OwnClientLane:
    """Posts through an SDK client that the caller made, AsyncAzureOpenAI or any subclass; it stays the caller's to close.

    Bodies are given to it as dicts, since some clients take the model out of them for the address.
    """

    def __init__(self, client: Any, *, status_error: type[Exception], headers: Mapping[str, str], limit: int, target: str) -> None:
        self._client = client
        self._target = target
        self._status_error = status_error
        self._limit = limit
        inner = getattr(client, "_client", None)
        self._http = http_module(type(client if inner is None else inner))
        self._bounded = None if inner is None else bounded(inner, limit)
        self._view = view(client)
        self._options = {"headers": {**UNREAD, **headers}, "max_retries": 0}

    async def post(self, path: str, body: bytes, key: Secret | None, extra: Extra = NO_EXTRA) -> HttpAnswer:
        """Send `body` once. An answer with any status is an answer.

        What the SDK raises passes through (call it inside an ErrorBoundary).
        """
        del key  # the client signs
        fields = msgspec.json.decode(body)
        if isinstance(fields.get("model"), str):  # Azure's, Bedrock's and Vertex' clients put it into the path, older ones as it is
            checked_name(fields["model"], self._target)
        try:
            options = options_with(extra, self._options, self._client)
            if extra.query:  # beside the path, by which some clients find the address
                options |= {"params": dict(parse_qsl(extra.query, keep_blank_values=True))}
            response = await self._current().post(path, body=fields, cast_to=self._http.Response, options=options)
        except self._status_error as error:
            response = error.response  # type: ignore[attr-defined]
        return HttpAnswer(response, self._limit)

    def _current(self) -> Any:
        """The client as it is now (its key may have been set anew), over its own HTTP client with a limit on failed answers."""
        if self._bounded is not None:
            state = vars(self._client)
            vars(self._view).update((name, value) for name, value in state.items() if value is not None)  # what the view found out stays
            self._view._client = self._bounded  # noqa: SLF001 - SDKs read failed answers whole, whatever their size
        return self._view

    async def connect(self) -> None:
        """Nothing: the client's own pool opens connections with requests alone."""

    async def aclose(self) -> None:
        """The client is the caller's to close."""


def options_with(extra: Extra, options: dict[str, Any], client: Any) -> dict[str, Any]:
    """An SDK's options of a request, with the headers of the call in the client's own spelling: it would send both of two spellings."""
    if not extra.headers:
        return options
    names = {name.lower(): name for name in getattr(client, "default_headers", ())}
    own = {name.lower() for name, _ in extra.headers}
    kept = {name: value for name, value in options["headers"].items() if name.lower() not in own}
    return {**options, "headers": kept | {names.get(name.lower(), name): value for name, value in extra.headers}}


class HttpAnswer:
    """A response of httpx or httpx2, its body unread. Both ways to read raise BodyTooLarge beyond `limit` bytes after decompression."""

    __slots__ = ("_blocks", "_limit", "_response", "_size", "_unpacker", "headers", "status")

    def __init__(self, response: Any, limit: int) -> None:
        self._response = response
        self._blocks: Any = None
        self._unpacker: Unpacker | None = None
        self._limit = limit
        self._size = 0
        self.status: int = response.status_code
        self.headers = lowered(response.headers.raw)

    async def read(self) -> bytes:
        """The whole body."""
        blocks = []
        while block := await self.block():
            blocks.append(block)
        await self.aclose()
        return b"".join(blocks)

    async def block(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        if self._blocks is None:
            self._blocks = self._begun()
        block = b""
        while not block:  # a decoder may need more before it gives anything
            try:
                block = await anext(self._blocks)
            except StopAsyncIteration:
                return b""
            if self._unpacker is not None:
                block = self._unpacker.feed(block)
        self._size += len(block)
        if self._size > self._limit:
            await self.aclose()
            raise BodyTooLarge(self._limit)
        return block

    def _begun(self) -> Any:
        """The body's blocks: compressed ones as they come, unless the client has read them already."""
        response = self._response
        codings = codings_of(self.headers.get("content-encoding", ""))
        if not codings or getattr(response, "is_stream_consumed", False):
            return response.aiter_bytes()
        asked = response.request.headers.get("accept-encoding", "").lower()  # httpx names there what it undoes
        others = [coding for coding in codings if coding not in PACKED]
        if others and all(coding in asked for coding in others):
            return response.aiter_bytes()
        self._unpacker = unpacker(self.headers["content-encoding"], self._limit)
        return response.aiter_raw()

    async def aclose(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end."""
        try:
            if self._blocks is not None:
                await self._blocks.aclose()
        finally:
            await self._response.aclose()


def http_client(http: Any, sender: Sender, *, sign: Callable[[str], Mapping[str, str]] | None = None) -> Any:
    """An HTTP client of the library `http` (httpx or httpx2) for an SDK: what it is to send goes over `sender`.

    `sign` turns a key into headers, in place of those in which the SDK shows it.
    """
    return _client_classes(http)[0](sender, sign)


def bounded(inner: Any, limit: int) -> Any:
    """`inner`, an HTTP client of httpx or httpx2, with failed answers read up to `limit` bytes before an SDK reads them whole."""
    return _client_classes(http_module(type(inner)))[1](inner, limit)


@lru_cache(maxsize=4)
def _client_classes(http: Any) -> tuple[Any, Any]:
    from multidict import CIMultiDict
    from yarl import URL

    class Client(http.AsyncClient):  # type: ignore[misc]
        """Sends over the shared session, in place of the library's transports: proxies, certificates and limits are the session's."""

        def __init__(self, sender: Sender, sign: Callable[[str], Mapping[str, str]] | None) -> None:
            super().__init__(transport=http.AsyncBaseTransport(), trust_env=False)  # given, so that no certificates are read
            self._sender = sender
            self._sign = sign

        async def send(self, request: Any, **options: Any) -> Any:
            del options
            key = _key.get()
            shown = STAND_IN if key is None else key.reveal()
            headers = CIMultiDict(
                (name.decode("latin-1"), value.decode("latin-1").replace(STAND_IN, shown))
                for name, value in request.headers.raw
                if name.lower() not in AIOHTTP_WRITES and not (self._sign is not None and _STAND_IN in value)
            )
            if self._sign is not None and any(_STAND_IN in value for _, value in request.headers.raw):
                headers.update(self._sign(shown))
            answer = await self._sender.send(URL(str(request.url)), headers, request.content)
            if "set-cookie" in answer.headers:  # a gateway's, by which it finds the same node again
                self.cookies.extract_cookies(http.Response(answer.status, headers=answer.raw_headers, request=request))
            return http.Response(answer.status, request=request, extensions={OURS: answer})

    class Bounded(http.AsyncClient):  # type: ignore[misc]
        """Sends through another client; a failed answer is read here, within a limit."""

        def __init__(self, inner: Any, limit: int) -> None:
            super().__init__(transport=http.AsyncBaseTransport(), trust_env=False)
            self._inner = inner
            self._limit = limit

        def build_request(self, *args: Any, **fields: Any) -> Any:
            return self._inner.build_request(*args, **fields)

        async def send(self, request: Any, **options: Any) -> Any:
            response = await self._inner.send(request, **options)
            if response.is_success:
                return response
            body = await HttpAnswer(response, self._limit).read()
            headers = [(name, value) for name, value in response.headers.raw if name.lower() not in DECODED]
            return http.Response(response.status_code, headers=headers, content=body, request=request)

    return Client, Bounded


def view(client: Any) -> Any:
    """Another object with the same state as `client`, which can be given another HTTP client, and closes nothing when it is collected."""
    kind = type(client)
    other: Any = object.__new__(type(kind.__name__, (kind,), {"__del__": lambda _: None}))
    vars(other).update(vars(client))
    return other


def http_module(client_type: type[Any]) -> Any:
    """The HTTP library an SDK stands on (httpx or httpx2), found through the ancestry of a public client class."""
    for ancestor in client_type.__mro__:
        root = ancestor.__module__.partition(".")[0]
        if root in {"httpx", "httpx2"}:
            return import_module(root)
    raise Misconfigured(f"{client_type.__module__}.{client_type.__name__} stands on neither httpx nor httpx2")


def timeouts(http: Any, *, connect_s: float | None) -> Any:
    """A client's own timeouts: connecting only. Answers are timed by the timeout layer, which pings do not fool."""
    return http.Timeout(None, connect=connect_s)
