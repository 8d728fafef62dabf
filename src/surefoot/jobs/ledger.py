"""The tables of jobs: submitting, how far they are, results, forgetting. Functions of one `Sql`, the same in SQLite and Postgres."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from surefoot.errors import Misconfigured
from surefoot.jobs.records import JobSpec, JobStatus, NewJob
from surefoot.rules.spending import NANO
from surefoot.storage.sql import Sql, TableSchema

JOBS = TableSchema("jobs", "surefoot.jobs")
ABANDONED_S = 30.0  # a job still filling whose submitter has not been heard of for so long is begun anew by who names its key
AT_ONCE = 500  # rows deleted a transaction: some milliseconds
MAX_LIST = 1000  # jobs listed at most

_spec = msgspec.json.Decoder(JobSpec)
_STATUS = (
    "id, kind, spec, state, reason, priority, total, key, tenant, budget_nano, created, not_before, started, ended"
)  # fmt: skip


def begin_job(sql: Sql, new: NewJob) -> tuple[str, bool]:
    """Write the job's row, still without items. The id of the job, and whether it is ours to fill: one with that key may be there."""
    now = sql.now()
    if new.key is not None:
        sql.change(
            "UPDATE sf_job SET key = NULL, state = 'cancelled', ended = ? WHERE key = ? AND state = 'filling' AND touched < ?",
            (now, new.key, now - ABANDONED_S),
        )
    made = sql.change(
        "INSERT INTO sf_job (id, kind, spec, state, priority, total, key, tenant, budget_nano, created, touched, not_before, ttl_s) "
        "VALUES (?, ?, ?, 'filling', ?, 0, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
        (
            new.id, new.kind, msgspec.json.encode(new.spec).decode(), new.priority, new.key, new.tenant, new.budget_nano, now, now,
            new.not_before, new.ttl_s,
        ),
    )  # fmt: skip
    if made:
        return new.id, True
    found = sql.row("SELECT id FROM sf_job WHERE key = ?", (new.key,))
    assert found is not None
    return str(found[0]), False


def add_chunks(sql: Sql, job: str, chunks: Sequence[tuple[int, int, int, bytes]]) -> None:
    """Write chunks: (number, number of the first item, items, JSON array)."""
    touched = sql.change("UPDATE sf_job SET touched = ? WHERE id = ? AND state = 'filling'", (sql.now(), job))
    if not touched:
        raise Misconfigured(f"job {job} was taken over or forgotten while it was being submitted; submit it again")
    sql.change_many(
        "INSERT INTO sf_chunk (job, no, first, total) VALUES (?, ?, ?, ?)", [(job, no, first, total) for no, first, total, _ in chunks]
    )
    sql.change_many("INSERT INTO sf_input (job, no, body) VALUES (?, ?, ?)", [(job, no, body) for no, _, _, body in chunks])


def open_job(sql: Sql, job: str, total: int) -> None:
    """All is written: the job may be worked on."""
    sql.change("UPDATE sf_job SET state = 'open', total = ? WHERE id = ? AND state = 'filling'", (total, job))


def open_chunks(sql: Sql, job: str) -> tuple[int, float, list[int]]:
    """The job's priority, when it may begin, and its chunks that are not done; none if it is not open."""
    found = sql.row("SELECT priority, not_before FROM sf_job WHERE id = ? AND state = 'open'", (job,))
    if found is None:
        return 0, 0.0, []
    chunks = sql.rows("SELECT no FROM sf_chunk WHERE job = ? AND state <> 'done' ORDER BY no", (job,))
    return int(found[0]), float(found[1]), [int(no) for (no,) in chunks]


