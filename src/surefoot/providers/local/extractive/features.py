"""What the extractive reader weighs: a question beside the sentences that may answer it, as numbers.

Each number is a share, a flag or a small logarithm, so that weights learned on one collection carry over to another. `rank_rows`
describes each sentence, for choosing among them; `answer_row` describes the best one and its passages, for deciding whether to
answer at all.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from surefoot.providers.local.extractive.question import TYPES, Question, candidates
from surefoot.providers.local.extractive.text import NUMBER, Sentence, trigrams

Row = dict[str, float]

WINDOW = 10  # words: about a clause
NEAR_ANSWER = 7  # words on either side of a number or name that could be the answer
SIMILAR = 0.35  # share of trigrams (Dice) two words must have in common to count as forms of one
MET = 0.5  # likeness above which a term counts as met


@dataclass(slots=True)
class Scene:
    """A question and the sentences before it: which term is met where, and what each term weighs.

    `exact`, `loose` and `above` (its headings) hold one row per sentence, one number in [0, 1] per term; `passage` one row per
    passage; `place` says (passage, number within it).
    """

    question: Question
    sentences: list[Sentence]
    place: list[tuple[int, int]]
    weights: list[float]
    exact: list[list[float]]
    loose: list[list[float]]
    above: list[list[float]]
    similarity: Sequence[float] | None
    total: float = 1.0
    passage: list[list[float]] = field(default_factory=list)


def scene(question: Question, passages: Sequence[Sequence[Sentence]], similarity: Sequence[float] | None = None) -> Scene:
    """Match every term with every sentence. A term counts more the fewer sentences have it, and the longer it is."""
    sentences = [sentence for passage in passages for sentence in passage]
    place = [(number, at) for number, passage in enumerate(passages) for at in range(len(passage))]
    exact = [[1.0 if term in sentence.where else 0.0 for term in question.terms] for sentence in sentences]
    weights = []
    for column, term in enumerate(question.terms):
        spread = sum(row[column] for row in exact)
        rarity = 0.3 + math.log(1 + (len(sentences) - spread + 0.5) / (spread + 0.5))
        special = 1.15 if term in question.names or term in question.numbers else 1.0
        weights.append(rarity * special * (0.3 + 0.07 * min(len(question.folded[term]), 10)))
    known: dict[tuple[str, str], float] = {}
    loose = [
        [hit or _likeness(question.folded[term], sentence, known) for hit, term in zip(row, question.terms, strict=True)]
        for row, sentence in zip(exact, sentences, strict=True)
    ]
    above = [[1.0 if term in sentence.context else 0.0 for term in question.terms] for sentence in sentences]
    found = Scene(question, sentences, place, weights, exact, loose, above, similarity, total=sum(weights) or 1.0)
    for number in range(len(passages)):
        rows = [row for index, (of, _) in enumerate(place) if of == number for row in (loose[index], above[index])]
        found.passage.append([max(column) for column in zip(*rows, strict=True)] if rows else [0.0] * len(question.terms))
    return found


def _likeness(term: str, sentence: Sentence, known: dict[tuple[str, str], float]) -> float:
    """The largest share of trigrams (Dice) a word of the sentence has in common with `term`; 0 below SIMILAR, or for short words."""
    if len(term) < 4 or term[0].isdigit():
        return 0.0
    best = 0.0
    for word in sentence.folded:
        if len(word) < 4:
            continue
        share = known.get((term, word))
        if share is None:
            one, other = trigrams(term), trigrams(word)
            share = 2 * len(one & other) / (len(one) + len(other))
            known[term, word] = share = share if share >= SIMILAR else 0.0
        best = max(best, share)
    return best


def rank_rows(scene: Scene) -> list[Row]:
    """Describe each sentence of a scene."""
    rows = []
    for index in range(len(scene.sentences)):
        row = _coverage(scene, index)
        row |= _company(scene, index)
        row |= _cues(scene, index)
        rows.append(row)
    return rows


def _coverage(scene: Scene, index: int) -> Row:
    """How much of the question the sentence itself has; its words compared whole, by stem, by beginning and by trigrams."""
    question, sentence, total = scene.question, scene.sentences[index], scene.total
    exact, where = scene.exact[index], sentence.where
    covered = _weigh(scene.weights, exact) / total
    row = {
        "covered": covered,
        "likeness": _weigh(scene.weights, scene.loose[index]) / total - covered,
        "hits": math.log(1 + sum(exact)),
        "pairs": sum(1 for a, b in question.pairs if _adjacent(where.get(a), where.get(b))) / max(1, len(question.pairs)),
        "small_words": _share(question.small, where),
        "names": _share(question.names, where),
        "numbers": _share(question.numbers, where),
        "window": _densest(scene, sentence) / total,
    }
    for name, letters in (("whole", 99), ("long_start", 7), ("short_start", 3)):
        starts = {word[:letters] for word in sentence.folded}
        met = [1.0 if question.folded[term][:letters] in starts else 0.0 for term in question.terms]
        row[name] = _weigh(scene.weights, met) / total
    return row


def _company(scene: Scene, index: int) -> Row:
    """What its neighbours and its passage add, and where it stands."""
    sentence, (passage, at) = scene.sentences[index], scene.place[index]
    is_last = index + 1 == len(scene.place) or scene.place[index + 1][0] != passage
    above = scene.above[index]
    previous = scene.loose[index - 1] if at else above
    own = scene.loose[index]
    return {
        "previous": _added(scene, own, [max(pair) for pair in zip(previous, above, strict=True)]),
        "next": _added(scene, own, scene.loose[index + 1]) if not is_last else 0.0,
        "before_previous": _added(scene, own, scene.loose[index - 2]) if at > 1 else 0.0,
        "passage": _weigh(scene.weights, scene.passage[passage]) / scene.total,
        "length": math.log(1 + len(sentence.stems)),
        "short": 1.0 if len(sentence.stems) < 5 else 0.0,
        "first": 1.0 if at == 0 else 0.0,
        "last": 1.0 if is_last and at else 0.0,
        "top_passage": 1.0 if passage == 0 else 0.0,
        "rank": math.log(1 + passage),
        "similarity": 0.0 if scene.similarity is None else 10 * (scene.similarity[passage] - max(scene.similarity)),
    }


def _cues(scene: Scene, index: int) -> Row:
    """Whether it has what the question asks for (a date, a number, a name, a reason), and how close to the question's words."""
    question, sentence = scene.question, scene.sentences[index]
    row = dict.fromkeys(TYPES, 0.0)
    row |= {"near_answer": 0.0, "around_answer": 0.0, "focus": 0.0, "focus_number": 0.0}
    hits = [(at, weight) for term, weight in zip(question.terms, scene.weights, strict=True) for at in sentence.where.get(term, ())]
    for kind in TYPES:
        if kind not in question.types:
            continue
        places = candidates(question, sentence, kind)
        row[kind] = 1.0 if places else 0.0
        for place in places if hits else ():
            row["near_answer"] = max(row["near_answer"], 1 / (1 + min(abs(place - at) for at, _ in hits)))
            around = sum(
                weight
                for term, weight in zip(question.terms, scene.weights, strict=True)
                if any(abs(place - at) <= NEAR_ANSWER for at in sentence.where.get(term, ()))
            )
            row["around_answer"] = max(row["around_answer"], around / scene.total)
    for stem in question.focus:
        for at in sentence.where.get(stem, ()):
            row["focus"] = 1.0
            if question.types & {"count", "much"} and any(flag & NUMBER for flag in sentence.flags[max(0, at - 2) : at]):
                row["focus_number"] = 1.0
    return row


