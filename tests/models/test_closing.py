"""Models come and go, over real sockets: nobody's closing hurts another's calls, and nobody waits at a connection that is closed."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

from surefoot import ChatModel, EmbedModel, Policy, Target, runtime
from surefoot.errors import ConnectionLost, Interrupted
from surefoot.testing.wire.anthropic import AnthropicSim
from surefoot.testing.wire.openai import OpenAISim
from tests.loops import WAIT_S, ended, in_a_thread, own_home, settle_at_home  # noqa: F401 - own_home: autouse, each test its own

LONG_S = 60.0  # what a call would take that nobody ends
ONCE = Policy(attempts=1, deadline_s=None, first_token_s=None, idle_s=None)  # nothing else ends a call either
LANES = pytest.mark.parametrize("lane", ["sdk", "direct"])


def latency_s(request):
    """A call that says `long` is a long one."""
    return LONG_S if b"long" in request.body else 0.0


@pytest.fixture(params=[OpenAISim, AnthropicSim], ids=["openai", "anthropic"])
def sim(request):
    with request.param(latency_s=latency_s, answer="one two three four five six") as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_left(own_home):  # noqa: F811 - the fixture, which looks for what is left after this one
    """Models of the test are collected, and their connections closed, before anybody looks for tasks that are left."""
    yield
    gc.collect()
    settle_at_home()


def target(sim, lane, **settings):
    name, path = ("openai:gpt-4.1", "/v1") if isinstance(sim, OpenAISim) else ("anthropic:claude-haiku-4-5", "")
    return Target(name, base_url=sim.url + path, api_key="k", lane=lane, **settings)


def until(is_so):
    """Wait for what another thread brings about."""
    by = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < by
        time.sleep(0.005)


class CallInThread:
    """A call made in a thread of its own: what came of it."""

    def __init__(self, ask):
        self.answer = self.error = None
        self.thread = in_a_thread(lambda: self._ask(ask))

    def _ask(self, ask):
        try:
            self.answer = ask()
        except Exception as error:
            self.error = error


@LANES
def test_another_models_connections_stay_open(sim, lane):
    """Both name the same target: the connections are as much its own."""
    one, other = (ChatModel(target(sim, lane), policy=ONCE) for _ in range(2))
    assert one.invoke("hi").text
    assert other.invoke("hi").text
    shared = other._stack._endpoints[0]
    one.close()
    assert other.invoke("hi").text
    assert one.invoke("hi").text
    assert one._stack._endpoints[0] is other._stack._endpoints[0] is shared
    one.close()
    one.close()  # twice is once
    assert other.invoke("hi").text
    other.close()
    assert one.invoke("hi").text


@LANES
def test_closing_tells_its_own_calls_at_once_and_nobody_elses(sim, lane):
    """A call must not wait for its deadline at a connection that nobody answers on any more."""
    one, other = (ChatModel(target(sim, lane), policy=ONCE) for _ in range(2))
    own = CallInThread(lambda: one.invoke("a long one"))
    until(lambda: sim.concurrency == 1)
    others = CallInThread(lambda: other.invoke("another long one"))
    until(lambda: sim.concurrency == 2)
    one.close()
    assert ended(own.thread)
    assert isinstance(own.error, ConnectionLost)
    until(lambda: sim.concurrency == 1)  # its connection is dropped
    assert others.thread.is_alive()
    other.close()  # the last one closes the connections, and tells its own call
    assert ended(others.thread)
    assert isinstance(others.error, ConnectionLost)


@LANES
@pytest.mark.parametrize("are_read_at_home", [False, True])
def test_closing_interrupts_a_stream_that_is_being_read(sim, lane, are_read_at_home):
    """What arrived is handed over, whoever reads: a thread, or the background loop itself."""
    sim.gap_s = 2.0  # between tokens
    chat = ChatModel(target(sim, lane), policy=ONCE)
    first = threading.Event()

    def read():
        for _ in chat.stream("hi"):
            first.set()

    async def read_at_home():
        async for _ in chat.astream("hi"):
            first.set()

    reading = CallInThread((lambda: runtime.run(read_at_home())) if are_read_at_home else read)
    assert first.wait(WAIT_S)
    chat.close()
    assert ended(reading.thread)
    assert isinstance(reading.error, Interrupted)
    assert reading.error.partial in {"one", "one two"}
    until(lambda: sim.concurrency == 0)


@LANES
def test_a_stream_outlives_its_model(sim, lane):
    """`for delta in ChatModel(...).stream(...)`, as one writes it in a view."""
    sim.gap_s = 0.05

    def read():
        text = ""
        for delta in ChatModel(target(sim, lane), policy=ONCE).stream("hi"):
            if not text:
                gc.collect()
            text += delta.text
        return text

    async def read_async():
        text = ""
        async for delta in ChatModel(target(sim, lane), policy=ONCE).astream("hi"):
            if not text:
                gc.collect()
            text += delta.text
        return text

    assert read() == asyncio.run(read_async()) == runtime.run(read_async()) == "one two three four five six"
    gc.collect()
    until(lambda: not sim._live)


@LANES
def test_a_call_outlives_its_model(sim, lane):
    """The model is collected while its call is under way."""
    sim.latency_s = 0.5

    async def dropped():
        asked = asyncio.ensure_future(ChatModel(target(sim, lane), policy=ONCE).ainvoke("hi"))
        while not sim.concurrency:
            await asyncio.sleep(0.005)
        gc.collect()
        return (await asked).text

    assert asyncio.run(dropped()) == "one two three four five six"


@LANES
def test_embeddings_are_told_too(lane):
    """Every kind of call has a model that may be closed."""
    with OpenAISim(latency_s=latency_s) as sim:
        embed = EmbedModel(Target("openai:text-embedding-3-small", base_url=f"{sim.url}/v1", api_key="k", lane=lane), policy=ONCE)
        own = CallInThread(lambda: embed.embed(["a long one"]))
        until(lambda: sim.concurrency == 1)
        embed.close()
        assert ended(own.thread)
        assert isinstance(own.error, ConnectionLost)
        assert embed.embed(["hi"]).shape[0] == 1


@LANES
def test_the_last_model_to_go_closes_the_connections(sim, lane):
    """Closed or collected, in whatever order."""
    one, other, third = (ChatModel(target(sim, lane), policy=ONCE) for _ in range(3))
    for chat in (one, other, third):
        assert chat.invoke("hi").text
    until(lambda: len(sim._live) == 1)
    one.close()
    del other
    gc.collect()
    runtime.run(asyncio.sleep(0))
    assert third.invoke("hi").text
    assert len(sim._live) == 1  # the same one was used again
    del third, chat
    gc.collect()
    until(lambda: not sim._live)


@LANES
def test_work_behind_the_callers_back_ends_with_its_model(sim, lane):
    """A stale answer is being renewed when the model is closed: no task is left that reads from a closed connection."""
    stale = Policy(attempts=1, deadline_s=None, cache_ttl_s=1e-3, cache_stale_s=1e6, coalesce=False)
    chat = ChatModel(target(sim, lane), policy=stale, cache="memory")
    assert not chat.invoke("hi").cached
    sim.latency_s = lambda _: LONG_S
    time.sleep(0.01)  # the answer is stale now
    assert chat.invoke("hi").cached
    until(lambda: sim.concurrency == 1)
    chat.close()
    until(lambda: sim.concurrency == 0)  # own_home looks for tasks that are left
