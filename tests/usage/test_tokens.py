"""Estimates before sending: near enough, for free, in both languages."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from surefoot.types import ChatRequest, EmbedRequest, Image, Message, Schema, Tool, ToolCall
from surefoot.usage._token_weights import FEATURES, WEIGHTS, counts, plain
from surefoot.usage.tokens import (
    MESSAGE_TOKENS,
    SAMPLE,
    estimate,
    estimate_input,
    estimate_message,
    estimate_text,
    estimate_window,
    family,
    guess_usage,
)
from surefoot.usage.vocabulary import counter

SAMPLES = Path(__file__).parent.parent.parent / "pipelines/surefoot_rag/sample" / "docs"


def test_turkish_counts_more_than_english():
    """Letters outside ASCII cost more tokens; a limit that forgets it is overrun."""
    assert estimate_text("Çünkü gökyüzü şimdi ışıl ışıl görünüyor") > estimate_text("Cunku gokyuzu simdi isil isil gorunuyor")


@pytest.mark.parametrize("language", ["en", "tr"])
@pytest.mark.parametrize("model", ["openai:gpt-5-mini", "openai:gpt-4"])
def test_the_estimate_is_near_the_real_vocabulary(language, model):
    """Beside tiktoken with its own tables, over the sample corpus, a document at a time and altogether."""
    exact = counter(model)
    assert exact is not None, "llama-index-core brings the tables"
    texts = [path.read_text(encoding="utf-8") for path in sorted((SAMPLES / language).glob("*.*")) if path.suffix in {".md", ".txt"}]
    known, guessed = [exact(text) for text in texts], [estimate_text(text, model=model) for text in texts]
    errors = [guess / truth - 1 for guess, truth in zip(guessed, known, strict=True)]
    total = sum(guessed) / sum(known) - 1
    print(f"{model}, {language}: {len(texts)} documents, errors {min(errors):+.1%} to {max(errors):+.1%}, in all {total:+.1%}")
    assert max(map(abs, errors)) < 0.2
    assert abs(total) < 0.1


@settings(deadline=None)
@given(st.text(), st.sampled_from(sorted(WEIGHTS)))
def test_any_text_has_at_least_one_token_and_no_more_than_its_bytes_are_worth(text, kind):
    """Lone surrogates and rare scripts included."""
    model = {"claude": "claude-2", "other": ""}.get(kind, kind)
    assert 1 <= estimate_text(text, model=model) <= 1 + 3 * len(text.encode("utf-8", "replace"))
    assert len(counts(text)) == len(FEATURES) == len(WEIGHTS[kind])


@given(st.text(st.characters(codec="ascii")), st.sampled_from(sorted(WEIGHTS)))
def test_the_short_way_for_plain_text_counts_the_same(text, kind):
    """Most prompts take it; the weights were fitted on the long one."""
    assert plain(text, WEIGHTS[kind]) == pytest.approx(sum(w * n for w, n in zip(WEIGHTS[kind], counts(text), strict=True)), abs=1e-9)


def test_a_long_text_is_judged_by_samples_from_all_over():
    """A table of numbers at its end counts too."""
    prose, numbers = "The harbour office opens early. " * 2000, "8,123.55 77 " * 5000
    assert len(prose) > SAMPLE
    whole = sum(estimate_text(text[at : at + 1000]) for text in (prose, numbers) for at in range(0, len(text), 1000))
    assert estimate_text(prose + numbers) == pytest.approx(whole, rel=0.25)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("openai:gpt-5-mini", "o200k"), ("openai:gpt-4", "cl100k"), ("openai:gpt-4.1-nano", "o200k"), ("openai:o3-mini", "o200k"),
        ("openai:text-embedding-3-small", "cl100k"), ("anthropic:claude-haiku-4-5", "claude"), ("openai:llama3:8b", "llama3"),
        ("openai:meta-llama/Llama-3-8b", "llama3"), ("openai:openai/gpt-oss-20b", "o200k"), ("", "other"),
        ("google:gemini-3-flash", "other"),
    ],
)  # fmt: skip
def test_names_tell_the_family(model, kind):
    """Also of models served by others."""
    assert family(model) == kind


def test_everything_that_is_sent_counts():
    """Roles, pictures, tools and their calls, schemas."""
    request = ChatRequest(messages=(Message.user("hi"),))
    plain = estimate_input(request)
    assert estimate_input(ChatRequest(messages=(Message.user(["hi", Image(url="x")]),))) > plain + 500
    assert estimate_input(ChatRequest(messages=(Message.user("hi"),), tools=(Tool.of("t", "d", {"a": 1}),))) > plain
    shape = Schema.of("a", {"type": "object", "properties": {"name": {"type": "string"}}})
    assert estimate_input(ChatRequest(messages=(Message.user("hi"),), schema=shape)) > plain
    calls = Message.assistant(tool_calls=[ToolCall(id="1", name="weather", arguments='{"city": "Ankara"}')])
    assert estimate_message(calls) > estimate_message(Message.assistant()) + 5


def test_output_is_part_of_what_is_reserved():
    """But never more than asked for."""
    request = ChatRequest(messages=(Message.user("hi"),), max_tokens=5)
    assert estimate(request) == estimate_input(request) + 5
    assert estimate_window(request) == estimate_input(request) + 5
    assert estimate(EmbedRequest(texts=("a", "b"))) == estimate_input(EmbedRequest(texts=("a", "b")))


def test_what_was_cut_is_guessed_and_flagged():
    """Never 0, never passed off as the provider's count."""
    usage = guess_usage(ChatRequest(messages=(Message.user("Tell me about harbours."),)), "Harbours are")
    assert usage.estimated
    assert usage.input_tokens > 5
    assert usage.output_tokens >= 2


