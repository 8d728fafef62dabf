"""The embedding model."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from surefoot import runtime
from surefoot.models.requests import call_of, embed_request, spelled
from surefoot.secret import emptied
from surefoot.types import EmbedReply, EmbedRole

if TYPE_CHECKING:
    from surefoot.types import Matrix
from surefoot.models.base import _asked, _Model


class EmbedModel(_Model):
    """An embedding model that stays on its feet. All targets must share one embedding space, else Misconfigured."""

    _kind = "embed"

    def embed(self, texts: Sequence[str], *, role: EmbedRole = "document", **options: Any) -> Matrix:
        """Embed `texts`, one row each, in order: float32 [len(texts), dim], rows of unit length (L2)."""
        return runtime.run(self._ask(texts, role, options)).vectors  # type: ignore[no-any-return]

    async def aembed(self, texts: Sequence[str], *, role: EmbedRole = "document", **options: Any) -> Matrix:
        """`embed` from any event loop.

        Raises ContextTooLong (nothing sent) if a text exceeds the model's limit; BudgetExceeded (nothing spent).
        """
        return (await runtime.arun(self._ask(texts, role, options))).vectors  # type: ignore[no-any-return]

    def embed_query(self, text: str, **options: Any) -> Matrix:
        """Embed one query: float32 [dim]; models that treat queries differently do so here."""
        return runtime.run(self._ask([text], "query", options)).vectors[0]  # type: ignore[no-any-return]

    async def aembed_query(self, text: str, **options: Any) -> Matrix:
        """`embed_query` from any event loop."""
        return (await runtime.arun(self._ask([text], "query", options))).vectors[0]  # type: ignore[no-any-return]

    def reply(self, texts: Sequence[str], *, role: EmbedRole = "document", **options: Any) -> EmbedReply:
        """`embed` with usage, cost, attempts and the embedding space id."""
        return runtime.run(self._ask(texts, role, options))

    async def areply(self, texts: Sequence[str], *, role: EmbedRole = "document", **options: Any) -> EmbedReply:
        """`reply` from any event loop."""
        return await runtime.arun(self._ask(texts, role, options))

    @property
    def space(self) -> str:
        """The embedding space id: vectors of two models may be compared only if theirs are equal."""
        return self._stack.space

    async def likeness(self, call: Any, one: str, other: str) -> float:
        """The cosine of two questions, asked on behalf of `call` (its tenant, tags and listeners), on the background loop."""
        request = embed_request((one, other), "query", {})
        said = {"tenant": call.tenant, "priority": call.priority, "tags": dict(call.tags)}
        inner = call_of(request, said, stream=False, listeners=self._listeners or call.state.listeners)
        vectors = (await self._handle(inner)).vectors
        return float(vectors[0] @ vectors[1])

    def _ask(self, texts: Sequence[str], role: EmbedRole, options: dict[str, Any]) -> Coroutine[Any, Any, EmbedReply]:
        with emptied(options):
            said = spelled(options)
            call = call_of(embed_request(texts, role, said), said, stream=False, listeners=self._listeners)
        return self._handle(_asked(call))
