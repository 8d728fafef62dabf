"""What is known of Google's Gemini models: data alone, each row with its sources."""

from __future__ import annotations

from surefoot.facts import Model, Provider

SOURCES = {
    "models.dev": "models.dev as of langchain-google-genai 4.4.3, read 2026-11-30",
    "litellm": "model_prices_and_context_window.json of LiteLLM 1.110.2, read 2026-11-30",
}
LIMITS = tuple(SOURCES)
SOURCES["embeddings"] = "ai.google.dev/gemini-api/docs/embeddings and the reference of batchEmbedContents, 2026-11-30"
WINDOW, OUTPUT = 1_048_576, 65_536  # of most


def _row(begins: str, window: int | None = WINDOW, output: int | None = OUTPUT) -> Model:
    return Model(begins=begins, window=window, output=output, sources=LIMITS)


MODELS: tuple[Model, ...] = (
    *(
        _row(f"gemini-{name}")
        for name in ("2.5-pro", "2.5-flash", "3-flash", "3-pro", "3.", "flash-latest", "flash-lite-latest", "pro-latest")
    ),
    _row("gemini-2.5-computer-use", 128_000, 64_000),
    _row("gemini-2.5-flash-image", 32_768, 32_768),
    *(_row(f"gemini-2.5-{size}-preview-tts", None, 16_384) for size in ("flash", "pro")),
    _row("gemini-3-pro-image", 65_536, 32_768),
    _row("gemini-3.1-flash-image", 131_072, 32_768),
    _row("gemini-3.1-flash-lite-image", 65_536, 4096),
    _row("gemini-4-", output=None),  # the two sources say 32,768 and 1,048,576
    _row("gemma-4-", 262_144, 32_768),
    Model(begins="gemini-embedding-001", dimensions=3072, text_tokens=2048, sources=("embeddings",)),
    Model(begins="gemini-embedding-2", dimensions=3072, text_tokens=8192, sources=("embeddings",)),
    Model(begins="text-embedding-004", dimensions=768, sources=("embeddings",)),
)

PROVIDERS = {
    "google": Provider(
        path="surefoot.providers.google:GoogleEdge",
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
        models=MODELS,
        sources=SOURCES,
    )
}
