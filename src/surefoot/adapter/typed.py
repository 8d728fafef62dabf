"""The words an adapter takes at construction, for editors and type checkers; `words` says what each means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from pydantic import SecretStr

    from surefoot.secret import Secret
    from surefoot.settings import Policy, SpendLimit, Target


class PolicyWords(TypedDict, total=False):
    """The fields of a Policy, by name, and a whole one."""

    policy: Policy | Mapping[str, Any] | None
    deadline_s: float | None
    attempts: int
    attempts_per_target: int
    backoff_base_s: float
    backoff_ceiling_s: float
    connect_s: float | None
    first_token_s: float | None
    idle_s: float | None
    hedge_after: Literal["p95"] | float | None
    budget_usd: float | None
    budgets: tuple[SpendLimit, ...]
    budget_store: str
    budget_mode: Literal["hard", "soft"]
    shared: str | None
    shared_namespace: str
    shared_when_away: Literal["share", "refuse"]
    overflow: Literal["refuse", "drop_oldest", "summarise"]
    queue_size: int
    breaker: bool
    breaker_window_s: float
    breaker_min_calls: int
    breaker_ratio: float
    breaker_open_s: float
    coalesce: bool | None
    resume: bool
    cache_ttl_s: float
    cache_stale_s: float
    cache_sampled: bool | None
    timeout: float | None
    request_timeout: float | None
    max_retries: int | None


class TargetWords(TypedDict, total=False):
    """The fields of the first Target, by name, under the vendors' classes' names, too; and the targets after it."""

    fallbacks: Sequence[str | Target | Mapping[str, Any]]
    base_url: str | None
    api_key: str | SecretStr | Secret | Callable[[], Any] | None
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None
    options: Mapping[str, Any] | Sequence[tuple[str, Any]] | None
    proxy: str | None
    verify: Any
    cert: str | Sequence[str] | None
    client: Any
    lane: Literal["auto", "sdk", "direct"]
    requests_per_minute: float | None
    tokens_per_minute: float | None
    concurrency: int | None
    context_tokens: int | None
    input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None
    api_base: str | None
    openai_api_base: str | None
    openai_api_key: str | SecretStr | None
    anthropic_api_key: str | SecretStr | None
    google_api_key: str | SecretStr | None
    default_headers: Mapping[str, str] | None
    organization: str | None
    project: str | None
    location: str | None
    region: str | None
    openai_organization: str | None
    openai_proxy: str | None
    api_version: str | None
    use_responses_api: bool | None
    surefoot_cache: Any


class VendorWords(TypedDict, total=False):
    """Fields of the vendors' own requests; those of another vendor than the first target's are refused."""

    extra: Mapping[str, Any] | None
    extra_body: Mapping[str, Any] | None
    model_kwargs: Mapping[str, Any] | None
    additional_kwargs: Mapping[str, Any] | None
    default_query: Mapping[str, Any] | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logprobs: bool | None
    top_logprobs: int | None
    n: int | None
    logit_bias: Mapping[Any, Any] | None
    service_tier: str | None
    verbosity: str | None
    store: bool | None
    modalities: Sequence[Any] | None
    audio: Mapping[str, Any] | None
    user: str | None
    reasoning: Mapping[str, Any] | None
    reasoning_options: Mapping[str, Any] | None
    include: Sequence[str] | None
    truncation: str | None
    instructions: str | None
    previous_response_id: str | None
    call_metadata: Mapping[str, Any] | None
    built_in_tools: Sequence[Any] | None
    tools: Sequence[Any] | None
    top_k: int | None
    thinking: Mapping[str, Any] | None
    betas: Sequence[str] | None
    mcp_servers: Sequence[Mapping[str, Any]] | None
    context_management: Mapping[str, Any] | None
    safety_settings: Any
    thinking_budget: int | None
    thinking_config: Any
    built_in_tool: Any
    response_schema: Mapping[str, Any] | None
    include_thoughts: bool | None
    response_modalities: Sequence[Any] | None
    cached_content: str | None


class ChatWords(PolicyWords, TargetWords, VendorWords, total=False):
    """What every chat adapter takes."""

    temperature: float | None
    max_tokens: int | None
    max_completion_tokens: int | None
    max_output_tokens: int | None
    top_p: float | None
    stop: str | Sequence[str] | None
    stop_sequences: Sequence[str] | None
    seed: int | None
    reasoning_effort: str | None
    effort: str | None
    prompt_cache: Literal["", "auto", "5m", "1h"] | None
    cache_control: Mapping[str, str] | None


class EmbedWords(PolicyWords, TargetWords, total=False):
    """What every embedding adapter takes."""

    extra: Mapping[str, Any] | None
    model_kwargs: Mapping[str, Any] | None
    additional_kwargs: Mapping[str, Any] | None
    dimensions: int | None
    output_dimensionality: int | None
