"""Names that know their address, their key's variable and their dialect: `groq:`, `ollama:`, `azure:` and the others of the table."""

from __future__ import annotations

import json

import pytest

from surefoot import ChatModel, EmbedModel, Message, Policy, Target
from surefoot.credentials import placed
from surefoot.discovery import look_around
from surefoot.errors import Misconfigured, Unsupported
from surefoot.events import LeftOut
from surefoot.models.endpoints import ResolvedTarget
from surefoot.providers import registry
from surefoot.providers.openai import houses
from surefoot.testing.wire import OpenAISim
from surefoot.types import Schema, Tool, Usage
from surefoot.usage.prices import Price

ONCE = Policy(attempts=1, deadline_s=20, breaker=False)
KEY = "k-0123456789012345678901234567"
LANES = ["sdk", "direct"]
HOUSES = {name: one for name, one in houses.PROVIDERS.items() if name != "azure"}
ANSWER = Schema.of("answer", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """Whatever the developer's own environment says is not what is tested."""
    monkeypatch.setenv("SUREFOOT_DOTENV", "")
    for entry in registry.PROVIDERS.values():
        for name in (entry.address_variable, *entry.key_variables, *(variable for _, variable in entry.option_variables)):
            if name:
                monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def sim():
    """One server for all; each test looks at the last request alone."""
    with OpenAISim(strict=False) as running:
        yield running


def sent(sim: OpenAISim, name: str, prompt="hi", *, lane: str = "direct", options=(), base_url: str = "", **asked) -> dict:
    """The body that arrives for a call of `name`."""
    target = Target(name, base_url=base_url or f"{sim.url}/v1", api_key=KEY, lane=lane, options=options)
    ChatModel(target, policy=ONCE).invoke(prompt, **asked)
    return sim.requests[-1].json


@pytest.mark.parametrize("name", HOUSES)
def test_each_house_knows_its_address_and_its_key(name, monkeypatch):
    """The name is all that is typed."""
    entry = HOUSES[name]
    if entry.keyless == "everywhere":
        assert ResolvedTarget(f"{name}:some-model", "chat").target.base_url == entry.address
        return
    with pytest.raises(Misconfigured, match=entry.key_variables[0]):
        ChatModel(f"{name}:some-model")
    monkeypatch.setenv(entry.key_variables[-1], KEY)
    assert ResolvedTarget(f"{name}:some-model", "chat").keys is not None
    assert entry.address.startswith("https://")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("vertexai:gemini-3-flash", "vertex"),
        ("bedrock_converse:x", "bedrock"),
        ("mistralai:x", "mistral"),
        ("azure_openai:x", "azure"),
        ("grok:x", "xai"),
        ("kimi:x", "moonshot"),
        ("openrouterr:x", "openrouter"),
        ("togetherai:x", "together"),
        ("ft:gpt-4o:org::id", "openai:ft:gpt-4o:org::id"),
        ("llama3:8b", "ollama:llama3:8b"),
        ("us.anthropic.claude-opus-4-8-v1:0", "bedrock:us.anthropic.claude-opus-4-8-v1:0"),
    ],
)
def test_an_unknown_provider_is_told_which_one_is_meant(written, meant):
    """Names of other libraries, typos, and models whose names hold a colon; all known ones are listed."""
    with pytest.raises(Misconfigured, match=f"did you mean '{meant}'.*known are .*groq.*ollama.*openrouter"):
        ChatModel(written)


@pytest.mark.parametrize(
    ("option", "remedy"),
    [("timeout", "deadline_s"), ("max_retries", "attempts"), ("http_client", "proxy, verify or cert"), ("base_modle", "mean 'base_model'")],
)
def test_an_unknown_option_is_told_where_it_is_said(option, remedy):
    """What the vendors' clients take at construction has a place of its own."""
    with pytest.raises(Misconfigured, match=f"unknown option '{option}'; .*{remedy}"):
        ChatModel(Target("openai:m", api_key="k-0123456789012345678", options={option: 3})).invoke("hi")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("gpt-5-mini", "openai:gpt-5-mini"),
        ("claude-haiku-4-5", "anthropic:claude-haiku-4-5"),
        ("gemini-3-flash", "google:gemini-3-flash"),
        ("text-embedding-3-small", "openai:text-embedding-3-small"),
        ("llama3", "ollama:llama3"),
        ("o4-mini", "openai:o4-mini"),
        ("groq/llama-3.3-70b", "groq:llama-3.3-70b"),
        ("meta-llama/Llama-3.3-70B", "openrouter:meta-llama/Llama-3.3-70B"),
        ("nobody-knows", "openai:gpt-5-mini"),
    ],
)
def test_a_name_without_provider_is_told_its_own(written, meant):
    """The prefix to type, not an example of some other model's."""
    with pytest.raises(Misconfigured, match=f"for example '{meant}'"):
        Target(written)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("given", ["{host}", "http://{host}", "http://{host}/", "http://{host}/v1"])
