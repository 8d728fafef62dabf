"""What a user holds: submitting, looking, steering, on both stores."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from surefoot import ChatModel, Message, Policy, jobs
from surefoot.errors import BadRequest, ContentRefused, Exhausted, Misconfigured, Overloaded, RateLimited
from surefoot.jobs import queue as module
from surefoot.testing import Scripted


def answering(*steps, **said):
    """A queue's model that answers by script, and the script."""
    provider = Scripted(*steps, **said)
    return ChatModel(provider), provider


def echo(call):
    """The question, back."""
    text = call.request.messages[-1].text
    if text.startswith("bad"):
        raise ContentRefused(f"not {text}", status=400, code="filtered", target="scripted:model")
    return f"{text}!"


def test_a_job_runs_and_its_results_come_in_order(store):
    """Submit, work, read: with an id that says how far it is from any handle."""
    model, provider = answering(echo)
    with jobs.open(store, models=model) as q:
        job = q.submit("chat", [f"q{n}" for n in range(250)], temperature=0)
        before = q.status(job)
        assert (before.state, before.total, before.done, before.left) == ("open", 250, 0, 250)
        did = q.work_sync()
        assert (did.done, did.failed, did.chunks) == (250, 0, 3)
    with jobs.open(store) as other:
        after = other.status(job)
        assert (after.state, after.done, after.failed, after.is_over, after.eta_s) == ("done", 250, 0, True, 0.0)
        found = list(other.results(job))
        assert [(n, reply.text) for n, reply in found] == [(n, f"q{n}!") for n in range(250)]
        assert [item for _, item in other.inputs(job)] == [f"q{n}" for n in range(250)]
        assert [n for n, _ in other.results(job, start=248)] == [248, 249]
    assert provider.calls == 250
    assert {call.request.temperature for call in provider.seen} == {0}
    assert {call.priority for call in provider.seen} == {"batch"}
    assert dict(provider.seen[0].tags) == {"job": job}


async def test_every_method_has_a_twin_for_async_callers(store):
    """On any loop; work is awaited."""
    model, _ = answering(echo)
    async with jobs.open(store, models={"mine": model}) as q:
        job = await q.asubmit("chat", ["a", "bad", "c"], model="mine", tenant="acme", tags={"team": "blue"}, chunk=2)
        await q.work()
        assert [type(one).__name__ for _, one in [pair async for pair in q.aresults(job)]] == ["ChatReply", "ContentRefused", "ChatReply"]
        status = await q.astatus(job)
        assert (status.done, status.failed, status.tenant) == (2, 1, "acme")
        assert [one.id for one in await q.ajobs("done")] == [job]
        assert await q.acancel(job) == "done"
        assert await q.apause(job) == "done"
        assert await q.aresume(job) == "done"
        assert await q.aforget(job) == 1
        assert await q.ajobs() == []


def test_errors_are_values_and_come_back_as_what_they_were(lite):
    """With their class, message and fields; nothing is raised by reading."""
    causes = {"one": ContentRefused("filtered out", status=400, code="cf", target="t:m"), "two": RateLimited("slow", retry_after_s=0.01)}
    provider = Scripted(lambda call: causes[call.request.messages[-1].text])
    with jobs.open(lite, models=ChatModel(provider, policy=Policy(backoff_base_s=0.001))) as q:
        job = q.submit("chat", ["one", "two"])
        q.work_sync()
        one, two = (value for _, value in q.results(job))
    assert (type(one), str(one), one.status, one.code, one.target) == (ContentRefused, "filtered out", 400, "cf", "t:m")
    assert isinstance(two, Exhausted)
    assert {type(cause) for cause in two.exceptions} == {RateLimited}


def test_a_failed_item_is_asked_again_only_when_somebody_says_so(store):
    """The engine never does by itself; `resume(failed=True)` does, and leaves what was done alone."""
    provider = Scripted(*[ContentRefused("no")] * 2, "fine")
    with jobs.open(store, models=ChatModel(provider)) as q:
        job = q.submit("chat", ["a", "b", "c"])
        q.work_sync()
        assert (q.status(job).done, q.status(job).failed, provider.calls) == (1, 2, 3)
        assert q.resume(job) == "done"
        assert q.resume(job, failed=True) == "open"
        assert q.status(job).failed == 0
        q.work_sync()
        assert (q.status(job).state, q.status(job).done, provider.calls) == ("done", 3, 5)


