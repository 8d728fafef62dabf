"""What is known of Google's Gemini models: data alone, each row with its sources."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from surefoot import facts
from surefoot.facts import ProviderFacts

SOURCES = {
    "models.dev": "models.dev as of langchain-google-genai 4.4.3: windows, outputs, read 2026-11-30",
    "litellm": "model_prices_and_context_window.json and constants.py of LiteLLM 1.110.2: the same, least budgets, read 2026-11-30",
    "pydantic": "profiles/google.py of pydantic-ai 2.68.0, after ai.google.dev/gemini-api/docs/thinking: levels, read 2026-11-30",
    "migration": "docs.cloud.google.com: Gemini 3.5 Flash-Lite (sampling unheard, no last turn of its own), Zoo-Code#1052, 2026-11-30",
    "budgets": 'ai.google.dev/gemini-api/docs/thinking, "Set budget" (2.5 Pro 128 to 32,768, others to 24,576), 2026-11-30',
    "embeddings": "ai.google.dev/gemini-api/docs/embeddings and the reference of batchEmbedContents, 2026-11-30",
}
MOST_STOPS = 5  # "(up to 5)", ai.google.dev/api/generate-content
LEVELS = ("minimal", "low", "medium", "high")
FREE = frozenset({"temperature", "top_p"})


class GoogleModelFacts(facts.ModelFacts, frozen=True, kw_only=True):
    """What the models whose names begin with `begins` take, and how they are asked to think."""

    refused: frozenset[str] = frozenset()
    """Parameters that it refuses or does not heed."""
    thinking: Literal["no", "budget", "level"] = "level"
    """How it is asked to think: not at all, by a number of tokens, or by a word."""
    budget: tuple[int, int] = (0, 24_576)
    """The fewest and the most tokens it may be told to think."""
    rests: bool = True
    """Whether 0 tokens turn thinking off."""
    levels: tuple[str, ...] | None = LEVELS
    """The words it knows for a level; None where nobody knows."""
    begun: bool = True
    """Whether it goes on with an answer whose beginning is given."""
    is_older: bool = False
    """Older than Gemini 3: checks no signatures, takes no pictures in a tool's result."""

    @property
    def efforts(self) -> tuple[str, ...] | None:
        """The words it knows for an effort; none where it does not think by words."""
        return self.levels if self.thinking == "level" else ()


def _rows(
    *names: str, limits: tuple[int | None, int | None] = (1_048_576, 65_536), sources: str = "", **given: Any
) -> list[GoogleModelFacts]:
    """One row for each name: `limits` are window and output in tokens, `sources` keys of SOURCES, the limits' own apart."""
    cited = (*sources.split(), "models.dev", "litellm")
    return [GoogleModelFacts(begins=one, window=limits[0], output=limits[1], sources=cited, **given) for one in names]


_OLD: dict[str, Any] = {"is_older": True, "thinking": "no"}
_25: dict[str, Any] = {"is_older": True, "thinking": "budget", "sources": "budgets pydantic"}
_NEWER: dict[str, Any] = {"refused": FREE, "begun": False}

