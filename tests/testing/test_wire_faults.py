"""Each fault of the catalogue does to the real SDKs what was measured on them."""

from __future__ import annotations

import json

import anthropic
import httpx2
import openai
import pytest
from google.genai import errors, types

from surefoot.testing.wire import CATALOGUE, AnthropicSim, GeminiSim, OpenAISim, PlainAnswer, PlainToolCall, fault, faults_for
from tests.testing.wire_users import USERS, OpenAIUser

TIMEOUT_S = 0.15  # of the clients: a scripted stall outlasts it, an answer never does


@pytest.fixture(scope="module")
def servers():
    with OpenAISim() as one, AnthropicSim() as two, GeminiSim() as three:
        sims = {"openai": one, "anthropic": two, "google": three}
        yield {vendor: (sim, USERS[vendor](sim)) for vendor, sim in sims.items()}


@pytest.fixture
def at(servers):
    for sim, _ in servers.values():
        sim.reset()
        sim.answer = None
    return servers


STATUS_CLASSES = {
    "openai": {
        400: openai.BadRequestError, 401: openai.AuthenticationError, 402: openai.APIStatusError, 403: openai.PermissionDeniedError,
        404: openai.NotFoundError, 408: openai.APIStatusError, 409: openai.ConflictError, 413: openai.APIStatusError,
        422: openai.UnprocessableEntityError, 429: openai.RateLimitError, 500: openai.InternalServerError, 502: openai.InternalServerError,
        503: openai.InternalServerError, 504: openai.InternalServerError, 529: openai.InternalServerError,
    },
    "anthropic": {
        400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 402: anthropic.PaymentRequiredError,
        403: anthropic.PermissionDeniedError, 404: anthropic.NotFoundError, 408: anthropic.RequestTimeoutError,
        409: anthropic.ConflictError, 413: anthropic.ContentTooLargeError, 422: anthropic.UnprocessableEntityError,
        429: anthropic.RateLimitError, 500: anthropic.InternalServerError, 502: anthropic.InternalServerError,
        503: anthropic.ServiceUnavailableError, 504: anthropic.GatewayTimeoutError, 529: anthropic.OverloadedError,
    },
}  # fmt: skip


@pytest.mark.parametrize("vendor", USERS)
@pytest.mark.parametrize("row", [f for f in CATALOGUE if f.name.startswith("status_") and f.name[7:].isdigit()], ids=lambda f: f.name)
def test_each_status_becomes_the_sdks_own_class(at, vendor, row):
    """With the vendor's native body, so that code, type and status are read out of it."""
    sim, user = at[vendor]
    sim.script([row])
    expected = STATUS_CLASSES.get(vendor, {}).get(row.status) or (errors.ClientError if row.status < 500 else errors.ServerError)
    with pytest.raises(expected) as caught:
        user.chat()
    assert type(caught.value) is expected
    if vendor == "openai":
        assert caught.value.status_code == row.status
        assert caught.value.type
    elif vendor == "anthropic":
        assert caught.value.type.endswith("_error") or caught.value.type == "request_too_large"
        assert caught.value.request_id == sim.requests[0].id
    else:
        assert (caught.value.code, bool(caught.value.status)) == (row.status, True)
    assert not sim.usage_log


def test_quota_faults_carry_the_codes_that_tell_them_apart(at):
    """A 429 that no waiting mends."""
    for vendor, name, has in (
        ("openai", "insufficient_quota", lambda e: e.code == "insufficient_quota"),
        ("anthropic", "credit_too_low", lambda e: e.type == "invalid_request_error" and "credit balance" in str(e)),
        ("google", "daily_quota", lambda e: "PerDay" in json.dumps(e.details)),
    ):
        sim, user = at[vendor]
        sim.script([fault(name)])
        with pytest.raises(Exception) as caught:
            user.chat()
        assert has(caught.value)


@pytest.mark.parametrize(("name", "seconds"), [("retry_after_hint", 0.05), ("retry_after_long", 121.0)])
def test_hints_are_native(at, name, seconds):
    """Headers at two vendors, RetryInfo in the body at the third."""
    for sim, _ in at.values():
        sim.script([fault(name)])
    with pytest.raises(openai.RateLimitError) as first:
        at["openai"][1].chat()
    assert float(first.value.response.headers["retry-after-ms"]) == seconds * 1000
    with pytest.raises(anthropic.RateLimitError) as second:
        at["anthropic"][1].chat()
    assert float(second.value.response.headers["retry-after"]) == max(1, seconds)
    with pytest.raises(errors.ClientError) as third:
        at["google"][1].chat()
    (info,) = [d for d in third.value.details["error"]["details"] if d["@type"].endswith("RetryInfo")]
    assert float(info["retryDelay"].rstrip("s")) == seconds


