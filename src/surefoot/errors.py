"""What can go wrong, drawn as a tree: was money spent? may I ask again?

The class of an error answers both questions; its message says what happened, with which numbers, and what to do.

    SurefootError
    ├── Misconfigured              at build time; yours to mend
    ├── Refused                    nothing sent, nothing spent
    │   └── BudgetExceeded  CircuitOpen  QueueFull  DeadlineTooNear  Unsupported
    ├── Fault                      the provider's answer
    │   ├── Transient              RateLimited  Overloaded  ConnectionLost  AttemptTimedOut  MalformedReply
    │   └── Permanent              BadRequest  AuthFailed  QuotaExhausted  ContextTooLong  ContentRefused  NotFound
    ├── DeadlineExceeded           the call's own time ran out while something was under way
    ├── Interrupted                after the first token; .partial holds what arrived
    ├── Exhausted                  every attempt failed; an ExceptionGroup, in order, and of the kind that all of them are
    └── BatchFailed                some calls of a batch failed; .replies holds all, in order
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Self

from surefoot.text import one_line

__all__ = [
    "AttemptTimedOut",
    "AuthFailed",
    "BadRequest",
    "BatchFailed",
    "BudgetExceeded",
    "CircuitOpen",
    "ConnectionLost",
    "ContentRefused",
    "ContextTooLong",
    "DeadlineExceeded",
    "DeadlineTooNear",
    "Exhausted",
    "Fault",
    "Interrupted",
    "InvalidOutput",
    "MalformedReply",
    "Misconfigured",
    "NotFound",
    "Overloaded",
    "Permanent",
    "QueueFull",
    "QuotaExhausted",
    "RateLimited",
    "Refused",
    "SurefootError",
    "Transient",
    "Unsupported",
]


class SurefootError(Exception):
    """Root of everything surefoot raises on purpose. Its message is one printable line, whatever tenants, tags or servers put into it.

    `attempts` counts the wire attempts of the call that failed.
    """

    retryable: bool = False
    """Whether the same request may be asked again, of the same target, a little later. The class says so, unless the provider knows better.
    """
    attempts: int = 0
    """Wire attempts that the call had made when it failed; 0: nothing was sent, or the error is not a whole call's."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(one_line(arg) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by message and attributes, so errors cross processes whole."""
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(kind: type[SurefootError], args: tuple[Any, ...], state: dict[str, Any]) -> SurefootError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Misconfigured(SurefootError):
    """A setting is wrong or something is missing; raised before anything is sent."""


class Refused(SurefootError):
    """We said no before sending: nothing sent, nothing spent.

    `retry_after_s` is how long until asking again may help, or None.
    """

    retry_after_s: float | None
    """Seconds until asking again may help, at least 0; None: waiting does not help, or nobody knows how long."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BudgetExceeded(Refused):
    """The money or token budget has no room for this call."""


class CircuitOpen(Refused):
    """The target failed too often lately; it is left alone until its next trial."""


class QueueFull(Refused):
    """More calls are waiting for this target than its queue holds, or longer than is sensible while another target is at hand."""


class DeadlineTooNear(Refused):
    """The call's deadline passes before it could be sent."""


class Unsupported(Refused):
    """No target at hand can do what the request asks (vision, tools, PDF, schema)."""


class Fault(SurefootError):
    """The provider's answer was a failure.

    `status` is the HTTP status or None, `code` the vendor's own word for it, `retry_after_s` the server's hint in
    seconds, `request_id` the vendor's id for support, `target` the `provider:model` asked. A partly failed embedding's
    error has the rest as `vectors`.
    """

    status: int | None
    """The HTTP status; None where there was none: no answer, or an error in the middle of a stream."""
    code: str
    """The vendor's own word for the error; empty: it gave none."""
    retry_after_s: float | None
    """The server's hint, in seconds, when to ask again; None: it gave none."""
    request_id: str
    """The vendor's id of the request, for its support; empty: it gave none."""
    target: str
    """The target that was asked, as "provider:model"; empty: not known where the error arose."""
    vectors: Any = None
    """Of a partly failed embedding: float32 [n, dim], NaN in the rows of the texts the message names. None for all other errors."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        retry_after_s: float | None = None,
        request_id: str = "",
        target: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = one_line(code)
        self.retry_after_s = retry_after_s
        self.request_id = one_line(request_id)
        self.target = target


class Transient(Fault):
    """May pass by itself: ask again later, or elsewhere."""

    retryable = True


class RateLimited(Transient):
    """The provider's rate limit was hit (429)."""


