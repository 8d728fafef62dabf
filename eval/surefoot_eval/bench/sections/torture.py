"""What holds on a bad day: every scenario of tests/torture at full size, by seed, in virtual time.

Each line is a scenario with its goals and what was measured; what has no goal is only reported, in brackets. With many seeds the value
shown is the one nearest to its bound. The same seed gives the same events: run it again to look at what went wrong.

A storm of 2,000 calls takes about 1.1 s of CPU, one of 100,000 about 70 s. `--seeds 5` (sizes a tenth) takes two to three minutes of CPU;
200 seeds some quarter of an hour, 2,000 well over an hour: give it the cores there are (`--jobs`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from typing import Any

import msgspec
from msgspec import Struct

from surefoot.testing.wire import RECORDINGS
from tests.torture.figures import FigureRow, markdown, together, worst
from tests.torture.scenarios.cuts import READERS, SHORT, cut
from tests.torture.scenarios.moments import PATHS, SURFACES, cancel_everywhere, clock, deadlines, hints, impatient, leave_anytime
from tests.torture.scenarios.outage import herd, outage, quota, recovery, told_to_wait
from tests.torture.scenarios.pace import KINDS, capacity, overload, pace, start
from tests.torture.scenarios.storm import catalogue, storm
from tests.torture.scenarios.tails import broken_streams, outliers, soak, tail

SEEDS = 200
FULL = 100_000  # calls of the large storms
QUICK = 10  # with fewer seeds than this, sizes are a tenth: a look in minutes instead of the whole proof


class Scenario(Struct):
    """The runs that make up one line of the table, and how they are put together."""

    runs: Sequence[Callable[[], FigureRow]]
    put: Callable[[list[FigureRow]], FigureRow] = worst


def many(scenario: Callable[..., FigureRow], seeds: int, **fields: Any) -> Scenario:
    """`scenario` for each of `seeds` seeds."""
    return Scenario([partial(scenario, seed, **fields) for seed in range(max(1, seeds))])


def once(scenario: Callable[..., FigureRow], *args: Any, **fields: Any) -> Scenario:
    """`scenario` once."""
    return Scenario([partial(scenario, *args, **fields)])


def paths_of(surface: str, rows: list[FigureRow]) -> FigureRow:
    """Every path, cancelled once and twice, in one line."""
    return msgspec.structs.replace(worst(rows), scenario=f"cancelled at every await of {len(PATHS)} paths, once and twice, {surface}")


def scenarios(seeds: int) -> Iterator[Scenario]:
    """Every scenario, in the order of the table. The dear ones take fewer seeds."""
    few = max(1, seeds // 40)
    size = 1.0 if seeds >= QUICK else 0.1
    yield Scenario(many(storm, seeds, log=False).runs, together)
    yield once(storm, 1, calls=int(FULL * size))
    yield once(storm, 1, calls=int(FULL * size), mixture="catalogue")
    yield many(catalogue, seeds // 10)
    for fault in ("rate_limited", "overloaded"):
        yield once(storm, 1, share=0.05, given=False, mixture=fault, width=50)
    yield many(outage, few, per_s=1)
    yield many(outage, few, per_s=10)
    yield once(outage, 0, per_s=100, dead_s=600.0 if size == 1.0 else 200.0)
    yield once(outage, 1, per_s=10, healthy_s=0.0)
    yield once(outage, 1, per_s=100, drops=False, dead_s=600.0 if size == 1.0 else 120.0)
    yield once(outage, 1, per_s=10, targets=2)
    yield many(recovery, few)
    yield many(herd, few * 2)
    yield once(hints, 1, cases=int(10_000 * size))
    for hint_s in (30.0, 121.0):
        yield once(told_to_wait, 1, hint_s=hint_s)
    yield once(quota, 1)
    yield once(deadlines, 1, cases=int(10_000 * size))
    for surface in SURFACES:
        runs = [partial(cancel_everywhere, path, surface=surface, twice=twice) for path in PATHS for twice in (False, True)]
        yield Scenario(runs, partial(paths_of, surface))
    yield once(leave_anytime, stream=True, others=2)
    yield once(impatient, 1, calls=int(10_000 * size))
    for vendor in READERS:
        yield once(cut, vendor, recordings=RECORDINGS if size == 1.0 else SHORT)
    for how in KINDS:
        yield once(pace, 1, how=how)
    yield once(start, 1)
    yield once(overload, 1)
    yield many(capacity, few)
    yield many(tail, few)
    for resume in (False, True):
        yield many(broken_streams, few, resume=resume)
    for bad in (1, 5):
        yield many(outliers, few, bad=bad)
    for leap_s, suspended in ((3600, False), (-3600, False), (3600, True)):
        yield once(clock, 1, leap_s=leap_s, suspended=suspended)
    yield once(soak, 1, per_s=5.0 if size == 1.0 else 2.0)


def _run(run: Callable[[], FigureRow]) -> FigureRow:
    return run()


def _seen(bar: Any, row: FigureRow) -> FigureRow:
    bar.update()
    return row


def run(*, rounds: int = SEEDS, jobs: int = 1) -> dict[str, Any]:
    """Run every scenario; `rounds` is the number of seeds, `jobs` the processes. The figures of each, and whether all goals were met."""
    from tqdm import tqdm

    every = list(scenarios(rounds))
    runs = [one for scenario in every for one in scenario.runs]
    rows: list[FigureRow] = []
    with ExitStack() as stack, tqdm(total=len(runs), unit="run") as bar:
        pool = stack.enter_context(ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))) if jobs > 1 else None
        done = map(_run, runs) if pool is None else pool.map(_run, runs)
        for scenario in every:
            rows.append(scenario.put([_seen(bar, next(done)) for _ in scenario.runs]))
            bar.write(str(rows[-1]), file=sys.stderr)  # what was measured stays measured if the rest is stopped
    return {
        "seeds": rounds,
        "kept": all(row.kept for row in rows),
        "rows": [msgspec.to_builtins(row) | {"kept": row.kept} for row in rows],
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    return markdown(msgspec.convert(result["rows"], list[FigureRow]))
