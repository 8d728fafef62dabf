"""Promises of every chat model: answers, streams, usage, finish reasons, limits, conversations."""

from __future__ import annotations

import asyncio
from typing import get_args

from surefoot.errors import ContentRefused
from surefoot.testing._provider import CLOCK, WEATHER, Promises, ProviderUnderTest, needing, text_of
from surefoot.testing.wire import PlainAnswer
from surefoot.testing.wire import PlainToolCall as Called
from surefoot.types import FinishReason, Message, ToolCall

CHAT: Promises = {}
GREETING = "Merhaba! İyiyim, teşekkürler. 👋 你好"
LONG = " ".join(f"Sentence {n} says little." for n in range(12))
MANY = 32  # calls in flight at once


@needing(CHAT, "chat")
async def answers_plainly(it: ProviderUnderTest) -> None:
    """Asked whole or streamed, the answer is the same, in any script, by its model's and target's name, with one request each."""
    it.script(GREETING)
    whole, streamed = await it.both(it.request())
    if it.sim is not None:
        assert whole.text == GREETING, f"{whole.text!r} came, {GREETING!r} was sent"
        assert it.server.request_count == 2, f"{it.server.request_count} requests for two calls"
    assert whole.text.strip(), "an empty answer"
    assert streamed.text == whole.text, "streamed and whole answers differ"
    for reply in (whole, streamed):
        assert reply.finish_reason == "stop", f"finish reason {reply.finish_reason!r} of a whole answer"
        assert reply.model, "the answer does not say which model gave it"
    assert whole.target, "the answer does not say which target gave it"


@needing(CHAT, "chat")
async def streams_whole(it: ProviderUnderTest) -> None:
    """A stream comes in pieces; its last delta, and that alone, carries the finish reason and the usage."""
    it.script(LONG)
    stream = await it.open(it.request())
    deltas = [delta async for delta in stream]
    assert sum(delta.is_content for delta in deltas) > 1 or it.sim is None, "a stream of one piece"
    assert [delta.finish_reason is not None for delta in deltas] == [*[False] * (len(deltas) - 1), True], "the end mark is not the end"
    assert deltas[-1].usage is not None, "no usage at the end of the stream"
    if it.sim is not None:
        assert text_of(deltas) == LONG, "the pieces are not the text"


@needing(CHAT, "chat")
async def reports_usage(it: ProviderUnderTest) -> None:
    """Tokens are the provider's own count, streamed or not."""
    replies = await it.both(it.request())
    if it.sim is None:
        assert all(reply.usage.input_tokens > 0 < reply.usage.output_tokens for reply in replies), "no tokens counted"
        return
    await it.idle()
    billed = [(one.input_tokens, one.output_tokens) for one in it.server.usage_log.values()]
    told = [(reply.usage.input_tokens, reply.usage.output_tokens) for reply in replies]
    assert told == billed, f"told {told}, billed {billed}"
    assert not any(reply.usage.estimated for reply in replies), "the provider's count passes for an estimate"


@needing(CHAT, "chat", "server")
async def speaks_one_vocabulary(it: ProviderUnderTest) -> None:
    """Every vendor's finish reasons become the same words."""
    wanted: list[tuple[PlainAnswer, set[str]]] = [
        (PlainAnswer(text="Done."), {"stop"}),
        (PlainAnswer(text="Done", finish="stop_sequence", stopped_by="."), {"stop"}),
        (PlainAnswer(text="This is cut off in the", finish="length"), {"length"}),
        (PlainAnswer(text="Well, one would", finish="refusal"), {"refusal", "content_filter"}),
    ]
    if "tools" not in it.cannot:
        wanted.append((PlainAnswer(calls=(Called("weather", '{"city":"Ankara"}'),), finish="tools"), {"tool_calls"}))
    for said, right in wanted:
        for stream in (False, True):
            it.script(said)
            tools = (WEATHER,) if said.calls else ()
            try:
                found = (await it.ask(it.request(tools=tools), stream=stream)).finish_reason
            except ContentRefused:
                found = "refusal"
            assert found in get_args(FinishReason), f"{found!r} is no word of ours"
            assert found in right, f"{said.finish}: {found!r} where {right} belongs (stream={stream})"


