"""What is known of Anthropic's models: data alone, each row with its sources."""

from __future__ import annotations

from surefoot.facts import Model, Provider

SOURCES = {
    "models.dev": "models.dev as of langchain-anthropic 1.7.10, read 2026-11-30",
    "litellm": "model_prices_and_context_window.json of LiteLLM 1.110.2, read 2026-11-30",
    "models-api": "`max_tokens` of Anthropic's Models API, as quoted by pydantic-ai 2.68.0, read 2026-11-30",
}
LIMITS = ("models.dev", "litellm", "models-api")


def _row(begins: str, window: int, output: int, *sources: str) -> Model:
    return Model(begins=begins, window=window, output=output, sources=sources or LIMITS)


MODELS: tuple[Model, ...] = (
    _row("claude-3-", 200_000, 4096, "litellm"),
    _row("claude-3-5-", 200_000, 8192, "litellm"),
    _row("claude-3-7-", 200_000, 64_000, "litellm"),
    *(_row(f"claude-{name}", 200_000, 32_000, "litellm") for name in ("opus-4", "4-opus")),
    *(_row(f"claude-{name}", 200_000, 64_000, "litellm") for name in ("sonnet-4", "4-sonnet")),
    *(_row(f"claude-{name}", 200_000, 64_000) for name in ("haiku-4-5", "sonnet-4-5", "opus-4-5")),
    *(
        _row(f"claude-{name}", 1_000_000, 128_000)
        for name in ("sonnet-4-6", "opus-4-6", "opus-4-7", "opus-4-8", "sonnet-5", "opus-5", "haiku-5-5", "fable-5")
    ),
    *(_row(f"claude-{name}", 1_000_000, 128_000, "litellm") for name in ("mythos-5", "mythos-preview")),
)

PROVIDERS = {
    "anthropic": Provider(
        path="surefoot.providers.anthropic:AnthropicEdge",
        needs=("aiohttp",),
        sdk="anthropic",
        package="anthropic",
        versions=((1, 0), (3, 0)),
        extra="anthropic",
        address="https://api.anthropic.com",
        address_variable="ANTHROPIC_BASE_URL",
        headers_variable="ANTHROPIC_CUSTOM_HEADERS",
        key_variables=("ANTHROPIC_API_KEY",),
        key_starts=("sk-ant-",),
        default_chat="claude-haiku-4-5",
        kinds=("chat",),
        families=(("claude", "claude"), ("anthropic:", "claude")),
        models=MODELS,
        sources=SOURCES,
    )
}
