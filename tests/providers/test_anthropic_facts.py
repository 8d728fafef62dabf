"""What Anthropic's models take: parameters left out and told, efforts in the form each model knows, and what cannot work refused unsent."""

from __future__ import annotations

import logging

import msgspec
import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.errors import BadRequest, Unsupported
from surefoot.events import LeftOut
from surefoot.providers.anthropic.facts import MODELS, model_of
from surefoot.providers.anthropic.requests import BUDGETS, MAX_TOKENS, SHOWN, AnthropicDialect, chat_body
from surefoot.testing.wire import AnthropicSim
from surefoot.types import ChatRequest, Message, Schema, Tool

CITY = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'
WEATHER = Tool(name="weather", description="of a city", parameters=CITY)
TIME = Tool(name="time", description="of a city", parameters=CITY)
FORCED = {"claude-opus-5", "claude-sonnet-5", "claude-haiku-5-5", "claude-fable-5", "claude-opus-4-8"}
UNFORCED = {"claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1", "claude-mythos-5-1"}


def sent(model: str, *more: Message, dialect: AnthropicDialect | None = None, **fields) -> tuple[dict, list[str]]:
    """The body for `model`, and what it left out."""
    left_out: list[str] = []
    request = ChatRequest(messages=(Message.user("hi"), *more), **fields)
    data = chat_body(request, model, stream=False, dialect=dialect or AnthropicDialect(target="t"), left_out=left_out).data
    return msgspec.json.decode(data), left_out


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("claude-3-opus-20240229", "claude-3-"),
        ("claude-3-5-sonnet-latest", "claude-3-5-"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-opus-4-1", "claude-opus-4"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", "claude-opus-4"),
        ("claude-opus-4-8@20260528", "claude-opus-4-8"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("claude-fable-5-2", "claude-fable-5-2"),
        ("claude-opus-9", "claude-"),
        ("MiniMax-M2", ""),
    ],
)
def test_a_models_row_is_found_by_any_of_its_names(name, row):
    """Dated, at Bedrock, at Vertex, at a gateway; one to come is taken for the newest, another vendor's for none of them."""
    assert model_of(name).begins == row


def test_what_a_model_refuses_is_left_out_and_named():
    """Models from 4.7 on choose their words by themselves; those of generation 4 take one of the two."""
    for model, names in {
        "claude-3-5-haiku-latest": set(), "claude-sonnet-4-5": {"top_p"}, "claude-opus-4-6": {"top_p"},
        "claude-opus-4-7": {"temperature", "top_p"}, "claude-sonnet-5-5": {"temperature", "top_p"}, "MiniMax-M2": set(),
    }.items():  # fmt: skip
        body, left_out = sent(model, temperature=0.2, top_p=0.5)
        assert set(left_out) == names, model
        assert {"temperature", "top_p"} - body.keys() == names, model
    assert sent("claude-opus-5", temperature=1.0, top_p=1.0)[1] == []  # the API's own defaults: nothing is lost
    assert sent("claude-opus-4-6", temperature=1.7)[0]["temperature"] == 1.0
    assert sent("claude-opus-4-6", temperature=1.7)[1] == ["temperature"]
    assert sent("claude-opus-4-6", seed=7)[1] == ["seed"]


def test_beside_thinking_nothing_of_the_kind_is_sent():
    """The API refuses temperature and top_p beside a number of tokens to think."""
    body, left_out = sent("claude-sonnet-4-5", temperature=0.2, top_p=0.5, reasoning_effort="low")
    assert body["thinking"]["type"] == "enabled"
    assert not body.keys() & {"temperature", "top_p"}
    assert left_out == ["temperature", "top_p"]


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "word", "told"),
    [
        ("claude-opus-5", "xhigh", SHOWN, "xhigh", False),
        ("claude-opus-4-6", "xhigh", {"type": "adaptive"}, "max", True),
        ("claude-opus-4-8", "minimal", SHOWN, "low", True),
        ("claude-opus-5", "none", {"type": "disabled"}, None, False),
        ("claude-sonnet-5-5", "none", {"type": "between_tools"}, None, False),
        ("claude-opus-5-5", "none", SHOWN, "low", True),
        ("claude-fable-5", "none", SHOWN, "low", True),
        ("claude-haiku-4-5", "medium", {"type": "enabled", "budget_tokens": 4096}, None, False),
        ("claude-haiku-4-5", "2000", {"type": "enabled", "budget_tokens": 2000}, None, False),
        ("claude-haiku-4-5", "none", None, None, False),
        ("claude-3-5-haiku-latest", "high", None, None, True),
        ("kimi-k3", "high", {"type": "adaptive"}, "high", False),
    ],
)
def test_an_effort_in_the_form_the_model_knows(model, effort, thinking, word, told):
    """By a word, by a number of tokens, or not at all; the nearest that it takes is sent, and told."""
    body, left_out = sent(model, reasoning_effort=effort)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == word
    assert (left_out == ["reasoning_effort"]) == told


def test_an_effort_that_is_none_is_refused_unsent():
    """A typing error would come back as a 400 from one vendor and unheard from another."""
    for model in ("claude-opus-5", "claude-haiku-4-5"):
        with pytest.raises(BadRequest, match="'hihg' is no effort"):
            sent(model, reasoning_effort="hihg")


