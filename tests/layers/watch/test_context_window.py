"""The window: refused, shortened by a rule, or summed up; always told, never cut."""

from __future__ import annotations

import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.core.stack import stack
from surefoot.errors import ContextTooLong, Misconfigured, Overloaded
from surefoot.events import Trimmed
from surefoot.layers.watch.context_window import ContextWindow
from surefoot.testing import Scripted, make_call
from surefoot.testing.wire import OpenAISim
from surefoot.types import ChatRequest, Message, Tool, ToolCall
from surefoot.usage.tokens import estimate_window
from tests.layers.helping import Heard

SYSTEM = Message.system("Be brief.")
TOOLS = (
    Message.user("weather? " * 20),
    Message.assistant(tool_calls=[ToolCall(id="1", name="weather")]),
    Message.tool("sunny " * 40, tool_call_id="1"),
    Message.assistant("Sunny."),
)


def turn(number, words=60):
    return Message.user(f"question {number} " * words), Message.assistant(f"answer {number} " * words)


def talk(turns=10):
    messages = [SYSTEM, *TOOLS]
    for number in range(turns):
        messages += turn(number)
    return ChatRequest(messages=(*messages, Message.user("And the last question?")), max_tokens=50)


async def test_the_oldest_turns_leave_whole_and_it_is_told():
    """What is asked fits, the instructions and the newest turns stand, and no result is without its call."""
    request, provider, heard = talk(), Scripted("fine"), Heard()
    await stack(provider, ContextWindow(tokens=900))(make_call(request, listeners=(heard,)))
    asked = provider.seen[0].request
    assert estimate_window(asked) <= 900
    assert asked.messages[0] == SYSTEM
    assert asked.messages[1:] == request.messages[len(request.messages) - len(asked.messages) + 1 :]
    (told,) = heard.of(Trimmed)
    assert (told.how, told.messages, told.window) == ("drop_oldest", len(request.messages) - len(asked.messages), 900)


async def test_what_fits_is_left_alone():
    """And nothing is told; an unknown window counts as large enough."""
    for tokens in (1_000_000, None):
        provider, heard, call = Scripted("fine"), Heard(), talk()
        await stack(provider, ContextWindow(tokens=tokens))(make_call(call, listeners=(heard,)))
        assert provider.seen[0].request is call
        assert not heard.of(Trimmed)


async def test_tools_and_the_answer_take_their_share():
    """A prompt that fits to the token leaves no room to answer in."""
    tools = (Tool.of("look", "Looks something up. " * 30, {"type": "object", "properties": {}}),)
    request = ChatRequest(messages=talk().messages, tools=tools, max_tokens=300)
    provider = Scripted("fine")
    await stack(provider, ContextWindow(tokens=1200))(make_call(request))
    assert estimate_window(provider.seen[0].request) <= 1200


async def test_a_newest_turn_that_does_not_fit_is_refused():
    """Nothing is sent, nothing is cut."""
    provider = Scripted("fine")
    with pytest.raises(ContextTooLong, match="nothing was sent"):
        await stack(provider, ContextWindow(tokens=200))(make_call(ChatRequest(messages=(SYSTEM, Message.user("long " * 900)))))
    assert provider.calls == 0


async def test_a_summary_takes_the_place_of_what_is_left_out():
    """The model itself sums up, piece by piece where the old turns are longer than its window; the trail shows what it cost."""
    provider = Scripted(lambda call: "They spoke of the weather." if "Sum up" in call.request.messages[0].text else "fine", times=99)
    call = make_call(talk(turns=30))
    reply = await stack(provider, ContextWindow(tokens=1500, how="summarise"))(call)
    assert reply.text == "fine"
    asked = [one.request for one in provider.seen]
    assert len(asked) > 2
    assert all(estimate_window(one) <= 1500 for one in asked)
    assert all(one.max_tokens == 1500 // 8 for one in asked[:-1])
    assert asked[1].messages[1].text.startswith("Summary so far: They spoke of the weather.")
    assert asked[-1].messages[1] == Message.system("Earlier in this conversation: They spoke of the weather.")
    assert asked[-1].messages[-1].text == "And the last question?"


async def test_a_summary_that_fails_is_a_failure():
    """Nobody goes on as if nothing had been said before."""
    provider = Scripted(Overloaded("busy"))
    with pytest.raises(Overloaded):
        await stack(provider, ContextWindow(tokens=900, how="summarise"))(make_call(talk()))


@pytest.mark.parametrize("how", ["refuse", "drop_oldest", "summarise"])
async def test_the_policy_chooses(how):
    """Through the public names and the real SDK, at a server that refuses what is too long."""
    with OpenAISim(context_tokens=1000) as sim:
        target = Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k", context_tokens=900)
        chat = ChatModel(target, policy=Policy(overflow=how, attempts=1))
        if how == "refuse":
            with pytest.raises(ContextTooLong, match="largest window at hand 900; nothing was sent"):
                await chat.ainvoke(talk())
            assert sim.request_count == 0
        else:
            assert "window: " + how in chat.describe()
            assert (await chat.ainvoke(talk())).text
            assert (sim.request_count == 1) == (how == "drop_oldest")
        await chat.aclose()


def test_another_word_is_told_at_once():
    """Before anything is sent."""
    with pytest.raises(Misconfigured, match="overflow"):
        Policy(overflow="cut")


async def test_a_streamed_call_is_summed_up_by_plain_questions():
    """Nobody reads them as they come; and a provider may bill and limit streams otherwise."""
    provider = Scripted("fine")
    await stack(provider, ContextWindow(tokens=900, how="summarise"))(make_call(talk(), stream=True))
    *asked, last = provider.seen
    assert asked
    assert [one.stream for one in asked] == [False] * len(asked)
    assert last.stream
