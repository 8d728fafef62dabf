"""stream: answered and finished, each once."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from surefoot.core.deltas import Replay, from_deltas, to_deltas
from surefoot.core.stream import Stream, collect, open_stream, when_finished
from surefoot.errors import AttemptTimedOut, ConnectionLost, DeadlineExceeded, Interrupted, MalformedReply, Overloaded
from surefoot.testing import CUT, STALL, Pause, Scripted, make_call
from surefoot.types import ChatReply, CitedSource, Delta, Image, Opaque, Text, ToolCall, ToolCallDelta, Usage

pytestmark = pytest.mark.looptime


async def stream_of(*pieces, **settings):
    provider = Scripted(list(pieces), **settings)
    return provider, await provider(make_call(stream=True))


async def test_holding_a_stream_means_the_first_content_arrived():
    """Retry and fallback act only until there is an answer; this makes them invisible."""
    provider = Scripted([Delta(), Pause(3), "one"], latency_s=2)
    loop = asyncio.get_running_loop()
    stream = await provider(make_call(stream=True))
    assert loop.time() == pytest.approx(5)
    assert [delta.text async for delta in stream] == ["", "one", ""]


@pytest.mark.parametrize("ends", ["read", "left"])
async def test_a_finished_stream_is_freed_as_soon_as_nobody_holds_it(ends):
    """With all its deltas: what refers to itself waits for Python's collector, and until then a service holds every answer it gave."""
    _, stream = await stream_of("one", "two")
    told = []
    if ends == "read":
        stream.watch(lambda outcome: told.append((outcome.complete, outcome.reply.text, outcome.stream.target)))
        assert [delta.text async for delta in stream] == ["one", "two", ""]
    else:
        await stream.aclose()
        stream.watch(lambda outcome: told.append((outcome.complete, outcome.reply.text, outcome.stream.target)))
    assert told == [(ends == "read", "onetwo" if ends == "read" else "one", stream.target)]
    assert stream.outcome.abandoned == (ends != "read")
    held = weakref.ref(stream)
    gc.disable()
    try:
        del stream
        await asyncio.sleep(0)
        assert held() is None
    finally:
        gc.enable()


async def test_fault_before_content_comes_as_itself():
    """So that it can be retried."""
    provider = Scripted([Delta(), Overloaded("busy")])
    with pytest.raises(Overloaded):
        await provider(make_call(stream=True))
    assert provider.idle()


async def test_fault_after_content_is_interrupted_with_what_arrived():
    """The partial text belongs to the reader."""
    _, stream = await stream_of("Hel", "lo", Overloaded("busy"))
    with pytest.raises(Interrupted) as caught:
        await collect(stream)
    assert caught.value.partial == "Hello"
    assert isinstance(caught.value.__cause__, Overloaded)


async def test_stream_that_just_ends_is_not_complete():
    """Two vendor SDKs return normally here, with half an answer."""
    outcomes = []
    _, stream = await stream_of("Hel", CUT)
    stream.watch(outcomes.append)
    with pytest.raises(Interrupted):
        await collect(stream)
    assert not outcomes[0].complete
    with pytest.raises(ConnectionLost):
        await Scripted([CUT])(make_call(stream=True))


async def test_error_stays_with_whoever_reads_on():
    """A second read must not look like a clean end."""
    _, stream = await stream_of("Hel", Overloaded("busy"))
    for _ in range(3):
        with pytest.raises(Interrupted):
            await collect(stream)


async def test_end_stays_the_end():
    """Iterating a finished stream again gives nothing, and finishes nothing twice."""
    outcomes = []
    _, stream = await stream_of("one")
    stream.watch(outcomes.append)
    await collect(stream)
    assert [delta async for delta in stream] == []
    await stream.aclose()
    assert len(outcomes) == 1


async def test_late_watcher_is_told_at_once():
    """A layer that comes late must not wait for ever."""
    _, stream = await stream_of("one")
    await collect(stream)
    outcomes = []
    stream.watch(outcomes.append)
    assert outcomes[0].complete


