"""What OpenAI's models and hosts want: parameters left out and told, the key in one header, the remedy in a refusal."""

from __future__ import annotations

import logging

import msgspec
import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.errors import BadRequest, Misconfigured, Unsupported
from surefoot.events import LeftOut
from surefoot.providers.openai import facts
from surefoot.providers.openai.endpoint import OPTIONS, OpenAIProvider, _sign
from surefoot.providers.openai.requests import UNSET, OpenAIDialect, chat_body
from surefoot.testing.wire import OpenAISim, WireFault
from surefoot.types import ChatRequest, Message, Tool

WEATHER = Tool.of("weather", "of a city", {"type": "object", "properties": {}})
ALL = {"temperature": 0.0, "top_p": 0.5, "stop": ("x",), "parallel_tool_calls": False}
KEY = "k-0123456789012345678901234567"
ONCE = Policy(attempts=1, breaker=False)


def sent(name: str, *, dialect: OpenAIDialect | None = None, **fields) -> tuple[dict, list[str]]:
    """The body for the model `name` at OpenAI, and what it left out."""
    left_out: list[str] = []
    request = ChatRequest(messages=(Message.user("hi"),), **fields)
    own = dialect or OpenAIDialect(target="t", is_openai=True)
    return msgspec.json.decode(chat_body(request, name, stream=False, dialect=own, left_out=left_out)), left_out


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ("gpt-4.1", set()),
        ("gpt-5-chat-latest", set()),
        ("gpt-5", {"temperature", "top_p", "stop"}),
        ("gpt-5.2", {"stop"}),
        ("gpt-5.5", {"temperature", "top_p", "stop"}),
        ("gpt-6-astra", {"temperature", "top_p", "stop"}),
        ("o1", {"temperature", "top_p"}),
        ("o3-mini", {"temperature", "top_p"}),
        ("o3-2025-04-16", {"temperature", "top_p", "stop"}),
        ("ft:o4-mini-2025-04-16:org::id", {"temperature", "top_p", "stop"}),
        ("ft:gpt-4o-mini-2024-07-18:org:chat:id", set()),
        ("openai/O3", {"temperature", "top_p", "stop"}),
    ],
)
def test_what_a_model_refuses_is_left_out_and_named(model, refused):
    """One temperature serves a whole row of fallbacks; a 400 would fail the call for a setting that the model ignores anyhow."""
    body, left_out = sent(model, **ALL)
    assert set(left_out) == refused
    assert {"temperature", "top_p", "stop"} - body.keys() == refused


def test_another_server_gets_everything():
    """Behind a name that sounds like OpenAI's there may be any model."""
    body, left_out = sent("o3", dialect=OpenAIDialect(target="t"), tools=(WEATHER,), **ALL)
    assert body.keys() >= {"temperature", "top_p", "stop", "parallel_tool_calls"}
    assert not left_out


def test_one_tool_at_a_time_is_nothing_to_tell():
    """The o-series calls one at a time; nor is the model's own default a loss. gpt-5 knows the switch."""
    for model in ("o1", "o3-mini", "o3", "o4-mini"):
        body, left_out = sent(model, tools=(WEATHER,), parallel_tool_calls=False, temperature=1.0)
        assert not body.keys() & {"parallel_tool_calls", "temperature"}
        assert not left_out
    assert sent("gpt-5", tools=(WEATHER,), parallel_tool_calls=False)[0]["parallel_tool_calls"] is False


@pytest.mark.parametrize("model", ["gpt-5.1", "gpt-5.4", "gpt-5.5"])
def test_sampling_depends_on_whether_the_model_thinks(model):
    """Generations differ in whether they think where nothing is said."""
    assert sent(model, temperature=0.0, reasoning_effort="none")[0]["temperature"] == 0.0
    assert "temperature" not in sent(model, temperature=0.0, reasoning_effort="low")[0]
    assert ("temperature" in sent(model, temperature=0.0)[0]) == (model != "gpt-5.5")


def test_tools_beside_an_effort():
    """gpt-5.4 refuses the two together, later ones want it said that they shall not think; before, all goes."""
    assert "reasoning_effort" not in sent("gpt-5.4", tools=(WEATHER,))[0]
    body, left_out = sent("gpt-5.6-terra", tools=(WEATHER,), temperature=0.0)
    assert (body["reasoning_effort"], body["temperature"], left_out) == ("none", 0.0, ["reasoning_effort"])
    assert sent("gpt-5.2", tools=(WEATHER,), reasoning_effort="high")[0]["reasoning_effort"] == "high"
    for model in ("gpt-5.4", "gpt-5.6"):
        with pytest.raises(Unsupported, match="reasoning_effort='none' only"):
            sent(model, tools=(WEATHER,), reasoning_effort="high")


