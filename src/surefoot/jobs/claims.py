"""Who works on which chunk: taking, keeping alive, giving back, closing; and the results, each written once.

A worker holds a chunk by a lease, a moment until which it is taken for alive; it moves it on with each heartbeat. One who was taken for
dead and comes back may still write: a result is inserted only where there is none, and what was inserted drives the counters, in the same
transaction. That is the whole fence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from surefoot.errors import Misconfigured
from surefoot.jobs.ledger import unknown
from surefoot.jobs.records import ItemRow, JobSpec, OpenChunk
from surefoot.storage.sql import Sql

PAGE = 64  # open jobs looked at in one go

_spec = msgspec.json.Decoder(JobSpec)


def claim(sql: Sql, worker: str, lease_s: float, without: Sequence[str] = (), only: str | None = None) -> tuple[str, int] | None:
    """Take the next chunk of the most urgent open job: one that nobody has, or whose worker is taken for dead. None: nothing to do.

    `without` names jobs that this worker cannot do, `only` the one it is here for.
    """
    now = sql.now()
    lock = " FOR UPDATE SKIP LOCKED" if sql.dialect == "postgresql" else ""
    seen = 0
    while True:
        jobs = sql.rows(
            "SELECT id FROM sf_job WHERE state = 'open' AND not_before <= ? ORDER BY priority, created, id LIMIT ? OFFSET ?",
            (now, PAGE, seen),
        )
        for (job,) in jobs:
            if job in without or only not in {None, job}:
                continue
            found = sql.row(
                "SELECT no FROM sf_chunk WHERE job = ? AND state <> 'done' AND (state = 'wait' OR lease < ?) "  # noqa: S608 - our own word
                f"ORDER BY no LIMIT 1{lock}",
                (job, now),
            )
            if found is not None and _take(sql, job, found[0], worker, lease_s):
                return job, found[0]
        seen += PAGE
        if len(jobs) < PAGE:
            return None


def claim_chunk(sql: Sql, job: str, no: int, worker: str, lease_s: float) -> str:
    """Take this chunk: "taken", "done", "held" (somebody alive has it) or the state of a job that is not open.

    Raises Misconfigured if there is no such job or chunk.
    """
    if _take(sql, job, no, worker, lease_s):
        return "taken"
    found = sql.row("SELECT state FROM sf_job WHERE id = ?", (job,))
    if found is None:
        raise unknown(job)
    chunk = sql.row("SELECT state FROM sf_chunk WHERE job = ? AND no = ?", (job, no))
    if chunk is None:
        raise Misconfigured(f"job {job} has no chunk {no}: they are numbered from 0")
    if chunk[0] == "done":
        return "done"
    return "held" if found[0] == "open" else str(found[0])


def _take(sql: Sql, job: str, no: int, worker: str, lease_s: float) -> bool:
    """Whether the chunk of an open job is now the worker's: nobody had it, or one who is taken for dead, or the worker itself."""
    now = sql.now()
    taken = sql.change(
        "UPDATE sf_chunk SET state = 'run', worker = ?, lease = ? WHERE job = ? AND no = ? "
        "AND (state = 'wait' OR (state = 'run' AND (lease < ? OR worker = ?))) "
        "AND EXISTS (SELECT 1 FROM sf_job WHERE id = ? AND state = 'open')",
        (worker, now + lease_s, job, no, now, worker, job),
    )
    if taken:
        sql.change("UPDATE sf_job SET started = ? WHERE id = ? AND started IS NULL", (now, job))
    return bool(taken)


def open_chunk(sql: Sql, job: str, no: int) -> OpenChunk:
    """What is left to do of a chunk, and how. Raises Misconfigured if the job has been forgotten meanwhile."""
    row = sql.row(
        "SELECT j.kind, j.spec, j.tenant, j.priority, j.budget_nano, c.first, c.total, i.body FROM sf_job j "
        "JOIN sf_chunk c ON c.job = j.id JOIN sf_input i ON i.job = c.job AND i.no = c.no WHERE c.job = ? AND c.no = ?",
        (job, no),
    )
    if row is None:
        raise unknown(job)
    kind, spec, tenant, priority, budget_nano, first, total, body = row
    have = {found[0] for found in sql.rows("SELECT n FROM sf_result WHERE job = ? AND n >= ? AND n < ?", (job, first, first + total))}
    items: list[Any] = msgspec.json.decode(bytes(body))
    return OpenChunk(
        job=job,
        no=no,
        kind=kind,
        spec=_spec.decode(spec),
        tenant=tenant,
        priority=priority,
        budget_nano=budget_nano,
        items=[(n, item) for n, item in enumerate(items, first) if n not in have],
    )


def put(sql: Sql, outcomes: Sequence[ItemRow]) -> None:
    """Write results, each once, and count those that were new."""
    if sql.dialect == "postgresql":
        _put_postgres(sql, outcomes)
        return
    now = sql.now()
    counts: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in outcomes:
        new = sql.change(
            "INSERT OR IGNORE INTO sf_result (job, n, ok, body, cost_nano, at) VALUES (?, ?, ?, ?, ?, ?)",
            (one.job, one.n, int(one.ok), one.body, one.cost_nano, now),
        )
        if new:
            count = counts[one.job, one.no]
            count[not one.ok] += 1
            count[2] += one.cost_nano
    for (job, no), (done, failed, cost) in counts.items():
        sql.change(
            "UPDATE sf_chunk SET done = done + ?, failed = failed + ?, cost_nano = cost_nano + ? WHERE job = ? AND no = ?",
            (done, failed, cost, job, no),
        )


