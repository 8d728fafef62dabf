"""The gate cries neither wolf nor all-clear."""

from __future__ import annotations

import pytest

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import Fingerprint
from surefoot_eval.gate.gate import check_same, gate, simulate
from surefoot_eval.score.scores import Column, failed, score


def verdicts(*values: float) -> dict[str, Column]:
    return {"right": Column("right", {str(at): score(value) for at, value in enumerate(values)})}


def test_a_clear_drop_fails():
    """60 of 300 lost, none won."""
    (got,) = gate(verdicts(*[1.0] * 300), verdicts(*[0.0] * 60, *[1.0] * 240), {})
    assert got.verdict == "fail"
    assert got.paired.losses == 60


def test_no_change_over_many_passes_and_over_few_is_inconclusive():
    """Twelve questions cannot vouch for three points, and it is said how many could."""
    (many,) = gate(verdicts(*[1.0] * 1000), verdicts(*[1.0] * 1000), {})
    (few,) = gate(verdicts(*[1.0] * 12), verdicts(*[1.0] * 12), {})
    assert (many.verdict, few.verdict) == ("pass", "inconclusive")
    assert few.needed > 12


def test_one_document_alone_is_inconclusive():
    """However many questions it has."""
    (got,) = gate(verdicts(*[1.0] * 50), verdicts(*[0.0] * 50), {str(at): "d" for at in range(50)})
    assert got.verdict == "inconclusive"


def test_errors_cannot_hide_a_drop():
    """The candidate breaks on what it would get wrong: the metric looks unharmed, its coverage fails."""
    before = {"right": Column("right", {str(at): score(at >= 40) for at in range(400)})}
    after = {"right": Column("right", {str(at): score(1.0) if at >= 40 else failed("broke") for at in range(400)})}
    right, coverage = gate(before, after, {})
    assert right.verdict != "fail"
    assert (coverage.metric, coverage.verdict) == ("coverage(right)", "fail")


def test_a_missing_metric_is_refused():
    """Dropping a metric is not passing it."""
    with pytest.raises(Misconfigured, match="right"):
        gate(verdicts(1.0), {}, {})


def test_other_data_is_refused():
    """Two corpora, two numbers, no comparison."""
    one = Fingerprint(documents=1, document_chars=2, queries=3, query_chars=4, judgements=5, sha256="a")
    other = Fingerprint(documents=1, document_chars=9, queries=3, query_chars=4, judgements=5, sha256="b")
    check_same(one, one)
    with pytest.raises(Misconfigured, match="document_chars 2 and 9"):
        check_same(one, other)


@pytest.mark.parametrize(("n", "flip"), [(50, 0.05), (300, 0.02), (300, 0.05)])
def test_no_change_alarms_in_at_most_one_run_of_twenty(n, flip):
    """1,000 simulated pairs of runs of the same thing; a fixed threshold alarms in a third of them."""
    assert simulate(n, flip=flip, drop=0.0, runs=1000, seed=11).failed <= 0.05


def test_three_answers_a_question_catch_five_points_where_one_cannot():
    """With one verdict in twenty turned by luck, n = 300: no test of single answers reaches .8; three seeds do, with no more alarms."""
    got = simulate(300, flip=0.05, drop=0.05, runs=200, seed=12, seeds=3)
    assert got.failed >= 0.8
    assert got.exact < 0.75
    assert simulate(300, flip=0.05, drop=0.0, runs=100, seed=12, seeds=3).failed <= 0.05


@pytest.mark.parametrize("flip", [0.02, 0.05])
def test_five_points_are_caught_as_often_as_by_the_exact_test(flip):
    """On the very same 500 simulated pairs, with n = 300."""
    got = simulate(300, flip=flip, drop=0.05, runs=500, seed=12)
    print(got)
    assert got.failed >= got.exact > 0.3
    assert got.passed < 0.05
