"""What tokens cost, from the well-kept price library (genai-prices), which works offline; a target's own prices come first.

An unknown price is None, never 0: whoever needs a number then uses FALLBACK_USD_PER_MTOK and says so. The library takes some 50 us a
question; so what a model's tokens cost is asked of it once an hour, and kept as far as the price is a plain sum of tokens (beyond a step in
size, and for sounds, it is asked each time).
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from surefoot._documented import Documented
from surefoot.facts import name_in, provider_of
from surefoot.settings import Target
from surefoot.types import Usage

FALLBACK_USD_PER_MTOK = (5.0, 20.0)  # input, output: above today's middle models, so that an unknown price errs towards too much
MODELS = 256  # asked of one target with `model=`, whose rates are kept
RATES_S = 3600.0  # how long a derived price is kept: some change by the hour of the day
SIZES = (1_000, 32_000, 128_000, 200_000, 1_000_000)  # input tokens at which a price is held against a plain sum


class Rates(Struct, Documented, frozen=True, kw_only=True):
    """US dollars a token, for requests of at most `up_to` input tokens."""

    fresh: float
    """US dollars an input token that is neither read from a cache nor written to one."""
    cached: float
    """US dollars an input token read from the vendor's prompt cache."""
    written: float
    """US dollars an input token written into it, to be kept for minutes."""
    kept: float = 0.0
    """US dollars an input token written into it, to be kept for an hour."""
    output: float
    """US dollars an output token, reasoning included."""
    up_to: int
    """Input tokens of a request up to which this sum is exact; -1: for none, so the list is asked each time."""

    def cost(self, usage: Usage) -> float:
        """US dollars for `usage`."""
        fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        written = usage.cache_write_tokens - usage.cache_write_1h_tokens
        return (
            fresh * self.fresh
            + usage.cached_tokens * self.cached
            + written * self.written
            + usage.cache_write_1h_tokens * self.kept
            + usage.output_tokens * self.output
        )