@pytest.mark.parametrize("vendor", USERS)
def test_odd_retry_after_headers_arrive_as_written(at, vendor):
    """Zero, fractions, dates, junk: the caller's parser sees exactly them."""
    sim, user = at[vendor]
    rows = [f for f in faults_for(vendor) if f.name.startswith("retry_after") and f.headers]
    assert len(rows) >= 6
    for row in rows:
        sim.script([row])
        with pytest.raises(Exception) as caught:
            user.chat()
        headers = caught.value.response.headers
        assert all(headers[name] == value for name, value in row.headers)


BODIES = {  # fault: what each SDK makes of it; a class it raises, or a check of what it returns
    "html_200": (lambda r: isinstance(r, str), lambda r: isinstance(r, str), json.JSONDecodeError),
    "html_200_as_json": (json.JSONDecodeError, json.JSONDecodeError, json.JSONDecodeError),
    "empty_200": (json.JSONDecodeError, json.JSONDecodeError, lambda r: r.candidates is None),
    "truncated_json": (json.JSONDecodeError, json.JSONDecodeError, json.JSONDecodeError),
    "empty_object": (lambda r: r.choices is None, lambda r: r.content is None, lambda r: r.candidates is None),
    "answer_null": (lambda r: r.choices is None, lambda r: r.content is None, lambda r: r.candidates is None),
    "answer_empty": (lambda r: r.choices == [], lambda r: r.content == [], lambda r: r.candidates == []),
    "error_in_200": (lambda r: r.choices is None, lambda r: r.content is None, lambda r: r.candidates is None),
    "empty_completion": (
        lambda r: r.choices[0].message.content == "", lambda r: r.content == [], lambda r: r.candidates[0].content.parts is None,
    ),
    "content_length_long": (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.RemoteProtocolError),
    "reset_before_answer": (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.ReadError),
    "closed_before_answer": (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.RemoteProtocolError),
    "not_http": (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.RemoteProtocolError),
    "status_503_html": (openai.InternalServerError, anthropic.ServiceUnavailableError, errors.ServerError),
    "refusal": (
        lambda r: r.choices[0].message.refusal, lambda r: r.stop_reason == "refusal",
        lambda r: r.candidates[0].finish_reason == types.FinishReason.SAFETY,
    ),
}  # fmt: skip

STREAMS = {
    "stream_cut": (openai.APIConnectionError, httpx2.RemoteProtocolError, httpx2.RemoteProtocolError),
    "stream_reset": (openai.APIConnectionError, httpx2.ReadError, httpx2.ReadError),
    "stream_cut_before_token": (openai.APIConnectionError, httpx2.RemoteProtocolError, httpx2.RemoteProtocolError),
    "no_terminal": (
        lambda r: not any(c.choices and c.choices[0].finish_reason for c in r), lambda r: all(e.type != "message_stop" for e in r),
        lambda r: all(c.candidates[0].finish_reason is None for c in r),
    ),
    "stream_ended_early": (lambda r: len(r) > 2, lambda r: len(r) > 2, errors.UnknownApiResponseError),
    "html_stream": (lambda r: r == [], lambda r: r == [], errors.UnknownApiResponseError),
    "empty_stream": (lambda r: r == [], lambda r: r == [], lambda r: r == []),
    "junk_data": (json.JSONDecodeError, json.JSONDecodeError, errors.UnknownApiResponseError),
    "error_event": (openai.APIError, anthropic.APIStatusError, errors.ServerError),
    "error_event_first": (openai.APIError, anthropic.APIStatusError, errors.ServerError),
    "duplicate_usage": (
        lambda r: sum(c.usage is not None for c in r) == 2, lambda r: [e.type for e in r].count("message_delta") == 2,
        lambda r: sum(c.candidates[0].finish_reason is not None for c in r) == 2,
    ),
    "crlf_lines": (lambda r: r[-1].usage, lambda r: r[-1].type == "message_stop", lambda r: r[-1].candidates[0].finish_reason),
    "empty_completion": (
        lambda r: not any(c.choices and c.choices[0].delta.content for c in r), lambda r: all(e.type != "content_block_delta" for e in r),
        lambda r: all(not c.text for c in r),
    ),
}  # fmt: skip


