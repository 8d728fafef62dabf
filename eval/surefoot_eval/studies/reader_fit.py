"""Learning the extractive reader's weights: a ranking of sentences and a decision to answer, both linear.

Newton's method on convex losses from a fixed start, coefficients rounded at the end, so the same data give the same weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

RANK_RIDGE = 60.0  # between 20 and 100 the figures differ by less than their error
ANSWER_RIDGE = 5.0
# More of any of these speaks for an answer (+1) or against it (-1); a coefficient that comes out the other way, by correlation with
# others, would mislead on other collections and is left out. Features not named may have either sign.
SIGNS = {
    **dict.fromkeys(("likeness", "passage", "pairs", "whole", "long_start", "best_terms", "passage_terms", "all_terms"), 1),
    **dict.fromkeys(("plain_hits", "expected", "counted", "certainty", "score", "top", "own", "lead"), 1),
    **dict.fromkeys(("names_missing", "names_apart", "missing", "numbers_missing"), -1),
}


class Ranking(NamedTuple):
    """Coefficients by language and feature, and the optimum they were read from, a start for fits on nearly the same data."""

    weights: dict[str, dict[str, float]]
    optimum: Array


class Choice(NamedTuple):
    """A question's sentences, one row each in `features`, and which of them hold the answer."""

    language: str
    features: Array
    right: Array


def fit_rank(
    names: Sequence[str], choices: Iterable[Choice], languages: Sequence[str], scale: Array, *, start: Array | None = None
) -> Ranking:
    """Conditional logit over each question's sentences: coefficients per language, drawn towards those all languages share.

    Each language's are the shared ones plus a difference; both are penalised alike. Features are divided by
    `scale` so that the penalty treats them alike. The loss is convex: `start` saves time only.
    """
    usable = [choice for choice in choices if choice.right.any()]
    blocks = []
    for choice in usable:
        scaled = choice.features / scale
        blocks.append(np.concatenate([scaled, *(scaled if one == choice.language else np.zeros_like(scaled) for one in languages)], axis=1))
    design = np.concatenate(blocks)
    sizes = [len(choice.right) for choice in usable]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    group = np.repeat(np.arange(len(usable)), sizes)
    right = np.concatenate([choice.right / choice.right.sum() for choice in usable])

    def loss(at: Array) -> tuple[float, Array]:
        scores = design @ at
        scores -= np.maximum.reduceat(scores, starts)[group]
        raised = np.exp(scores)
        totals = np.add.reduceat(raised, starts)
        value = float((right * (np.log(totals)[group] - scores)).sum() + RANK_RIDGE / 2 * at @ at)
        return value, raised / totals[group]

    found = np.zeros(design.shape[1]) if start is None else start
    for _ in range(25):
        value, chance = loss(found)
        gradient = design.T @ (chance - right) + RANK_RIDGE * found
        weighted = design * chance[:, None]
        means = np.add.reduceat(weighted, starts, axis=0)
        step = np.linalg.solve(weighted.T @ design - means.T @ means + RANK_RIDGE * np.eye(len(found)), gradient)
        size = 1.0
        while loss(found - size * step)[0] > value and size > 1e-4:
            size /= 2
        found = found - size * step
        if np.abs(step).max() < 1e-6:
            break
    width = len(names)
    shared, parts = found[:width], {one: found[width * (at + 1) : width * (at + 2)] for at, one in enumerate(languages)}
    return Ranking({one: _named(names, (shared + part) / scale) for one, part in parts.items()}, found)


def scale_of(choices: Iterable[Choice]) -> Array:
    """The standard deviation of each feature, 1 where it never changes."""
    spread = np.asarray(np.concatenate([choice.features for choice in choices]).std(axis=0))
    spread[spread < 1e-9] = 1.0
    return spread


def fit_answer(rows: Sequence[Mapping[str, float]], answerable: Array, importance: Array) -> dict[str, float]:
    """Logistic regression with the signs of SIGNS: coefficients and `bias`."""
    names = list(rows[0])
    table = np.array([[row[name] for name in names] for row in rows])
    while True:
        centre, spread = table.mean(axis=0), table.std(axis=0)
        spread[spread < 1e-9] = 1.0
        found = _logistic((table - centre) / spread, answerable, importance)
        against = {name: found[at] * SIGNS[name] for at, name in enumerate(names) if name in SIGNS and found[at] * SIGNS[name] < 0.02}
        if not against:
            break
        at = names.index(min(against, key=lambda name: (against[name], name)))
        table = np.delete(table, at, axis=1)
        del names[at]
    slopes = found[:-1] / spread
    return {"bias": round(float(found[-1] - slopes @ centre), 4), **_named(names, slopes)}


def _logistic(table: Array, answerable: Array, importance: Array) -> Array:
    design = np.c_[table, np.ones(len(table))]
    penalty = np.full(design.shape[1], ANSWER_RIDGE)
    penalty[-1] = 1e-6
    found = np.zeros(design.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-design @ found))
        gradient = design.T @ (importance * (chance - answerable)) + penalty * found
        curvature = (design * (importance * chance * (1 - chance))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        found = found - step
        if np.abs(step).max() < 1e-8:
            break
    return found


def _named(names: Sequence[str], values: Array) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}
