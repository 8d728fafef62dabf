"""Each error is ours and LangChain's at once, with a truthful is_retryable."""

from __future__ import annotations

import pickle  # noqa: TID251 - what job queues do to errors

import pytest
from langchain_core import exceptions as theirs

from langchain_surefoot.errors import for_langchain, translated
from surefoot import errors as ours


@pytest.mark.parametrize(
    ("error", "family", "retryable"),
    [
        (ours.RateLimited("x", status=429), theirs.ModelRateLimitError, True),
        (ours.Overloaded("x", status=503), theirs.ModelAPIError, True),
        (ours.ConnectionLost("x"), theirs.ModelConnectionError, True),
        (ours.AttemptTimedOut("x"), theirs.ModelTimeoutError, True),
        (ours.MalformedReply("x"), theirs.ModelAPIError, True),
        (ours.BadRequest("x", status=400), theirs.ModelInvalidRequestError, False),
        (ours.AuthFailed("x", status=401), theirs.ModelAuthenticationError, False),
        (ours.AuthFailed("x", status=403), theirs.ModelPermissionDeniedError, False),
        (ours.NotFound("x", status=404), theirs.ModelNotFoundError, False),
        (ours.QuotaExhausted("x", status=429), theirs.ModelRateLimitError, False),
        (ours.ContextTooLong("x", status=400), theirs.ContextOverflowError, False),
        (ours.BudgetExceeded("x"), theirs.ModelError, False),
        (ours.CircuitOpen("x"), theirs.ModelError, False),
        (ours.QueueFull("x"), theirs.ModelError, False),
        (ours.DeadlineTooNear("x"), theirs.ModelError, False),
        (ours.DeadlineExceeded("x"), theirs.ModelTimeoutError, False),
        (ours.Interrupted("x", partial="abc"), theirs.ModelConnectionError, False),
        (ours.Unsupported("x"), theirs.ModelInvalidRequestError, False),
        (ours.Misconfigured("x"), theirs.ModelError, False),
        (ours.Exhausted("x", [ours.Overloaded("a"), ours.RateLimited("b", status=429)]), theirs.ModelRateLimitError, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_is_ours_and_theirs(error, family, retryable):
    """Agents retry what is no ModelError, and what says is_retryable: they would hammer what we refused, or gave up on."""
    twin = for_langchain(error)
    assert isinstance(twin, type(error))
    assert isinstance(twin, family)
    assert twin.is_retryable is retryable
    assert str(twin) == str(error)
    assert twin.__dict__ == {**error.__dict__, "is_retryable": retryable}
    assert for_langchain(error, final=True).is_retryable is False


def test_the_cause_and_the_place_survive():
    """The traceback must still show where it went wrong, once."""

    def fails():
        raise ours.Overloaded("busy", status=503, request_id="r1") from OSError("reset")

    with pytest.raises(ours.Overloaded) as caught, translated(3):
        fails()
    assert isinstance(caught.value.__cause__, OSError)
    assert any(entry.name == "fails" for entry in caught.traceback)


def test_what_the_provider_said_stands_where_tracing_reads_it():
    """LangChain's on_llm_error reads error.response and error.request_id."""
    twin = for_langchain(ours.Overloaded("busy", status=503, code="overloaded", request_id="r1"))
    assert (twin.response.status_code, twin.response.headers, twin.request_id) == (503, {"x-request-id": "r1"}, "r1")
    assert twin.response.json()["error"]["code"] == "overloaded"
    group = for_langchain(ours.Exhausted("x", [ours.Overloaded("busy", status=503, request_id="r2")]))
    assert (group.response.status_code, group.request_id) == (503, "r2")


def test_without_an_answer_there_is_no_response():
    """A refused connection has no status."""
    assert not hasattr(for_langchain(ours.ConnectionLost("refused")), "response")
    assert not hasattr(for_langchain(ours.BudgetExceeded("full")), "response")


@pytest.mark.parametrize("error", [ours.RateLimited("x", status=429, retry_after_s=2.0), ours.Exhausted("x", [ours.Overloaded("a")])])
def test_errors_cross_processes(error):
    """Job queues pickle what a worker raised."""
    twin = pickle.loads(pickle.dumps(for_langchain(error)))
    assert isinstance(twin, type(error))
    assert isinstance(twin, theirs.ModelError)
    assert str(twin) == str(error)
    assert twin.is_retryable is error.retryable


def test_translating_twice_changes_nothing():
    """A chain inside a chain meets the error boundary twice."""
    twin = for_langchain(ours.RateLimited("x"))
    assert for_langchain(twin) is twin


def test_a_split_group_stays_a_group():
    """except* works on what LangChain's users see."""
    twin = for_langchain(ours.Exhausted("x", [ours.Overloaded("a"), ours.RateLimited("b")]))
    seen = []
    try:
        raise twin
    except* ours.RateLimited as some:
        seen = list(some.exceptions)
    except* ours.Overloaded:
        pass
    assert [type(error) for error in seen] == [ours.RateLimited]
