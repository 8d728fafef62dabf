"""The first page: how it goes and what it costs, over the last day."""

from __future__ import annotations

from surefoot.gateway.page.charts import Bar, columns
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
    together,
)
from surefoot.gateway.records import WholeAnswer
from surefoot.usage.rows.rollups import RollupsWanted

FINE = ("ok", "refused", "left")  # a refusal is the client's, and who left did not fail


async def overview(page: PageRequest) -> WholeAnswer:
    """Requests, success, latency, money and errors."""
    counts = await call_counts(page, "request", "attempt", hours=DAY_HOURS)
    first = this_hour() - DAY_HOURS + 1
    sums = await ledger_sums(page, RollupsWanted("hour", ("all",), hour_name(first)))
    by_hour, money = durations(counts["request"], "hour"), sums_by(sums["all"], "bucket")
    money_of, time_of, say = page.formats.money, page.formats.duration, page.say
    requests, cost, latency = [], [], []
    for hour in range(first, first + DAY_HOURS):
        one, spent = by_hour.get(hour, no_durations()), money.get(hour_name(hour), Sums())
        failed, refused = one.failed(*FINE), one.results["refused"]
        at = hour_name(hour)[11:] + ":00"
        fine = one.number - failed - refused
        said = say("{at}: {ok} fine, {refused} refused, {failed} failed", at=at, ok=fine, refused=refused, failed=failed)
        requests.append(Bar((("bad", failed), ("warn", refused), ("good", fine)), said))
        cost.append(Bar((("cost", spent.cost_nano),), f"{at}: {money_of(spent.cost_nano)}"))
        latency.append(Bar((("time", one.p95 or 0.0),), f"{at}: {time_of(one.p95)}"))
    whole, total = together(by_hour.values()), Sums()
    for row in sums["all"]:
        total.add(row)
    attempts = durations(counts["attempt"], "name")
    found = ((str(name), error, number) for name, one in attempts.items() for error, number in one.errors())
    errors = sorted(found, key=lambda one: -one[2])
    return page.html(
        "overview.html",
        whole=whole, failed=whole.failed(*FINE), total=total, errors=errors[:12],
        models=sorted(durations(counts["request"], "name").items(), key=lambda one: -one[1].number), fine=FINE,
        charts=[
            (say(title), columns(bars, say(title)), shown(max(sum(value for _, value in bar.parts) for bar in bars)))
            for title, bars, shown in (
                ("Requests per hour", requests, page.formats.short), ("Cost per hour", cost, money_of),
                ("Latency p95", latency, time_of),
            )
        ],
        first=hour_name(first)[11:] + ":00", last=hour_name(first + DAY_HOURS - 1)[11:] + ":00",
        admission=page.services.admission, open_breakers=page.services.calls.open_breakers if page.services.calls is not None else {},
    )  # fmt: skip
