"""How many tokens a model reads at once: by its provider's table of facts, else as the price library (genai-prices) lists it, offline.

The frameworks size prompts, memories and summaries by it; None where nobody knows. Nothing here refuses a prompt: the list rounds, and
lags behind the vendors.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.facts import base_name, model_of, name_in

_DATE = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})$")


class ContextSize(Struct, Documented, frozen=True, kw_only=True):
    """What fits a model's context window, in tokens."""

    total: int
    """Question and answer together."""
    question: int
    """The question alone: less than `total` where the vendor sets a part aside for the answer."""


@lru_cache(maxsize=256)
def context_size(name: str) -> ContextSize | None:
    """What fits the window of "provider:model", or None if that is unknown.

    A fine-tuned model has its base's window, a dated one that nobody lists its family's, and one listed only as a preview the preview's.
    """
    provider, _, model = name.partition(":")
    known = model_of(provider, model)
    if known is not None and known.window is not None:
        return ContextSize(total=known.window, question=known.question or known.window)
    base = base_name(model)
    names = dict.fromkeys((model.removeprefix("models/"), base, f"{base}-preview", _DATE.sub("", base)))
    total = next((size for one in names if (size := _listed(provider, one))), None)
    return None if total is None else ContextSize(total=total, question=total)


def _listed(provider: str, model: str) -> int | None:
    try:
        import genai_prices
    except ImportError:
        return None
    try:
        found = genai_prices.calc_price(genai_prices.Usage(), model_ref=model, provider_id=name_in("price_id", provider))
    except LookupError:
        return None
    size: int | None = found.model.context_window
    return size
