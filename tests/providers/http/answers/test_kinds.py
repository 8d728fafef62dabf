"""Which of our errors a failure is, where code, wording and status say different things; the vendors' own bodies are in test_faults."""

from __future__ import annotations

import pytest

from surefoot.errors import (
    AuthFailed,
    BadRequest,
    ContextTooLong,
    NotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    Transient,
)
from surefoot.providers.http.answers.kinds import CODES, KINDS, PLAIN, WORDINGS, kind_of
from surefoot.providers.http.answers.told import Told, plain

ROWS = [
    (400, "invalidvalue", "5 requests per day, maximum context length", BadRequest),
    (429, "insufficientquota", "rate limit reached", QuotaExhausted),
    (500, "", "insufficient balance", QuotaExhausted),
    (400, "", "a dose per day", BadRequest),
    (429, "", "limit: 50 per day", QuotaExhausted),
    (None, "", "limit: 50 per day", QuotaExhausted),
    (503, "", "limit: 50 per day", Overloaded),
    (400, "invalidrequest", "rate limit must be a number", BadRequest),
    (403, "", "rate limit exceeded", RateLimited),
    (500, "invalidrequest", "no", Overloaded),
    (500, "ratelimit", "no", RateLimited),
    (None, "", "the server is busy", Overloaded),
    (None, "", "too many requests", RateLimited),
    (None, "notfound", "no", NotFound),
    (400, "1002", "no", BadRequest),
    (None, "1002", "no", RateLimited),
    (499, "", "no", Transient),
    (410, "", "no", NotFound),
    (407, "", "no", AuthFailed),
    (418, "", "no", BadRequest),
    (429, "throttling", "Too many tokens, please wait before trying again.", RateLimited),
    (400, "", "too many tokens", ContextTooLong),
]


@pytest.mark.parametrize(("status", "word", "message", "kind"), ROWS)
def test_codes_come_before_wordings_and_wordings_before_the_status(status, word, message, kind):
    """The code was written for this; a wording may name a field; a status is often the gateway's."""
    assert kind_of(status, Told(message=message, words=(word,) if word else ())) is kind


def test_the_tables_are_written_as_they_are_compared():
    """A word with a mark, or a wording with a capital, would never be found."""
    assert all(plain(word) == word for word in (*CODES, *KINDS))
    assert not {*CODES} & {*KINDS}
    assert all(wording == wording.lower() for table in (PLAIN, WORDINGS) for _, wordings in table for wording in wordings)