def _put_postgres(sql: Sql, outcomes: Sequence[ItemRow]) -> None:
    """The same in one round trip. In one order, so that two workers with the same chunks do not wait for each other in a circle."""
    rows = sorted({(one.job, one.n): one for one in outcomes}.values(), key=lambda one: (one.job, one.no, one.n))
    sql.rows(
        "WITH given AS (SELECT * FROM unnest(?::text[], ?::int[], ?::int[], ?::int[], ?::bytea[], ?::bigint[]) "
        "AS g(job, no, n, ok, body, cost)), "
        "new AS (INSERT INTO sf_result (job, n, ok, body, cost_nano, at) "
        "SELECT job, n, ok, body, cost, extract(epoch FROM clock_timestamp()) FROM given "
        "ON CONFLICT DO NOTHING RETURNING job, n, ok, cost_nano), "
        "counts AS (SELECT new.job, given.no, sum(new.ok) AS done, sum(1 - new.ok) AS failed, sum(new.cost_nano) AS cost "
        "FROM new JOIN given ON given.job = new.job AND given.n = new.n GROUP BY 1, 2), "
        "counted AS (UPDATE sf_chunk c SET done = c.done + k.done, failed = c.failed + k.failed, cost_nano = c.cost_nano + k.cost "
        "FROM counts k WHERE c.job = k.job AND c.no = k.no) SELECT 1",
        (
            [one.job for one in rows], [one.no for one in rows], [one.n for one in rows], [int(one.ok) for one in rows],
            [one.body for one in rows], [one.cost_nano for one in rows],
        ),
    )  # fmt: skip


def count_bulk(sql: Sql, job: str, no: int, *, done: int, failed: int, cost_nano: int) -> None:
    """Set a chunk's counters, for kinds that keep no result an item."""
    sql.change("UPDATE sf_chunk SET done = ?, failed = ?, cost_nano = ? WHERE job = ? AND no = ?", (done, failed, cost_nano, job, no))


def close_chunk(sql: Sql, job: str, no: int) -> bool:
    """The chunk is done, if every item has its result; so is the job with its last chunk. False: something is left to do."""
    if sql.dialect == "postgresql":  # of two who close the last two chunks at once one must see the other's
        sql.rows("SELECT 1 FROM sf_job WHERE id = ? FOR UPDATE", (job,))
    closed = sql.change(
        "UPDATE sf_chunk SET state = 'done', worker = NULL WHERE job = ? AND no = ? AND done + failed >= total AND state <> 'done'",
        (job, no),
    )
    if not closed:
        is_done = sql.row("SELECT 1 FROM sf_chunk WHERE job = ? AND no = ? AND state = 'done'", (job, no))
        return is_done is not None
    is_over = sql.change(
        "UPDATE sf_job SET state = 'done', ended = ? WHERE id = ? AND state IN ('open', 'paused') "
        "AND NOT EXISTS (SELECT 1 FROM sf_chunk WHERE job = ? AND state <> 'done')",
        (sql.now(), job, job),
    )
    if is_over:
        sql.change("DELETE FROM sf_worker WHERE job = ?", (job,))
    return True


def beat(sql: Sql, worker: str, lease_s: float, rates: Mapping[str, float]) -> set[tuple[str, int]]:
    """Say that `worker` is alive, and at which pace it works on which job; what it may still hold: the chunks of open jobs that are its."""
    now = sql.now()
    sql.change("UPDATE sf_chunk SET lease = ? WHERE worker = ? AND state = 'run'", (now + lease_s, worker))
    for job, rate in rates.items():
        sql.change(
            "INSERT INTO sf_worker (id, job, lease, rate) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (job, id) DO UPDATE SET lease = excluded.lease, rate = excluded.rate",
            (worker, job, now + lease_s, rate),
        )
    held = sql.rows(
        "SELECT c.job, c.no FROM sf_chunk c JOIN sf_job j ON j.id = c.job WHERE c.worker = ? AND c.state = 'run' AND j.state = 'open'",
        (worker,),
    )
    return {(job, no) for job, no in held}


def release(sql: Sql, worker: str, job: str, no: int) -> None:
    """Give a chunk back that is not done: anybody may take it now."""
    sql.change(
        "UPDATE sf_chunk SET state = 'wait', worker = NULL, lease = 0 WHERE job = ? AND no = ? AND worker = ? AND state = 'run'",
        (job, no, worker),
    )


def leave(sql: Sql, worker: str) -> None:
    """The worker ends: all it holds may be taken."""
    sql.change("UPDATE sf_chunk SET state = 'wait', worker = NULL, lease = 0 WHERE worker = ? AND state = 'run'", (worker,))
    sql.change("DELETE FROM sf_worker WHERE id = ?", (worker,))


def is_work_left(sql: Sql, without: Sequence[str], only: str | None = None) -> bool:
    """Whether a job other than those is open; or just the one that is named."""
    where, values = "", tuple(without)
    if without:
        where = f" AND id NOT IN ({', '.join('?' * len(without))})"
    if only is not None:
        where, values = f"{where} AND id = ?", (*values, only)
    return sql.row(f"SELECT 1 FROM sf_job WHERE state = 'open'{where} LIMIT 1", values) is not None  # noqa: S608 - question marks
