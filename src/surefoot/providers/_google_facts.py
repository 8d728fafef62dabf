"""What is known of Google's Gemini models: data alone, each row with its sources."""

from __future__ import annotations

from surefoot.facts import Model

SOURCES = {
    "models.dev": "models.dev as of langchain-google-genai 4.4.3, read 2026-11-30",
    "litellm": "model_prices_and_context_window.json of LiteLLM 1.110.2, read 2026-11-30",
}
WINDOW, OUTPUT = 1_048_576, 65_536  # of most


def _row(begins: str, window: int | None = WINDOW, output: int | None = OUTPUT) -> Model:
    return Model(begins=begins, window=window, output=output, sources=tuple(SOURCES))


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
)
