"""Durable batches: jobs of many items that outlive their process, worked on by one process or many.

    q = jobs.open("sqlite:.surefoot/jobs.db")
    job = q.submit("chat", questions, model="default", key="nightly-2026-11-30", budget_usd=20)
    await q.work()                                      # here, or `surefoot jobs work` in any number of processes
    for n, reply in q.results(job): ...

Jobs, items, results, cost and progress are rows in SQLite (one machine, no server) or Postgres (many machines). A job is cut into chunks; a
worker takes a chunk and asks its items through all layers of its model: retry, fallback, cache, limits. An item's result is written once. A
worker that dies loses what it had under way, never what was written, and its chunks are taken up by others.

To let another engine (Celery, Ray, a Kubernetes indexed Job) deliver the chunks, call `run_chunk(url, job, no)` there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surefoot import runtime
from surefoot.jobs.kinds import ItemResult, JobKind, JobRunner, register
from surefoot.jobs.models import Given
from surefoot.jobs.queue import Jobs
from surefoot.jobs.records import JobStatus, OpenChunk, WorkDone
from surefoot.jobs.worker import DEAD_S
from surefoot.secret import Secret

__all__ = [
    "ItemResult",
    "JobKind",
    "JobRunner",
    "JobStatus",
    "Jobs",
    "OpenChunk",
    "WorkDone",
    "open",
    "register",
    "run_chunk",
    "run_chunk_sync",
]

DEFAULT_STORE = "sqlite:.surefoot/jobs.db"


def open(url: str | Secret = DEFAULT_STORE, *, models: Given = None, config: str | Path | None = None) -> Jobs:  # noqa: A001 - jobs.open
    """The jobs in the store at `url`: "sqlite:PATH" or "postgresql://..."; nothing is opened before the first use.

    A job names its model, as it outlives this process. Whoever works finds the name in `models` (a dict of names, what `surefoot.load`
    gave, or one model, which is then "default"), else in the settings file `config` (left out: surefoot.toml, where there is one). A name
    such as "openai:gpt-5-mini" needs neither. Raises Misconfigured for an address that cannot be read, or a missing package.
    """
    return Jobs(url, models=models, config=config)


async def run_chunk(
    url: str | Secret, job: str, no: int, *, models: Given = None, config: str | Path | None = None, dead_s: float = DEAD_S
) -> str:
    """Do chunk `no` (from 0) of the job in the store at `url`, here: for engines of your own. Safe to call twice, at once, anywhere.

    Returns "done" once every item of the chunk has its result, also if somebody else was at it, or the state of a job that is not open
    ("paused", "cancelled"). Items are asked through all layers, so the engine has nothing to retry but a crash. `dead_s`: should this
    process die, another one may take the chunk after so many seconds. `models` and `config` as in `open`. Raises Misconfigured for no such
    job or chunk, or a model this process does not know; Refused while the store cannot be reached.
    """
    async with Jobs(url, models=models, config=config) as opened:
        return await opened.run_chunk(job, no, dead_s=dead_s)


def run_chunk_sync(url: str | Secret, job: str, no: int, **said: Any) -> str:
    """`run_chunk` for sync callers, such as a task of Celery's."""
    return runtime.run(run_chunk(url, job, no, **said))
