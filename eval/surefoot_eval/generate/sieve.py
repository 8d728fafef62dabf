"""What is left of made questions: those that words alone find, but not at a glance; each once.

A question whose sentence BM25 does not find among the first passages is too vague, or rests on words that are elsewhere; one whose passage
stands far above all others repeats the sentence's rare words and tells no retriever from another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from surefoot_eval.generate.candidates import Candidate, Material
from surefoot_rag.documents.language import fold, words
from surefoot_rag.retrieval.fusion import tokens

__all__ = ["DEEPEST", "MARGIN", "Sieved", "sieve", "standing"]

DEEPEST = 20  # passages; hit@20 of BM25 is .995 and more on XQuAD: what is deeper is not asked of its words
MARGIN = 4.0  # of XQuAD's questions, which people wrote, 6 % in English and 3 % in Turkish are further ahead; of those by rule 30 and 41 %
HALF = 0.5  # of the sentence in a passage, as the metrics of retrieval have it


class Sieved(NamedTuple):
    """What may be looked at by a person, and how many were thrown out for which reason."""

    kept: list[Candidate]
    dropped: dict[str, int]


def sieve(candidates: Iterable[Candidate], material: Material, *, deepest: int = DEEPEST, margin: float = MARGIN) -> Sieved:
    """Keep what BM25 finds among the first `deepest` passages, at less than `margin` times the score of the best passage without it."""
    kept: list[Candidate] = []
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    for one in candidates:
        key = " ".join(words(one.question))
        if key in seen:
            dropped["asked twice"] += 1
            continue
        seen.add(key)
        if gives_away(one):
            dropped["the answer stands in the question"] += 1
            continue
        rank, ahead = standing(one, material)
        if not 0 < rank <= deepest:
            dropped[f"BM25 does not find it among {deepest} passages"] += 1
        elif rank == 1 and ahead >= margin:
            dropped[f"BM25 finds it at once, {margin:g} times ahead of all others"] += 1
        else:
            kept.append(replace(one, rank=rank, margin=round(ahead, 2)))
    return Sieved(kept, dict(dropped))


def gives_away(one: Candidate) -> bool:
    """Whether the question holds the whole answer."""
    asked, answer = set(tokens(one.question)), set(tokens(one.answer))
    return (bool(answer) and answer <= asked) or (bool(one.answer) and fold(one.answer) in fold(one.question))


def standing(one: Candidate, material: Material) -> tuple[int, float]:
    """At which place BM25 finds the sentence (0: nowhere), and its score over that of the best passage without it."""
    found = material.words.search(one.question)
    rank, best, other = 0, 0.0, 0.0
    for at, (key, score) in enumerate(found.items(), 1):
        passage = material.by_id[key]
        shared = min(passage.end, one.end) - max(passage.start, one.start)
        if passage.document_id == one.document and shared >= HALF * (one.end - one.start):
            rank, best = rank or at, max(best, score)
        else:
            other = max(other, score)
    return rank, best / other if other else float(len(found) > 0) * 99.0
