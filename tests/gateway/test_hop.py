"""One hop more multiplies nothing: retries stop here, the client's time is everybody's, and who leaves leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from surefoot.settings import Target
from surefoot.testing.wire import AnthropicSim, OpenAISim, fault
from tests.gateway.conftest import FAST, KEY, Served, anthropic_target, openai_target, served

ASKED: dict[str, Any] = {"model": "default", "messages": [{"role": "user", "content": "Tell me a long story of the sea, please."}]}
HEADERS = {"authorization": f"Bearer {KEY}"}
# What the provider says -> what the client is told. Its 401 and 403 speak of the gateway's key, not of the client's.
STATUSES = {one: one for one in (400, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)} | {401: 502, 402: 429, 403: 502}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    """Nothing is shared between these tests."""


@pytest.fixture
def sim() -> Iterator[OpenAISim]:
    with OpenAISim() as one:
        yield one


@pytest.fixture
def claude() -> Iterator[AnthropicSim]:
    with AnthropicSim() as one:
        yield one


@pytest.fixture
def gateway(sim: OpenAISim, claude: AnthropicSim) -> Iterator[Served]:
    """One of its own for each test: a breaker remembers failures."""
    chat = {"default": {"targets": [openai_target(sim)], "policy": FAST}, "claude": {"targets": [anthropic_target(claude)], "policy": FAST}}
    with served({"chat": chat}) as one:
        yield one


def until(is_so: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    return is_so()


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_of_a_provider_is_an_error_in_openais_words(status: int, gateway: Served, sim: OpenAISim):
    """Never a 200; whole and streamed alike; and asking again has been tried."""
    sim.script(fault(f"status_{status}"))
    for stream in (False, True):
        answer = httpx.post(f"{gateway.url}/v1/chat/completions", headers=HEADERS, json={**ASKED, "stream": stream}, timeout=60)
        assert answer.status_code == STATUSES[status], answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["x-request-id"].startswith("req_")


def test_a_dead_provider_costs_three_requests_and_not_nine(gateway: Served, sim: OpenAISim, claude: AnthropicSim):
    """Stock SDKs, with their own retries on, obey what they are told."""
    sim.script(fault("status_503"))
    with pytest.raises(openai.InternalServerError) as failed:
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY).chat.completions.create(**ASKED)
    assert sim.request_count == 3
    assert failed.value.response.headers["x-surefoot-attempts"] == "3"
    claude.script(fault("status_529"))
    with pytest.raises(anthropic.APIStatusError):
        anthropic.Anthropic(base_url=gateway.url, api_key=KEY).messages.create(**{**ASKED, "model": "claude", "max_tokens": 9})
    assert claude.request_count == 3


def test_the_clients_time_is_the_deadline(gateway: Served, sim: OpenAISim):
    """The stock SDK's timeout, and the header for a deadline: no attempt outlives it."""
    sim.script(fault("slow_answer"))
    began = time.monotonic()
    with pytest.raises((openai.APITimeoutError, openai.InternalServerError)):
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, timeout=1.0, max_retries=0).chat.completions.create(**ASKED)
    for stream in (False, True):
        headers = {**HEADERS, "x-surefoot-deadline-ms": "500"}
        answer = httpx.post(f"{gateway.url}/v1/chat/completions", headers=headers, json={**ASKED, "stream": stream}, timeout=20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    headers = {**HEADERS, "x-stainless-read-timeout": "0.5"}
    assert httpx.post(f"{gateway.url}/v1/chat/completions", headers=headers, json={**ASKED, "stream": True}, timeout=20).status_code == 504
    assert sim.wait_idle(5)
    assert time.monotonic() - began < 15  # the provider would have taken 30 s for each


def test_the_time_left_is_handed_on_to_a_gateway_behind(gateway: Served, sim: OpenAISim):
    """Known by its answers; it then ends the attempt itself, before who asked it gives up."""
    target = Target("openai:default", base_url=f"{gateway.url}/v1", api_key=KEY, options=(("api", "chat"),))
    headers = {**HEADERS, "x-surefoot-deadline-ms": "20000"}
    with served({"chat": {"default": {"targets": [target], "policy": FAST}}}) as front:
        assert httpx.post(f"{front.url}/v1/chat/completions", headers=headers, json=ASKED, timeout=60).status_code == 200
        sim.script(fault("slow_answer"))
        headers["x-surefoot-deadline-ms"] = "1500"
        for stream in (False, True):
            answer = httpx.post(f"{front.url}/v1/chat/completions", headers=headers, json={**ASKED, "stream": stream}, timeout=60)
            assert answer.status_code == 504
            assert until(lambda: gateway.ended[-1].status == 504)
            assert gateway.ended[-1].error == "deadline_exceeded"
    assert sim.wait_idle(5)


@pytest.fixture(scope="module")
def slow() -> Iterator[tuple[Served, OpenAISim]]:
    with (
        OpenAISim(gap_s=0.02, answer="word " * 60) as sim,
        served({"chat": {"default": {"targets": [openai_target(sim)], "policy": FAST}}}) as one,
    ):
        yield one, sim


def test_who_leaves_at_any_chunk_leaves_nothing_behind(slow: tuple[Served, OpenAISim]):
    """The connection upstream is closed, the place given back, what had come is booked."""
    one, sim = slow
    with httpx.Client(base_url=one.url, headers=HEADERS) as client:
        for chunks in range(12):
            with client.stream("POST", "/v1/chat/completions", json={**ASKED, "stream": True}) as answer:
                lines = answer.iter_lines()
                for _ in range(2 * chunks + 1):
                    next(lines)
            assert until(lambda: one.gateway.services.admission.in_flight == 0)
            assert sim.wait_idle(5)
    assert until(lambda: sum(ended.outcome == "left" for ended in one.ended) == 12)
    left = [ended for ended in one.ended if ended.outcome == "left"]
    assert all(ended.usage is not None and ended.usage.output_tokens < 60 for ended in left[3:])


def test_the_probe_is_answered_when_all_places_are_taken():
    """And who is refused is told when to come back; who waited is answered."""
    with OpenAISim(latency_s=0.6) as sim:
        models = {"chat": {"default": {"targets": [openai_target(sim)], "policy": FAST}}}
        with served(models, max_in_flight=1, max_queued=1, queue_s=30.0) as one, httpx.Client(base_url=one.url, headers=HEADERS) as client:
            told: list[int] = []

            def ask() -> None:
                told.append(httpx.post(f"{one.url}/v1/chat/completions", headers=HEADERS, json=ASKED, timeout=30).status_code)

            asking = [threading.Thread(target=ask) for _ in range(2)]
            admission = one.gateway.services.admission
            for at, thread in enumerate(asking):
                thread.start()
                assert until(lambda at=at: admission.in_flight + admission.queued == at + 1)  # type: ignore[misc]
            refused = client.post("/v1/chat/completions", json=ASKED)
            assert (refused.status_code, refused.headers["retry-after"], refused.headers["x-should-retry"]) == (503, "1", "true")
            assert client.get("/health/live").status_code == 200
            for thread in asking:
                thread.join()
            assert told == [200, 200]


def test_those_in_flight_are_answered_when_the_server_ends(slow: tuple[Served, OpenAISim]):
    """Readiness is off at once, and the stream under way comes to its end."""
    _, sim = slow
    with served({"chat": {"default": {"targets": [openai_target(sim)], "policy": FAST}}}) as one, httpx.Client(base_url=one.url) as client:
        assert client.get("/health/ready").status_code == 200
        with client.stream("POST", "/v1/chat/completions", json={**ASKED, "stream": True}, headers=HEADERS) as answer:
            lines = answer.iter_lines()
            next(lines)
            one.gateway.services.is_draining = True
            assert httpx.get(f"{one.url}/health/ready").status_code == 503
            one.server.should_exit = True
            assert list(lines)[-2:] == ["data: [DONE]", ""]


def test_a_body_that_is_too_large_or_no_json_is_refused(gateway: Served):
    """By its announced length, before it is read."""
    with (
        served({"chat": {"default": {"targets": ["local:extractive"]}}}, max_body_bytes=2048) as one,
        httpx.Client(base_url=one.url) as client,
    ):
        assert client.post("/v1/chat/completions", headers=HEADERS, content=b"x" * 4000).status_code == 413
        assert client.post("/v1/chat/completions", headers=HEADERS, content=(b"x" * 1000 for _ in range(4))).status_code == 413
    for body in (b"", b"[]", b"{", b'{"model": 1}', b'{"model": "default"}', b'{"model": "default", "messages": ["x"]}', b"[" * 100_000):
        answer = httpx.post(f"{gateway.url}/v1/chat/completions", headers=HEADERS, content=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), body
