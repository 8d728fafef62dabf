"""Retrieval figures of embedding models, or of BM25, on any BEIR folder: python -m surefoot_eval retrieve --data DIR --model NAME

MTEB's protocol: title and text in one, the queries judged in the split, all documents compared by cosine, a query's own id left out,
trec_eval's measures; texts beyond a local model's window are cut. The mean's interval is by the first relevant document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from surefoot_eval.data.formats import TextSet, beir
from surefoot_eval.run.retrievers import Found, dense_vectors, embedder, exact, lexical
from surefoot_eval.score.metrics import retrieval
from surefoot_eval.score.scores import Column
from surefoot_eval.score.stats import mean_interval

__all__ = ["figures", "main"]

MEASURES = ("nDCG@1", "nDCG@3", "nDCG@5", "nDCG@10", "nDCG@100", "AP@100", "R@5", "R@10", "R@100", "RR@10", "Success@1", "Success@5")
DEPTH = 100


def main(args: argparse.Namespace) -> int:
    """Print a table; returns 0. Raises Misconfigured for what cannot be read, naming file and line."""
    texts = beir(args.data, split=args.split, queries=args.queries)
    print(f"{args.data} {args.split}: {texts.fingerprint}\n")
    told: dict[str, dict[str, float | None]] = {}
    for model in args.model:
        found = figures(texts, model, cache=args.cache)
        told[model] = {name: column.mean for name, column in found.items()}
        groups = {query.id: min(query.relevant) for query in texts.queries}
        print(model)
        for name, column in found.items():
            print(f"  {name:10} {'none' if column.mean is None else f'{column.mean:.5f}'} {mean_interval(column.values, groups) or ''}")
    if args.json:
        args.json.write_text(json.dumps({"data": str(texts.fingerprint), "split": args.split, "models": told}, indent=1), encoding="utf-8")
    return 0


def figures(texts: TextSet, model: str, *, cache: Path | None = None) -> Mapping[str, Column]:
    """A column a measure; `model` is an embedding model, or "bm25" (Lucene's form, Snowball, k1 1.5, b 0.75)."""
    if model == "bm25":
        found = lexical(texts, words="published", depth=DEPTH + 1)
    else:
        embed = embedder(model)
        found = exact(texts, *dense_vectors(embed, texts, cache), depth=DEPTH + 1)
    return retrieval(_without_itself(found), texts.queries, MEASURES)


def _without_itself(found: Found) -> Found:
    return {key: {name: score for name, score in scores.items() if name != key} for key, scores in found.items()}