async def test_first_to_watch_is_first_told():
    """Inner layers finish their books before outer ones read them."""
    told = []
    _, stream = await stream_of("one")
    stream.watch(lambda _: told.append("inner"))
    stream.watch(lambda _: told.append("outer"))
    await collect(stream)
    assert told == ["inner", "outer"]


async def test_closing_after_the_terminal_marker_was_seen_is_complete():
    """Readers stop at finish_reason without asking for the StopAsyncIteration behind it."""
    outcomes = []
    _, stream = await stream_of("one")
    stream.watch(outcomes.append)
    async for delta in stream:
        if delta.finish_reason:
            break
    await stream.aclose()
    assert outcomes[0].complete


async def test_closing_before_it_is_abandoned():
    """Says nothing about the provider, and must never be cached."""
    outcomes = []
    provider, stream = await stream_of("one ", "two")
    stream.watch(outcomes.append)
    await stream.__anext__()
    await stream.aclose()
    assert (outcomes[0].abandoned, outcomes[0].cancelled, outcomes[0].complete) == (True, True, False)
    assert (provider.closed, provider.idle()) == (1, True)


async def test_failing_an_unread_stream_closes_it_and_keeps_the_error_for_the_reader():
    """A layer's timer fires whether or not anybody reads."""
    provider, stream = await stream_of("one ", STALL)
    stream.fail(DeadlineExceeded("too late"))
    await asyncio.sleep(0)
    assert provider.idle()
    with pytest.raises(Interrupted) as caught:
        await collect(stream)
    assert isinstance(caught.value.__cause__, DeadlineExceeded)


async def test_failing_a_stream_under_a_readers_hands_does_not_cancel_the_reader():
    """The cancel that wakes him is taken back."""
    provider, stream = await stream_of("one ", STALL)
    await stream.__anext__()
    asyncio.get_running_loop().call_later(3, stream.fail, AttemptTimedOut("silence"))
    with pytest.raises(Interrupted):
        await stream.__anext__()
    assert asyncio.current_task().cancelling() == 0
    assert provider.idle()


async def test_readers_own_cancel_beside_ours_stays_a_cancel():
    """Cancellation is never swallowed, even in the same step."""
    provider, stream = await stream_of("one ", STALL)

    async def read():
        async for _ in stream:
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(1)
    stream.fail(AttemptTimedOut("silence"))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert provider.idle()


async def test_cancel_while_a_stream_is_being_closed_settles_it_all_the_same():
    """The second Ctrl-C must not leave a slot behind."""
    outcomes = []
    provider, stream = await stream_of("one ", STALL, close_s=5)
    stream.watch(outcomes.append)
    await stream.__anext__()
    task = asyncio.create_task(stream.aclose())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert len(outcomes) == 1
    assert provider.idle()


async def test_plain_value_is_settled_when_it_is_answered():
    """For a plain reply the two moments coincide."""
    outcomes = []
    reply = await when_finished(Scripted("fine")(make_call()), outcomes.append)
    assert outcomes[0].reply is reply


async def test_failure_and_cancellation_settle_too():
    """Whatever happens, exactly once."""
    outcomes = []
    with pytest.raises(Overloaded):
        await when_finished(Scripted(Overloaded("busy"))(make_call()), outcomes.append)
    task = asyncio.create_task(when_finished(Scripted(STALL)(make_call()), outcomes.append))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert [type(outcome.error) for outcome in outcomes] == [Overloaded, asyncio.CancelledError]


async def test_last_usage_snapshot_wins():
    """Snapshots are cumulative; summing them doubles the bill."""
    deltas = [Delta(text="a", usage=Usage(output_tokens=1)), Delta(finish_reason="stop", usage=Usage(output_tokens=5))]
    stream = await open_stream(Replay(deltas))
    assert (await collect(stream)).usage.output_tokens == 5
    assert stream.usage.output_tokens == 5


async def test_answer_without_content_is_complete_if_it_says_so():
    """An empty answer with its terminal marker is an answer."""
    stream = await open_stream(Replay([Delta(finish_reason="stop")]))
    assert isinstance(stream, Stream)
    assert (await collect(stream)).text == ""


