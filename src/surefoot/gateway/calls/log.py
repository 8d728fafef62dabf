"""Puts down each request with its attempts, half a second later and many in one transaction: no request waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from typing import Any

import msgspec

from surefoot.errors import SurefootError
from surefoot.events import BreakerClosed, BreakerOpened, CallEnded
from surefoot.gateway.calls import CALLS, COLUMNS, AttemptLine, bucket_of
from surefoot.gateway.records import RequestEnded
from surefoot.rules.spending import nano
from surefoot.storage.sql import Sql
from surefoot.storage.sql.database import Database
from surefoot.types import AttemptRecord

_log = logging.getLogger("surefoot.gateway")

WRITE_S = 0.5
AT_ONCE = 5_000  # rows a transaction
MAX_WAITING = 20_000  # rows in memory while the database is away, some 15 MB; older ones are counted and dropped
MAX_OPEN = 10_000  # calls whose request has not ended
FORGET_S = 60.0  # between two looks for what is too old
FORGET_AT_ONCE = 5_000
DAY_S = 86_400.0

Cells = tuple[Any, ...]
_INSERT = f"INSERT INTO sf_call ({', '.join(COLUMNS)}) VALUES ({','.join('?' * len(COLUMNS))}) ON CONFLICT (request) DO NOTHING"  # noqa: S608
_COUNT = (
    "INSERT INTO sf_hour (hour, what, name, result, bucket, count) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (hour, what, name, result, bucket) DO UPDATE SET count = sf_hour.count + excluded.count"
)


class CallLog:
    """Hears models (`model.subscribe(log.heard, inline=True)`) and requests (`observers.append(log)`). Lives on one loop."""

    def __init__(self, database: Database, *, keep_days: float) -> None:
        self.database = database
        self.keep_days = keep_days
        self.dropped = 0
        """Requests that found no room while the database was away."""
        self.open_breakers: dict[str, float] = {}
        """Targets that are left alone, and since when: seconds since 1970."""
        self._trails: OrderedDict[str, tuple[AttemptRecord, ...]] = OrderedDict()
        self._waiting: deque[Cells] = deque()
        self._counts: Counter[Cells] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._forgot_at = 0.0
        self._is_away = False

    def heard(self, event: Any) -> None:
        """An event of a model."""
        if isinstance(event, CallEnded):
            request = next((said for name, said in event.tags if name == "request"), None)
            if request is not None and event.trail:
                self._trails[request] = (*self._trails.pop(request, ()), *event.trail)
                if len(self._trails) > MAX_OPEN:
                    self._trails.popitem(last=False)
        elif isinstance(event, BreakerOpened):
            self.open_breakers[event.target] = _now()
        elif isinstance(event, BreakerClosed):
            self.open_breakers.pop(event.target, None)

    def __call__(self, ended: RequestEnded) -> None:
        """A request has ended; one without a valid key is nobody's, and is not put down."""
        trail = self._trails.pop(ended.request_id, ())
        if not ended.key_id or ended.route in _OWN:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        now = _now()
        hour = int(now // 3600)
        ms = round(ended.seconds * 1000)
        first_ms = None if ended.first_token_s is None else round(ended.first_token_s * 1000)
        usage = ended.usage
        self._waiting.append(
            (
                now, ended.request_id, ended.route, ended.model, ended.target, ended.key_id, ended.team, ended.outcome, ended.status,
                ended.error, ms, round(ended.queued_s * 1000), first_ms, usage.input_tokens if usage is not None else 0,
                usage.output_tokens if usage is not None else 0, None if ended.cost_usd is None else nano(ended.cost_usd),
                int(ended.is_cached), _lines(trail),
            )
        )  # fmt: skip
        self._counts[hour, "request", ended.model, ended.outcome, bucket_of(ms)] += 1
        if first_ms is not None:
            self._counts[hour, "first", ended.model, ended.outcome, bucket_of(first_ms)] += 1
        for one in trail:
            self._counts[hour, "attempt", one.target, one.error, bucket_of((one.seconds or 0.0) * 1000)] += 1
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._write_on())

    async def flush(self) -> None:
        """Write what waits. Raises what the database raises; what was not written waits on."""
        while self._waiting or self._counts:
            rows = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            counts, self._counts = self._counts, Counter()
            try:
                await self.database.run(lambda sql, rows=rows, counts=counts: write_calls(sql, rows, counts), CALLS)  # type: ignore[misc]
            except BaseException:
                self._waiting.extendleft(reversed(rows))
                self._counts.update(counts)
                raise

    async def aclose(self) -> None:
        """Write what waits, if it can be."""
        if self._task is not None:
            self._task.cancel()
        try:
            await self.flush()
        except SurefootError as error:
            _log.warning("%d requests were not put down for the page: %s", len(self._waiting), error)

    async def _write_on(self) -> None:
        """Until nothing waits."""
        while self._waiting:
            await asyncio.sleep(WRITE_S)
            try:
                await self.flush()
                await self._forget()
            except SurefootError as error:
                if not self._is_away:
                    _log.warning("requests wait in memory to be put down for the page: %s", error)
                self._is_away = True
            else:
                self._is_away = False

    async def _forget(self) -> None:
        """Delete what is older than `keep_days`, some rows at a time; the sums by hour stay."""
        now = _now()
        if now - self._forgot_at < FORGET_S:
            return
        self._forgot_at = now
        oldest = now - self.keep_days * DAY_S
        some = f"SELECT request FROM sf_call WHERE at < ? ORDER BY at LIMIT {FORGET_AT_ONCE}"  # noqa: S608 - a number of ours
        while await self.database.run(lambda sql: sql.change(f"DELETE FROM sf_call WHERE request IN ({some})", (oldest,)), CALLS):  # noqa: S608
            pass


_OWN = frozenset({"none", "page", "admin", "metrics"})  # what asks no model


def write_calls(sql: Sql, rows: list[Cells], counts: Counter[Cells]) -> None:
    """Put down `rows` of COLUMNS, and add `counts` of (hour, what, name, result, bucket) to the sums."""
    sql.change_many(_INSERT, rows)
    sql.change_many(_COUNT, [(*key, counts[key]) for key in sorted(counts)])


def _lines(trail: tuple[AttemptRecord, ...]) -> str:
    if not trail:
        return "[]"
    begun_s = trail[0].started_s - trail[0].wait_s
    lines = [
        AttemptLine(
            one.kind, one.target, one.error, round(one.wait_s * 1000), max(0, round((one.started_s - begun_s) * 1000)),
            round((one.seconds or 0.0) * 1000), one.usage.input_tokens if one.usage is not None else 0,
            one.usage.output_tokens if one.usage is not None else 0, None if one.cost_usd is None else nano(one.cost_usd),
        )
        for one in trail
    ]  # fmt: skip
    return msgspec.json.encode(lines).decode()


def _now() -> float:
    return time.time()  # noqa: TID251 - when it was is a date
