"""What is known of OpenAI's models and hosts: data alone, each row with its sources."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from surefoot import facts

SOURCES = {
    "reference": 'OpenAI API reference, "Create chat completion" (stop is not for o3 and o4-mini) and the reasoning guide, 2026-11-30',
    "parallel": "langchain#29416, #29704: parallel_tool_calls and the o-series, 2026-11-30",
    "stop": "litellm#10080, dify#18971, smolagents#1210, 2026-11-30",
    "tools-5.4": "pipecat#4043, openai-openapi#541: gpt-5.4 takes tools beside an effort in the Responses API only, 2026-11-30",
    "tools-5.6": 'litellm#34569, livekit/agents#7169: gpt-5.6 wants effort "none" said beside tools, 2026-11-30',
    "thinks-5.5": "CopilotKit#7191, llmcomp#69: gpt-5.5 and later think unless told not to, and then take no temperature, 2026-11-30",
    "tools-6": "bolna#1019, genkit#6303, litellm-docs#1173: gpt-6-astra takes no function tools in Chat Completions, tried, 2026-11-30",
    "efforts": "profiles/openai.py of pydantic-ai 2.68.0 and opencode#26268, tried; litellm#38842: gpt-4 knows none, 2026-11-30",
    "search": "vercel/ai#5647, and gpt_reasoning_transformation.py of LiteLLM 1.110.2 (gpt-5-search-api), 2026-11-30",
    "responses": "LiteLLM's supported_endpoints; the API's 404 for o3-pro, gpt-5-pro, codex (goose#2564, SillyTavern#5212), 2026-11-30",
    "azure": 'voideditor#936, #937, clarity-agent#16, opencode#37964, Microsoft\'s "Azure OpenAI v1 API": hosts and headers, 2026-11-30',
    "embeddings": 'OpenAI API reference, "Create embeddings", 2026-11-30',
    "models.dev": "models.dev as of langchain-openai 1.7.4: windows and outputs, read 2026-11-30",
    "litellm": "model_prices_and_context_window.json of LiteLLM 1.110.2: windows, outputs, APIs, efforts, read 2026-11-30",
}

OPENAI_HOSTS = ("api.openai.com",)  # and its regions: eu.api.openai.com
AZURE_HOSTS = (  # with a resource's name or a region before them; public, US government and China
    ".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com", ".api.cognitive.microsoft.com",
    ".openai.azure.us", ".services.ai.azure.us", ".cognitiveservices.azure.us", ".api.cognitive.microsoft.us",
    ".openai.azure.cn", ".cognitiveservices.azure.cn", ".api.cognitive.azure.cn",
)  # fmt: skip
AZURE_OTHERS = (  # beginnings of deployments there that are not OpenAI's models: they take max_tokens, and all else as it is asked
    "mistral", "ministral", "magistral", "llama", "meta-llama", "deepseek", "cohere", "grok", "phi-", "kimi", "qwen",
)  # fmt: skip

MOST_STOPS = 4  # "Up to 4 sequences", API reference
SAMPLING = frozenset({"temperature", "top_p"})
STOP = frozenset({"stop"})
ONE_TOOL = frozenset({"parallel_tool_calls"})


class OpenAIModelFacts(facts.ModelFacts, frozen=True, kw_only=True):
    """What the models whose names begin with `begins` refuse in Chat Completions."""

    refused: frozenset[str] = frozenset()
    """Parameters that are answered with a 400."""
    refused_thinking: frozenset[str] = frozenset()
    """Refused only while the model thinks: unless its effort is "none"."""
    thinks: bool = True
    """Whether it thinks where no effort is asked for."""
    tools: Literal["any", "unless_effort", "say_none", "none"] = "any"
    """Function tools: with any effort, with no effort or "none" alone, with "none" said in so many words, or never."""
    efforts: tuple[str, ...] | None = None
    """The words it knows for an effort; none where it does not think, None where nobody knows."""
    api: Literal["chat", "responses"] = "chat"
    """The API that it answers in: Chat Completions (and Responses), or Responses alone."""

    @property
    def is_thinker(self) -> bool:
        """Whether it can think, so that its thoughts come encrypted where they are asked for; others answer that with a 400."""
        return bool(self.efforts) or (self.efforts is None and self.thinks)


def _rows(*begins: str, limits: tuple[int, int] | None = None, sources: str = "", **given: Any) -> list[OpenAIModelFacts]:
    """One row for each beginning: `limits` are window and output in tokens, `sources` keys of SOURCES, the limits' own apart."""
    window, output = limits or (None, None)
    cited = (*sources.split(), *(("models.dev", "litellm") if limits else ()))
    return [OpenAIModelFacts(begins=one, window=window, output=output, sources=cited, **given) for one in begins]


