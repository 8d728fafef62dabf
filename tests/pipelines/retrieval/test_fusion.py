"""Lexical search and fusion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.errors import Misconfigured
from surefoot_rag.records import Passage
from surefoot_rag.retrieval.fusion import NEUTRAL_WEIGHT, Fusion, fuse, fuse_ranks, fusion_for, tokens
from surefoot_rag.retrieval.lexical import Lexical

SCORES = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(-1, 1))


def passage(key: str, text: str) -> Passage:
    return Passage(id=key, document_id=key, title="", text=text, start=0, end=len(text), source=key)


def test_turkish_casing_and_endings_meet():
    """IŞIK, ışık and ışığın are one word to a reader; I and İ are not what lower() makes of them."""
    assert set(tokens("IŞIKLAR İzmir'in")) & set(tokens("ışıkları izmir"))
    assert tokens("İSTANBUL") == tokens("istanbul")


def test_lexical_search_finds_the_word_and_nothing_without_one():
    """No shared word, no result: a wrong passage is worse than none."""
    lexical = Lexical([passage("a", "The gate is locked at night."), passage("b", "Kapı gece kilitlenir.")])
    assert list(lexical.search("locked gate")) == ["a"]
    assert list(lexical.search("kapılar kilitli mi")) == ["b"]
    assert lexical.search("zebra") == {}
    assert Lexical([]).search("x") == {}


@given(SCORES, SCORES, st.floats(0, 1))
def test_fusion_keeps_every_candidate_and_its_order_is_stable(dense, lexical, weight):
    """Scores stay between 0 and 1; the same input gives the same order."""
    fused = fuse(dense, lexical, weight=weight)
    assert set(fused) == {*dense, *lexical}
    assert all(0 <= value <= 1 + 1e-9 for value in fused.values())
    assert list(fused) == list(fuse(dict(reversed(dense.items())), dict(reversed(lexical.items())), weight=weight))


def test_weight_one_is_dense_alone():
    """The ends of the scale are the single retrievers."""
    dense, lexical = {"a": 0.9, "b": 0.1}, {"b": 9.0, "a": 1.0}
    assert next(iter(fuse(dense, lexical, weight=1.0))) == "a"
    assert next(iter(fuse(dense, lexical, weight=0.0))) == "b"


def test_ranks_are_fused_as_published():
    """1 / (60 + rank) from each list; scores do not matter, absence gives nothing, ties go by id."""
    fused = fuse_ranks({"a": 0.9, "b": 0.8}, {"b": 7.0, "c": 7.0})
    assert fused == {"b": 1 / 62 + 1 / 61, "a": 1 / 61, "c": 1 / 62}
    assert list(fused) == ["b", "a", "c"]
    assert list(fuse_ranks({"x": 1.0, "w": 1.0}, {})) == ["w", "x"]


def test_a_lexical_score_is_held_against_none_not_against_the_worst_found():
    """Two passages that share many words stay near each other, however long the list of candidates is."""
    short = fuse({}, {"a": 10.0, "b": 9.0}, weight=0.5)
    assert short == {"a": 0.5, "b": 0.45}
    assert fuse({}, {"a": 10.0, "b": 9.0, "c": 8.0}, weight=0.5)["b"] == short["b"]


def test_each_embedding_space_has_its_own_weight():
    """A model that knows no Turkish must not be believed in it; of a model nobody has tuned nothing is known."""
    minilm, e5 = (fusion_for(f"local/{name}") for name in ("all-MiniLM-L6-v2/sentence-transformers/unit", "multilingual-e5-small-q4/x"))
    assert minilm.share("Kapı ne zaman kilitlenir?") < 0.2 < e5.share("Kapı ne zaman kilitlenir?")
    assert fusion_for("openai/text-embedding-3-small/1536") == Fusion()
    assert Fusion().share("When is it?") == NEUTRAL_WEIGHT


@pytest.mark.parametrize("wrong", [{"method": "votes"}, {"other": 1.2}, {"dense": {"en": -0.1}}])
def test_a_fusion_that_makes_no_sense_is_refused(wrong):
    """Before anything is searched with it."""
    with pytest.raises(Misconfigured, match="fusion"):
        Fusion(**wrong)