class Overloaded(Transient):
    """The provider is overloaded or failing inside (5xx, 529)."""


class ConnectionLost(Transient):
    """The connection failed, was reset, or ended before the answer was whole."""


class AttemptTimedOut(Transient):
    """One attempt took longer than its own limit (connect, first token, silence)."""


class MalformedReply(Transient):
    """The answer arrived but is not one: HTML, truncated JSON, no choices, a wrong count of vectors."""


class Permanent(Fault):
    """Asking the same target the same thing again cannot help."""


class BadRequest(Permanent):
    """The request is wrong (400, 422); the message names what."""


class AuthFailed(Permanent):
    """The key is missing, wrong or not allowed to do this (401, 403)."""


class NotFound(Permanent):
    """The model or address does not exist (404)."""


class QuotaExhausted(Permanent):
    """The account has no credit or quota left; waiting a minute will not help."""


class ContextTooLong(Permanent):
    """The prompt does not fit the model's context window."""


class ContentRefused(Permanent):
    """The provider's content filter refused the prompt or the answer, or the model declined to answer.

    `reply` is the answer that was withheld, as far as there is one; `refusal` is what was said about it; `events` are those of its stream.
    """

    reply: Any = None
    """The ChatReply without text that the provider answered with: its finish reason, tokens and ids, which may have been billed. None: the
    prompt was refused with an error.
    """
    refusal: str = ""
    """What the model or the filter said about why; empty: nothing."""
    events: tuple[bytes, ...] = ()
    """Of a stream whose deltas were to carry their events (`Delta.events`): those that it was read from."""


class InvalidOutput(Permanent):
    """The answer does not satisfy the schema that was asked for; `.partial` holds its text."""

    partial: str
    """The whole text of the answer that does not fit."""

    def __init__(self, message: str, *, partial: str = "", target: str = "") -> None:
        super().__init__(message, target=target)
        self.partial = partial


class DeadlineExceeded(SurefootError, TimeoutError):
    """The call's one deadline passed while it was under way; what was sent may have been billed."""


class Interrupted(SurefootError):
    """The stream from `.target` broke after its first token; `.partial` holds the text that arrived, `__cause__` the reason."""

    partial: str
    """The text that arrived before it broke."""
    target: str
    """The target that was answering, as "provider:model"; empty: not known."""

    def __init__(self, message: str, *, partial: str = "", target: str = "") -> None:
        super().__init__(message)
        self.partial = partial
        self.target = target


