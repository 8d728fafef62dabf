"""Intervals and tests against values that can be worked out otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from surefoot_eval.gate.gate import exact_mcnemar
from surefoot_eval.score.stats import difference_interval, holm, lower_bound, mean_interval, paired, sign_flip


def test_the_interval_agrees_with_the_normal_one_where_that_holds():
    """400 coin-like values: mean +- 1.96 standard errors, within a tenth."""
    values = {str(n): float(n % 5 < 4) for n in range(400)}
    got = mean_interval(values, {})
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert (got.high - got.low) / 2 == pytest.approx(half, rel=0.1)


def test_questions_of_one_document_are_not_independent():
    """Five equal questions a document carry one document's knowledge: the interval is sqrt(5) wider."""
    draw = np.random.default_rng(3)
    verdicts = draw.random(80) < 0.7
    values = {f"{d}-{q}": float(verdicts[d]) for d in range(80) for q in range(5)}
    alone = mean_interval(values, {})
    kept = mean_interval(values, {key: key.split("-")[0] for key in values})
    assert (kept.high - kept.low) / (alone.high - alone.low) == pytest.approx(5**0.5, rel=0.15)


def test_one_document_says_nothing():
    """A spread over one cluster cannot be known."""
    assert mean_interval({"a": 1.0, "b": 0.0}, {"a": "d", "b": "d"}) is None
    assert difference_interval({"a": 1.0, "b": 0.0}, {"a": "d", "b": "d"}) is None


def test_wilson_by_hand():
    """29 of 30 with t of 29 degrees: between .827 and .994; 30 of 30 is not certain."""
    got = mean_interval({str(n): float(n > 0) for n in range(30)}, {})
    assert (got.low, got.high) == (pytest.approx(0.825, abs=0.005), pytest.approx(0.994, abs=0.002))
    assert mean_interval({str(n): 1.0 for n in range(30)}, {}).low == pytest.approx(0.878, abs=0.003)


@pytest.mark.parametrize(
    ("clusters", "each", "share", "likeness"),
    [
        (30, 1, 0.95, 0.0),
        (74, 1, 0.97, 0.0),
        (300, 1, 0.8, 0.0),
        (4, 10, 0.8, 0.1),
        (4, 25, 0.9, 0.05),
        (4, 10, 0.5, 0.3),
        (20, 3, 0.95, 0.1),
    ],
)
def test_intervals_cover_near_one_and_with_four_documents(clusters, each, share, likeness):
    """At least .93 of 95 % intervals hold the truth; resampling whole clusters held it in .66 to .91 of them (.78 at n = 30)."""
    draw, hits, runs = np.random.default_rng(7), 0, 1000
    groups = {f"{c}-{q}": str(c) for c in range(clusters) for q in range(each)}
    for _ in range(runs):
        odds = (1 - likeness) / likeness if likeness else 0.0
        own = draw.beta(share * odds, (1 - share) * odds, clusters) if likeness else np.full(clusters, share)
        verdicts = draw.random((clusters, each)) < own[:, None]
        got = mean_interval({key: float(verdicts[tuple(map(int, key.split("-")))]) for key in groups}, groups)
        hits += got.low <= share <= got.high
    assert hits / runs >= 0.93


@pytest.mark.parametrize(
    ("clusters", "each", "loss", "win"), [(30, 1, 0.03, 0.03), (74, 1, 0.08, 0.03), (300, 1, 0.08, 0.03), (4, 10, 0.08, 0.03)]
)
def test_differences_are_covered_too(clusters, each, loss, win):
    """Verdicts that few questions change, by single questions and by four documents."""
    draw, hits, runs = np.random.default_rng(7), 0, 600
    groups = {f"{c}-{q}": str(c) for c in range(clusters) for q in range(each)}
    for _ in range(runs):
        at = draw.random(len(groups))
        changes = np.where(at < loss, -1.0, np.where(at < loss + win, 1.0, 0.0))
        got = difference_interval(dict(zip(groups, changes, strict=True)), groups)
        hits += got.low <= win - loss <= got.high
    assert hits / runs >= 0.93


@pytest.mark.parametrize(("wins", "losses"), [(0, 5), (3, 9), (12, 12), (0, 0), (40, 11)])
def test_signs_of_verdicts_are_the_exact_mcnemar_test(wins, losses):
    """Two ways to the same p."""
    worse, better = sign_flip(np.array([1.0] * wins + [-1.0] * losses + [0.0] * 7))
    assert worse == pytest.approx(exact_mcnemar(wins, losses))
    assert better == pytest.approx(exact_mcnemar(losses, wins))


def test_random_signs_come_near_the_exact_count():
    """Graded differences cannot be counted out; a thousandth's jitter hardly moves the p."""
    sums = np.array([1.0] * 8 + [-1.0] * 20)
    exact, _ = sign_flip(sums)
    drawn, _ = sign_flip(sums + np.linspace(0, 1e-4, len(sums)))
    assert drawn == pytest.approx(exact, abs=0.006)
    assert drawn > 0


def test_order_and_unshared_questions_change_nothing():
    """A run that finished in another order, or has a question more, is the same run."""
    one = {str(n): float(n % 3 > 0) for n in range(60)}
    other = {key: float(int(key) % 4 > 0) for key in one}
    backwards = dict(reversed(list(other.items()))) | {"extra": 1.0}
    clusters = {key: str(int(key) // 3) for key in one}
    assert paired(one, other, clusters) == paired(one, backwards, clusters)


def test_holm_by_hand():
    """.01 x 3, .02 x 2, .04 x 1, never falling."""
    assert holm({"a": 0.04, "b": 0.01, "c": 0.02}) == pytest.approx({"a": 0.04, "b": 0.03, "c": 0.04})


def test_ten_unchanged_questions_are_not_certain():
    """Nothing changed among ten: a true drop of a fifth is still possible; among a thousand it is not."""
    assert lower_bound({str(n): 0.0 for n in range(10)}, {}) < -0.15
    assert lower_bound({str(n): 0.0 for n in range(1000)}, {}) > -0.01
