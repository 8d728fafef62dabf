"""timeout: the attempt's own limits."""

from __future__ import annotations

import asyncio

import pytest

from surefoot.core.stack import stack
from surefoot.core.stream import collect
from surefoot.errors import AttemptTimedOut, DeadlineExceeded, Interrupted
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.deadline import Deadline
from surefoot.layers.watch.timeout import Timeout
from surefoot.testing import STALL, Pause, Scripted, make_call
from surefoot.types import Delta
from tests.layers.helping import fails, now, read

pytestmark = pytest.mark.looptime


async def test_first_token_that_does_not_come_is_a_failed_attempt():
    """It may be asked again elsewhere: nothing was shown yet."""
    begun = now()
    await fails(stack(Scripted(STALL), Timeout(first_token_s=7)), AttemptTimedOut, call=make_call(stream=True))
    assert now() - begun == pytest.approx(7, abs=0.001)
    assert asyncio.current_task().cancelling() == 0


async def test_pings_are_no_first_token():
    """A read timeout reset by pings ran until the server stopped."""
    pings = [piece for _ in range(100) for piece in (Pause(1), Delta())]
    begun = now()
    await fails(stack(Scripted(pings), Timeout(first_token_s=7)), AttemptTimedOut, call=make_call(stream=True))
    assert now() - begun == pytest.approx(7, abs=0.001)


async def test_silence_in_mid_stream_is_interrupted():
    """After the first token the partial text belongs to the reader."""
    provider = Scripted(["one ", "two", STALL])
    stream = await stack(provider, Timeout(idle_s=4))(make_call(stream=True))
    begun = now()
    with pytest.raises(Interrupted) as caught:
        async for _ in stream:
            pass
    assert now() - begun == pytest.approx(4, abs=0.01)
    assert caught.value.partial == "one two"
    assert isinstance(caught.value.__cause__, AttemptTimedOut)
    assert provider.idle()


async def test_pings_do_not_end_a_silence():
    """A gateway that keeps the line warm is not a model that speaks."""
    pings = [piece for _ in range(100) for piece in (Pause(1), Delta())]
    stream = await stack(Scripted(["one", *pings]), Timeout(idle_s=4))(make_call(stream=True))
    begun = now()
    with pytest.raises(Interrupted):
        async for _ in stream:
            pass
    assert now() - begun == pytest.approx(4, abs=1)


async def test_slow_reader_is_not_silence():
    """Only time spent waiting for the provider counts."""
    stream = await stack(Scripted("one two three", delta_gap_s=1), Timeout(idle_s=4))(make_call(stream=True))
    text = ""
    async for delta in stream:
        text += delta.text
        await asyncio.sleep(10)
    assert text == "one two three"


async def test_thinking_that_has_begun_is_life():
    """Minutes of thoughts that nobody shows are no stalled server: neither the first token's limit nor a silence ends them."""
    ask = stack(Scripted([Delta(marker="thinking"), Pause(90), "so ", Pause(3), "it is"]), Timeout(first_token_s=7, idle_s=5))
    assert (await collect(await ask(make_call(stream=True)))).text == "so it is"
    ask = stack(Scripted([Delta(marker="thinking"), "so ", STALL]), Timeout(first_token_s=7, idle_s=5))
    stream = await ask(make_call(stream=True))
    with pytest.raises(Interrupted):
        await collect(stream)


async def test_embedding_has_the_first_tokens_limit():
    """An embedding has no length of answer to wait for."""
    begun = now()
    ask = stack(Scripted(STALL), Deadline(deadline_s=120), Attempt(), Timeout(first_token_s=7))
    await fails(ask, AttemptTimedOut, call=make_call(["one"]))
    assert now() - begun == pytest.approx(7, abs=0.001)


async def test_plain_answer_gets_half_of_the_time_left():
    """A long answer is not cut at the first token's limit, and a stalled target still leaves time for the next."""
    ask = stack(Scripted("long", latency_s=55), Deadline(deadline_s=120), Attempt(), Timeout(first_token_s=30))
    assert await read(ask, make_call()) == "long"
    begun = now()
    await fails(stack(Scripted(STALL), Deadline(deadline_s=120), Attempt(), Timeout(first_token_s=30)), AttemptTimedOut)
    assert now() - begun == pytest.approx(60, abs=0.001)


@pytest.mark.parametrize("stream", [False, True])
async def test_with_another_target_at_hand_half_of_the_time_left_is_the_most(stream):
    """A deadline shorter than the first token's limit would leave nothing for the next target."""
    ask = stack(Scripted(STALL), Deadline(deadline_s=20), Attempt(), Timeout(first_token_s=30))
    begun = now()
    await fails(ask, AttemptTimedOut, call=make_call(stream=stream, others=True))
    assert now() - begun == pytest.approx(10, abs=0.001)


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("texts", [None, ["one"]], ids=["chat", "embed"])
async def test_without_deadline_nothing_that_arrives_whole_is_cut(texts, others):
    """Who switches the deadline off must not be cut earlier than who leaves it on: a long answer shows nothing until it is there."""
    hours = 3 * 3600
    provider = Scripted("whole", latency_s=hours)
    begun = now()
    ask = stack(provider, Deadline(deadline_s=None), Attempt(), Timeout(first_token_s=30, idle_s=30))
    await ask(make_call(texts, others=others) if texts else make_call(others=others))
    assert now() - begun == pytest.approx(hours)
    assert provider.calls == 1


async def test_a_limit_for_whole_answers_holds_without_deadline_too():
    """It was said, so it is kept."""
    begun = now()
    await fails(stack(Scripted(STALL), Timeout(first_token_s=30, whole_s=90)), AttemptTimedOut)
    assert now() - begun == pytest.approx(90, abs=0.001)


async def test_a_streams_first_token_has_its_limit_without_deadline_too():
    """A stream shows that the provider is at work; that limit is switched off by its own name."""
    begun = now()
    await fails(stack(Scripted(STALL), Deadline(deadline_s=None), Timeout(first_token_s=30)), AttemptTimedOut, call=make_call(stream=True))
    assert now() - begun == pytest.approx(30, abs=0.001)


async def test_it_never_outlasts_the_deadline_nor_takes_its_place():
    """What ends the call at its deadline is the deadline."""
    begun = now()
    ask = stack(Scripted(STALL), Deadline(deadline_s=5), Attempt(), Timeout(first_token_s=30))
    await fails(ask, DeadlineExceeded)
    assert now() - begun == pytest.approx(5, abs=0.001)


async def test_none_switches_a_timer_off():
    """Both are opt-out."""
    ask = stack(Scripted("one two", latency_s=1e5, delta_gap_s=1e5), Timeout(first_token_s=None, idle_s=None))
    assert await read(ask, make_call(stream=True)) == "one two"
    assert await read(ask, make_call()) == "one two"
