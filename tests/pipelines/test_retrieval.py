"""Lexical search and fusion."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.records import Passage
from pipelines.retrieval import Lexical, fuse, tokens

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
