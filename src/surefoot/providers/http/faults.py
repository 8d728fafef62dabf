"""The one error boundary for foreign exceptions and failed answers.

What a transport raises or a provider answers becomes one of our errors. `with ErrorBoundary(target, key):` stands around every use of a
foreign library. `fault(...)` reads a failed answer (status, headers, body) of any vendor, `fault_of(...)` an error that came inside a 200
or a stream. What a provider says is read by `answers.told`, and what it means decided by `answers.kinds`.

Sources: BerriAI/litellm#22100 (a cancel from inside the transport), googleapis/python-genai#1875 (hints in the body).
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from surefoot.errors import (
    AttemptTimedOut,
    BadRequest,
    ConnectionLost,
    Fault,
    MalformedReply,
    Misconfigured,
    Permanent,
    QuotaExhausted,
    SurefootError,
)
from surefoot.providers.http.answers.kinds import kind_of
from surefoot.providers.http.answers.told import READ_CHARS, Told, told
from surefoot.providers.http.redact import chain, seal, shown, snippet
from surefoot.rules.hints import reset_s, retry_after_s
from surefoot.secret import Secret

# Exception classes by name along their ancestry: no SDK is imported to recognise its errors, and httpx and httpx2 are one.
_TIMEOUTS = frozenset({"TimeoutError", "TimeoutException", "APITimeoutError", "ServerTimeoutError"})
_MALFORMED = frozenset({
    "JSONDecodeError", "RecursionError", "DecodeError", "DecodingError", "ContentEncodingError", "UnicodeDecodeError",
    "EventStreamDecodeError", "BodyTooLarge", "ContentCodingError",
})  # fmt: skip
_MISCONFIGURED = frozenset(
    {
        "SSLCertVerificationError",
        "InvalidURL",
        "UnsupportedProtocol",
        "InvalidUrlClientError",
        "NonHttpUrlClientError",
        "LocationParseError",
    }
)
_LOST = frozenset({
    "OSError", "EOFError", "ClientError", "TransportError", "RequestError", "StreamError", "HttpProcessingError", "ProtocolError",
    "APIConnectionError", "EndOfStream", "ClosedResourceError", "BrokenResourceError", "PayloadEncodingError", "IncompleteRead",
})  # fmt: skip


class BodyTooLarge(Exception):
    """An answer of more than `limit` bytes after decompression: a bomb, or a server that never stops."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is longer than {limit} bytes; the target's option max_body_bytes sets this limit")


class InFlight:
    """The tasks that wait for a client library on behalf of one target, so that closing it can tell them at once."""

    __slots__ = ("told", "waiting")

    def __init__(self) -> None:
        self.waiting: set[asyncio.Task[Any]] = set()
        self.told: set[asyncio.Task[Any]] = set()

    def emit(self) -> None:
        """Wake everyone who waits: a ConnectionLost is raised where they wait."""
        for task in self.waiting - self.told:
            self.told.add(task)
            task.cancel()


def fault(
    target: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    key: Secret | None = None,
    private: Iterable[str] = (),
    note: str = "",
) -> Fault:
    """The error of an answer with a failing status. `headers` have lower-case names; `key` and `private` texts never enter the message.

    `note` stands for a body that could not be read.
    """
    about = Told(message=note) if note else told(body)
    if 300 <= status < 400 and "location" in headers:
        about = Told(message=f"the server is to be found at {_place(headers['location'])}; redirects are not followed, for the key "
                             "would go along: if that address is right, set base_url to it")  # fmt: skip
    elif not about.is_error:
        about = Told(message=f"the answer is {snippet(body, headers.get('content-type', ''), key=key)}")
    refused = _fault(
        target, status, about, hint_s=_hint_s(status, headers, about), request_id=request_id(headers), key=key, private=private
    )
    asked = headers.get("x-should-retry")
    if asked in {"true", "false"}:  # OpenAI and Anthropic know better than a status
        refused.retryable = asked == "true"
    return refused


def _place(location: str) -> str:
    """An address without its query, and with no letter escaped: behind escapes a key would not be seen, and so not be masked."""
    place = location[:READ_CHARS].partition("?")[0].partition("#")[0]
    for _ in range(3):
        place = unquote(place)
    return place


def _hint_s(status: int, headers: Mapping[str, str], about: Told) -> float | None:
    """Seconds until asking again may help: what the headers say of it, the wording, or a limit that is used up."""
    now_epoch_s = time.time()  # noqa: TID251 - an HTTP date is the wall clock's
    hint_s = retry_after_s(headers, now_epoch_s=now_epoch_s)
    if hint_s is None:
        hint_s = about.hint_s
    return reset_s(headers, now_epoch_s=now_epoch_s) if hint_s is None and status in {429, 503} else hint_s


def fault_of(target: str, body: bytes, *, request_id: str = "", key: Secret | None = None, private: Iterable[str] = ()) -> Fault:
    """The error of an error object that came inside a 200 or a stream."""
    about = told(body)
    return _fault(target, None, about, hint_s=about.hint_s, request_id=request_id, key=key, private=private)


def _fault(
    target: str,
    status: int | None,
    about: Told,
    *,
    hint_s: float | None,
    request_id: str,
    key: Secret | None,
    private: Iterable[str],
) -> Fault:
    kind = kind_of(status, about)
    where = f"HTTP {status}" if status is not None else "an error inside the answer"
    message = shown(about.message, key=key, private=private) or "no word about why"
    code = shown(about.code, key=key, private=private, limit=80)
    return kind(
        f"{target}: {where}{f' ({code})' if code else ''}: {message}",
        status=status if status is not None else about.number,
        code=code,
        retry_after_s=hint_s if kind.retryable or kind is QuotaExhausted else None,
        request_id=request_id,
        target=target,
    )


