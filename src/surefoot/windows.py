"""How many tokens a model reads at once, as the price library (genai-prices) lists it: offline, and None where nobody knows.

The frameworks size prompts, memories and summaries by it. Nothing here refuses a prompt: the list rounds, and lags behind the vendors.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from surefoot.prices import PROVIDER_IDS

# What the list leaves out, by its own ids. Source: the model pages at ai.google.dev/gemini-api/docs/models, as of February 2026.
LEFT_OUT = {
    "google:gemini-2.5-pro": 1_048_576,
    "google:gemini-3-pro-preview": 1_048_576,
    "google:gemini-3.1-pro-preview": 1_048_576,
}
# Of OpenAI's window of 400,000 tokens 128,000 are the answer's: "Input tokens exceed the configured limit of 272,000 tokens" is what the
# API says to more. Source: community.openai.com/t/1344734; "Introducing GPT-5 for developers", August 2025.
OPENAI_WINDOW, OPENAI_INPUT = 400_000, 272_000


class ContextSize(Struct, frozen=True, kw_only=True):
    """What fits a model's context window, in tokens."""

    total: int
    """Question and answer together."""
    question: int
    """The question alone: less than `total` where the vendor sets a part aside for the answer."""


@lru_cache(maxsize=256)
def context_size(name: str) -> ContextSize | None:
    """What fits the window of "provider:model", or None if that is unknown.

    A fine-tuned model has its base's window, and a model listed only as a preview that of the preview.
    """
    provider, _, model = name.partition(":")
    model = model.removeprefix("models/")
    if model.startswith("ft:"):
        model = model.split(":")[1]
    total = _listed(provider, model) or _listed(provider, f"{model}-preview")
    if total is None:
        return None
    return ContextSize(total=total, question=OPENAI_INPUT if (provider, total) == ("openai", OPENAI_WINDOW) else total)


def _listed(provider: str, model: str) -> int | None:
    try:
        import genai_prices
    except ImportError:
        return None
    try:
        found = genai_prices.calc_price(genai_prices.Usage(), model_ref=model, provider_id=PROVIDER_IDS.get(provider, provider))
    except LookupError:
        return None
    return found.model.context_window or LEFT_OUT.get(f"{found.provider.id}:{found.model.id}")
