"""Weights of the score fusion, chosen on one split and measured on another; and the retriever doctor.

    python -m surefoot_eval tune --data FOLDER --cache FOLDER [--model local:multilingual-e5-small] [--set xquad-tr]

SciFact's weight is chosen on its train split; the others have none, so each half is measured with the weight chosen on the other half
(halves by article for XQuAD, by query for LIMIT). The doctor compares dense, lexical and fused on the same questions and warns where
fusion is worse than the better of the two; for the shipped weight and for rank fusion it says so too.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import Query, TextSet, beir, squad
from surefoot_eval.run.retrievers import Found, dense_vectors, embedder, exact, fused, lexical
from surefoot_eval.score.metrics import retrieval
from surefoot_eval.score.stats import Paired, mean_interval, paired
from surefoot_rag.retrieval.fusion import fusion_for

MEASURE = "nDCG@10"
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
MODELS = ("local:multilingual-e5-small", "local:all-MiniLM-L6-v2")
SETS = ("scifact", "xquad-en", "xquad-tr", "limit-small")
SURE = 0.05


class Diagnosis(NamedTuple):
    """What the doctor found: the better single retriever, fusion against it, and a warning where fusion is worse."""

    best: str
    against: Paired | None
    warning: str


class TuneCase(NamedTuple):
    """A set with both retrievers' candidates; `dev` of each fold chooses the weight for its `test`."""

    texts: TextSet
    space: str
    dense: Found
    words: Found
    folds: Sequence[tuple[Sequence[Query], Sequence[Query]]]


def main(args: argparse.Namespace) -> int:
    """Print a block a model and set; returns 1 if fusion is significantly worse than the better single retriever anywhere."""
    unknown = sorted(set(args.set or ()) - set(SETS))
    if unknown:
        raise Misconfigured(f"unknown set {', '.join(unknown)}; known are {', '.join(SETS)}")
    warned = 0
    for model in args.model or MODELS:
        for name in args.set or SETS:
            try:
                warned += _examine(model, name, args.data, args.cache)
            except Misconfigured as why:
                if args.model:
                    raise
                print(f"\n{model} on {name}: left out, {why}")
    return int(warned > 0)


def doctor(dense: Mapping[str, float], words: Mapping[str, float], mixed: Mapping[str, float], clusters: Mapping[str, str]) -> Diagnosis:
    """Compare one metric's values by question: fusion must not be worse than the better of what it is made of."""
    best = "dense" if np.mean(list(dense.values())) >= np.mean(list(words.values())) else "lexical"
    against = paired(dense if best == "dense" else words, mixed, clusters)
    if against is None or against.difference >= 0:
        return Diagnosis(best, against, "")
    if against.p_worse >= SURE:
        return Diagnosis(best, against, "")
    said = f"fusion is worse than {best} alone by {-against.difference:.4f} (p={against.p_worse:.4f}): choose its weight, or leave it out"
    return Diagnosis(best, against, said)


def choose(dense: Found, words: Found, queries: Sequence[Query]) -> float:
    """The plainest dense share within one standard error of the best over `queries`: one retriever alone, else nearest to a half.

    The optimum is flat and a dev split small: the very best weight is mostly luck (the one-standard-error rule, Breiman et al. 1984).
    """
    each = {weight: np.array(list(values(fused(_only(dense, queries), words, weight=weight), queries).values())) for weight in WEIGHTS}
    best = max(each.values(), key=np.mean)
    as_good = [weight for weight, one in each.items() if np.mean(best - one) <= np.std(best - one, ddof=1) / np.sqrt(len(best)) + 1e-9]
    alone = [weight for weight in as_good if weight in {0.0, 1.0}]
    return max(alone, key=lambda weight: np.mean(each[weight])) if alone else min(as_good, key=lambda weight: abs(weight - 0.5))


def values(run: Found, queries: Sequence[Query]) -> dict[str, float]:
    """nDCG@10 of each query. Raises Misconfigured where one has no value: figures over a part would not be comparable."""
    column = retrieval(run, queries, (MEASURE,))[MEASURE]
    if column.coverage != 1.0:
        raise Misconfigured(f"{column}: a retriever failed")
    return column.values