def malformed(target: str, why: str, *, request_id: str = "", code: str = "") -> MalformedReply:
    """An answer that is none: `why` says what is wrong, with a snippet that was made by `snippet()`; `code` names it for who knows more."""
    return MalformedReply(f"{target}: {why}", request_id=request_id, target=target, code=code)


def request_id(headers: Mapping[str, str]) -> str:
    """The vendor's id of the request, for its support."""
    return headers.get("x-request-id") or headers.get("request-id") or headers.get("apim-request-id") or ""


def rate_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that tell of limits: `x-ratelimit-*`, `anthropic-ratelimit-*`, `retry-after*`; lower-case names."""
    return {name: value for name, value in headers.items() if name.startswith(("x-ratelimit-", "anthropic-ratelimit-", "retry-after"))}


class ErrorBoundary:
    """Around every use of a foreign library: what leaves is a SurefootError, caused by what came.

    A cancel of the caller's passes untouched; one from inside the transport, while nobody cancelled us, is a lost connection. The frames
    of foreign errors are emptied of their locals, for they hold the signed request: a traceback that shows locals would print the key.
    """

    __slots__ = ("_in_flight", "_loop", "_outer", "_task", "key", "target")

    def __init__(
        self, target: str, key: Secret | None = None, in_flight: InFlight | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.target = target
        self._loop = loop
        self.key = key
        self._in_flight = in_flight
        self._task: asyncio.Task[Any] | None = None
        self._outer: BaseException | None = None

    def __enter__(self) -> Self:
        """Note what is being handled already: it is no part of what happens inside."""
        self._outer = sys.exception()
        if self._in_flight is not None:
            self._task = asyncio.current_task(self._loop)
            if self._task is not None:
                self._in_flight.waiting.add(self._task)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Translate `error`."""
        task, in_flight = self._task, self._in_flight
        is_closed = False
        if in_flight is not None and task is not None:
            self._task = None
            in_flight.waiting.discard(task)
            if task in in_flight.told:
                in_flight.told.discard(task)
                task.uncancel()
                is_closed = True
        if error is None or isinstance(error, SurefootError | StopAsyncIteration | GeneratorExit | KeyboardInterrupt | SystemExit):
            if isinstance(error, SurefootError):
                traceback.clear_frames(trace)  # our own functions hold signed headers as well
            return
        if isinstance(error, asyncio.CancelledError):
            traceback.clear_frames(trace)
            task = asyncio.current_task()
            if task is None or task.cancelling():
                return
            why = "the target was closed while it was answering" if is_closed else "the transport gave up on its own"
            raise ConnectionLost(f"{self.target}: {why}", target=self.target) from error
        if isinstance(error, Exception):
            errors = chain(error, self._outer)
            translated = translate(errors, self.target, key=self.key)
            cause = error if seal(errors, key=self.key) else None
            del error, errors  # this frame's locals are printed too
            raise translated from cause


def _untrusted(error: BaseException) -> str:
    """Why a server's certificate was refused, and what to do."""
    why = shown(str(getattr(error, "verify_message", "") or error), limit=160) or "certificate verify failed"
    if "mismatch" in why or "not valid for" in why:
        remedy = "base_url must name the host that the certificate is for"
    elif "expired" in why or "not yet valid" in why:
        remedy = "it must be renewed, or this machine's clock set right"
    else:
        remedy = 'if it is yours or a proxy\'s of your company, name the file of its CA: verify="/path/to/ca.pem"'
    return f"the server's certificate is not trusted ({why}); nothing was sent; {remedy}"


def translate(errors: Sequence[BaseException], target: str, *, key: Secret | None = None) -> SurefootError:
    """Our error for one raised by an SDK, an HTTP library, a JSON parser or the system, given with its causes, outermost first.

    Recognised by names, innermost first, because adapters mislabel: httpx over aiohttp reports a server that hung up as a connect timeout.
    """
    for one in reversed(errors):
        names = {ancestor.__name__ for ancestor in type(one).__mro__}
        # A parser's error quotes the bytes it failed on, which are the answer's.
        is_quoting = "HttpProcessingError" in names and "ContentEncodingError" not in names  # that one names the coding alone
        quoted = "" if is_quoting else shown(str(one), key=key, limit=160)
        what = f"{type(one).__name__}: {quoted}".rstrip(": ")
        if names & _MISCONFIGURED:
            untrusted = "SSLCertVerificationError" in names
            why = _untrusted(one) if untrusted else f"the address cannot be used ({what}); check base_url and the proxy settings"
            return Misconfigured(f"{target}: {why}")
        if names & _TIMEOUTS:
            return AttemptTimedOut(f"{target}: no connection or no answer in time ({what})", target=target)
        if names & _MALFORMED:
            return malformed(target, str(one) if isinstance(one, BodyTooLarge) else f"the answer cannot be read ({what})")
        if names & _LOST or (isinstance(one, RuntimeError) and "closed" in str(one)):
            return ConnectionLost(f"{target}: the connection failed ({what})", target=target)
        if isinstance(one, UnicodeEncodeError):
            return BadRequest(f"{target}: the request holds text that cannot be sent ({what})", target=target)
    what = f"{type(errors[0]).__name__}: {shown(str(errors[0]), key=key, limit=160)}".rstrip(": ")
    return Permanent(f"{target}: the client library failed in a way we do not know ({what})", target=target)
