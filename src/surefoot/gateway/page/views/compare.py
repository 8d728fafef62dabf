"""Providers side by side: how quick, how dear, how often they failed, and why."""

from __future__ import annotations

from collections.abc import Callable

from surefoot.gateway.page.frame import PageRequest
from surefoot.gateway.page.views.figures import (
    ResultCounts,
    Sums,
    call_counts,
    chosen_hours,
    durations,
    hour_name,
    ledger_sums,
    no_durations,
    this_hour,
    together,
)
from surefoot.gateway.records import WholeAnswer
from surefoot.usage.rows.rollups import Rollup, RollupsWanted

Line = tuple[str, ResultCounts, Sums]
FINE = ("", "CancelledError")  # a hedge that lost, or a client that left, is no failure of the provider


async def compare(page: PageRequest) -> WholeAnswer:
    """By provider, and below by target."""
    hours = chosen_hours(page)
    counts = await call_counts(page, "attempt", hours=hours, together=True)
    sums = await ledger_sums(page, RollupsWanted("hour", ("target",), hour_name(this_hour() - hours + 1)))
    attempts = {str(name): one for name, one in durations(counts["attempt"], "name").items()}
    groups = [
        (page.say("Providers"), _lines(attempts, sums["target"], lambda target: target.partition(":")[0])),
        (page.say("Targets"), _lines(attempts, sums["target"], str)),
    ]
    return page.html("compare.html", groups=groups, hours=hours, fine=FINE)


def _lines(attempts: dict[str, ResultCounts], rows: list[Rollup], of: Callable[[str], str]) -> list[Line]:
    took: dict[str, list[ResultCounts]] = {}
    spent: dict[str, Sums] = {}
    for target, one in attempts.items():
        took.setdefault(of(target), []).append(one)
    for row in rows:
        spent.setdefault(of(row.name), Sums()).add(row)
    names = sorted(took.keys() | spent.keys())
    found = [(name, together(took.get(name, [no_durations()])), spent.get(name, Sums())) for name in names]
    return sorted(found, key=lambda line: -line[1].number)
