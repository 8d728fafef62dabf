"""Does the harness measure right? It reproduces published numbers, or says which it cannot: python -m surefoot_eval selfcheck --data FOLDER

The numbers and their tolerances come from `published.json` beside the data. What needs a package that is not installed is told as
left out, never as passed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import TextSet, beir
from surefoot_eval.run.retrievers import chroma, dense_vectors, embedder, exact, lexical
from surefoot_eval.score.metrics import GROUNDED, groundedness, retrieval
from surefoot_eval.score.stats import POSITIVE, kappa, mean_interval

MINILM = "all-MiniLM-L6-v2"
MEASURE = "nDCG@10"
GOALS = {"AUC": 0.94, "kappa": 0.70}  # of groundedness against people


class CheckedFigure(NamedTuple):
    """One line: what was found, what was to be found; `ok` is None where it could not be measured."""

    name: str
    found: str
    wanted: str
    ok: bool | None


def main(args: argparse.Namespace) -> int:
    """Print every check; returns 1 if one failed. What was left out fails only with `--all`."""
    published = _published(args.data)
    checks: list[CheckedFigure] = []
    parts = {"lexical": lexical_checks, "dense": dense_checks, "groundedness": groundedness_checks}
    for part in [parts[args.only]] if args.only else parts.values():
        for check in part(args.data, published, args.cache):
            mark = {True: "ok", False: "FAILED", None: "left out"}[check.ok]
            print(f"{mark:9} {check.name}: {check.found} (wanted {check.wanted})", flush=True)
            checks.append(check)
    failed, absent = sum(one.ok is False for one in checks), sum(one.ok is None for one in checks)
    print(f"\n{len(checks) - failed - absent} ok, {failed} failed, {absent} left out")
    return int(failed > 0 or (args.all and absent > 0))


def sets(folder: Path) -> Iterator[tuple[str, TextSet]]:
    """The sets with published dense rows, each in MTEB's protocol."""
    yield "scifact", beir(folder / "scifact")
    for language in ("en", "tr"):
        yield (
            f"xquad-{language}",
            beir(folder / f"xquad-{language}", split="test-mteb", queries="queries.mteb.jsonl", language=language),
        )


def lexical_checks(folder: Path, published: dict[str, Any], cache: Path | None) -> Iterator[CheckedFigure]:
    """BM25 on SciFact against MTEB's row."""
    del cache
    texts = beir(folder / "scifact")
    print(f"          scifact test: {texts.fingerprint}")
    wanted = published["scifact"]["published"]["bm25s (mteb 1.20)"]["ndcg@10"]
    within = published["scifact"]["tolerance"]["bm25"]
    yield _near("BM25, Snowball, scifact", texts, lexical(texts, words="published"), wanted, within)


def dense_checks(folder: Path, published: dict[str, Any], cache: Path | None) -> Iterator[CheckedFigure]:
    """MiniLM on SciFact and XQuAD: through EmbedModel by exact search, and through EmbedModel and Chroma."""
    within = published["scifact"]["tolerance"]["dense"]
    try:
        embed = embedder(f"local:{MINILM}")
    except Misconfigured as why:
        for name in ("scifact", "xquad-en", "xquad-tr"):
            wanted = published[name]["published"][MINILM]["ndcg@10"]
            yield CheckedFigure(f"{MINILM}, {name}", f"not measured: {why}", f"{wanted} +- {within}", None)
        return
    for name, texts in sets(folder):
        wanted = published[name]["published"][MINILM]["ndcg@10"]
        documents, queries = dense_vectors(embed, texts, cache)
        yield _near(f"{MINILM}, {name}, exact", texts, exact(texts, documents, queries), wanted, within)
        yield _near(f"{MINILM}, {name}, Chroma", texts, chroma(texts, documents, queries, space=embed.space), wanted, within)


def groundedness_checks(folder: Path, published: dict[str, Any], cache: Path | None) -> Iterator[CheckedFigure]:
    """The lexical metric against BEGIN's human labels; its settings were chosen on the dev part, these figures are of the test part."""
    del published, cache
    file = folder / "begin-wow/begin_test_wow.jsonl"
    if not file.is_file():
        yield CheckedFigure("groundedness, begin-wow", f"not measured: no {file.name}", str(GOALS), None)
        return
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [(groundedness(row["response"], [row["context"]]).value, row["label"] == POSITIVE) for row in rows if row["label"] != "Generic"]
    kept = [(value, human) for value, human in pairs if value is not None]
    values, humans = np.array([value for value, _ in kept]), np.array([human for _, human in kept])
    name = f"groundedness, begin-wow test, {len(kept)} of {len(rows)} answers"
    for what, found in (("AUC", auc(values, humans)), ("kappa", kappa(values >= GROUNDED, humans))):
        yield CheckedFigure(f"{name}, {what}", f"{found:.4f}", f">= {GOALS[what]}", found >= GOALS[what])


def auc(values: Any, positive: Any) -> float:
    """Chance that a positive scores above a negative, equal scores counting half."""
    _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[at]
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def _near(name: str, texts: TextSet, run: Any, wanted: float, within: float) -> CheckedFigure:
    column = retrieval(run, texts.queries, (MEASURE,))[MEASURE]
    mean = column.mean
    document = {query.id: min(query.relevant) for query in texts.queries}
    spread = mean_interval(column.values, document)
    ok = mean is not None and column.coverage == 1.0 and abs(mean - wanted) <= within
    return CheckedFigure(f"{name}, {MEASURE} of {len(column.values)}", f"{mean:.5f} {spread}", f"{wanted} +- {within}", ok)


def _published(folder: Path) -> dict[str, Any]:
    file = folder / "published.json"
    if not file.is_file():
        raise Misconfigured(f"{file}: no such file; --data names the folder of public data sets")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
