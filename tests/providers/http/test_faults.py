"""The one error boundary: whatever a provider answers or a transport raises is one of our errors, and shows neither key nor prompt."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import traceback

import msgspec
import pytest

from surefoot import errors
from surefoot.errors import (
    AttemptTimedOut,
    AuthFailed,
    BadRequest,
    ConnectionLost,
    ContentRefused,
    ContextTooLong,
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
from surefoot.providers.http.faults import ErrorBoundary, fault, fault_of, rate_headers, translate
from surefoot.providers.http.redact import chain, shown, snippet
from surefoot.secret import Secret

KEY = "sk-CANARY-0123456789abcdef"


def error(message="", **fields) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


def answered(status: int, body: bytes = b"", **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return fault("openai:m", status, named, body, key=Secret(KEY))


STATUSES = {
    300: BadRequest, 400: BadRequest, 401: AuthFailed, 402: QuotaExhausted, 403: AuthFailed, 404: NotFound, 405: BadRequest, 408: Transient,
    409: Transient, 413: BadRequest, 422: BadRequest, 425: Transient, 429: RateLimited, 500: Overloaded, 502: Overloaded, 503: Overloaded,
    504: Overloaded, 520: Overloaded, 529: Overloaded,
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("body", [b"", error("No."), b"<html>oops</html>", b"{", b"null", b"[]", b'"no"', b'{"error": 1}', b"\xff\xfe"])
def test_a_status_is_classified_whatever_its_body(status, body):
    """Proxies answer with pages, nothing, or half of something; the status still tells."""
    told = answered(status, body)
    assert type(told) is STATUSES[status]
    assert told.status == status
    assert told.target == "openai:m"
    assert str(status) in str(told)


def gemini(quota: str) -> bytes:
    return error("You exceeded your current quota.", code=429, status="RESOURCE_EXHAUSTED", details=[{"quotaId": quota}])


WORDS = [
    # an empty account, in every dress it comes in: waiting will not fill it
    (429, error("You exceeded your current quota, please check your plan and billing details.", code="insufficient_quota"), QuotaExhausted),
    (429, error("...", type="insufficient_quota"), QuotaExhausted),
    (400, error("Your credit balance is too low to access the Anthropic API.", type="invalid_request_error"), QuotaExhausted),
    (402, error("Insufficient Balance"), QuotaExhausted),
    (403, error("This request requires more credits, or fewer max_tokens.", code=403), QuotaExhausted),
    (400, error("You have reached your specified API usage limits."), QuotaExhausted),
    (429, error("Rate limit reached for gpt-5 on requests per day. Please try again in 7m12s."), QuotaExhausted),
    (429, error("Rate limit exceeded: free-models-per-day"), QuotaExhausted),
    # a limit that passes, though it mentions billing
    (429, error("Rate limit reached for requests per min. Add a payment method at https://example.org/account/billing."), RateLimited),
    (429, error("Rate limit reached for gpt-5 on tokens per min (TPM).", code="rate_limit_exceeded", type="tokens"), RateLimited),
    # Gemini says "current quota" for every limit; only a per-day metric is a quota
    (429, b"[" + gemini("GenerateRequestsPerMinute") + b"]", RateLimited),
    (429, gemini("GenerateRequestsPerDayPerProject"), QuotaExhausted),
    # a prompt too long, in the wordings of nine vendors
    (400, error("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."), ContextTooLong),
    (400, error("...", code="context_length_exceeded"), ContextTooLong),
    (500, error("...", code="context_length_exceeded"), ContextTooLong),
    (400, error("prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error"), ContextTooLong),
    (400, error("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"), ContextTooLong),
    (400, error("the request exceeds the available context size", type="exceed_context_size_error"), ContextTooLong),
    (400, error("The input token count (1300000) exceeds the maximum number of tokens allowed (1048576)."), ContextTooLong),
    (413, b'{"error": "`inputs` must have less than 512 tokens. Given: 600", "error_type": "Validation"}', ContextTooLong),
    (429, error("Request too large for gpt-5 on tokens per min: Limit 30000.", code="rate_limit_exceeded"), ContextTooLong),
    (400, error("Requested 350000 tokens, max 300000 tokens per request", code="max_tokens_per_request"), ContextTooLong),
    (400, b'{"object": "error", "message": "The prompt is longer than the maximum model length of 4096.", "code": 400}', ContextTooLong),
    (400, error("max_tokens is too large: 100000. This model supports at most 16384 completion tokens."), BadRequest),
    # withheld by a filter
    (400, error("The prompt triggered Azure OpenAI's content management policy."), ContentRefused),
    (400, error("...", code="x", innererror={"code": "ResponsibleAIPolicyViolation"}), ContentRefused),
    (400, error("Your request was rejected as a result of our safety system."), ContentRefused),
    (400, error("Your prompt was flagged as potentially violating our usage policy."), ContentRefused),
    # keys
    (400, error("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT", code=400), AuthFailed),
    # codes before wordings: a schema whose fields are called so is no quota, no limit and no prompt
    (400, error("Invalid schema: In context=('properties', 'tablets per day'), ...", code="invalid_function_parameters"), BadRequest),
    (400, error("Invalid 'tools': 'requests per day (RPD)' is no property", type="invalid_request_error"), BadRequest),
    (422, error("'rate limit' must be a number, 'doses per day' as well"), BadRequest),
    (400, error("'context window' must be positive", code="invalid_value"), BadRequest),
    # words that mean one thing alone, whatever the status, and in whatever form
    (500, error("insufficient balance (1008)", type="api_error"), QuotaExhausted),
    (400, error("Access denied, please make sure your account is in good standing.", code="Arrearage", type="Arrearage"), QuotaExhausted),
    (403, error("no", code="AllocationQuota.FreeTierOnly"), QuotaExhausted),
    (429, error("Extra usage is required for long context requests.", type="rate_limit_error"), QuotaExhausted),
    (429, error("Your prepayment credits are depleted.", status="RESOURCE_EXHAUSTED", code=429), QuotaExhausted),
    (429, error("\u60a8\u7684\u8d26\u6237\u5df2\u6b20\u8d39", code="1113"), QuotaExhausted),
    (500, error("This model's maximum context length is 4096 tokens."), ContextTooLong),
    (500, error("no", type="RateLimitError"), RateLimited),
    (400, error("no", type="overloaded_error"), Overloaded),
    (403, error("Rate limit exceeded"), RateLimited),
    (429, b'{"message": "Too many tokens, please wait before trying again.", "__type": "ThrottlingException"}', RateLimited),
    # passing by themselves
    (499, b'[{"error": {"code": 499, "message": "The operation was cancelled.", "status": "CANCELLED"}}]', Transient),
    (400, error("Failed to call a function.", code="tool_use_failed", failed_generation="<function=x>"), Transient),
    (400, error("Failed to generate JSON.", code="json_validate_failed"), Transient),
    # another server's error inside a gateway's
    (400, error("Provider returned error", code=400, metadata={"raw": '{"error": {"message": "prompt is too long"}}'}), ContextTooLong),
    (502, error("Provider returned error", metadata={"raw": "insufficient balance"}), QuotaExhausted),
    (400, b'{"error": "invalid_api_key", "message": "no such key"}', AuthFailed),
    (400, b'{"errors": [{"message": "input is too long", "code": "x"}]}', ContextTooLong),
    # a failing server that repeats such words is still a failing server
    (500, error("upstream said: 100 requests per day, usage policy, input length"), Overloaded),
    (503, error("check your plan and billing per day"), Overloaded),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), WORDS)
def test_the_vendors_words_decide_before_the_status(status, body, kind):
    """Retrying an empty account or a prompt too long burns attempts; giving up on a passing limit loses the answer."""
    assert type(answered(status, body)) is kind


INSIDE = [
    (error("Overloaded", type="overloaded_error"), Overloaded),
    (error("slow down", code=429), RateLimited),
    (error("slow down", type="rate_limit_error"), RateLimited),
    (error("no", type="authentication_error"), AuthFailed),
    (error("no", type="invalid_request_error"), BadRequest),
    (error("no", type="not_found_error"), NotFound),
    (error("Provider returned error", code=502), Overloaded),
    (error("boom"), Overloaded),
    (b'{"error": "boom"}', Overloaded),
    (b'{"error": {"message": "prompt is too long: 9 tokens"}}', ContextTooLong),
    (b"{}", Overloaded),
    (b"not json", Overloaded),
    (b'{"id": "x", "choices": null, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}', QuotaExhausted),
    (b'{"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}', RateLimited),
    (b'{"code": "InvalidParameter", "message": "no", "request_id": "x"}', BadRequest),
    (b'{"code": 401, "msg": "no key"}', AuthFailed),
    (b'{"code": "429", "message": "slow down"}', RateLimited),
    (b'{"error_code": 18, "error_msg": "rate limit reached"}', RateLimited),
    (b'{"success": false, "message": "invalid api key"}', AuthFailed),
    (b'"Rate limit exceeded"', RateLimited),
]


@pytest.mark.parametrize(("body", "kind"), INSIDE)
def test_an_error_inside_a_good_answer_is_classified_by_its_words(body, kind):
    """There is no status to go by: error objects in a 200, error events in a stream."""
    assert type(fault_of("openai:m", body)) is kind


def test_hints_are_read_from_headers_then_from_the_message():
    """A hint overlooked is an attempt wasted; one on a permanent error would be an invitation."""
    limited = error("Rate limit reached. Please try again in 1m2.5s.")
    assert answered(429, limited).retry_after_s == 62.5
    assert answered(429, limited, retry_after="3").retry_after_s == 3.0
    assert answered(429, limited, retry_after="3", retry_after_ms="40").retry_after_s == 0.04
    assert answered(503, b"", retry_after="7").retry_after_s == 7.0
    assert answered(429, error("Please try again in 350ms")).retry_after_s == pytest.approx(0.35)
    in_details = error("no", details=[{"@type": "RetryInfo", "retryDelay": "38s"}])
    assert answered(429, in_details).retry_after_s == 38.0
    assert answered(400, error("bad"), retry_after="3").retry_after_s is None


HINTS = [
    ("Please retry after 23 seconds.", {}, 23.0),
    ("Please try again in 2 minutes.", {}, 120.0),
    ("Please try again in 1m30.5s.", {}, 90.5),
    ("retry in 33.6s", {}, 33.6),
    ("Please wait 1 hour and try later", {}, 3600.0),
    ("Please try again 3 times", {}, None),
    ("no", {"retry-after": "1m30.5s"}, 90.5),
    ("no", {"retry-after": "20s"}, 20.0),
    ("no", {"x-ms-retry-after-ms": "1500"}, 1.5),
    ("try again in 5s", {"retry-after": "soon"}, 5.0),
    ("no", {"ratelimit-reset": "7", "ratelimit-remaining": "0"}, 7.0),
    ("no", {"ratelimit-reset": "7", "ratelimit-remaining": "3"}, None),
    ("no", {"ratelimit": '"default";r=0;t=9'}, 9.0),
    ("no", {"x-ratelimit-reset-requests": "6s", "x-ratelimit-remaining-requests": "0"}, 6.0),
    ("no", {"x-ratelimit-reset-requests": "6s", "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-tokens": "1m", "x-ratelimit-remaining-tokens": "12"}, 6.0),
    ("no", {"x-ratelimit-reset": "1796032900", "x-ratelimit-remaining": "0", "date": "Mon, 30 Nov 2026 10:00:00 GMT"}, 100.0),
    ("no", {"x-ratelimit-reset": "1796032900000", "x-ratelimit-remaining": "0", "date": "Mon, 30 Nov 2026 10:00:00 GMT"}, 100.0),
    ("no", {"anthropic-ratelimit-tokens-reset": "2026-11-30T10:00:30Z", "anthropic-ratelimit-tokens-remaining": "0",
            "date": "Mon, 30 Nov 2026 10:00:00 GMT"}, 30.0),
]  # fmt: skip


@pytest.mark.parametrize(("message", "headers", "hint_s"), HINTS)
def test_hints_are_heard_in_every_form(message, headers, hint_s):
    """What is not heard is asked again too soon, or not at all."""
    told = fault("openai:m", 429, headers, error(message))
    assert told.retry_after_s == (None if hint_s is None else pytest.approx(hint_s))


def test_hints_stand_in_fields_as_well():
    """Hugging Face's loading model, and gateways that pass on what they were told."""
    for fields, hint_s in (({"retry_after": 5}, 5.0), ({"retry_after_ms": "250"}, 0.25), ({"metadata": {"retryAfter": "1m"}}, 60.0)):
        assert answered(429, error("no", **fields)).retry_after_s == hint_s
    assert answered(503, b'{"error": "Model is loading", "estimated_time": 20.5}').retry_after_s == 20.5


