"""The one error boundary for foreign exceptions and failed answers.

What a transport raises or a provider answers becomes one of our errors. `with ErrorBoundary(target, key):` stands around every use of a
foreign library. `fault(...)` reads a failed answer (status, headers, body) of any vendor, `fault_of(...)` an error that came inside a 200
or a stream. Codes decide first, then the table of wordings, then the status, because vendors report an empty account as 429 or 400 and a
prompt too long in a dozen wordings.

Sources: the vendors' error pages; openai-python#3507 (quota as 429), bespokelabsai/curator#296 (quota as 400), BerriAI/litellm#10793
(context wordings), #22100 (a cancel from inside the transport), googleapis/python-genai#1875 (hints in the body).
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import Struct

from surefoot.errors import (
    AttemptTimedOut,
    AuthFailed,
    BadRequest,
    ConnectionLost,
    ContentRefused,
    ContextTooLong,
    Fault,
    MalformedReply,
    Misconfigured,
    NotFound,
    Overloaded,
    Permanent,
    QuotaExhausted,
    RateLimited,
    SurefootError,
    Transient,
)
from surefoot.providers.http.redact import chain, seal, shown, snippet
from surefoot.rules.backoff import retry_after_s
from surefoot.secret import Secret

READ_CHARS = 4000  # of an error's wording; longer ones repeat the request or are a page
MAX_ERROR_BYTES = 1_000_000  # an error body beyond this is not read as JSON

# The vendor's own words for it (code, type or status), whatever the HTTP status says.
_CODES: dict[str, type[Fault]] = {
    **dict.fromkeys(
        ("insufficient_quota", "billing_not_active", "billing_hard_limit_reached", "billing_error", "quota_exceeded",
         "insufficient_credits"),
        QuotaExhausted,
    ),
    **dict.fromkeys(
        ("context_length_exceeded", "context_window_exceeded", "exceed_context_size_error", "string_above_max_length",
         "max_tokens_per_request", "model_context_window_exceeded"),
        ContextTooLong,
    ),
    **dict.fromkeys(
        ("content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation_blocked", "invalid_prompt"),
        ContentRefused,
    ),
    **dict.fromkeys(("image_content_policy_violation", "bio_policy", "misalignment_policy_violation"), ContentRefused),
    **dict.fromkeys(
        ("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "invalid_image_mode", "image_too_large",
         "image_too_small", "image_parse_error", "image_file_too_large", "unsupported_image_media_type", "empty_image_file",
         "failed_to_download_image", "image_file_not_found"),
        BadRequest,
    ),
    **dict.fromkeys(("invalid_api_key", "api_key_invalid"), AuthFailed),
    "model_not_found": NotFound,
}  # fmt: skip
# Words that mean the same as a status, for errors that came with none (in a 200, in a stream).
_KINDS: dict[str, type[Fault]] = {
    **dict.fromkeys(("rate_limit_error", "rate_limit_exceeded", "resource_exhausted", "too_many_requests"), RateLimited),
    **dict.fromkeys(("tokens", "requests"), RateLimited),
    **dict.fromkeys(("authentication_error", "permission_error", "permission_denied", "unauthenticated", "unauthorized"), AuthFailed),
    **dict.fromkeys(("not_found_error", "not_found"), NotFound),
    **dict.fromkeys(("invalid_request_error", "invalid_argument", "request_too_large", "badrequesterror", "bad_request"), BadRequest),
    # Bedrock's, which come in a stream
    "throttlingexception": RateLimited,
    "validationexception": BadRequest,
    "accessdeniedexception": AuthFailed,
}
# Wordings, lower case, tried in order where the answer is one of the caller's making (4xx) or carries no status.
_WORDINGS: tuple[tuple[type[Fault], tuple[str, ...]], ...] = (
    (QuotaExhausted, (
        "exceeded your current quota", "credit balance is too low", "insufficient credit", "insufficient balance", "out of credits",
        "requires more credits", "billing hard limit", "spending limit", "api usage limits", "per day", "(rpd)", "(tpd)", "daily limit",
        "daily quota", "-per-day", "perday",
    )),
    (ContextTooLong, (
        "maximum context length", "context length exceeded", "context window", "context size", "prompt is too long", "input is too long",
        "too many tokens", "exceed context limit", "exceeds the maximum number of tokens", "maximum number of tokens allowed",
        "reduce the length of", "request too large for", "maximum allowed input length", "max tokens per request", "must have less than",
        "longer than the maximum model length", "input length",
    )),
    (ContentRefused, (
        "content management policy", "safety system", "content policy", "usage policy", "usage policies", "flagged as potentially",
        "content filtering policy",
    )),
    (AuthFailed, ("api key not valid", "invalid api key", "incorrect api key")),
)  # fmt: skip
_TRY_AGAIN = re.compile(r"(?:try again|retry)(?: in| after) ((?:\d{1,6}(?:\.\d{1,9})?(?:ms|[dhms]))+)", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)(ms|[dhms])", re.IGNORECASE)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

# Exception classes by name along their ancestry: no SDK is imported to recognise its errors, and httpx and httpx2 are one.
_TIMEOUTS = frozenset({"TimeoutError", "TimeoutException", "APITimeoutError", "ServerTimeoutError"})
_MALFORMED = frozenset({
    "JSONDecodeError", "RecursionError", "DecodeError", "DecodingError", "ContentEncodingError", "UnicodeDecodeError",
    "EventStreamDecodeError", "BodyTooLarge",
})  # fmt: skip
_ADDRESSES = frozenset({"InvalidURL", "UnsupportedProtocol", "InvalidUrlClientError", "NonHttpUrlClientError", "LocationParseError"})
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


class Told(Struct, frozen=True, kw_only=True):
    """What a provider says about a failure, in our fields: its code and other words (lower case), the message, the number it gave."""

    message: str = ""
    code: str = ""
    words: tuple[str, ...] = ()
    number: int | None = None
    hint_s: float | None = None


def told(body: bytes) -> Told:
    """Read an error body of any vendor: `{"error": {...}}`, `{"error": "..."}`, `{"detail": ...}`, `{"message": ...}`, also in a list."""
    if len(body) > MAX_ERROR_BYTES:
        return Told()
    try:
        value: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # RecursionError: brackets nested beyond reason
        return Told()
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return Told(message=value[:READ_CHARS] if isinstance(value, str) else "")
    error = value.get("error") or value
    if not isinstance(error, dict):
        error = {"message": error, "code": value.get("code"), "type": value.get("type")}
    message = error.get("message") or error.get("detail") or error.get("msg") or ""
    if isinstance(message, list):  # FastAPI's; its `input` repeats the prompt, so only the words about it are taken
        message = "; ".join(str(item.get("msg", "")) for item in message if isinstance(item, dict))
    inner = error.get("innererror")
    said = [error.get("code"), error.get("type"), error.get("status"), inner.get("code") if isinstance(inner, dict) else None]
    words = tuple(word.lower() for word in said if isinstance(word, str) and word)
    number = next((word for word in said if isinstance(word, int) and 100 <= word < 600), None)
    details = str(error.get("details") or "")[:READ_CHARS]
    message = str(message)[:READ_CHARS]
    hint = _TRY_AGAIN.search(message) or re.search(r"retryDelay': '((?:\d{1,6}(?:\.\d{1,9})?(?:ms|[dhms]))+)'", details)
    if "resource_exhausted" in words:  # Gemini says "check your plan and billing" for every limit: only a per-day metric is a quota
        words += ("quota_exceeded",) if "perday" in details.lower() else ("rate_limit_exceeded",)
    code = next((word for word in said if isinstance(word, str) and word), "" if number is None else str(number))
    return Told(message=message, code=code, words=words, number=number, hint_s=_duration_s(hint[1]) if hint else None)


def _duration_s(text: str) -> float:
    """432.0 for "7m12s"."""
    return sum(float(number) * _UNITS_S[unit.lower()] for number, unit in _DURATION.findall(text))


def kind_of(status: int | None, about: Told) -> type[Fault]:
    """The class of a failure. `status` None means the error came without one: inside a 200, or inside a stream."""
    for word in about.words:
        if word in _CODES:
            return _CODES[word]
    if status is None:
        status = about.number
    if status is None or status < 500:
        text = about.message.lower()
        for kind, wordings in _WORDINGS:
            limited = "rate_limit_exceeded" in about.words and kind is QuotaExhausted and "resource_exhausted" in about.words
            if not limited and any(wording in text for wording in wordings):
                return kind
    if status is None:
        return next((_KINDS[word] for word in about.words if word in _KINDS), Overloaded)
    return _by_status(status)


def _by_status(status: int) -> type[Fault]:
    if status in {401, 403}:
        return AuthFailed
    if status == 402:
        return QuotaExhausted
    if status == 404:
        return NotFound
    if status in {408, 409, 425}:  # timed out while sending, a conflict, too early: all pass by themselves
        return Transient
    if status == 429:
        return RateLimited
    return Overloaded if status >= 500 else BadRequest


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
    hint_s = retry_after_s(headers, now_epoch_s=time.time()) if "retry-after" in headers or "retry-after-ms" in headers else None  # noqa: TID251 - an HTTP date is the wall clock's
    if not about.message and not about.words:
        about = Told(message=f"the answer is {snippet(body, headers.get('content-type', ''), key=key)}")
    return _fault(target, status, about, hint_s=hint_s, request_id=request_id(headers), key=key, private=private)


def fault_of(target: str, body: bytes, *, request_id: str = "", key: Secret | None = None, private: Iterable[str] = ()) -> Fault:
    """The error of an error object that came inside a 200 or a stream."""
    return _fault(target, None, told(body), request_id=request_id, key=key, private=private)


def _fault(
    target: str,
    status: int | None,
    about: Told,
    *,
    hint_s: float | None = None,
    request_id: str,
    key: Secret | None,
    private: Iterable[str],
) -> Fault:
    kind = kind_of(status, about)
    where = f"HTTP {status}" if status is not None else "an error inside the answer"
    message = shown(about.message, key=key, private=private) or "no word about why"
    code = shown(about.code, key=key, private=private, limit=80)
    if hint_s is None:
        hint_s = about.hint_s
    return kind(
        f"{target}: {where}{f' ({code})' if code else ''}: {message}",
        status=status if status is not None else about.number,
        code=code,
        retry_after_s=hint_s if kind.retryable or kind is QuotaExhausted else None,
        request_id=request_id,
        target=target,
    )


def malformed(target: str, why: str, *, request_id: str = "") -> MalformedReply:
    """An answer that is none: `why` says what is wrong, with a snippet that was made by `snippet()`."""
    return MalformedReply(f"{target}: {why}", request_id=request_id, target=target)


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

    __slots__ = ("_in_flight", "_outer", "_task", "key", "target")

    def __init__(self, target: str, key: Secret | None = None, in_flight: InFlight | None = None) -> None:
        self.target = target
        self.key = key
        self._in_flight = in_flight
        self._task: asyncio.Task[Any] | None = None
        self._outer: BaseException | None = None

    def __enter__(self) -> Self:
        """Note what is being handled already: it is no part of what happens inside."""
        self._outer = sys.exception()
        if self._in_flight is not None:
            self._task = asyncio.current_task()
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


def translate(errors: Sequence[BaseException], target: str, *, key: Secret | None = None) -> SurefootError:
    """Our error for one raised by an SDK, an HTTP library, a JSON parser or the system, given with its causes, outermost first.

    Recognised by names, innermost first, because adapters mislabel: httpx over aiohttp reports a server that hung up as a connect timeout.
    """
    for one in reversed(errors):
        names = {ancestor.__name__ for ancestor in type(one).__mro__}
        # A parser's error quotes the bytes it failed on, which are the answer's.
        quoted = "" if "HttpProcessingError" in names else shown(str(one), key=key, limit=160)
        what = f"{type(one).__name__}: {quoted}".rstrip(": ")
        if names & _ADDRESSES:
            return Misconfigured(f"{target}: the address cannot be used ({what}); check base_url and the proxy settings")
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
