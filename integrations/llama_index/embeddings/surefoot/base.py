"""SurefootEmbedding: a LlamaIndex embedding model whose calls stay on their feet."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Self

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr, SecretStr, field_serializer

from surefoot import EmbedModel, Policy, Secret, Target
from surefoot.adapter import OWN_FIELDS, Settings, embed_model, key_of, normalise_kwargs, sharing, stored
from surefoot.errors import Misconfigured
from surefoot.secret import locals_cleared

DEFAULT = Policy()
FIELDS = attrgetter("model_name", "dimensions", *OWN_FIELDS)
NO_CACHE = "SurefootEmbedding: embeddings_cache is keyed by text alone and mixes models; use surefoot_cache instead"
BATCH_SIZE = 128  # texts LlamaIndex hands over at once; surefoot packs them by the provider's own limits


class SurefootEmbedding(BaseEmbedding):
    """A LlamaIndex embedding model over surefoot: batched, retried, limited and cached in one place; queries and documents told apart.

        Settings.embed_model = SurefootEmbedding(model_name="openai:text-embedding-3-small")
        SurefootEmbedding(embed=EmbedModel(...))        around a model you built

    The fields are those of surefoot's Target and Policy. `fallbacks` must share the embedding space. LlamaIndex's `embeddings_cache` is
    refused: it is keyed by the text alone and gives one model another's vectors; `surefoot_cache` knows model, dimension and role.
    `rate_limiter` stays None; say `requests_per_minute` and `tokens_per_minute`. Vectors become lists of floats only here.
    """

    model_name: str = Field(default="", description="provider:model, for example local:multilingual-e5-small.")
    fallbacks: tuple[Any, ...] = ()
    base_url: str = ""
    api_key: SecretStr | None = Field(default=None, exclude=True, description="A key or a reference such as env:NAME.")
    dimensions: int | None = None
    deadline_s: float | None = DEFAULT.deadline_s
    attempts: int = DEFAULT.attempts
    hedge_after: Any = DEFAULT.hedge_after
    budget_usd: float | None = DEFAULT.budget_usd
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: int | None = None
    surefoot_cache: Any = Field(default=None, exclude=True, description='None, "memory", "sqlite:PATH", "redis://..." or a Store.')
    embed_batch_size: int = Field(default=BATCH_SIZE, gt=0, le=2048, description="Texts in one call to surefoot.")

    _built: tuple[tuple[Any, ...] | None, EmbedModel] | None = PrivateAttr(default=None)  # None first: given, not built from the fields

    def __init__(self, model_name: str = "", *, embed: EmbedModel | None = None, **fields: Any) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        with locals_cleared(fields):
            self._begin(model_name, embed, fields)

    def _begin(self, model_name: str, embed: EmbedModel | None, fields: dict[str, Any]) -> None:
        fields.pop("class_name", None)  # from_dict() passes it
        words = {"model_name": model_name or fields.pop("model", "") or (embed.targets[0] if embed is not None else ""), **fields}
        values = normalise_kwargs(words, known=type(self).model_fields, owner=type(self).__name__)
        if values.get("embeddings_cache") is not None:
            raise Misconfigured(NO_CACHE)
        key = values.get("api_key")
        if isinstance(key, Secret):
            values["api_key"] = key.reveal()
        super().__init__(**values)
        if embed is not None:
            self._built = None, embed
        self._settings().check(given=embed, word="embed", owner=type(self).__name__)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse LlamaIndex's cache after construction, too."""
        if name == "embeddings_cache" and value is not None:
            raise Misconfigured(NO_CACHE)
        super().__setattr__(name, value)

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name of the class."""
        return "SurefootEmbedding"

    @field_serializer("fallbacks")
    def _stored(self, fallbacks: tuple[str | Target, ...]) -> list[str | dict[str, Any]]:
        return [stored(one) for one in fallbacks]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy with fields of its own over the same model underneath: limits and keys are shared, never copied."""
        return super().__deepcopy__(sharing(memo, self._built, self.fallbacks, self.surefoot_cache, self.callback_manager))

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which build a model of their own. Raises TypeError where a key or a given model would be in it."""
        self._settings().check_portable(given=self._built is not None and self._built[0] is None, owner=type(self).__name__)
        plain = self.model_copy()
        plain._built = None  # noqa: SLF001 - a copy of itself
        return super(SurefootEmbedding, plain).__getstate__()

    def _settings(self) -> Settings:
        return Settings(
            model=self.model_name,
            fallbacks=self.fallbacks,
            base_url=self.base_url,
            api_key=key_of(self.api_key.get_secret_value()) if self.api_key is not None else None,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            concurrency=self.concurrency,
            dimensions=self.dimensions,
            deadline_s=self.deadline_s,
            attempts=self.attempts,
            hedge_after=self.hedge_after,
            budget_usd=self.budget_usd,
            cache=self.surefoot_cache,
        )

    @property
    def surefoot(self) -> EmbedModel:
        """The EmbedModel underneath: `describe()`, `subscribe()`, `space`."""
        fields, built = FIELDS(self), self._built
        if built is None or (built[0] is not None and built[0] != fields):
            self._built = built = fields, embed_model(self._settings())
        return built[1]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self.surefoot.embed_query(query).tolist()  # type: ignore[no-any-return]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self.surefoot.aembed_query(query)).tolist()  # type: ignore[no-any-return]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self.surefoot.embed(texts).tolist()  # type: ignore[no-any-return]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return (await self.surefoot.aembed(texts)).tolist()  # type: ignore[no-any-return]
