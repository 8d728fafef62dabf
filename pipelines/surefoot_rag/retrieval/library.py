"""An index on disk: one Chroma collection a framework and tenant, stamped with its embedding space. What is in it is the only truth.

Each tenant has a collection of its own, so a question that forgets to say whose it is finds nothing of anybody's.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from surefoot import EmbedModel
from surefoot.errors import BadRequest, Misconfigured
from surefoot_rag.records import Passage, Scalar
from surefoot_rag.retrieval.filters import flat
from surefoot_rag.retrieval.lexical import Lexical

_log = logging.getLogger(__name__)

INDEX_DIR = Path(".surefoot/index")
STAMP = "surefoot_space"
OWNER = "surefoot_tenant"
FIELDS = frozenset({"document", "title", "start", "end", "source", "page"})  # of a Passage itself, not of its metadata
FOREIGN = frozenset({"document_id", "doc_id", "ref_doc_id"})  # LlamaIndex's own
PAGE = 5_000  # rows read from Chroma at a time: it names every row of an answer in one SQL statement, which takes 32,766 names at most


class _State(msgspec.Struct, frozen=True):
    """What the words of a collection are known to be: a new `version` whenever it changes, `is_whole` False while it does."""

    version: str
    is_whole: bool


class Library:
    """The passages of one tenant in one index, as one framework sees them; opened once, used for many questions.

    `create=False` raises Misconfigured where nothing was indexed yet. An index made with another embedding model is refused: vectors of two
    spaces may have the same length and still mean nothing to each other. `of(tenant)` opens another tenant's part.
    """

    def __init__(self, index_dir: str | Path, *, framework: str, embed: EmbedModel, create: bool = False, tenant: str = "") -> None:
        import chromadb
        from chromadb.config import Settings

        self.framework = framework
        self.embed = embed
        self.tenant = tenant
        self.path = Path(index_dir)
        folder = self.path / "chroma"
        if not create and not folder.is_dir():
            raise Misconfigured(f"no index in {self.path}: run  python -m surefoot_rag index --docs FOLDER --framework {framework}  first")
        folder.mkdir(parents=True, exist_ok=True)
        self.client = chromadb.PersistentClient(path=str(folder), settings=Settings(anonymized_telemetry=False))
        self.name = _name(framework, tenant)
        self.collection = self._collection(create=create)
        self._passages: dict[str, Passage] | None = None
        self._lexical: Lexical | None = None
        self._seen: _State | None = None
        self._lock = threading.RLock()
        self._others: dict[str, Library] = {}
        self.dense: Any = None  # the framework's own vector store, made once by its module

    def of(self, tenant: str | None, *, create: bool = False) -> Library:
        """The part of `tenant`; None means this one. Raises Misconfigured where nothing was indexed for it, unless `create`."""
        if tenant is None or tenant == self.tenant:
            return self
        if tenant not in self._others:
            self._others[tenant] = Library(self.path, framework=self.framework, embed=self.embed, create=create, tenant=tenant)
        return self._others[tenant]

    def _collection(self, *, create: bool) -> Any:
        names = {one if isinstance(one, str) else one.name for one in self.client.list_collections()}
        if self.name not in names:
            if not create:
                whose = f" and the tenant {self.tenant!r}" if self.tenant else ""
                command = f"python -m surefoot_rag index --docs FOLDER --framework {self.framework}" + (
                    f" --tenant {self.tenant}" if self.tenant else ""
                )
                raise Misconfigured(f"{self.path} holds no index for {self.framework}{whose}: run  {command}")
            stamp = {STAMP: self.embed.space, OWNER: self.tenant, "hnsw:space": "cosine"}
            return self.client.create_collection(self.name, embedding_function=None, metadata=stamp)
        collection = self.client.get_collection(self.name, embedding_function=None)
        stamp = collection.metadata or {}
        if stamp.get(STAMP) != self.embed.space:
            raise Misconfigured(
                f"{self.path} was indexed in the embedding space {stamp.get(STAMP)!r}, the model at hand is {self.embed.space!r}: use the "
                "model it was made with, or index into another folder"
            )
        return collection

    @property
    def passages(self) -> dict[str, Passage]:
        """Every passage by id, read from the collection once."""
        if self._passages is None:
            self._passages = {
                key: passage_of(key, text or "", meta or {})
                for rows in self._pages("documents", "metadatas")
                for key, text, meta in zip(rows["ids"], rows["documents"] or (), rows["metadatas"] or (), strict=True)
            }
        return self._passages

    @property
    def lexical(self) -> Lexical:
        """BM25 over the same passages: from disk, once for all threads; anew after any process has indexed."""
        with self._lock:
            state = self._state()
            if self._lexical is None or state != self._seen:
                self._passages, self._seen = None, state
                self._lexical = self._saved(state) or Lexical(self.passages.values())
                if state is None:  # an index made before this was kept
                    self._keep(self._lexical)
            return self._lexical

    def refresh(self) -> None:
        """Read the passages anew: after another process has indexed."""
        with self._lock:
            self._passages = self._lexical = None

    def first(self, keys: Iterable[str], count: int) -> list[Passage]:
        """The first `count` of these passages that are in the store now: what was deleted since is not served."""
        found: list[Passage] = []
        for part in parts(list(keys), count):
            rows = self.collection.get(ids=part, include=["documents", "metadatas"])
            of = dict(zip(rows["ids"], zip(rows["documents"], rows["metadatas"], strict=True), strict=True))
            found += (passage_of(key, of[key][0] or "", of[key][1] or {}) for key in part if key in of)
            if len(found) >= count:
                break
        return found[:count]

    @property
    def is_settled(self) -> bool:
        """Whether no run is changing the collection, or was ended in the middle of it."""
        state = self._state()
        return state is not None and state.is_whole

    def changing(self) -> None:
        """The collection is about to change: what is kept of its words holds no longer."""
        with self._lock:
            self._lexical = self._saved(self._state())  # its stems serve again
            self._write(_State(uuid.uuid4().hex, is_whole=False))

    def changed(self) -> None:
        """The collection has changed: keep its words for the next to open it."""
        with self._lock:
            self._passages = None
            self._lexical = Lexical(self.passages.values(), known=self._lexical)
            self._keep(self._lexical)

    def _keep(self, lexical: Lexical) -> None:
        state = _State(uuid.uuid4().hex, is_whole=True)
        try:
            lexical.save(self._kept(state.version))
            self._write(state)
            for old in self._kept("").parent.glob(f"{self.name}@*"):
                if old != self._kept(state.version):
                    shutil.rmtree(old, ignore_errors=True)
        except OSError as error:  # read-only, or full: it is made again at the next opening
            _log.warning("%s: the words of the index cannot be kept: %s", self.path, error)
        self._seen = self._state()

    def _saved(self, state: _State | None) -> Lexical | None:
        if state is None or not state.is_whole:
            return None
        try:
            return Lexical.load(self._kept(state.version))
        except (OSError, ValueError) as error:
            _log.warning("%s: the kept words of the index cannot be read and are made again: %s", self.path, error)
            return None

    def _kept(self, version: str) -> Path:
        return self.path / "lexical" / f"{self.name}@{version}"

    def _state(self) -> _State | None:
        try:
            return msgspec.json.decode((self.path / "lexical" / f"{self.name}.json").read_bytes(), type=_State)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self, state: _State) -> None:
        file = self.path / "lexical" / f"{self.name}.json"
        file.parent.mkdir(exist_ok=True)
        fresh = file.with_suffix(f".{state.version}")
        fresh.write_bytes(msgspec.json.encode(state))
        fresh.replace(file)

    def present(self) -> dict[str, dict[str, Scalar]]:
        """The metadata of every passage in the index, by id, without what the frameworks add."""
        return {
            key: _own(meta or {})
            for rows in self._pages("metadatas")
            for key, meta in zip(rows["ids"], rows["metadatas"] or (), strict=True)
        }

    def _pages(self, *include: str) -> Iterator[Any]:
        """All rows of the collection, at most PAGE in each answer."""
        offset = 0
        while (rows := self.collection.get(include=list(include), limit=PAGE, offset=offset))["ids"]:
            yield rows
            offset += len(rows["ids"])

    def store(self, passages: Sequence[Passage], vectors: Any, metadatas: Sequence[Mapping[str, Scalar]]) -> None:
        """Keep passages with their vectors (one row each) and metadata; what stands under the same ids is replaced."""
        for part in parts(range(len(passages)), self.client.get_max_batch_size()):
            self.collection.upsert(
                ids=[passages[i].id for i in part],
                embeddings=[vectors[i] for i in part],
                documents=[passages[i].text for i in part],
                metadatas=[dict(metadatas[i]) for i in part],
            )

    def forget(self, ids: Iterable[str]) -> None:
        """Delete these passages."""
        for part in parts(sorted(ids), self.client.get_max_batch_size()):
            self.collection.delete(ids=part)


def passage_of(key: str, text: str, meta: dict[str, Any]) -> Passage:
    """The passage that `filters.flat` flattened."""
    return Passage(
        id=key,
        document_id=str(meta["document"]),
        title=str(meta["title"]),
        text=text,
        start=int(meta["start"]),
        end=int(meta["end"]),
        source=str(meta["source"]),
        page=int(meta["page"]) if "page" in meta else None,
        metadata={name: value for name, value in _own(meta).items() if name not in FIELDS},
    )


def parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """`items` in lists of at most `size`."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def is_unchanged(passage: Passage, stored: Mapping[str, Scalar]) -> bool:
    """Whether the index holds the passage's metadata as it is now (its text is in its id)."""
    return flat(passage) == stored


def _own(meta: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if name not in FOREIGN and not name.startswith("_")}


def _name(framework: str, tenant: str) -> str:
    if not isinstance(tenant, str) or (tenant and not tenant.strip()):
        raise BadRequest(f"tenant = {tenant!r}: want a name, or nothing for the index without tenants; nothing was opened")
    return f"{framework}-{hashlib.sha256(tenant.encode()).hexdigest()[:32]}" if tenant else framework
