"""Leaving out by a rule: whole turns, whole passages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.errors import ContextTooLong
from surefoot.types import Message, ToolCall
from surefoot.usage.tokens import estimate_message, estimate_text
from surefoot.usage.trim import best, part


def conversation(shapes):
    """Turns of some words each, every third with two tool calls and their results."""
    messages = [Message.system("Be brief.")]
    for number, words in enumerate(shapes):
        messages.append(Message.user("question " * words))
        if number % 3 == 0:
            calls = [ToolCall(id=f"{number}{letter}", name="look", arguments='{"x": 1}') for letter in "ab"]
            messages += [Message.assistant(tool_calls=calls), *(Message.tool("found " * words, tool_call_id=call.id) for call in calls)]
        messages.append(Message.assistant("answer " * words))
    return messages


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=10), st.integers(10, 900))
def test_what_is_kept_fits_is_the_newest_and_no_result_stands_without_its_call(shapes, window):
    """Whatever was said; nothing is lost, nothing is cut, nothing changes its place."""
    messages = conversation(shapes)
    try:
        parted = part(messages, window_tokens=window)
    except ContextTooLong:
        return
    assert [*parted.standing, *parted.left_out, *parted.kept] == messages
    assert sum(map(estimate_message, (*parted.standing, *parted.kept))) + parted.free_tokens == window
    assert parted.free_tokens >= 0
    calls = {call.id for message in parted.kept for call in message.tool_calls}
    assert calls == {message.tool_call_id for message in parted.kept if message.role == "tool"}
    assert parted.kept[0].role == "user"


def test_a_newest_turn_that_does_not_fit_is_an_error_with_both_numbers():
    """Cut in its middle it would ask something else."""
    with pytest.raises(ContextTooLong, match=r"have about \d+ tokens, the window 20; nothing was sent"):
        part([Message.user("long " * 500)], window_tokens=20)


def test_the_best_passages_stay_whole_and_in_their_order():
    """The lowest scored leave first; a short one further down may still fit."""
    passages = ["low " * 20, "best " * 20, "middle " * 60, "short"]
    sizes = [estimate_text(passage) for passage in passages]
    scores = [0.1, 0.9, 0.5, 0.3]
    assert best(passages, scores, free_tokens=sum(sizes)) == passages
    assert best(passages, scores, free_tokens=sum(sizes) - 1) == passages[1:]
    assert best(passages, scores, free_tokens=sizes[1] + sizes[3]) == [passages[1], passages[3]]
    assert best(passages, scores, free_tokens=0) == []
    assert best([{"text": "a"}], [1.0], free_tokens=50, text=lambda one: one["text"]) == [{"text": "a"}]
