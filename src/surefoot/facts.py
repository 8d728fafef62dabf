"""What is known of providers' models: the records, and how a model's row is found. The rows stand with each provider, see TABLES.

Tables are data alone, each row with the sources that it was taken from; nothing here asks anybody. A model that nobody has heard of has no
row, and whoever asks for one of its facts is told None.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import import_module

from msgspec import Struct

TABLES = {  # provider -> the module whose MODELS are its models
    "openai": "surefoot.providers._openai_facts",
    "anthropic": "surefoot.providers._anthropic_facts",
    "google": "surefoot.providers._google_facts",
}


class Model(Struct, frozen=True, kw_only=True):
    """What holds for all models whose names begin with `begins`; of several beginnings that fit, the longest counts."""

    begins: str
    """The beginning of a name, in small letters, without a collection before it ("models/") or a fine-tuning's mark ("ft:")."""
    window: int | None = None
    """Context window in tokens: question and answer together."""
    question: int | None = None
    """The most tokens of a question, where the vendor sets a part of the window aside for the answer."""
    output: int | None = None
    """The most tokens of one answer, thinking included."""
    sources: tuple[str, ...] = ()
    """Keys of the table's SOURCES, where each has its address and the day it was read."""


@cache
def models(provider: str) -> tuple[Model, ...]:
    """All rows of a provider; none for one without a table."""
    found: tuple[Model, ...] = import_module(TABLES[provider]).MODELS if provider in TABLES else ()
    return found


def base_name(name: str) -> str:
    """The name that rows are compared with: of "ft:o4-mini-2025-04-16:org::id", "models/Gemini-3-pro" and "us.anthropic.claude-opus-4-8".

    A fine-tuned model is its base, a collection or a region before the name is left out, and case does not matter.
    """
    base = name.lower().removeprefix("ft:").partition(":")[0].rpartition("/")[2]
    return base.partition("anthropic.")[2] or base  # Bedrock's names


@lru_cache(maxsize=1024)
def model_of(provider: str, name: str) -> Model | None:
    """The row of a model; None for one that nobody knows. A dated name follows its family's."""
    base = base_name(name)
    return max((row for row in models(provider) if base.startswith(row.begins)), key=lambda row: len(row.begins), default=None)


def output_limit(provider: str, model: str) -> int | None:
    """The most tokens that `model` writes in one answer, thinking included; None where nobody knows."""
    row = model_of(provider, model)
    return None if row is None else row.output
