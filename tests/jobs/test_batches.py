"""`how="vendor-batch"`: three vendors' batch APIs over the ledger; submitted once whatever dies, at half the price, within budgets."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from surefoot import ChatModel, Policy, Target, jobs
from surefoot.errors import BadRequest, Misconfigured, Overloaded
from surefoot.providers.batches import lane
from surefoot.testing import Scripted
from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim, fault

ROOT = Path(__file__).parent.parent.parent
SIMS = {"openai": (OpenAISim, "openai:gpt-5-mini", "/v1"), "anthropic": (AnthropicSim, "anthropic:claude-haiku-4-5", ""),
        "google": (GeminiSim, "google:gemini-2.5-flash", "")}  # fmt: skip
PRICES = {"input_usd_per_mtok": 1000, "output_usd_per_mtok": 1000}
ITEMS = ("/chat/completions", "/messages", ":generateContent")
MADE = ("/v1/batches", "/v1/messages/batches", ":batchGenerateContent")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Looks at a batch come at once."""
    monkeypatch.setattr(lane, "LOOKS_S", (0.01, 0.02))
    monkeypatch.setattr(lane, "AGAIN_S", 0.01)
    monkeypatch.setattr(lane, "QUIET_S", 0.5)
    monkeypatch.setattr("surefoot.providers.batches.anthropic.LOOKS_S", (0.01, 0.02))


@contextmanager
def vendor(name="openai", **said):
    """A simulator and a model of its vendor."""
    sim_of, target, path = SIMS[name]
    policy = said.pop("policy", None)
    with sim_of(answer=lambda ask: f"{ask.user_text}!", **said) as sim:
        yield sim, ChatModel(Target(target, base_url=sim.url + path, api_key="k", lane="direct", **PRICES), policy=policy)


def submissions(sim):
    """How often a batch was made."""
    return sum(one.method == "POST" and one.path.endswith(MADE) for one in sim.requests)


def spent(sim):
    """What the vendor's bill says, at half the price of 1,000 dollars a million tokens."""
    return 0.5e-3 * sum(one.input_tokens + one.output_tokens for one in sim.usage_log.values())


@pytest.mark.parametrize("name", SIMS)
def test_a_job_is_done_by_batches_at_half_the_price(name, store):
    """Each chunk one batch; answers by item, the bill in the ledger, an item's refusal as its value."""
    with vendor(name) as (sim, model), jobs.open(store, models=model) as q:
        sim.script(fault("status_400"), when=lambda request: b"question 3" in request.body and request.path.endswith(ITEMS))
        sim.desk.looks = 2
        job = q.submit("chat", [f"question {n}" for n in range(7)], how="vendor-batch", chunk=4, max_tokens=20, system="Be brief.")
        q.work_sync()
        status, found = q.status(job), dict(q.results(job))
        assert (status.state, status.done, status.failed) == ("done", 6, 1)
        assert isinstance(found.pop(3), BadRequest)
        assert {n: reply.text for n, reply in found.items()} == {n: f"question {n}!" for n in (0, 1, 2, 4, 5, 6)}
        assert submissions(sim) == 2
        assert status.cost_usd == pytest.approx(spent(sim))
        assert status.cost_usd == pytest.approx(sum(reply.cost_usd for reply in found.values()))
        key = {"openai": "authorization", "anthropic": "x-api-key", "google": "x-goog-api-key"}[name]
        assert all("k" in one.headers[key] for one in sim.requests)


@pytest.mark.parametrize("died", ["before the batch", "after it, before it was noted", "while it ran"])
@pytest.mark.parametrize("name", SIMS)
def test_whatever_dies_no_batch_is_submitted_twice(name, died, lite, monkeypatch):
    """The note without an id makes the next worker look for the batch by its name before it submits."""
    with vendor(name) as (sim, model), jobs.open(lite, models=model) as q:
        job = q.submit("chat", [f"q{n}" for n in range(3)], how="vendor-batch")
        sim.desk.looks = 10**6 if died == "while it ran" else 1

        async def killed():
            """As a process ends: in the middle, and nothing is given back."""
            reached = asyncio.Event()

            async def stop(*_, **__):
                reached.set()
                await asyncio.sleep(60)

            where = {"before the batch": "_submitted", "while it ran": "_collect"}.get(died)
            with monkeypatch.context() as patch:
                if where == "_submitted":
                    patch.setattr(lane.BatchLane, where, stop)
                elif where is None:
                    patch.setattr("surefoot.jobs.batches.LedgerNotes.note", stop)
                working = asyncio.ensure_future(q.work(grace_s=0.0))
                while not (reached.is_set() or (died == "while it ran" and len(sim.requests) > 4)):
                    await asyncio.sleep(0.01)
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

        asyncio.run(asyncio.wait_for(killed(), 60))
        assert submissions(sim) == (0 if died == "before the batch" else 1)
        assert q.status(job).done == 0
        sim.desk.looks = 1
        q.work_sync()
        assert (q.status(job).done, submissions(sim)) == (3, 1)
        assert len(sim.usage_log) == 3


