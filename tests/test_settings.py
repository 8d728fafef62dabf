"""Targets and policies are checked when they are built."""

from __future__ import annotations

import msgspec
import pytest

from surefoot._documented import field_docs
from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.settings import Policy, SpendLimit, Target


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
    docs = field_docs(Policy)
    for name in Policy.__struct_fields__:
        assert len(docs[name].split()) >= 10, name


@pytest.mark.parametrize(
    "said",
    [
        {"usd": 0}, {"usd": -5}, {"usd": float("nan")}, {"usd": float("inf")}, {"usd": "5"}, {"usd": True},
        {"scope": "tenent"}, {"scope": "tag:"}, {"scope": "tag: "}, {"scope": ""}, {"scope": None},
        {"period": "week"}, {"period": ""}, {"mode": "warn"}, {"mode": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_spend_limit_that_would_limit_something_else_is_refused(said):
    """`scope="tenent"` was a tag nobody sets: no limit at all."""
    with pytest.raises(Misconfigured, match=next(iter(said))):
        SpendLimit(**{"usd": 5.0, **said})


@pytest.mark.parametrize(
    "said",
    [
        {"queue_size": -1}, {"queue_size": 1.5}, {"breaker_min_calls": 0}, {"breaker_min_calls": -3}, {"breaker_window_s": 0},
        {"breaker_open_s": -1}, {"cache_ttl_s": 0}, {"cache_stale_s": -1}, {"backoff_base_s": -1}, {"backoff_ceiling_s": float("nan")},
        {"budget_mode": "sft"}, {"budgets": SpendLimit(usd=1)}, {"budgets": (5,)}, {"budgets": ({"usd": 5},)}, {"budget_usd": "5"},
        {"budget_usd": -5},
    ],
    ids=str,
)  # fmt: skip
def test_a_policy_that_cannot_mean_anything_is_refused(said):
    """When it is said, not when the first call meets it."""
    with pytest.raises(Misconfigured, match=next(iter(said))):
        Policy(**said)


def test_a_policy_takes_the_numbers_people_have():
    """A queue of no length refuses whoever would wait; numpy's numbers are numbers."""
    import numpy as np

    assert Policy(queue_size=0, breaker_min_calls=1, backoff_base_s=0, cache_stale_s=0).queue_size == 0
    assert Policy(budget_usd=np.float32(5), queue_size=np.int64(7), budgets=[SpendLimit(usd=1)]).queue_size == 7


@pytest.mark.parametrize("field", ["input_usd_per_mtok", "output_usd_per_mtok"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1"])
def test_a_price_below_nothing_is_refused(field, value):
    """A negative price would give a budget money back."""
    with pytest.raises(Misconfigured, match=field):
        Target("openai:m", **{field: value})
    assert getattr(Target("openai:m", **{field: 0}), field) == 0


def test_a_connections_settings_are_fields_and_options_alike():
    """`proxy=` is what people type; among the options it is what a file says of them all."""
    target = Target("openai:m", proxy="http://user:pass@proxy:1", verify="/ca.pem", cert=["a.pem", "a.key"])
    assert dict(target.options) == {"proxy": "http://user:pass@proxy:1", "verify": "/ca.pem", "cert": ("a.pem", "a.key")}
    assert "pass" not in repr(target)
    assert hash(target) == hash(Target("openai:m", proxy="http://user:pass@proxy:1", verify="/ca.pem", cert=("a.pem", "a.key")))
    assert msgspec.structs.replace(target, base_url="http://h/v1").options == target.options
    with pytest.raises(Misconfigured, match="proxy is said twice"):
        Target("openai:m", proxy="http://a", options=(("proxy", "http://b"),))


@pytest.mark.parametrize("given", [{"api_version": "v1"}, [("api_version", "v1")], [["api_version", "v1"]], (("api_version", "v1"),)])
def test_options_are_taken_as_people_write_them(given):
    """A dict, a list or pairs: a target must stay something that can be told apart by what it says."""
    assert Target("openai:m", options=given) == Target("openai:m", options=(("api_version", "v1"),))
    assert hash(Target("openai:m", options=given))


@pytest.mark.parametrize("given", ["api_version", ("api_version", "v1"), [1]])
def test_options_that_are_no_pairs_are_refused(given):
    """With how to write them."""
    with pytest.raises(Misconfigured, match="options are pairs"):
        Target("openai:m", options=given)
