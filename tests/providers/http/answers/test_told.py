"""What a provider says about a failure is found, wherever it stands."""

from __future__ import annotations

import json

import pytest

from surefoot.providers.http.answers.told import MAX_ERROR_BYTES, plain, says_something, told, told_instead

BODIES = [
    ({"error": {"message": "no", "type": "invalid_request_error", "code": "x"}}, "no", "x", ("x", "invalidrequest"), None),
    ([{"error": {"message": "no", "code": 429, "status": "RESOURCE_EXHAUSTED"}}], "no", "RESOURCE_EXHAUSTED", None, 429),
    ({"error": "no"}, "no", "", (), None),
    ({"error": "bad_key", "message": "the key is bad"}, "the key is bad", "bad_key", ("badkey",), None),
    ({"error": True, "message": "no"}, "no", "", (), None),
    ({"error": {"message": {"detail": "no"}}}, "no", "", (), None),
    ({"message": "no", "code": "429"}, "no", "429", None, 429),
    ({"code": 401, "msg": "no"}, "no", "401", (), 401),
    ({"Message": "no", "__type": "ThrottlingException"}, "no", "ThrottlingException", ("throttling",), None),
    ({"base_resp": {"status_code": 1008, "status_msg": "no"}, "choices": None}, "no", "1008", ("1008",), None),
    ({"error_code": 18, "error_msg": "no"}, "no", "18", (), None),
    ({"errors": [{"message": "no", "code": 7003}]}, "no", "7003", ("7003",), None),
    ({"detail": "no"}, "no", "", (), None),
    ({"detail": [{"loc": ["body", "n"], "msg": "not a number", "input": "secret"}]}, "body.n: not a number", "", (), None),
    (
        {"error": {"message": "outer", "metadata": {"raw": '{"error": {"message": "inner", "type": "b"}}'}}},
        "outer: inner",
        "b",
        ("b",),
        None,
    ),
    ("no", "no", "", (), None),
    ({}, "", "", (), None),
    ([], "", "", (), None),
    (None, "", "", (), None),
]


@pytest.mark.parametrize(("body", "message", "code", "words", "number"), BODIES, ids=range(len(BODIES)))
def test_an_error_is_found_in_every_form(body, message, code, words, number):
    """Vendors, gateways and frameworks each have their own."""
    found = told(json.dumps(body).encode())
    assert (found.message, found.code, found.number) == (message, code, number)
    if words is not None:
        assert found.words == words


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[" * 100_000, b" " * (MAX_ERROR_BYTES + 1), b"\xff"])
def test_what_is_no_json_says_nothing(body):
    """The status speaks then."""
    assert not told(body).is_error


ANSWERS = [
    {"id": "msg_1", "type": "message", "role": "assistant", "content": []}, {"object": "chat.completion", "choices": []}, {},
    {"type": "ping"}, {"id": "x", "status": "completed", "output": []}, {"code": 0, "message": "success"}, {"message": "working"},
    {"error": {"message": "", "code": None}}, {"base_resp": {"status_code": 0, "status_msg": "success"}}, {"usage": {"total_tokens": 3}},
    {"candidates": []}, {"error": None, "errors": []},
]  # fmt: skip


@pytest.mark.parametrize("body", ANSWERS, ids=map(str, ANSWERS))
def test_an_answer_is_no_error(body):
    """They have types, codes and states of their own."""
    assert not told_instead(json.dumps(body).encode()).is_error


def test_words_are_compared_without_case_marks_and_endings():
    """One vendor's RateLimitError is another's rate_limit_error."""
    for word in ("RateLimitError", "rate_limit_error", "rate-limit", "RATE LIMIT", "RateLimitException"):
        assert plain(word) == "ratelimit"
    assert says_something({"message": "", "details": [{"reason": "x"}]})
    assert not says_something({"message": "", "details": [{}], "code": 0, "status": "ok"})
