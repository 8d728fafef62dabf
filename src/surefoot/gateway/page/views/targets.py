"""Models and their targets: how each stands now, and what the last day says of it."""

from __future__ import annotations

from surefoot.gateway.page.frame import PageRequest
from surefoot.gateway.page.views.figures import (
    DAY_HOURS,
    Sums,
    call_counts,
    durations,
    hour_name,
    ledger_sums,
    no_durations,
    sums_by,
    this_hour,
)
from surefoot.gateway.records import WholeAnswer
from surefoot.usage.rows.rollups import RollupsWanted


async def targets(page: PageRequest) -> WholeAnswer:
    """A table for each model, its targets in order of preference."""
    counts = await call_counts(page, "attempt", hours=DAY_HOURS, together=True)
    sums = await ledger_sums(page, RollupsWanted("hour", ("target",), hour_name(this_hour() - DAY_HOURS + 1)))
    attempts, money = durations(counts["attempt"], "name"), sums_by(sums["target"])
    models = []
    for (kind, name), model in page.services.built.items():
        states = {one.target: one for one in model.states()}
        lines = [(target, states.get(target), attempts.get(target, no_durations()), money.get(target, Sums())) for target in model.targets]
        models.append((kind, name, lines))
    return page.html("targets.html", models=models)
