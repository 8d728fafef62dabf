"""Conversations: whole on disk, within the window in the prompt."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.errors import ContextTooLong, Misconfigured
from surefoot.history import History, count_tokens, trim
from surefoot.types import Message, ToolCall

SYSTEM = Message.system("Be brief.")
DAY_S = 86_400


def turn(number: int, words: int = 10) -> list[Message]:
    return [Message.user(f"question {number} " * words), Message.assistant(f"answer {number} " * words)]


def test_oldest_turns_leave_first_and_instructions_stay():
    """What was said last matters most."""
    messages = [SYSTEM, *turn(1), *turn(2), *turn(3)]
    kept = trim(messages, window_tokens=sum(map(count_tokens, [SYSTEM, *turn(2), *turn(3)])))
    assert kept == [SYSTEM, *turn(2), *turn(3)]


def test_a_tools_result_never_stands_without_its_call():
    """Every vendor refuses that."""
    tools = [
        Message.user("weather?"),
        Message.assistant(tool_calls=[ToolCall(id="1", name="weather")]),
        Message.tool("sunny " * 50, tool_call_id="1"),
        Message.assistant("Sunny."),
    ]
    kept = trim([*tools, *turn(2)], window_tokens=sum(map(count_tokens, turn(2))) + count_tokens(tools[-1]) + 5)
    assert kept == turn(2)


def test_a_newest_turn_that_does_not_fit_is_refused_not_cut():
    """A cut in mid-sentence answers another question."""
    with pytest.raises(ContextTooLong, match="window 20"):
        trim([SYSTEM, Message.user("long " * 500)], window_tokens=20)


def test_what_leaves_can_come_back_as_a_summary():
    """A named strategy, chosen, never silent."""
    said = []
    messages = [SYSTEM, *turn(1), *turn(2), *turn(3)]
    window = sum(map(count_tokens, [SYSTEM, *turn(3)])) + 30
    kept = trim(messages, window_tokens=window, summarise=lambda left: said.append(left) or "two questions")
    assert "two questions" in kept[1].text
    assert kept[2:] == turn(3)
    assert said[0] == [*turn(1), *turn(2)]


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(10, 600))
@settings(deadline=None)
def test_a_trimmed_conversation_fits_and_is_a_suffix(sizes, window):
    """Whatever was said."""
    messages = [message for number, words in enumerate(sizes) for message in turn(number, words)]
    try:
        kept = trim(messages, window_tokens=window)
    except ContextTooLong:
        assert sum(map(count_tokens, messages[-2:])) > window
        return
    assert sum(map(count_tokens, kept)) <= window
    assert kept == messages[len(messages) - len(kept) :]


async def day_of_talk(history, virtual, said):
    """24 hours: 40 people, each says something every two minutes to five hours, tools and long answers among it."""
    draw = random.Random(24)

    async def person(name):
        number = 0
        while virtual.time() < DAY_S:
            await asyncio.sleep(draw.uniform(120, 18_000))
            number += 1
            spoken = turn(number, draw.choice([1, 3, 30]))
            if number % 5 == 0:
                call = ToolCall(id=f"{name}{number}", name="weather", arguments='{"city": "İzmir"}')
                spoken[1:1] = [Message.assistant(tool_calls=[call]), Message.tool("güneşli " * 20, tool_call_id=call.id)]
            history.add(name, *spoken)
            said.setdefault(name, []).extend(spoken)
            window = history.window(name, Message.user("And now?"))
            assert sum(map(count_tokens, window)) <= history.window_tokens
            assert {m.tool_call_id for m in window if m.role == "tool"} == {c.id for m in window for c in m.tool_calls}
            assert len(history._recent) <= 8

    await asyncio.gather(*(person(f"p{n}") for n in range(40)))


@pytest.mark.looptime
async def test_a_day_of_talk_stays_bounded_in_memory_and_whole_on_disk(tmp_path):
    """24 h of virtual time: at most 8 conversations in memory, each within its window, and every word of the day in the file."""
    history = History(tmp_path / "h.db", window_tokens=500, max_conversations=8)
    said: dict[str, list[Message]] = {}
    await day_of_talk(history, asyncio.get_running_loop(), said)
    held = sum(count_tokens(message) for kept in history._recent.values() for message in kept)
    print(f"{sum(map(len, said.values())):,} messages in 24 h; in memory {len(history._recent)} conversations, about {held:,} tokens")
    assert held <= 8 * 500
    assert sum(map(len, said.values())) > 800
    again = History(tmp_path / "h.db", window_tokens=500)
    assert {name: again.all(name) for name in said} == said
    assert again.window("p7") == history.window("p7")


def test_threads_share_one_history(tmp_path):
    """Every message arrives once."""
    history = History(tmp_path / "h.db")
    workers = [threading.Thread(target=lambda n=n: [history.add("c", Message.user(f"{n}-{i}")) for i in range(20)]) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({message.text for message in history.all("c")}) == 80


def test_forgetting_forgets(tmp_path):
    """Also on disk."""
    history = History(tmp_path / "h.db")
    history.add("c", *turn(1))
    history.forget("c")
    assert history.all("c") == History(tmp_path / "h.db").window("c") == []


def test_bad_settings_are_told(tmp_path):
    """Before anything is remembered in vain."""
    with pytest.raises(Misconfigured, match="window_tokens"):
        History(window_tokens=1)
    with pytest.raises(Misconfigured, match="cannot be opened"):
        History(tmp_path / "no" / "such" / "h.db")