@pytest.mark.parametrize("vendor", USERS)
@pytest.mark.parametrize(("surface", "name"), [*(("chat", n) for n in BODIES), *(("stream", n) for n in STREAMS)])
def test_spoiled_answers_do_to_each_sdk_what_was_measured(at, vendor, surface, name):
    """Many of them count as a success there: the reason for checking answers ourselves."""
    sim, user = at[vendor]
    sim.script([fault(name)])
    outcome = (BODIES if surface == "chat" else STREAMS)[name][list(USERS).index(vendor)]
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            getattr(user, surface)()
    else:
        assert outcome(getattr(user, surface)())
    assert getattr(user, surface)(), "the next request is well again, on a fresh connection where need be"


def test_error_events_tell_their_kind(at):
    """Anthropic's arrives with status 200 and its type, OpenAI's without a status."""
    for sim, _ in at.values():
        sim.script([fault("error_event")])
    with pytest.raises(anthropic.APIStatusError) as caught:
        at["anthropic"][1].stream()
    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")
    with pytest.raises(openai.APIError) as caught:
        at["openai"][1].stream()
    assert not hasattr(caught.value, "status_code")
    with pytest.raises(errors.ServerError) as caught:
        at["google"][1].stream()
    assert caught.value.code == 503


def test_pings_are_harmless_at_two_vendors_and_kill_the_others(at):
    """A comment after an `id:` still breaks openai; any comment breaks google-genai."""
    for vendor, name in (("openai", "pings"), ("anthropic", "pings"), ("anthropic", "pings_with_id")):
        sim, user = at[vendor]
        whole = len(user.stream())
        sim.script([fault(name)])
        assert len(user.stream()) == whole
    at["openai"][0].script([fault("pings_with_id")])
    with pytest.raises(json.JSONDecodeError):
        at["openai"][1].stream()
    at["google"][0].script([fault("pings_google")])
    with pytest.raises(errors.UnknownApiResponseError):
        at["google"][1].stream()


def test_stalls_end_in_the_clients_timeout(at):
    """Before the answer, before the first token, in the middle."""
    for name, surface in (("slow_answer", "chat"), ("stall_before_token", "stream"), ("stream_stall", "stream")):
        for sim, _ in at.values():
            sim.script([fault(name)])
        with pytest.raises(openai.APITimeoutError):
            getattr(at["openai"][1], surface)(timeout=TIMEOUT_S)
        with pytest.raises(anthropic.APITimeoutError if surface == "chat" else (anthropic.APITimeoutError, httpx2.ReadTimeout)):
            getattr(at["anthropic"][1], surface)(timeout=TIMEOUT_S)
        with pytest.raises(httpx2.ReadTimeout):
            getattr(at["google"][1], surface)(timeout=TIMEOUT_S)
        assert all(sim.wait_idle() for sim, _ in at.values()), "the server notices that the client has left"


def test_a_flood_of_pings_resets_every_read_timeout(at):
    """Only pings for longer than the timeout, and no timeout: heartbeats are no tokens."""
    sim, user = at["anthropic"]
    sim.script([fault("ping_flood").but(gap_s=0.02)])
    assert user.stream(timeout=TIMEOUT_S)[-1].type != "message_stop"
    assert sim.requests


def test_azures_first_chunk_has_no_choices(at):
    """The SDK passes it on; an app that indexes into it dies."""
    sim, user = at["openai"]
    sim.script([fault("empty_first_chunk")])
    assert user.stream()[0].choices == []


