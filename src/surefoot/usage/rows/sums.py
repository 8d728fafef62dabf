"""How rows are summed: one statement that SQLite and Postgres both read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from surefoot.errors import Misconfigured
from surefoot.usage.prices import FALLBACK_USD_PER_MTOK
from surefoot.usage.rows import Cells, UsageRow

COST = f"coalesce(cost_usd, (input * {FALLBACK_USD_PER_MTOK[0]} + output * {FALLBACK_USD_PER_MTOK[1]}) / 1e6)"
# What one tag's value is in each dialect, and what stands for its name there.
TAG = {"sqlite": ("coalesce(json_extract(tags, ?), '')", '$."{}"'), "postgresql": ("coalesce(tags::jsonb ->> ?, '')", "{}")}


class SumQuery(NamedTuple):
    """The statement, its values, and how many of its columns are the group's."""

    statement: str
    values: tuple[str, ...]
    width: int

    def rows(self, found: Iterable[Cells]) -> list[UsageRow]:
        """What the statement gave, by name."""
        fields, width = UsageRow.__struct_fields__[1:], self.width
        return [UsageRow(group=tuple(map(str, one[:width])), **dict(zip(fields, _numbers(one[width:]), strict=True))) for one in found]


def _numbers(cells: Cells) -> Cells:
    """Postgres sums whole numbers to decimals."""
    return tuple(cell if isinstance(cell, float) else int(cell) for cell in cells)


def sum_query(by: Sequence[str], since_day: str, *, table: str, dialect: str) -> SumQuery:
    """Sums grouped by "day", "target", "tenant" or "tag:NAME", in that order. Raises Misconfigured for another word."""
    keys, names = [], []
    for word in by:
        if word in {"day", "target", "tenant"}:
            keys.append(word)
        elif word.startswith("tag:"):
            value, name = TAG[dialect]
            keys.append(value)
            names.append(name.format(word[4:]))
        else:
            raise Misconfigured(f"usage by {word!r}: known are day, target, tenant and tag:NAME")
    places = ", ".join(str(n + 1) for n in range(max(1, len(keys))))
    statement = (
        f"SELECT {', '.join(keys) or chr(39) + 'total' + chr(39)}, count(*) FILTER (WHERE kind <> 'cache'), "  # noqa: S608 - words from above
        "count(*) FILTER (WHERE kind = 'cache'), sum(CASE WHEN kind = 'cache' THEN 0 ELSE input END), "
        f"sum(CASE WHEN kind = 'cache' THEN 0 ELSE output END), sum({COST}), sum(saved_usd), sum(estimated), "
        f"count(*) FILTER (WHERE cost_usd IS NULL) FROM {table} WHERE day >= ? GROUP BY {places} ORDER BY {places}"
    )
    return SumQuery(statement, (*names, since_day), max(1, len(keys)))
