"""What the class takes at construction, for editors and type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surefoot.adapter.typed import EmbedWords

if TYPE_CHECKING:
    from llama_index.core.callbacks import CallbackManager


class SurefootEmbeddingWords(EmbedWords, total=False):
    """Of SurefootEmbedding, beside `model_name` and `embed`: what every embedding adapter takes, and LlamaIndex's own."""

    model: str
    embed_batch_size: int
    num_workers: int | None
    reuse_client: bool
    callback_manager: CallbackManager | None
    rate_limiter: Any
