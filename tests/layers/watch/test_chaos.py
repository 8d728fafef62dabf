"""chaos: a bad day, by seed."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from surefoot.core.stack import stack
from surefoot.errors import AttemptTimedOut, ConnectionLost, Interrupted, Misconfigured, Overloaded, Transient
from surefoot.layers.watch.chaos import FAULTS, KINDS, Chaos
from surefoot.layers.watch.timeout import Timeout
from surefoot.testing import Scripted, make_call
from tests.layers.helping import fails, now, read

pytestmark = pytest.mark.looptime


async def outcomes(layer, count, *, stream=False):
    ask = stack(Scripted("one two three four five six seven eight nine ten"), Timeout(whole_s=5, first_token_s=5, idle_s=5), layer)
    seen = []
    for _ in range(count):
        try:
            seen.append(await read(ask, make_call(stream=stream)))
        except Exception as error:
            seen.append(type(error).__name__)
    return seen


async def test_no_rates_is_no_chaos():
    """Left in by mistake it must do nothing."""
    assert set(await outcomes(Chaos(), 50)) == {"one two three four five six seven eight nine ten"}


async def test_faults_come_at_their_rates():
    """A rehearsal with the wrong numbers rehearses something else."""
    seen = Counter(await outcomes(Chaos(rates={"overloaded": 0.2, "quota": 0.1}, seed=1), 2000))
    assert seen["Overloaded"] == pytest.approx(400, abs=60)
    assert seen["QuotaExhausted"] == pytest.approx(200, abs=45)


async def test_same_seed_same_bad_day():
    """What cannot be repeated cannot be mended."""
    rates = dict.fromkeys(KINDS, 0.05)
    first, again, other = [await outcomes(Chaos(rates=rates, seed=seed), 100) for seed in (3, 3, 4)]
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", FAULTS)
async def test_each_fault_is_its_typed_error(kind):
    """As if the provider had said it."""
    layer = Chaos(rates={kind: 1.0}, target="t")
    error = await fails(stack(Scripted(), layer), type(FAULTS[kind]("t")))
    assert error.target == "t"


@pytest.mark.parametrize(
    ("kind", "cause"),
    [("truncated", ConnectionLost), ("cut", ConnectionLost), ("error_midway", Overloaded), ("stalled_midway", AttemptTimedOut)],
)
async def test_streams_break_in_their_middle_and_never_look_complete(kind, cause):
    """The dangerous fault is the one that looks like an answer."""
    provider = Scripted("one two three four five six seven eight nine ten")
    ask = stack(provider, Timeout(idle_s=5), Chaos(rates={kind: 1.0}))
    for _ in range(20):
        with pytest.raises(Interrupted) as caught:
            await read(ask, make_call(stream=True))
        assert isinstance(caught.value.__cause__, cause)
        assert caught.value.partial.startswith("one")
        assert len(caught.value.partial.split()) <= 8
    assert provider.idle()


async def test_stall_is_for_the_timers_to_end():
    """It never answers; that is what timers are tested with."""
    begun = now()
    await fails(stack(Scripted(), Timeout(whole_s=7), Chaos(rates={"stalled": 1.0})), AttemptTimedOut)
    assert now() - begun == pytest.approx(7, abs=0.001)


async def test_latency_is_independent_of_faults():
    """A slow tail is not a failure."""
    begun = now()
    await outcomes(Chaos(slow_rate=0.5, slow_s=2, seed=5), 100)
    assert (now() - begun) / 2 == pytest.approx(50, abs=15)


async def test_passing_faults_may_all_be_retried():
    """For tests of retries: nothing in it is final."""
    layer = Chaos.passing(1.0, seed=2)
    for _ in range(100):
        await fails(stack(Scripted(), layer), Transient)


@pytest.mark.parametrize("settings", [{"rates": {"overlaoded": 0.1}}, {"rates": {"auth": 0.6, "quota": 0.6}}, {"slow_rate": 2.0}])
def test_nonsense_is_refused_when_built(settings):
    """With the nearest known word, where there is one."""
    with pytest.raises(Misconfigured, match="overloaded" if "overlaoded" in str(settings) else "shares"):
        Chaos(**settings)


async def test_cancelled_in_a_stall_it_holds_nothing():
    """Chaos is for tests, and tests count what is left."""
    provider = Scripted("one two")
    task = asyncio.create_task(read(stack(provider, Chaos(rates={"stalled_midway": 1.0})), make_call(stream=True)))
    await asyncio.sleep(3)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert provider.idle()
