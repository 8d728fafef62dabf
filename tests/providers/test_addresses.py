"""Base addresses, headers and accounts from the environment: the same on every lane, and known where targets are told apart."""

from __future__ import annotations

import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.credentials import placed
from surefoot.errors import Misconfigured
from surefoot.models.endpoints import ResolvedTarget
from surefoot.providers import registry
from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim

ONCE = Policy(attempts=1, deadline_s=20, breaker=False)
VENDORS = [
    (OpenAISim, "openai:gpt-5-mini", "/v1", "OPENAI_BASE_URL"),
    (AnthropicSim, "anthropic:claude-haiku-4-5", "", "ANTHROPIC_BASE_URL"),
    (GeminiSim, "google:gemini-3-flash", "", "GOOGLE_GEMINI_BASE_URL"),
]
KEY = "k-0123456789012345678901234567"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """Whatever the developer's own environment says is not what is tested."""
    for entry in registry.PROVIDERS.values():
        for name in (entry.address_variable, entry.headers_variable, *(variable for _, variable in entry.option_variables)):
            if name:
                monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUREFOOT_DOTENV", "")


def openai(target: Target | None = None) -> Target:
    return placed(target or Target("openai:m"), registry.PROVIDERS["openai"])


@pytest.mark.parametrize("lane", ["sdk", "direct"])
@pytest.mark.parametrize(("sim_class", "name", "root", "variable"), VENDORS, ids=lambda one: str(one) if "_" in str(one) else "")
def test_the_environments_address_is_asked_on_every_lane(sim_class, name, root, variable, lane, monkeypatch):
    """A lane that went to the vendor's public host instead would carry a company's prompts and key out of the house."""
    with sim_class() as sim:
        monkeypatch.setenv(variable, f" {sim.url}{root}/ ")
        assert ChatModel(Target(name, api_key=KEY, lane=lane), policy=ONCE).invoke("hi").text
        assert sim.request_count == 1


@pytest.mark.parametrize("lane", ["sdk", "direct"])
def test_accounts_and_headers_of_the_environment_go_along_on_every_lane(lane, monkeypatch):
    """Another lane must not bill another organisation, nor pass a gateway without its header; what the target says itself wins."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-env")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: blue\nno header\nx-tenant: env")
    with OpenAISim() as sim:
        own = {"headers": (("X-Tenant", "own"),), "options": (("project", "own"),)}
        ChatModel(Target("openai:m", base_url=f"{sim.url}/v1", api_key=KEY, lane=lane, **own), policy=ONCE).invoke("hi")
        headers = sim.requests[-1].headers
    sent = [headers.get(name) for name in ("openai-organization", "openai-project", "x-team", "x-tenant")]
    assert sent == ["org-env", "own", "blue", "own"]


def test_an_address_of_the_targets_own_wins(monkeypatch):
    """What is said beats what is lying about."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/elsewhere")
    assert openai(Target("openai:m", base_url="http://127.0.0.1:8/v1")).base_url == "http://127.0.0.1:8/v1"
    assert openai().base_url == "http://127.0.0.1:9/elsewhere"
    monkeypatch.setenv("OPENAI_BASE_URL", " ")
    assert openai() == Target("openai:m")


def test_an_address_may_stand_in_the_env_file_beside_its_key(monkeypatch, tmp_path):
    """A key read from there must not go elsewhere than the line below it says."""
    path = tmp_path / ".env"
    path.write_text("OPENAI_API_KEY=k\nOPENAI_BASE_URL=http://127.0.0.1:9/v1\n")
    monkeypatch.setenv("SUREFOOT_DOTENV", str(path))
    assert openai().base_url == "http://127.0.0.1:9/v1"


def test_a_bad_address_names_its_variable(monkeypatch):
    """When the model is built, before anything is sent."""
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost")
    with pytest.raises(Misconfigured, match=r"OPENAI_BASE_URL.*localhost"):
        ChatModel(Target("openai:m", api_key=KEY))


def test_two_addresses_are_two_targets(monkeypatch):
    """Answers of one server must not be served from the cache as the other's, nor share its limits."""
    scopes = set()
    for address in ("", "http://127.0.0.1:8/v1", "http://127.0.0.1:9/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        spec = ResolvedTarget(Target("openai:m", api_key=KEY), "chat")
        scopes.add(spec.scope)
        assert spec.target.base_url == address
    assert len(scopes) == 3


@pytest.mark.parametrize("lane", ["sdk", "direct"])
@pytest.mark.parametrize(("sim_class", "name", "root", "variable"), VENDORS, ids=lambda one: str(one) if "_" in str(one) else "")
@pytest.mark.parametrize("header", ["X-Api-Key", "x-goog-api-key", "Authorization", "api-key"])
def test_a_header_of_the_targets_own_that_holds_a_key_is_the_only_one(sim_class, name, root, variable, header, lane, monkeypatch):
    """A gateway's key: a second one beside it, made up because there was none, would be refused."""
    monkeypatch.delenv(registry.PROVIDERS[name.partition(":")[0]].key_variables[0], raising=False)
    with sim_class() as sim:
        sim.let_in = lambda request: "any"  # what holds the key is the gateway's affair
        ChatModel(Target(name, base_url=f"{sim.url}{root}", lane=lane, headers=((header, "Bearer own"),)), policy=ONCE).invoke("hi")
        sent = sim.requests[-1].headers
    keys = {one: sent[one] for one in ("x-api-key", "x-goog-api-key", "authorization", "api-key") if one in sent}
    assert keys == {header.lower(): "Bearer own"}
