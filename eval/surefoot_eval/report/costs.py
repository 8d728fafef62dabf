"""What answers took: latency, tokens, money and attempts of each system, with intervals; and the Pareto front over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from surefoot_eval.data.records import Record
from surefoot_eval.run.results import Results
from surefoot_eval.score.stats import Interval

__all__ = ["CostPoint", "Taken", "pareto", "points", "taken"]

RESAMPLES = 2_000


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One system's costs.

    Latencies are of the questions that were answered (a quick failure is no quick answer; where all failed, of those), in seconds: of
    the model calls, or of the whole retrieval where no model was asked.

    `usd_per_1k` is dollars for a thousand questions, None where a price is unknown; `attempts` and `tokens` are per question.
    """

    asked: int
    failed: int
    replayed: int
    p50_s: float
    p50: Interval
    p95_s: float
    p95: Interval
    longest_s: float
    pipeline_p50_s: float
    usd_per_1k: float | None
    tokens: float
    attempts: float
    retries: int
    fallbacks: int
    hedges: int


class CostPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A system on the map of quality (a failed question counts 0), dollars a thousand questions, and p95 latency.

    `behind` names a system that is no worse in all three and better in one; "" on the front.
    """

    name: str
    quality: float
    usd_per_1k: float | None
    p95_s: float
    behind: str = ""


def seconds_of(record: Record) -> float:
    """The latency that counts: the model calls' own, or the retrieval's where no model was asked."""
    return record.cost.seconds if record.cost.calls else record.pipeline_s


def taken(records: Sequence[Record], system: str) -> Taken | None:
    """What the last record of each question says; None where nothing was asked."""
    own = list({record.key: record for record in records if record.system == system}.values())
    if not own:
        return None
    served = [record for record in own if not record.error] or own
    seconds = np.array([seconds_of(record) for record in served])
    known = [record.cost.usd for record in own if record.cost.usd is not None]
    return Taken(
        asked=len(own),
        failed=sum(bool(record.error) for record in own),
        replayed=sum(record.cost.replayed for record in own),
        p50_s=float(np.quantile(seconds, 0.5)),
        p50=_interval(seconds, 0.5),
        p95_s=float(np.quantile(seconds, 0.95)),
        p95=_interval(seconds, 0.95),
        longest_s=float(seconds.max()),
        pipeline_p50_s=float(np.median([record.pipeline_s for record in served])),
        usd_per_1k=sum(known) / len(own) * 1000 if len(known) == len(own) else None,
        tokens=sum(record.cost.input_tokens + record.cost.output_tokens for record in own) / len(own),
        attempts=sum(record.cost.attempts for record in own) / len(own),
        retries=sum(record.cost.retries for record in own),
        fallbacks=sum(record.cost.fallbacks for record in own),
        hedges=sum(record.cost.hedges for record in own),
    )


def points(results: Results, costs: Mapping[str, Taken]) -> list[CostPoint]:
    """Where each system stands; quality is the first gated metric. In a rehearsal each is the mean over its schedules."""
    metric = next((name for name in results.gated if name != "served"), results.metrics[0])
    table: dict[str, list[CostPoint]] = {}
    for name, system in results.systems.items():
        if name in costs:
            summary, cost = system.summaries[metric], costs[name]
            measured = summary.measured + summary.errors
            quality = (summary.mean or 0.0) * summary.measured / measured if measured else 0.0
            point = CostPoint(name=name, quality=quality, usd_per_1k=cost.usd_per_1k, p95_s=cost.p95_s)
            table.setdefault(name.partition(" / ")[0] if results.kind == "resilience" else name, []).append(point)
    return pareto([_mean(name, found) for name, found in table.items()])


def pareto(found: Sequence[CostPoint]) -> list[CostPoint]:
    """Mark those that another one is ahead of. An unknown price is compared with nothing: such a system is behind nobody."""
    return [msgspec.structs.replace(one, behind=next((it.name for it in found if it is not one and _ahead(it, one)), "")) for one in found]


def _ahead(one: CostPoint, other: CostPoint) -> bool:
    if one.usd_per_1k is None or other.usd_per_1k is None:
        return False
    first, second = (-one.quality, one.usd_per_1k, one.p95_s), (-other.quality, other.usd_per_1k, other.p95_s)
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))


def _mean(name: str, found: Sequence[CostPoint]) -> CostPoint:
    usd = [one.usd_per_1k for one in found if one.usd_per_1k is not None]
    return CostPoint(
        name=name,
        quality=sum(one.quality for one in found) / len(found),
        usd_per_1k=sum(usd) / len(usd) if len(usd) == len(found) else None,
        p95_s=sum(one.p95_s for one in found) / len(found),
    )


def _interval(seconds: Any, share: float) -> Interval:
    draw = np.random.default_rng(0)
    found = np.quantile(draw.choice(seconds, size=(RESAMPLES, len(seconds))), share, axis=1)
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(low), float(high))
