"""Kinds by name: what an item may be, what is kept of it, and what nobody can put into a row."""

from __future__ import annotations

import pickle  # noqa: TID251 - to plant some
import sqlite3
from contextlib import suppress

import numpy as np
import pytest

from surefoot import EmbedModel, errors, jobs
from surefoot.errors import BadRequest, ContentRefused, Exhausted, Misconfigured, RateLimited, SurefootError
from surefoot.jobs import kinds
from surefoot.jobs.bodies import packed_error, unpacked_error
from surefoot.jobs.kinds import ItemResult
from surefoot.testing import Scripted

NOT_MADE = {"Exhausted", "BatchFailed"}


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - NOT_MADE))
def test_an_error_is_kept_by_its_class_and_its_words(name):
    """All of ours, with the fields they have."""
    made = getattr(errors, name)(f"{name} of a kind")
    for field, value in (
        ("status", 418),
        ("code", "tea"),
        ("retry_after_s", 2.5),
        ("request_id", "r"),
        ("target", "t:m"),
        ("partial", "half"),
    ):
        if hasattr(made, field):
            setattr(made, field, value)
    read = unpacked_error(packed_error(made))
    assert type(read) is type(made)
    assert str(read) == str(made)
    assert {k: v for k, v in vars(read).items() if v} == {k: v for k, v in vars(made).items() if v}


def test_errors_that_are_not_ours_are_told_and_never_built():
    """A row names a class: only ours are looked up, and only to be raised."""
    read = unpacked_error(packed_error(ValueError("x" * 5000)))
    assert type(read) is SurefootError
    assert str(read).startswith("ValueError: xxx")
    assert len(str(read)) < 600
    assert type(unpacked_error(b'{"error":"os.system","message":"rm"}')) is SurefootError
    assert "cannot be read" in str(unpacked_error(pickle.dumps(ValueError)))
    every = Exhausted("2 failed", [RateLimited("slow", status=429), Exhausted("inner", [ContentRefused("no")])])
    read = unpacked_error(packed_error(every))
    assert isinstance(read, Exhausted)
    assert read.exceptions[0].status == 429
    assert isinstance(read.last, ContentRefused)


def test_texts_are_embedded_a_chunk_at_a_time(store):
    """One call a chunk; each vector is kept by itself, as 32-bit floats."""
    provider = Scripted("ok", dimensions=3)
    model = EmbedModel(provider)
    with jobs.open(store, models={"vectors": model}) as q:
        job = q.submit("embed", [f"text {n}" for n in range(25)], model="vectors", chunk=10)
        odd = q.submit("embed", [{"text": "one", "id": "a"}], model="vectors", role="query")
        q.work_sync()
        found = [vector for _, vector in q.results(job)]
        assert provider.calls == 4
        assert [list(q.inputs(odd))] == [[(0, {"text": "one", "id": "a"})]]
    want = model.embed([f"text {n}" for n in range(25)])
    assert np.array_equal(np.stack(found), want)
    assert found[0].dtype == np.float32


def test_what_cannot_be_embedded_is_told_at_once(lite):
    """By item, before anything is written."""
    with jobs.open(lite) as q:
        with pytest.raises(BadRequest, match="item 1: text 0 is empty"):
            q.submit("embed", ["a", " "])
        with pytest.raises(BadRequest, match="item 0: an item to embed is text"):
            q.submit("embed", [7])
        with pytest.raises(BadRequest, match="unknown option 'temperature' for embeddings"):
            q.submit("embed", ["a"], temperature=0)


class Shout:
    """A kind of one's own: no model, no network."""

    def check(self, options):
        return dict(options)

    def item(self, given):
        return str(given)

    def open(self, chunk, models, limited):
        del models, limited
        self.mark = chunk.spec.options.get("mark", "!")
        return self

    async def run(self, chunk, put):
        for n, item in chunk.items:
            put(ItemResult(n, ok=True, body=(item.upper() + self.mark).encode(), cost_usd=0.5))
        return ""

    def value(self, body):
        return body.decode()


