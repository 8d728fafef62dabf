"""What is asked of the calls that were put down: each function is one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from surefoot.gateway.calls import COLUMNS, CallRow, call_of
from surefoot.storage.sql import Sql

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM sf_call"  # noqa: S608 - names of ours


class CallFilter(NamedTuple):
    """Which calls; what is empty is not asked for."""

    model: str = ""
    key_id: str = ""
    outcome: str = ""
    before: float = 0.0
    """Only those that ended before, in seconds since 1970; 0: from the newest on."""


class HourCount(NamedTuple):
    """How many had one result and duration in one hour."""

    hour: int
    name: str
    result: str
    bucket: int
    number: int


def recent_calls(sql: Sql, wanted: CallFilter, limit: int) -> list[CallRow]:
    """The newest calls first."""
    said = [(column, value) for column, value in (("model", wanted.model), ("key_id", wanted.key_id), ("outcome", wanted.outcome)) if value]
    where = [f"{column} = ?" for column, _ in said]
    values: list[Any] = [value for _, value in said]
    if wanted.before:
        where.append("at < ?")
        values.append(wanted.before)
    if wanted.outcome and wanted.outcome != "ok":
        where.append("outcome <> 'ok'")  # says to the database that its index of those serves
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    return [call_of(row) for row in sql.rows(f"{_SELECT}{condition} ORDER BY at DESC LIMIT ?", (*values, limit))]


def one_call(sql: Sql, request: str) -> CallRow | None:
    """The call of a request; None where there is none, or none any more."""
    row = sql.row(f"{_SELECT} WHERE request = ?", (request,))
    return None if row is None else call_of(row)


def counts_by_hour(sql: Sql, what: Sequence[str], since_hour: int, *, together: bool = False) -> dict[str, list[HourCount]]:
    """How many there were of each of `what`: "request", "first", "attempt". `together`: of all hours, whose `hour` is then 0."""
    marks = ",".join("?" * len(what))
    found: dict[str, list[HourCount]] = {one: [] for one in what}
    columns, end = ("0, name, result, bucket, sum(count)", " GROUP BY what, name, result, bucket") if together else (_COUNTED, "")
    rows = sql.rows(f"SELECT what, {columns} FROM sf_hour WHERE hour >= ? AND what IN ({marks}){end}", (since_hour, *what))  # noqa: S608
    for one, hour, name, result, bucket, number in rows:
        found[one].append(HourCount(hour, name, result, bucket, int(number)))
    return found


_COUNTED = "hour, name, result, bucket, count"
