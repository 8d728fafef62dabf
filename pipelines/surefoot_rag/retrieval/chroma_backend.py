"""Chroma: a folder of this machine, a server, or Chroma Cloud; one collection a framework and tenant, stamped with its embedding space."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from surefoot.credentials import at_hand, by_reference
from surefoot.errors import AuthFailed, ConnectionLost, Misconfigured, SurefootError
from surefoot.runtime import run
from surefoot.secret import Secret
from surefoot_rag.records import Passage, Scalar
from surefoot_rag.retrieval.backends import State, is_address, own, passage_of

__all__ = ["CLOUD", "ChromaBackend"]

STAMP, OWNER, VERSION, WHOLE = "surefoot_space", "surefoot_tenant", "surefoot_version", "surefoot_whole"
PAGE = 5_000  # rows read at a time: it names every row of an answer in one SQL statement, which takes 32,766 names at most
CLOUD = "api.trychroma.com"
KEY_VARIABLES = ("CHROMA_API_KEY",)
FEW = 200  # passages whose vectors are read and compared one by one: quicker than the index can leave out all others
FRESH_S = 1.0  # a server is asked no more often whether somebody else has indexed


class ChromaBackend:
    """One collection. With `create=False` a missing one is Misconfigured, said with the command that makes it."""

    can_name = True

    def __init__(
        self, index: str | Path, name: str, *, space: str, tenant: str, framework: str, create: bool, key: str | Secret | None = None
    ) -> None:
        self.index = index
        self.name = name
        self.is_remote = is_address(index)
        self._command = f"python -m surefoot_rag index --docs FOLDER --framework {framework}" + (f" --tenant {tenant}" if tenant else "")
        self._stamp = {STAMP: space, OWNER: tenant}
        self._seen: tuple[float, State | None] = (float("-inf"), None)
        with self._told():
            self.client = _server(str(index), key) if self.is_remote else self._embedded(Path(index), create=create)
            self.batch = int(self.client.get_max_batch_size())
            self.collection = self._collection(create=create)

    def _embedded(self, folder: Path, *, create: bool) -> Any:
        import chromadb
        from chromadb.config import Settings

        place = folder / "chroma"
        if not create and not place.is_dir():
            raise Misconfigured(f"no index in {folder}: run  {self._command}  first")
        place.mkdir(parents=True, exist_ok=True)  # and resolved: Chroma keeps clients by their path, whatever folder one is in
        return chromadb.PersistentClient(path=str(place.resolve()), settings=Settings(anonymized_telemetry=False))

    def _collection(self, *, create: bool) -> Any:
        names = {one if isinstance(one, str) else one.name for one in _all_collections(self.client)}
        if self.name not in names:
            if not create:
                whose = f" and the tenant {self._stamp[OWNER]!r}" if self._stamp[OWNER] else ""
                raise Misconfigured(f"{_shown(self.index)} holds no index for this framework{whose}: run  {self._command}")
            made = {**self._stamp, "hnsw:space": "cosine"}
            try:
                return self.client.create_collection(self.name, embedding_function=None, metadata=made)
            except Exception:  # the boundary: Chroma's own, or its server's words for the same
                if self.name not in {one if isinstance(one, str) else one.name for one in _all_collections(self.client)}:
                    raise  # else another process made it meanwhile
        collection = self.client.get_collection(self.name, embedding_function=None)
        found = (collection.metadata or {}).get(STAMP)
        if found != self._stamp[STAMP]:
            raise Misconfigured(
                f"{_shown(self.index)} was indexed in the embedding space {found!r}, the model at hand is {self._stamp[STAMP]!r}: use the "
                "model it was made with, or index into another folder"
            )
        return collection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Chroma's errors as ours. Raises ConnectionLost, AuthFailed or Misconfigured."""
        from chromadb.errors import ChromaError

        try:
            yield
        except SurefootError:
            raise
        except ChromaError as error:
            if getattr(error, "code", lambda: 0)() in {401, 403}:
                raise AuthFailed(
                    f"{_shown(self.index)} refuses the key: set {KEY_VARIABLES[0]} to one it takes", target=_shown(self.index)
                ) from error
            raise Misconfigured(f"{_shown(self.index)}: Chroma refuses: {type(error).__name__}: {_line(error)}") from error
        except (OSError, ValueError) as error:
            if not self.is_remote:
                raise
            raise ConnectionLost(
                f"{_shown(self.index)}: no Chroma server answers there: {_line(error)}", target=_shown(self.index)
            ) from error
        except Exception as error:  # the boundary: what is under Chroma's client raises its own
            if not self.is_remote or type(error).__module__.partition(".")[0] not in {"httpx", "httpcore", "requests", "urllib3"}:
                raise
            raise ConnectionLost(f"{_shown(self.index)}: the Chroma server is gone: {_line(error)}", target=_shown(self.index)) from error

    def count(self) -> int:
        """Passages held."""
        with self._told():
            return int(self.collection.count())

    def rows(self, documents: Collection[str] | None = None) -> Iterator[tuple[str, dict[str, Scalar]]]:
        """Id and metadata of every passage, or of those of some documents."""
        wheres = [None] if documents is None else [{"document": {"$in": part}} for part in _parts(sorted(documents), 500)]
        for where in wheres:
            for page in self._pages("metadatas", where=where):
                yield from ((key, own(meta or {})) for key, meta in zip(page["ids"], page["metadatas"] or (), strict=True))

    def passages(self) -> Iterator[Passage]:
        """Every passage."""
        for page in self._pages("documents", "metadatas"):
            for key, text, meta in zip(page["ids"], page["documents"] or (), page["metadatas"] or (), strict=True):
                yield passage_of(key, text or "", meta or {})

    def _pages(self, *include: str, where: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """All rows, at most PAGE in each answer."""
        offset = 0
        while True:
            with self._told():
                rows = self.collection.get(include=list(include), limit=PAGE, offset=offset, where=where)
            if not rows["ids"]:
                return
            yield rows
            offset += len(rows["ids"])

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Those of these passages that are there now."""
        found: dict[str, Passage] = {}
        for part in _parts(ids, PAGE):
            with self._told():
                rows = self.collection.get(ids=part, include=["documents", "metadatas"])
            for key, text, meta in zip(rows["ids"], rows["documents"], rows["metadatas"], strict=True):
                found[key] = passage_of(key, text or "", meta or {})
        return found

    def nearest(self, vector: Any, count: int, *, among: Sequence[str] | None = None) -> dict[str, float]:
        """The nearest passages; of a few that are named, by their vectors themselves."""
        if among is not None and len(among) <= FEW and not self.is_remote:
            return _exact(vector, self.vectors(among), count)
        chosen = {} if among is None else {"ids": list(among)}
        with self._told():
            rows = self.collection.query(query_embeddings=[vector], n_results=count, include=["distances"], **chosen)
        return {key: 1.0 - float(distance) for key, distance in zip(rows["ids"][0], rows["distances"][0], strict=True)}

    def vectors(self, ids: Sequence[str]) -> dict[str, tuple[str, Any]]:
        """Text and vector of each passage that is there."""
        found: dict[str, tuple[str, Any]] = {}
        for part in _parts(ids, PAGE):
            with self._told():
                rows = self.collection.get(ids=part, include=["documents", "embeddings"])
            found.update(zip(rows["ids"], zip(rows["documents"], rows["embeddings"], strict=True), strict=True))
        return found

    def put(self, passages: Sequence[Passage], vectors: Sequence[Any], metadatas: Sequence[Mapping[str, Scalar]]) -> None:
        """Keep passages with their vectors."""
        for part in _parts(range(len(passages)), self.batch):
            with self._told():
                self.collection.upsert(
                    ids=[passages[i].id for i in part],
                    embeddings=[vectors[i] for i in part],
                    documents=[passages[i].text for i in part],
                    metadatas=[dict(metadatas[i]) for i in part],
                )

    def amend(self, ids: Sequence[str], metadatas: Sequence[Mapping[str, Scalar | None]]) -> None:
        """Correct metadata; the store merges them, so that what goes is told as None."""
        for part in _parts(range(len(ids)), self.batch):
            with self._told():
                self.collection.update(ids=[ids[i] for i in part], metadatas=[dict(metadatas[i]) for i in part])

    def delete(self, ids: Sequence[str]) -> None:
        """Delete passages."""
        for part in _parts(ids, self.batch):
            with self._told():
                self.collection.delete(ids=part)

    def state(self) -> State | None:
        """Of a folder: a file beside it. Of a server: in the collection's metadata, where every machine reads it."""
        if not self.is_remote:
            try:
                return msgspec.json.decode(self._file.read_bytes(), type=State)
            except (OSError, msgspec.MsgspecError):
                return None
        at, seen = self._seen
        if time.monotonic() - at > FRESH_S:
            with self._told():
                meta = self.client.get_collection(self.name, embedding_function=None).metadata or {}
            seen = State(str(meta[VERSION]), bool(meta[WHOLE])) if VERSION in meta else None
            self._seen = (time.monotonic(), seen)
        return seen

    def close(self) -> None:
        """Let go of the database; whoever opens it anew reads what others have written meanwhile."""
        with self._told():
            self.client.close()

    def write_state(self, state: State) -> None:
        """Say it to all that read. Raises OSError where the folder cannot be written."""
        if self.is_remote:
            with self._told():  # without hnsw:space, which cannot be changed and need not be said again
                self.collection.modify(metadata={**self._stamp, VERSION: state.version, WHOLE: state.is_whole})
            self._seen = (time.monotonic(), state)
            return
        self._file.parent.mkdir(exist_ok=True)
        fresh = self._file.with_suffix(f".{state.version}")
        fresh.write_bytes(msgspec.json.encode(state))
        fresh.replace(self._file)

    @property
    def _file(self) -> Path:
        return Path(self.index) / "lexical" / f"{self.name}.json"


def _server(address: str, given: str | Secret | None) -> Any:
    """A client for `http(s)://[user:password@]host[:port][?tenant=...&database=...]`."""
    import chromadb
    from chromadb.config import Settings

    url, quiet = urlsplit(address), Settings(anonymized_telemetry=False)
    asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
    if wrong := sorted(asked.keys() - {"tenant", "database"}):
        raise Misconfigured(f"index {_shown(address)}: unknown {', '.join(wrong)}; known are tenant and database")
    if url.path.strip("/"):
        raise Misconfigured(f"index {_shown(address)}: want the server alone, without {url.path}; name tenant and database as ?tenant=...")
    key = _key(given)
    if url.hostname == CLOUD:
        if not key:
            raise Misconfigured(f"index {_shown(address)}: Chroma Cloud wants a key; set {KEY_VARIABLES[0]}")
        return chromadb.CloudClient(tenant=asked.get("tenant"), database=asked.get("database"), api_key=key, settings=quiet)
    headers = {"x-chroma-token": key} if key else {}
    if url.username is not None:
        said = f"{unquote(url.username)}:{unquote(url.password or '')}"
        headers["authorization"] = f"Basic {b64encode(said.encode()).decode()}"
    is_safe = url.scheme == "https"
    port = url.port or (443 if is_safe else 8000)
    return chromadb.HttpClient(host=url.hostname or "", port=port, ssl=is_safe, headers=headers, settings=quiet, **asked)


def _key(given: str | Secret | None) -> str:
    """The key itself: given, behind a reference such as "vault:...", or in CHROMA_API_KEY; "" if there is none."""
    if isinstance(given, Secret):
        return given.reveal()
    if given is None:
        found = at_hand(KEY_VARIABLES)
        given = f"env:{found[0]}" if found else ""
    if ":" not in given:
        return given
    secret = run(by_reference(given).get())
    return secret.reveal() if secret is not None else ""


def _exact(vector: Any, rows: Mapping[str, tuple[str, Any]], count: int) -> dict[str, float]:
    import numpy as np

    if not rows:
        return {}
    matrix = np.stack([np.asarray(one, dtype=np.float32) for _, one in rows.values()])
    cosines = (matrix @ vector) / np.maximum(np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector), 1e-12)
    best = sorted(zip(rows, cosines.tolist(), strict=True), key=lambda pair: -pair[1])
    return dict(best[:count])


def _all_collections(client: Any) -> Iterator[Any]:
    offset = 0
    while found := client.list_collections(limit=1000, offset=offset):
        yield from found
        offset += len(found)


def _shown(index: object) -> str:
    """An address without who asks."""
    before, at, after = str(index).rpartition("@")
    return f"{before.partition('://')[0]}://{after}" if at and "://" in before else str(index)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