def test_ollamas_own_variable_is_address_enough(sim, monkeypatch, lane, given):
    """Ollama writes a host into it, others an address; no key is wanted, and nobody sends a bill."""
    monkeypatch.setenv("OLLAMA_HOST", given.format(host=sim.url.removeprefix("http://")))
    reply = ChatModel(Target("ollama:llama3", lane=lane), policy=ONCE).invoke("hi", max_tokens=40)
    assert sim.requests[-1].path == "/v1/chat/completions"
    assert sim.requests[-1].json["max_tokens"] == 40
    assert reply.target == "ollama:llama3"
    assert reply.cost_usd == 0


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("ollama", "gpu-box", "http://gpu-box:11434/v1"),
        ("ollama", "0.0.0.0:9", "http://127.0.0.1:9/v1"),
        ("ollama", "", "http://127.0.0.1:11434/v1"),
        ("ollama", "https://gpu.example", "https://gpu.example/v1"),
        ("ollama", "http://[::1]:9/api/v1", "http://[::1]:9/api/v1"),
    ],
)
def test_a_server_of_ones_own_is_found_by_its_machine(monkeypatch, name, given, found):
    """The usual port, the usual path."""
    monkeypatch.setenv("OLLAMA_HOST", given)
    assert placed(Target(f"{name}:m"), registry.PROVIDERS[name]).base_url == found


def test_a_base_url_of_a_machine_is_enough(sim):
    """People copy the address that the server prints."""
    for name in ("ollama", "vllm", "lmstudio", "llamacpp"):
        ChatModel(Target(f"{name}:m", base_url=sim.url), policy=ONCE).invoke("hi")
        assert sim.requests[-1].path == "/v1/chat/completions"
        assert ChatModel(Target(f"{name}:m", base_url=sim.url), policy=ONCE).invoke("hi").cost_usd == 0


@pytest.mark.parametrize("lane", LANES)
def test_mistral_is_asked_in_its_own_words(sim, lane):
    """It answers a field that it does not know with a 422."""
    conversation = [Message.user("hi", name="ada")]
    body = sent(sim, "mistral:mistral-large", conversation, lane=lane, seed=7, max_tokens=9)
    assert body == {"model": "mistral-large", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "random_seed": 7}
    model = ChatModel(Target("mistral:mistral-large", base_url=f"{sim.url}/v1", api_key=KEY, lane=lane), policy=ONCE)
    list(model.stream("hi"))
    assert "stream_options" not in sim.requests[-1].json


def test_what_a_house_does_not_take_is_told_once(sim):
    """Left out of the request, and said in an event."""
    told: list[LeftOut] = []
    model = ChatModel(Target("xai:grok-4", base_url=f"{sim.url}/v1", api_key=KEY), policy=ONCE)
    model.subscribe(lambda event: told.append(event) if isinstance(event, LeftOut) else None, inline=True)
    for _ in range(2):
        model.invoke("hi", stop=["x"], reasoning_effort="high", temperature=0.5)
    assert {"stop", "reasoning_effort"}.isdisjoint(sim.requests[-1].json)
    assert sim.requests[-1].json["temperature"] == 0.5
    assert [sorted(event.parameters) for event in told] == [["reasoning_effort", "stop"]]