THREE = ("low", "medium", "high")
FOUR = (*THREE, "xhigh")  # Chat Completions; "max" is a word of the Responses API

_O: dict[str, Any] = {"limits": (200_000, 100_000), "efforts": THREE}
_GPT5: dict[str, Any] = {"limits": (400_000, 128_000), "question": 272_000}
_LARGE: dict[str, Any] = {"limits": (1_050_000, 128_000), "question": 922_000}
_PLAIN: dict[str, Any] = {"thinks": False, "efforts": (), "sources": "efforts"}
_OPT_IN: dict[str, Any] = {"refused": STOP, "refused_thinking": SAMPLING, "thinks": False}
_BY_DEFAULT: dict[str, Any] = {"refused": STOP, "refused_thinking": SAMPLING}
_FIXED: dict[str, Any] = {"limits": (128_000, 16_384), "refused": SAMPLING, "efforts": ("medium",), "sources": "efforts"}
_ELSEWHERE: dict[str, Any] = {"api": "responses", "sources": "responses"}

MODELS: tuple[OpenAIModelFacts, ...] = (
    *_rows("gpt-3.5-turbo", limits=(16_385, 4096), **_PLAIN),
    *_rows("gpt-4", limits=(8192, 8192), **_PLAIN),
    *_rows("gpt-4-turbo", "gpt-4-1106", "gpt-4-0125", "gpt-4o-2024-05-13", limits=(128_000, 4096), **_PLAIN),
    *_rows("gpt-4o", "gpt-audio", "gpt-5-chat", limits=(128_000, 16_384), **_PLAIN),
    *_rows("gpt-4.1", limits=(1_047_576, 32_768), **_PLAIN),
    *_rows("gpt-4o-search-preview", "gpt-4o-mini-search-preview", limits=(128_000, 16_384), refused=SAMPLING, efforts=(), sources="search"),
    *_rows("gpt-5-search-api", **_GPT5, refused=SAMPLING | STOP | ONE_TOOL | {"seed"}, efforts=(), tools="none", sources="search"),
    *_rows("o1", refused=SAMPLING | ONE_TOOL, **_O, sources="reference parallel efforts"),
    *_rows("o3-mini", refused=SAMPLING | ONE_TOOL, **_O, sources="parallel stop efforts"),  # it takes stop
    *_rows("o3", "o4", refused=SAMPLING | ONE_TOOL | STOP, **_O, sources="reference parallel stop efforts"),
    *_rows("gpt-5", **_GPT5, refused=SAMPLING | STOP, efforts=("minimal", *THREE), sources="reference stop efforts"),
    *_rows("gpt-5.1-chat", "gpt-5.2-chat", "gpt-5.3-chat", **_FIXED),
    *_rows("gpt-5.1", **_GPT5, **_OPT_IN, efforts=("none", *THREE), sources="reference stop efforts"),
    *_rows("gpt-5.2", "gpt-5.3", **_GPT5, **_OPT_IN, efforts=("none", *FOUR), sources="reference stop efforts"),
    *_rows("gpt-5.4", **_LARGE, **_OPT_IN, efforts=("none", *FOUR), tools="unless_effort", sources="tools-5.4 efforts"),
    *_rows("gpt-5.4-mini", "gpt-5.4-nano", **_GPT5, **_OPT_IN, efforts=("none", *FOUR), tools="unless_effort", sources="tools-5.4 efforts"),
    *_rows(
        "gpt-5.5",
        "gpt-5.6",
        "gpt-6",
        **_LARGE,
        **_BY_DEFAULT,
        efforts=("none", *FOUR),
        tools="say_none",
        sources="tools-5.6 thinks-5.5 efforts",
    ),
    *_rows("gpt-6-astra", "gpt-6.1-sol", "gpt-6-rosalind", **_LARGE, **_BY_DEFAULT, efforts=FOUR, tools="none", sources="tools-6 efforts"),
    # Those to come are taken for alike; their limits are not known.
    *_rows("gpt-5.7", "gpt-5.8", "gpt-5.9", "gpt-7", **_BY_DEFAULT, tools="say_none", sources="tools-5.6 thinks-5.5"),
    *_rows("o1-pro", "o3-pro", "o3-deep-research", "o4-mini-deep-research", limits=(200_000, 100_000), **_ELSEWHERE),
    *_rows("gpt-5-pro", limits=(400_000, 272_000), **_ELSEWHERE),
    *_rows("gpt-5-codex", "gpt-5.1-codex", "gpt-5.2-codex", "gpt-5.3-codex", "gpt-5.2-pro", limits=(400_000, 128_000), **_ELSEWHERE),
    *_rows("gpt-5.4-pro", "gpt-5.5-pro", limits=(1_050_000, 128_000), **_ELSEWHERE),
    *_rows("codex-mini", "computer-use-preview", "gpt-daybreak", **_ELSEWHERE),
)
OTHER = OpenAIModelFacts(begins="", thinks=False)  # models of other servers take everything

