"""Every layer in the registry keeps the contract of layers, over chat, streams and embeddings."""

from __future__ import annotations

import asyncio

import pytest

from surefoot import runtime
from surefoot.core.stack import stack
from surefoot.core.stream import Outcome, Stream, when_finished
from surefoot.testing.contract import PROMISES, LayerContract
from tests.layers.specimens import ASKS_AGAIN, LAYER_CASES, LAYERS, written
from tests.loops import own_home  # noqa: F401 - autouse: eight threads share one background loop

ALL = ("chat", "stream", "embed")
CASES = [(name, kind, promise) for name in LAYERS if written(name) for kind in ALL for promise in PROMISES]


def test_every_layer_is_under_contract():
    """A layer that is registered but not built here would go unchecked, and one that is not even registered all the more."""
    assert len(LAYERS) > 19
    assert {name for name in LAYERS if written(name)} == set(LAYER_CASES)


@pytest.mark.looptime
@pytest.mark.parametrize(("name", "kind", "promise"), CASES)
async def test_layer_keeps_its_promise(name, kind, promise):
    """The contract is what lets layers be combined without knowing each other."""
    await LayerContract(LAYER_CASES[name], kind=kind, asks_again=name in ASKS_AGAIN).check(promise)


class Leaky:
    """Counts a place in, and out only if all goes well."""

    def __init__(self):
        self.held = 0

    def idle(self):
        return self.held == 0

    async def __call__(self, call, inner):
        self.held += 1
        answer = await inner(call)
        self.held -= 1
        return answer


class Hasty(Leaky):
    """Gives its place back when answered: right for values, wrong for streams; nothing here can see that, idle() can."""

    async def __call__(self, call, inner):
        self.held += 1

        def out(_: Outcome) -> None:
            self.held -= 2  # twice

        return await when_finished(inner(call), out)


async def swallows(call, inner):
    try:
        return await inner(call)
    except asyncio.CancelledError:
        return await inner(call)


async def detaches(call, inner):
    return await asyncio.shield(asyncio.ensure_future(inner(call)))


async def asks_twice(call, inner):
    await inner(call)
    return await inner(call)


async def splices(call, inner):
    answer = await inner(call)
    if isinstance(answer, Stream):
        try:
            async for _ in answer:
                pass
        except Exception:
            return await inner(call)
    return answer


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("bad", "promise"),
    [
        (Leaky(), "settles_once_on_failure"),
        (Leaky(), "gives_everything_back_when_cancelled_anywhere"),
        (Hasty(), "settles_once_on_success"),
        (swallows, "settles_once_on_cancellation"),
        (swallows, "gives_everything_back_when_cancelled_anywhere"),
        (detaches, "settles_once_on_cancellation"),
        (asks_twice, "transparent_when_idle"),
        (splices, "never_asks_after_the_first_token"),
    ],
)
async def test_contract_catches_a_layer_that_breaks_it(bad, promise):
    """A contract that nothing can break protects nothing."""
    with pytest.raises(AssertionError):
        await LayerContract(lambda provider: stack(provider, bad), kind="stream").check(promise)


@pytest.mark.parametrize("name", [name for name in LAYERS if written(name)])
def test_layer_serves_eight_threads_over_one_background_loop(name):
    """Limits are in one place because calls come to one place."""
    LayerContract(LAYER_CASES[name], kind="chat").serves_threads(runtime.run)