def test_nothing_costs_nothing():
    """A message without a text is its frame alone; a request that does not say how long its answer may be has no room counted for it."""
    assert estimate_message(Message.assistant("")) == MESSAGE_TOKENS
    request = ChatRequest(messages=(Message.user("How tall is it?"),))
    assert estimate_window(request) == estimate_input(request)
    assert estimate_window(replace(request, max_tokens=100)) == estimate_input(request) + 100


def seen(text):
    """The features that are in `text`."""
    return {name: count for name, count in zip(FEATURES, counts(text), strict=True) if count}


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("", {"each": 1}),
        ("two words", {"words": 2, "lower": 8, "each": 1}),
        ("A1 b!?", {"words": 2, "lower": 1, "upper": 1, "digits": 1, "punct": 2, "pairs": -1, "each": 1}),
        ("a  b\n\n", {"words": 2, "lower": 2, "lines": 2, "spare_spaces": 2, "each": 1}),
        ("мир труд", {"cyrillic": 7, "cyrillic_words": 2, "each": 1}),
        ("the café of the town and the bar", {"words": 8, "lower": 24, "latin1": 1, "each": 1}),
        ("şehir ışık", {"foreign_words": 2, "foreign_lower": 5, "latin_a": 4, "each": 1}),
        ("漢字", {"words": 1, "han": 2, "each": 1}),
        ("한글", {"words": 1, "hangul": 2, "each": 1}),
        ("かな", {"words": 1, "kana": 2, "each": 1}),
        ("हि", {"words": 1, "indic": 2, "each": 1}),
        ("αβ", {"words": 1, "two_byte": 2, "each": 1}),
        ("😀", {"words": 1, "emoji": 1, "each": 1}),
        ("–€", {"words": 1, "symbols": 2, "each": 1}),
    ],
)
def test_each_letter_is_counted_as_what_it_is(text, features):
    """Words of other scripts and of other Latin languages cost other numbers of tokens."""
    assert seen(text) == features


@pytest.mark.parametrize("text", ["", "two words", "A1 b!? -- {'x': [1, 2]}", "a  b\n\n  c\t1", "UPPER lower 123\n" * 50])
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_short_way_for_ascii_gives_the_same(name, text):
    """Most prompts are ASCII."""
    assert plain(text, WEIGHTS[name]) == pytest.approx(
        sum(weight * count for weight, count in zip(WEIGHTS[name], counts(text), strict=True))
    )
