"""Vectors kept text by text: asked for once, of one space, never a bad one."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest

from surefoot import EmbedModel
from surefoot.cache.vectors import VectorCache
from surefoot.core.stack import stack
from surefoot.errors import BadRequest, BatchFailed, ContextTooLong
from surefoot.events import CacheHit, CacheMiss
from surefoot.layers.reuse.batch import Batch
from surefoot.layers.reuse.cache import Cache
from surefoot.storage.memory import MemoryStore
from surefoot.testing import Scripted, make_call
from surefoot.testing.scripted import vectors
from surefoot.types import EmbedReply, EmbedRequest
from tests.layers.helping import Heard
from tests.layers.reuse.test_cache import Plain

pytestmark = pytest.mark.looptime


def cached(provider, store=None, *, space="s"):
    return stack(provider, Cache(MemoryStore() if store is None else store, space=space), Batch())


def asked(provider):
    return [request.texts for request in provider.requests]


@pytest.mark.parametrize("make", [MemoryStore, Plain])
async def test_indexing_again_what_has_not_changed_asks_nobody(make):
    """Bit for bit the same matrix, writable, with the space it belongs to."""
    provider, store, texts = Scripted("ok"), make(), [f"t{i}" for i in range(50)]
    first = await cached(provider, store)(make_call(texts))
    await asyncio.sleep(0)
    again = await cached(provider, store)(make_call(texts[::-1]))
    assert provider.calls == 1
    assert np.array_equal(again.vectors, first.vectors[::-1])
    assert (again.cached, again.cost_usd, again.space, again.model) == (True, 0.0, first.space, first.model)
    assert (again.vectors.dtype, again.vectors.flags.writeable) == (np.float32, True)


async def test_what_is_still_being_written_is_waited_for():
    """A second pass right behind the first finds everything, however slow the store."""

    class Slow(Plain):
        async def set(self, key, value, *, ttl_s=None):
            await asyncio.sleep(0.001)
            await super().set(key, value)

    provider, store, texts = Scripted("ok"), Slow(), [f"t{i}" for i in range(400)]  # below MANY: no thread, whose time is real
    ask = cached(provider, store)
    await ask(make_call(texts))
    assert (await ask(make_call(texts))).cached
    assert provider.calls == 1


async def test_only_what_is_new_is_asked_for_and_only_once():
    """With duplicates, in any order."""
    provider = Scripted("ok")
    ask = cached(provider)
    await ask(make_call(["a", "b"]))
    reply = await ask(make_call(["c", "a", "d", "c", "b"]))
    assert asked(provider) == [("a", "b"), ("c", "d")]
    assert np.array_equal(reply.vectors, vectors(["c", "a", "d", "c", "b"], 4))
    assert not reply.cached


@pytest.mark.parametrize("change", [{"role": "query"}, {"dimensions": 4}, {"unit_length": False}, {"extra": '{"x":1}'}])
async def test_role_and_every_other_field_keep_vectors_apart(change):
    """A query is not a document to models that treat them differently."""
    provider = Scripted("ok")
    ask = cached(provider)
    await ask(make_call(["a"]))
    await ask(make_call(msgspec.structs.replace(EmbedRequest(texts=("a",)), **change)))
    assert provider.calls == 2
    assert set(EmbedRequest.__struct_fields__) == {"texts", "role", "dimensions", "unit_length", "extra"}


async def test_tenants_and_spaces_never_share():
    """Two models of equal size are two spaces; two tenants must not see each other's hits."""
    provider, store = Scripted("ok"), MemoryStore()
    await cached(provider, store)(make_call(["a"], tenant="acme"))
    await cached(provider, store)(make_call(["a"], tenant="bolt"))
    await cached(provider, store, space="other")(make_call(["a"], tenant="acme"))
    assert provider.calls == 3
    assert (await cached(provider, store)(make_call(["a"], tenant="acme"))).cached


async def test_what_a_broken_batch_had_finished_is_not_asked_for_again():
    """The error holds all texts' vectors, found and new; the next attempt costs the bad text alone."""
    provider = Scripted(lambda call: BadRequest("bad input") if "t5" in call.request.texts else "ok")
    ask = stack(provider, Cache(MemoryStore(), space="s"), Batch(max_texts=4))
    await ask(make_call(["t0", "t8"]))
    texts = [f"t{i}" for i in range(9)]
    with pytest.raises(BadRequest, match=r"^text 5: bad input") as caught:
        await ask(make_call(texts))
    missing = np.isnan(caught.value.vectors).all(axis=1)
    assert np.flatnonzero(missing).tolist() == [5]
    assert np.array_equal(caught.value.vectors[~missing], vectors([text for text in texts if text != "t5"], 4))
    provider.seen.clear()
    with pytest.raises(BadRequest, match=r"^text 5: bad input") as caught:
        await ask(make_call(texts))
    assert asked(provider) == [("t5",)]
    assert np.array_equal(caught.value.vectors[~missing], vectors([text for text in texts if text != "t5"], 4))