async def test_reply_split_and_joined_is_the_reply():
    """A cached answer served as a stream must lose nothing."""
    calls = (ToolCall(id="1", name="f", arguments='{"a": 1}'), ToolCall(id="2", name="g", arguments="{}", signature="s"))
    reply = ChatReply(
        text="x",
        reasoning="r",
        signature="q",
        tool_calls=calls,
        finish_reason="tool_calls",
        usage=Usage(input_tokens=3),
        model="m",
        request_id="i",
    )
    assert from_deltas(to_deltas(reply)) == reply


async def test_broken_tool_arguments_keep_their_text_and_their_error():
    """Broken JSON turned into {} ran a tool with no arguments elsewhere."""
    pieces = [
        Delta(tool_calls=(ToolCallDelta(index=0, id="1", name="f", arguments='{"a": '),)),
        Delta(finish_reason="tool_calls"),
    ]
    (call,) = from_deltas(pieces).tool_calls
    assert call.arguments == '{"a": '
    assert call.error


async def test_provider_that_breaks_its_answer_in_foreign_words_still_settles():
    """A bug in a provider must not hold a slot."""

    class Broken:
        closed = False

        async def __anext__(self):
            raise RuntimeError("bug")

        async def aclose(self):
            Broken.closed = True

    outcomes = []
    with pytest.raises(RuntimeError):
        await when_finished(open_stream(Broken()), outcomes.append)
    assert Broken.closed
    assert len(outcomes) == 1


async def test_malformed_answer_in_mid_stream_is_interrupted_too():
    """Every fault of ours after the first token has one name."""
    _, stream = await stream_of("one", MalformedReply("not JSON"))
    with pytest.raises(Interrupted):
        await collect(stream)


def test_all_of_a_reply_comes_through_its_deltas():
    """A cached answer is streamed again; what its vendor wants back must be in it."""
    picture, search = Image(data=b"p", media_type="image/png"), Opaque.of("anthropic", {"type": "server_tool_use"})
    reply = ChatReply(
        text="hi",
        content=(search, Text("hi"), picture),
        tool_calls=(ToolCall(id="1", name="f", extra='{"extra_content":1}', vendor="openai/h", after=1),),
        finish_reason="tool_calls",
        citations=(CitedSource(url="https://x"),),
        raw_json=b"{}",
        response_id="r",
    )
    head, tail = to_deltas(reply)
    assert head.parts == (search, picture)
    assert from_deltas((head, tail)) == reply
    assert to_deltas(ChatReply(text="hi"))[-1].end is None


class Blocks:
    """A Source that reads several deltas at a time, as a connection does."""

    def __init__(self, *blocks):
        self._blocks = list(blocks)
        self._ready = []

    async def __anext__(self):
        if not self._ready:
            if not self._blocks:
                raise StopAsyncIteration
            self._ready = list(self._blocks.pop(0))
        return self._ready.pop(0)

    def at_hand(self):
        return self._ready.pop(0) if self._ready else None

    async def aclose(self):
        self._blocks = []


@pytest.mark.parametrize("is_whole", [True, False])
async def test_what_arrived_together_can_be_read_together(is_whole):
    """A reader who passes it on sends it at once; the reply, the end and a cut are what they are when read one by one."""
    one, two, three = Delta(text="a"), Delta(text="b"), Delta(text="c")
    end = [Delta(finish_reason="stop", usage=Usage(output_tokens=3))] if is_whole else []
    stream = await open_stream(Blocks([Delta(), one, two], [three, *end]))
    assert [await anext(stream), *stream.at_hand()] == [Delta(), one, two]
    assert stream.at_hand() == []
    assert [await anext(stream), *stream.at_hand()] == [three, *end]
    if is_whole:
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert (stream.so_far().text, stream.outcome.complete, stream.usage.output_tokens) == ("abc", True, 3)
    else:
        with pytest.raises(Interrupted) as cut:
            await anext(stream)
        assert cut.value.partial == "abc"
    assert stream.at_hand() == []
