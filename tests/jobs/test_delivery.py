"""The engine that delivers chunks where the store is Postgres: what it loses comes back, and nothing depends on it."""

from __future__ import annotations

import asyncio
import re
from importlib import metadata

import pytest

from surefoot import ChatModel, jobs, runtime
from surefoot.errors import Misconfigured
from surefoot.jobs import delivery
from surefoot.jobs.ledger import JOBS
from surefoot.testing import Scripted
from tests.postgres import fresh_url


@pytest.fixture(scope="module")
def url():
    """One store for the module: the engine's own tables take a while to make."""
    return fresh_url()


VERSION = delivery._number(metadata.version("procrastinate"))


def ask(q, statement, *values):
    """A statement on the store."""

    def go(sql):
        return sql.rows(statement, values) if statement.startswith("SELECT") else sql.change(statement, values)

    return runtime.run(q._database.run(go, JOBS))


def test_chunks_are_delivered_once_and_nothing_is_left_of_them(url):
    """A row of the engine's a chunk, gone when it is done; its tables are noted with their version."""
    with jobs.open(url, models=ChatModel(Scripted("ok"))) as q:
        job = q.submit("chat", [f"q{n}" for n in range(7)], chunk=2, priority=3)
        assert ask(q, "SELECT args->>'job', (args->>'no')::int, priority FROM procrastinate_jobs ORDER BY id") == [
            (job, n, -3) for n in range(4)
        ]
        q.work_sync()
        assert ask(q, "SELECT 1 FROM procrastinate_jobs") == []
        assert q.status(job).done == 7
        assert ask(q, "SELECT version FROM sf_meta WHERE part = 'procrastinate'") == [(VERSION,)]


def test_what_the_engine_lost_is_delivered_again(url):
    """Its rows may be deleted, or never have been written: the ledger is what is true."""
    with jobs.open(url, models=ChatModel(Scripted("ok"))) as q:
        job = q.submit("chat", [f"q{n}" for n in range(6)], chunk=2)
        ask(q, "DELETE FROM procrastinate_jobs WHERE (args->>'no')::int <> 1")
        q.work_sync()
        assert q.status(job).state == "done"


def test_a_chunk_of_a_dead_worker_comes_back_through_the_engine(url):
    """Its worker gave no sign of life: the engine's row and the ledger's lease are both taken over."""
    with jobs.open(url, models=ChatModel(Scripted("ok"))) as q:
        job = q.submit("chat", ["a", "b"])
        ask(q, "UPDATE procrastinate_jobs SET status = 'doing', worker_id = NULL")
        ask(q, "UPDATE sf_chunk SET state = 'run', worker = 'dead', lease = ? WHERE job = ?", 1.0, job)
        q.work_sync(dead_s=1.0)
        assert q.status(job).done == 2
        assert ask(q, "SELECT 1 FROM procrastinate_jobs") == []


def test_without_the_engine_workers_take_chunks_by_themselves(url, monkeypatch):
    """And both kinds work on one job without doing anything twice."""
    provider = Scripted("ok", latency_s=0.002)
    model = ChatModel(provider)
    with jobs.open(url, models=model) as served:
        with monkeypatch.context() as patch:
            patch.setattr("surefoot.jobs.queue.is_at_hand", lambda: False)
            alone = jobs.open(url, models=model)
        job = served.submit("chat", [f"q{n}" for n in range(60)], chunk=3)

        async def both():
            return await asyncio.gather(served.work(), alone.work())

        did = asyncio.run(both())
        assert sum(one.done for one in did) == provider.calls == 60
        assert served.status(job).state == "done"
        other = alone.submit("chat", ["never delivered"])
        served.work_sync()
        assert served.status(other).done == 1
        alone.close()


def test_who_does_not_know_the_model_leaves_the_chunk_to_others(url):
    """The engine hands it out again."""
    with jobs.open(url) as q, jobs.open(url, models={"odd": ChatModel(Scripted("ok"))}) as able:
        job = able.submit("chat", ["a"], model="odd")
        with pytest.raises(Misconfigured, match="no chat model 'odd' here"):
            q.work_sync()
        able.work_sync()
        assert able.status(job).done == 1


def test_an_older_version_of_its_tables_is_brought_up(url, monkeypatch):
    """By the files that came with the newer one; tables that somebody else made are used as they are."""
    applied = []
    with jobs.open(url) as q:
        ask(q, "UPDATE sf_meta SET version = 30300 WHERE part = 'procrastinate'")

        def go(sql):
            monkeypatch.setattr(type(sql), "script", lambda _, text: applied.append(text))
            delivery._make_tables(sql)

        runtime.run(q._database.run(go, JOBS))
        assert applied
        assert all("retry" in text for text in applied)
        assert ask(q, "SELECT version FROM sf_meta WHERE part = 'procrastinate'") == [(VERSION,)]
        ask(q, "DELETE FROM sf_meta WHERE part = 'procrastinate'")
        applied.clear()
        runtime.run(q._database.run(go, JOBS))
        assert applied == []


def test_the_extra_brings_few_packages():
    """At most fifteen, the engine and its driver included."""
    found, todo = set(), ["procrastinate", "psycopg", "psycopg-binary", "psycopg-pool"]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        here = [said for said in metadata.requires(name) or () if not re.search(r"extra ==|sys_platform|python_version < .3\.", said)]
        todo += re.findall(r"^[\w.-]+", "\n".join(here).lower(), re.MULTILINE)
    assert len(found) <= 15, sorted(found)
