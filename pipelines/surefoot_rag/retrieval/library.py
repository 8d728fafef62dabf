"""An index: one collection of passages a framework and tenant, stamped with its embedding space. What is in the store is the only truth.

Each tenant has a collection of its own, so a question that forgets to say whose it is finds nothing of anybody's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from surefoot import EmbedModel
from surefoot.errors import BadRequest
from surefoot.secret import Secret
from surefoot_rag.records import Passage, Scalar
from surefoot_rag.retrieval.backends import INDEX_DIR, Backend, is_address, place_of
from surefoot_rag.retrieval.chroma_backend import ChromaBackend
from surefoot_rag.retrieval.lexical import Lexical
from surefoot_rag.retrieval.recorded import RecordedBackend, VectorStore
from surefoot_rag.retrieval.words import Words

__all__ = ["INDEX_DIR", "Library", "parts"]


class Library:
    """The passages of one tenant in one index, as one framework sees them; opened once, used for many questions.

    `index` is a folder, or the address of a Chroma server (`backends`); `key` is what it asks for: a text, a Secret, or a reference such as
    "env:NAME". `create=False` raises Misconfigured where nothing was indexed yet. An index made with another embedding model is refused:
    vectors of two spaces may have the same length and still mean nothing to each other. `of(tenant)` opens another tenant's part.

    `store` keeps the passages in any other vector store of the framework, such as `langchain_chroma.stored_in(lambda name, embeddings:
    InMemoryVectorStore(embeddings))`; `index` is then the folder for the record beside it, None for one in memory.
    """

    def __init__(
        self,
        index: str | Path | None,
        *,
        framework: str,
        embed: EmbedModel,
        create: bool = False,
        tenant: str = "",
        key: str | Secret | None = None,
        store: Callable[[str, EmbedModel], VectorStore] | None = None,
    ) -> None:
        self.framework = framework
        self.embed = embed
        self.tenant = tenant
        self.name = _name(framework, tenant)
        self.path = Path() if index is None else place_of(index)
        self.backend: Backend
        self._opened: Callable[..., Library] = lambda **other: Library(
            index, framework=framework, embed=embed, key=key, store=store, **other
        )
        if store is None:
            if index is None:
                raise BadRequest("index=None: want a folder or the address of a Chroma server, or a store= to keep the passages in")
            self.backend = ChromaBackend(index, self.name, space=embed.space, tenant=tenant, framework=framework, create=create, key=key)
        else:
            place = None if index is None or is_address(index) else Path(index)
            self.backend = RecordedBackend(store(self.name, embed), self.name, place, space=embed.space, create=create)
        self.words = Words(self.backend, None if index is None else self.path, self.name)
        self._others: dict[str, Library] = {}

    def of(self, tenant: str | None, *, create: bool = False) -> Library:
        """The part of `tenant`; None means this one. Raises Misconfigured where nothing was indexed for it, unless `create`."""
        if tenant is None or tenant == self.tenant:
            return self
        if tenant not in self._others:
            self._others[tenant] = self._opened(create=create, tenant=tenant)
        return self._others[tenant]

    @property
    def lexical(self) -> Lexical:
        """BM25 over the same passages: from disk, once for all threads; anew after any process has indexed."""
        return self.words.lexical

    @property
    def passages(self) -> dict[str, Passage]:
        """Every passage by id, read from the store; for a look at small indexes."""
        return {one.id: one for one in self.backend.passages()}

    def first(self, keys: Iterable[str], count: int) -> list[Passage]:
        """The first `count` of these passages that are in the store now: what was deleted since is not served."""
        found: list[Passage] = []
        for part in parts(list(keys), count):
            there = self.backend.get(part)
            found += (there[key] for key in part if key in there)
            if len(found) >= count:
                break
        return found[:count]

    def documents(self) -> dict[str, dict[str, Scalar]]:
        """The documents in the index by id, in order: `title`, `source`, `passages` (how many), and what `folder` they came from."""
        found: dict[str, dict[str, Scalar]] = {}
        rows = self.lexical.rows() if self.words.is_known() else dict(self.backend.rows())
        for row in rows.values():
            one = found.setdefault(str(row["document"]), {name: row[name] for name in ("title", "source", "folder") if name in row})
            one["passages"] = int(one.get("passages", 0)) + 1
        return dict(sorted(found.items()))


def parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """`items` in lists of at most `size`."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _name(framework: str, tenant: str) -> str:
    if not isinstance(tenant, str) or (tenant and not tenant.strip()):
        raise BadRequest(f"tenant = {tenant!r}: want a name, or nothing for the index without tenants; nothing was opened")
    return f"{framework}-{hashlib.sha256(tenant.encode()).hexdigest()[:32]}" if tenant else framework
