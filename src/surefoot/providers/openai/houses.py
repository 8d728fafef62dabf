"""Houses whose servers speak OpenAI's protocol: address, key and dialect of each, data alone.

A row is all there is to a house: `groq:llama-3.3-70b-versatile` needs no `base_url`, and what its servers do not take is left out. What a
row says of a dialect are options of its targets (see OPTIONS in `endpoint`), so a target of the caller's own may say otherwise.
"""

from __future__ import annotations

from typing import Any

from surefoot.facts import ModelFacts, ProviderFacts
from surefoot.providers.openai.facts import MODELS, OPENAI, SAMPLING, STOP, THREE, OpenAIModelFacts

SOURCES = {
    "prices": "the list of genai-prices 0.2.3: windows, 2026-11-30",
    "litellm": "get_llm_provider_logic.py and the transformations of LiteLLM 1.110.2: addresses, variables, parameters, 2026-11-30",
    "pydantic": "providers/ of pydantic-ai 2.68.0: addresses, variables, what each server refuses, 2026-11-30",
    "sdk": "the house's own Python SDK, by which its variables are called, 2026-11-30",
    "azure": "azure.py of openai 3.57.0 (addresses, variables, one header), pydantic-ai#6593 (max_tokens for Mistral), 2026-11-30",
    "ollama": "Ollama's envconfig (OLLAMA_HOST) and docs/openai.md, pydantic-ai#4116 (no strict), 2026-11-30",
    "thinking": "api-docs.deepseek.com/guides/thinking_mode, docs.z.ai and platform.moonshot.ai: thinking.type turns it off, 2026-11-30",
    "groq": "console.groq.com/docs/reasoning and /models: efforts of gpt-oss and qwen3, none for others; limits, 2026-11-30",
    "xai": "docs.x.ai/docs/guides/reasoning: efforts of grok-3-mini, none for grok-4; no stop where a model reasons, 2026-11-30",
}
PLACE = "surefoot.providers.openai.places:own_server"  # where the environment names a host alone
MAX_COMPLETION: dict[str, Any] = {"max_tokens_field": "max_completion_tokens"}
SWITCH: dict[str, Any] = {"thinking": "switch"}  # {"thinking": {"type": "disabled"}} in the place of reasoning_effort="none"


def _row(begins: str = "", *, sources: str, **given: Any) -> OpenAIModelFacts:
    """What holds for the models of a house whose names begin so; "": for all of them."""
    return OpenAIModelFacts(begins=begins, thinks=False, sources=tuple(sources.split()), **given)


def _house(
    address: str,
    *variables: str,
    models: tuple[ModelFacts, ...] = (),
    sources: str = "litellm pydantic",
    options: dict[str, Any] | None = None,
    chat: str = "",
    also: str = "",
    **more: Any,
) -> ProviderFacts:
    """One house: its address, its key's variables, its dialect, and the model that a key alone is enough for ("": none)."""
    return ProviderFacts(
        path=OPENAI.path, needs=OPENAI.needs, sdk=OPENAI.sdk, package=OPENAI.package, versions=OPENAI.versions, extra=OPENAI.extra,
        address=address, key_variables=variables, options=tuple((options or {}).items()), default_chat=chat, also=tuple(also.split()),
        models=models or (_row(sources=sources),), sources={**OPENAI.sources, **SOURCES}, **more,
    )  # fmt: skip


def _own(port: int, *variables: str, **more: Any) -> ProviderFacts:
    """A server on a machine of one's own: no key, no bill, and another machine's name is enough of an address."""
    return _house(
        f"http://127.0.0.1:{port}/v1", *variables, place=PLACE, keyless="everywhere", is_free=True,
        **more,
    )  # fmt: skip


_CHAT: dict[str, Any] = {"kinds": ("chat",)}
_GROQ = (
    _row(sources="groq", efforts=()),
    _row("gpt-oss", sources="groq prices", efforts=THREE, window=131_072, output=65_536),
    _row("qwen3", sources="groq", efforts=("none",)),
)
_XAI = (
    _row(sources="litellm"),
    _row("grok-3-mini", sources="xai litellm", refused=STOP, efforts=("low", "high")),
    _row("grok-4", sources="xai litellm", refused=STOP, efforts=()),
    _row("grok-4.", sources="litellm", refused=STOP),
    _row("grok-4.3", sources="litellm prices", refused=STOP, window=1_000_000),
    _row("grok-code", sources="xai litellm", refused=STOP, efforts=()),
)
_KIMI = (
    _row(sources="thinking"),
    *(_row(begins, sources="litellm thinking", refused=SAMPLING) for begins in ("kimi-k2-thinking", "kimi-k2.", "kimi-k3")),
)
_CEREBRAS = (_row(sources="pydantic", refused=frozenset({"parallel_tool_calls"})),)

