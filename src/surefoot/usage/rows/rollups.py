"""Sums by hour, day and month, kept with the rows and written in their transaction: what a page shows is read in milliseconds.

For each span there is one row a value of each group: all together, target, kind of attempt, and team, key and model where the calls' tags
say them. Money is whole billionths of a dollar, so that sums of sums are exact.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.rules.spending import NANO
from surefoot.usage.prices import FALLBACK_USD_PER_MTOK
from surefoot.usage.rows import COLUMNS, Cells

GROUPS = ("all", "target", "kind", "team", "key", "model")
SPANS = ("hour", "day", "month")
NUMBERS = ("attempts", "hits", "input", "output", "cost_nano", "saved_nano", "estimated", "unpriced")
MOST = 10**15  # of one row in one sum: what is beyond is no count, and thousands of such rows still fit into 64 bits
_AT = {name: number for number, name in enumerate(COLUMNS)}

SUMS_TABLE = (
    "CREATE TABLE IF NOT EXISTS usage_sum (span TEXT NOT NULL, grouped TEXT NOT NULL, bucket TEXT NOT NULL, name TEXT NOT NULL, "
    f"{', '.join(f'{one} INTEGER NOT NULL' for one in NUMBERS)}, PRIMARY KEY (span, grouped, bucket, name)) WITHOUT ROWID;"
)


class Rollup(Struct, Documented, frozen=True, kw_only=True):
    """The sums of one group's value over one hour, day or month."""

    grouped: str
    """One of "all", "target", "kind", "team", "key" and "model"."""
    bucket: str
    """The hour ("2026-11-30T23"), day or month in UTC."""
    name: str
    """The value; of "all" it is empty."""
    attempts: int
    """Wire attempts that were billed."""
    hits: int
    """Answers that came from the cache instead."""
    input: int
    """Tokens of the prompts, cache hits not included."""
    output: int
    """Tokens of the answers, cache hits not included."""
    cost_nano: int
    """Billionths of a dollar; what is unpriced is in it at FALLBACK_USD_PER_MTOK."""
    saved_nano: int
    """Billionths of a dollar that the cache hits would have cost."""
    estimated: int
    """Rows whose tokens we counted ourselves."""
    unpriced: int
    """Rows whose price nobody knows."""


class RollupsWanted(NamedTuple):
    """Which of them: `RollupsWanted("day", ("all",), "2026-11-01", "2026-11-30")`."""

    span: str
    groups: tuple[str, ...]
    since: str
    """The first bucket."""
    until: str = "9999"
    """The last one."""
    most: int = 1000
    """At most so many values a group and bucket, the dearest first."""


class _Tags(Struct):
    team: Any = None
    key: Any = None
    model: Any = None


_tags = msgspec.json.Decoder(_Tags)


def rollups(rows: Iterable[Cells]) -> list[Cells]:
    """What `rows` add to the sums, sorted: whoever writes at the same time takes the same order, so that nobody waits in a circle."""
    found: dict[tuple[int, str, str, Any, Any, Any], list[int]] = {}
    for row in rows:
        said = _tags.decode(row[_AT["tags"]])
        group = (int(row[0] // 3600), row[_AT["target"]], row[_AT["kind"]], said.team, said.key, said.model)
        _add(found.setdefault(group, [0] * len(NUMBERS)), _numbers(row))
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    for (hour, *names), numbers in found.items():
        for span, bucket in zip(SPANS, _buckets(hour), strict=True):
            for grouped, name in zip(GROUPS, ("", *names), strict=True):
                if isinstance(name, str):
                    _add(sums.setdefault((span, grouped, bucket, name), [0] * len(NUMBERS)), numbers)
    return [(*key, *sums[key]) for key in sorted(sums)]


def upsert(table: str) -> str:
    """The statement that adds one of `rollups` to the sums, for both dialects."""
    marks = ",".join("?" * (4 + len(NUMBERS)))
    added = ", ".join(f"{one} = {table}.{one} + excluded.{one}" for one in NUMBERS)
    return f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT (span, grouped, bucket, name) DO UPDATE SET {added}"  # noqa: S608 - names of ours


def rollup_query(wanted: Sequence[RollupsWanted], table: str) -> tuple[str, list[Any]]:
    """One statement for all that is wanted, and its values."""
    parts, values = [], []
    for one in wanted:
        marks = ",".join("?" * len(one.groups))
        parts.append(
            f"SELECT grouped, bucket, name, {', '.join(NUMBERS)}, row_number() OVER (PARTITION BY grouped, bucket "  # noqa: S608
            f"ORDER BY cost_nano DESC, name) AS place, ? AS most FROM {table} "
            f"WHERE span = ? AND grouped IN ({marks}) AND bucket >= ? AND bucket <= ?"
        )
        values += [one.most, one.span, *one.groups, one.since, one.until]
    statement = (
        f"SELECT grouped, bucket, name, {', '.join(NUMBERS)} FROM ({' UNION ALL '.join(parts)}) AS found "  # noqa: S608
        "WHERE place <= most ORDER BY grouped, bucket, cost_nano DESC, name"
    )
    return statement, values


def rollup_of(cells: Cells) -> Rollup:
    """A row of `rollup_query`."""
    return Rollup(**dict(zip(Rollup.__struct_fields__, (*cells[:3], *map(int, cells[3:])), strict=True)))


def _numbers(row: Cells) -> tuple[int, ...]:
    is_hit = row[_AT["kind"]] == "cache"
    tokens = (row[_AT["input"]], row[_AT["output"]])
    cost = row[_AT["cost_usd"]]
    usd = sum(count * price for count, price in zip(tokens, FALLBACK_USD_PER_MTOK, strict=True)) / 1e6 if cost is None else cost
    counts = (0, 1, 0, 0) if is_hit else (1, 0, *map(_held, tokens))
    return (*counts, _nano(usd), _nano(row[_AT["saved_usd"]]), row[_AT["estimated"]], int(cost is None))


def _held(count: int) -> int:
    return max(-MOST, min(MOST, count))


def _nano(usd: float) -> int:
    return _held(round(usd * NANO)) if math.isfinite(usd) else 0


def _add(to: list[int], numbers: Sequence[int]) -> None:
    for at, number in enumerate(numbers):
        to[at] += number


@lru_cache(maxsize=64)
def _buckets(hour: int) -> tuple[str, str, str]:
    """Hour, day and month of hour number `hour` since 1970."""
    said = time.strftime("%Y-%m-%dT%H", time.gmtime(hour * 3600))
    return said, said[:10], said[:7]
