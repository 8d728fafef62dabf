"""Targets and policies are checked when they are built."""

from __future__ import annotations

import pytest

from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.target import Policy, Target


def test_names_split_at_the_first_colon():
    """Ollama's models have colons of their own."""
    target = Target("openai:llama3:8b")
    assert (target.provider, target.model) == ("openai", "llama3:8b")


def test_a_literal_key_becomes_a_secret_and_a_reference_stays():
    """What is typed is masked from then on; a reference is no secret."""
    assert isinstance(Target("openai:m", api_key="sk-1").api_key, Secret)
    assert Target("openai:m", api_key="env:KEY").api_key == "env:KEY"


@pytest.mark.parametrize("name", ["gpt", ":m", "openai:", ""])
def test_a_name_needs_provider_and_model(name):
    """Guessing the provider from a model's name goes wrong with the next model."""
    with pytest.raises(Misconfigured, match="provider:model"):
        Target(name)


@pytest.mark.parametrize("field", ["requests_per_minute", "tokens_per_minute", "concurrency", "context_tokens", "dimensions"])
def test_limits_are_above_zero(field):
    """A limit of 0 would wait for ever."""
    with pytest.raises(Misconfigured, match=field):
        Target("openai:m", **{field: 0})


def test_lanes_are_known_words():
    """A typo must not pick a lane in silence."""
    assert Target("openai:m").lane == "auto"
    with pytest.raises(Misconfigured, match="lane"):
        Target("openai:m", lane="drect")  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "  ", Secret(""), Secret("\n")], ids=["nothing", "blanks", "empty secret", "blank secret"])
def test_a_blank_key_is_refused(key):
    """An unset variable, expanded by a shell or a template: the provider's 401 would come an hour later."""
    with pytest.raises(Misconfigured, match="api_key is blank"):
        Target("openai:m", api_key=key)


@pytest.mark.parametrize(
    "address", ["localhost:8000/v1", "127.0.0.1", "http://", "http:///v1", "http://h:port/v1", "http://h:0/v1", "http://[::1/v1",
                "htp://h/v1", "http://h/v 1", " "],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(address):
    """With what to write; a DNS failure at the first call says less."""
    with pytest.raises(Misconfigured, match="base_url"):
        Target("openai:m", base_url=address)
    Target("openai:m", base_url="http://[::1]:8000/v1")
    with pytest.raises(Misconfigured) as caught:
        Target("openai:m", base_url="h://user:hidden@host")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"attempts": 0},
        {"attempts_per_target": 0},
        {"deadline_s": 0},
        {"idle_s": -1},
        {"budget_usd": 0},
        {"breaker_ratio": 1.5},
        {"hedge_after": "p99"},
        {"hedge_after": 0},
        {"connect_s": 0},
    ],
)
def test_a_policy_refuses_numbers_that_mean_nothing(settings):
    """The message names the field."""
    with pytest.raises(Misconfigured, match=next(iter(settings))):
        Policy(**settings)


def test_every_default_of_the_policy_has_its_reason_beside_it():
    """A number without a reason is a guess nobody dares to change."""
    import inspect

    lines = inspect.getsource(Policy).splitlines()
    for name in Policy.__struct_fields__:
        at = next(n for n, line in enumerate(lines) if line.strip().startswith(f"{name}:"))
        block = at
        while lines[block - 1].strip().split(":")[0] in Policy.__struct_fields__:
            block -= 1
        assert "#" in lines[at] or lines[block - 1].strip().startswith("#"), name
