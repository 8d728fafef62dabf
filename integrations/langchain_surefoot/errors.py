"""surefoot's errors as LangChain knows them: each is both ours and one of LangChain's `ModelError` family.

`except surefoot.errors.RateLimited` (also where every attempt ended in one) and `except langchain_core.exceptions.ModelRateLimitError`
both catch a rate limit. `is_retryable` is truthful: False for what we refused, for what cannot succeed, and for all that our own policy
has retried or chosen not to retry (its retry budget is empty, its deadline near), so agents and retry middleware do not ask again. Only
where surefoot's retries are switched off (attempts=1) does a failure that may pass say True.

`.response` (status_code, headers, json()) and `.request_id` stand where LangChain's tracing reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from langchain_core import exceptions as theirs

from surefoot import errors as ours

# The first line that fits wins. Only newer cores know a refusal by name.
FAMILIES: tuple[tuple[type[ours.SurefootError], type[theirs.ModelError]], ...] = (
    (ours.RateLimited, theirs.ModelRateLimitError),
    (ours.QuotaExhausted, theirs.ModelRateLimitError),
    (ours.AttemptTimedOut, theirs.ModelTimeoutError),
    (ours.DeadlineExceeded, theirs.ModelTimeoutError),
    (ours.ConnectionLost, theirs.ModelConnectionError),
    (ours.Interrupted, theirs.ModelConnectionError),
    (ours.Transient, theirs.ModelAPIError),
    (ours.AuthFailed, theirs.ModelAuthenticationError),
    (ours.NotFound, theirs.ModelNotFoundError),
    (ours.ContextTooLong, theirs.ContextOverflowError),
    (ours.ContentRefused, getattr(theirs, "ModelRefusalError", theirs.ModelInvalidRequestError)),
    (ours.BadRequest, theirs.ModelInvalidRequestError),
    (ours.Unsupported, theirs.ModelInvalidRequestError),
)
FORBIDDEN = 403


class FailedResponse:
    """The provider's failing answer as LangChain's tracing reads it: status_code, headers, json()."""

    def __init__(self, fault: ours.Fault) -> None:
        self.status_code = fault.status
        self.headers = {"x-request-id": fault.request_id} if fault.request_id else {}
        self._body = {"error": {"message": str(fault), "code": fault.code}}

    def json(self) -> dict[str, Any]:
        """What the provider said, as surefoot keeps it."""
        return self._body


class Both:
    """Mixed into every translated error: what LangChain reads beside the class."""

    def __getattr__(self, name: str) -> Any:
        """`response`, only where the provider answered: LangChain asks with hasattr."""
        if name == "response":
            fault = self.last if isinstance(self, ours.Exhausted) else self
            if isinstance(fault, ours.Fault) and fault.status is not None:
                return FailedResponse(fault)
        raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the plain surefoot error, translated again on arrival."""
        core = ours.Exhausted if isinstance(self, ours.Exhausted) else type(self).__mro__[2]
        return _again, (core, self.args, dict(self.__dict__))


def family(error: ours.SurefootError) -> type[theirs.ModelError]:
    """LangChain's class for `error`; a group is what its newest failure is."""
    if isinstance(error, ours.Exhausted):
        return family(error.last)
    if isinstance(error, ours.AuthFailed) and error.status == FORBIDDEN:
        return theirs.ModelPermissionDeniedError
    return next((their for our, their in FAMILIES if isinstance(error, our)), theirs.ModelError)


@cache
def _pair(our: Any, their: Any) -> type[ours.SurefootError]:
    """The class that is both; made once a pair."""
    return type(our.__name__, (Both, our, their), {"__module__": __name__, "__doc__": our.__doc__})


def for_langchain(error: ours.SurefootError, *, final: bool = False) -> ours.SurefootError:
    """`error` as an equal that is also one of LangChain's ModelErrors; message, attributes, cause and traceback are kept.

    `final`: a policy of ours owns the retries, so nobody above should ask again.
    """
    if isinstance(error, theirs.ModelError):
        return error
    both: tuple[Any, Any] = type(error), family(error)
    kind = _pair(*both)
    twin = kind.__new__(kind, *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    twin.__dict__["is_retryable"] = error.retryable and not final
    twin.__cause__, twin.__suppress_context__ = error.__cause__, True
    return twin.with_traceback(error.__traceback__)


def _again(core: type[ours.SurefootError], args: tuple[Any, ...], state: dict[str, Any]) -> ours.SurefootError:
    error = core.__new__(core, *args)
    error.args = args
    error.__dict__.update(state)
    return for_langchain(error, final=not state["is_retryable"])


@contextmanager
def translated(attempts: int) -> Iterator[None]:
    """Errors raised inside, where a policy owns so many attempts, leave as LangChain knows them; works around awaits and yields alike."""
    try:
        yield
    except ours.SurefootError as error:
        twin = for_langchain(error, final=attempts > 1)
        raise twin from twin.__cause__
