"""Intervals and paired tests over questions that come in clusters: several of one document are not independent.

Sources: Wilson, 1927 (shares near 0 and 1), with the effective sample size of Korn and Graubard, 1998 (clusters); Fisher, 1935
(randomization by sign); McNemar, 1947; Holm, 1979; Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial
proportions based on paired data", 2012.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

__all__ = [
    "Interval", "Paired", "difference_interval", "holm", "lower_bound", "mean_interval",
    "paired", "sign_flip", "smallest_effect", "standard_error",
]  # fmt: skip

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

DRAWS = 20_000  # random signs where counting all is out of reach: a p of .05 is then known to .0015
STEPS = 20_000  # exact counting goes up to this many units of the smallest difference


class Interval(msgspec.Struct, frozen=True):
    """A confidence interval, `level` of it two-sided."""

    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        """In square brackets."""
        return f"[{self.low:.4f}, {self.high:.4f}]"


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """The second run less the first, over the questions both have a value for.

    `p_worse` and `p_better` are one-sided, `p` two-sided, all by signs of whole clusters: exact McNemar for verdicts of single questions.
    """

    questions: int
    clusters: int
    first: float
    second: float
    difference: float
    interval: Interval
    p_worse: float
    p_better: float
    p: float
    wins: int
    ties: int
    losses: int

    def __str__(self) -> str:
        """One line; without a p, since that depends on what else is tested: see `holm`."""
        return f"{self.difference:+.4f} {self.interval}, {self.wins} wins {self.ties} ties {self.losses} losses"


def mean_interval(values: Mapping[str, float], clusters: Mapping[str, str], *, level: float = 0.95) -> Interval | None:
    """Interval of the mean of `values` between 0 and 1: Wilson's, with as many questions as the clusters' spread is worth, and t.

    It holds near 0 and 1, where resampling and normal intervals are too short, and for few clusters. Where all values are alike, nothing
    is known of the spread within clusters, and each cluster counts as one question. A question without a cluster is its own.
    None for fewer than two clusters: nothing can be said.
    """
    sums, counts = _grouped(values, clusters)
    if len(sums) < 2:
        return None
    mean = min(1.0, max(0.0, float(sums.sum() / counts.sum())))
    error, spread = _standard_error(sums, counts), mean * (1 - mean)
    effective = max(1.0, spread / error**2) if error > 0 and spread > 0 else float(len(sums))
    extra = quantile((1 + level) / 2, len(sums) - 1) ** 2 / effective
    middle = (mean + extra / 2) / (1 + extra)
    half = math.sqrt(extra * (spread + extra / 4)) / (1 + extra)
    return Interval(max(0.0, middle - half), min(1.0, middle + half), level)


def difference_interval(differences: Mapping[str, float], clusters: Mapping[str, str], *, level: float = 0.95) -> Interval | None:
    """Interval of the mean difference of two runs on metrics between 0 and 1 (Bonett and Price, with t); None as in `mean_interval`."""
    sums, counts = _grouped(differences, clusters)
    if len(sums) < 2:
        return None
    middle = float(sums.sum() / (counts.sum() + 2))
    half = quantile((1 + level) / 2, len(sums) - 1) * standard_error(sums, counts)
    return Interval(middle - half, middle + half, level)


def quantile(share: float, degrees: float) -> float:
    """Of Student's t: as many degrees of freedom as there are clusters, less one."""
    from scipy.special import stdtrit

    return float(stdtrit(max(1.0, degrees), share))


def paired(first: Mapping[str, float], second: Mapping[str, float], clusters: Mapping[str, str], *, seed: int = 0) -> Paired | None:
    """Compare two runs question by question; None where they share fewer than two clusters."""
    shared = [key for key in first if key in second]
    differences = {key: second[key] - first[key] for key in shared}
    interval = difference_interval(differences, clusters)
    if interval is None:
        return None
    sums, _ = _grouped(differences, clusters)
    worse, better = sign_flip(sums, seed=seed)
    found = np.array(list(differences.values()))
    return Paired(
        questions=len(shared),
        clusters=len(sums),
        first=sum(first[key] for key in shared) / len(shared),
        second=sum(second[key] for key in shared) / len(shared),
        difference=float(found.mean()),
        interval=interval,
        p_worse=worse,
        p_better=better,
        p=min(1.0, 2 * min(worse, better)),
        wins=int((found > 0).sum()),
        ties=int((found == 0).sum()),
        losses=int((found < 0).sum()),
    )


