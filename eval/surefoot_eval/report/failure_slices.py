"""Slices: the same metric over parts of the questions, and which part is worst."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from surefoot_eval.run.results import Results, Summary, summary
from surefoot_eval.score.scores import Column

__all__ = ["FailureSlice", "cuts", "parts", "worst"]

LEAST = 5  # questions in a slice before it may be called the worst


class FailureSlice(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one system over one slice, such as language = tr."""

    system: str
    metric: str
    slice: str
    summary: Summary


def parts(slices: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each slice's name with the questions in it; a slice that holds all of them says nothing and is left out."""
    names = sorted({(name, value) for table in slices.values() for name, value in table.items()})
    for name, value in names:
        inside = frozenset(key for key, table in slices.items() if table.get(name) == value)
        if len(inside) < len(slices):
            yield f"{name} = {value}", inside


def cuts(results: Results, metric: str) -> list[FailureSlice]:
    """Every slice of every system, where the metric has a value."""
    found = []
    for system, one in results.systems.items():
        for name, inside in parts(results.slices):
            column = Column(metric, {key: score for key, score in one.scores[metric].items() if key in inside})
            own = summary(column, results.groups)
            if own.measured or own.errors:
                found.append(FailureSlice(system=system, metric=metric, slice=name, summary=own))
    return found


def worst(found: list[FailureSlice], system: str) -> FailureSlice | None:
    """The slice with the lowest mean; None where none is large enough."""
    own = [one for one in found if one.system == system and one.summary.mean is not None and one.summary.measured >= LEAST]
    return min(own, key=lambda one: one.summary.mean or 0.0, default=None)
