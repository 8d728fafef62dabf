"""Intervals and tests against values that can be worked out otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from surefoot_eval.gate.gate import exact_mcnemar
from surefoot_eval.score.stats import bootstrap, holm, lower_bound, paired, sign_flip


def test_bootstrap_agrees_with_the_normal_interval():
    """400 coin-like values: mean +- 1.96 standard errors, within a tenth."""
    values = {str(n): float(n % 5 < 4) for n in range(400)}
    got = bootstrap(values, {})
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert (got.high - got.low) / 2 == pytest.approx(half, rel=0.1)


def test_questions_of_one_document_are_not_independent():
    """Five equal questions a document carry one document's knowledge: the interval is sqrt(5) wider."""
    draw = np.random.default_rng(3)
    verdicts = draw.random(80) < 0.7
    values = {f"{d}-{q}": float(verdicts[d]) for d in range(80) for q in range(5)}
    alone = bootstrap(values, {})
    kept = bootstrap(values, {key: key.split("-")[0] for key in values})
    assert (kept.high - kept.low) / (alone.high - alone.low) == pytest.approx(5**0.5, rel=0.15)


def test_one_document_says_nothing():
    """A spread over one cluster cannot be known."""
    assert bootstrap({"a": 1.0, "b": 0.0}, {"a": "d", "b": "d"}) is None


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
