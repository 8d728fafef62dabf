"""The tables of facts: each row with its sources, found by any name that a model goes by, and no fact that nobody has said."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from surefoot import facts
from surefoot.providers import registry
from surefoot.usage._token_weights import WEIGHTS
from surefoot.usage.prices import rates

PROVIDERS = list(facts.ours())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_row_says_where_it_is_from(provider):
    """A number without a source cannot be checked, and one without a day cannot be doubted."""
    sources, rows = facts.ours()[provider].sources, facts.ours()[provider].models
    assert all(re.search(r"20\d\d-\d\d-\d\d", text) for text in sources.values())
    assert rows
    for row in rows:
        assert row.sources, row.begins
        assert set(row.sources) <= sources.keys(), row.begins
    begins = [row.begins for row in rows]
    assert len(begins) == len(set(begins))  # two rows for one beginning would be either by chance
    assert all(one == facts.base_name(one) for one in begins)  # a row that no name could reach


@pytest.mark.parametrize("provider", PROVIDERS)
def test_limits_fit_each_other(provider):
    """An answer fits the window, and so do the longest question and the longest answer together."""
    for row in facts.ours()[provider].models:
        if row.window is not None and row.output is not None:
            assert 0 < row.output <= row.window, row.begins
        if row.question is not None and row.window is not None:
            assert 0 < row.question < row.window, row.begins


@pytest.mark.parametrize(
    ("provider", "model", "limit"),
    [
        ("openai", "gpt-5-mini", 128_000),
        ("openai", "gpt-4o-2024-05-13", 4096),
        ("openai", "GPT-4o-mini", 16_384),
        ("openai", "ft:o4-mini-2025-04-16:org::id", 100_000),
        ("openai", "gpt-5-pro", 272_000),
        ("openai", "gpt-6.1-sol", 128_000),
        ("anthropic", "claude-haiku-4-5-20251001", 64_000),
        ("anthropic", "claude-opus-4-1", 32_000),
        ("anthropic", "us.anthropic.claude-opus-4-8", 128_000),
        ("anthropic", "claude-3-5-sonnet-20241022", 8192),
        ("anthropic", "claude-3-opus-20240229", 4096),
        ("google", "models/gemini-2.5-flash", 65_536),
        ("google", "gemini-3.5-flash-lite", 65_536),
        ("google", "gemini-2.5-pro-preview-tts", 16_384),
    ],
)
def test_how_much_a_model_writes(provider, model, limit):
    """By dated, fine-tuned and collected names, in any case."""
    assert facts.output_limit(provider, model) == limit


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "my-deployment"), ("openai", "gpt-7"), ("anthropic", "claude-opus-9"), ("google", "gemini-4-argon"), ("mine", "gpt-4o"),
        ("openai", ""),
    ],
)  # fmt: skip
def test_what_nobody_knows_is_none(provider, model):
    """A guess would be taken for a fact."""
    assert facts.output_limit(provider, model) is None


def test_supported_versions_are_those_of_the_extras():
    """The doctor must not refuse what pip installs, nor the other way round."""
    extras = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for one in facts.ours().values():
        if one.package:
            wanted = next(line for line in extras[one.extra] if line.startswith(f"{one.package}>="))
            found = [tuple(int(number) for number in text.split(".")) for text in re.findall(r"[\d.]+$|[\d.]+(?=,)", wanted)]
            assert [version + (0,) * (2 - len(version)) for version in found] == list(one.versions), wanted


def test_each_family_has_weights_and_each_default_is_known():
    """A family without weights would end a call; a default model without a window would be no default to rely on."""
    assert {family for _, family in facts.families()} <= WEIGHTS.keys()
    for name, one in facts.ours().items():
        if one.default_chat:
            row = facts.model_of(name, one.default_chat)
            assert row is not None
            assert row.window
            assert row.output


def test_every_customary_model_has_a_price():
    """A key alone chooses it, so its bill must be known, and it must be a model that the lists know."""
    chosen = registry.default_chats()
    assert {name.partition(":")[0] for name in chosen} >= {"openai", "anthropic", "google"}
    for name in chosen:
        provider, _, model = name.partition(":")
        found = rates(provider, model)
        assert found is not None, name
        assert 0 < found.fresh < found.output, name
