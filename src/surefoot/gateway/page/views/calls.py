"""Calls: the newest first, and each with its tree of attempts."""

from __future__ import annotations

from collections.abc import Collection

from surefoot.gateway.calls import CALLS
from surefoot.gateway.calls.reads import CallFilter, one_call, recent_calls
from surefoot.gateway.errors import HttpError
from surefoot.gateway.keys.store import KEYS
from surefoot.gateway.page.charts import spans
from surefoot.gateway.page.frame import PageRequest
from surefoot.gateway.records import WholeAnswer

ON_A_PAGE = 50
OUTCOMES = ("ok", "refused", "failed", "left")


async def calls(page: PageRequest) -> WholeAnswer:
    """Fifty at a time, of one model, key or outcome where it is chosen."""
    said = page.query
    outcome = said.get("outcome", "")
    wanted = CallFilter(said.get("model", ""), said.get("key", ""), outcome if outcome in OUTCOMES else "", _number(said.get("before", "")))
    found = await page.keys.database.run(lambda sql: recent_calls(sql, wanted, ON_A_PAGE + 1), CALLS, reads=True)
    shown = found[:ON_A_PAGE]
    names = await key_names(page, {one.key_id for one in shown} | ({wanted.key_id} - {""}))
    older = page.link(before=repr(shown[-1].at)) if len(found) > ON_A_PAGE else ""
    models = sorted({name for _, name in page.services.built})
    return page.html("calls.html", calls=shown, names=names, wanted=wanted, older=older, models=models, outcomes=OUTCOMES)


async def call(page: PageRequest) -> WholeAnswer:
    """One, with what each attempt waited, took and cost."""
    request = page.exchange.names[0]
    one = await page.keys.database.run(lambda sql: one_call(sql, request), CALLS, reads=True)
    if one is None:
        raise HttpError(404, "not_found", page.say("There is no call {request}, or it is older than [serve] calls_days.", request=request))
    attempts = one.attempts()
    end = max([one.ms, *(each.started_ms + each.ms for each in attempts)], default=1)
    lines = [
        (
            ("wait", each.started_ms - each.wait_ms, each.started_ms),
            (_colour(each.error), each.started_ms, each.started_ms + each.ms),
        )
        for each in attempts
    ]  # fmt: skip
    bars = spans(lines, page.say("When it was sent, and how long it took"), end)
    names = await key_names(page, {one.key_id})
    billed = sum(each.cost_nano or 0 for each in attempts)
    return page.html("call.html", one=one, attempts=list(zip(attempts, bars, strict=True)), end=end, names=names, billed=billed)


def _colour(error: str) -> str:
    return "good" if not error else "left" if error == "CancelledError" else "bad"


async def key_names(page: PageRequest, ids: Collection[str]) -> dict[str, str]:
    """What the keys are called, by id; one statement."""
    if not ids:
        return {}
    marks = ",".join("?" * len(ids))
    rows = await page.keys.database.run(
        lambda sql: sql.rows(f"SELECT id, name, prefix FROM sf_key WHERE id IN ({marks})", tuple(ids)), KEYS, reads=True  # noqa: S608
    )  # fmt: skip
    return {key_id: name or f"{prefix}…" for key_id, name, prefix in rows}


def _number(said: str) -> float:
    try:
        found = float(said)
    except ValueError:
        return 0.0
    return found if 0 < found < 1e12 else 0.0
