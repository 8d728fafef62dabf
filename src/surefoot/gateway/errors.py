"""Errors on the wire: any failure as status, body and headers, so that a stock SDK raises the right class and asks again where it helps.

The retry stops here: a call whose attempts are spent says `x-should-retry: false`, which OpenAI's and Anthropic's SDKs obey, so that two
owners of retries do not multiply. What was refused before anything was sent says `true`, with how long to wait.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from surefoot import errors
from surefoot.errors import Exhausted, Fault, SurefootError
from surefoot.gateway.records import JSON_TYPE, Headers

MAX_MESSAGE = 2_000  # characters of a message


class HttpError(Exception):
    """An answer that is no success: `HttpError(404, "model_not_found", "...")`. `retry_after_s` None: asking again does not help."""

    def __init__(
        self, status: int, code: str, message: str, *, kind: str = "", param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.kind = kind or _kind(status)
        self.param = param
        self.retry_after_s = retry_after_s
        self.attempts = 0

    @property
    def headers(self) -> Headers:
        """Whether to ask again, and when."""
        if self.retry_after_s is None:
            return ((b"x-should-retry", b"false"),)
        wait_ms = max(0, math.ceil(self.retry_after_s * 1000))
        return (
            (b"x-should-retry", b"true"),
            (b"retry-after-ms", b"%d" % wait_ms),
            (b"retry-after", b"%d" % math.ceil(wait_ms / 1000)),
        )

    def openai(self) -> bytes:
        """The body as OpenAI writes it."""
        return msgspec.json.encode({"error": self._said()})

    def anthropic(self, request_id: str) -> bytes:
        """The body as Anthropic writes it."""
        kind = ANTHROPIC_KINDS.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": str(self)}, "request_id": request_id})

    def _said(self) -> dict[str, Any]:
        return {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}


def _kind(status: int) -> str:
    return KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")


KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
ANTHROPIC_KINDS = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error", 503: "overloaded_error",
}  # fmt: skip

# class: (status where the provider gave none that fits, code). The first that the error is an instance of.
TABLE: tuple[tuple[type[SurefootError], int, str], ...] = (
    (errors.BudgetExceeded, 429, "budget_exceeded"),
    (errors.CircuitOpen, 503, "circuit_open"),
    (errors.QueueFull, 503, "queue_full"),
    (errors.DeadlineTooNear, 504, "deadline_too_near"),
    (errors.Unsupported, 400, "unsupported"),
    (errors.RateLimited, 429, "rate_limit_exceeded"),
    (errors.AttemptTimedOut, 504, "upstream_timeout"),
    (errors.ConnectionLost, 502, "upstream_connection_lost"),
    (errors.MalformedReply, 502, "upstream_malformed_reply"),
    (errors.Overloaded, 503, "upstream_overloaded"),
    (errors.ContextTooLong, 400, "context_length_exceeded"),
    (errors.ContentRefused, 400, "content_filter"),
    (errors.QuotaExhausted, 429, "insufficient_quota"),
    (errors.AuthFailed, 502, "upstream_auth_failed"),
    (errors.NotFound, 404, "model_not_found"),
    (errors.InvalidOutput, 502, "invalid_output"),
    (errors.BadRequest, 400, "invalid_request"),
    (errors.DeadlineExceeded, 504, "deadline_exceeded"),
    (errors.Interrupted, 502, "stream_interrupted"),
    (errors.Misconfigured, 500, "misconfigured"),
    (errors.Refused, 503, "refused"),
    (errors.Fault, 502, "upstream_error"),
)
# Statuses of a provider that are told as they are; all others become the class's own. Its 401 and 403 are not among them: they speak of the
# gateway's key, and the client would take them for its own.
TOLD: dict[type[SurefootError], set[int]] = {
    errors.BadRequest: {400, 405, 408, 409, 413, 415, 422},
    errors.Overloaded: {408, 409, 500, 502, 503, 504, 529},
    errors.AttemptTimedOut: {408, 504},
    errors.NotFound: {404, 410},
    errors.Fault: {408, 409, 500, 502, 503, 504, 529},
}


def http_error(error: BaseException) -> HttpError:
    """Any failure as one on the wire. A foreign one tells nothing of itself: its message may hold what is nobody's business."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, TimeoutError) and not isinstance(error, SurefootError):
        return HttpError(504, "deadline_exceeded", "the client's own time ran out before the first token")
    if not isinstance(error, SurefootError):
        return HttpError(500, "internal_error", "the gateway failed; its log says more under this request's id")
    status, code = _judged(error)
    attempts = error.attempts
    wait_s = getattr(error, "retry_after_s", None)
    is_unsent = isinstance(error, errors.Refused) and not attempts and not isinstance(error, (errors.Unsupported, errors.DeadlineTooNear))
    if is_unsent and wait_s is None and not isinstance(error, errors.BudgetExceeded):
        wait_s = 1.0
    told = error.code if isinstance(error, Fault) and error.code and status < 500 else code
    wire_kind = "insufficient_quota" if code in {"budget_exceeded", "insufficient_quota"} else ""
    found = HttpError(status, told, str(error)[:MAX_MESSAGE], kind=wire_kind, retry_after_s=wait_s if is_unsent else None)
    found.attempts = attempts
    return found


def _judged(error: SurefootError) -> tuple[int, str]:
    """The status and the code of an error of ours: failures that have nothing in common are told by the last of them."""
    last = error.last if isinstance(error, Exhausted) else error
    for one in (error, last):
        for kind, usual, word in TABLE:
            if isinstance(one, kind):
                is_told = isinstance(last, Fault) and last.status in TOLD.get(kind, ())
                return (last.status if is_told and isinstance(last, Fault) and last.status else usual), word
    return 500, "internal_error"


def plain_headers(error: HttpError) -> Headers:
    """All headers of an error's answer."""
    return (JSON_TYPE, *error.headers)
