"""What tokens cost; an unknown price is None, never 0."""

from __future__ import annotations

import random

import genai_prices
import genai_prices.data_snapshot
import pytest

from surefoot import facts
from surefoot.providers import registry
from surefoot.settings import Target
from surefoot.types import Usage
from surefoot.usage import prices
from surefoot.usage.prices import Price


def test_listed_prices_come_from_the_library():
    """1,000 tokens in and 100 out of gpt-5-mini at $0.25 and $2 per million."""
    price = Price(Target("openai:gpt-5-mini"))
    assert price.known
    assert price.cost(Usage(input_tokens=1000, output_tokens=100)) == pytest.approx(0.00045)


@pytest.mark.parametrize("name", registry.default_chats())
def test_models_taken_by_default_exist_and_have_a_price(name):
    """A name that no vendor knows is a 404 behind the fallback: `gemini-3-flash` was one. The list names models under their full names."""
    provider, _, model = name.partition(":")
    found, listed = genai_prices.data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    assert (found.id, listed.id) == (provider, model)
    assert Price(Target(name)).known


def test_cached_tokens_are_cheaper():
    """OpenAI's input counts include the cached ones."""
    price = Price(Target("openai:gpt-5-mini"))
    assert price.cost(Usage(input_tokens=1000, cached_tokens=900)) < price.cost(Usage(input_tokens=1000))


def test_what_is_written_for_an_hour_costs_more_where_the_list_says_so():
    """Anthropic charges 1.25 times the input for five minutes and twice for an hour; OpenAI nothing beside the input."""
    price = Price(Target("anthropic:claude-sonnet-4-5"))
    fresh = price.cost(Usage(input_tokens=1000))
    assert price.cost(Usage(input_tokens=1000, cache_write_tokens=1000)) == pytest.approx(1.25 * fresh)
    assert price.cost(Usage(input_tokens=1000, cache_write_tokens=1000, cache_write_1h_tokens=1000)) == pytest.approx(2 * fresh)
    mixed = Usage(input_tokens=2000, cached_tokens=1000, cache_write_tokens=500, cache_write_1h_tokens=200)
    assert price.cost(mixed) == pytest.approx(fresh * (0.5 + 0.1 + 0.3 * 1.25 + 0.2 * 2))
    openai = Price(Target("openai:gpt-5-mini"))
    written = Usage(input_tokens=1000, cache_write_tokens=1000, cache_write_1h_tokens=1000)
    assert openai.cost(written) == pytest.approx(openai.cost(Usage(input_tokens=1000)))


def test_sounds_have_a_price_of_their_own():
    """Gemini 2.5 Flash hears at $1.00 per million tokens and reads at $0.30; counts that overlap break nothing."""
    price = Price(Target("google:gemini-2.5-flash"))
    assert price.cost(Usage(input_tokens=1000, audio_input_tokens=500)) == pytest.approx(0.00065)
    assert price.cost(Usage(input_tokens=1000, audio_input_tokens=1000, cached_tokens=900)) is not None
    assert price.cost(Usage(input_tokens=10, output_tokens=10, audio_output_tokens=20)) is not None


def test_own_prices_win_and_local_models_are_free():
    """What the user says beats the list."""
    own = Price(Target("openai:gpt-5-mini", input_usd_per_mtok=1.0, output_usd_per_mtok=2.0))
    assert own.cost(Usage(input_tokens=1_000_000, output_tokens=500_000)) == 2.0
    assert Price(Target("local:extractive"), is_local=True).cost(Usage(input_tokens=9)) == 0.0


def test_an_unknown_price_is_none_and_reserved_high():
    """Bills nobody saw coming begin with a zero."""
    price = Price(Target("openai:no-such-model-9000"))
    assert not price.known
    assert price.cost(Usage(input_tokens=9)) is None
    assert price.upper(1_000_000, 0) > 1.0


