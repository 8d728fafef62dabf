"""The golden corpus through the gateway, by the vendors' own SDKs: a client sees, and the vendor is sent, what the direct wire shows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.gateway.conftest import KEY as OURS
from tests.gateway.conftest import Served, served
from tests.gateway.golden_upstream import KEY, SPOKEN, GoldenUpstream, golden_upstream, is_failure, route_of
from tests.providers.golden_corpus import MADE, GoldenExchange

CLIENTS = openai.OpenAI(api_key="any", max_retries=0), anthropic.Anthropic(api_key="any", max_retries=0)
# A second form of an exchange, and two of three cuts, are for the heavy set: each is some 50 ms.
ASKED = [
    pytest.param(one, stream, id=f"{one.id}{'-streamed' * stream}", marks=pytest.mark.heavy if stream != one.forms[-1] else ())
    for one in SPOKEN
    for stream in one.forms
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[GoldenUpstream]:
    with golden_upstream() as one:
        yield one


@pytest.fixture(scope="module")
def gateway(upstream: GoldenUpstream) -> Iterator[Served]:
    with served(upstream.models()) as one:
        yield one


def known_ids(value: Any) -> Any:
    """What is sent, with an id where the corpus has a mark for one that the library makes."""
    if isinstance(value, dict):
        return {name: known_ids(one) for name, one in value.items()}
    if isinstance(value, list):
        return [known_ids(one) for one in value]
    return f"abcdefgh{value[1]}" if isinstance(value, str) and MADE.fullmatch(value) else value


def ask(exchange: GoldenExchange, url: str, key: str, *, model: str, stream: bool) -> list[dict[str, Any]]:
    """What the SDK gives: one object, or those of a stream."""
    body = {**known_ids(exchange.body(stream=stream)), "model": model}
    route = route_of(exchange)
    first = {"chat": ("messages",), "responses": ("input",), "anthropic": ("messages", "max_tokens")}[route]
    said = {name: body.pop(name) for name in ("model", *first)}
    body.pop("stream", None)
    client: Any = CLIENTS[route == "anthropic"].with_options(base_url=url, api_key=key)
    create = {"chat": lambda: client.chat.completions, "responses": lambda: client.responses, "anthropic": lambda: client.messages}
    answer = create[route]().create(**said, **({"stream": True} if stream else {}), extra_body=body)
    return [one.model_dump(warnings=False) for one in answer] if stream else [answer.model_dump(warnings=False)]


@pytest.mark.parametrize(("exchange", "stream"), ASKED)
def test_an_exchange_is_as_on_the_direct_wire(exchange: GoldenExchange, stream: bool, upstream: GoldenUpstream, gateway: Served):
    """Every field of the SDK's objects, every field of the body that the vendor is sent. A failure in a 200 is told as one."""
    ours = gateway.url + ("" if route_of(exchange) == "anthropic" else "/v1")
    if is_failure(exchange):
        with pytest.raises((openai.APIError, anthropic.APIError)):
            ask(exchange, ours, OURS, model=exchange.id, stream=stream)
        return
    upstream.sent.clear()
    theirs = ask(exchange, upstream.base_url(exchange), KEY, model=exchange.told["model"].partition(":")[2], stream=stream)
    assert ask(exchange, ours, OURS, model=exchange.id, stream=stream) == theirs
    direct, through = upstream.sent
    assert through == direct


def test_the_corpus_is_as_large_as_it_is_said_to_be():
    """Two hundred exchanges, and none of the protocols is thin."""
    counts = Counter(route_of(one) for one in SPOKEN for _ in one.forms)
    print(f"through the gateway: {counts.total()} exchanges: {dict(counts)}")  # shown by -rA
    assert counts.total() >= 200
    assert min(counts.values()) >= 36


PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}
OVER = {"chat": (b"data: [DONE]",), "anthropic": (b"event: message_stop",), "responses": (
    b"event: response.completed", b"event: response.incomplete", b"event: response.failed",
)}  # fmt: skip


def is_over(route: str, answer: bytes) -> bool:
    """Whether a client takes the answer for whole: its protocol's last event is there."""
    return any(mark in answer for mark in OVER[route])


def streamed(exchange: GoldenExchange, gateway: Served, client: httpx.Client) -> bytes:
    """The answer's bytes as they came, however it ended."""
    body = {**known_ids(exchange.body(stream=True)), "model": exchange.id}
    return client.post(gateway.url + PATHS[route_of(exchange)], json=body, headers={"authorization": f"Bearer {OURS}"}).content


def check_cuts(exchange: GoldenExchange, cuts: Iterable[int], upstream: GoldenUpstream, gateway: Served) -> None:
    """Cut at each of these bytes, closed there and cleanly ended: never over, unless all has come; and if not over, it says so."""
    route = route_of(exchange)
    with httpx.Client(timeout=30) as client:
        whole = streamed(exchange, gateway, client)
        assert is_over(route, whole)
        for at in cuts:
            for upstream.end in ("clean", "closed"):
                upstream.cut = at
                try:
                    answer = streamed(exchange, gateway, client)
                finally:
                    upstream.cut = None
                if is_over(route, answer):
                    assert said_by(answer) == said_by(whole), (at, upstream.end)
                else:
                    assert b'"error"' in answer, (at, upstream.end, answer)


def said_by(answer: bytes) -> list[Any]:
    """What the events say, without those that tell usage alone."""
    data = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: ")]
    found = [one if one == b"[DONE]" else json.loads(one) for one in data]
    return [one for one in found if one == b"[DONE]" or one.get("choices") != []]


WHOLE = [one for one in SPOKEN if one.has_stream and "error" not in one.told]
CUT = [pytest.param(one, id=one.id, marks=pytest.mark.heavy if at % 3 else ()) for at, one in enumerate(WHOLE)]


@pytest.mark.parametrize("exchange", CUT)
def test_a_stream_that_is_cut_never_ends_as_complete(exchange: GoldenExchange, upstream: GoldenUpstream, gateway: Served):
    """Each streamed exchange, at two bytes drawn by a seed."""
    luck = Random(exchange.id)
    check_cuts(exchange, (luck.randrange(len(exchange.stream())) for _ in range(1)), upstream, gateway)


SHORT = [min((one for one in WHOLE if route_of(one) == route), key=lambda one: len(one.stream())) for route in PATHS]


@pytest.mark.heavy
@pytest.mark.parametrize("exchange", [pytest.param(one, id=one.id) for one in SHORT])
def test_a_stream_that_is_cut_at_any_byte_never_ends_as_complete(exchange: GoldenExchange, upstream: GoldenUpstream, gateway: Served):
    """The shortest of each protocol, at every byte."""
    check_cuts(exchange, range(len(exchange.stream())), upstream, gateway)