def test_the_same_key_is_the_same_job_for_eight_who_submit_at_once(store):
    """For ever: also once it is done."""
    model, provider = answering("ok")
    queues = [jobs.open(store, models=model) for _ in range(8)]
    found = []
    threads = [
        threading.Thread(target=lambda q=q: found.append(q.submit("chat", [f"q{n}" for n in range(40)], key="nightly", chunk=5)))
        for q in queues
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    q = queues[0]
    deadline = time.monotonic() + 20
    while q.status(found[0]).state == "filling":  # whoever was first is still writing
        assert time.monotonic() < deadline
    q.work_sync()
    assert (q.status(found[0]).total, provider.calls) == (40, 40)
    assert q.submit("chat", ["other"], key="nightly") == found[0]
    assert len(q.jobs()) == 1
    for one in queues:
        one.close()


def test_an_urgent_job_goes_before_a_long_one(store):
    """Within a chunk, whatever was submitted before."""
    model, provider = answering("ok")
    with jobs.open(store, models=model) as q:
        q.submit("chat", [f"slow{n}" for n in range(30)], chunk=10)
        q.submit("chat", ["now"], priority="interactive")
        q.submit("chat", ["later"], priority=99)
        q.work_sync(chunks_at_once=1)
    asked = [call.request.messages[-1].text for call in provider.seen]
    assert asked[0] == "now"
    assert asked[-1] == "later"
    assert provider.seen[0].priority == "interactive"


def test_a_job_begins_when_it_may(store):
    """`not_before` as a moment; a wait is told apart."""
    model, provider = answering("ok")
    with jobs.open(store, models=model) as q:
        job = q.submit("chat", ["x"], not_before=datetime.now(UTC) + timedelta(seconds=1))
        q.submit("chat", ["y"], not_before=datetime.now(UTC).timestamp() - 5)
        q.work_sync()
        assert q.status(job).state == "done"
        assert [call.request.messages[-1].text for call in provider.seen] == ["y", "x"]
        with pytest.raises(Misconfigured, match="a moment, in seconds since 1970"):
            q.submit("chat", ["x"], not_before=60)
        with pytest.raises(Misconfigured, match="time zone"):
            q.submit("chat", ["x"], not_before=datetime(2026, 12, 1))  # noqa: DTZ001 - that is what is wrong


def test_a_cancelled_job_asks_nothing_more_and_keeps_what_was_done(store):
    """Also while it is being worked on."""
    with jobs.open(store, models=ChatModel(Scripted(lambda call: echo(call), latency_s=0.01))) as q:
        job = q.submit("chat", [f"q{n}" for n in range(40)], chunk=10)
        other = q.submit("chat", ["z"])
        assert q.cancel(other) == "cancelled"
        assert q.resume(other) == "cancelled"
        assert q.status(other).ended_at is not None
        q.work_sync(job, chunks_at_once=1)
        assert q.cancel(job) == "done"
        assert q.status(other).done == 0
    with pytest.raises(Misconfigured, match="no job 'nope'"):
        jobs.open(store).cancel("nope")


def test_a_paused_job_rests_until_it_is_resumed(store):
    """And a worker that finds nothing else ends."""
    model, provider = answering("ok")
    with jobs.open(store, models=model) as q:
        job = q.submit("chat", ["a", "b"])
        assert q.pause(job) == "paused"
        q.work_sync()
        assert provider.calls == 0
        assert q.resume(job) == "open"
        q.work_sync()
        assert (provider.calls, q.status(job).state) == (2, "done")


def test_what_is_old_is_forgotten_and_nothing_else(store, monkeypatch):
    """By age, by its own time to be kept, or by name; with everything that is its."""
    monkeypatch.setattr("surefoot.jobs.ledger.AT_ONCE", 3)
    model, _ = answering("ok")
    with jobs.open(store, models=model) as q:
        short, kept, open_one = (q.submit("chat", list("abcdefgh"), ttl_days=days, key=f"{days}") for days in (1e-9, 30, None))
        q.pause(open_one)
        q.work_sync()
        assert q.forget() == 1
        with pytest.raises(Misconfigured, match="no job"):
            q.status(short)
        with pytest.raises(Misconfigured, match="no job"):
            list(q.results(short))
        assert len(list(q.results(kept))) == 8
        assert q.forget(older_than_days=0) == 1
        assert [one.id for one in q.jobs()] == [open_one]
        assert q.forget(open_one) == 1
        with pytest.raises(Misconfigured, match="no job"):
            q.forget(open_one)
        assert q.submit("chat", ["again"], key="30") != kept


def test_results_can_be_followed_until_the_job_has_ended(lite):
    """In order, each as soon as all before it are there."""
    gate = threading.Event()

    def slow(call):
        if call.request.messages[-1].text == "q3":
            gate.wait(20)
        return "ok"

    async def held(call):
        return await asyncio.to_thread(slow, call)

    with jobs.open(lite, models=ChatModel(Scripted(held))) as q:
        job = q.submit("chat", [f"q{n}" for n in range(6)])
        worker = threading.Thread(target=q.work_sync)
        worker.start()
        found = q.results(job, wait=True)
        assert [next(found)[0] for _ in range(3)] == [0, 1, 2]
        gate.set()
        assert [n for n, _ in found] == [3, 4, 5]
        worker.join()


def test_inputs_may_be_all_that_a_chat_takes(lite):
    """Text, messages, dicts of messages, and options of one item beside its question."""
    model, provider = answering("ok")
    given = [
        "plain",
        Message.user("one"),
        [Message.system("s"), Message.user("two")],
        [{"role": "user", "content": "three"}],
        {"prompt": "four", "temperature": 0.5, "id": "q4"},
        {"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "five"}]},
        {"question": "six", "system": "brief"},
    ]
    with jobs.open(lite, models=model) as q:
        job = q.submit("chat", given, system="standing", max_tokens=7)
        q.work_sync()
        assert q.status(job).done == len(given)
    asked = {call.request.messages[-1].text: call.request for call in provider.seen}
    assert [one.role for one in asked["plain"].messages] == ["system", "user"]
    assert asked["two"].messages[0].text == "s"
    assert asked["four"].temperature == 0.5
    assert asked["five"].messages[0].text == "own"
    assert asked["six"].messages[0].text == "brief"
    assert {request.max_tokens for request in asked.values()} == {7}


BAD = {
    "kind": ({"kind": "chatt"}, "did you mean 'chat'"),
    "no inputs": ({"inputs": []}, "no inputs"),
    "text": ({"inputs": "hello"}, "not str"),
    "an item": ({"inputs": ["a", "b", "  "]}, "item 2: the last message is empty"),
    "an item's option": ({"inputs": [{"prompt": "a", "temprature": 1}]}, "item 0: unknown option 'temprature'"),
    "two questions": ({"inputs": [{"prompt": "a", "text": "b"}]}, "item 0: an item says its question once"),
    "a message": ({"inputs": [[{"role": "usr", "content": "x"}]]}, "item 0: a message cannot be read"),
    "an option": ({"temprature": 1}, "did you mean 'temperature'"),
    "a model": ({"model": object()}, "model is a name"),
    "a target": ({"model": "nobody:x"}, "nobody"),
    "an unknown name": ({"model": "nightly"}, "no chat model 'nightly' here: known are default"),
    "a budget": ({"budget_usd": 0}, "budget_usd = 0 must be a number above 0"),
    "a priority": ({"priority": "urgent"}, "'batch', 'interactive', or a whole number"),
    "a time to live": ({"ttl_days": -1}, "ttl_days"),
    "tags": ({"tags": ["x"]}, "tags are a dict of text"),
    "a chunk": ({"chunk": 0}, "chunk = 0"),
    "how": ({"how": "batch"}, "how = 'batch'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_is_written(case, lite):
    """One clear error, naming what was wrong."""
    said, told = BAD[case]
    with jobs.open(lite, models=ChatModel(Scripted("ok"))) as q:
        with pytest.raises((BadRequest, Misconfigured), match=told):
            q.submit(**{"kind": "chat", "inputs": ["x"], **said})
        assert q.jobs() == []


def test_a_bad_item_far_into_the_inputs_leaves_no_job_behind(store, monkeypatch):
    """Inputs are read as they come, so the first ones are written already."""
    monkeypatch.setattr(module, "CHUNKS_AT_ONCE", 2)
    with jobs.open(store) as q:
        with pytest.raises(BadRequest, match="item 45"):
            q.submit("chat", (f"q{n}" if n < 45 else " " for n in range(100)), key="k", chunk=10)
        assert q.jobs() == []
        assert q.submit("chat", ["x"], key="k")


def test_a_model_that_cannot_be_found_is_told_once_all_else_is_done(store):
    """By whoever works; who only submits may know no model."""
    with jobs.open(store) as q:
        odd = q.submit("chat", ["x"], model="elsewhere")
        fine = q.submit("chat", ["y"])
    model, _ = answering("ok")
    with jobs.open(store, models=model) as q:
        with pytest.raises(Misconfigured, match="no chat model 'elsewhere' here"):
            q.work_sync()
        assert (q.status(odd).state, q.status(fine).state) == ("open", "done")


def test_an_outage_that_refuses_before_sending_fails_nothing(lite, monkeypatch):
    """An open breaker sends nothing and costs nothing, so the item waits and is asked when the target is back."""
    monkeypatch.setattr("surefoot.jobs.kinds._asking.PAUSE_S", 0.01)
    outage = [Overloaded("down")] * 10
    provider = Scripted(*outage, "back")
    policy = Policy(attempts=1, breaker_open_s=0.05, backoff_base_s=0.001)
    with jobs.open(lite, models=ChatModel(provider, policy=policy)) as q:
        job = q.submit("chat", [f"q{n}" for n in range(16)])
        q.work_sync()
        status = q.status(job)
    assert status.done + status.failed == 16
    assert status.failed <= 10
    assert {type(value).__name__ for _, value in q.results(job) if isinstance(value, Exception)} == {"Overloaded"}


def test_addresses_that_are_no_store_are_told(tmp_path):
    """Before anything is opened, and without a password."""
    with pytest.raises(Misconfigured, match=r'"sqlite:PATH" or "postgresql://'):
        jobs.open("redis://localhost")
    with pytest.raises(Misconfigured, match=r"mysql:\*\*\*"):
        jobs.open("mysql://me:secret@host/db")
    (tmp_path / "text.db").write_text("no database, but long enough to look at" * 10)
    with jobs.open(f"sqlite:{tmp_path / 'text.db'}") as q, pytest.raises(Misconfigured, match=r"text\.db cannot be used"):
        q.jobs()
