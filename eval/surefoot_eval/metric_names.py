"""The metrics by name, each with a line that says what it measures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from surefoot.errors import Misconfigured

OWN: dict[str, Callable[..., Any]] = {}
"""Metrics of users' own, by name."""
DEPTHS = (1, 3, 5, 10, 20, 100)


METRICS: dict[str, str] = {
    "exact_match": "answer: equal to an accepted one, both normalised (SQuAD; Turkish rules in Turkish)",
    "answer_f1": "answer: word F1 against the best accepted one (SQuAD)",
    "citation_precision": "answer: share of the citations that hold a gold span",
    "citation_recall": "answer: share of the gold spans that lie in a citation",
    "groundedness": "answer: share of its words that stand in the passages it was given",
    "refusal": "answer: answered what can be answered, refused what cannot",
    "right": "answer: says an accepted one (words in one sentence, numbers by value, not denied), or refuses where nothing answers",
    "covered": "answer: holds an accepted one's words or cites half a gold span, whatever else it says; or refuses where nothing answers",
    "served": "answer: any answer came at all; a failed question counts 0, not as an error",
    "judged": "answer: a model's verdict on groundedness; advisory unless its card says otherwise",
    "judged_right": "answer: a model's verdict on correctness beside the accepted answers; advisory unless its card says otherwise",
    **{f"{name}@{k}": f"retrieval: {words}" for k in DEPTHS for name, words in {
        "nDCG": "normalised discounted cumulative gain", "R": "recall", "RR": "reciprocal rank (MRR)", "Success": "hit rate",
    }.items()},
}  # fmt: skip


def metric(name: str, meaning: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a metric of a function of yours, for suites that name its module in `modules`:

        @metric("polite", "says please or thank you")
        def polite(record, asked, dataset):
            return 1.0 if "thank" in record.answer else 0.0   # or None where it does not apply

    It has interval, report, gate and floors like any other; what it raises is that question's error. Values stand between 0 and 1.
    """
    if not name.replace("_", "").isalnum() or (name in METRICS and name not in OWN):
        raise Misconfigured(f"a metric named {name!r}: want letters, digits and _, and no name that is taken")

    def taken(measure: Callable[..., Any]) -> Callable[..., Any]:
        METRICS[name] = f"answer: {meaning}"
        OWN[name] = measure
        return measure

    return taken


def load_module(name: str, *, near: Path) -> Any:
    """Import a module of the user's, installed or beside the suite. Raises Misconfigured naming what is not there."""
    place = str(near.resolve())
    sys.path.insert(0, place)
    try:
        return import_module(name)
    except ModuleNotFoundError as exc:
        raise Misconfigured(f"{name!r}: no module {exc.name!r}, neither installed nor in {near}") from exc
    finally:
        sys.path.remove(place)


def needs_depth(metric: str) -> int:
    """How many passages a metric looks at; 0 for those that look at none."""
    name, at, depth = metric.partition("@")
    return int(depth) if at and name and depth.isdigit() else 0
