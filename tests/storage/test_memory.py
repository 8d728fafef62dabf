"""Values in this process: bounded, the longest unused leave first, expired ones are gone."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.errors import Misconfigured
from surefoot.storage import open_store
from surefoot.storage.memory import ROW_BYTES, MemoryStore


async def test_what_was_set_is_got_until_deleted():
    """The whole of the protocol."""
    store = MemoryStore()
    assert await store.get("a") is None
    await store.set("a", b"1")
    assert await store.get("a") == b"1"
    await store.delete("a")
    await store.delete("a")
    assert (await store.get("a"), store.size_bytes, len(store)) == (None, 0, 0)


@pytest.mark.looptime
async def test_a_row_expires_by_the_loops_clock():
    """Virtual time in tests, and no jump of the wall clock in production."""
    store = MemoryStore()
    await store.set("a", b"1", ttl_s=10)
    await asyncio.sleep(9.9)
    assert await store.get("a") == b"1"
    await asyncio.sleep(0.2)
    assert await store.get("a") is None
    assert store.size_bytes == 0
    await store.set("a", b"1", ttl_s=0)
    assert await store.get("a") is None


async def test_objects_come_back_as_they_are_and_are_no_bytes():
    """A hit copies and decodes nothing."""
    store = MemoryStore()
    thing = object()
    store.remember("a", thing, size_bytes=10)
    assert store.recall("a") is thing
    assert await store.get("a") is None


async def test_many_at_once():
    """Embeddings move by the thousand."""
    store = MemoryStore()
    await store.set_many([("a", b"1"), ("b", b"2")])
    assert await store.get_many(["b", "x", "a"]) == [b"2", None, b"1"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 300), st.booleans()), max_size=60))
def test_never_above_its_bound_and_the_longest_unused_leaves_first(steps):
    """Against a model: a list of keys in order of use."""
    bound = 3 * ROW_BYTES
    store, model = MemoryStore(max_bytes=bound), OrderedDict()

    async def run():
        for key, size, writes in steps:
            if writes:
                await store.set(key, b"x" * size)
                model.pop(key, None)
                if size + ROW_BYTES <= bound:
                    model[key] = size + ROW_BYTES
                while sum(model.values()) > bound:
                    model.popitem(last=False)
            else:
                assert (await store.get(key) is not None) == (key in model)
                if key in model:
                    model.move_to_end(key)
            assert store.size_bytes == sum(model.values()) <= bound

    asyncio.run(run())


def test_a_store_is_named_by_a_word_or_is_one():
    """`cache=` takes what the documentation says, and says so for anything else."""
    store = MemoryStore()
    assert open_store(store) is store
    assert isinstance(open_store("memory"), MemoryStore)
    for wrong in ("memry", "sqlite:", "redis:", "", 5):
        with pytest.raises(Misconfigured, match="sqlite:PATH"):
            open_store(wrong)
    with pytest.raises(Misconfigured) as caught:
        open_store("http://user:CANARY@host")
    assert "CANARY" not in str(caught.value)
    with pytest.raises(Misconfigured, match="max_bytes"):
        MemoryStore(max_bytes=0)


async def test_a_look_tells_which_keys_are_held():
    """A hundred equal targets are a hundred keys to a question; most hold nothing."""
    store = MemoryStore()
    store.remember("b", object(), size_bytes=10)
    assert store.held(["a", "b", "c"]) == ["b"]