class Price(Documented):
    """What the tokens of one target cost. `known` is False when nobody knows; `cost()` then answers None.

    The price is that of the model that is asked: the target's own, or the one a call names with `model=`. The target's own prices hold for
    its own model, and for another one that no list knows. `cost()` reads the list at a model's first mention, which takes a second
    where none has been read yet: on an event loop call `read()` on a worker thread first, unless `is_read()`.
    """

    __slots__ = ("_base", "_input", "_is_local", "_model", "_output", "_provider", "_rates", "_share", "known")

    known: bool
    """Whether anybody knows what the target's own model costs: its Target, or the price list."""

    def __init__(self, target: Target, *, is_local: bool = False, share: float = 1.0) -> None:
        """`share` of the price is what is paid, such as half for a vendor's batches."""
        self._share = share
        known = provider_of(target.provider)
        self._provider = name_in("price_id", target.provider)
        self._model = target.model
        self._base = str(dict(target.options).get("base_model") or "") or target.model  # the list knows no deployments
        self._is_local = is_local = is_local or (known is not None and known.is_free)
        self._rates: dict[str, tuple[Rates | None, float]] = {}  # by model asked: what is known, and until when
        self._input = target.input_usd_per_mtok
        self._output = target.output_usd_per_mtok
        if is_local and self._input is None:
            self._input = self._output = 0.0  # a model in this process, or on a machine of one's own, sends no bill
        self.known = self._input is not None or self.cost(Usage(input_tokens=1000, output_tokens=10)) is not None

    def is_read(self, model: str) -> bool:
        """Whether `cost()` for `model` needs to read nothing ("" is the target's own, which is read when the target is opened)."""
        return not model or model == self._model or model in self._rates or self._is_local

    def read(self, model: str) -> None:
        """Read the price of `model`; takes up to a second, so call it on a worker thread."""
        self._of(model)

    def cost(self, usage: Usage, model: str = "") -> float | None:
        """US dollars for `usage`, or None if the price is unknown. `model` is the name that was asked, "" the target's own."""
        name = model or self._model
        if self._input is not None and (name == self._model or self._is_local):
            return self._own(usage) * self._share
        found = self._rates.get(name)
        plain = found[0] if found is not None and time.monotonic() < found[1] else self._of(name)
        if plain is None:
            return None if self._input is None else self._own(usage) * self._share
        beside = usage.cached_tokens + usage.cache_write_tokens
        if usage.audio_input_tokens or usage.audio_output_tokens or not beside <= usage.input_tokens <= plain.up_to:
            listed = _listed(self._provider, self._listed_as(name), usage)
            return None if listed is None else listed * self._share
        if not beside:  # as most requests
            return (usage.input_tokens * plain.fresh + usage.output_tokens * plain.output) * self._share
        return plain.cost(usage) * self._share

    def upper(self, input_tokens: int, output_tokens: int, model: str = "") -> float:
        """US dollars to reserve before sending; never None: an unknown price uses FALLBACK_USD_PER_MTOK."""
        return self.assumed(Usage(input_tokens=input_tokens, output_tokens=output_tokens), model)

    def assumed(self, usage: Usage, model: str = "") -> float:
        """US dollars for `usage`; an unknown price is taken to be FALLBACK_USD_PER_MTOK."""
        cost = self.cost(usage, model)
        if cost is not None:
            return cost
        return (usage.input_tokens * FALLBACK_USD_PER_MTOK[0] + usage.output_tokens * FALLBACK_USD_PER_MTOK[1]) / 1e6

    def _own(self, usage: Usage) -> float:
        return (usage.input_tokens * (self._input or 0.0) + usage.output_tokens * (self._output or 0.0)) / 1e6

    def _listed_as(self, name: str) -> str:
        """What the list calls the model: of a deployment the model behind it."""
        return self._base if name == self._model else name

    def _of(self, name: str) -> Rates | None:
        """What the list says of the model `name`, asked again once an hour."""
        found = self._rates.get(name)
        now_s = time.monotonic()
        if found is None or now_s >= found[1]:
            if len(self._rates) >= MODELS:
                self._rates.clear()  # a caller that makes names up; `_hourly` is bounded, too
            listed = self._listed_as(name)
            found = self._rates[name] = (_hourly(self._provider, listed, int(now_s // RATES_S)), (now_s // RATES_S + 1) * RATES_S)
        return found[0]


@lru_cache(maxsize=1024)
def _hourly(provider: str, model: str, hour: int) -> Rates | None:
    """`rates`, asked for on a worker thread when a target is made ready and known on the background loop from then on."""
    del hour
    return rates(provider, model)


def rates(provider: str, model: str) -> Rates | None:
    """The price as a plain sum, and how far it is one (`up_to` -1: nowhere); None if the price is unknown."""
    size = SIZES[0]
    zero = _listed(provider, model, Usage())
    asked = [
        _listed(provider, model, usage)
        for usage in (
            Usage(input_tokens=size),
            Usage(input_tokens=size, cached_tokens=size),
            Usage(input_tokens=size, cache_write_tokens=size),
            Usage(input_tokens=size, cache_write_tokens=size, cache_write_1h_tokens=size),
            Usage(output_tokens=size),
        )
    ]
    if zero is None or None in asked:
        return None
    fresh, cached, written, kept, output = (one / size for one in asked if one is not None)
    found = Rates(fresh=fresh, cached=cached, written=written, kept=kept, output=output, up_to=-1)
    for size in SIZES if zero == 0 else ():
        third = size // 3
        for usage in (
            Usage(input_tokens=size, output_tokens=size),
            Usage(input_tokens=size, cached_tokens=third, cache_write_tokens=third, cache_write_1h_tokens=third // 2, output_tokens=7),
            Usage(input_tokens=size, cached_tokens=size, output_tokens=third),
        ):
            listed = _listed(provider, model, usage)
            if listed is None or abs(listed - found.cost(usage)) > 1e-9 * max(listed, 1e-6):
                return found
        found = replace(found, up_to=size)
    return found


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
        **({"cache_write_1h_tokens": usage.cache_write_1h_tokens} if usage.cache_write_1h_tokens else {}),
        input_audio_tokens=heard or None,
        cache_audio_read_tokens=0 if heard and usage.cached_tokens else None,
        output_audio_tokens=min(usage.audio_output_tokens, usage.output_tokens) or None,
    )
    try:
        return float(genai_prices.calc_price(listed, model_ref=model, provider_id=provider).total_price)
    except LookupError:
        return None
