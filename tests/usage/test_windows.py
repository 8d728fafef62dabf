"""Context windows out of the price list: known where it knows, None elsewhere, never a guess."""

from __future__ import annotations

import sys

import pytest

from surefoot import ChatModel, Target
from surefoot.adapter import context_size_of
from surefoot.usage.windows import ContextSize, context_size


@pytest.fixture(autouse=True)
def _anew():
    context_size.cache_clear()
    yield
    context_size.cache_clear()


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("openai:gpt-4o-mini", 128_000),
        ("openai:GPT-4o-mini-2024-07-18", 128_000),
        ("anthropic:claude-haiku-4-5", 200_000),
        ("anthropic:claude-haiku-4-5-20251001", 200_000),
        ("google:gemini-2.5-flash", 1_048_576),
        ("google:models/gemini-2.5-flash", 1_048_576),
    ],
)
def test_what_the_list_knows(name, total):
    """By the vendor's names, dated ones too; the list rounds a million now one way, now the other."""
    size = context_size(name)
    assert size.total == pytest.approx(total, rel=0.05)
    assert size.question == size.total


def test_openai_sets_a_part_of_the_large_window_aside():
    """Of 400,000 tokens 272,000 may be asked; the API refuses more."""
    assert context_size("openai:gpt-5-mini") == ContextSize(total=400_000, question=272_000)
    assert context_size("openai:gpt-6.1-terra") == ContextSize(total=1_050_000, question=922_000)


def test_a_fine_tuned_model_has_its_bases_window():
    """The list names such models for their prices, without a window."""
    assert context_size("openai:ft:gpt-4o-mini-2024-07-18:acme::abc") == context_size("openai:gpt-4o-mini")


def test_what_the_list_leaves_out_stands_in_the_tables():
    """Models whose price the list has, and not the window; dated names find them too."""
    for name in ("google:gemini-2.5-pro", "google:gemini-3-pro-preview", "google:gemini-2.5-pro-preview-06-05"):
        assert context_size(name).total >= 1_000_000
    assert context_size("google:gemini-2.5-pro-preview-tts").total < 100_000  # a name alike is another model


def test_a_model_listed_as_a_preview_alone():
    """What is released drops the word from its name before the list follows."""
    assert context_size("google:gemini-3-flash") == context_size("google:gemini-3-flash-preview")
    assert context_size("google:gemini-3-flash").total >= 1_000_000


@pytest.mark.parametrize("name", ["openai:m", "openai:Qwen/Qwen3-8B", "local:extractive", "mine:gpt-4o", "scripted", "openai:"])
def test_what_nobody_knows_is_none(name):
    """A server of one's own, a provider of one's own, no provider at all."""
    assert context_size(name) is None


def test_the_list_fills_what_the_tables_do_not_know(monkeypatch):
    """It comes with the vendors' extras; the core runs without, with the tables alone."""
    assert context_size("google:gemini-1.5-flash").total >= 1_000_000
    context_size.cache_clear()
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert context_size("google:gemini-1.5-flash") is None
    assert context_size("openai:gpt-4o-mini").total == 128_000


def test_a_model_in_this_process_has_the_window_it_refuses_by():
    """It was said to read 8,192 tokens, and refused more than 2,048."""
    from surefoot.providers.local.chat import SMOLLM2_WINDOW

    assert context_size("local:smollm2").total == SMOLLM2_WINDOW


def test_a_deployments_window_is_its_base_models():
    """Azure's deployments have names of their own; what a call asks by another name is another model."""
    options = (("base_model", "gpt-5-mini"),)
    chat = ChatModel(Target("openai:my-deployment", base_url="http://127.0.0.1:9", api_key="k", options=options))
    assert context_size_of(chat, "openai:my-deployment") == context_size("openai:gpt-5-mini")
    assert context_size_of(chat, "") == context_size("openai:gpt-5-mini")
    assert context_size_of(chat, "gpt-4o") == context_size("openai:gpt-4o") != context_size("openai:gpt-5-mini")
    own = ChatModel(Target("openai:d", base_url="http://127.0.0.1:9", api_key="k", context_tokens=7000, options=options))
    assert context_size_of(own, "openai:d").total == 7000


def test_a_dated_or_tuned_name_follows_its_family():
    """Also one that is younger than every list."""
    for name, family in (
        ("openai:gpt-4o-mini-2031-01-02", "openai:gpt-4o-mini"),
        ("openai:ft:gpt-4o-mini-2031-01-02:acme::abc", "openai:gpt-4o-mini"),
        ("anthropic:claude-haiku-4-5-20310102", "anthropic:claude-haiku-4-5"),
        ("azure:gpt-4o-2031-01-02", "azure:gpt-4o"),
    ):
        assert context_size(name) == context_size(family) is not None, name
