"""An index on disk: one Chroma collection a framework, stamped with its embedding space. What is in it is the only truth.

Passage ids are made of document, span and content, so the difference between the ids wanted and the ids present is all there is to do:
unchanged documents cost nothing, deleted ones disappear, and an interrupted run is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.records import Passage
from pipelines.retrieval import Lexical
from surefoot import EmbedModel
from surefoot.errors import Misconfigured

INDEX_DIR = Path(".surefoot/index")
STEP = 16  # passages embedded and stored at a time: a few seconds of work, all that an interruption can cost
STAMP = "surefoot_space"


class Library:
    """The passages of one index, as one framework sees them; opened once, used for many questions.

    `create=False` raises Misconfigured where nothing was indexed yet. An index made with another embedding model is refused: vectors of two
    spaces may have the same length and still mean nothing to each other.
    """

    def __init__(self, index_dir: str | Path, *, framework: str, embed: EmbedModel, create: bool = False) -> None:
        import chromadb
        from chromadb.config import Settings

        self.framework = framework
        self.embed = embed
        self.path = Path(index_dir)
        folder = self.path / "chroma"
        if not create and not folder.is_dir():
            raise Misconfigured(f"no index in {self.path}: run  python -m pipelines index --docs FOLDER --framework {framework}  first")
        folder.mkdir(parents=True, exist_ok=True)
        self.client = chromadb.PersistentClient(path=str(folder), settings=Settings(anonymized_telemetry=False))
        self.name = framework
        self.collection = self._collection(create=create)
        self._passages: dict[str, Passage] | None = None
        self._lexical: Lexical | None = None
        self.dense: Any = None  # the framework's own vector store, made once by its module

    def _collection(self, *, create: bool) -> Any:
        names = {one if isinstance(one, str) else one.name for one in self.client.list_collections()}
        if self.name not in names:
            if not create:
                command = f"python -m pipelines index --docs FOLDER --framework {self.framework}"
                raise Misconfigured(f"{self.path} holds no index for {self.framework}: run  {command}")
            return self.client.create_collection(
                self.name, embedding_function=None, metadata={STAMP: self.embed.space, "hnsw:space": "cosine"}
            )
        collection = self.client.get_collection(self.name, embedding_function=None)
        stamp = (collection.metadata or {}).get(STAMP)
        if stamp != self.embed.space:
            raise Misconfigured(
                f"{self.path} was indexed in the embedding space {stamp!r}, the model at hand is {self.embed.space!r}: use the model it "
                "was made with, or index into another folder"
            )
        return collection

    @property
    def passages(self) -> dict[str, Passage]:
        """Every passage by id, read from the collection once."""
        if self._passages is None:
            rows = self.collection.get(include=["documents", "metadatas"])
            self._passages = {
                key: passage_of(key, text or "", meta or {})
                for key, text, meta in zip(rows["ids"], rows["documents"] or (), rows["metadatas"] or (), strict=True)
            }
        return self._passages

    @property
    def lexical(self) -> Lexical:
        """BM25 over the same passages."""
        if self._lexical is None:
            self._lexical = Lexical(list(self.passages.values()))
        return self._lexical

    def missing(self, wanted: Sequence[Passage]) -> list[Passage]:
        """The passages of `wanted` that are not in the index yet."""
        present = set(self.collection.get(include=[])["ids"])
        return [passage for passage in wanted if passage.id not in present]

    def forget_others(self, wanted: Iterable[Passage]) -> int:
        """Delete every passage that is not in `wanted`; returns how many."""
        gone = sorted(set(self.collection.get(include=[])["ids"]) - {passage.id for passage in wanted})
        for part in _parts(gone, self.client.get_max_batch_size()):
            self.collection.delete(ids=part)
        self._passages = self._lexical = None
        return len(gone)


def metadata_of(passage: Passage) -> dict[str, str | int | float | bool]:
    """A passage's record as flat metadata, which is all that vector stores keep."""
    flat: dict[str, str | int | float | bool] = dict(passage.metadata)
    flat |= {
        "document": passage.document_id,
        "title": passage.title,
        "start": passage.start,
        "end": passage.end,
        "source": passage.source,
    }
    if passage.page is not None:
        flat["page"] = passage.page
    return flat


def passage_of(key: str, text: str, meta: dict[str, Any]) -> Passage:
    """The passage that `metadata_of` flattened."""
    own = {"document", "title", "start", "end", "source", "page", "document_id", "doc_id", "ref_doc_id"}  # the last three are LlamaIndex's
    rest = {name: value for name, value in meta.items() if name not in own and not name.startswith("_")}
    return Passage(
        id=key,
        document_id=str(meta["document"]),
        title=str(meta["title"]),
        text=text,
        start=int(meta["start"]),
        end=int(meta["end"]),
        source=str(meta["source"]),
        page=int(meta["page"]) if "page" in meta else None,
        metadata=rest,
    )


def steps(passages: Sequence[Passage], *, progress: bool) -> Iterator[list[Passage]]:
    """`passages` in steps, with a progress bar counting passages."""
    from tqdm import tqdm

    bar = tqdm(total=len(passages), unit="passage", desc="indexing", disable=not progress or not passages, dynamic_ncols=True)
    with bar:
        for part in _parts(passages, STEP):
            yield part
            bar.update(len(part))


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
