"""How layers are put in a row, and what is shared."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from surefoot import ChatModel, EmbedModel, Policy, Target, runtime
from surefoot.core.stack import CALL_ORDER, TARGET_ORDER
from surefoot.errors import DeadlineTooNear, Misconfigured, Refused
from surefoot.events import CallEnded, CallStarted
from surefoot.models.endpoints import ResolvedTarget
from surefoot.testing import Scripted
from surefoot.testing.wire import OpenAISim
from surefoot.types import Traits
from surefoot.usage.prices import Price


def test_layers_stand_in_the_default_order():
    """The order is the design."""
    lines = ChatModel(Scripted("a", name="a"), Scripted("b", name="b"), policy=Policy(hedge_after="p95")).describe().splitlines()
    names = [line.split(":")[0].strip() for line in lines]
    for order, least in ((CALL_ORDER, 3), (TARGET_ORDER, 4)):
        found = [names.index(layer) for layer in order if layer in names]
        assert found == sorted(found)
        assert len(found) >= least


def test_embedding_models_of_two_spaces_do_not_stand_in_for_each_other():
    """Same dimension is not same space; one foreign vector spoils an index."""
    one, two = Scripted("a", traits=Traits(space="one")), Scripted("b", traits=Traits(space="two"))
    with pytest.raises(Misconfigured, match="different spaces"):
        EmbedModel(one, two).describe()


def test_local_embedding_has_no_deadline_but_one_that_is_set():
    """Ten thousand texts take this machine minutes; a default of two would throw away all that was done."""
    assert "deadline: none" in EmbedModel("local:multilingual-e5-small").describe()
    assert "deadline: 30 s" in EmbedModel("local:multilingual-e5-small", policy=Policy(deadline_s=30)).describe()
    assert "deadline: 120 s" in ChatModel("local:extractive").describe()
    assert "deadline: 120 s" in EmbedModel(Target("openai:m", base_url="http://127.0.0.1:9/v1")).describe()


def test_a_new_background_loop_gets_new_layers():
    """Connections and counters of a dead loop are not used again."""
    provider = Scripted("a", "b")
    chat = ChatModel(provider)

    async def once():
        runtime.reset_for_tests()
        runtime.adopt()
        return (await chat.ainvoke("hi")).text

    assert [asyncio.run(once()), asyncio.run(once())] == ["a", "b"]
    runtime.reset_for_tests()


@pytest.mark.parametrize("policy", [Policy(), Policy(budget_usd=5)], ids=["no budget", "budget"])
def test_the_price_of_another_model_is_read_off_the_loop(policy, monkeypatch):
    """Reading the price list takes a second in which no other call would go on."""
    seen = []
    read_before = Price._of
    monkeypatch.setattr(Price, "_of", lambda self, name: seen.append(threading.current_thread().name) or read_before(self, name))
    with OpenAISim() as sim:
        target = Target("openai:m", base_url=f"{sim.url}/v1", api_key="k", input_usd_per_mtok=1.0, output_usd_per_mtok=2.0)
        chat = ChatModel(target, policy=policy)
        assert chat.invoke("hi", model="gpt-4o").cost_usd > 0
        chat.close()
    assert "home" not in seen[0]


class SlowOpening:
    """Opening a target takes until `go_on` is set; counts how often it was begun."""

    def __init__(self, monkeypatch):
        self.go_on, self.begun = threading.Event(), 0
        warm = ResolvedTarget.warm

        def slow(spec, policy):
            self.begun += 1
            assert self.go_on.wait(20)
            return warm(spec, policy)

        monkeypatch.setattr(ResolvedTarget, "warm", slow)


@pytest.fixture
def opening(monkeypatch):
    slow = SlowOpening(monkeypatch)
    yield slow
    slow.go_on.set()


def test_the_deadline_counts_what_opening_takes(opening):
    """Imports, certificates and price lists are read with the first call: 0.3 s became 1.2 to 3.4 s."""
    heard = []
    chat = ChatModel(Scripted("late"))
    chat.subscribe(heard.append, inline=True)
    began = time.monotonic()
    with pytest.raises(DeadlineTooNear, match=r"deadline of 0\.2 s passed before the call could be sent"):
        chat.invoke("hi", deadline_s=0.2)
    assert 0.2 <= time.monotonic() - began < 10
    assert [type(event) for event in heard] == [CallStarted, CallEnded]
    assert heard[1].error == "DeadlineTooNear"
    with pytest.raises(DeadlineTooNear):
        next(chat.stream("hi", deadline_s=0.1))
    with pytest.raises(DeadlineTooNear):
        EmbedModel(Scripted("late", traits=Traits(space="s"))).embed(["hi"], deadline_s=0.1)


def test_the_policys_deadline_counts_it_too_and_none_is_none(opening):
    """`deadline_s=None` waits for as long as opening takes."""
    chat = ChatModel(Scripted("late"), policy=Policy(deadline_s=0.2))
    with pytest.raises(DeadlineTooNear, match=r"0\.2 s"):
        chat.invoke("hi")
    threading.Timer(0.5, opening.go_on.set).start()
    assert chat.invoke("hi", deadline_s=None).text == "late"


async def test_many_first_calls_open_once_and_who_leaves_takes_nothing_from_the_others(opening):
    """A hundred requests at a server's start must not read the SDK's settings a hundred times."""
    chat = ChatModel(Scripted(*["fine"] * 50))
    calls = [asyncio.create_task(chat.ainvoke(f"{i}", deadline_s=0.2 if i == 0 else None)) for i in range(50)]
    with pytest.raises(DeadlineTooNear):
        await calls[0]
    calls[1].cancel()
    opening.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await calls[1]
    assert {(await call).text for call in calls[2:]} == {"fine"}
    assert opening.begun == 1


async def test_an_opening_that_fails_fails_those_who_wait_and_is_tried_again(monkeypatch):
    """A missing file may be there the next time."""
    chat = ChatModel(Scripted("fine"))
    with monkeypatch.context() as broken:
        broken.setattr(ResolvedTarget, "warm", lambda *_: (_ for _ in ()).throw(Misconfigured("no such file")))
        found = await asyncio.gather(*(chat.ainvoke("hi") for _ in range(3)), return_exceptions=True)
    assert [str(one) for one in found] == ["no such file"] * 3
    assert (await chat.ainvoke("hi")).text == "fine"


async def test_closing_ends_an_opening(opening):
    """What is opened for nobody must not stand open afterwards."""
    chat = ChatModel(Scripted("fine", "again"))
    call = asyncio.create_task(chat.ainvoke("hi"))
    async with asyncio.timeout(20):
        while not opening.begun:
            await asyncio.sleep(0.01)
    await chat.aclose()
    with pytest.raises(Refused):
        await call
    assert not chat._stack._endpoints
    opening.go_on.set()
    assert (await chat.ainvoke("hi")).text == "fine"