@pytest.mark.parametrize("row", [row for row in MODELS if row.output], ids=lambda row: row.begins)
@pytest.mark.parametrize("effort", ["", "low", "max"])
def test_no_limit_goes_beyond_the_models_own(row, effort):
    """Haiku 3 writes 4,096 tokens, and a default of 8,192 was refused; so was thinking's room on top of it with Opus 4."""
    body, _ = sent(row.begins, reasoning_effort=effort)
    assert body["max_tokens"] <= row.output
    assert body.get("thinking", {}).get("budget_tokens", 0) < body["max_tokens"]
    body, left_out = sent(row.begins, max_tokens=500_000)
    assert (body["max_tokens"], left_out) == (row.output, ["max_tokens"])
    assert sent(row.begins, max_tokens=100)[0]["max_tokens"] == 100


def test_thinking_leaves_the_answer_its_room():
    """It counts towards the limit: models that think unasked would use the whole default up."""
    assert sent("claude-opus-4-8")[0]["max_tokens"] == MAX_TOKENS
    assert sent("claude-opus-5")[0]["max_tokens"] == MAX_TOKENS + BUDGETS["high"]
    assert sent("claude-opus-5", reasoning_effort="none")[0]["max_tokens"] == MAX_TOKENS
    opus = sent("claude-opus-4-1", reasoning_effort="max")[0]
    assert opus["max_tokens"] - opus["thinking"]["budget_tokens"] >= MAX_TOKENS


@pytest.mark.parametrize("model", sorted(FORCED | UNFORCED))
def test_a_model_that_cannot_be_forced_gets_the_one_tool_and_a_free_choice(model):
    """A framework's structured output forces its tool; the newest models answer that with a 400."""
    body, left_out = sent(model, tools=(WEATHER, TIME), tool_choice="time")
    if model in FORCED:
        assert (body["tool_choice"], len(body["tools"]), left_out) == ({"type": "tool", "name": "time"}, 2, [])
    else:
        assert body["tool_choice"] == {"type": "auto"}
        assert [tool["name"] for tool in body["tools"]] == ["time"]
        assert left_out == ["tool_choice"]
    body, left_out = sent(model, tools=(WEATHER, TIME), tool_choice="required", parallel_tool_calls=False)
    kind = "any" if model in FORCED else "auto"
    assert (body["tool_choice"], len(body["tools"])) == ({"type": kind, "disable_parallel_tool_use": True}, 2)


def test_a_schema_needs_no_forced_tool_where_there_is_none():
    """An open schema went by a forced tool everywhere; it is closed and goes natively where nothing can be forced."""
    schema = Schema(name="city", schema=CITY)
    assert sent("claude-opus-5", schema=schema)[0]["tool_choice"] == {"type": "tool", "name": "city"}
    body, _ = sent("claude-opus-5-5", schema=schema)
    assert body["output_config"]["format"]["schema"]["additionalProperties"] is False
    assert "tools" not in body
    with pytest.raises(Unsupported, match="no JSON mode for this model"):
        sent("claude-opus-5-5", schema=Schema(name="any", schema=""))


def test_blank_stop_sequences_stay_behind():
    """The API refuses them; others beside them hold."""
    body, left_out = sent("claude-opus-5", stop=("\n\n", "END"))
    assert (body["stop_sequences"], left_out) == (["END"], ["stop"])
    assert "stop_sequences" not in sent("claude-opus-5", stop=("\n",))[0]


def test_the_beginning_of_an_answer_is_refused_unsent_where_it_is_not_gone_on_with():
    """From 4.6 on the API answers it with a 400; a call with its result after it is another thing."""
    begun = Message.assistant("The answer is")
    assert sent("claude-sonnet-4-5", begun)[0]["messages"][-1]["role"] == "assistant"
    assert sent("glm-5", begun)[0]["messages"][-1]["role"] == "assistant"
    with pytest.raises(Unsupported, match="does not go on with an answer that was begun"):
        sent("claude-opus-4-6", begun)


def test_what_was_left_out_is_told_once(caplog):
    """As a warning and an event."""
    heard: list[LeftOut] = []
    with AnthropicSim() as sim:
        chat = ChatModel(Target("anthropic:claude-opus-5", base_url=sim.url, api_key="sk-ant-0123456789abcdef"), policy=Policy(attempts=1))
        chat.subscribe(lambda event: heard.append(event) if isinstance(event, LeftOut) else None, inline=True)
        with caplog.at_level(logging.WARNING, logger="surefoot.providers.anthropic.endpoint"):
            for options in ({"temperature": 0.1}, {"temperature": 0.2}, {"temperature": 0.3, "seed": 1}):
                chat.invoke("hi", **options)
    assert [event.parameters for event in heard] == [("temperature",), ("seed",)]
    assert len([one for one in caplog.records if one.name == "surefoot.providers.anthropic.endpoint"]) == 2


@pytest.mark.parametrize(("model", "thinking"), [("claude-opus-5", SHOWN), ("claude-opus-4-8", None), ("claude-haiku-4-5", None)])
def test_a_stream_asks_to_see_the_thoughts_that_come_anyway(model, thinking):
    """Else nothing is seen of it for minutes, and it looks like a server that has stalled."""
    request = ChatRequest(messages=(Message.user("hi"),))
    data = chat_body(request, model, stream=True, dialect=AnthropicDialect(target="t")).data
    assert msgspec.json.decode(data).get("thinking") == thinking
    forced = ChatRequest(messages=request.messages, tools=(WEATHER,), tool_choice="required")
    assert "thinking" not in msgspec.json.decode(chat_body(forced, model, stream=True, dialect=AnthropicDialect(target="t")).data)
