"""Working: who dies, who stands still, who is told to stop, who cannot, and a budget that ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from surefoot import ChatModel, Target, jobs, runtime
from surefoot.errors import ContentRefused, Misconfigured
from surefoot.jobs import claims
from surefoot.jobs.ledger import JOBS
from surefoot.jobs.records import ItemRow
from surefoot.jobs.worker import JobWorker
from surefoot.storage.sql import open_database
from surefoot.testing import STALL, Scripted
from surefoot.testing.wire import OpenAISim

ROOT = Path(__file__).parent.parent.parent


def scripted(*steps, **said):
    return ChatModel(Scripted(*steps, **said))


def on(store, fn, *values, **named):
    """Run a function of the tables."""
    database = open_database(store)

    async def go():
        try:
            return await database.run(partial(fn, *values, **named), JOBS)
        finally:
            await database.aclose()

    return runtime.run(go())


def test_what_a_dead_worker_held_is_taken_up_and_what_it_wrote_is_not_asked_again(store):
    """Its lease runs out; a result is never asked for twice."""
    provider = Scripted("mine")
    with jobs.open(store, models=ChatModel(provider)) as q:
        job = q.submit("chat", [f"q{n}" for n in range(10)], chunk=5)
        assert on(store, claims.claim, worker="dead", lease_s=0.4) == (job, 0)
        kept = q.submit("chat", ["a", "b"])
        on(store, claims.put, outcomes=[ItemRow(job, 0, n, ok=False, body=b"{}") for n in (1, 3)])
        q.work_sync(dead_s=1.0)
        assert (q.status(job).done, q.status(job).failed, q.status(kept).done) == (8, 2, 2)
    assert provider.calls == 10


def test_who_comes_back_after_being_taken_for_dead_changes_nothing(store):
    """Its late results are dropped where there are some, its release and its heartbeat do nothing, and the counters are exact."""
    with jobs.open(store, models=scripted("second")) as q:
        job = q.submit("chat", ["a", "b", "c"])
        assert on(store, claims.claim, worker="slow", lease_s=-1.0) == (job, 0)
        q.work_sync()
        on(store, claims.put, outcomes=[ItemRow(job, 0, n, ok=False, body=b"late", cost_nano=5) for n in range(3)])
        on(store, claims.release, worker="slow", job=job, no=0)
        assert on(store, claims.beat, worker="slow", lease_s=9.0, rates={}) == set()
        status = q.status(job)
        assert (status.state, status.done, status.failed, status.cost_usd) == ("done", 3, 0, 0.0)
        assert [reply.text for _, reply in q.results(job)] == ["second"] * 3


def test_a_worker_that_lost_its_chunk_stops_asking(store, monkeypatch):
    """It stood still for longer than its lease: at the next heartbeat it ends what others do now."""
    monkeypatch.setattr("surefoot.jobs.worker.BEAT_S", 0.05)
    provider = Scripted(STALL, times=3)
    with jobs.open(store, models=ChatModel(provider)) as q:
        job = q.submit("chat", ["a", "b", "c"])

        async def taken_over():
            working = asyncio.ensure_future(q.work(dead_s=2.0))
            while provider.in_flight < 3:
                await asyncio.sleep(0.01)
            database = open_database(store)
            await database.run(lambda sql: sql.change("UPDATE sf_chunk SET worker = 'other', lease = ?", (sql.now() + 0.3,)), JOBS)
            while provider.in_flight:
                await asyncio.sleep(0.01)
            assert not working.done()  # somebody has it, who may die yet
            await working
            await database.aclose()

        asyncio.run(asyncio.wait_for(taken_over(), 30))
        assert q.status(job).done == 3


@pytest.mark.parametrize("how", ["cancel", "pause"])
def test_a_job_that_is_stopped_from_elsewhere_is_left_within_a_heartbeat(how, store, monkeypatch):
    """No new call later than two seconds; what was done is kept."""
    monkeypatch.setattr("surefoot.jobs.worker.BEAT_S", 0.1)
    provider = Scripted("first", "first", STALL)
    with jobs.open(store, models=ChatModel(provider)) as q, jobs.open(store) as elsewhere:
        job = q.submit("chat", [f"q{n}" for n in range(8)], chunk=4)

        async def stopped():
            working = asyncio.ensure_future(q.work(chunks_at_once=1))
            while provider.calls < 4:
                await asyncio.sleep(0.01)
            await getattr(elsewhere, f"a{how}")(job)
            began = time.monotonic()
            await working
            return time.monotonic() - began

        assert asyncio.run(asyncio.wait_for(stopped(), 60)) < 30
        assert provider.calls == 4
        assert q.status(job).done == 2
        assert [n for n, _ in q.results(job)] == [0, 1]


def test_two_workers_share_a_job_and_no_item_is_asked_twice(store):
    """Each chunk has one worker at a time."""
    provider = Scripted("ok", latency_s=0.002)
    queues = [jobs.open(store, models=ChatModel(provider)) for _ in range(3)]
    job = queues[0].submit("chat", [f"q{n}" for n in range(120)], chunk=7)

    async def both():
        return await asyncio.gather(*(q.work() for q in queues))

    did = asyncio.run(both())
    assert sum(one.done for one in did) == provider.calls == 120
    assert len({call.request.messages[-1].text for call in provider.seen}) == 120
    assert queues[0].status(job).state == "done"
    for q in queues:
        q.close()


def test_a_chunk_handed_out_twice_to_one_worker_is_asked_once(store):
    """A resumed job's chunk is handed out once more, and the first message may still be on its way."""
    provider = Scripted("ok", latency_s=0.05)
    with jobs.open(store, models=ChatModel(provider)) as q:
        job = q.submit("chat", [f"q{n}" for n in range(4)])

        async def twice():
            worker = JobWorker(q._database, q._models)
            await asyncio.gather(worker._handed(job, 0), worker._handed(job, 0))
            await worker._holder.close(0.0)

        runtime.run(twice())
        assert (provider.calls, q.status(job).state) == (4, "done")


