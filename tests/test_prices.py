"""What tokens cost; an unknown price is None, never 0."""

from __future__ import annotations

import pytest

from surefoot.prices import Price
from surefoot.target import Target
from surefoot.types import Usage


def test_listed_prices_come_from_the_library():
    """1,000 tokens in and 100 out of gpt-5-mini at $0.25 and $2 per million."""
    price = Price(Target("openai:gpt-5-mini"))
    assert price.known
    assert price.cost(Usage(input_tokens=1000, output_tokens=100)) == pytest.approx(0.00045)


def test_cached_tokens_are_cheaper():
    """OpenAI's input counts include the cached ones."""
    price = Price(Target("openai:gpt-5-mini"))
    assert price.cost(Usage(input_tokens=1000, cached_tokens=900)) < price.cost(Usage(input_tokens=1000))


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
