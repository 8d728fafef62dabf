"""Exact counts, from tables that are already on the machine and are what they should be; never a download."""

from __future__ import annotations

import hashlib

import pytest

from surefoot.usage import vocabulary
from surefoot.usage.tokens import estimate_text
from surefoot.usage.vocabulary import count_text, counter


@pytest.fixture(autouse=True)
def anew():
    vocabulary._counter.cache_clear()
    yield
    vocabulary._counter.cache_clear()


def test_known_counts_of_openais_vocabularies():
    """From OpenAI's cookbook: "antidisestablishmentarianism" and "tiktoken is great!" in cl100k and o200k."""
    assert [counter("openai:gpt-4")(text) for text in ("antidisestablishmentarianism", "2 + 2 = 4", "お誕生日おめでとう")] == [6, 7, 9]
    assert [counter("openai:gpt-4o")(text) for text in ("antidisestablishmentarianism", "2 + 2 = 4", "お誕生日おめでとう")] == [6, 7, 8]


@pytest.mark.parametrize("encoding", vocabulary.ENCODINGS.values(), ids=lambda one: one.name)
def test_vocabularies_are_tiktokens_own(encoding, monkeypatch):
    """Its table, and its way to cut text into words: written down here, so that nothing of tiktoken's has to be run to learn them."""
    public, asked = pytest.importorskip("tiktoken_ext.openai_public"), []
    monkeypatch.setattr(public, "load_tiktoken_bpe", lambda address, expected_hash: asked.append((address, expected_hash)) or {})
    assert getattr(public, encoding.name)()["pat_str"] == encoding.pattern
    assert asked == [(vocabulary.TABLES.format(encoding.name), encoding.sha256)]


def test_what_is_exact_says_so():
    """And what is not does not."""
    assert count_text("2 + 2 = 4", model="openai:gpt-5-mini") == (7, True)
    text = "2 + 2 = 4"
    assert count_text(text, model="anthropic:claude-haiku-4-5") == (estimate_text(text, model="claude"), False)


def test_special_words_are_plain_text():
    """A user may write them; the provider counts them as text."""
    assert counter("openai:gpt-5-mini")("<|endoftext|>") > 1


def test_without_tables_there_is_an_estimate(monkeypatch, tmp_path):
    """And nobody asks the network."""
    monkeypatch.setattr(vocabulary, "_folders", lambda: [tmp_path])
    assert counter("openai:gpt-5-mini") is None
    assert count_text("hello", model="openai:gpt-5-mini") == (estimate_text("hello", model="openai:gpt-5-mini"), False)


def test_a_table_that_was_tampered_with_is_not_used(monkeypatch, tmp_path):
    """Its hash stands in tiktoken."""
    url = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(b"IQ== 0\n")
    monkeypatch.setattr(vocabulary, "_folders", lambda: [tmp_path])
    assert counter("openai:gpt-5-mini") is None
