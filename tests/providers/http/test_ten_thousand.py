"""Ten thousand texts through the vendors' own SDKs, with bad ones among them: no vector in the wrong place, few requests more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from surefoot import EmbedModel, Policy, Target
from surefoot.errors import BatchFailed, ContextTooLong, MalformedReply
from surefoot.testing.wire import OK, GeminiSim, OpenAISim, WireFault, WireRequest, WireSim, fault
from surefoot.testing.wire._model._vectors import embed

COUNT, SIZE = 10_000, 32
MODELS = {
    "openai": ("openai:text-embedding-3-small", OpenAISim, "/v1", 2048),
    "google": ("google:gemini-embedding-001", GeminiSim, "", 100),
}
TOO_LONG, DROPPED, SPOILT = 1234, 5678, 9012
ONE_BAD_TEXT = 2 * math.ceil(math.log2(COUNT))  # further requests that one bad text may cost
TOKENS = 100  # of one text, at these servers


def texts() -> list[str]:
    return [f"text number {i} about topic {i % 97}" for i in range(COUNT)]


@pytest.fixture(params=MODELS)
def at(request) -> Iterator[tuple[str, WireSim, Callable[..., EmbedModel], int]]:
    name, kind, path, most = MODELS[request.param]
    with kind(embed_tokens=TOKENS) as sim:

        def model(**policy: Any) -> EmbedModel:
            settings = Policy(deadline_s=None, breaker=False, backoff_base_s=0.001, backoff_ceiling_s=0.001, **policy)
            return EmbedModel(Target(name, base_url=sim.url + path, api_key="k", dimensions=SIZE), policy=settings)

        yield name, sim, model, math.ceil(COUNT / most)


def misplaced(rows: Any, asked: list[str], model: str, without: set[int]) -> int:
    """How many rows are not their text's vector; those in `without` must be NaN."""
    wrong = 0
    for i, text in enumerate(asked):
        right = np.isnan(rows[i]).all() if i in without else np.allclose(rows[i], embed(text, SIZE, salt=model), atol=1e-6)
        wrong += not right
    return wrong


def test_bad_replies_and_a_text_too_long_cost_little_and_misplace_nothing(at):
    """One text too long; of the replies one lacks a vector, one is out of order, one holds NaN. Retries mend the replies."""
    name, sim, model, least = at
    asked = texts()
    asked[TOO_LONG] = "word " * 1000
    spoilt = [fault("embed_dropped"), fault("embed_nan"), *([fault("embed_reordered")] if name.startswith("openai") else [])]
    sim.script(iter([OK, *spoilt]), when=lambda request: b"word word" not in request.body)
    with pytest.raises(ContextTooLong, match=f"text {TOO_LONG}") as caught:
        model().embed(asked)
    extra = sim.request_count - least
    wrong = misplaced(caught.value.vectors, asked, name.partition(":")[2], {TOO_LONG})
    print(f"{name}: {COUNT} texts, {sim.request_count} requests, {extra} more than without faults; {wrong} vectors misplaced")
    assert all(sim.faults_played[one.name] == 1 for one in spoilt)
    assert wrong == 0
    assert extra <= ONE_BAD_TEXT + 2  # a dropped and a NaN reply are asked for again; OpenAI's index mends a reordered one


def test_texts_that_are_always_bad_lose_no_other(at):
    """One is too long, one never comes back, one always comes as NaN: each is named, all others have their vectors."""
    name, sim, model, least = at
    asked = texts()
    bad = {TOO_LONG: "word " * 1000, DROPPED: "never comes back", SPOILT: "comes as NaN"}
    for place, text in bad.items():
        asked[place] = text

    def plan(request: WireRequest) -> WireFault | None:
        if b"never comes back" in request.body:
            return fault("embed_dropped").but(marker="never comes back")
        return fault("embed_nan").but(marker="comes as NaN") if b"comes as NaN" in request.body else None

    sim.script(plan)
    with pytest.raises(BatchFailed) as caught:
        model(attempts=1).embed(asked)
    extra = sim.request_count - least
    wrong = misplaced(caught.value.vectors, asked, name.partition(":")[2], set(bad))
    print(f"{name}: 3 texts always bad among {COUNT}: {extra} further requests, {extra / 3:.1f} a text; {wrong} vectors misplaced")
    assert {type(error) for error in caught.value.exceptions} == {ContextTooLong, MalformedReply}
    assert all(f"text {place}" in str(caught.value) for place in bad)
    assert wrong == 0
    assert extra <= 3 * ONE_BAD_TEXT
