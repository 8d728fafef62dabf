"""Tables of the first release, while its workers work: a newer surefoot comes, adds what it needs, and nobody stops."""

from __future__ import annotations

import asyncio
from functools import partial

from surefoot import ChatModel, jobs, runtime
from surefoot.jobs import claims, ledger
from surefoot.jobs.ledger import JOBS
from surefoot.jobs.records import ItemRow, JobSpec, NewJob
from surefoot.storage.sql import migrations, open_database
from surefoot.testing import Scripted

CHUNKS, EACH = 60, 5


def fill(sql):
    """A job of the first release, as its submitter wrote it."""
    spec = JobSpec(model=("default",), options={})
    ledger.begin_job(
        sql, NewJob(id="old", kind="chat", spec=spec, priority=1, key=None, tenant="", budget_nano=None, not_before=0, ttl_s=1e9)
    )
    ledger.add_chunks(sql, "old", [(no, no * EACH, EACH, b'["a", "b", "c", "d", "e"]') for no in range(CHUNKS)])
    ledger.open_job(sql, "old", CHUNKS * EACH)


async def work(database, name, done):
    """A worker of the first release, on a connection that it opened then."""
    while (found := await database.run(partial(claims.claim, worker=name, lease_s=60.0, only="old"), JOBS)) is not None:
        job, no = found
        chunk = await database.run(partial(claims.open_chunk, job=job, no=no), JOBS, reads=True)
        await asyncio.sleep(0.005)
        await database.run(partial(claims.put, outcomes=[ItemRow(job, no, n, ok=True, body=b"{}") for n, _ in chunk.items]), JOBS)
        await database.run(partial(claims.close_chunk, job=job, no=no), JOBS)
        done.append(no)


def test_the_first_releases_tables_are_brought_up_to_date_under_its_workers(store, monkeypatch):
    """By whoever comes first of those who know more; each item is done once, and the new one's own work is done, too."""
    known, done, before = migrations.read_migrations, [], []

    async def go():
        old = [open_database(store) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "read_migrations", lambda schema, dialect: known(schema, dialect)[:1])
            await old[0].run(fill, JOBS)
            await old[1].run(lambda sql: sql.rows("SELECT 1 FROM sf_job"), JOBS)
        working = [asyncio.ensure_future(work(one, f"w{number}", done)) for number, one in enumerate(old)]
        while len(done) < CHUNKS // 4:
            await asyncio.sleep(0.005)
        version = lambda sql: sql.row("SELECT version FROM sf_meta WHERE part = 'jobs'")[0]  # noqa: E731
        before.append(await old[0].run(version, JOBS))
        q = jobs.open(store, models=ChatModel(Scripted("ok")))
        mine = await q.asubmit("chat", ["x", "y"], priority="interactive")
        before.append(len(done))
        await q.work(mine)
        await asyncio.gather(*working)
        after = await old[0].run(version, JOBS)
        status, own = await q.astatus("old"), await q.astatus(mine)
        for one in old:
            await one.aclose()
        await q.aclose()
        return after, status, own

    after, status, own = runtime.run(go())
    assert (before[0], after) == (1, len(known(JOBS, "sqlite")))
    assert before[1] < CHUNKS  # they were in the middle of it
    assert (status.state, status.done, status.failed) == ("done", CHUNKS * EACH, 0)
    assert sorted(done) == list(range(CHUNKS))
    assert (own.state, own.done) == ("done", 2)
