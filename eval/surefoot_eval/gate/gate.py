"""The gate: did a change make it worse? pass, fail or inconclusive, with what this many questions could have seen at all.

fail          significantly worse (signs of clusters, Holm over the metrics) and not shown to be within the margin
pass          the one-sided lower bound of the difference lies above -margin
inconclusive  neither: more questions are needed, and how many is said

A fixed threshold on the difference alarms in a third of the runs in which nothing changed; this one in at most `alpha`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import Fingerprint
from surefoot_eval.score.scores import Column, score
from surefoot_eval.score.stats import Paired, holm, lower_bound, paired, smallest_effect

__all__ = ["ALPHA", "MARGIN", "MetricVerdict", "Power", "check_same", "exact_mcnemar", "gate", "simulate", "verdict"]

ALPHA = 0.05
MARGIN = 0.03  # a drop smaller than this may pass; about what 300 questions can see

Verdict = Literal["pass", "fail", "inconclusive"]


class MetricVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One metric's verdict. `smallest` is the minimal detectable effect, `needed` the questions that would settle it (None: settled)."""

    metric: str
    verdict: Verdict
    reason: str
    paired: Paired | None = None
    p_holm: float | None = None
    smallest: float | None = None
    needed: int | None = None

    def __str__(self) -> str:
        """One line for a log."""
        return f"{self.metric}: {self.verdict}, {self.reason}" + (f"; {self.paired}" if self.paired else "")


def check_same(baseline: Fingerprint, candidate: Fingerprint) -> None:
    """Refuse a comparison over different data: raises Misconfigured naming what differs."""
    apart = [name for name in Fingerprint.__struct_fields__ if getattr(baseline, name) != getattr(candidate, name)]
    if apart:
        said = ", ".join(f"{name} {getattr(baseline, name)} and {getattr(candidate, name)}" for name in apart)
        raise Misconfigured(f"the two runs measured different data ({said}); make a new baseline of the data at hand")


def gate(
    baseline: Mapping[str, Column],
    candidate: Mapping[str, Column],
    clusters: Mapping[str, str],
    *,
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> list[MetricVerdict]:
    """Judge every metric of `baseline`, and its coverage where anything failed, so that errors cannot hide a drop."""
    pairs: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    for name, column in baseline.items():
        if name not in candidate:
            raise Misconfigured(f"the candidate has no {name}; the baseline has")
        pairs[name] = (column.values, candidate[name].values)
        if column.errors or candidate[name].errors:
            pairs[f"coverage({name})"] = (_measured(column), _measured(candidate[name]))
    compared = {name: paired(*both, clusters) for name, both in pairs.items()}
    adjusted = holm({name: one.p_worse for name, one in compared.items() if one is not None})
    return [_judge(name, pairs[name], one, adjusted, clusters, margin, alpha) for name, one in compared.items()]


def verdict(p_worse: float, lower: float, *, margin: float = MARGIN, alpha: float = ALPHA) -> Verdict:
    """Put p and bound together; see the module."""
    if lower > -margin:
        return "pass"
    return "fail" if p_worse < alpha else "inconclusive"


def _judge(
    name: str,
    pair: tuple[dict[str, float], dict[str, float]],
    one: Paired | None,
    adjusted: Mapping[str, float],
    clusters: Mapping[str, str],
    margin: float,
    alpha: float,
) -> MetricVerdict:
    if one is None:
        return MetricVerdict(metric=name, verdict="inconclusive", reason="fewer than two documents with a value in both runs")
    first, second = pair
    differences = {key: second[key] - first[key] for key in first if key in second}
    lower, smallest = lower_bound(differences, clusters, alpha=alpha), smallest_effect(differences, clusters, alpha=alpha)
    found = verdict(adjusted[name], lower, margin=margin, alpha=alpha)
    needed = math.ceil(one.questions * (smallest / margin) ** 2) if found == "inconclusive" else None
    reason = {
        "pass": f"not worse than by {max(0.0, -lower):.4f} (margin {margin})",
        "fail": f"worse, p={adjusted[name]:.4f} over all metrics",
        "inconclusive": f"{one.questions} questions see a drop of {smallest:.4f}; about {needed} are needed for {margin}",
    }[found]
    return MetricVerdict(metric=name, verdict=found, reason=reason, paired=one, p_holm=adjusted[name], smallest=smallest, needed=needed)


def _measured(column: Column) -> dict[str, float]:
    return {key: float(one.status == "value") for key, one in column.scores.items() if one.status != "not_applicable"}


def exact_mcnemar(wins: int, losses: int) -> float:
    """One-sided p of at least so many losses among the changed verdicts: the textbook's sum, a check on `sign_flip`."""
    n = wins + losses
    return float(sum(math.comb(n, k) for k in range(losses, n + 1)) / 2**n)


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of simulated runs: the gate's three verdicts, and alarms of the textbook test on the answers of the first seed."""

    n: int
    seeds: int
    flip: float
    drop: float
    failed: float
    passed: float
    inconclusive: float
    exact: float


def simulate(
    n: int, *, flip: float, drop: float, runs: int, seed: int, accuracy: float = 0.8, margin: float = MARGIN, seeds: int = 1
) -> Power:
    """Judge `runs` pairs of runs of `n` questions, each asked under so many `seeds`.

    `flip` is the share of verdicts that luck turns, anew under each seed; `drop` the true loss of accuracy. One flip in 20 puts a limit on
    any test of single answers: of 300 questions some 40 then change, a drop of 5 points moves 13 of them one way, which is two standard
    deviations. Only more questions or more answers of each tell more.
    """
    clusters = {f"{at}#{one}": str(at) for at in range(n) for one in range(seeds)}
    draw = np.random.default_rng(seed)
    counts = {"pass": 0, "fail": 0, "inconclusive": 0}
    exact = 0
    for _ in range(runs):
        first = draw.random(n) < accuracy
        second = first & ~(draw.random(n) < drop / accuracy)
        after, before = (one[:, None] ^ (draw.random((n, seeds)) < flip) for one in (second, first))
        columns = [
            Column("right", dict(zip(clusters, (score(float(value)) for value in one.flat), strict=True))) for one in (before, after)
        ]
        counts[gate({"right": columns[0]}, {"right": columns[1]}, clusters, margin=margin)[0].verdict] += 1
        first, second = before[:, 0], after[:, 0]
        exact += exact_mcnemar(int((second & ~first).sum()), int((first & ~second).sum())) < ALPHA
    return Power(
        n=n,
        seeds=seeds,
        flip=flip,
        drop=drop,
        failed=counts["fail"] / runs,
        passed=counts["pass"] / runs,
        inconclusive=counts["inconclusive"] / runs,
        exact=exact / runs,
    )
