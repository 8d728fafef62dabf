"""SurefootEmbeddings: LangChain embeddings whose calls stay on their feet."""

from __future__ import annotations

from typing import Any, Self

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from langchain_surefoot._fields import EMBED_FIELDS, Guarded, key_field, settings_of
from langchain_surefoot.errors import translated
from surefoot import EmbedModel, Policy, Target
from surefoot.adapter import embed_model, normalise_kwargs, sharing

DEFAULT = Policy()


class SurefootEmbeddings(Guarded, BaseModel, Embeddings):
    """LangChain embeddings over surefoot: batched, retried, limited and cached in one place; queries and documents told apart.

        SurefootEmbeddings(model="openai:text-embedding-3-small")
        SurefootEmbeddings(embed=EmbedModel(...))        around a model you built

    The fields are those of surefoot's Target and Policy. `fallbacks` must share the embedding space. The cache knows model, dimension and
    role; do not put LangChain's CacheBackedEmbeddings around it. Vectors become lists of floats only here, where LangChain wants them.
    """

    model: str = ""
    """`provider:model`, for example "local:multilingual-e5-small"."""
    fallbacks: tuple[str | Target, ...] = ()
    base_url: str = ""
    api_key: SecretStr | None = None
    dimensions: int | None = None
    deadline_s: float | None = DEFAULT.deadline_s
    attempts: int = DEFAULT.attempts
    hedge_after: Any = DEFAULT.hedge_after
    budget_usd: float | None = DEFAULT.budget_usd
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: int | None = None
    surefoot_cache: Any = None
    """None, "memory", "sqlite:PATH", "redis://..." or a Store."""
    embed: EmbedModel | None = Field(default=None, exclude=True)

    _built: tuple[tuple[Any, ...], EmbedModel] | None = PrivateAttr(default=None)

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _known_words(cls, values: Any) -> Any:
        return key_field(normalise_kwargs(values, known=cls.model_fields, owner=cls.__name__)) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _whole(self) -> SurefootEmbeddings:
        settings_of(self).check(given=self.embed, word="embed", owner=type(self).__name__)
        if self.embed is not None and not self.model:
            self.model = self.embed.targets[0]
        return self

    @property
    def surefoot(self) -> EmbedModel:
        """The EmbedModel underneath: `describe()`, `subscribe()`, `space`."""
        if self.embed is not None:
            return self.embed
        fields, built = EMBED_FIELDS(self), self._built
        if built is None or built[0] != fields:
            self._built = built = fields, embed_model(settings_of(self))
        return built[1]

    @property
    def _attempts(self) -> int:
        return self.attempts if self.embed is None else self.embed.policy.attempts

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy with fields of its own over the same model underneath: limits and keys are shared, never copied."""
        return super().__deepcopy__(sharing(memo, self.embed, self._built, self.fallbacks, self.surefoot_cache))

    def __getstate__(self) -> dict[Any, Any]:
        """For other processes, which build a model of their own. Raises TypeError where a key or a given model would be in it."""
        settings_of(self).check_portable(given=self.embed, owner=type(self).__name__)
        plain = self.model_copy()
        plain._built = None  # noqa: SLF001 - a copy of itself
        return super(SurefootEmbeddings, plain).__getstate__()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector a text, in order."""
        if not len(texts):  # an array or a column of texts has no truth of its own
            return []
        with translated(self._attempts):
            return self.surefoot.embed(texts).tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        with translated(self._attempts):
            return self.surefoot.embed_query(text).tolist()  # type: ignore[no-any-return]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents`, from any loop."""
        if not len(texts):  # an array or a column of texts has no truth of its own
            return []
        with translated(self._attempts):
            return (await self.surefoot.aembed(texts)).tolist()  # type: ignore[no-any-return]

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query`, from any loop."""
        with translated(self._attempts):
            return (await self.surefoot.aembed_query(text)).tolist()  # type: ignore[no-any-return]