MODELS: tuple[GoogleModelFacts, ...] = (
    *_rows("gemini-1", "gemini-2", limits=(None, None), sources="pydantic", **_OLD),
    *_rows("gemini-2.5-flash", **_25),
    *_rows("gemini-2.5-pro", budget=(128, 32_768), rests=False, **_25),
    *_rows("gemini-2.5-flash-lite", budget=(512, 24_576), **_25),
    *_rows("gemini-2.5-computer-use", limits=(128_000, 64_000), **_25),
    *_rows("gemini-2.5-flash-image", limits=(32_768, 32_768), sources="pydantic", **_OLD),
    *_rows("gemini-2.5-flash-preview-tts", "gemini-2.5-pro-preview-tts", limits=(None, 16_384), **_OLD),
    *_rows("gemini-3-flash", "gemini-3.1-flash-lite", "gemini-3.5-flash", sources="pydantic"),
    *_rows("gemini-3-pro", levels=("low", "high"), sources="pydantic"),
    *_rows("gemini-3.1-pro", levels=LEVELS[1:], sources="pydantic"),
    *_rows("gemini-3-pro-image", limits=(65_536, 32_768), levels=("low", "high")),
    *_rows("gemini-3.1-flash-tts", limits=(None, 16_384), levels=None),
    *_rows("gemini-3.1-flash-image", limits=(131_072, 32_768)),
    *_rows("gemini-3.1-flash-lite-image", limits=(65_536, 4096), levels=("minimal", "high"), sources="pydantic"),
    *_rows("gemini-3.5-flash-lite", "gemini-3.6-flash", sources="migration pydantic", **_NEWER),
    *_rows("gemini-3.", levels=LEVELS[1:], sources="migration pydantic", **_NEWER),  # 3.7, 3.8, and those to come
    *_rows("gemini-flash-latest", "gemini-flash-lite-latest", levels=LEVELS[1:], **_NEWER),
    *_rows("gemini-pro-latest", levels=LEVELS[1:]),
    # Of an answer's length the two sources say 32,768 and 1,048,576.
    *_rows("gemini-4-", limits=(1_048_576, None), levels=LEVELS[1:], sources="pydantic", **_NEWER),
    *_rows("gemini-4-hydrogen", limits=(1_048_576, None), levels=(*LEVELS[1:], "xhigh"), **_NEWER),
    *_rows("gemma-3", limits=(131_072, 8192), thinking="no", sources="pydantic"),
    *_rows("gemma-4-", limits=(262_144, 32_768), levels=None),
    GoogleModelFacts(begins="gemini-embedding-001", dimensions=3072, text_tokens=2048, sources=("embeddings",)),
    GoogleModelFacts(begins="gemini-embedding-2", dimensions=3072, text_tokens=8192, sources=("embeddings",)),
    GoogleModelFacts(begins="text-embedding-004", dimensions=768, sources=("embeddings",)),
)
OTHER = GoogleModelFacts(begins="", levels=None)  # tuned models, and what gateways serve: all is sent as it was asked


@lru_cache(maxsize=256)
def model_of(name: str) -> GoogleModelFacts:
    """The row of a model, OTHER where there is none."""
    found = facts.model_of("google", name)
    return found if isinstance(found, GoogleModelFacts) else OTHER


WORDS = {  # of generateContent, as ChatGoogleGenerativeAI and LlamaIndex's GoogleGenAI have them
    "safety_settings": "safetySettings",
    "cached_content": "cachedContent",
    "generation_config": "generationConfig",
    "tool_config": "toolConfig",
    "labels": "labels",
    "top_k": "generationConfig.topK",
    "n": "generationConfig.candidateCount",
    "candidate_count": "generationConfig.candidateCount",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "presence_penalty": "generationConfig.presencePenalty",
    "logprobs": "generationConfig.responseLogprobs",
    "top_logprobs": "generationConfig.logprobs",
    "modalities": "generationConfig.responseModalities",
    "response_modalities": "generationConfig.responseModalities",
    "response_mime_type": "generationConfig.responseMimeType",
    "media_resolution": "generationConfig.mediaResolution",
    "speech_config": "generationConfig.speechConfig",
    "image_config": "generationConfig.imageConfig",
    "thinking_budget": "generationConfig.thinkingConfig.thinkingBudget",
    "include_thoughts": "generationConfig.thinkingConfig.includeThoughts",
    "thinking_config": "generationConfig.thinkingConfig",
    "response_schema": "generationConfig.responseJsonSchema",
    "response_json_schema": "generationConfig.responseJsonSchema",
    "built_in_tool": "tools",
}

PROVIDERS = {
    "google": ProviderFacts(
        path="surefoot.providers.google.endpoint:GoogleProvider",
        needs=("aiohttp",),
        sdk="google.genai",
        package="google-genai",
        versions=((2, 20), (4, 0)),
        extra="google",
        address="https://generativelanguage.googleapis.com",
        address_variable="GOOGLE_GEMINI_BASE_URL",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        key_starts=("AIza", "AQ."),
        default_chat="gemini-3.5-flash-lite",
        embedders=("gemini-embedding-", "text-embedding-", "embedding-"),
        talkers=("gemini-1", "gemini-2", "gemini-3", "gemma-"),
        telemetry_id="gcp.gemini",
        langsmith_id="google_genai",
        models=MODELS,
        words=WORDS,
        sources=SOURCES,
    )
}
