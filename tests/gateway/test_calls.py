"""Calls that are put down for the page: their durations, what an outage of the database costs, what is forgotten."""

from __future__ import annotations

import pytest

from surefoot.gateway.calls import CALLS, bucket_of, ms_of, percentile_ms
from surefoot.gateway.calls import log as module
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.records import RequestEnded
from surefoot.secret import Secret
from surefoot.storage.sql import DatabaseAway


def test_percentiles_are_right_to_a_tenth():
    """Buckets of a quarter of a doubling."""
    counts = {}
    for ms in range(1, 2001):
        counts[bucket_of(ms)] = counts.get(bucket_of(ms), 0) + 1
    assert percentile_ms({}, 0.5) is None
    for share in (0.5, 0.95):
        assert abs(percentile_ms(counts, share) / (2000 * share) - 1) < 0.1
    assert ms_of(bucket_of(1e12)) > 1e7


async def test_what_is_old_is_forgotten_and_an_outage_costs_no_call(tmp_path, monkeypatch):
    """Rows wait while the database is away; of what is older than calls_days the sums alone stay."""
    keys = SqlKeys(Secret(f"sqlite:{tmp_path}/g.db"))
    log = module.CallLog(keys.database, keep_days=1)
    now = [1_000_000.0]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    run = keys.database.run

    async def away(*_, **__):
        raise DatabaseAway("away")

    for number in range(3):
        log(RequestEnded(request_id=f"r{number}", route="chat", outcome="ok", key_id="k", model="m", seconds=0.1))
    log(RequestEnded(request_id="nobody", route="chat", outcome="refused"))
    monkeypatch.setattr(keys.database, "run", away)
    with pytest.raises(DatabaseAway):
        await log.flush()
    monkeypatch.setattr(keys.database, "run", run)
    now[0] += 2 * 86_400
    log(RequestEnded(request_id="new", route="chat", outcome="ok", key_id="k", model="m", seconds=0.1))
    await log.flush()

    def read(sql):
        return [one for (one,) in sql.rows("SELECT request FROM sf_call ORDER BY at")], sql.row("SELECT sum(count) FROM sf_hour")[0]

    assert await run(read, CALLS) == (["r0", "r1", "r2", "new"], 4)
    await log._forget()
    assert await run(read, CALLS) == (["new"], 4)
    await log.aclose()
    await keys.aclose()