@pytest.mark.parametrize(
    ("name", "effort", "expected"),
    [
        ("groq:openai/gpt-oss-120b", "high", {"reasoning_effort": "high"}),
        ("groq:openai/gpt-oss-120b", "minimal", {"reasoning_effort": "low"}),
        ("groq:qwen/qwen3-32b", "high", {}),
        ("groq:qwen/qwen3-32b", "none", {"reasoning_effort": "none"}),
        ("groq:llama-3.3-70b-versatile", "low", {}),
        ("xai:grok-3-mini", "medium", {"reasoning_effort": "high"}),
        ("deepseek:deepseek-chat", "none", {"thinking": {"type": "disabled"}}),
        ("deepseek:deepseek-chat", "high", {"reasoning_effort": "high"}),
        ("zai:glm-5", "high", {"thinking": {"type": "enabled"}}),
        ("moonshot:kimi-k3", "none", {"thinking": {"type": "disabled"}}),
        ("openrouter:openai/gpt-5", "low", {"reasoning_effort": "low"}),
    ],
)
def test_an_effort_is_said_as_each_house_says_it(sim, name, effort, expected):
    """Some have words, some a switch, some nothing."""
    body = sent(sim, name, reasoning_effort=effort)
    assert {word: body[word] for word in ("reasoning_effort", "thinking") if word in body} == expected


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("groq:llama-3.3-70b-versatile", "max_completion_tokens"),
        ("mistral:mistral-large", "max_tokens"),
        ("ollama:llama3", "max_tokens"),
        ("github:openai/gpt-5", "max_completion_tokens"),
        ("github:meta/llama-4", "max_tokens"),
        ("openrouter:openai/gpt-5", "max_tokens"),
        ("azure:gpt-5-mini", "max_completion_tokens"),
        ("azure:my-deployment", "max_completion_tokens"),
        ("azure:Mistral-Large-3", "max_tokens"),
    ],
)
def test_the_limit_of_an_answer_is_called_as_each_model_wants_it(sim, name, field):
    """OpenAI's own models have a word of their own, wherever they are served."""
    body = sent(sim, name, max_tokens=33)
    assert {word for word in body if word.startswith("max_")} == {field}


def test_github_serves_openais_models_by_openais_rules(sim):
    """They are the same models behind another address."""
    assert "temperature" not in sent(sim, "github:openai/gpt-5", temperature=0.3)
    assert sent(sim, "github:openai/gpt-4o", temperature=0.3)["temperature"] == 0.3


def test_a_schema_goes_along_in_words_where_only_json_is_promised(sim):
    """DeepSeek knows `json_object` alone, and wants the word JSON in the prompt."""
    body = sent(sim, "deepseek:deepseek-chat", [Message.system("Be brief."), Message.user("n?")], schema=ANSWER)
    assert body["response_format"] == {"type": "json_object"}
    assert [message["role"] for message in body["messages"]] == ["system", "system", "user"]
    assert json.loads(body["messages"][1]["content"].partition("\n")[2]) == json.loads(ANSWER.schema)


def test_what_cannot_work_is_refused_before_it_is_sent(sim):
    """Perplexity's models call no tools, MiniMax holds answers to no form, Groq has no embeddings."""
    before = sim.request_count
    with pytest.raises(Unsupported, match="tools"):
        sent(sim, "perplexity:sonar", tools=[Tool.of("f", "", {"type": "object", "properties": {}})])
    with pytest.raises(Unsupported):
        sent(sim, "minimax:MiniMax-M2", schema=ANSWER)
    with pytest.raises(Misconfigured, match="has no models that embed"):
        EmbedModel(Target("groq:x", base_url=f"{sim.url}/v1", api_key=KEY))
    assert sim.request_count == before


def test_a_houses_vectors_lie_in_a_space_of_their_own(sim):
    """Another house's model of the same name is not known to be the same model."""
    spaces = {
        EmbedModel(Target(f"{name}:m", base_url=f"{sim.url}/v1", api_key=KEY), policy=ONCE).reply(["x"]).space
        for name in ("openai", "together")
    }
    assert len(spaces) == 2


def test_prices_are_those_of_the_house():
    """The same model costs elsewhere what it costs there; on a machine of one's own nothing."""
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    assert Price(Target("groq:openai/gpt-oss-120b")).cost(usage) != Price(Target("cerebras:gpt-oss-120b")).cost(usage)
    assert Price(Target("vllm:gpt-oss-120b")).cost(usage) == 0
    named = Price(Target("azure:my-deployment", options=(("base_model", "gpt-5-mini"),)))
    assert named.cost(usage) == Price(Target("azure:gpt-5-mini")).cost(usage) is not None
    assert Price(Target("azure:my-deployment")).cost(usage) is None


def test_a_key_alone_is_found_or_told_of(monkeypatch):
    """Where a house has a model that a key is enough for it is taken; else its owner is told what to type."""
    monkeypatch.setattr("surefoot.discovery.LOCAL_SERVERS", ())
    monkeypatch.setenv("SAMBANOVA_API_KEY", KEY)
    around = look_around()
    assert around.found is None
    assert any("SAMBANOVA_API_KEY" in hint and "sambanova:MODEL" in hint for hint in around.hints)
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    around = look_around()
    assert around.found is not None
    assert around.found.target.provider == "groq"
