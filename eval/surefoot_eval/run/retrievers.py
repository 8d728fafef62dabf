"""Retrievers over a whole data set at once: dense (exact, and through Chroma), lexical (as published, and as shipped), fused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from surefoot import EmbedModel, Policy, Target
from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import TextSet
from surefoot_eval.run.vectors import Matrix, vectors
from surefoot_rag.retrieval.fusion import K1, POOL, B, fuse, fuse_ranks, query_tokens, tokens

__all__ = ["Found", "chroma", "dense_vectors", "embedder", "exact", "fused", "lexical"]

Found = dict[str, dict[str, float]]  # scores of documents by query id, the best first
BATCH = 1000  # vectors handed to Chroma at a time, below its limit everywhere


def embedder(name: str) -> EmbedModel:
    """An embedding model for measuring: texts beyond its window are cut, as the published figures do, and no clock runs against it."""
    cut = name.startswith("local:")
    return EmbedModel(Target(name, options=(("truncate", True),) if cut else ()), policy=Policy(deadline_s=None, first_token_s=None))


def dense_vectors(embed: EmbedModel, texts: TextSet, cache: Path | None) -> tuple[Matrix, Matrix]:
    """Vectors of the documents and of the queries."""
    documents = vectors(embed, [text.full for text in texts.documents], role="document", cache=cache)
    return documents, vectors(embed, [query.text for query in texts.queries], role="query", cache=cache)


def exact(texts: TextSet, documents: Matrix, queries: Matrix, *, depth: int = POOL) -> Found:
    """The best by cosine, every document compared."""
    return _best(texts, queries @ documents.T, depth)


def chroma(texts: TextSet, documents: Matrix, queries: Matrix, *, space: str, depth: int = POOL) -> Found:
    """The best by Chroma's index over the same vectors, with the settings and the stamp of `surefoot_rag.retrieval.chroma_backend`."""
    import chromadb
    from chromadb.config import Settings

    from surefoot_rag.retrieval.chroma_backend import STAMP

    client = chromadb.EphemeralClient(settings=Settings(anonymized_telemetry=False))
    name = f"selfcheck-{texts.name}"
    if name in {one if isinstance(one, str) else one.name for one in client.list_collections()}:
        client.delete_collection(name)
    collection = client.create_collection(name, embedding_function=None, metadata={STAMP: space, "hnsw:space": "cosine"})
    numbers = [str(at) for at in range(len(texts.documents))]
    for start in range(0, len(numbers), BATCH):
        collection.add(ids=numbers[start : start + BATCH], embeddings=documents[start : start + BATCH])
    found: Found = {}
    for start in range(0, len(texts.queries), BATCH):
        part = texts.queries[start : start + BATCH]
        got: Any = collection.query(
            query_embeddings=queries[start : start + BATCH], n_results=min(depth, len(numbers)), include=["distances"]
        )
        for query, ids, distances in zip(part, got["ids"], got["distances"], strict=True):
            found[query.id] = {texts.documents[int(at)].id: 1.0 - far for at, far in zip(ids, distances, strict=True)}
    client.delete_collection(name)
    return found


def lexical(texts: TextSet, *, words: Literal["published", "shipped"], depth: int = POOL) -> Found:
    """BM25 in Lucene's form; documents sharing no word with the query are left out.

    `published` takes Snowball stems, English stop words, k1 1.5 and b 0.75, as MTEB's bm25s row does; `shipped` words and settings of
    `surefoot_rag.retrieval.fusion`.
    """
    import bm25s

    cut, ask = (_snowball(),) * 2 if words == "published" else (tokens, query_tokens)
    k1, b = (1.5, 0.75) if words == "published" else (K1, B)
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    index.index([cut(text.full) for text in texts.documents], show_progress=False)
    known = set(index.vocab_dict)
    rows = []
    for query in texts.queries:
        asked = [word for word in ask(query.text) if word in known]
        rows.append(index.get_scores(asked) if asked else np.zeros(len(texts.documents), dtype=np.float32))
    found = _best(texts, np.stack(rows), depth)
    return {key: {document: score for document, score in scores.items() if score > 0} for key, scores in found.items()}


def fused(
    dense: Mapping[str, Mapping[str, float]],
    words: Mapping[str, Mapping[str, float]],
    *,
    weight: float,
    depth: int = 10,
    ranks: bool = False,
) -> Found:
    """`surefoot_rag.retrieval.fusion.fuse` (or `fuse_ranks`) for every query, the best `depth` kept."""
    mix = fuse_ranks if ranks else fuse
    return {key: dict(list(mix(dense[key], words[key], weight=weight).items())[:depth]) for key in dense}


def _snowball() -> Any:
    try:
        import bm25s
        import Stemmer
    except ImportError as exc:
        raise Misconfigured('the published BM25 needs PyStemmer: pip install "surefoot[eval]"') from exc
    stem = Stemmer.Stemmer("english")
    return lambda text: bm25s.tokenize(text, stopwords="en", stemmer=stem, return_ids=False, show_progress=False)[0]


def _best(texts: TextSet, scores: Any, depth: int) -> Found:
    """The `depth` best of each row; equal scores by document id, descending, as trec_eval breaks ties."""
    ids = np.array([text.id for text in texts.documents])
    back = np.argsort(ids)[::-1]
    found: Found = {}
    for query, row in zip(texts.queries, scores[:, back], strict=True):
        order = np.argsort(-row, kind="stable")[:depth]
        found[query.id] = {str(ids[back[at]]): float(row[at]) for at in order}
    return found
