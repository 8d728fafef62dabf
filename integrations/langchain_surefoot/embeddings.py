"""SurefootEmbeddings: LangChain embeddings whose calls stay on their feet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from langchain_core.embeddings import Embeddings
from pydantic import Field, model_validator

from langchain_surefoot._fields import Guarded
from langchain_surefoot.errors import translated
from surefoot import EmbedModel
from surefoot.adapter import embed_model, embed_words, normalise_kwargs
from surefoot.adapter.fields import AdapterFields, key_field

if TYPE_CHECKING:
    from langchain_surefoot._typed import SurefootEmbeddingsWords


class SurefootEmbeddings(Guarded, AdapterFields, Embeddings):
    """LangChain embeddings over surefoot: batched, retried, limited and cached in one place; queries and documents told apart.

        SurefootEmbeddings(model="openai:text-embedding-3-small")
        SurefootEmbeddings(embed=EmbedModel(...))        around a model you built

    The fields are those of surefoot's Target and Policy. `fallbacks` must share the embedding space. The cache knows model, dimension and
    role; do not put LangChain's CacheBackedEmbeddings around it. Vectors become lists of floats only here, where LangChain wants them.
    """

    MODEL = "model"
    GIVEN = "embed"

    model: str = ""
    """`provider:model`, for example "local:multilingual-e5-small"; the provider may be left out of a name that its tables know."""
    dimensions: int | None = None
    """Length of the vectors, where the model offers shorter ones. None: its own."""
    extra: dict[str, Any] | None = None
    """Fields of the vendor's own request, merged into its body."""
    chunk_size: int | None = Field(default=None, gt=0)
    """Texts in one call. None: all that are given; surefoot packs them by the provider's own limits."""
    show_progress_bar: bool = False
    """Whether a bar on stderr shows how far `embed_documents` is, where `chunk_size` makes several calls of it."""
    embed: EmbedModel | None = Field(default=None, exclude=True)
    """A model you built; targets and policies are then said there."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[SurefootEmbeddingsWords]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _known_words(cls, values: Any) -> Any:
        return key_field(normalise_kwargs(values, known=cls.model_fields, owner=cls.__name__)) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _whole(self) -> SurefootEmbeddings:
        self._check_fields(self.embed)
        if self.embed is not None and not self.model:
            self.model = self.embed.targets[0]
        return self

    @property
    def surefoot(self) -> EmbedModel:
        """The EmbedModel underneath: `describe()`, `subscribe()`, `space`."""
        return self.embed or self._core(embed_model)

    @property
    def _attempts(self) -> int:
        return self.attempts if self.embed is None else self.embed.policy.attempts

    def embed_documents(self, texts: list[str], chunk_size: int | None = None, **kwargs: Any) -> list[list[float]]:
        """One vector a text, in order. `chunk_size` texts make one call; further keywords are those of a call (`deadline_s`, `tags`)."""
        if not len(texts):  # an array or a column of texts has no truth of its own
            return []
        with translated(self._attempts):
            return [row for part in self._parts(texts, chunk_size) for row in self.surefoot.embed(part, **self._said(kwargs)).tolist()]

    def embed_query(self, text: str, **kwargs: Any) -> list[float]:
        """The vector of a query."""
        with translated(self._attempts):
            return self.surefoot.embed_query(text, **self._said(kwargs)).tolist()  # type: ignore[no-any-return]

    async def aembed_documents(self, texts: list[str], chunk_size: int | None = None, **kwargs: Any) -> list[list[float]]:
        """`embed_documents`, from any loop."""
        if not len(texts):  # an array or a column of texts has no truth of its own
            return []
        with translated(self._attempts):
            parts = self._parts(texts, chunk_size)
            return [row for part in parts for row in (await self.surefoot.aembed(part, **self._said(kwargs))).tolist()]

    async def aembed_query(self, text: str, **kwargs: Any) -> list[float]:
        """`embed_query`, from any loop."""
        with translated(self._attempts):
            return (await self.surefoot.aembed_query(text, **self._said(kwargs))).tolist()  # type: ignore[no-any-return]

    def _parts(self, texts: Sequence[str], chunk_size: int | None) -> Iterable[Sequence[str]]:
        size = chunk_size or self.chunk_size or len(texts)
        parts = [texts[at : at + size] for at in range(0, len(texts), size)]
        if not self.show_progress_bar:
            return parts
        from tqdm.auto import tqdm

        return tqdm(parts, desc="embedding")  # type: ignore[no-any-return]

    def _said(self, words: dict[str, Any]) -> dict[str, Any]:
        return embed_words(words, self.extra)
