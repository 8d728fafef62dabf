"""One request: its headers and body as they came, who asks, and what is noted on its way for the log and the metrics."""

from __future__ import annotations

import asyncio
import math
import secrets
from contextvars import ContextVar
from typing import Any

from surefoot.events import CacheHit, Event
from surefoot.gateway.errors import HttpError
from surefoot.gateway.records import Headers, KeyGrant
from surefoot.layers.watch.trace import cost_of
from surefoot.models.streams import ChatStream
from surefoot.types import AttemptRecord, Usage

READ_MARGIN = 0.05  # of the client's own time, left for our error to reach it
MOST_MARGIN_S = 0.1


class HttpExchange:
    """A request under way. `headers` are lower-case names with their last value."""

    __slots__ = (
        "_receive", "attempts", "begun_at", "body", "cache", "cached", "cost_usd", "error", "first_at", "grant", "guessed_tokens",
        "headers", "is_gone", "is_stream", "model", "names", "queued_s", "request_id", "route", "scope", "status", "stream",
        "target", "told", "usage",
    )  # fmt: skip

    def __init__(self, scope: Any, receive: Any) -> None:
        self.scope = scope
        self._receive = receive
        self.request_id = f"req_{secrets.token_hex(12)}"
        self.begun_at = asyncio.get_running_loop().time()
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.names: tuple[str, ...] = ()
        self.route = "none"
        self.grant = KeyGrant(key_id="")
        self.body = b""
        self.model = ""
        self.target = ""
        self.status = 0
        self.error = ""
        self.attempts = 0
        self.cost_usd: float | None = None
        self.usage: Usage | None = None
        self.cached = False
        self.cache: Headers = ()  # what the cache says of the answer that it gave
        self.is_stream = False
        self.is_gone = False
        self.queued_s = 0.0
        self.guessed_tokens = 0  # counted before the call, corrected by what it used
        self.first_at: float | None = None
        self.stream: ChatStream | None = None
        self.told: Headers = ()  # headers of the answer that come from the call

    def header(self, name: bytes) -> str:
        """A header as text; "" where there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    async def read(self, most: int) -> None:
        """Read the body. Raises HttpError (413) beyond `most` bytes, and for a client that leaves meanwhile."""
        length = self.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise _too_large(most)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_gone = True
                raise HttpError(400, "client_left", "the client left before its request was whole")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            chunks.append(chunk)
            if not message.get("more_body"):
                break
        self.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def until_gone(self) -> None:
        """Wait until the client has left, or its answer is whole."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True

    @property
    def patience_s(self) -> float | None:
        """How long the client itself waits for silence to end, as its SDK says, less what our answer needs; None: it does not say."""
        return self._less_margin(_seconds(self.header(b"x-stainless-read-timeout")))

    @property
    def deadline_s(self) -> float | None:
        """How long the client gives the whole call, by `x-surefoot-deadline-ms`; None: it does not say."""
        said_ms = _seconds(self.header(b"x-surefoot-deadline-ms"))
        return None if said_ms is None else self._less_margin(said_ms / 1000)

    def _less_margin(self, seconds: float | None) -> float | None:
        if seconds is None:
            return None
        spent_s = asyncio.get_running_loop().time() - self.begun_at
        return max(1e-3, seconds - min(MOST_MARGIN_S, READ_MARGIN * seconds) - spent_s)

    @property
    def client_retry(self) -> int:
        """Which retry the client's SDK says this is; 0 for the first try."""
        said = self.header(b"x-stainless-retry-count")
        return int(said) if said.isascii() and said.isdigit() and len(said) < 4 else 0

    def note(self, *, target: str, trail: tuple[AttemptRecord, ...], cost_usd: float | None, usage: Usage | None, cached: bool) -> None:
        """What is known of the call, for the answer's headers, the log and the metrics."""
        self.target, self.cost_usd, self.usage, self.cached = target, cost_usd, usage, cached
        self.attempts = len(trail)
        found = [(b"x-surefoot-attempts", b"%d" % len(trail)), (b"x-surefoot-target", _safe(target))]
        if len(trail) > 1:
            found.append((b"x-surefoot-trail", _safe(", ".join(f"{one.target} {one.kind} {one.error or 'ok'}" for one in trail))))
        if cost_usd is not None:
            found.append((b"x-surefoot-cost-usd", f"{cost_usd:.9f}".encode()))
        if cached or self.cache:  # what the cache gave after attempts that failed, too
            found += self.cache or ((b"x-surefoot-cache", b"hit"),)
        self.told = tuple(found)

    def close_call(self, stream: ChatStream) -> None:
        """A stream has ended: what is known of it only then."""
        reply, trail = stream.reply, stream.trail
        self.attempts = len(trail)
        if reply is not None:
            self.cost_usd, self.usage, self.cached = reply.cost_usd, reply.usage, reply.cached
        elif trail:
            self.cost_usd, self.usage = cost_of(trail), trail[-1].usage


ASKING: ContextVar[HttpExchange | None] = ContextVar("surefoot_asking", default=None)  # whose call is under way in this task


def tell_cache(event: Event) -> None:
    """A subscriber to a model's events: an answer that is not the exact one of its question, or past its time, is labelled so."""
    exchange = ASKING.get() if isinstance(event, CacheHit) and (event.stale or event.semantic) else None
    if exchange is None or not isinstance(event, CacheHit):
        return
    kind = b"stale" if event.stale else b"semantic"
    exchange.cache = ((b"x-surefoot-cache", kind),)
    if event.similarity is not None:
        exchange.cache += ((b"x-surefoot-similarity", f"{event.similarity:.4f}".encode()),)


def _safe(text: str) -> bytes:
    return text.encode("ascii", "replace").replace(b"\r", b"?").replace(b"\n", b"?")


def _seconds(said: str) -> float | None:
    """A number above 0 that a header says; None for anything else."""
    try:
        found = float(said)
    except ValueError:
        return None
    return found if 0 < found < math.inf else None


def _too_large(most: int) -> HttpError:
    return HttpError(413, "request_too_large", f"the body is larger than {most} bytes; [serve] max_body_bytes sets the limit")
