"""What the classes take at construction, for editors and type checkers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from surefoot.adapter.typed import ChatWords, EmbedWords

if TYPE_CHECKING:
    from langchain_core.caches import BaseCache
    from langchain_core.language_models import ModelProfile
    from langchain_core.rate_limiters import BaseRateLimiter

    from surefoot import ChatModel, EmbedModel


class ChatSurefootWords(ChatWords, total=False):
    """Of ChatSurefoot: what every chat adapter takes, and LangChain's own."""

    model: str
    model_name: str
    chat: ChatModel | None
    streaming: bool | None
    stream_usage: bool | None
    name: str | None
    cache: BaseCache | bool | None
    verbose: bool
    callbacks: Any
    tags: Sequence[str] | None
    metadata: Mapping[str, Any] | None
    custom_get_token_ids: Callable[[str], list[int]] | None
    rate_limiter: BaseRateLimiter | None
    disable_streaming: bool | Literal["tool_calling"]
    output_version: str | None
    profile: ModelProfile | None


class SurefootEmbeddingsWords(EmbedWords, total=False):
    """Of SurefootEmbeddings."""

    model: str
    model_name: str
    embed: EmbedModel | None
    chunk_size: int | None
    show_progress_bar: bool
    check_embedding_ctx_length: bool
