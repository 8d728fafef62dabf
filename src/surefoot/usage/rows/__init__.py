"""Where the ledger's rows are: waiting in memory, in an SQLite file, in Postgres; and how they are summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.storage.sql import TableSchema

COLUMNS = (
    "at", "day", "call", "kind", "target", "tenant", "tags", "error",
    "input", "output", "cached", "reasoning", "estimated", "cost_usd", "saved_usd",
)  # fmt: skip
USAGE = TableSchema("usage", "surefoot.usage.rows")  # the tables in Postgres
BATCHES_S = 3 * 86_400.0  # how long a batch is known to have been written: a spool may lie over a weekend before somebody starts again
SET_ASIDE = 1_000  # rows of that table; older ones leave
SET_ASIDE_CHARS = 2_000  # of each: enough to see what it was
Cells: TypeAlias = tuple[Any, ...]


class UsageRow(Struct, Documented, frozen=True, kw_only=True):
    """Sums over one group: `estimated` counts rows whose tokens we counted ourselves, `unpriced` those whose price nobody knows.

    What is unpriced stands in `cost_usd` at FALLBACK_USD_PER_MTOK: an estimate above today's middle models, never 0.
    """

    group: tuple[str, ...]
    """What the rows have in common: a value for each word of `by`, in its order."""
    attempts: int
    """Wire attempts that were billed."""
    cache_hits: int
    """Answers that came from the cache instead."""
    input_tokens: int
    """Tokens of the prompts, cache hits not included."""
    output_tokens: int
    """Tokens of the answers, cache hits not included."""
    cost_usd: float
    """US dollars; what is unpriced is in it at FALLBACK_USD_PER_MTOK."""
    saved_usd: float
    """US dollars that the cache hits would have cost."""
    estimated: int
    """Rows whose tokens we counted ourselves."""
    unpriced: int
    """Rows whose price nobody knows."""


class RowStore(Protocol):
    """Where rows are kept. Every method blocks, and raises Misconfigured (its cause: what the database said) while that cannot be used."""

    def describe(self) -> str:
        """What it is called, without user or password."""

    def prepare(self) -> None:
        """Make the tables; raises Misconfigured for a place that will never take rows, and only for that."""

    def write(self, rows: Sequence[Cells], batch: str) -> None:
        """Write `rows`, those that cannot be held to a table of their own. A `batch` that was written before is not written again."""

    def set_aside(self, why: str, said: str) -> None:
        """Put down that something is in no sum."""

    def sums(self, by: Sequence[str], since_day: str) -> list[UsageRow]:
        """Sums by group."""

    def rollups(self, wanted: Sequence[Any]) -> list[Any]:
        """Sums that were written with the rows: `Rollup` for what each `RollupsWanted` says, in one statement."""

    def count_set_aside(self) -> int:
        """Rows that are in no sum."""

    def close(self) -> None:
        """Let go of what is open."""