EMBEDDERS = tuple(
    facts.ModelFacts(begins=begins, dimensions=dimensions, text_tokens=8192, sources=("embeddings",))
    for begins, dimensions in (("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072), ("text-embedding-ada-002", 1536))
)

WORDS = {  # of both APIs, as ChatOpenAI and LlamaIndex's OpenAI have them
    word: word
    for word in (
        "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "n", "logit_bias", "service_tier", "verbosity", "store",
        "modalities", "audio", "prediction", "user", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
        "web_search_options", "reasoning", "include", "truncation", "previous_response_id", "instructions",
        "context_management", "prompt_cache_options",
    )
} | {"audio_config": "audio", "call_metadata": "metadata", "built_in_tools": "tools", "reasoning_options": "reasoning"}  # fmt: skip

OPENAI = facts.ProviderFacts(
    path="surefoot.providers.openai.endpoint:OpenAIProvider",
    needs=("aiohttp",),
    sdk="openai",
    package="openai",
    versions=((2, 45), (4, 0)),
    extra="openai",
    address="https://api.openai.com/v1",
    address_variable="OPENAI_BASE_URL",
    headers_variable="OPENAI_CUSTOM_HEADERS",
    option_variables=(("organization", "OPENAI_ORG_ID"), ("project", "OPENAI_PROJECT_ID")),
    key_variables=("OPENAI_API_KEY",),
    key_starts=("sk-",),
    default_chat="gpt-5-mini",
    also=("chatgpt", "gpt", "oai"),
    embedders=("text-embedding-",),
    talkers=("gpt-", "chatgpt-", "o1", "o3", "o4"),
    families=(
        ("text-embedding-", "cl100k"), ("gpt-3.5", "cl100k"), ("gpt-4o", "o200k"), ("gpt-4.", "o200k"), ("gpt-4", "cl100k"),
        ("gpt-", "o200k"), ("o1", "o200k"), ("o3", "o200k"), ("o4", "o200k"),
    ),
    models=(*MODELS, *EMBEDDERS),
    words=WORDS,
    sources=SOURCES,
)  # fmt: skip
PROVIDERS = {"openai": OPENAI}


@lru_cache(maxsize=256)
def model_of(name: str, provider: str = "openai") -> OpenAIModelFacts:
    """The row of a chat model at a house that speaks OpenAI's protocol, OTHER where there is none."""
    found = facts.model_of(provider, name)
    return found if isinstance(found, OpenAIModelFacts) else OTHER


def is_azure(host: str) -> bool:
    """Whether `host` is one of Azure's for OpenAI's models."""
    return host.endswith(AZURE_HOSTS)


def is_openai(host: str) -> bool:
    """Whether OpenAI's own models answer at `host`: at OpenAI or at Azure."""
    return host in OPENAI_HOSTS or host.endswith(tuple(f".{one}" for one in OPENAI_HOSTS)) or is_azure(host)
