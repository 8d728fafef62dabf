"""Money: a month by day, team, key, model and target; what is to come, and what was saved."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta

from surefoot.gateway.page.charts import Bar, columns
from surefoot.gateway.page.frame import PageRequest
from surefoot.gateway.page.views.calls import key_names
from surefoot.gateway.page.views.figures import Sums, ledger_sums, now, sums_by
from surefoot.gateway.records import WholeAnswer
from surefoot.usage.rows.rollups import RollupsWanted

LINES = 25  # of a table; the dearest
LOOK_BACK = 7  # days whose mean is taken for those to come
BESIDE = ("retry", "fallback", "hedge", "resume")  # attempts beyond a call's first


async def money(page: PageRequest) -> WholeAnswer:
    """One month, this one if no other is chosen."""
    today = datetime.fromtimestamp(now(), UTC).date()
    month = page.query.get("month", "")
    if not re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", month):
        month = f"{today:%Y-%m}"
    begin = date.fromisoformat(f"{month}-01")
    length = calendar.monthrange(begin.year, begin.month)[1]
    since = min(begin, today - timedelta(days=LOOK_BACK)) if month == f"{today:%Y-%m}" else begin
    found = await ledger_sums(
        page,
        RollupsWanted("day", ("all",), since.isoformat(), f"{month}-31"),
        RollupsWanted("month", ("team", "key", "model", "target", "kind"), month, month, most=LINES),
    )
    days = sums_by(found["all"], "bucket")
    total, bars = Sums(), []
    for number in range(length):
        day = (begin + timedelta(days=number)).isoformat()
        one = days.get(day, Sums())
        for name in total.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(one, name))
        bars.append(Bar((("cost", one.cost_nano),), f"{day}: {page.formats.money(one.cost_nano)}"))
    kinds = sums_by(found["kind"])
    names = await key_names(page, [one.name for one in found["key"]])
    groups = [
        (page.say(title), [(label(one.name), one) for one in found[group]], max((one.cost_nano for one in found[group]), default=0))
        for group, title, label in (
            ("team", "Teams", lambda name: name or "–"),
            ("key", "Keys", lambda name: names.get(name, name)),
            ("model", "Models", lambda name: name or "–"),
            ("target", "Targets", str),
        )
    ]
    return page.html(
        "money.html",
        month=month, previous=f"{begin - timedelta(days=1):%Y-%m}",
        following=_following(begin, length, today), total=total,
        forecast=_forecast(days, total, begin, length, today), groups=groups,
        kinds=[(kind, kinds[kind]) for kind in BESIDE if kind in kinds],
        chart=columns(bars, page.say("Cost per day")), most=page.formats.money(max(bar.parts[0][1] for bar in bars)), length=length,
    )  # fmt: skip


def _following(begin: date, length: int, today: date) -> str:
    following = begin + timedelta(days=length)
    return f"{following:%Y-%m}" if following <= today else ""


def _forecast(days: dict[str, Sums], total: Sums, begin: date, length: int, today: date) -> int | None:
    """What the month comes to, if its other days cost what the last whole days did on average; None for one that is over."""
    end = begin + timedelta(days=length)
    if not begin <= today < end:
        return None
    whole = [(today - timedelta(days=back)).isoformat() for back in range(1, LOOK_BACK + 1)]
    first = min(days, default="9999")
    counted = [day for day in whole if day >= first]  # before the ledger's first day nothing was asked
    mean = sum(days[day].cost_nano for day in counted if day in days) / len(counted) if counted else 0.0
    spent_today = days.get(today.isoformat(), Sums()).cost_nano
    return round(total.cost_nano + max(0.0, mean - spent_today) + mean * ((end - today).days - 1))
