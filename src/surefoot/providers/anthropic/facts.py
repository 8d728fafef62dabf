"""What is known of Anthropic's models: data alone, each row with its sources."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from surefoot import facts
from surefoot.facts import ProviderFacts

SOURCES = {
    "models.dev": "models.dev as of langchain-anthropic 1.7.10: windows, outputs, efforts, temperature, read 2026-11-30",
    "litellm": "model_prices_and_context_window.json of LiteLLM 1.110.2: the same, forced tools, beginnings of answers, read 2026-11-30",
    "pydantic": "profiles/anthropic.py of pydantic-ai 2.68.0, which tried each model: thinking, efforts, forced tools, read 2026-11-30",
    "display": "Anthropic's page on adaptive thinking: from Opus 4.7 on thoughts are omitted unless display says summarized, 2026-11-30",
    "migration": "Anthropic's migration notes (models of generation 4 take temperature or top_p, not both), 2026-11-22",
}

SAMPLING = frozenset({"temperature", "top_p"})
THREE = ("low", "medium", "high")
LATER = (*THREE, "max")
ALL = (*THREE, "xhigh", "max")


class AnthropicModelFacts(facts.ModelFacts, frozen=True, kw_only=True):
    """What the models whose names begin with `begins` take, and how they are asked to think."""

    refused: frozenset[str] = frozenset()
    """Parameters that are answered with a 400."""
    one_of_two: bool = False
    """Whether it takes temperature or top_p, not both at once."""
    thinking: Literal["no", "budget", "adaptive"] = "adaptive"
    """How it is asked to think: not at all, by a number of tokens, or by an effort."""
    thinks: bool = False
    """Whether it thinks where nothing is said of it."""
    hides: bool = False
    """Whether its thoughts are kept back unless they are asked for: nothing would be seen of it while it thinks."""
    off: Literal["", "disabled", "between_tools"] = "disabled"
    """The type of `thinking` that turns it off; "" where nothing does."""
    efforts: tuple[str, ...] | None = ALL
    """The words it knows for an effort, where it thinks by one; None where nobody knows."""
    forced_tools: bool = True
    """Whether it can be made to call a tool."""
    begun: bool = False
    """Whether it goes on with an answer whose beginning is given."""
    schemas: bool = True
    """Whether it follows a JSON schema by itself."""


def _rows(
    *names: str, limits: tuple[int, int] | None, sources: str = "models.dev litellm pydantic", **given: Any
) -> list[AnthropicModelFacts]:
    """One row for each "claude-NAME": `limits` are window and output in tokens, `sources` keys of SOURCES."""
    window, output = limits or (None, None)
    return [
        AnthropicModelFacts(begins=f"claude-{one}", window=window, output=output, sources=tuple(sources.split()), **given) for one in names
    ]


_SMALL, _LARGE = (200_000, 64_000), (1_000_000, 128_000)
_OLD: dict[str, Any] = {"begun": True, "schemas": False, "sources": "litellm pydantic"}
_FOUR: dict[str, Any] = {"thinking": "budget", "one_of_two": True, "begun": True}
_FREE: dict[str, Any] = {"refused": SAMPLING, "hides": True}  # chooses its words by itself

MODELS: tuple[AnthropicModelFacts, ...] = (
    *_rows("3-", limits=(200_000, 4096), thinking="no", **_OLD),
    *_rows("3-5-", limits=(200_000, 8192), thinking="no", **_OLD),
    *_rows("3-7-", limits=_SMALL, thinking="budget", **_OLD),
    *_rows("opus-4", "4-opus", limits=(200_000, 32_000), schemas=False, **_FOUR, sources="litellm migration"),
    *_rows("sonnet-4", "4-sonnet", limits=_SMALL, schemas=False, **_FOUR, sources="litellm migration"),
    *_rows("haiku-4-5", "sonnet-4-5", "opus-4-5", limits=_SMALL, **_FOUR),
    *_rows("sonnet-4-6", "opus-4-6", limits=_LARGE, one_of_two=True, efforts=LATER),
    *_rows("opus-4-7", "opus-4-8", limits=_LARGE, **_FREE),
    *_rows("opus-5", "sonnet-5", "haiku-5-5", limits=_LARGE, thinks=True, **_FREE),
    *_rows("sonnet-5-5", limits=_LARGE, thinks=True, off="between_tools", forced_tools=False, **_FREE),
    *_rows("opus-5-5", "fable-5-1", "fable-5-2", limits=_LARGE, thinks=True, off="", forced_tools=False, **_FREE),
    *_rows("fable-5", limits=_LARGE, thinks=True, off="", **_FREE),
    *_rows("mythos-5", "mythos-preview", limits=_LARGE, thinks=True, off="", **_FREE, sources="litellm pydantic"),
    *_rows("mythos-5-1", "mythos-5-2", limits=_LARGE, thinks=True, off="", forced_tools=False, **_FREE, sources="litellm pydantic"),
    *_rows("", limits=None, **_FREE),  # those to come are taken for alike; their limits are not known
)
OTHER = AnthropicModelFacts(begins="", begun=True, efforts=None)  # other vendors' models behind this protocol: all is sent as it was asked


@lru_cache(maxsize=256)
def model_of(name: str) -> AnthropicModelFacts:
    """The row of a model, OTHER where there is none."""
    found = facts.model_of("anthropic", name)
    return found if isinstance(found, AnthropicModelFacts) else OTHER


WORDS = {  # of the Messages API, as ChatAnthropic and LlamaIndex's Anthropic have them
    word: word
    for word in (
        "top_k",
        "thinking",
        "service_tier",
        "mcp_servers",
        "context_management",
        "container",
        "inference_geo",
        "output_config",
        "user_profile_id",
        "tools",
    )
} | {"betas": "extra_headers.anthropic-beta", "thinking_dict": "thinking"}

PROVIDERS = {
    "anthropic": ProviderFacts(
        path="surefoot.providers.anthropic.endpoint:AnthropicProvider",
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
        words=WORDS,
        sources=SOURCES,
    )
}
