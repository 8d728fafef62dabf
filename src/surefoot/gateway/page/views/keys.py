"""Keys and teams: made, rotated and revoked. A secret is shown once, in the answer to the form that made it."""

from __future__ import annotations

from typing import Any

from surefoot.gateway.errors import HttpError
from surefoot.gateway.keys.records import KeyRecord, TeamRecord, changed
from surefoot.gateway.keys.store import COLUMNS, KEYS, SqlKeys
from surefoot.gateway.page.frame import PageRequest
from surefoot.gateway.page.views.figures import ledger_sums, now, sums_by
from surefoot.gateway.records import Allowance, WholeAnswer
from surefoot.storage.sql import Sql
from surefoot.usage.rows.rollups import RollupsWanted

ON_A_PAGE = 100
DAY_S = 86_400.0


async def keys(page: PageRequest) -> WholeAnswer:
    """All keys, the newest first, and what they spent this month."""
    return await _shown(page)


async def make(page: PageRequest) -> WholeAnswer:
    """A new key."""
    form = page.form
    days = _number(page, "expires_days")
    record, secret = await page.keys.create(
        name=form.get("name", "").strip(), team=form.get("team", "").strip(), allowance=_allowance(page),
        expires=now() + days * DAY_S if days else None,
    )  # fmt: skip
    return await _shown(page, record=record, secret=secret)


async def rotate(page: PageRequest) -> WholeAnswer:
    """A new secret for a key; the old one is good for an hour."""
    record, secret = await page.keys.rotate(page.exchange.names[0])
    page.sessions.forget()
    return await _shown(page, record=record, secret=secret)


async def revoke(page: PageRequest) -> WholeAnswer:
    """Good for nothing from now on."""
    await page.keys.revoke(page.exchange.names[0])
    page.sessions.forget()
    return page.to("/ui/keys")


async def set_team(page: PageRequest) -> WholeAnswer:
    """Make a team, or give one another allowance."""
    await page.keys.set_team(page.form.get("name", "").strip(), _allowance(page))
    return page.to("/ui/keys")


async def _shown(page: PageRequest, *, record: KeyRecord | None = None, secret: str = "") -> WholeAnswer:
    wanted = page.query.get("q", "").strip()
    found, teams = await page.keys.database.run(lambda sql: _listed(sql, wanted), KEYS, reads=True)
    month = page.formats.day(now())[:7]
    sums = await ledger_sums(page, RollupsWanted("month", ("key",), month, month, most=10_000))
    models = sorted({name for _, name in page.services.built})
    return page.html(
        "keys.html", keys=found, teams=teams, spent=sums_by(sums["key"]), made=record, secret=secret, wanted=wanted, models=models,
        most=ON_A_PAGE, now=now(),
    )  # fmt: skip


def _listed(sql: Sql, wanted: str) -> tuple[list[KeyRecord], list[TeamRecord]]:
    """Keys by name, id or prefix, and all teams: one statement."""
    like = f"%{wanted.lower()}%"
    rows = sql.rows(
        f"SELECT * FROM (SELECT {COLUMNS} FROM sf_key WHERE lower(name) LIKE ? OR id LIKE ? OR lower(prefix) LIKE ? "  # noqa: S608
        "ORDER BY revoked IS NOT NULL, created DESC LIMIT ?) AS found "
        "UNION ALL SELECT '', '', '', name, 0, allowance, created, NULL, NULL FROM sf_team",
        (like, like, like, ON_A_PAGE),
    )
    keys = [SqlKeys.record(row) for row in rows if row[0]]
    teams = [TeamRecord(name=one.team, allowance=one.allowance, created=one.created) for one in map(SqlKeys.record, rows) if not one.id]
    keys.sort(key=lambda one: (one.revoked is not None, -one.created))
    return keys, sorted(teams, key=lambda one: one.name)


def _allowance(page: PageRequest) -> Allowance:
    said: dict[str, Any] = {
        "budget_usd": _number(page, "budget_usd"),
        "requests_per_minute": _whole(page, "requests_per_minute"),
        "tokens_per_minute": _whole(page, "tokens_per_minute"),
        "period": page.form.get("period", "month"),
    }
    models = [one.strip() for one in page.form.get("models", "").split(",") if one.strip()]
    unknown = [one for one in models if one not in {name for _, name in page.services.built}]
    if unknown:
        raise HttpError(400, "invalid_request", page.say("There is no model {name}.", name=unknown[0][:100]))
    return changed(Allowance(), {**said, "models": models})


def _number(page: PageRequest, name: str) -> float | None:
    said = page.form.get(name, "").strip().replace(",", ".")
    try:
        found = float(said) if said else None
    except ValueError:
        found = -1.0
    if found is not None and not 0 <= found < 1e9:
        raise HttpError(400, "invalid_request", page.say("{name} is a number from 0 on, or empty for no limit.", name=name))
    return found


def _whole(page: PageRequest, name: str) -> int | None:
    found = _number(page, name)
    return None if found is None else round(found)