async def test_a_batch_failed_keeps_its_replies_in_the_users_order():
    """Found texts have their row there, too."""
    provider = Scripted(
        lambda c: ContextTooLong("long") if "l" in c.request.texts else BadRequest("bad") if "b" in c.request.texts else "ok"
    )
    ask = cached(provider)
    await ask(make_call(["x", "y"]))
    with pytest.raises(BatchFailed) as caught:
        await ask(make_call(["x", "l", "y", "z", "b"]))
    assert [type(reply) for reply in caught.value.replies] == [np.ndarray, ContextTooLong, np.ndarray, np.ndarray, BadRequest]
    assert [str(error) for error in caught.value.exceptions] == ["text 1: long", "text 4: bad"]


async def test_what_a_cancelled_job_had_finished_is_kept():
    """A job cut off by its deadline goes on where it stopped."""
    provider = Scripted("ok", latency_s=1)
    ask = stack(provider, Cache(MemoryStore(), space="s"), Batch(max_texts=1, in_flight=1))
    texts = ["a", "b", "c", "d"]
    task = asyncio.create_task(ask(make_call(texts)))
    await asyncio.sleep(2.5)
    task.cancel()
    await asyncio.wait([task])
    provider.seen.clear()
    await ask(make_call(texts))
    assert asked(provider) == [("c",), ("d",)]


async def test_bad_vectors_are_never_kept():
    """Not even without the batch layer in between."""
    spoilt = np.ones((2, 4), dtype=np.float32)
    spoilt[1] = np.nan
    provider, store = Scripted(EmbedReply(vectors=spoilt, space="s")), MemoryStore()
    await stack(provider, Cache(store, space="s"))(make_call(["a", "b"]))
    assert len(store) == 1


async def test_a_poisoned_row_is_a_miss_and_an_event():
    """The vector is asked for again and put right."""
    provider, store, heard = Scripted("ok"), Plain(), Heard()
    ask = cached(provider, store)
    await ask(make_call(["a", "b"]))
    await asyncio.sleep(0)
    key = next(iter(store.rows))
    store.rows[key] = store.rows[key][:-1] + b"\x00"
    reply = await ask(make_call(["a", "b"], listeners=(heard,)))
    assert np.array_equal(reply.vectors, vectors(["a", "b"], 4))
    assert [miss.why for miss in heard.of(CacheMiss)] == ["corrupt"]
    assert asked(provider) == [("a", "b"), ("a",)]
    await asyncio.sleep(0)
    heard.clear()
    await ask(make_call(["a", "b"], listeners=(heard,)))
    assert len(heard.of(CacheHit)) == 1


async def test_rows_of_a_model_that_changed_behind_its_name_meet_no_new_ones():
    """Everything is asked for again, at once."""
    store = MemoryStore()
    old = Scripted("ok", name="a:m")
    await cached(old, store)(make_call(["a", "b"]))
    new = Scripted("ok", name="a:m", dimensions=6)
    reply = await cached(new, store)(make_call(["a", "c"]))
    assert np.array_equal(reply.vectors, vectors(["a", "c"], 6))
    reply = await cached(new, store)(make_call(["a", "b"]))
    assert np.array_equal(reply.vectors, vectors(["a", "b"], 6))


def test_keys_differ_by_text_and_scope_and_are_stable():
    """A golden key: a change of it makes every kept vector a miss, so it must be meant."""
    cache = VectorCache(MemoryStore(), target="m", space="s", later=asyncio.ensure_future)
    request = EmbedRequest(texts=("a", "ab", "b"))
    keys = cache._keys("", request)
    assert len({*keys, *cache._keys("t", request)}) == 6
    assert keys[0] == "e82b805f4f056e527e241de2180082a4f05b1e127"


def test_a_model_with_a_memory_cache_embeds_a_text_once():
    """Through the public models."""
    provider = Scripted("ok")
    embed = EmbedModel(provider, cache="memory")
    one = embed.embed(["a", "b", "a"])
    assert np.array_equal(one, embed.embed(["a", "b", "a"]))
    assert provider.calls == 1
    embed.embed_query("a")
    assert provider.calls == 2
