"""SurefootEmbedding: a LlamaIndex embedding model whose calls stay on their feet."""

from __future__ import annotations

from typing import Any, Unpack

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field

from llama_index.embeddings.surefoot._typed import SurefootEmbeddingWords
from surefoot import EmbedModel
from surefoot.adapter import embed_model, embed_words, normalise_kwargs
from surefoot.adapter.fields import key_field
from surefoot.adapter.stored_fields import StoredFields
from surefoot.errors import Misconfigured
from surefoot.secret import locals_cleared

NO_CACHE = "SurefootEmbedding: embeddings_cache is keyed by text alone and mixes models; use surefoot_cache instead"
BATCH_SIZE = 128  # texts LlamaIndex hands over at once; surefoot packs them by the provider's own limits


class SurefootEmbedding(StoredFields, BaseEmbedding):
    """A LlamaIndex embedding model over surefoot: batched, retried, limited and cached in one place; queries and documents told apart.

        Settings.embed_model = SurefootEmbedding(model_name="openai:text-embedding-3-small")
        SurefootEmbedding(embed=EmbedModel(...))        around a model you built

    The fields are those of surefoot's Target and Policy. `fallbacks` must share the embedding space. LlamaIndex's `embeddings_cache` is
    refused: it is keyed by the text alone and gives one model another's vectors; `surefoot_cache` knows model, dimension and role.
    `rate_limiter` stays None; say `requests_per_minute` and `tokens_per_minute`. Vectors become lists of floats only here.
    """

    MODEL = "model_name"
    GIVEN = "embed"

    model_name: str = Field(default="", description="provider:model, for example local:multilingual-e5-small.")
    """`provider:model`, for example "local:multilingual-e5-small"; the provider may be left out of a name that its tables know."""
    dimensions: int | None = None
    """Length of the vectors, where the model offers shorter ones. None: its own."""
    extra: dict[str, Any] | None = Field(default=None, description="Provider-specific fields, passed through untouched.")
    """Fields of the vendor's own request, merged into its body."""
    embed_batch_size: int = Field(default=BATCH_SIZE, gt=0, le=2048, description="Texts in one call to surefoot.")
    """Texts that LlamaIndex hands over at once; surefoot packs them by the provider's own limits."""

    def __init__(self, model_name: str = "", *, embed: EmbedModel | None = None, **fields: Unpack[SurefootEmbeddingWords]) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        words: dict[str, Any] = dict(fields)
        with locals_cleared(fields, words):  # type: ignore[arg-type]
            self._begin(model_name, embed, words)

    def _begin(self, model_name: str, embed: EmbedModel | None, fields: dict[str, Any]) -> None:
        fields.pop("class_name", None)  # from_dict() passes it
        words = {"model_name": model_name or fields.pop("model", "") or (embed.targets[0] if embed is not None else ""), **fields}
        values = normalise_kwargs(words, known=type(self).model_fields, owner=type(self).__name__)
        if values.get("embeddings_cache") is not None:
            raise Misconfigured(NO_CACHE)
        super().__init__(**key_field(values))
        if embed is not None:
            self._built = None, embed
        self._check_fields(embed)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse LlamaIndex's cache after construction, too."""
        if name == "embeddings_cache" and value is not None:
            raise Misconfigured(NO_CACHE)
        super().__setattr__(name, value)

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name of the class."""
        return "SurefootEmbedding"

    @property
    def surefoot(self) -> EmbedModel:
        """The EmbedModel underneath: `describe()`, `subscribe()`, `space`."""
        return self._core(embed_model)  # type: ignore[no-any-return]

    @property
    def _said(self) -> dict[str, Any]:
        return embed_words({}, self.extra)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self.surefoot.embed_query(query, **self._said).tolist()  # type: ignore[no-any-return]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self.surefoot.aembed_query(query, **self._said)).tolist()  # type: ignore[no-any-return]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self.surefoot.embed(texts, **self._said).tolist()  # type: ignore[no-any-return]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return (await self.surefoot.aembed(texts, **self._said)).tolist()  # type: ignore[no-any-return]