def drop_job(sql: Sql, job: str) -> bool:
    """Delete a part of the job, at most AT_ONCE rows of a table; True while there is more. The job's own row goes last."""
    for table, number in (("sf_result", "n"), ("sf_input", "no"), ("sf_chunk", "no")):
        deleted = sql.change(
            f"DELETE FROM {table} WHERE job = ? AND {number} IN "  # noqa: S608 - names from above
            f"(SELECT {number} FROM {table} WHERE job = ? ORDER BY {number} LIMIT {AT_ONCE})",
            (job, job),
        )
        if deleted:
            return True
    sql.change("DELETE FROM sf_batch WHERE job = ?", (job,))
    sql.change("DELETE FROM sf_worker WHERE job = ?", (job,))
    sql.change("DELETE FROM sf_job WHERE id = ?", (job,))
    return False


def to_forget(sql: Sql, older_than_s: float | None) -> list[str]:
    """The jobs that ended longer ago than `older_than_s`, or (None) than they were to be kept; and those nobody goes on filling."""
    now = sql.now()
    age = "ttl_s" if older_than_s is None else "?"
    values = (now,) if older_than_s is None else (now, older_than_s)
    ended = sql.rows(f"SELECT id FROM sf_job WHERE ended IS NOT NULL AND ended < ? - {age}", values)  # noqa: S608 - words from above
    left = sql.rows("SELECT id FROM sf_job WHERE state = 'filling' AND touched < ?", (now - 10 * ABANDONED_S,))
    return [str(row[0]) for row in (*ended, *left)]


def retire(sql: Sql, job: str) -> None:
    """No worker shall take anything of a job that is about to be deleted. Raises Misconfigured if there is none of that name."""
    if not sql.change("UPDATE sf_job SET state = 'cancelled', key = NULL, ended = coalesce(ended, ?) WHERE id = ?", (sql.now(), job)):
        raise unknown(job)


def unknown(job: str) -> Misconfigured:
    """What is said of a job that is not there."""
    return Misconfigured(f"there is no job {job!r} in this store; `surefoot jobs list` shows what there is")


def status(sql: Sql, job: str) -> JobStatus:
    """How far the job is. Raises Misconfigured if there is none of that name."""
    found = sql.row(f"SELECT {_STATUS} FROM sf_job WHERE id = ?", (job,))  # noqa: S608 - words from above
    if found is None:
        raise unknown(job)
    return _told(sql, found)


def statuses(sql: Sql, state: str | None, limit: int) -> list[JobStatus]:
    """The latest jobs, newest first; of one state only, if it is named."""
    where, values = ("", ()) if state is None else ("WHERE state = ?", (state,))
    found = sql.rows(
        f"SELECT {_STATUS} FROM sf_job {where} ORDER BY created DESC LIMIT ?",  # noqa: S608 - words from above
        (*values, min(limit, MAX_LIST)),
    )
    return [_told(sql, row) for row in found]


def _told(sql: Sql, row: tuple[Any, ...]) -> JobStatus:
    job, kind, spec_text, state, reason, priority, total, key, tenant, budget, created, not_before, started, ended = row
    sums = sql.row(
        "SELECT coalesce(sum(done), 0), coalesce(sum(failed), 0), coalesce(sum(cost_nano), 0), count(*) FROM sf_chunk WHERE job = ?",
        (job,),
    )
    assert sums is not None
    done, failed, cost, chunks = (int(one) for one in sums)
    workers, rate = 0, 0.0
    if state == "open":
        seen = sql.row("SELECT count(*), coalesce(sum(rate), 0) FROM sf_worker WHERE job = ? AND lease > ?", (job, sql.now()))
        assert seen is not None
        workers, rate = int(seen[0]), float(seen[1])
    elif started is not None and ended is not None and ended > started:
        rate = (done + failed) / (ended - started)
    left = total - done - failed
    spec = _spec.decode(spec_text)
    return JobStatus(
        id=job, kind=kind, state=state, reason=reason, model=spec.model, total=total, chunks=chunks, done=done, failed=failed,
        cost_usd=cost / NANO, budget_usd=None if budget is None else budget / NANO, rate=rate,
        eta_s=0.0 if state == "done" else left / rate if state == "open" and rate > 0 and left else None,
        workers=workers, priority=priority, key=key, tenant=tenant, created_at=created, not_before=not_before, ended_at=ended,
        digest=spec.digest,
    )  # fmt: skip


