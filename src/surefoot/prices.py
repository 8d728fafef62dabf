"""What tokens cost, from the well-kept price library (genai-prices), which works offline; a target's own prices come first.

An unknown price is None, never 0: whoever needs a number then uses FALLBACK_PRICE and says so.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from surefoot.target import Target
from surefoot.types import Usage

PROVIDER_IDS = {"openai": "openai", "anthropic": "anthropic", "google": "google"}  # ours -> the price library's
FALLBACK_USD_PER_MTOK = (5.0, 20.0)  # input, output: above today's middle models, so that an unknown price errs towards too much


class Price:
    """What one target's tokens cost. `known` is False when nobody knows; `cost()` then answers None."""

    __slots__ = ("_input", "_model", "_output", "_provider", "_table", "known")

    def __init__(self, target: Target, *, is_local: bool = False) -> None:
        self._provider = PROVIDER_IDS.get(target.provider, target.provider)
        self._model = target.model
        self._table: dict[Usage, float | None] = {}
        self._input = target.input_usd_per_mtok
        self._output = target.output_usd_per_mtok
        if is_local and self._input is None:
            self._input = self._output = 0.0  # a model in this process sends no bill
        self.known = self._input is not None or self.cost(Usage(input_tokens=1000, output_tokens=10)) is not None

    def cost(self, usage: Usage, model: str = "") -> float | None:
        """US dollars for `usage`, or None if the price is unknown. `model` is the name the provider answered with."""
        if self._input is not None:
            return (usage.input_tokens * self._input + usage.output_tokens * (self._output or 0.0)) / 1e6
        del model
        return _listed(self._provider, self._model, usage)

    def upper(self, input_tokens: int, output_tokens: int) -> float:
        """US dollars to reserve before sending; never None: an unknown price uses FALLBACK_USD_PER_MTOK."""
        cost = self.cost(Usage(input_tokens=input_tokens, output_tokens=output_tokens))
        if cost is not None:
            return cost
        return (input_tokens * FALLBACK_USD_PER_MTOK[0] + output_tokens * FALLBACK_USD_PER_MTOK[1]) / 1e6


@lru_cache(maxsize=4096)
def _listed(provider: str, model: str, usage: Usage) -> float | None:
    try:
        import genai_prices
    except ImportError:
        return None
    # The library refuses counts that overlap; cached sounds are not told apart by the vendors, and count as cached.
    heard = min(usage.audio_input_tokens, max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens))
    listed: Any = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens or None,
        cache_write_tokens=usage.cache_write_tokens or None,
        input_audio_tokens=heard or None,
        cache_audio_read_tokens=0 if heard and usage.cached_tokens else None,
        output_audio_tokens=min(usage.audio_output_tokens, usage.output_tokens) or None,
    )
    try:
        return float(genai_prices.calc_price(listed, model_ref=model, provider_id=provider).total_price)
    except LookupError:
        return None
