"""The kind `index` of durable jobs: documents into Chroma, by any number of workers.

    q.submit("index", corpus.load("docs"), model="default", index=".surefoot/index")

What is in the store is the checkpoint: ids of passages are made of their text, so a chunk that is done again embeds only what is missing.
An embedded Chroma (a folder) is written by one process at a time, the others wait; with a Chroma server all write at once.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from surefoot import EmbedModel, runtime
from surefoot.errors import BadRequest, Misconfigured
from surefoot.jobs.bodies import packed_error
from surefoot.jobs.kinds import ItemResult, Put
from surefoot.jobs.models import ModelSource
from surefoot.jobs.records import OpenChunk
from surefoot.models.requests import scope
from surefoot_rag.documents import corpus
from surefoot_rag.documents.language import language_of
from surefoot_rag.frameworks import framework
from surefoot_rag.records import Document
from surefoot_rag.retrieval.backends import INDEX_DIR, is_address
from surefoot_rag.retrieval.chroma_backend import ChromaBackend
from surefoot_rag.retrieval.library import Library

FRAMEWORKS = ("langchain", "llamaindex")
WAIT_S = 3600.0  # for the others who write the same folder
KEYS = ("id", "_id", "doc_id")  # what a record's own name may be called


class IndexKind:
    """Items are Documents, or mappings {"id": ..., "text": ..., "title": ..., "metadata": {...}} (BEIR's corpus.jsonl, too).

    Options: `index`, a folder or the address of a Chroma server (its key is read from CHROMA_API_KEY where the work is done), `framework`
    (langchain or llamaindex), `size_chars` and `overlap_chars`. The job's tenant has an index of its own.
    """

    asks = "embed"
    columns = ("document",)

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options. Raises Misconfigured; a password does not stand in an address that is written down."""
        said: dict[str, Any] = {
            "index": str(INDEX_DIR),
            "framework": "langchain",
            "size_chars": corpus.SIZE_CHARS,
            "overlap_chars": corpus.OVERLAP_CHARS,
        }
        if unknown := sorted(options.keys() - said):
            raise Misconfigured(f"index: unknown option {unknown[0]!r}; known are {', '.join(said)}")
        said |= options
        said["index"] = str(said["index"])
        if said["framework"] not in FRAMEWORKS:
            raise Misconfigured(f"framework = {said['framework']!r}: known are {', '.join(FRAMEWORKS)}")
        if is_address(said["index"]) and urlsplit(said["index"]).username is not None:
            raise Misconfigured("index: a job keeps no passwords; leave it out of the address and set CHROMA_API_KEY for whoever works")
        sample = Document(id="x", title="x", text="x", source="x", language="und")
        corpus.passages(sample, size_chars=said["size_chars"], overlap_chars=said["overlap_chars"])
        return said

    def item(self, given: Any) -> Any:
        """One document as JSON values."""
        document = given if isinstance(given, Document) else _document(given)
        if not document.text.strip():
            raise BadRequest(f"document {document.id!r} holds no text")
        return msgspec.to_builtins(document)

    def open(self, chunk: OpenChunk, models: ModelSource, limited: Any) -> IndexRunner:
        """The runner over the job's embedding model."""
        return IndexRunner(limited(models.model("embed", chunk.spec.model)))

    def value(self, body: bytes) -> Any:
        """The document's id."""
        return msgspec.json.decode(body)

    def asked(self, item: Any) -> dict[str, Any]:
        """The document, for a file of results."""
        return {"document": item["id"]}

    def row(self, value: Any) -> dict[str, Any]:
        """Nothing beyond."""
        return {"document": value}

    def from_path(self, path: Path, options: Mapping[str, Any]) -> tuple[Iterable[Any], dict[str, Any]]:
        """The documents of a folder or a file; a .jsonl holds one document a line."""
        del options
        if path.suffix.lower() in {".jsonl", ".ndjson"}:
            from surefoot.jobs.files import read_items

            return read_items(path), {}
        return corpus.load(path, unreadable="skip"), {}


class IndexRunner:
    """Adds a chunk's documents; what is there already costs nothing."""

    def __init__(self, model: EmbedModel) -> None:
        self._model = model

    async def run(self, chunk: OpenChunk, put: Put) -> str:
        """Add every document of the chunk; one with a passage that the model refuses is an error that names it."""
        for result in await runtime.in_thread(self._add, chunk):
            put(result)
        return ""

    def _add(self, chunk: OpenChunk) -> list[ItemResult]:
        spec, options = chunk.spec, chunk.spec.options
        documents = [msgspec.convert(item, Document) for _, item in chunk.items]
        priority: Literal["batch", "interactive"] = "batch" if chunk.priority else "interactive"
        with (
            scope(tenant=chunk.tenant or None, tags={"job": chunk.job, **spec.tags}, priority=priority, deadline_s=spec.deadline_s),
            _only_writer(options["index"]),
        ):
            library = Library(options["index"], framework=options["framework"], embed=self._model, create=True, tenant=chunk.tenant)
            try:
                sizes = {"size_chars": options["size_chars"], "overlap_chars": options["overlap_chars"]}
                done = framework(options["framework"]).add(library, documents, settle=False, **sizes)
            finally:
                if isinstance(library.backend, ChromaBackend):
                    library.backend.close()
        refused: dict[str, list[str]] = defaultdict(list)
        for one in done.refused:
            refused[one.passage.document_id].append(f"[{one.passage.start}:{one.passage.end}] {one.reason}")
        return [_result(n, document.id, refused[document.id]) for (n, _), document in zip(chunk.items, documents, strict=True)]


def _result(n: int, document: str, refused: list[str]) -> ItemResult:
    if not refused:
        return ItemResult(n, ok=True, body=msgspec.json.encode(document))
    error = BadRequest(f"{document}: {len(refused)} passages are not in the index, the first is {refused[0]}")
    return ItemResult(n, ok=False, body=packed_error(error))


@contextmanager
def _only_writer(index: str) -> Iterator[None]:
    """Hold the folder of an embedded Chroma, which several processes may not write at once; a process that dies lets go of it.

    SQLite's own lock on a file of its own, as it is there on every system.
    """
    if is_address(index):
        yield
        return
    place = Path(index)
    place.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(place / "writer.db", timeout=WAIT_S, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def _document(given: Any) -> Document:
    if not isinstance(given, Mapping) or not isinstance(given.get("text"), str):
        raise BadRequest(f"a document is a Document or {{'id': ..., 'text': ...}}, not {type(given).__name__}")
    said = dict(given)
    name = next((said.pop(key) for key in KEYS if key in said), None)
    if name is None or not str(name).strip():
        raise BadRequest(f"a document has an id ({', '.join(KEYS)}), so that it can be replaced; this one has {', '.join(map(str, given))}")
    text, title = str(said.pop("text")), str(said.pop("title", "") or name)
    source, language = str(said.pop("source", name)), str(said.pop("language", ""))
    metadata = said.pop("metadata", {})
    if unknown := sorted(map(str, said)):
        raise BadRequest(f"a document has no field {unknown[0]!r}: put it into 'metadata'")
    fields = {"id": str(name), "title": title, "text": text, "source": source, "language": language or language_of(text)}
    try:
        return msgspec.convert(fields | {"metadata": metadata}, Document)
    except msgspec.ValidationError as error:
        raise BadRequest(f"document {name!r}: {error}") from error