def test_the_provider_knows_whether_to_ask_again():
    """OpenAI and Anthropic say so in a header; their SDKs obey it."""
    assert not answered(429, error("no"), x_should_retry="false").retryable
    assert answered(400, error("no"), x_should_retry="true").retryable
    assert answered(429, error("no"), x_should_retry="perhaps").retryable
    group = errors.Exhausted("all", [answered(400, error("no"), x_should_retry="true")] * 2)
    assert not group.retryable


def test_a_redirect_says_where_to_and_what_to_do():
    """The key would go along, so it is not followed."""
    told = str(fault("openai:m", 308, {"location": "https://user:pw@elsewhere.example/v1/chat/completions"}, b""))
    assert "elsewhere.example/v1" in told
    assert "base_url" in told
    assert "pw" not in told


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("unable to get local issuer certificate", "verify"),
        ("self-signed certificate in certificate chain", "verify"),
        ("certificate has expired", "renewed"),
        ("IP address mismatch, certificate is not valid for '127.0.0.1'", "base_url"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_told_with_its_remedy(why, remedy):
    """Asking again does not make an authority known; a company's proxy is the usual reason."""
    raised = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {why}")
    raised.verify_message = why
    told = translate([ConnectionError("wrapped"), raised], "openai:m")
    assert type(told) is Misconfigured
    assert remedy in str(told)
    assert why in str(told)


@pytest.mark.parametrize("said", ["my secret salary is five thousand", "my secret\n\tsalary is\x00five  thousand"])
@pytest.mark.parametrize("echo", ["my secret salary is five thousand", "my  secret\r\nsalary\tis five\x00 thousand"])
def test_an_echo_is_masked_however_its_words_are_parted(said, echo):
    """What a server repeats of a prompt may stand in other lines there."""
    assert shown(f"not taken: {echo}!", private=[said]) == "not taken: …!"


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("lead", [0, 5, 280, 290, 299])
def test_an_echo_is_masked_wherever_what_is_shown_ends(order, lead):
    """A message is cut at 300 characters, after what echoes has been taken out of it: what moves up is looked at, too."""
    first = "".join(f"one{n} " for n in range(90))
    second = "".join(f"two{n} " for n in range(40))
    message = "x" * lead + first + second + "end"
    told = shown(message, private=[first, second][::order])
    assert told == (f"{'x' * lead}… … end" if lead < 294 else "x" * 299 + "…")
    assert "one" not in told
    assert "two" not in told


def test_a_place_in_the_request_is_shown():
    """ "Input should be a valid integer" without its place has cost the world many hours."""
    body = json.dumps({"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "Field required", "input": {"a": "secret"}}]}).encode()
    assert "body.messages.0.content: Field required" in str(answered(422, body))
    assert "secret" not in str(answered(422, body))


def test_ids_codes_and_limits_are_kept():
    """Support wants the id, the rate layer the headers."""
    told = answered(429, error("no", code="rate_limit_exceeded"), x_request_id="req_1")
    assert (told.request_id, told.code) == ("req_1", "rate_limit_exceeded")
    headers = {"x-ratelimit-remaining-tokens": "5", "retry-after-ms": "4", "set-cookie": "x", "anthropic-ratelimit-tokens-limit": "9"}
    assert rate_headers(headers) == {name: value for name, value in headers.items() if name != "set-cookie"}


def test_a_message_shows_neither_key_nor_prompt():
    """Messages end in logs. Vendors repeat keys, whole or half masked, and validation errors repeat the prompt."""
    prompt = "My secret recipe needs three eggs, a pound of butter and the key of the cellar."
    echo = error(f"Incorrect API key provided: {KEY}. sk-CANARY-012*******cdef Bearer abcdefghijkl \x1b[31m\n\u2028 Bad: {prompt[5:60]!r}")
    told = fault("openai:m", 401, {}, echo, key=Secret(KEY), private=[prompt])
    assert "Incorrect API key provided" in str(told)
    assert not any(word in str(told) for word in ("CANARY", "cdef", "abcdefghijkl", "three eggs", "\n", "\x1b", "\u2028"))
    fastapi = json.dumps({"detail": [{"loc": ["body", "n"], "msg": "Input should be a valid integer", "input": prompt}]}).encode()
    told = answered(422, fastapi)
    assert "valid integer" in str(told)
    assert "eggs" not in str(told)


def test_long_and_hostile_texts_cost_little():
    """Provider text is foreign: a megabyte of it passes every classifier; one that goes back and forth would take minutes of CPU."""
    for body in (b"*" * 1_000_000, error("try again in 1" * 80_000), error("sk-" * 300_000), b"[" * 1_000_000, error("\u2028*" * 200_000)):
        started = time.process_time()
        told = fault("openai:m", 400, {"content-type": "text/html"}, body, key=Secret(KEY), private=["a" * 1_000_000])
        assert time.process_time() - started < 2
        assert len(str(told)) < 500


def test_a_snippet_says_what_came_instead_of_an_answer():
    """ "Expecting value: line 1 column 1" has cost the world many hours; and a torn answer is the caller's text, not ours to show."""
    assert "an HTML page" in snippet(b"<html><title>502 Bad Gateway</title>", "text/html")
    assert "502 Bad Gateway" in snippet(b"<html><title>502 Bad Gateway</title>")
    assert len(snippet(b"<p>" + b"word " * 5000)) < 200
    assert snippet(b" ") == "empty"
    assert "secret" not in snippet(b'{"choices": [{"message": {"content": "the secret answer is ' + b"x" * 50)
    assert shown("a" * 1000, limit=20) == "a" * 19 + "…"


class ServerDisconnectedError(OSError):
    """Named as aiohttp's."""


class TimeoutException(Exception):
    """Named as httpx's."""


class ConnectTimeout(TimeoutException):
    """Named as httpx's."""


def caused(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


TRANSPORT = [
    (ConnectionRefusedError(111, "refused"), ConnectionLost),
    (ConnectionResetError(), ConnectionLost),
    (ssl.SSLError("wrong version number"), ConnectionLost),
    (ssl.SSLCertVerificationError("self-signed certificate"), Misconfigured),
    (TimeoutError(), AttemptTimedOut),
    (caused(RuntimeError("wrapped"), TimeoutError()), AttemptTimedOut),
    (
        caused(ConnectTimeout("Server disconnected"), ServerDisconnectedError()),
        ConnectionLost,
    ),  # what httpx over aiohttp makes of a hang-up
    (caused(ValueError("?"), ConnectTimeout()), AttemptTimedOut),
    (json.JSONDecodeError("Expecting value", "<html>", 0), MalformedReply),
    (msgspec.DecodeError("truncated"), MalformedReply),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), MalformedReply),
    (RuntimeError("Event loop is closed"), ConnectionLost),
    (type("InvalidURL", (ValueError,), {})("no scheme"), Misconfigured),
    (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), BadRequest),
    (TypeError("a bug"), Permanent),
]


@pytest.mark.parametrize(("raised", "kind"), TRANSPORT)
def test_what_transports_raise_becomes_ours(raised, kind):
    """Recognised by name along the ancestry, innermost cause first: adapters mislabel what they wrap."""
    with pytest.raises(SurefootError) as caught, ErrorBoundary("openai:m"):
        raise raised
    assert type(caught.value) is kind
    assert caught.value.__cause__ is raised
    assert "openai:m" in str(caught.value)


def test_our_own_errors_and_ends_pass_the_boundary():
    """Translating twice would bury the first meaning; the end of an iteration is no failure."""
    for passing in (RateLimited("x"), StopAsyncIteration(), KeyboardInterrupt(), GeneratorExit()):
        with pytest.raises(type(passing)) as caught, ErrorBoundary("t"):
            raise passing
        assert caught.value is passing


async def test_a_stray_cancel_from_the_transport_is_a_lost_connection():
    """DNS and pool code cancels itself at times; let through, it would end the caller's task as if he had wished it."""
    with pytest.raises(ConnectionLost), ErrorBoundary("t"):
        raise asyncio.CancelledError


async def test_a_cancel_of_ours_passes_the_boundary():
    """Cancellation is never a failure and never swallowed."""

    async def sends(key: str):
        headers = {"authorization": f"Bearer {key}"}
        await asyncio.get_running_loop().create_future()
        return headers

    async def work():
        with ErrorBoundary("t"):
            await sends(KEY)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    printed = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "in sends" in printed
    assert "CANARY" not in printed


def signs(key: str):
    headers = {"authorization": f"Bearer {key}"}  # a local that holds the key, as in every HTTP library
    raise ValueError(f"Illegal header value {headers['authorization']!r}")


def test_a_traceback_with_locals_shows_no_key():
    """Error trackers print the locals of every frame, the HTTP library's frames with the signed request among them."""
    secret = Secret(KEY)
    with pytest.raises(SurefootError) as caught, ErrorBoundary("t", secret):
        signs(secret.reveal())
    printed = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "signs" in printed
    assert "CANARY" not in printed


def test_every_error_pickles_with_its_attributes():
    """They cross processes in batch work."""
    told = answered(429, error("no"), retry_after="3", x_request_id="r")
    rebuild, parts = told.__reduce__()
    again = rebuild(*parts)
    assert (type(again), str(again), vars(again)) == (type(told), str(told), vars(told))
    assert issubclass(errors.RateLimited, Transient)


def test_translate_survives_a_loop_of_causes():
    """A chain of causes that bites its own tail must not hang the error boundary."""
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert type(translate(chain(one), "t")) is Permanent


@pytest.mark.parametrize("earlier", [TimeoutError(KEY), AttemptTimedOut("first attempt")], ids=["the caller's", "ours"])
def test_what_was_being_handled_before_is_no_part_of_the_fault(earlier):
    """A second attempt, made while the first one's timeout is handled, is not itself a timeout; and that error is not touched."""
    before = earlier.args
    earlier.__cause__ = TimeoutError()

    def again() -> None:
        try:
            raise earlier
        except (TimeoutError, AttemptTimedOut):
            with ErrorBoundary("t", Secret(KEY)):
                refuse()

    with pytest.raises(ConnectionLost):
        again()
    assert earlier.args == before


def refuse() -> None:
    raise ConnectionRefusedError
