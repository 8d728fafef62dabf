"""What a model's calls came to: the high end of it, lately."""

from __future__ import annotations

import random

from surefoot.types import Usage
from surefoot.usage.habits import INPUT_EXTRA, INPUT_MARGIN, MODELS, SAMPLES, Habits


def note(habits, output, *, model="", inputs=(10, 10), is_free=True):
    habits.note(model, Usage(input_tokens=inputs[0], output_tokens=output), estimated_input=inputs[1], is_free=is_free)


def test_nothing_is_known_before_the_first_call():
    """A guess would be taken for knowledge."""
    habits = Habits()
    assert habits.output_tokens("") is None
    assert habits.input_tokens("", 100) == 100 * INPUT_MARGIN + INPUT_EXTRA


def test_a_usual_answer_is_the_longest_but_for_one_in_a_hundred():
    """In whatever order they came."""
    habits, lengths = Habits(), [100] * 490 + [60_000] * 4
    random.Random(1).shuffle(lengths)
    for length in lengths:
        note(habits, length)
    assert habits.output_tokens("") == 100
    note(habits, 60_000)
    note(habits, 60_000)
    assert habits.output_tokens("") == 60_000


def test_of_a_few_answers_the_longest_counts():
    """One in a hundred says nothing about five."""
    habits = Habits()
    for length in (5, 900, 7, 30, 20):
        note(habits, length)
    assert habits.output_tokens("") == 900


def test_old_answers_are_forgotten():
    """A prompt was changed, and so did the answers."""
    habits = Habits()
    for length in [8000] * SAMPLES + [50] * SAMPLES:
        note(habits, length)
    assert habits.output_tokens("") == 50


def test_answers_that_somebody_bounded_say_nothing_about_others():
    """A thousand answers of five tokens each, because five were allowed."""
    habits = Habits()
    note(habits, 5, is_free=False)
    assert habits.output_tokens("") is None


def test_each_model_has_habits_of_its_own():
    """One that thinks writes ten times as much."""
    habits = Habits()
    note(habits, 100)
    note(habits, 9000, model="thinker")
    assert (habits.output_tokens(""), habits.output_tokens("thinker"), habits.output_tokens("new")) == (100, 9000, None)


def test_an_estimate_that_is_too_low_is_corrected():
    """The vendor counts twice what we estimate; exactly so, for a limit of five calls must admit five."""
    habits = Habits()
    note(habits, 1, inputs=(10, 5))
    assert habits.input_tokens("", 5) == 10
    note(habits, 1, model="generous", inputs=(1, 10))
    assert habits.input_tokens("generous", 100) == 100 * INPUT_MARGIN, "one prompt that was over-estimated says nothing about the next"


def test_thinking_is_known_of_models_that_think():
    """A stream that broke off shows only what was said."""
    habits = Habits()
    note(habits, 100)
    assert habits.thinking_tokens("") == 0
    for thought in (0, 3000, 50):
        habits.note("thinker", Usage(input_tokens=1, output_tokens=5000, reasoning_tokens=thought), estimated_input=1, is_free=True)
    assert habits.thinking_tokens("thinker") == 3000


def test_made_up_models_take_no_memory():
    """A caller may name anything."""
    habits = Habits()
    for number in range(10 * MODELS):
        note(habits, number, model=f"m{number}")
    assert len(habits._outputs) <= MODELS