@pytest.mark.parametrize("model", ["gpt-6-astra", "gpt-6-astra-2026-09-04", "gpt-6.1-sol", "gpt-5-search-api"])
def test_tools_that_no_effort_lets_through_are_refused_unsent(model):
    """gpt-6-astra knows no "none", which is the only effort that lets tools through in Chat Completions."""
    assert "tools" not in sent(model)[0]
    with pytest.raises(Unsupported, match="takes no function tools in Chat Completions"):
        sent(model, tools=(WEATHER,))
    assert sent("gpt-6-sol", tools=(WEATHER,))[0]["reasoning_effort"] == "none"


@pytest.mark.parametrize(
    ("model", "effort", "word", "told"),
    [
        ("gpt-5-mini", "none", "minimal", True),
        ("gpt-5-mini", "xhigh", "high", True),
        ("gpt-5.1", "minimal", "low", True),
        ("gpt-5.1", "xhigh", "high", True),
        ("gpt-5.2", "xhigh", "xhigh", False),
        ("gpt-5.2-chat-latest", "high", "medium", True),
        ("gpt-5.6-sol", "max", "xhigh", True),
        ("gpt-6-astra", "none", "low", True),
        ("o4-mini", "minimal", "low", True),
        ("gpt-4o-mini", "low", None, True),
        ("gpt-4.1", "none", None, False),
        ("gpt-5-chat-latest", "high", None, True),
        ("my-deployment", "extreme", "extreme", False),
    ],
)
def test_an_effort_in_a_word_the_model_knows(model, effort, word, told):
    """Generations differ in their words, gpt-4 knows none: the nearest is sent, and told."""
    body, left_out = sent(model, reasoning_effort=effort)
    assert (body.get("reasoning_effort"), left_out == ["reasoning_effort"]) == (word, told)


def test_an_effort_that_is_none_is_refused_unsent():
    """A typing error; behind other servers a word may mean anything."""
    with pytest.raises(BadRequest, match=r"'hihg' is no effort; gpt-5-mini knows minimal, low, medium, high"):
        sent("gpt-5-mini", reasoning_effort="hihg")
    assert sent("gpt-5-mini", dialect=OpenAIDialect(target="t"), reasoning_effort="hihg")[0]["reasoning_effort"] == "hihg"


@pytest.mark.parametrize("model", ["o3-pro", "gpt-5-pro-2025-10-06", "gpt-5.3-codex", "o4-mini-deep-research", "ft:o1-pro:org::id"])
def test_a_model_of_the_other_api_is_refused_unsent(model):
    """OpenAI answers a 404 that speaks of no chat model; elsewhere the name may be another's."""
    with pytest.raises(Unsupported, match="answers in OpenAI's Responses API only"):
        sent(model)
    assert sent(model, dialect=OpenAIDialect(target="t"))[0]["model"] == model


def test_no_limit_goes_beyond_the_models_own():
    """OpenAI says: max_tokens is too large: 20480. This model supports at most 16384 completion tokens. Nor does a fifth stop go."""
    limited = OpenAIDialect(target="t", is_openai=True, max_tokens_field="max_completion_tokens")
    body, left_out = sent("gpt-4o-mini", max_tokens=20_480, dialect=limited)
    assert (body["max_completion_tokens"], left_out) == (16_384, ["max_tokens"])
    assert sent("gpt-4o-mini", max_tokens=20_480, dialect=OpenAIDialect(target="t"))[0]["max_tokens"] == 20_480
    with pytest.raises(BadRequest, match="5 stop sequences, at most 4"):
        sent("gpt-4o-mini", stop=tuple("abcde"))
    assert "stop" not in sent("gpt-5-mini", stop=tuple("abcde"))[0]
    assert len(sent("gpt-4o-mini", stop=tuple("abcde"), dialect=OpenAIDialect(target="t"))[0]["stop"]) == 5


def test_a_target_may_say_which_model_it_is_or_what_it_refuses():
    """An Azure deployment has any name."""
    deployed = OpenAIDialect(target="t", is_openai=True, base_model="o3")
    assert not sent("prod-east", dialect=deployed, **ALL)[0].keys() & {"temperature", "top_p", "stop"}
    assert "temperature" in sent("prod-east", dialect=deployed, model="gpt-4.1", **ALL)[0]
    bare = OpenAIDialect(target="t", refused=("stop", "seed"))
    body, left_out = sent("m", dialect=bare, stop=("x",), seed=7, temperature=0.0)
    assert set(left_out) == {"stop", "seed"}
    assert body.keys() == {"model", "messages", "temperature"}
    with pytest.raises(Misconfigured, match="logprobs"):
        OpenAIProvider(Target("openai:m", api_key=KEY, options=(("refused", ("logprobs",)),)), None)