def test_a_kind_of_ones_own_is_registered_by_name(store):
    """In each process that submits, works or reads; its cost counts."""
    jobs.register("shout", Shout())
    with jobs.open(store) as q:
        job = q.submit("shout", ["a", "b"], mark="?")
        q.work_sync()
        assert [value for _, value in q.results(job)] == ["A?", "B?"]
        assert q.status(job).cost_usd == 1.0
    with pytest.raises(Misconfigured, match="a word"):
        jobs.register("two words", Shout())
    assert {"chat", "embed", "shout"} <= set(kinds.names())


class Careless(Shout):
    """Fails at one word and forgets another."""

    async def run(self, chunk, put):
        for n, item in chunk.items:
            if item == "fail":
                raise KeyError("no such word")
            if item != "forget":
                put(ItemResult(n, ok=True, body=b"x"))
        return ""


@pytest.mark.parametrize(("word", "reason"), [("fail", "chunk 0 failed: KeyError"), ("forget", "left items of chunk 0 without a result")])
def test_a_kind_that_fails_pauses_its_job_and_no_other(word, reason, store):
    """It would fail again and again: the worker goes on with what can be done, and says why."""
    jobs.register("careless", Careless())
    jobs.register("shout", Shout())
    with jobs.open(store) as q:
        job, other = q.submit("careless", ["a", word, "b"]), q.submit("shout", ["x"])
        q.work_sync()
        assert (q.status(job).state, q.status(other).state) == ("paused", "done")
        assert reason in q.status(job).reason


def test_nothing_in_a_row_is_ever_unpickled(lite):
    """A pickle planted in each column that holds bytes or text is an error or a foreign value, never run."""

    class Bomb:
        def __reduce__(self):
            return (eval, ("__import__('builtins').__setattr__('exploded', True)",))

    import builtins

    bomb = pickle.dumps(Bomb())
    with jobs.open(lite, models=EmbedModel(Scripted("ok"))) as q:
        job = q.submit("embed", ["a", "b"])
        q.work_sync()
        open_job = q.submit("embed", ["c"])
        file = sqlite3.connect(lite.removeprefix("sqlite:"))
        file.execute("UPDATE sf_result SET body = ?, ok = 0 WHERE n = 0", (bomb,))
        file.execute("UPDATE sf_result SET body = ? WHERE n = 1", (bomb,))
        file.execute("UPDATE sf_input SET body = ? WHERE job = ?", (bomb, open_job))
        file.execute("UPDATE sf_job SET reason = ?, tenant = ? WHERE id = ?", (str(bomb), str(bomb), job))
        file.commit()
        file.close()
        assert [type(value) for _, value in q.results(job)] == [SurefootError] * 2
        with pytest.raises(ValueError):
            list(q.inputs(open_job))
        q.work_sync()
        assert q.status(open_job).state == "paused"
        assert "DecodeError" in q.status(open_job).reason
        q.status(job)
        assert not hasattr(builtins, "exploded")


def test_no_key_is_in_any_row(lite, tmp_path):
    """Models are named; whoever works knows the keys."""
    from surefoot import ChatModel, Target
    from surefoot.testing.wire import OpenAISim

    with OpenAISim() as sim:
        model = ChatModel(Target("openai:m", base_url=f"{sim.url}/v1", api_key="sk-very-secret-key", lane="direct"))
        with jobs.open(lite, models=model) as q:
            q.submit("chat", ["a"])
            q.work_sync()
            with pytest.raises(Misconfigured, match="model is a name"):
                q.submit("chat", ["a"], model=model)
    for file in tmp_path.iterdir():
        with suppress(FileNotFoundError):  # SQLite's own beside it go with the last connection
            assert b"sk-very-secret" not in file.read_bytes()
