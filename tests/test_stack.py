"""stack: rooms in a row, and their picture."""

from __future__ import annotations

from surefoot.layers.concurrency import Concurrency
from surefoot.layers.retry import Retry
from surefoot.registry import LAYERS
from surefoot.stack import CALL_ORDER, TARGET_ORDER, describe, stack
from surefoot.testing import Scripted, make_call


async def test_first_named_sees_the_call_first():
    """The order in which it is written is the order in which it is walked."""
    seen = []

    def room(name):
        async def walk(call, inner):
            seen.append(name)
            answer = await inner(call)
            seen.append(f"/{name}")
            return answer

        return walk

    reply = await stack(Scripted("fine"), room("a"), room("b"))(make_call())
    assert reply.text == "fine"
    assert seen == ["a", "b", "/b", "/a"]


async def test_stack_without_rooms_is_its_edge():
    """The empty case needs no special case."""
    assert (await stack(Scripted("fine"))(make_call())).text == "fine"


def test_every_registered_room_has_one_place_in_the_order():
    """A room that stands nowhere is never built; balance stands inside fallback, as one of its handlers."""
    assert len(set(CALL_ORDER + TARGET_ORDER)) == len(CALL_ORDER + TARGET_ORDER)
    assert set(LAYERS) - {"balance"} == set(CALL_ORDER + TARGET_ORDER)


def test_describe_shows_rooms_in_order_with_their_settings():
    """`chat.describe()` is what a user checks a configuration with."""
    text = describe(stack(Scripted(), Retry(attempts=5), Concurrency(limit=7), name="openai:m"))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "openai:m"
    assert lines[1].startswith("retry: 5 attempts")
    assert lines[2].startswith("concurrency: 7 places")
    assert lines[3] == "edge: Scripted"