def halves(texts: TextSet) -> list[tuple[list[Query], list[Query]]]:
    """Two folds, each group in one half; groups that are single documents of a set with many relevant ones go by query."""
    by_query = any(len(query.relevant) > 1 for query in texts.queries)
    group = {query.id: query.id if by_query else texts.group_of(query) for query in texts.queries}
    number = {name: at for at, name in enumerate(sorted(set(group.values())))}
    parts: tuple[list[Query], list[Query]] = ([], [])
    for query in texts.queries:
        parts[number[group[query.id]] % 2].append(query)
    return [parts, (parts[1], parts[0])]


def _examine(model: str, name: str, folder: Path, cache: Path | None) -> bool:
    case = _case(model, name, folder, cache)
    mixed: dict[str, float] = {}
    weights = []
    for dev, test in case.folds:
        weights.append(choose(case.dense, case.words, dev))
        mixed |= values(fused(_only(case.dense, test), case.words, weight=weights[-1]), test)
    asked = [query for _, test in case.folds for query in test]
    clusters = {query.id: case.texts.group_of(query) for query in asked}
    single = {"dense": values(_only(case.dense, asked), asked), "lexical": values(_only(case.words, asked), asked)}
    equal = values(fused(_only(case.dense, asked), case.words, weight=0.5), asked)
    ranks = values(fused(_only(case.dense, asked), case.words, weight=0.5, ranks=True), asked)
    share = fusion_for(case.space).dense.get(case.texts.language, fusion_for(case.space).other)
    shipped = values(fused(_only(case.dense, asked), case.words, weight=share), asked)
    print(f"\n{model} on {name} ({case.texts.language}), {MEASURE} of {len(asked)} questions, 95 % by {_unit(name)}")
    for label, one in {**single, "ranks": ranks, "fused .5": equal, "shipped": shipped, "fused": mixed}.items():
        chosen = f"   weight {' and '.join(map(str, weights))}, chosen on {'train' if name == 'scifact' else 'the other half'}"
        said = {"fused": chosen, "shipped": f"   weight {share}, as the pipelines have it", "ranks": "   reciprocal rank fusion"}
        print(f"  {label:9} {_mean(one):.4f} {mean_interval(one, clusters)}{said.get(label, '')}")
    found = doctor(single["dense"], single["lexical"], mixed, clusters)
    print(f"  doctor: best single is {found.best}; fused less {found.best} {found.against}", flush=True)
    for label, one in {"reciprocal rank fusion": ranks, f"the shipped weight {share}": shipped}.items():
        if other := doctor(single["dense"], single["lexical"], one, clusters).warning:
            print(f"  not here: {label}: {other.partition(':')[0]}", flush=True)
    if found.warning:
        print(f"  WARNING: {found.warning}")
    return bool(found.warning)


def _case(model: str, name: str, folder: Path, cache: Path | None) -> TuneCase:
    embed = embedder(model)
    if name == "scifact":
        test, train = beir(folder / name), beir(folder / name, split="train")
        texts = TextSet(name=name, split="all", language="en", documents=test.documents, queries=(*train.queries, *test.queries))
        folds: Sequence[tuple[Sequence[Query], Sequence[Query]]] = [(train.queries, test.queries)]
    else:
        language = "tr" if name.endswith("-tr") else "en"
        file = folder / name / f"xquad.{language}.json"
        texts = squad(file, language=language) if name.startswith("xquad") else beir(folder / name)
        folds = halves(texts)
    documents, queries = dense_vectors(embed, texts, cache)
    return TuneCase(texts, embed.space, exact(texts, documents, queries), lexical(texts, words="shipped"), folds)


def _unit(name: str) -> str:
    return "article" if name.startswith("xquad") else "document"


def _only(run: Found, queries: Sequence[Query]) -> Found:
    return {query.id: run[query.id] for query in queries}


def _mean(one: Mapping[str, float]) -> float:
    return float(np.mean(list(one.values())))