def test_who_stood_still_beyond_its_own_lease_asks_nothing_twice(store):
    """A suspended machine wakes up with its lease run out and its calls still under way: taking the chunk again goes on with them."""
    provider = Scripted("ok", latency_s=0.2)
    with jobs.open(store, models=ChatModel(provider)) as q:
        job = q.submit("chat", [f"q{n}" for n in range(4)])

        async def suspended():
            worker = JobWorker(q._database, q._models)
            assert await worker._take()
            await q._database.run(lambda sql: sql.change("UPDATE sf_chunk SET lease = 1.0"), JOBS)
            assert await worker._take()
            assert len(worker._holder) == 1
            await worker._holder.wait(20)
            await worker._holder.close(0.0)

        runtime.run(suspended())
        assert (provider.calls, q.status(job).state) == (4, "done")


def test_a_cancelled_worker_gives_back_what_it_holds(store):
    """At once takeable by others; what came during its grace is written."""
    provider = Scripted("ok", "ok", STALL, STALL, "ok")
    with jobs.open(store, models=ChatModel(provider)) as q:
        job = q.submit("chat", ["a", "b", "c", "d"])

        async def cancelled():
            working = asyncio.ensure_future(q.work(grace_s=0.05))
            while provider.calls < 4:
                await asyncio.sleep(0.01)
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working

        asyncio.run(asyncio.wait_for(cancelled(), 30))
        assert q.status(job).done == 2
        assert on(store, lambda sql: sql.rows("SELECT state, worker FROM sf_chunk")) == [("wait", None)]
        q.work_sync()
        assert (q.status(job).done, provider.calls) == (4, 6)


def test_a_budget_pauses_the_job_before_it_is_passed(store):
    """Reserved for each item before it is sent, so that any number at once stay within; with another budget it goes on."""
    with OpenAISim(answer="four words of text") as sim:
        target = Target("openai:m", base_url=f"{sim.url}/v1", api_key="k", lane="direct", input_usd_per_mtok=1000, output_usd_per_mtok=1000)
        with jobs.open(store, models=ChatModel(target)) as q:
            job = q.submit("chat", [f"question {n}" for n in range(60)], budget_usd=0.5, max_tokens=10, chunk=20)
            q.work_sync()
            status = q.status(job)
            assert status.state == "paused"
            assert "budget of $0.5" in status.reason
            assert 0 < status.done < 60
            assert status.failed == 0
            paid = 1e-3 * sum(one.input_tokens + one.output_tokens for one in sim.usage_log.values())
            assert paid == pytest.approx(status.cost_usd)
            assert status.cost_usd <= 0.5
            assert q.resume(job, budget_usd=100) == "open"
            q.work_sync()
            status = q.status(job)
            assert (status.state, status.done, status.budget_usd) == ("done", 60, 100)
        assert len(sim.requests) == 60