def change_state(sql: Sql, job: str, state: str, *, of: Sequence[str], reason: str = "") -> str:
    """Give the job that is in one of the states `of` the new one; the state it then has. Raises Misconfigured for no such job."""
    ended = sql.now() if state == "cancelled" else None
    marks = ", ".join("?" * len(of))
    sql.change(
        f"UPDATE sf_job SET state = ?, reason = ?, ended = ? WHERE id = ? AND state IN ({marks})",  # noqa: S608 - question marks
        (state, reason, ended, job, *of),
    )
    found = sql.row("SELECT state FROM sf_job WHERE id = ?", (job,))
    if found is None:
        raise unknown(job)
    return str(found[0])


def set_budget(sql: Sql, job: str, budget_nano: int) -> None:
    """Another limit from now on."""
    sql.change("UPDATE sf_job SET budget_nano = ? WHERE id = ?", (budget_nano, job))


def ask_again(sql: Sql, job: str) -> int:
    """Forget the results that are errors, so that their items are open again; how many they were."""
    chunks = sql.rows("SELECT no, first, total FROM sf_chunk WHERE job = ? AND failed > 0", (job,))
    for no, first, total in chunks:
        sql.change("DELETE FROM sf_result WHERE job = ? AND n >= ? AND n < ? AND ok = 0", (job, first, first + total))
        sql.change("UPDATE sf_chunk SET failed = 0, state = 'wait', worker = NULL, lease = 0 WHERE job = ? AND no = ?", (job, no))
        sql.change("UPDATE sf_batch SET state = 'closed' WHERE job = ? AND no = ? AND state = 'collected'", (job, no))
    if chunks:
        sql.change("UPDATE sf_job SET state = 'open', ended = NULL, reason = '' WHERE id = ? AND state = 'done'", (job,))
    return len(chunks)


def results(sql: Sql, job: str, first: int, limit: int) -> list[tuple[int, int, bytes]]:
    """Up to `limit` results from item `first` on, in order: (number, ok, body)."""
    found = sql.rows("SELECT n, ok, body FROM sf_result WHERE job = ? AND n >= ? ORDER BY n LIMIT ?", (job, first, limit))
    return [(int(n), int(ok), bytes(body)) for n, ok, body in found]


def inputs(sql: Sql, job: str, no: int) -> tuple[int, bytes] | None:
    """Chunk `no`: the number of its first item and its items as a JSON array; None beyond the last one."""
    found = sql.row(
        "SELECT c.first, i.body FROM sf_chunk c JOIN sf_input i ON i.job = c.job AND i.no = c.no WHERE c.job = ? AND c.no = ?", (job, no)
    )
    return None if found is None else (int(found[0]), bytes(found[1]))


def kind_of(sql: Sql, job: str) -> str:
    """The job's kind. Raises Misconfigured if there is none of that name."""
    found = sql.row("SELECT kind FROM sf_job WHERE id = ?", (job,))
    if found is None:
        raise unknown(job)
    return str(found[0])


def options_of(sql: Sql, job: str) -> dict[str, Any]:
    """The options of the job's kind. Raises Misconfigured if there is no such job."""
    found = sql.row("SELECT spec FROM sf_job WHERE id = ?", (job,))
    if found is None:
        raise unknown(job)
    return _spec.decode(found[0]).options


def called(fn: Callable[..., Any], *values: Any, **named: Any) -> Callable[[Sql], Any]:
    """`fn` with everything but the connection."""
    return lambda sql: fn(sql, *values, **named)


def seconds_of(days: float | None) -> float:
    """Days as seconds; None is for ever."""
    return math.inf if days is None else days * 86_400.0
