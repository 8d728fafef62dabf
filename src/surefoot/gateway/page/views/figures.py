"""What the views reckon with: sums of the ledger and counts of calls, added up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec import Struct

from surefoot import runtime
from surefoot._documented import Documented
from surefoot.gateway.calls import CALLS, percentile_ms
from surefoot.gateway.calls.reads import HourCount, counts_by_hour
from surefoot.gateway.page.frame import PageRequest
from surefoot.usage.rows.rollups import Rollup, RollupsWanted

HOUR_S = 3600
DAY_HOURS = 24


class Sums(Struct, Documented):
    """Some rollups together."""

    attempts: int = 0
    """Wire attempts that were billed."""
    hits: int = 0
    """Answers from the cache."""
    input: int = 0
    """Tokens of prompts."""
    output: int = 0
    """Tokens of answers."""
    cost_nano: int = 0
    """Billionths of a dollar."""
    saved_nano: int = 0
    """Billionths of a dollar that hits would have cost."""
    unpriced: int = 0
    """Attempts whose price nobody knows."""

    def add(self, one: Rollup) -> None:
        """Count one more."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(one, name))

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.input + self.output

    @property
    def per_thousand_nano(self) -> float | None:
        """What a thousand attempts cost; None where there were none."""
        return 1000 * self.cost_nano / self.attempts if self.attempts else None

    @property
    def per_mtok_nano(self) -> float | None:
        """What a million tokens cost; None where there were none."""
        return 1e6 * self.cost_nano / self.tokens if self.tokens else None


class ResultCounts(Struct, Documented):
    """How often there was which result, and how long it took."""

    results: Counter[str]
    """By result."""
    buckets: Counter[int]
    """By bucket of duration, of what went well."""

    @property
    def number(self) -> int:
        """All together."""
        return self.results.total()

    @property
    def p50(self) -> float | None:
        """Milliseconds that half of what went well took at most."""
        return percentile_ms(self.buckets, 0.5)

    @property
    def p95(self) -> float | None:
        """Milliseconds that 95 % of it took at most."""
        return percentile_ms(self.buckets, 0.95)

    def failed(self, *fine: str) -> int:
        """Those whose result is not among `fine`."""
        return sum(number for result, number in self.results.items() if result not in fine)

    def errors(self) -> list[tuple[str, int]]:
        """The most frequent errors; what was cut off because another was quicker is none."""
        return [one for one in self.results.most_common() if one[0] not in {"", "ok", "CancelledError"}]


def no_durations() -> ResultCounts:
    """Nothing counted."""
    return ResultCounts(Counter(), Counter())


def durations(counts: Iterable[HourCount], by: str) -> dict[str | int, ResultCounts]:
    """By "name" or "hour"."""
    found: dict[str | int, ResultCounts] = {}
    for one in counts:
        sums = found.setdefault(getattr(one, by), no_durations())
        sums.results[one.result] += one.number
        if one.result in {"", "ok"}:
            sums.buckets[one.bucket] += one.number
    return found


def together(some: Iterable[ResultCounts]) -> ResultCounts:
    """All of them."""
    found = no_durations()
    for one in some:
        found.results.update(one.results)
        found.buckets.update(one.buckets)
    return found


def sums_by(rollups: Iterable[Rollup], by: str = "name") -> dict[str, Sums]:
    """By "name" or "bucket"."""
    found: dict[str, Sums] = {}
    for one in rollups:
        found.setdefault(getattr(one, by), Sums()).add(one)
    return found


async def ledger_sums(page: PageRequest, *wanted: RollupsWanted) -> dict[str, list[Rollup]]:
    """The ledger's sums by group, in one statement; none where [serve] keeps no ledger."""
    found: dict[str, list[Rollup]] = {group: [] for one in wanted for group in one.groups}
    ledger = page.services.ledger
    if ledger is not None:
        for one in await runtime.in_thread(ledger.rollups, *wanted):
            found[one.grouped].append(one)
    return found


async def call_counts(page: PageRequest, *what: str, hours: int, together: bool = False) -> dict[str, list[HourCount]]:
    """The counts of the last `hours`, this one included, by hour or together, in one statement."""
    since = this_hour() - hours + 1
    return await page.keys.database.run(lambda sql: counts_by_hour(sql, what, since, together=together), CALLS, reads=True)


def now() -> float:
    """Seconds since 1970."""
    return time.time()  # noqa: TID251 - a page knows dates


def this_hour() -> int:
    """Hours since 1970."""
    return int(now() // HOUR_S)


def hour_name(hour: int) -> str:
    """As the ledger calls an hour."""
    return datetime.fromtimestamp(hour * HOUR_S, UTC).strftime("%Y-%m-%dT%H")


def chosen_hours(page: PageRequest) -> int:
    """The last day, or the last week where `?hours=168` says so."""
    return 7 * DAY_HOURS if page.query.get("hours") == "168" else DAY_HOURS