class Exhausted(ExceptionGroup[SurefootError], SurefootError):
    """Every attempt failed; `.exceptions` holds each failure in order, `.last` the newest.

    It is also an error of the kind that all of them are: where every attempt ended in a rate limit, `except RateLimited` catches it;
    where rate limits and outages met, `except Transient`. `status`, `code`, `request_id` and `target` are then the newest failure's, and
    `retry_after_s` is the shortest wait that the targets asked for. It is never `retryable`: asking again has been tried.
    """

    retryable = False

    def __new__(cls, message: str, errors: Sequence[SurefootError]) -> Self:
        """Build from a message and at least one error."""
        kind = _common_kind(errors) if cls is Exhausted and all(isinstance(one, SurefootError) for one in errors) else None
        if kind is None:
            return super().__new__(cls, one_line(message), errors)
        self = super().__new__(_exhausted(kind), one_line(message), errors)  # type: ignore[arg-type]
        state = dict(self.last.__dict__)
        state.pop("attempts", None)
        state.pop("retryable", None)
        if hasattr(self.last, "retry_after_s"):
            state["retry_after_s"] = _soonest_s(self)
        self.__dict__.update(state)
        return self  # type: ignore[return-value]

    @staticmethod
    def of(errors: Sequence[SurefootError], what: str) -> SurefootError:
        """One error for all `errors`, flat and in order; a single one stays itself. `what` names who failed: "targets asked failed"."""
        if len(errors) == 1:
            return errors[0]
        flat: list[SurefootError] = []
        for error in errors:
            flat.extend(error.exceptions if isinstance(error, Exhausted) else (error,))  # type: ignore[arg-type]
        return Exhausted(f"{len(errors)} {what}; the last: {flat[-1]}", flat)

    @property
    def last(self) -> SurefootError:
        """The newest failure, flattened out of nested groups."""
        return _last(self)

    def derive(self, errors: Sequence[SurefootError]) -> Exhausted:  # type: ignore[override]
        """Keep the type when `except*` splits the group."""
        return Exhausted(self.message, errors)

    def __str__(self) -> str:
        """The message alone; Python would count the failures once more."""
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a plain Exhausted, which finds its kind again."""
        return _rebuild, (Exhausted, self.args, dict(self.__dict__))


def _last(error: Any) -> SurefootError:
    while isinstance(error, Exhausted):
        error = error.exceptions[-1]
    return error  # type: ignore[no-any-return]


def _common_kind(errors: Sequence[SurefootError]) -> type[SurefootError] | None:
    """The nearest class that all `errors` are of; None where they share no more than the root."""
    flat = [type(one) for error in errors for one in (error.exceptions if isinstance(error, Exhausted) else (error,))]
    kinds = flat[0].__mro__ if flat else ()
    return next((kind for kind in kinds if kind in _KINDS and all(issubclass(one, kind) for one in flat)), None)


def _soonest_s(group: Exhausted) -> float | None:
    """The shortest of the newest waits that each target asked for; None where none did."""
    waits = {getattr(error, "target", ""): getattr(error, "retry_after_s", None) for error in group.exceptions}
    return min((wait for wait in waits.values() if wait is not None), default=None)


@cache
def _exhausted(kind: type[SurefootError]) -> type[Exhausted]:
    """The class that is both Exhausted and `kind`; made once a kind."""
    return type("Exhausted", (Exhausted, kind), {"__module__": __name__, "__doc__": Exhausted.__doc__})


class BatchFailed(ExceptionGroup[Exception], SurefootError):
    """Some calls of a batch failed; `.exceptions` holds their errors, `.replies` every reply or error in the order asked.

    Of a batch of embeddings `.vectors` holds what came.
    """

    replies: list[Any]
    """Every reply or error, in the order asked."""
    vectors: Any = None
    """Of a batch of embeddings: float32 [n, dim], NaN in the rows that failed. None for a batch of chats."""

    def __new__(cls, message: str, errors: Sequence[Exception], *, replies: list[Any] | None = None) -> Self:
        """Build from a message, at least one error, and the whole list."""
        self = super().__new__(cls, one_line(message), errors)
        self.replies = [] if replies is None else replies
        return self

    def __init__(self, message: str, errors: Sequence[Exception], *, replies: list[Any] | None = None) -> None:
        super().__init__(message, errors)
        self.replies = [] if replies is None else replies

    def derive(self, errors: Sequence[Exception]) -> BatchFailed:  # type: ignore[override]
        """Keep the type when `except*` splits the group."""
        return BatchFailed(self.message, errors, replies=self.replies)


# What a group of failures may be besides Exhausted; those that are TimeoutErrors or groups themselves cannot be mixed in.
_KINDS = frozenset({
    AttemptTimedOut, AuthFailed, BadRequest, BudgetExceeded, CircuitOpen, ConnectionLost, ContentRefused, ContextTooLong, DeadlineTooNear,
    Fault, InvalidOutput, MalformedReply, NotFound, Overloaded, Permanent, QueueFull, QuotaExhausted, RateLimited, Refused, Transient,
    Unsupported,
})  # fmt: skip
