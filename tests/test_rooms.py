"""How rooms are put in a row, and what is shared."""

from __future__ import annotations

import asyncio
import threading

import pytest

from surefoot import ChatModel, EmbedModel, Policy, Target, runtime
from surefoot.errors import Misconfigured
from surefoot.prices import Price
from surefoot.stack import CALL_ORDER, TARGET_ORDER
from surefoot.testing import Scripted
from surefoot.testing.wire import OpenAISim
from surefoot.types import Traits


def test_rooms_stand_in_the_order_of_the_house():
    """The order is the design."""
    lines = ChatModel(Scripted("a", name="a"), Scripted("b", name="b"), policy=Policy(hedge_after="p95")).describe().splitlines()
    names = [line.split(":")[0].strip() for line in lines]
    for order, least in ((CALL_ORDER, 3), (TARGET_ORDER, 4)):
        found = [names.index(room) for room in order if room in names]
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


def test_a_new_home_gets_new_rooms():
    """Connections and counters of a dead loop are not used again."""
    edge = Scripted("a", "b")
    chat = ChatModel(edge)

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