MODELS = (
    "openai:gpt-5-mini", "openai:gpt-4o", "openai:text-embedding-3-small", "anthropic:claude-haiku-4-5", "anthropic:claude-sonnet-4-5",
    "google:gemini-2.5-pro", "google:gemini-2.5-flash", "google:gemini-3-pro-preview",
)  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_what_is_kept_is_what_the_library_says(name):
    """Steps by size, cached tokens and sounds included: to the billionth, whatever is asked."""
    price = Price(Target(name))
    assert price.known
    draw = random.Random(7)
    provider, model = facts.name_in("price_id", Target(name).provider), Target(name).model
    for _ in range(300):
        size = draw.choice([10, 1_000, 100_000, 150_000, 250_000, 600_000, 2_000_000])
        cached = draw.choice([0, size // 3, size])
        usage = Usage(input_tokens=size, cached_tokens=cached, output_tokens=draw.randrange(100_000))
        assert price.cost(usage) == pytest.approx(prices._listed(provider, model, usage), rel=1e-9)


def test_a_price_with_steps_is_kept_only_below_its_step():
    """gemini-2.5-pro costs twice as much above 200,000 tokens."""
    kept = prices.rates("google", "gemini-2.5-pro")
    assert kept.up_to in {128_000, 200_000}
    assert prices.rates("openai", "gpt-5-mini").up_to == 1_000_000
    assert prices.rates("openai", "no-such-model-9000") is None


def test_the_library_is_asked_once_for_a_plain_price(monkeypatch):
    """It takes some 50 us a question, as much as everything else of a call together."""
    price = Price(Target("openai:gpt-5-mini"))
    monkeypatch.setattr(prices, "_listed", None)
    assert all(price.cost(Usage(input_tokens=number, output_tokens=5)) > 0 for number in range(1, 100))


def test_another_model_asked_has_its_own_price():
    """`model=` per call asks a dearer one; the target's own prices are not that one's, unless no list knows it."""
    usage = Usage(input_tokens=1000, output_tokens=1000)
    listed = Price(Target("openai:gpt-4o-mini"))
    assert listed.cost(usage, "gpt-4o") == pytest.approx(0.0125)
    assert listed.cost(usage) == listed.cost(usage, "gpt-4o-mini") == pytest.approx(0.00075)
    assert listed.upper(1000, 1000, "gpt-4o") == pytest.approx(0.0125)
    assert listed.cost(usage, "no-such-model-9000") is None
    own = Price(Target("openai:gpt-4o-mini", input_usd_per_mtok=1.0, output_usd_per_mtok=2.0))
    assert own.cost(usage) == pytest.approx(0.003)
    assert own.cost(usage, "gpt-4o") == pytest.approx(0.0125)
    assert own.cost(usage, "no-such-model-9000") == pytest.approx(0.003)
    assert Price(Target("local:extractive"), is_local=True).cost(usage, "gpt-4o") == 0.0


def test_names_made_up_without_end_are_not_kept():
    """A caller may say any name; what is remembered is bounded."""
    price = Price(Target("openai:gpt-4o-mini", input_usd_per_mtok=1.0, output_usd_per_mtok=2.0))
    for number in range(prices.MODELS + 10):
        price.cost(Usage(input_tokens=1), f"made-up-{number}")
    assert len(price._rates) <= prices.MODELS


def test_what_must_be_read_first_is_told():
    """Reading the list takes a second, which no event loop has."""
    price = Price(Target("openai:m", input_usd_per_mtok=1.0, output_usd_per_mtok=2.0))
    assert price.is_read("")
    assert price.is_read("m")
    assert not price.is_read("gpt-4o")
    price.read("gpt-4o")
    assert price.is_read("gpt-4o")


def test_sounds_are_what_is_neither_read_from_the_vendors_cache_nor_written_to_it():
    """The library refuses counts that overlap, and a call would have no price."""
    seen = []

    def calculate(usage, *_, **__):
        seen.append(usage.input_audio_tokens)
        raise LookupError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(genai_prices, "calc_price", calculate)
        for sounds, cached, written in ((900, 300, 200), (900, 600, 400), (100, 300, 200)):
            usage = Usage(input_tokens=1000, audio_input_tokens=sounds, cached_tokens=cached, cache_write_tokens=written)
            prices._listed("openai", "gpt-4o-audio-preview", usage)
    assert seen == [500, 0, 100]