def test_a_connection_lost_while_submitting_is_no_second_batch(lite):
    """Whether it arrived is looked up, not guessed."""
    with vendor() as (sim, model), jobs.open(lite, models=model) as q:
        serve = sim.batch

        def lost(request):
            reply = serve(request)
            if request.path == "/v1/batches" and request.method == "POST" and not lost.told:
                lost.told = True
                reply.drop = "reset"
            return reply

        lost.told = False
        sim.batch = lost
        job = q.submit("chat", ["a", "b"], how="vendor-batch")
        q.work_sync()
        assert (lost.told, q.status(job).done, submissions(sim)) == (True, 2, 1)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_batch_that_expires_leaves_errors_that_can_be_asked_again(name, lite):
    """What it had answered is kept; the rest are values, and `resume(failed=True)` puts them into a batch of their own."""
    with vendor(name) as (sim, model), jobs.open(lite, models=model) as q:
        sim.desk.ends = "expired"
        job = q.submit("chat", [f"q{n}" for n in range(6)], how="vendor-batch")
        q.work_sync()
        assert (q.status(job).done, q.status(job).failed) == (3, 3)
        errors = [value for _, value in q.results(job) if isinstance(value, Exception)]
        assert {(type(one), one.code) for one in errors} == {(Overloaded, "batch_expired")}
        sim.desk.ends = "completed"
        q.resume(job, failed=True)
        q.work_sync()
        assert (q.status(job).done, submissions(sim), len(sim.usage_log)) == (6, 2, 6)


def test_a_batch_that_the_vendor_refuses_pauses_the_job(lite):
    """With the vendor's reason; resumed it is submitted anew."""
    with vendor() as (sim, model), jobs.open(lite, models=model) as q:
        sim.desk.ends = "failed"
        job = q.submit("chat", ["a"], how="vendor-batch")
        q.work_sync()
        assert (q.status(job).state, q.status(job).failed) == ("paused", 0)
        assert "the batch was refused: This line is not parseable" in q.status(job).reason
        sim.desk.ends = "completed"
        q.resume(job)
        q.work_sync()
        assert (q.status(job).done, submissions(sim)) == (1, 2)


@pytest.mark.parametrize("name", SIMS)
def test_a_cancelled_job_ends_its_batches(name, lite, monkeypatch):
    """By the worker that waits for them; a batch that nobody waits for by whoever cancels it, or by the next worker.

    What was answered by then is on the bill, and is kept."""
    monkeypatch.setattr("surefoot.jobs.worker.BEAT_S", 0.05)
    with vendor(name) as (sim, model), jobs.open(lite, models=model) as q, jobs.open(lite) as elsewhere:
        sim.desk.looks = 10**6
        serve = sim.batch

        def slowly(request):
            reply = serve(request)
            if request.path.endswith("cancel"):
                reply.delay_s = 0.2  # it is over for others before who ended it hears so
            return reply

        sim.batch = slowly
        first, second, third = (q.submit("chat", ["a", "b"], how="vendor-batch") for _ in range(3))

        async def cancelled():
            working = asyncio.ensure_future(q.work(grace_s=0.0))
            while len(sim.desk.batches) < 3 or len(sim.requests) < 15:
                await asyncio.sleep(0.01)
            await elsewhere.acancel(first)  # knows no model
            while ended(sim) < 1:
                await asyncio.sleep(0.01)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

        asyncio.run(asyncio.wait_for(cancelled(), 60))
        assert ended(sim) == 1
        q.cancel(second)
        assert ended(sim) == 2
        elsewhere.cancel(third)
        assert ended(sim) == 2
        q.work_sync()
        assert ended(sim) == 3
        assert {q.status(job).state for job in (first, second, third)} == {"cancelled"}
        q.work_sync()
        kept = [] if name == "google" else [(0, "a!")]  # the first half was answered; Gemini gives nothing of a cancelled batch
        for job in (first, second, third):
            assert [(n, reply.text) for n, reply in q.results(job)] == kept
            assert (q.status(job).done, q.status(job).failed) == (len(kept), 0)
        if kept:
            assert sum(q.status(job).cost_usd for job in (first, second, third)) == pytest.approx(spent(sim))
        asked = len(sim.requests)
        q.work_sync()
        assert len(sim.requests) == asked


def ended(sim):
    """Batches that were told to end."""
    return sum(one.state in {"stopping", "cancelled"} for one in sim.desk.batches.values())


