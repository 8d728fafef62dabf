"""`semantic=Semantic(...)`: said in Python or TOML, with a real embedding model, through both frameworks."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress

import pytest

from surefoot import ChatModel, EmbedModel, Policy, Semantic, Target, load, runtime
from surefoot.errors import Misconfigured
from surefoot.events import CacheHit, CallEnded
from surefoot.settings import THRESHOLDS
from surefoot.storage.sqlite import TABLE, SQLiteStore
from surefoot.testing import Scripted
from surefoot.types import EmbedReply
from surefoot.usage.ledger import Ledger

KNOWN = "How do I reset my Gmail password?"
ASKED = "Please tell me how to reset my Gmail password."
REAL = Semantic(patience_s=600)  # loading the model may take its time; no test here is about speed


def alike(call):
    """Vectors that find any two texts alike."""
    import numpy as np

    return EmbedReply(vectors=np.array([[1.0, 0.0]] * len(call.request.texts), dtype=np.float32), space="s", model="e")


def heard_by(chat):
    events = []
    chat.subscribe(events.append, inline=True)
    return events


def test_a_real_model_recognises_another_wording():
    """The whole way: layers, background loop, e5 in this process; the event says how alike."""
    provider = Scripted("one", "two")
    chat = ChatModel(provider, cache="memory", semantic=REAL)
    events = heard_by(chat)
    assert chat.invoke(KNOWN).text == "one"
    reply = chat.invoke(ASKED)
    assert (reply.text, reply.cached, provider.calls) == ("one", True, 1)
    (hit,) = [event for event in events if isinstance(event, CacheHit)]
    assert hit.semantic
    assert THRESHOLDS["local:multilingual-e5-small"] <= hit.similarity <= 1.0001
    assert "".join(delta.text for delta in chat.stream(ASKED)) == "one"
    assert chat.invoke("How do I reset my Yahoo password?").text == "two"
    assert chat.invoke(ASKED, tenant="b").text == "two"


def test_the_ledger_counts_the_comparison_and_the_saving(tmp_path):
    """One chat attempt paid, one answer saved, one embedding call."""
    ledger = Ledger(tmp_path / "ledger.db")
    chat = ChatModel(Scripted("one"), cache="memory", ledger=ledger, semantic=Semantic(embed=Scripted(alike, name="e"), threshold=0.9))
    chat.invoke(KNOWN)
    chat.invoke(ASKED)
    ledger.flush()
    rows = {row.group[0]: (row.attempts, row.cache_hits) for row in ledger.sums(by=("target",))}
    assert rows == {"scripted:model": (1, 1), "e": (1, 0)}


def test_questions_outlive_the_process(tmp_path):
    """What one process has paid for, the next one answers: questions and answers are in one file. No second is counted here."""
    path = tmp_path / "cache.db"
    first, second = SQLiteStore(path), SQLiteStore(path)  # two stores share nothing but the file, as two processes do
    said = Semantic(embed=Scripted(alike), threshold=0.9, patience_s=600)
    ChatModel(Scripted("one"), cache=first, semantic=said).invoke(KNOWN)
    rows, turns = 0, 0
    while rows < 2 and turns < 10_000:  # the question's and the answer's, written beside the call
        turns += 1
        runtime.run(first.flush())
        if path.exists():
            with closing(sqlite3.connect(path, timeout=60)) as file, suppress(sqlite3.OperationalError):
                rows = file.execute(f"SELECT count(*) FROM {TABLE}").fetchone()[0]
    reply = ChatModel(Scripted("two"), cache=second, semantic=said).invoke(ASKED)
    assert (reply.text, reply.cached) == ("one", True)
    for store in (first, second):
        runtime.run(store.aclose())


def test_describe_says_it():
    """Between the exact cache and coalesce, with its threshold; without it nothing is there."""
    chat = ChatModel(Scripted("one"), cache="memory", semantic=Semantic(embed=Scripted(alike), threshold=0.75))
    names = [line.split(":")[0].strip() for line in chat.describe().splitlines()]
    assert names.index("cache") + 1 == names.index("semantic") == names.index("coalesce") - 1
    assert "0.75" in chat.describe()
    assert "semantic" not in ChatModel(Scripted("one"), cache="memory").describe()


def test_comparing_is_accounted_for_like_any_call():
    """Its own policy, and its events go to who listens to the chat model, unless the EmbedModel has listeners of its own."""
    embedder = Scripted(alike, name="e")
    for own in (False, True):
        embed = EmbedModel(embedder, policy=Policy(attempts=1))
        elsewhere = heard_by(embed) if own else []
        chat = ChatModel(Scripted("one"), cache="memory", semantic=Semantic(embed=embed, threshold=0.9))
        events = heard_by(chat)
        chat.invoke(KNOWN)
        assert chat.invoke(ASKED, tags={"team": "search"}).cached
        counted = [event for event in (elsewhere if own else events) if isinstance(event, CallEnded) and event.model == "e"]
        assert len(counted) == 1
        assert sum(isinstance(event, CallEnded) for event in events) == (2 if own else 3)
        assert embedder.seen[-1].tags == (("team", "search"),)


class Closing(Scripted):
    """Counts how often it is closed."""

    async def aclose(self):
        self.ended = getattr(self, "ended", 0) + 1


def test_an_embedder_of_ones_own_stays_open():
    """What the chat model built itself goes with it; an EmbedModel that was given may serve others."""
    for own in (False, True):
        provider = Closing(alike, name="e")
        embed = EmbedModel(provider) if own else provider
        chat = ChatModel(Scripted("one"), cache="memory", semantic=Semantic(embed=embed, threshold=0.9))
        chat.invoke(KNOWN)
        assert chat.invoke(ASKED).cached
        chat.close()
        assert getattr(provider, "ended", 0) == (0 if own else 1)


@pytest.mark.parametrize(
    ("semantic", "cache", "message"),
    [
        (Semantic(), None, "semantic needs a cache"),
        (Semantic(embed=Scripted(alike, name="mine:model")), "memory", "no threshold has been measured for mine:model"),
        (Semantic(embed=Target("openai:text-embedding-3-small", api_key="k")), "memory", "text-embedding-3-small; say Semantic"),
        (Semantic(embed="openai:gpt-5-mini", threshold=0.9), "memory", "chat model"),
    ],
)
def test_what_cannot_work_is_told_when_the_model_is_built(semantic, cache, message):
    """Not at the first call, and never by a silent default."""
    with pytest.raises(Misconfigured, match=message):
        ChatModel(Scripted("one"), cache=cache, semantic=semantic)


@pytest.mark.parametrize("fields", [{"threshold": 0}, {"threshold": 1.5}, {"threshold": -0.9}, {"patience_s": 0}])
def test_numbers_that_mean_nothing_are_refused(fields):
    """A cosine of 1.5 never hits; one of 0 would always."""
    with pytest.raises(Misconfigured, match=next(iter(fields))):
        Semantic(**fields)


GOOD = """
[chat.default]
targets = ["local:extractive"]
cache = "memory"
[chat.default.semantic]
embed = "local:multilingual-e5-small"
threshold = 0.93
patience_s = 2
[target."local:multilingual-e5-small"]
concurrency = 1
"""


def test_a_file_says_it_in_the_same_words(tmp_path):
    """Also with the embedder's own [target] table."""
    path = tmp_path / "surefoot.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert "cosine of at least 0.93, waited for 2 s" in load(path).chat().describe()
    path.write_text(GOOD.split("[chat.default.semantic]", maxsplit=1)[0] + "semantic = {}\n", encoding="utf-8")
    assert f"at least {THRESHOLDS['local:multilingual-e5-small']:g}" in load(path).chat().describe()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("patience_s", "patience"), "line 8: unknown key in .chat.default.semantic.: 'patience'; did you mean 'patience_s'"),
        (("0.93", '"high"'), "line 7: .chat.default.semantic.: Expected"),
        (("0.93", "3.0"), "threshold = 3.0"),
        (('"memory"', "5"), "cache"),
        (("[chat.default.semantic]\n", 'semantic = "yes"\n[chat.two]\ntargets = ["local:extractive"]\n'), "must be a table|unknown key"),
        (("[chat.default", "[embed.default"), "unknown key in .embed.default.: 'semantic'"),
        (('embed = "local:multilingual-e5-small"', "embed = 5"), "a target is text"),
    ],
)
def test_a_file_that_says_it_wrong_fails_at_load(tmp_path, change, message):
    """Naming the line and the nearest known word."""
    path = tmp_path / "surefoot.toml"
    path.write_text(GOOD.replace(*change), encoding="utf-8")
    with pytest.raises(Misconfigured, match=message):
        load(path).chat().describe()


def test_langchain_gets_it_through_chat():
    """An adapter has no cache of its own to say it of."""
    langchain = pytest.importorskip("langchain_surefoot")
    provider = Scripted("one", "two")
    llm = langchain.ChatSurefoot(chat=ChatModel(provider, cache="memory", semantic=Semantic(embed=Scripted(alike), threshold=0.9)))
    assert [llm.invoke(text).content for text in (KNOWN, ASKED)] == ["one", "one"]
    assert "".join(chunk.content for chunk in llm.stream(ASKED)) == "one"
    assert provider.calls == 1


def test_llama_index_gets_it_through_chat():
    """As LangChain does."""
    surefoot = pytest.importorskip("llama_index.llms.surefoot")
    provider = Scripted("one", "two")
    llm = surefoot.Surefoot(chat=ChatModel(provider, cache="memory", semantic=Semantic(embed=Scripted(alike), threshold=0.9)))
    assert [llm.complete(text).text for text in (KNOWN, ASKED)] == ["one", "one"]
    assert provider.calls == 1
