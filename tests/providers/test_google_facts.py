"""What Gemini's models take: parameters left out and told, thinking in each model's own terms, and what cannot work refused unsent."""

from __future__ import annotations

import logging

import msgspec
import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.errors import BadRequest, Unsupported
from surefoot.events import LeftOut
from surefoot.providers.google.facts import MODELS, GoogleModelFacts, model_of
from surefoot.providers.google.requests import GoogleDialect, chat_body
from surefoot.testing.wire import GeminiSim
from surefoot.types import ChatRequest, Message


def sent(model: str, *more: Message, **fields) -> tuple[dict, list[str]]:
    """The generationConfig for `model`, and what it left out."""
    left_out: list[str] = []
    request = ChatRequest(messages=(Message.user("hi"), *more), **fields)
    body = msgspec.json.decode(chat_body(request, model, dialect=GoogleDialect(target="t"), left_out=left_out))
    return body.get("generationConfig", {}), left_out


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("models/gemini-2.5-pro-preview-06-05", "gemini-2.5-pro"),
        ("publishers/google/models/gemini-3.8-flash", "gemini-3."),
        ("gemini-3.5-flash-lite", "gemini-3.5-flash-lite"),
        ("gemini-3.5-flash", "gemini-3.5-flash"),
        ("gemini-2.0-flash", "gemini-2"),
        ("tunedModels/mine", ""),
    ],
)
def test_a_models_row_is_found_by_any_of_its_names(name, row):
    """With its collection, with its date; a tuned model is nobody's."""
    assert model_of(name).begins == row


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "told"),
    [
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}, True),  # "Budget 0 is invalid. This model only works in thinking mode."
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24_576}, False),
        ("gemini-2.5-pro", "50000", {"thinkingBudget": 32_768}, True),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}, False),
        ("gemini-2.5-flash", "max", {"thinkingBudget": 24_576}, True),
        ("gemini-2.5-flash", "-1", {"thinkingBudget": -1}, False),
        ("gemini-2.5-flash-lite", "100", {"thinkingBudget": 512}, True),
        ("gemini-2.0-flash", "high", None, True),
        ("gemini-2.0-flash", "none", None, False),
        ("gemini-3.6-flash", "none", {"thinkingLevel": "MINIMAL"}, True),
        ("gemini-3.8-flash", "minimal", {"thinkingLevel": "LOW"}, True),
        ("gemini-3.1-pro-preview", "none", {"thinkingLevel": "LOW"}, True),
        ("gemini-3-pro-preview", "medium", {"thinkingLevel": "HIGH"}, True),
        ("gemini-3.5-flash", "xhigh", {"thinkingLevel": "HIGH"}, True),
        ("gemini-4-hydrogen", "xhigh", {"thinkingLevel": "XHIGH"}, False),
        ("tunedModels/mine", "max", {"thinkingLevel": "MAX"}, False),
    ],
)
def test_thinking_in_the_models_own_terms(model, effort, thinking, told):
    """A number in its range, a level that it knows, or nothing at all; what is not as it was asked is told."""
    config, left_out = sent(model, reasoning_effort=effort)
    found = config.get("thinkingConfig")
    assert (found and {name: value for name, value in found.items() if name != "includeThoughts"}) == thinking
    assert (left_out == ["reasoning_effort"]) == told


def test_an_effort_that_is_none_is_refused_unsent():
    """Of models whose words are known."""
    for model in ("gemini-2.5-flash", "gemini-3.5-flash"):
        with pytest.raises(BadRequest, match="'hihg' is no effort"):
            sent(model, reasoning_effort="hihg")


def test_sampling_that_a_model_does_not_heed_is_left_out_and_named():
    """From 3.5 Flash-Lite and 3.6 Flash on the models choose their words by themselves."""
    for model in ("gemini-2.5-flash", "gemini-3.1-pro-preview", "gemini-3.5-flash"):
        config, left_out = sent(model, temperature=0.2, top_p=0.5)
        assert (config, left_out) == ({"temperature": 0.2, "topP": 0.5}, [])
    for model in ("gemini-3.5-flash-lite", "gemini-3.6-flash", "gemini-3.9-flash", "gemini-4-argon"):
        config, left_out = sent(model, temperature=0.2, top_p=0.5)
        assert (config, left_out) == ({}, ["temperature", "top_p"])
    assert sent("gemini-3.6-flash", temperature=1.0)[1] == []


@pytest.mark.parametrize("row", [row for row in MODELS if isinstance(row, GoogleModelFacts) and row.output], ids=lambda row: row.begins)
def test_no_limit_goes_beyond_the_models_own(row):
    """The API refuses more than a model writes."""
    config, left_out = sent(row.begins, max_tokens=500_000)
    assert (config["maxOutputTokens"], left_out) == (row.output, ["max_tokens"])
    assert sent(row.begins, max_tokens=100) == ({"maxOutputTokens": 100}, [])


def test_more_stop_sequences_than_it_takes_are_refused_unsent():
    """Of six, one would run on unseen."""
    assert len(sent("gemini-3.5-flash", stop=tuple("abcde"))[0]["stopSequences"]) == 5
    with pytest.raises(BadRequest, match="6 stop sequences, at most 5"):
        sent("gemini-3.5-flash", stop=tuple("abcdef"))


def test_the_beginning_of_an_answer_is_refused_unsent_where_it_is_not_gone_on_with():
    """The API says: Requests ending with a model turn are not supported."""
    begun = Message.assistant("The answer is")
    sent("gemini-2.5-flash", begun)
    sent("gemini-3.5-flash", begun)
    for model in ("gemini-3.5-flash-lite", "gemini-3.6-flash", "gemini-3.8-flash"):
        with pytest.raises(Unsupported, match="does not go on with an answer that was begun"):
            sent(model, begun)
        sent(model, begun, Message.user("Go on"))


def test_what_was_left_out_is_told_once(caplog):
    """As a warning and an event."""
    heard: list[LeftOut] = []
    with GeminiSim() as sim:
        target = Target("google:gemini-3.6-flash", base_url=sim.url, api_key="AIza0123456789abcdef")
        chat = ChatModel(target, policy=Policy(attempts=1))
        chat.subscribe(lambda event: heard.append(event) if isinstance(event, LeftOut) else None, inline=True)
        with caplog.at_level(logging.WARNING, logger="surefoot.providers.google.endpoint"):
            for options in ({"temperature": 0.1}, {"temperature": 0.2}, {"temperature": 0.3, "reasoning_effort": "none"}):
                chat.invoke("hi", **options)
    assert [event.parameters for event in heard] == [("temperature",), ("reasoning_effort",)]
    assert len([one for one in caplog.records if one.name == "surefoot.providers.google.endpoint"]) == 2
