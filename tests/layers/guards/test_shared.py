"""The guard that joins a target's calls to what other processes know and do."""

from __future__ import annotations

import asyncio

import pytest

from surefoot.core.stack import stack
from surefoot.errors import BadRequest, Exhausted, Interrupted, Overloaded, Refused
from surefoot.layers.guards.breaker import Breaker
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.guards.shared import Shared
from surefoot.testing import Scripted, make_call
from tests.layers.specimens import OtherProcesses


class Counting(OtherProcesses):
    """Notes how calls ended."""

    def __init__(self):
        self.ended = []
        self.reason = ""

    def begin(self):
        return self.reason

    def end(self, *, ok):
        self.ended.append(ok)


ENDS = {
    "answered": ("fine", True),
    "down": (Overloaded("down"), False),
    "cut": (Interrupted("cut", partial="x"), None),
    "all failed": (Exhausted("two", [BadRequest("a"), Overloaded("b")]), False),
    "own mistake": (BadRequest("no such field"), None),
}


@pytest.mark.parametrize("case", ENDS)
async def test_it_tells_how_a_call_ended(case):
    """As the breaker counts it: the caller's own mistakes prove nothing."""
    step, told = ENDS[case]
    source = Counting()
    ask = stack(Scripted(step), Shared(source=source))
    try:
        await ask(make_call("hi"))
    except (Overloaded, BadRequest, Interrupted, Exhausted):
        assert case != "answered"
    assert source.ended == [told]


async def test_it_refuses_when_its_source_says_so():
    """Nothing sent, with the reason and when to come back."""
    source, provider = Counting(), Scripted("ok")
    source.reason = "the limits it shares cannot be known"
    guard = Shared(target="openai:m", source=source)
    with pytest.raises(Refused, match="openai:m: the limits it shares cannot be known; nothing was sent") as told:
        await stack(provider, guard)(make_call("hi"))
    assert told.value.retry_after_s == 1.0
    assert provider.calls == 0
    assert guard.idle()
    assert guard.describe() == "shared: in a test"
    assert Shared().describe() == "shared: nothing"


async def test_places_that_come_later_go_to_those_who_wait():
    """`set_limit`: none at first, until the first turn has been taken; who waits is told of."""
    provider, asked = Scripted("ok", latency_s=0.001), []
    guard = Concurrency(limit=0)
    guard.on_wait = lambda: asked.append(1)
    tasks = [asyncio.create_task(stack(provider, guard)(make_call("hi"))) for _ in range(3)]
    await asyncio.sleep(0)
    assert (provider.calls, guard.waiting_by_class, len(asked)) == (0, (3, 0), 3)
    guard.set_limit(2)
    await asyncio.gather(*tasks)
    assert provider.peak == 2
    assert guard.idle()


async def test_a_breaker_heeds_what_all_have_seen_only_while_it_is_closed():
    """And only what would have opened it had it seen it itself."""
    breaker = Breaker(draw=lambda: 0.0)
    breaker.heed_others(4, 9)
    assert breaker.rule.state == "closed"
    breaker.heed_others(9, 10)
    assert breaker.rule.state == "open"
    assert breaker.rule.last_opening[:2] == (9, 10)
    wait_s = breaker.shut_s()
    breaker.heed_others(90, 100)
    assert breaker.shut_s() <= wait_s