@needing(CHAT, "chat", "stop")
async def stops_at_stop_sequences(it: ProviderUnderTest) -> None:
    """The answer ends before the first stop sequence, which is no part of it, and its end counts as a normal one."""
    plain = await it.ask(it.request(), stream=False)
    words = plain.text.split()
    stop = next(word for word in words[1:] if not words[0].startswith(word))
    for stream in (False, True):
        reply = await it.ask(it.request(stop=(stop, "never said")), stream=stream)
        assert reply.text.rstrip() == plain.text[: plain.text.index(stop)].rstrip(), f"stop {stop!r}: {reply.text!r} of {plain.text!r}"
        assert reply.finish_reason == "stop", f"finish reason {reply.finish_reason!r} at a stop sequence"


@needing(CHAT, "chat", "max_tokens")
async def keeps_to_max_tokens(it: ProviderUnderTest) -> None:
    """A bounded answer is no longer than its bound, and says that it was cut."""
    for stream in (False, True):
        reply = await it.ask(it.request(max_tokens=5), stream=stream)
        assert reply.finish_reason == "length", f"finish reason {reply.finish_reason!r} of an answer cut at 5 tokens"
        assert reply.usage.output_tokens <= 5, f"{reply.usage.output_tokens} tokens where 5 were allowed"


@needing(CHAT, "chat", "server", "system", "tools")
async def carries_the_conversation(it: ProviderUnderTest) -> None:
    """All roles reach the model in order: instructions, questions, answers, calls, results, failed ones as such; broken Unicode mended."""
    calls = [ToolCall(id="call_1", name="weather", arguments='{"city":"İzmir"}'), ToolCall(id="call_2", name="clock", arguments="{}")]
    request = it.request(
        Message.system("Be brief."),
        Message.user("Weather? ☔ \ud83d"),
        Message.assistant("Looking.", tool_calls=calls),
        Message.tool("22 °C", tool_call_id="call_1", name="weather"),
        Message.tool("no such zone", tool_call_id="call_2", name="clock", is_error=True),
        Message.user("And now?"),
        tools=(WEATHER, CLOCK),
    )
    for stream in (False, True):
        await it.ask(request, stream=stream)
        turns = it.heard[-1].turns
        roles = [turn.role for turn in turns]
        assert roles == ["system", "user", "assistant", "tool", "tool", "user"], f"the server heard {roles}"
        said = [turn.text for turn in turns]
        assert said[0] == "Be brief."
        assert said[1] == "Weather? ☔ �", f"the question became {said[1]!r}"
        assert (said[2], turns[2].calls) == ("Looking.", ("weather", "clock"))
        assert said[3] == "22 °C"
        assert "no such zone" in said[4]
        assert said[5] == "And now?"
        assert [turn.failed for turn in turns[3:5]] == [False, True], "a failed tool passes for a good one"
        assert [turn.tool for turn in turns[3:5]] == ["weather", "clock"], "results have lost their tools"


@needing(CHAT, "chat", "server")
async def keeps_calls_apart(it: ProviderUnderTest) -> None:
    """Many calls in flight on one client: each gets its own answer."""
    for stream in (False, True):
        replies = await asyncio.gather(*(it.ask(it.request(f"question number {i}"), stream=stream) for i in range(MANY)))
        assert all(f'"question number {i}"' in reply.text for i, reply in enumerate(replies)), "answers were mixed up"


@needing(CHAT, "chat", "server", "thinking")
async def reports_what_thinking_and_caching_cost(it: ProviderUnderTest) -> None:
    """Cached and reasoning tokens are parts of the totals, told apart, streamed or not: they have prices of their own."""
    prompt = Message(role="system", content="Be brief. " * 3000, cache=True)
    for stream in (False, True):
        it.server.reset()
        request = it.request(prompt, it.question, **it.thinker)
        await it.ask(request, stream=stream)
        usage = (await it.ask(request, stream=stream)).usage
        assert usage.cached_tokens > 1000, f"{usage.cached_tokens} cached tokens told of a prompt that was cached"
        assert usage.input_tokens >= usage.cached_tokens, "inputs do not include the cached ones"
        assert usage.reasoning_tokens > 0, "no reasoning tokens told"
        assert usage.output_tokens > usage.reasoning_tokens, "outputs do not include the reasoning"


@needing(CHAT, "chat", "server", "speech")
async def reports_what_speech_costs(it: ProviderUnderTest) -> None:
    """Audio tokens are told, streamed or not."""
    for stream in (False, True):
        usage = (await it.ask(it.request("Hi", **it.speaker), stream=stream)).usage
        assert 0 < usage.audio_output_tokens <= usage.output_tokens, f"audio tokens: {usage}"
