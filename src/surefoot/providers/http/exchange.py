"""One target's exchange with its provider: the key in, one request out, one answer back, every fault through the error boundary."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from surefoot.core.deadlines import deadline_of
from surefoot.core.stream import Source, Stream, open_stream
from surefoot.errors import AuthFailed, Fault, MalformedReply, Misconfigured, SurefootError, Transient
from surefoot.providers.http import aws_events
from surefoot.providers.http.answers.counts import EndOfStream
from surefoot.providers.http.body import NO_EXTRA, Extra, extra_of
from surefoot.providers.http.faults import BodyTooLarge, ErrorBoundary, InFlight, fault, malformed, rate_headers, request_id
from surefoot.providers.http.reading import VerbatimReader
from surefoot.providers.http.redact import snippet
from surefoot.providers.http.sse import BEGINNING, BOM, BegunBody, EventReader, EventSource, UnreadBody, is_several
from surefoot.secret import KEY_CHARS, PLACEHOLDER, KeySource, Secret, guard_logs, in_use
from surefoot.settings import Target
from surefoot.types import Call, ChatRequest, EmbedRequest

ELSEWHERE = {  # what is looked for among the options and is said in another place
    "timeout": "say policy=Policy(deadline_s=...)",
    "max_retries": "say policy=Policy(attempts=...)",
    "http_client": "say proxy, verify or cert, or give an SDK client of your own as client=",
    "default_headers": "say headers={...}",
}
GATEWAY_HEADER = "x-surefoot-attempts"  # by which an answer of a surefoot gateway is known
DEADLINE_HEADER = "x-surefoot-deadline-ms"
# Loggers that show signed requests, or whatever a server says, at DEBUG.
LOUD = ("anthropic._base_client", "openai._base_client", "httpx", "httpx2", "httpcore.http11", "httpcore2.http11", "httpcore2.http2")


class Lane(Protocol):
    """How bytes travel: as the SDK writes them, or directly."""

    def post(self, path: str, body: bytes, key: Secret | None, extra: Extra = NO_EXTRA) -> Awaitable[UnreadBody]:
        """Send once, with the headers and the query of `extra`; an answer with any status is an answer."""

    async def connect(self) -> None:
        """Open a connection for the first request; nothing is sent."""

    async def aclose(self) -> None:
        """Close all connections."""


LaneOf: TypeAlias = Callable[[Callable[[], Awaitable["Secret | None"]]], Lane]  # made of what gives the key for each request


class Exchange:
    """Asks for the key at each attempt, sends once, and turns whatever goes wrong into one of our errors.

    After the provider refused a key its source is asked once for a newer one. If there is one, the error is a Transient: nothing was
    answered, and the retry layer (the one owner of retries) sends again with the new key. If there is none, it is AuthFailed.
    """

    __slots__ = ("_in_flight", "_key_in_use", "_keys", "_lane", "_missing", "_signs", "_tells_deadline", "target")

    def __init__(self, target: Target, keys: KeySource | None, lane: Lane, *, variable: str, signs: bool = False) -> None:
        """`variable` names the key's, for the error that there is none; with `signs` the lane needs no key of ours."""
        guard_logs(*LOUD)
        self.target = target.name
        self._lane = lane
        self._signs = signs or target.client is not None
        self._in_flight = InFlight()
        self._key_in_use: Secret | None = None
        self._tells_deadline = False  # whether it is a gateway of ours, as its last answer said
        self._keys: KeySource | None = keys
        if keys is None and isinstance(target.api_key, Secret):
            self._keys = _Given(target.api_key)
        elif keys is None and target.base_url:
            self._keys = _Given(PLACEHOLDER)
        self._missing = f"{target.name}: no API key; set the environment variable {variable} or pass api_key"

    def reroute(self, lane: LaneOf) -> None:
        """Send by what `lane` makes of our source of keys from now on."""
        self._lane = lane(self._key)

    async def _key(self) -> Secret | None:
        if self._signs:
            return None
        key = await self._keys.get() if self._keys is not None else None
        if not key:
            raise Misconfigured(self._missing)
        if key is self._key_in_use:
            return key
        if not (key.reveal().isascii() and key.reveal().isprintable()):
            raise Misconfigured(f"{self.target}: the API key holds characters that no header carries (a line break, a letter beyond ASCII)")
        self._key_in_use = key
        in_use(key)
        return key

    async def _send(self, path: str, body: bytes, call: Call[Any], *, reads: bool) -> tuple[bytes, UnreadBody, ErrorBoundary]:
        """Send once; an answer with a good status comes back with the error boundary to read it through, and if `reads` with its body.

        Raises a Fault otherwise.
        """
        key = await self._key()
        boundary = ErrorBoundary(self.target, key, self._in_flight, call.state.loop)
        extra = extra_of(call.request.extra) if call.request.extra else NO_EXTRA
        if self._tells_deadline and (deadline := deadline_of(call)) is not None:
            extra = extra.with_header(DEADLINE_HEADER, str(max(1, round(1000 * (deadline - asyncio.get_running_loop().time())))))
        with boundary:
            answer = await self._lane.post(path, body, key, extra)
        self._tells_deadline = self._tells_deadline or GATEWAY_HEADER in answer.headers
        call.state.rate_headers = rate_headers(answer.headers)
        if 200 <= answer.status < 300:
            return await self._read(answer, boundary) if reads else b"", answer, boundary
        body, note = await self._refusal(answer, boundary)
        refused = fault(self.target, answer.status, answer.headers, body, key=key, private=texts(call.request), note=note)
        if isinstance(refused, AuthFailed) and key is not None:
            refused = await self._after_refusal(refused, key)
        raise refused

    async def _after_refusal(self, refused: AuthFailed, key: Secret) -> Fault:
        newer = None
        with suppress(SurefootError):  # a source that cannot be reached has no newer key; the refusal is the news
            newer = await self._keys.renew(key) if self._keys is not None else None
        if not newer or newer == key:
            return refused
        return Transient(
            f"{self.target}: the provider refused the key (HTTP {refused.status}); a newer one has been found",
            status=refused.status, code=refused.code, retry_after_s=0.0, request_id=refused.request_id, target=self.target,
        )  # fmt: skip

    async def _refusal(self, answer: UnreadBody, boundary: ErrorBoundary) -> tuple[bytes, str]:
        """The body of a failed answer; or, of one that is too long, what to say of it: the status counts all the same."""
        try:
            return await self._read(answer, boundary), ""
        except MalformedReply as error:
            if not isinstance(error.__cause__, BodyTooLarge):
                raise
            return b"", str(error.__cause__)

    async def _read(self, answer: UnreadBody, boundary: ErrorBoundary) -> bytes:
        """The whole body; the connection is dropped if that fails."""
        try:
            with boundary:
                body = await answer.read()
                # A server that repeats the key would put it into the locals of whoever reads the body.
                if boundary.key is None or len(boundary.key.reveal()) < KEY_CHARS:
                    return body
                return body.replace(boundary.key.reveal().encode(), b"****")
        except BaseException:
            with suppress(SurefootError), boundary:
                await answer.aclose()
            raise

    def whole(self, path: str, body: bytes, call: Call[Any]) -> Awaitable[tuple[bytes, UnreadBody, ErrorBoundary]]:
        """Send once and read the whole answer. Raises a Fault for one with a bad status."""
        return self._send(path, body, call, reads=True)

    async def stream(
        self,
        path: str,
        body: bytes,
        call: Call[Any],
        *,
        reader: Callable[[UnreadBody, ErrorBoundary], EventReader],
        whole: Callable[[bytes, UnreadBody, ErrorBoundary], Source],
    ) -> Stream:
        """Send once and return the opened stream. `whole` reads the answer of a server that does not stream: it sent JSON.

        What an answer begins with tells a stream of events, for some servers call theirs text or JSON.
        """
        _, answer, boundary = await self._send(path, body, call, reads=False)

        def read(answer: UnreadBody, boundary: ErrorBoundary) -> EventReader:
            made = reader(answer, boundary)
            return VerbatimReader(made) if call.state.wants_events else made

        end = EndOfStream(call.request, self.target)
        content_type = answer.headers.get("content-type", "").lower()
        if content_type.startswith(aws_events.CONTENT_TYPE):
            return await open_stream(
                EventSource(aws_events.AwsEvents(answer), read(answer, boundary), boundary), target=self.target, at_end=end
            )
        if content_type and not content_type.startswith("text/event-stream"):
            begun = await self._begun(answer, boundary)
            if not begun.is_events:
                data = await self._read(begun, boundary)
                if not data.removeprefix(BOM).lstrip().startswith((b"{", b"[")):
                    raise malformed(self.target, no_stream(data, content_type, key=boundary.key), request_id=request_id(answer.headers))
                if not is_several(data):
                    return await open_stream(whole(data, answer, boundary), target=self.target, at_end=end)
                begun = BegunBody(answer, data)
            answer = begun
        return await open_stream(EventSource(answer, read(answer, boundary), boundary), target=self.target, at_end=end)

    async def _begun(self, answer: UnreadBody, boundary: ErrorBoundary) -> BegunBody:
        """`answer`, of which enough has been read to know what it is; the connection is dropped if that fails."""
        blocks, seen = [], 0
        try:
            with boundary:
                while seen < BEGINNING and (block := await answer.block()):
                    blocks.append(block)
                    seen += len(block.strip())
        except BaseException:
            with suppress(SurefootError), boundary:
                await answer.aclose()
            raise
        return BegunBody(answer, b"".join(blocks))

    async def connect(self) -> None:
        """Open a connection for the first request, where the lane can; nothing is sent. Raises a Fault."""
        with ErrorBoundary(self.target, None, self._in_flight):
            await self._lane.connect()

    async def aclose(self) -> None:
        """Close all connections; whoever waits for an answer is told at once."""
        self._in_flight.emit()
        await self._lane.aclose()