def sign_flip(sums: Array, *, seed: int = 0) -> tuple[float, float]:
    """One-sided p that the clusters' differences are at least so far below zero, and above it, if their signs were chance.

    Exact where the differences are whole multiples of the smallest (verdicts are); otherwise by random signs, counting the observed
    ones among them, so that p is never 0.
    """
    moved = np.abs(sums[np.abs(sums) > 1e-12])
    if not len(moved):
        return 1.0, 1.0
    total = float(sums.sum())
    steps = moved / moved.min()
    whole = np.rint(steps).astype(int)
    if np.allclose(steps, whole, atol=1e-9) and whole.sum() <= STEPS:
        chance = np.ones(1)  # of each total, from the lowest, as signs are added one by one
        for step in whole:
            wider = np.zeros(len(chance) + 2 * step)
            wider[: len(chance)] += 0.5 * chance
            wider[2 * step :] += 0.5 * chance
            chance = wider
        at = round(total / moved.min()) + int(whole.sum())
        return min(1.0, float(chance[: at + 1].sum())), min(1.0, float(chance[at:].sum()))
    draw = np.random.default_rng(seed)
    signs = draw.integers(0, 2, size=(DRAWS, len(moved)), dtype=np.int8) * 2 - 1
    totals = signs @ moved
    provider = 1e-9 * float(moved.sum())
    return (1 + int((totals <= total + provider).sum())) / (DRAWS + 1), (1 + int((totals >= total - provider).sum())) / (DRAWS + 1)


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p of several metrics so that one false alarm among them all stays as rare as for one."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, (key, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(ps) - rank)))
        adjusted[key] = highest
    return {key: adjusted[key] for key in ps}


def standard_error(sums: Array, counts: Array) -> float:
    """Of the mean difference, over clusters, with one cluster added that gained the whole scale and one that lost it.

    The two added (Bonett and Price) keep ten questions without a change from looking certain.
    """
    return _standard_error(np.append(sums, [1.0, -1.0]), np.append(counts, [1.0, 1.0]))


def _standard_error(sums: Array, counts: Array) -> float:
    residual = sums - counts * (sums.sum() / counts.sum())
    n = len(sums)
    return float(np.sqrt((residual**2).sum() * n / (n - 1)) / counts.sum())


def lower_bound(differences: Mapping[str, float], clusters: Mapping[str, str], *, alpha: float = 0.05) -> float:
    """One-sided lower confidence bound of the mean difference, for metrics between 0 and 1."""
    sums, counts = _grouped(differences, clusters)
    return float(sums.sum() / (counts.sum() + 2)) - quantile(1 - alpha, len(sums) - 1) * standard_error(sums, counts)


def smallest_effect(differences: Mapping[str, float], clusters: Mapping[str, str], *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true drop that a comparison of this size and spread catches with `power`: the minimal detectable effect."""
    sums, counts = _grouped(differences, clusters)
    return (quantile(1 - alpha, len(sums) - 1) + quantile(power, len(sums) - 1)) * standard_error(sums, counts)


def _grouped(values: Mapping[str, float], clusters: Mapping[str, str]) -> tuple[Array, Array]:
    """Sum and count of each cluster, ordered by name, so that the order of questions changes nothing."""
    table: dict[str, list[float]] = {}
    for key, value in values.items():
        table.setdefault(clusters.get(key, key), []).append(value)
    named: Sequence[str] = sorted(table)
    return np.array([sum(table[key]) for key in named], dtype=np.float64), np.array([len(table[key]) for key in named], dtype=np.float64)


POSITIVE = "Fully attributable"


def kappa(one: Any, other: Any) -> float:
    """Cohen's kappa of two boolean arrays: agreement beyond chance."""
    agreed = float((one == other).mean())
    chance = float(one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean()))
    return (agreed - chance) / (1 - chance) if chance < 1 else 1.0