def test_a_worker_killed_while_a_vendor_works_costs_nothing_twice(lite, tmp_path, monkeypatch):
    """A process of its own, kill -9: another one collects the batch that is there."""
    with OpenAISim(answer="ok") as sim:
        sim.desk.looks = 10**6
        (tmp_path / "surefoot.toml").write_text(
            f'[chat.default]\ntargets = ["openai:gpt-5-mini"]\n[target."openai:gpt-5-mini"]\nbase_url = "{sim.url}/v1"\napi_key = "k"\n'
        )
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / one) for one in ("src", "integrations", "pipelines", "eval")))
        command = [sys.executable, "-m", "surefoot", "jobs", "work", "--store", lite, "-c", "surefoot.toml", "--dead-s", "1"]
        with jobs.open(lite, config=tmp_path / "surefoot.toml") as q:
            job = q.submit("chat", [f"q{n}" for n in range(5)], how="vendor-batch")
            worker = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
            until = time.monotonic() + 60
            while not sim.desk.batches:
                assert time.monotonic() < until
                time.sleep(0.05)
            worker.kill()
            worker.wait()
            sim.desk.looks = 1
            q.work_sync(dead_s=1.0)
            assert (q.status(job).done, submissions(sim), len(sim.usage_log)) == (5, 1, 5)


def test_a_budget_is_reserved_before_anything_is_submitted(lite):
    """What does not fit is not in the batch; the job pauses within its budget and goes on with a larger one."""
    with vendor() as (sim, model), jobs.open(lite, models=model) as q:
        job = q.submit("chat", [f"question {n}" for n in range(40)], how="vendor-batch", budget_usd=0.2, max_tokens=10)
        q.work_sync()
        status = q.status(job)
        assert status.state == "paused"
        assert "budget of $0.2" in status.reason
        assert 0 < status.done < 40
        assert status.failed == 0
        assert status.cost_usd == pytest.approx(spent(sim))
        assert status.cost_usd <= 0.2
        q.resume(job, budget_usd=100)
        q.work_sync()
        assert q.status(job).done == 40
        assert len(sim.usage_log) == 40


def test_what_is_in_the_cache_is_not_in_the_batch(lite):
    """Every item goes through the layers."""
    with OpenAISim(answer="x") as sim:
        target = Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k", lane="direct")
        with ChatModel(target, cache="memory") as model, jobs.open(lite, models=model) as q:
            model.invoke("known")
            q.submit("chat", ["known", "new", "new"], how="vendor-batch")
            q.work_sync()
            (batch,) = sim.desk.batches.values()
            assert [json.loads(body)["messages"][-1]["content"] for _, body in batch.items.values()] == ["new", "new"]


def test_a_worker_does_other_work_while_it_waits_for_a_vendor(store):
    """A batch takes hours, and holds up nothing."""
    provider = Scripted("ok")
    with vendor() as (sim, model), jobs.open(store, models={"default": model, "live": ChatModel(provider)}) as q:
        sim.desk.looks = 10**6
        slow = q.submit("chat", [f"q{n}" for n in range(6)], how="vendor-batch", chunk=2, priority="interactive")
        live = q.submit("chat", ["a", "b"], model="live")

        async def both():
            working = asyncio.ensure_future(q.work(chunks_at_once=1))
            while (await q.astatus(live)).state != "done" or len(sim.desk.batches) < 3:
                await asyncio.sleep(0.02)
            sim.desk.looks = 1
            await working

        asyncio.run(asyncio.wait_for(both(), 60))
        assert (q.status(slow).done, submissions(sim)) == (6, 3)


WRONG = {
    "a kind": ({"kind": "embed", "model": "openai:text-embedding-3-small"}, "how = 'vendor-batch': known is 'live'"),
    "a provider": ({"model": "local:extractive"}, "local:extractive has no batch API that is spoken here; openai, anthropic, google"),
    "a script": ({"model": "mine"}, "a provider of your own has no batch API"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_done_by_batches_is_told_at_once(case, lite):
    """Before anything is written."""
    said, told = WRONG[case]
    with jobs.open(lite, models={"mine": ChatModel(Scripted("ok"))}) as q:
        with pytest.raises(Misconfigured, match=told):
            q.submit(**{"kind": "chat", "inputs": ["x"], "how": "vendor-batch", **said})
        assert q.jobs() == []


def test_the_policys_own_limits_and_events_hold(lite):
    """A subscriber hears each item's attempt at the price that was paid."""
    heard = []
    with vendor(policy=Policy(deadline_s=0.001, attempts=3)) as (sim, model), jobs.open(lite, models=model) as q:
        model.subscribe(heard.append, inline=True)
        q.submit("chat", ["a", "b"], how="vendor-batch")
        q.work_sync()
        ended = [one for one in heard if type(one).__name__ == "AttemptEnded"]
        assert sum(one.attempt.cost_usd for one in ended) == pytest.approx(spent(sim))
        assert model.invoke("live", deadline_s=20).cost_usd == pytest.approx(2 * 1e-3 * 0.5 * sum_tokens(sim))


def sum_tokens(sim):
    last = list(sim.usage_log.values())[-1]
    return last.input_tokens + last.output_tokens
