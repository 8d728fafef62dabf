"""A store of the caller's own may fail in any way; the call goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from itertools import pairwise
from typing import Any

import pytest

from surefoot import ChatModel, EmbedModel, runtime
from surefoot.storage import _own_loop, open_store
from surefoot.storage.guarded import GuardedStore
from surefoot.storage.memory import MemoryStore
from surefoot.testing import Scripted


class Plain:
    """The least a store must have."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def get(self, key: str) -> Any:
        self.asked.append("get")
        return self.rows.get(key)

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> Any:
        del ttl_s
        self.asked.append("set")
        self.rows[key] = value

    async def delete(self, key: str) -> Any:
        self.rows.pop(key, None)

    async def aclose(self) -> Any:
        """Nothing to close."""


class Raising(Plain):
    async def get(self, key: str) -> Any:
        raise ConnectionResetError(key)

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> Any:
        raise OSError(key)


class Hanging(Plain):
    async def get(self, key: str) -> Any:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(3600)  # deaf to the first word

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> Any:
        await self.get(key)


class Talking(Plain):
    async def get(self, key: str) -> Any:
        return "text, as a client with decode_responses=True gives it"


class Sync(Plain):
    def get(self, key: str) -> Any:
        return self.rows.get(key)

    def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> Any:
        del ttl_s
        self.rows[key] = value


class Cancelling(Plain):
    async def get(self, key: str) -> Any:
        raise asyncio.CancelledError(key)


class Bulk(Raising):
    async def get_many(self, keys: Any) -> Any:
        return [None]  # too few

    async def set_many(self, rows: Any, *, ttl_s: float | None = None) -> Any:
        raise RuntimeError

    async def lock(self, key: str, *, ttl_s: float) -> Any:
        raise RuntimeError

    async def extend(self, key: str, token: str, *, ttl_s: float) -> Any:
        raise RuntimeError

    async def unlock(self, key: str, token: str) -> Any:
        raise RuntimeError


class Objects(Plain):
    def recall(self, key: str) -> Any:
        raise KeyError(key)

    def remember(self, key: str, value: object, *, size_bytes: int, ttl_s: float | None = None) -> Any:
        raise MemoryError


class Blocking(Plain):
    """A coroutine that blocks its thread, as one with a synchronous client inside does."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()

    async def get(self, key: str) -> Any:
        self.may_go_on.wait(60)
        return await super().get(key)


BROKEN = [Raising, Hanging, Talking, Cancelling, Bulk, Objects]


@pytest.mark.looptime
@pytest.mark.parametrize("kind", BROKEN)
async def test_no_operation_raises_or_waits_longer_than_it_may(kind):
    """Whatever it does, in bounded time; cancellation that comes from inside is the store's own."""
    store: Any = open_store(kind())
    assert isinstance(store, GuardedStore)
    began = asyncio.get_running_loop().time()
    assert await store.get("k") is None
    assert await store.set("k", b"v", ttl_s=1.0) is None
    if kind is Bulk:
        assert await store.get_many(["a", "b"]) == [None, None]
        assert await store.set_many([("a", b"")]) is None
        assert await store.lock("k", ttl_s=1.0) is None
        assert await store.unlock("k", "t") is None
    if kind is Objects:
        assert store.recall("k") is None
        assert store.remember("k", object(), size_bytes=1) is None
    assert asyncio.get_running_loop().time() - began <= 2.0


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_call_goes_on_whatever_its_store_does(kind, caplog):
    """Chats, streams and embeddings, twice each; the log names the store and no key."""
    chat = ChatModel(Scripted("fine", times=9), cache=kind())
    embed = EmbedModel(Scripted(times=9), cache=kind())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert (await chat.ainvoke("hi")).text == "fine"
            assert [delta.text async for delta in chat.astream("ho") if delta.text]
            assert (await embed.aembed(["a", "b"])).shape[0] == 2
    await chat.aclose()
    await embed.aclose()
    said = [record.getMessage() for record in caplog.records]
    assert any(f"store {kind.__name__}:" in one for one in said)
    assert len(said) < 20


def own_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("surefoot-") and "worker" not in thread.name]