def _weigh(weights: list[float], met: Sequence[float]) -> float:
    return sum(weight * degree for weight, degree in zip(weights, met, strict=True))


def _added(scene: Scene, own: list[float], other: list[float]) -> float:
    gain = sum(weight * (b - a) for weight, a, b in zip(scene.weights, own, other, strict=True) if b > a)
    return gain / scene.total


def _share(wanted: Collection[str], where: Collection[str]) -> float:
    return sum(1 for stem in wanted if stem in where) / len(wanted) if wanted else 0.0


def _adjacent(one: list[int] | None, other: list[int] | None) -> bool:
    return bool(one and other and any(abs(a - b) == 1 for a in one for b in other))


def _densest(scene: Scene, sentence: Sentence) -> float:
    """The largest weight of different terms met within WINDOW words."""
    hits = sorted((at, column) for column, term in enumerate(scene.question.terms) for at in sentence.where.get(term, ()))
    best = 0.0
    for start, (first, _) in enumerate(hits):
        inside = {column for at, column in hits[start:] if at - first <= WINDOW}
        best = max(best, sum(scene.weights[column] for column in inside))
    return best


def answer_row(scene: Scene, rows: Sequence[Row], scores: Sequence[float]) -> Row:
    """Describe the best sentence (the highest of `scores`) and the passages around it, for the question "is this an answer?".

    With similarities, three more numbers; weights for the two cases are learned apart.
    """
    best = max(range(len(scores)), key=lambda index: scores[index])
    row, question, passage = rows[best], scene.question, scene.place[best][0]
    inside = [sentence for sentence, (of, _) in zip(scene.sentences, scene.place, strict=True) if of == passage]
    here = {stem for sentence in inside for stem in (*sentence.where, *sentence.context)}
    anywhere = here.union(*(sentence.where for sentence in scene.sentences))
    own = scene.sentences[best].where.keys() | scene.sentences[best].context
    kinds = [kind for kind in TYPES if kind in question.types]
    found = {name: row[name] for name in ("likeness", "passage", "pairs", "whole", "long_start")} | {
        "best_terms": _share(question.terms, own),
        "passage_terms": _share(question.terms, here),
        "all_terms": _share(question.terms, anywhere),
        "has_names": 1.0 if question.names else 0.0,
        "names_missing": 1.0 - _share(question.names, here) if question.names else 0.0,
        "names_apart": 1.0 - _share(question.names, own) if question.names else 0.0,
        "plain_hits": math.log(1 + _plain_hits(scene, best)),
        "missing": math.log(1 + sum(1 for met in scene.passage[passage] if met < MET)),
        "numbers_missing": 1.0 if any(term not in here for term in question.numbers) else 0.0,
        "expected": 1.0 if not kinds or any(row[kind] for kind in kinds) else 0.0,
        "counts_what": 1.0 if question.focus and "count" in question.types else 0.0,
        "counted": row["focus_number"],
        "certainty": 1 / sum(math.exp(score - scores[best]) for score in scores),
        "terms": math.log(max(1, len(question.terms))),
        "score": scores[best],
    }
    if scene.similarity is not None:
        top = max(scene.similarity)
        found |= {"top": top, "own": scene.similarity[passage], "lead": top - sum(scene.similarity) / len(scene.similarity)}
    return found


def _plain_hits(scene: Scene, index: int) -> int:
    """How many terms that are not names the sentence or a neighbour has: an entity alone is no answer about it."""
    passage = scene.place[index][0]
    around = [n for n in (index - 1, index, index + 1) if 0 <= n < len(scene.place) and scene.place[n][0] == passage]
    plain = [column for column, term in enumerate(scene.question.terms) if term not in scene.question.names]
    rows = [*(scene.loose[n] for n in around), scene.above[index]]
    return sum(1 for column in plain if any(row[column] > MET for row in rows))