def test_malformed_tool_arguments_arrive_as_raw_text(at):
    """Whole at OpenAI, in pieces at both that stream them."""
    call = PlainAnswer(calls=(PlainToolCall("f", '{"location":"Paris","days":2}'),))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    sim, user = at["openai"]
    sim.answer = lambda _: call
    sim.script([fault("malformed_tool_json"), fault("malformed_tool_stream")])
    with pytest.raises(json.JSONDecodeError):
        json.loads(user.chat(tools=[tool]).choices[0].message.tool_calls[0].function.arguments)
    pieces = [
        c.choices[0].delta.tool_calls[0].function.arguments
        for c in user.stream(tools=[tool])
        if c.choices and c.choices[0].delta.tool_calls
    ]
    with pytest.raises(json.JSONDecodeError):
        json.loads("".join(pieces))
    sim, user = at["anthropic"]
    sim.answer = lambda _: call
    sim.script([fault("malformed_tool_stream")])
    events = user.stream(tools=[{"name": "f", "input_schema": {"type": "object"}}])
    pieces = [e.delta.partial_json for e in events if e.type == "content_block_delta"]
    with pytest.raises(json.JSONDecodeError):
        json.loads("".join(pieces))


def test_gemini_says_when_a_call_is_malformed_or_a_prompt_blocked(at):
    """Finish reasons and feedback instead of an answer, whole and streamed."""
    sim, user = at["google"]
    sim.script([fault(name) for name in ("malformed_function_call", "malformed_function_call", "prompt_blocked", "prompt_blocked")])
    assert user.chat().candidates[0].finish_reason == types.FinishReason.MALFORMED_FUNCTION_CALL
    assert user.stream()[-1].candidates[0].finish_reason == types.FinishReason.MALFORMED_FUNCTION_CALL
    assert user.chat().prompt_feedback.block_reason
    assert user.stream()[-1].prompt_feedback.block_reason


@pytest.mark.parametrize("vendor", ["openai", "google"])
def test_spoiled_embeddings(at, vendor):
    """What a checker has to find: count, order, NaN, zero, dimension."""
    sim, user = at[vendor]

    def vectors(name):
        sim.script([fault(name)])
        reply = user.embed()
        return [e.embedding for e in reply.data] if vendor == "openai" else [e.values for e in reply.embeddings]

    good = vectors("ok")
    assert len(vectors("embed_dropped")) == 2
    assert vectors("embed_merged") == good[:1]
    assert any(x != x for x in vectors("embed_nan")[1])  # noqa: PLR0124 - NaN is not itself
    assert set(vectors("embed_zero")[1]) == {0.0}
    assert [len(v) for v in vectors("embed_wrong_dim")] == [len(good[0]), len(good[0]) - 1, len(good[0])]
    if vendor == "openai":
        sim.script([fault("embed_reordered"), fault("embed_index_lies")])
        assert [d.index for d in user.embed().data] == [2, 1, 0]
        assert [d.index for d in user.embed().data] == [0, 1, 7]


@pytest.mark.parametrize("vendor", ["openai", "google"])
def test_a_marker_spoils_only_the_texts_that_hold_it(at, vendor):
    """One bad text among many, wherever a batch is split."""
    sim, user = at[vendor]
    sim.script(fault("embed_zero").but(marker="Ölü"))

    def zeros(*texts):
        reply = user.embed(*texts)
        vectors = [e.embedding for e in reply.data] if vendor == "openai" else [e.values for e in reply.embeddings]
        return [set(v) == {0.0} for v in vectors]

    assert zeros("a", "Ölü metin", "c", "d") == [False, True, False, False]
    assert zeros("c", "d") == [False, False]
    assert zeros("Ölü") == [True]
    assert sim.faults_played["embed_zero"] == 2


def test_refused_connections_are_what_a_stopped_server_gives():
    """The one fault no server can script."""
    sim = OpenAISim().start()
    user = OpenAIUser(sim)
    assert user.chat()
    sim.stop()
    with pytest.raises(openai.APIConnectionError):
        user.chat()


def test_money_is_counted_by_what_was_generated(at):
    """A refused request is free, a spoiled answer is not, a cut stream costs its first half."""
    sim, user = at["openai"]
    whole = user.chat().usage.completion_tokens
    sim.script([fault("status_500"), fault("reset_before_answer"), fault("html_200"), fault("answer_null"), fault("stream_cut")])
    for _ in range(2):
        with pytest.raises(openai.OpenAIError):
            user.chat()
    assert isinstance(user.chat(), str)
    assert user.chat().choices is None
    with pytest.raises(openai.APIConnectionError):
        user.stream()
    bills = list(sim.usage_log.values())
    assert [b.fault for b in bills] == ["ok", "answer_null", "stream_cut"]
    assert [b.complete for b in bills] == [True, True, False]
    assert bills[1].output_tokens == whole
    assert 0 < bills[2].output_tokens < whole
