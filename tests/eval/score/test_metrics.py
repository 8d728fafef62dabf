"""Each metric against a value worked out by hand; nothing is averaged in silence."""

from __future__ import annotations

import json
import math

import pytest

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import Query, TextSpan
from surefoot_eval.score.metrics import (
    citation_precision,
    citation_recall,
    exact_match,
    groundedness,
    normalise,
    refusals,
    retrieval,
    token_f1,
)
from surefoot_eval.score.scores import Column, column, not_applicable, score


def asked(key: str, *relevant: str) -> Query:
    return Query(id=key, text=key, relevant=dict.fromkeys(relevant, 1))


def test_retrieval_by_hand():
    """The one relevant document at rank 3: nDCG 1/log2(4), reciprocal rank 1/3, found at 3 but not at 1."""
    got = retrieval({"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, [asked("q", "c")], ("nDCG@10", "RR@10", "R@10", "Success@1"))
    assert got["nDCG@10"].mean == pytest.approx(1 / math.log2(4))
    assert got["RR@10"].mean == pytest.approx(1 / 3)
    assert (got["R@10"].mean, got["Success@1"].mean) == (1.0, 0.0)


def test_ties_rank_alike_for_every_measure():
    """trec_eval puts the greater id first; a measure with a rule of its own would contradict its neighbours."""
    got = retrieval({"q": {"a": 1.0, "b": 1.0}}, [asked("q", "a")], ("RR", "RR@10", "Success@1"))
    assert [one.mean for one in got.values()] == [0.5, 0.5, 0.0]


def test_nothing_found_counts_zero_and_a_failure_is_an_error():
    """Finding nothing is the retriever's result; failing is not, and must neither raise nor lower the mean unseen."""
    run = {"found": {"a": 1.0}, "nothing": {}, "broke": RuntimeError("down")}
    queries = [asked("found", "a"), asked("nothing", "a"), asked("broke", "a"), asked("absent", "a"), asked("never")]
    got = retrieval(run, queries, ("nDCG@10",))["nDCG@10"]
    assert list(got.scores) == [query.id for query in queries]
    assert got.values == {"found": 1.0, "nothing": 0.0}
    assert got.errors == {"broke": "RuntimeError: down", "absent": "not in the run"}
    assert got.scores["never"].status == "not_applicable"
    assert (got.mean, got.coverage) == (0.5, 0.5)
    assert "2 errors, 1 not applicable" in str(got)


def test_an_unknown_measure_is_named():
    """A typing error must not end as an empty column."""
    with pytest.raises(Misconfigured, match="nDGC@10"):
        retrieval({"q": {"a": 1.0}}, [asked("q", "a")], ("nDGC@10",))


def test_nan_is_an_error_and_poisons_nothing():
    """The complaint most often heard of other harnesses."""
    got = Column("m", {"a": score(1.0), "b": score(float("nan")), "c": not_applicable("refused")})
    assert (got.mean, got.coverage, set(got.errors)) == (1.0, 0.5, {"b"})
    assert Column("m", {}).mean is None


def test_a_metric_that_raises_costs_only_its_own_question():
    """One bad row of a thousand is one error."""
    got = column("m", ["1", "0"], lambda key: score(1 / int(key)))
    assert got.values == {"1": 1.0}
    assert "ZeroDivisionError" in got.errors["0"]


@pytest.mark.parametrize(
    ("text", "language", "normal"),
    [
        ("The  Denver Broncos!", "en", "denver broncos"),
        ("ISPARTA'da", "tr", "ısparta"),
        ("İzmir\u2019in Işığı", "tr", "izmir ışığı"),
        ("İzmir", "en", "izmir"),
        ("a the an", "tr", "a the an"),
    ],
)
def test_normal_forms(text, language, normal):
    """I is ı's capital in Turkish; an apostrophe parts a name from its suffix."""
    assert normalise(text, language) == normal


def test_answers_by_hand():
    """The best over the accepted; a refused answerable question scores 0, an unanswerable one is not this metric's business."""
    query = Query(id="q", text="?", answers=("Denver Broncos", "Broncos"))
    assert exact_match("the Broncos", query, language="en", refused=False).value == 1.0
    assert token_f1("the Denver team", query, language="en", refused=False).value == pytest.approx(0.5)
    assert token_f1("", query, language="en", refused=True).value == 0.0
    never = Query(id="n", text="?", answerable=False)
    assert exact_match("x", never, language="en", refused=False).status == "not_applicable"


def test_citations_by_span():
    """One of two citations holds the one gold span; citing nothing is 0, refusing is neither."""
    query = Query(id="q", text="?", gold=(TextSpan("d", 5, 9),))
    cited = [TextSpan("d", 0, 20), TextSpan("d", 6, 20)]
    assert citation_precision(cited, query, refused=False).value == 0.5
    assert citation_recall(cited, query, refused=False).value == 1.0
    assert citation_precision([], query, refused=False).value == 0.0
    assert citation_recall([], query, refused=True).status == "not_applicable"


def test_groundedness_tells_copied_from_invented():
    """Stems match over suffixes; an invented sentence stays low; a refusal is not applicable."""
    passage = ["Lodos, güneybatıdan esen sıcak bir rüzgardır."]
    assert groundedness("Lodos sıcak bir rüzgar.", passage).value == 1.0
    assert (groundedness("Poyraz kuzeyden gelir.", passage).value or 0.0) < 0.3
    assert groundedness("", passage).status == "not_applicable"


def test_refusal_matrix():
    """Answering what has no answer is wrong however it reads; an error is not a refusal."""
    yes, no = Query(id="y", text="?"), Query(id="n", text="?", answerable=False)
    got = refusals([(yes, False, True), (yes, False, False), (yes, True, False), (no, True, False), (no, False, True), RuntimeError()])
    assert (got.answered_right, got.answered_wrong, got.refused_right, got.refused_wrong, got.errors) == (1, 2, 1, 1, 1)
    assert got.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_groundedness_agrees_with_people(data):
    """BEGIN's human labels, a slice of its test part: attributable answers score higher."""
    rows = [json.loads(line) for line in (data / "begin-wow/begin_test_wow.jsonl").read_text("utf-8").splitlines()[:400]]
    by_label: dict[bool, list[float]] = {True: [], False: []}
    for row in rows:
        value = groundedness(row["response"], [row["context"]]).value
        by_label[row["label"] == "Fully attributable"].append(0.0 if value is None else value)
    wins = [(a > b) + 0.5 * (a == b) for a in by_label[True] for b in by_label[False]]
    assert sum(wins) / len(wins) > 0.9
