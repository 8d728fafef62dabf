"""What holds on a bad day: every scenario of tests/torture at full size, by seed, in virtual time.

Each line is a scenario with its figures; a figure with a bound shows it, one without is only reported. With many seeds the value shown is
the one nearest to its bound. The same seed gives the same events: run it again to look at what went wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.torture.cuts import READERS, cut
from tests.torture.figures import Figure, Row, worst
from tests.torture.moments import PATHS, cancel_everywhere, clock, deadlines, hints, impatient, leave_anytime
from tests.torture.outage import herd, outage, quota, recovery
from tests.torture.pace import KINDS, capacity, overload, pace
from tests.torture.storm import catalogue, storm
from tests.torture.tails import outliers, soak, tail

SEEDS = 200


def many(scenario: Callable[[int], Row], seeds: int) -> Callable[[], Row]:
    """`scenario` over `seeds` seeds, in one row."""
    return lambda: worst([scenario(seed) for seed in range(max(1, seeds))])


def storms(seeds: int) -> Row:
    """`seeds` storms of 2,000 calls; success and attempts over all of them together."""
    rows = [storm(seed, log=False) for seed in range(seeds)]
    row = worst(rows)
    together = (
        Figure("success, all seeds together", sum(one["success"] for one in rows) / seeds, ">= 0.999"),
        Figure("attempts a call, together", sum(one["attempts a call"] for one in rows) / seeds, "<= 1.45"),
    )
    return Row(row.scenario, row.seed, row.figures + together)


def scenarios(seeds: int) -> Iterator[Callable[[], Row]]:
    """Every scenario, to be run in this order. The dear ones take fewer seeds."""
    few = max(1, seeds // 40)
    yield lambda: storms(seeds)
    yield lambda: storm(1, calls=100_000, log=False)
    yield many(catalogue, seeds // 10)
    for kind in ("rate_limited", "overloaded"):
        yield lambda kind=kind: storm(1, share=0.05, given=False, kinds=(kind,), width=50)  # type: ignore[misc]
    for per_s in (1, 10, 100):
        yield many(lambda seed, per_s=per_s: outage(seed, per_s=per_s), 1 if per_s == 100 else few)  # type: ignore[misc]
    yield lambda: outage(1, per_s=10, healthy_s=0.0)
    yield lambda: outage(1, per_s=100, drops=False)
    yield lambda: outage(1, per_s=10, targets=2)
    yield many(recovery, few)
    yield many(herd, few * 2)
    yield lambda: hints(1, cases=10_000)
    yield lambda: quota(1)
    yield lambda: deadlines(1, cases=10_000)
    for path in PATHS:
        for stream in (False, True):
            yield lambda path=path, stream=stream: worst(  # type: ignore[misc]
                [cancel_everywhere(path, stream=stream, twice=twice) for twice in (False, True)]
            )
    yield lambda: leave_anytime(stream=True, others=2)
    yield lambda: impatient(1, calls=10_000)
    for vendor in READERS:
        yield lambda vendor=vendor: cut(vendor)  # type: ignore[misc]
    for how in KINDS:
        yield lambda how=how: pace(1, how=how)  # type: ignore[misc]
    yield lambda: overload(1)
    yield many(capacity, few)
    yield many(tail, few)
    for bad in (1, 5):
        yield many(lambda seed, bad=bad: outliers(seed, bad=bad), few)  # type: ignore[misc]
    for leap_s, suspended in ((3600, False), (-3600, False), (3600, True)):
        yield lambda leap_s=leap_s, suspended=suspended: clock(1, leap_s=leap_s, suspended=suspended)  # type: ignore[misc]
    yield lambda: soak(1)


def run(*, rounds: int = SEEDS) -> dict[str, Any]:
    """Run every scenario; `rounds` is the number of seeds. The figures of each, and whether all bounds were kept."""
    from tqdm import tqdm

    rows = [scenario() for scenario in tqdm(list(scenarios(rounds)), unit="scenario")]
    return {
        "seeds": rounds,
        "kept": all(row.kept for row in rows),
        "rows": [
            {
                "scenario": row.scenario,
                "seed": row.seed,
                "log": row.log,
                "figures": [{"name": one.name, "value": one.value, "bound": one.bound, "kept": one.kept} for one in row.figures],
            }
            for row in rows
        ],
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| scenario | seed | log | figures (bound) |", "|---|---|---|---|"]
    for row in result["rows"]:
        figures = "; ".join(
            f"{one['name']} {one['value']:.6g}" + (f" ({one['bound']}{'' if one['kept'] else ': MISSED'})" if one["bound"] else "")
            for one in row["figures"]
        )
        lines.append(f"| {row['scenario']} | {row['seed']} | {row['log']} | {figures} |")
    return "\n".join([*lines, "", "all bounds kept" if result["kept"] else "a bound was MISSED"])