def test_a_chunk_is_done_once_by_all_who_are_told_to_do_it(store):
    """An engine may deliver it twice, and somebody's own worker may have it."""
    provider = Scripted("ok", latency_s=0.01)
    model = ChatModel(provider)
    with jobs.open(store, models=model) as q:
        job = q.submit("chat", [f"q{n}" for n in range(12)], chunk=6)

        async def told():
            first = [jobs.run_chunk(store, job, 0, models=model, dead_s=2.0) for _ in range(3)]
            in_thread = asyncio.to_thread(jobs.run_chunk_sync, store, job, 1, models=model)
            return await asyncio.gather(*first, in_thread, q.work())

        said = asyncio.run(told())
        assert said[:4] == ["done"] * 4
        assert (q.status(job).done, provider.calls) == (12, 12)
        assert jobs.run_chunk_sync(store, job, 1) == "done"  # nothing left, so no model is needed
        with pytest.raises(Misconfigured, match="no chunk 2"):
            jobs.run_chunk_sync(store, job, 2)
        with pytest.raises(Misconfigured, match="no job"):
            jobs.run_chunk_sync(store, "nope", 0)
        other = q.submit("chat", ["x"])
        q.cancel(other)
        assert jobs.run_chunk_sync(store, other, 0) == "cancelled"


def test_an_engine_that_waits_for_a_dead_holder_does_the_chunk_itself(store):
    """`run_chunk` returns only once the chunk is done, whoever had it."""
    with jobs.open(store, models=scripted("ok")) as q:
        job = q.submit("chat", ["a", "b"])
        on(store, claims.claim, worker="dead", lease_s=0.3)
        assert asyncio.run(q.run_chunk(job, 0)) == "done"


def test_results_are_kept_while_the_file_is_locked(lite):
    """What was paid for is written once the lock is gone."""
    path = lite.removeprefix("sqlite:")
    with jobs.open(lite, models=scripted("paid")) as q:
        job = q.submit("chat", ["a", "b", "c"])
        lock = sqlite3.connect(path, isolation_level=None, timeout=10)

        async def locked():
            database = q._database
            started = asyncio.Event()
            original = database.run

            async def run(fn, schema, *, reads=False):
                if getattr(fn, "func", None) is claims.put and not started.is_set():
                    started.set()
                    lock.execute("BEGIN IMMEDIATE")
                    asyncio.get_running_loop().call_later(0.3, lock.execute, "COMMIT")
                return await original(fn, schema, reads=reads)

            database.run = run
            try:
                await q.work()
            finally:
                del database.run
            return started.is_set()

        assert runtime.run(locked())
        assert q.status(job).done == 3
        lock.close()


def test_sigterm_ends_a_worker_within_a_second_and_loses_nothing(lite, tmp_path, monkeypatch):
    """In the middle of a chunk; another one goes on from the item."""
    with OpenAISim(answer="ok", latency_s=0.05) as sim:
        (tmp_path / "surefoot.toml").write_text(
            f'[chat.default]\ntargets = ["openai:m"]\n[target."openai:m"]\nbase_url = "{sim.url}/v1"\napi_key = "k"\nconcurrency = 5\n'
        )
        with jobs.open(lite, config=tmp_path / "surefoot.toml") as q:
            job = q.submit("chat", [f"q{n}" for n in range(300)], chunk=50)
            monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / one) for one in ("src", "integrations", "pipelines", "eval")))
            worker = subprocess.Popen(
                [sys.executable, "-m", "surefoot", "jobs", "work", "--store", lite, "-c", str(tmp_path / "surefoot.toml")],
                stderr=subprocess.DEVNULL,
            )
            until = time.monotonic() + 60
            while q.status(job).done < 20:
                assert time.monotonic() < until
                time.sleep(0.05)
            worker.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert worker.wait(timeout=30) == 0
            assert time.monotonic() - began < 20  # on an idle machine 0.6 s
            done = q.status(job).done
            assert 20 <= done < 300
            calls = len(sim.requests)
            assert calls - done <= 5
            q.cancel(job)
    assert done == len([value for _, value in q.results(job) if not isinstance(value, ContentRefused)])