def test_what_was_left_out_is_told_once(caplog):
    """As a warning and an event: silence would pass for obedience, a line a call would drown the log."""
    heard: list[LeftOut] = []
    with OpenAISim() as sim:
        target = Target("openai:prod", base_url=f"{sim.url}/v1", api_key=KEY, options=(("refused", ("seed", "stop")),))
        chat = ChatModel(target, policy=ONCE)
        chat.subscribe(lambda event: heard.append(event) if isinstance(event, LeftOut) else None, inline=True)
        with caplog.at_level(logging.WARNING, logger="surefoot.providers.openai.endpoint"):
            for options in ({"seed": 1}, {"seed": 2}, {"seed": 3, "stop": "x"}):
                chat.invoke("hi", **options)
    assert [event.parameters for event in heard] == [("seed",), ("stop",)]
    assert len([one for one in caplog.records if one.name == "surefoot.providers.openai.endpoint"]) == 2


@pytest.mark.parametrize("name", ["temperature", "max_tokens", "stop"])
def test_a_refusal_of_a_parameter_names_the_option(name):
    """Nobody can tell the model by a deployment's name; the caller can say it."""
    error = {"message": f"Unsupported value: '{name}' is not supported with this model.", "code": "unsupported_value", "param": name}
    with OpenAISim() as sim:
        sim.script(WireFault(name="refused", status=400, body=msgspec.json.encode({"error": error})))
        chat = ChatModel(Target("openai:prod", base_url=f"{sim.url}/v1", api_key=KEY), policy=ONCE)
        with pytest.raises(BadRequest, match="base_model") as caught:
            chat.invoke("hi", temperature=0.2)
    assert {"temperature": '"sampling"', "max_tokens": '"max_tokens_field"', "stop": '"refused", ("stop",)'}[name] in str(caught.value)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_value")


@pytest.mark.parametrize(
    "host",
    [
        "r.openai.azure.com", "r.services.ai.azure.com", "r.cognitiveservices.azure.com", "eastus.api.cognitive.microsoft.com",
        "r.openai.azure.us", "r.openai.azure.cn",
    ],
)  # fmt: skip
def test_azures_hosts_speak_openais_dialect_and_want_their_own_header(host):
    """Two headers, or a token under the wrong one, are refused by gateways that check what they see."""
    assert facts.is_openai(host)
    sign = _sign(OPTIONS, f"https://{host}/openai/v1")
    assert sign("0123456789abcdef") == {"api-key": "0123456789abcdef"}
    assert sign("eyJh.eyJi.c2ln") == {"authorization": "Bearer eyJh.eyJi.c2ln"}


def test_other_hosts_get_a_bearer():
    """Names that only end like a known one are others."""
    for host in ("api.openai.com", "eu.api.openai.com", "evilapi.openai.com", "openai.azure.com.evil.example", "localhost"):
        assert _sign(OPTIONS, f"https://{host}/v1")("k") == {"authorization": "Bearer k"}
        assert facts.is_openai(host) == (host in {"api.openai.com", "eu.api.openai.com"})


@pytest.mark.parametrize("lane", ["sdk", "direct"])
@pytest.mark.parametrize(("key", "there", "gone"), [("k-1", "api-key", "authorization"), ("eyJh.eyJi.c2ln", "authorization", "api-key")])
def test_the_key_goes_out_in_one_header(lane, key, there, gone):
    """On each lane the same one."""
    with OpenAISim() as sim:
        sim_key = {"base_url": f"{sim.url}/v1", "api_key": key, "lane": lane}
        ChatModel(Target("openai:m", **sim_key, options=(("api_version", "2026-01-01"),)), policy=ONCE).invoke("hi")
        ChatModel(Target("openai:m", **sim_key, options=(("auth_header", gone),)), policy=ONCE).invoke("hi")
        first, second = (request.headers for request in sim.requests)
    assert key in first.get(there)
    assert first.get(gone) is None
    assert key in second.get(gone)
    assert second.get(there) is None


def test_the_table_is_sound():
    """A parameter nobody can leave out would be sent all the same."""
    assert all((row.refused | row.refused_thinking) <= UNSET.keys() for row in facts.MODELS)
    assert facts.model_of("o3-mini-high").begins == "o3-mini"