PROVIDERS: dict[str, ProviderFacts] = {
    "azure": _house(
        "",
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_AD_TOKEN",
        models=OPENAI.models,
        also="azure_openai azure_ai azureopenai azure-openai",
        place="surefoot.providers.openai.places:azure",
        address_variable="AZURE_OPENAI_ENDPOINT",
        option_variables=(("api_version", "OPENAI_API_VERSION"),),
        keyless="nowhere",
        telemetry_id="azure.ai.openai",
    ),
    "ollama": _own(11434, "OLLAMA_API_KEY", also="ollama_chat", sources="ollama", address_variable="OLLAMA_HOST"),
    "lmstudio": _own(1234, also="lm_studio lm-studio"),
    "vllm": _own(8000, also="hosted_vllm sglang"),
    "llamacpp": _own(8080, also="llama.cpp llama-cpp llama_cpp llamafile"),
    "groq": _house(
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        options=MAX_COMPLETION,
        models=_GROQ,
        chat="openai/gpt-oss-120b",
        also="chatgroq",
        address_variable="GROQ_BASE_URL",
        place=PLACE,
        telemetry_id="groq",
        **_CHAT,
    ),
    "mistral": _house(
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        options={"seed_field": "random_seed", "stream_usage": False, "names": False},
        also="mistralai mistral_ai",
        telemetry_id="mistral_ai",
        langsmith_id="mistralai",
        embedders=("mistral-embed", "codestral-embed"),
    ),
    "deepseek": _house(
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        options={"thinking": "both", "schemas": "object"},
        models=(_row(sources="litellm pydantic thinking"), _row("deepseek-flash", sources="prices", window=1_000_000)),
        also="deepseek_ai",
        telemetry_id="deepseek",
        **_CHAT,
    ),
    "openrouter": _house("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", also="open_router"),
    "together": _house(
        "https://api.together.xyz/v1",
        "TOGETHER_API_KEY",
        "TOGETHER_AI_API_KEY",
        also="togetherai together_ai",
        sources="litellm pydantic sdk",
        address_variable="TOGETHER_BASE_URL",
    ),
    "xai": _house(
        "https://api.x.ai/v1",
        "XAI_API_KEY",
        models=_XAI,
        options={"names": False, "strict_tools": False},
        also="grok x_ai x-ai",
        price_id="x-ai",
        telemetry_id="x_ai",
    ),
    "fireworks": _house(
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        also="fireworks_ai",
        address_variable="FIREWORKS_BASE_URL",
        place=PLACE,
        sources="litellm pydantic sdk",
    ),
    "cerebras": _house(
        "https://api.cerebras.ai/v1",
        "CEREBRAS_API_KEY",
        models=_CEREBRAS,
        options=MAX_COMPLETION,
        address_variable="CEREBRAS_BASE_URL",
        place=PLACE,
        **_CHAT,
    ),
    "perplexity": _house(
        "https://api.perplexity.ai",
        "PERPLEXITY_API_KEY",
        "PPLX_API_KEY",
        options={"tools": False},
        also="pplx",
        telemetry_id="perplexity",
        **_CHAT,
    ),
    "moonshot": _house(
        "https://api.moonshot.ai/v1",
        "MOONSHOT_API_KEY",
        models=_KIMI,
        options=SWITCH,
        also="kimi moonshotai",
        price_id="moonshotai",
        **_CHAT,
    ),
    "nvidia": _house("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY", also="nvidia_nim nim"),
    "huggingface": _house("https://router.huggingface.co/v1", "HF_TOKEN", also="hf huggingface_hub", sources="sdk", **_CHAT),
    "sambanova": _house("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "nebius": _house("https://api.studio.nebius.com/v1", "NEBIUS_API_KEY"),
    "deepinfra": _house("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "alibaba": _house(
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY", "ALIBABA_API_KEY", also="dashscope qwen"
    ),
    "zai": _house(
        "https://api.z.ai/api/paas/v4",
        "ZAI_API_KEY",
        options={**SWITCH, "schemas": "object"},
        also="zhipu zhipuai glm z.ai",
        sources="pydantic thinking",
    ),
    "minimax": _house("https://api.minimax.io/v1", "MINIMAX_API_KEY", options={"schemas": "none"}, sources="pydantic", **_CHAT),
    "github": _house("https://models.github.ai/inference", "GITHUB_TOKEN", models=MODELS, also="github_models", price_id="openai"),
    "vercel": _house(
        "https://ai-gateway.vercel.sh/v1", "AI_GATEWAY_API_KEY", "VERCEL_AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN", sources="pydantic"
    ),
}