async def ended(name):
    """The store's thread ends by itself."""
    deadline = time.monotonic() + 20
    while any(name in one for one in own_threads()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_store_that_blocks_its_thread_holds_up_no_other_call(caplog, monkeypatch):
    """Neither the call, which it costs a miss, nor the background loop, on which all others are. Its thread ends once it may."""
    monkeypatch.setattr(_own_loop, "IDLE_S", 0.05)
    store, ticks = Blocking(), list[float]()
    chat, other = ChatModel(Scripted("fine", times=9), cache=store), ChatModel(Scripted("fine", times=99))

    async def beat():
        while True:
            ticks.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.01)

    beating = asyncio.run_coroutine_threadsafe(beat(), runtime.home())
    try:
        assert (await chat.ainvoke("hi")).text == "fine"
        assert (await other.ainvoke("hi")).text == "fine"
        assert "did not answer within 1 s" in caplog.text
        assert len(ticks) > 20  # of some hundred in the second that was waited
        assert max(after - before for before, after in pairwise(ticks)) < 0.9
    finally:
        store.may_go_on.set()
        beating.cancel()
    await chat.aclose()
    await other.aclose()
    await ended("Blocking")


@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_store_of_plain_functions_is_one(is_adopted, monkeypatch):
    """Off the loop, whoever owns that; and whether or not its model is closed, its thread ends."""
    monkeypatch.setattr(_own_loop, "IDLE_S", 0.05)
    threads = set()

    class Watched(Sync):
        def get(self, key: str) -> Any:
            threads.add(threading.current_thread().name)
            return super().get(key)

    async def asked():
        if is_adopted:
            runtime.adopt()
        store = Watched()
        chat = ChatModel(Scripted("fine", times=9), cache=store)
        assert not (await chat.ainvoke("hi")).cached
        while not store.rows:  # written beside the call
            await asyncio.sleep(0.01)
        assert (await chat.ainvoke("hi")).cached
        await ended("Watched")
        assert (await chat.ainvoke("hi")).cached

    runtime.reset_for_tests()
    asyncio.run(asked())
    assert threads == ({"surefoot-worker"} if is_adopted else {"surefoot-Watched"})
    runtime.reset_for_tests()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_uses_its_store_too():
    """The thread of its parent is not there."""
    store = Plain()
    chat = ChatModel(Scripted("fine", times=9), cache=store)
    assert chat.invoke("hi").text == "fine"
    while not store.rows:  # written beside the call
        time.sleep(0.01)
    if (child := os.fork()) == 0:
        os._exit(0 if chat.invoke("hi").cached else 1)
    assert os.waitpid(child, 0)[1] == 0
    chat.close()


@pytest.mark.looptime
async def test_a_store_that_hangs_is_left_alone_for_a_while(caplog):
    """Each call would wait for it otherwise; when it answers again it is used again."""
    store = Hanging()
    guarded = GuardedStore(store, wait_s=1.0, pause_s=5.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(100):
        assert await guarded.get("k") is None
    assert loop.time() - began == pytest.approx(1.0, abs=0.01)
    assert guarded.is_down
    await asyncio.sleep(5.0)
    store.get = Plain.get.__get__(store)  # type: ignore[method-assign]
    store.rows["k"] = b"v"
    assert await guarded.get("k") == b"v"
    assert not guarded.is_down
    for task in guarded._left:
        task.cancel()
    await asyncio.sleep(0.1)
    assert not guarded._left
    assert len(caplog.records) == 1


async def test_a_store_that_works_is_used_and_ours_are_not_wrapped():
    """With what it has and no more: a store without locks must not look as if it had some."""
    store = Plain()
    chat = ChatModel(Scripted("fine", times=9), cache=store)
    assert [(await chat.ainvoke("hi")).cached for _ in range(3)] == [False, True, True]
    await chat.aclose()
    guarded = open_store(store)
    assert not any(hasattr(guarded, name) for name in ("lock", "get_many", "recall", "flush"))
    assert hasattr(open_store(Bulk()), "lock")
    ours = MemoryStore()
    assert open_store(ours) is ours


@pytest.mark.looptime
async def test_a_callers_cancellation_passes_and_ends_the_waiting():
    """Leaving must not wait for a store."""
    task = asyncio.create_task(GuardedStore(Hanging()).get("k"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
