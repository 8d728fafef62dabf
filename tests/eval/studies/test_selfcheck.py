"""The self-check's own parts, and what it can show without torch."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from surefoot import EmbedModel
from surefoot.errors import Misconfigured
from surefoot.testing import Scripted
from surefoot_eval.data.formats import DatasetText, Query, TextSet
from surefoot_eval.run.retrievers import chroma, exact, fused, lexical
from surefoot_eval.run.vectors import vectors
from surefoot_eval.score.metrics import retrieval
from surefoot_eval.score.stats import kappa
from surefoot_eval.studies.selfcheck import auc, groundedness_checks, lexical_checks, main


def small(count: int = 40) -> TextSet:
    """Documents that each share one number with one query."""
    documents = tuple(
        DatasetText(id=f"d{n}", title=f"Title{n}", text=f"about {100 + n} and more", group=f"g{n // 5}") for n in range(count)
    )
    queries = tuple(Query(id=f"q{n}", text=f"what is {100 + n}", relevant={f"d{n}": 1}) for n in range(count))
    return TextSet(name="small", split="test", language="en", documents=documents, queries=queries)


@pytest.mark.parametrize("words", ["published", "shipped"])
def test_lexical_finds_the_shared_word(words):
    """Both ways of cutting words; a document without a shared word is no result."""
    texts = small()
    got = lexical(texts, words=words)
    assert all(next(iter(got[f"q{n}"])) == f"d{n}" for n in range(40))
    assert all(score > 0 for scores in got.values() for score in scores.values())


def test_exact_and_chroma_agree_on_a_small_set():
    """Forty vectors are few enough for the index to be exact."""
    texts = small()
    draw = np.random.default_rng(5)
    documents = draw.normal(size=(40, 16)).astype(np.float32)
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    queries = documents + 0.05 * draw.normal(size=(40, 16)).astype(np.float32)
    one, other = exact(texts, documents, queries, depth=5), chroma(texts, documents, queries, space="test/16", depth=5)
    assert {key: list(found) for key, found in one.items()} == {key: list(found) for key, found in other.items()}
    assert retrieval(one, texts.queries, ("nDCG@10",))["nDCG@10"].mean == 1.0


def test_fused_keeps_the_depth_and_needs_no_partner():
    """A query whose words are in no document lives by its dense side alone."""
    got = fused({"q": {"a": 0.9, "b": 0.5, "c": 0.1}}, {"q": {}}, weight=0.3, depth=2)
    assert list(got["q"]) == ["a", "b"]


def test_vectors_are_encoded_once_and_keep_their_order(tmp_path):
    """The second run reads what the first has kept; another text is another set."""
    texts = [f"{'long ' * (n % 7)}text {n}" for n in range(150)]
    provider = Scripted(times=1000)
    embed = EmbedModel(provider)
    first = vectors(embed, texts, role="document", cache=tmp_path)
    asked = provider.calls
    again = vectors(embed, texts, role="document", cache=tmp_path)
    assert provider.calls == asked > 0
    assert np.array_equal(first, again)
    assert np.array_equal(vectors(embed, texts[::-1], role="document", cache=None), first[::-1])


def test_auc_and_kappa_by_hand():
    """Ties count half; agreement is beyond chance."""
    assert auc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])) == pytest.approx(0.875)
    assert kappa(np.array([True, True, False, False]), np.array([True, False, False, False])) == pytest.approx(0.5)


def test_without_data_it_says_so(tmp_path):
    """A missing folder is a sentence, not a traceback."""
    with pytest.raises(Misconfigured, match=r"published\.json"):
        main(argparse.Namespace(data=tmp_path, cache=None, all=False))


def test_groundedness_reaches_its_goal_on_human_labels(data):
    """AUC >= .94 and kappa >= .70 on BEGIN's test part."""
    assert [check.ok for check in groundedness_checks(data, {}, None)] == [True, True]


def test_bm25_reproduces_the_published_row(data):
    """SciFact within .012 of MTEB's bm25s."""
    published = {"scifact": {"published": {"bm25s (mteb 1.20)": {"ndcg@10": 0.68736}}, "tolerance": {"bm25": 0.012}}}
    assert [check.ok for check in lexical_checks(data, published, None)] == [True]
