"""The lane that hands calls over as batches, beside any ledger: what goes into one, and lines that cannot be read."""

from __future__ import annotations

import asyncio

import pytest

from surefoot import ChatModel, Target, runtime
from surefoot.errors import Misconfigured, Overloaded
from surefoot.models.requests import scope
from surefoot.providers.batches import BATCH_SHARE, BatchLane, SubmittedBatch, lane, open_batches
from surefoot.providers.batches.openai import OpenAIBatches
from surefoot.testing.wire import OpenAISim


class Notes:
    """Batches noted in memory."""

    def __init__(self):
        self.batches, self.closed = [], []

    async def submitted(self):
        return []

    async def begin(self, items):
        self.batches.append(SubmittedBatch(name=f"n-{len(self.batches)}", items=tuple(items), begun_at=0.0))
        return self.batches[-1]

    async def note(self, batch):
        self.batches[-1] = batch

    async def taken(self):
        return ()

    async def close(self, batch, state):
        self.closed.append((batch.id, state))


async def asked(sim, prompts, **options):
    """What comes of asking these prompts by batches, and the notes."""
    target = Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k", lane="direct")
    notes = Notes()
    way = BatchLane(notes, count=len(prompts))

    def send_by(target, keys):
        way.vendor = open_batches(target, keys)
        return way

    async def one(number, prompt):
        with way.item(str(number)), scope(deadline_s=60):
            return await view.ainvoke(prompt, deadline_s=None, **(options.get(prompt, {})))

    async with ChatModel(target) as model, model.rerouted(send_by, share=BATCH_SHARE) as view:
        running = asyncio.ensure_future(way.run())
        found = await asyncio.gather(*(one(n, prompt) for n, prompt in enumerate(prompts)), return_exceptions=True)
        await running
    return found, notes


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Looks come at once."""
    monkeypatch.setattr(lane, "LOOKS_S", (0.01, 0.02))


def test_calls_that_may_not_be_in_one_batch_are_in_several(monkeypatch):
    """Of another model, or too many for one."""
    monkeypatch.setattr(OpenAIBatches, "most", (2, 10**6))
    with OpenAISim(answer="ok") as sim:
        found, notes = runtime.run(asked(sim, ["a", "b", "c", "other"], other={"model": "gpt-5"}))
        assert [reply.text for reply in found] == ["ok"] * 4
        assert [batch.items for batch in notes.batches] == [("0", "1"), ("2",), ("3",)]
        assert [state for _, state in notes.closed] == ["collected"] * 3


def test_a_line_that_cannot_be_read_costs_no_other_one():
    """Its item has no answer, as in a batch that expired."""
    with OpenAISim(answer="ok") as sim:
        keep = sim.batch

        def torn(request):
            reply = keep(request)
            if "/content" in request.path:
                first, _, rest = reply.body.partition(b"\n")
                reply.body = first[:-9] + b"\n" + rest.rstrip(b"\n")
            return reply

        sim.batch = torn
        found, _ = runtime.run(asked(sim, ["a", "b", "c"]))
        assert isinstance(found[0], Overloaded)
        assert [reply.text for reply in found[1:]] == ["ok", "ok"]


def test_headers_of_a_single_call_are_told_to_be_impossible():
    """A batch has none; nothing is sent."""
    with OpenAISim(answer="ok") as sim:
        found, _ = runtime.run(asked(sim, ["a"], a={"extra_headers": {"x-trace": "1"}}))
        assert isinstance(found[0], Misconfigured)
        assert sim.requests == []
