"""What indexing costs beside encoding alone: python -m surefoot_eval index --data FOLDER [--documents N]

The passages of SciFact's documents are encoded by sentence-transformers alone, then the documents are indexed by the pipeline (cut,
compared with what is there, embedded through EmbedModel, stored in Chroma). The pipeline's own share is what it spends outside the encoder:
1 - seconds inside encode() / seconds of index(), both of the same run. Then the index is brought up to date with nothing changed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.errors import Misconfigured
from surefoot.providers.local import embed as _local_embed
from surefoot_eval.data.formats import beir
from surefoot_eval.run.retrievers import embedder
from surefoot_rag.documents.corpus import passages
from surefoot_rag.documents.language import language_of
from surefoot_rag.frameworks import MODULES, framework
from surefoot_rag.records import Document
from surefoot_rag.retrieval.library import Library

MODEL = "all-MiniLM-L6-v2"
SHARE = 0.10  # the goal
AGAIN_S = 5.0


class Watch:
    """Adds up the seconds, of wall clock and of this process's CPU, spent inside `timed` blocks."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count this block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu


def main(args: argparse.Namespace) -> int:
    """Print the table; 1 if a goal is missed."""
    names = sorted(MODULES) if args.framework == "both" else [args.framework]
    documents = _documents(args.data, args.documents)
    model: Any = _local_embed.load(MODEL)
    inner = model._model  # noqa: SLF001 - the very SentenceTransformer that the pipeline uses, loaded once
    missed = 0
    print(f"{len(documents):,} documents, {sum(len(passages(one)) for one in documents):,} passages, {MODEL}")
    for name in names:
        missed += _measure(name, documents, inner)
    return int(missed > 0)


def _measure(name: str, documents: list[Document], inner: Any) -> int:
    alone, whole, inside, again = Watch(), Watch(), Watch(), Watch()
    embed = embedder(f"local:{MODEL}")
    embed.embed(["warm"])
    with tempfile.TemporaryDirectory() as folder:
        library = Library(folder, framework=name, embed=embed, create=True)
        texts = [one.text for document in documents for one in passages(document)]
        with alone.timed():
            inner.encode(texts, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False, batch_size=32)
        calls = _Counted(inner, inside)
        with whole.timed():
            framework(name).index(library, documents, progress=False)
        calls.undo()
        before = calls.texts
        counted = _Counted(inner, Watch())
        with again.timed():
            fresh = Library(folder, framework=name, embed=embed)
            framework(name).index(fresh, documents, progress=False)
        counted.undo()
        stored = fresh.backend.count()
    share_wall, share_cpu = 1 - inside.wall_s / whole.wall_s, 1 - inside.cpu_s / whole.cpu_s
    print(f"\n{name}: {before:,} texts embedded, {stored:,} passages stored")
    for label, one in (("sentence-transformers alone", alone), ("index(), all of it", whole), ("  of it inside encode()", inside)):
        print(f"  {label:28} {one.wall_s:8.1f} s wall {one.cpu_s:8.1f} s CPU")
    print(f"  index() / alone              {whole.wall_s / alone.wall_s:8.3f}       {whole.cpu_s / alone.cpu_s:10.3f}")
    print(f"  the pipeline's own share     {share_wall:8.1%}        {share_cpu:9.1%}   (goal: at most {SHARE:.0%})")
    print(f"  again, nothing changed       {again.wall_s:8.1f} s wall {again.cpu_s:8.1f} s CPU, {counted.texts} texts embedded", end="")
    print(f"   (goal: 0 texts, under {AGAIN_S:.0f} s)", flush=True)
    return int(min(share_wall, share_cpu) > SHARE) + int(counted.texts > 0) + int(min(again.wall_s, again.cpu_s) > AGAIN_S)


class _Counted:
    """The encoder's `encode`, counted and timed until `undo()`."""

    def __init__(self, inner: Any, watch: Watch) -> None:
        self._inner = inner
        self.original = inner.encode
        self.texts = 0

        def encode(texts: list[str], **options: Any) -> np.ndarray[Any, Any]:
            self.texts += len(texts)
            with watch.timed():
                return self.original(texts, **options)  # type: ignore[no-any-return]

        inner.encode = encode

    def undo(self) -> None:
        """Back to the original."""
        del self._inner.encode


def _documents(folder: Path, limit: int | None) -> list[Document]:
    texts = beir(folder / "scifact").documents[:limit]
    found = [
        Document(
            id=one.id, title=one.title, text=one.text, source=f"{one.id}.txt", language=language_of(one.text), metadata={"type": "text"}
        )
        for one in texts
    ]
    if not found:
        raise Misconfigured("--documents 0: nothing to index")
    return found
