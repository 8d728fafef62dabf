"""Keys in a call's own headers, `extra={"extra_headers": {...}}`: sent, and shown by no traceback with locals, no repr, no message."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.errors import SurefootError
from surefoot.secret import masked_extra
from surefoot.testing.wire import fault
from surefoot.testing.wire.openai import OpenAISim
from surefoot.types import ChatRequest, EmbedRequest, Message

CANARY = "canary-8c1f-of-an-upstream-gateway"
LANES = pytest.mark.parametrize("lane", ["direct", "sdk"])


@pytest.fixture(scope="module")
def sim():
    with OpenAISim() as running:
        yield running


def extra(value=CANARY):
    return {"extra_headers": {"X-Upstream-Key": value}, "service_tier": "flex"}


def shown(error):
    """What a crash report prints of our frames: all locals, also of the errors that led to it."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    text, seen = "", set()
    while report is not None and id(report) not in seen:
        seen.add(id(report))
        text += "".join(report.format_exception_only())
        text += "".join(str(frame.locals) for frame in report.stack if "/tests/" not in frame.filename)
        report = report.__cause__ or report.__context__
    return text


def ask(sim, lane, how, **options):
    """The error of one call."""
    name = "text-embedding-3-small" if "embed" in how else "gpt-4.1"
    kind = EmbedModel if "embed" in how else ChatModel
    target = Target(f"openai:{name}", base_url=f"{sim.url}/v1", api_key="sk-of-the-target-itself", lane=lane)
    with kind(target, policy=Policy(attempts=1, deadline_s=20)) as model:
        if how == "batch":
            return model.batch(["hi"], return_exceptions=True, **options)[0]
        try:
            said = getattr(model, how)(["hi"] if how == "embed" else "hi", **options)
            if how.startswith("a"):
                asyncio.run(said)
            elif how == "stream":
                list(said)
        except SurefootError as error:
            return error
    raise AssertionError("nothing failed")


@LANES
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "batch", "embed", "aembed_query"])
@pytest.mark.parametrize("what", ["status_503", "status_400", "reset_before_answer"])
def test_no_traceback_of_a_failed_call_shows_it(sim, lane, how, what):
    """Whatever fails, on the way out or in."""
    sim.script([fault(what)])
    error = ask(sim, lane, how, extra=extra())
    assert sim.requests[-1].headers["x-upstream-key"] == CANARY
    assert CANARY not in shown(error)
    assert "X-Upstream-Key" in shown(error) or "extra_headers" in shown(error)  # what was asked is shown all the same


@pytest.mark.parametrize("how", ["invoke", "stream", "batch", "embed"])
@pytest.mark.parametrize(
    "options", [{"extra": extra(CANARY + "\n")}, {"extra": extra(), "unknown": 1}, {"extra": {"x": object(), **extra()}}]
)
def test_nor_does_one_of_what_cannot_be_sent(sim, how, options):
    """It is refused before: a header that no message carries, an option nobody knows, what is no JSON."""
    before = len(sim.requests)
    assert CANARY not in shown(ask(sim, "direct", how, **options))
    assert len(sim.requests) == before


def test_a_server_that_repeats_it_is_not_quoted(sim):
    """Gateways name the key that they refuse."""
    body = b'{"error": {"message": "key %s is unknown", "code": "bad"}}' % CANARY.encode()
    sim.script([fault("status_400").but(body=body)])
    error = ask(sim, "direct", "invoke", extra=extra())
    assert CANARY not in f"{error}{error!r}"
    assert "is unknown" in str(error)


def test_what_the_caller_holds_is_left_alone():
    """Only our own copy is emptied."""
    mine = {"extra": extra()}
    with pytest.raises(SurefootError):
        ChatModel(Target("openai:m", base_url="http://127.0.0.1:9/v1", api_key="k"), policy=Policy(attempts=1)).invoke("hi", **mine)
    assert mine == {"extra": extra()}


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ('{"extra_headers":{"a":"1","b":[2]},"top_k":3}', '{"extra_headers":{"a":"****","b":"****"},"top_k":3}'),
        ('{"extra_query":{"code":"x","api_key":"y"},"max_tokens":5}', '{"extra_query":{"code":"x","api_key":"****"},"max_tokens":5}'),
        ('{"mcp_servers":[{"url":"u","authorization_token":"t"}]}', '{"mcp_servers":[{"url":"u","authorization_token":"****"}]}'),
        ("", ""),
        ("no json with a key", "****"),
    ],
)
def test_a_request_shows_its_extra_without_what_is_secret(said, masked):
    """Wherever it stands; numbers are no keys."""
    assert masked_extra(said) == masked
    requests = (ChatRequest(messages=(Message.user("hi"),), extra=said), EmbedRequest(texts=("hi",), extra=said))
    for request in requests:
        assert masked in repr(request)
        assert repr(request).startswith(type(request).__name__)
    assert "temperature" not in repr(requests[0])