class _Given:
    """A key that came with the target."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    async def get(self) -> Secret | None:
        """The key."""
        return self._key

    async def renew(self, bad: Secret) -> Secret | None:
        """There is no other."""
        del bad
        return None


def texts(request: ChatRequest | EmbedRequest) -> Iterator[str]:
    """What the caller wrote, which no message of ours may repeat."""
    if request.extra:
        yield from (value for _, value in extra_of(request.extra).headers)
    if isinstance(request, EmbedRequest):
        yield from request.texts
        return
    for message in request.messages:
        yield message.text
        yield from (call.arguments for call in message.tool_calls)


def options_of(target: Target, known: Mapping[str, Any]) -> dict[str, Any]:
    """The target's options over their defaults. Raises Misconfigured for an unknown one, naming the nearest known."""
    given = dict(target.options)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"{ELSEWHERE[name]}; " if name in ELSEWHERE else f"did you mean {near[0]!r}? " if near else ""
            raise Misconfigured(f"target {target.name}: unknown option {name!r}; {hint}known are {', '.join(sorted(known))}")
    return {**known, **given}


def missing_extra(target: Target, package: str, extra: str) -> Misconfigured:
    """What to say when a vendor's package is not installed."""
    return Misconfigured(f'target {target.name} needs the package {package}, not installed here: run  pip install "surefoot[{extra}]"')


def no_stream(body: bytes, content_type: str, *, key: Secret | None) -> str:
    """What to say of an answer that should have been a stream."""
    return f"a stream was asked for; the answer is {snippet(body, content_type, key=key)}"
