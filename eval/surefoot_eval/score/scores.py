"""What a metric says of one question: a value, not applicable, or an error; and a column of them, never averaged in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

__all__ = ["Column", "Score", "column", "failed", "not_applicable", "score"]


class Score(msgspec.Struct, frozen=True):
    """One metric for one question. `value` is None unless `status` is "value"; `reason` says why otherwise."""

    status: Literal["value", "not_applicable", "error"]
    value: float | None = None
    reason: str = ""


def score(value: float) -> Score:
    """A measured value; one that is not a finite number is an error, so that no NaN reaches a mean."""
    number = float(value)
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN is the one number unlike itself
        return failed(f"the metric gave {number}")
    return Score("value", number)


def not_applicable(reason: str) -> Score:
    """The metric has no meaning here; it enters neither mean nor coverage."""
    return Score("not_applicable", None, reason)


def failed(reason: str) -> Score:
    """The metric could not be had though it should; it lowers the coverage."""
    return Score("error", None, reason)


class Column(msgspec.Struct, frozen=True):
    """One metric over a suite, by question id."""

    metric: str
    scores: Mapping[str, Score]

    @property
    def values(self) -> dict[str, float]:
        """What was measured, by question."""
        return {key: one.value for key, one in self.scores.items() if one.value is not None}

    @property
    def errors(self) -> dict[str, str]:
        """What failed, by question, with the reason."""
        return {key: one.reason for key, one in self.scores.items() if one.status == "error"}

    @property
    def mean(self) -> float | None:
        """Mean of the values; None where there is none. Read it beside `coverage`."""
        values = self.values
        return sum(values.values()) / len(values) if values else None

    @property
    def coverage(self) -> float | None:
        """Share of the applicable questions that were measured; None where none was applicable."""
        applicable = len(self.values) + len(self.errors)
        return len(self.values) / applicable if applicable else None

    def __str__(self) -> str:
        """One line: the mean with all that stands behind it."""
        apart = len(self.scores) - len(self.values) - len(self.errors)
        mean, coverage = self.mean, self.coverage
        return (
            f"{self.metric} {'none' if mean is None else f'{mean:.5f}'} over {len(self.values)} "
            f"(coverage {'none' if coverage is None else f'{coverage:.3f}'}, {len(self.errors)} errors, {apart} not applicable)"
        )


def column(metric: str, keys: Sequence[str], measure: Callable[[str], Score]) -> Column:
    """Measure each question by its id; an exception becomes that question's error and costs no other question its value."""
    scores: dict[str, Score] = {}
    for key in keys:
        try:
            scores[key] = measure(key)
        except Exception as exc:  # noqa: BLE001 - a metric is foreign code; what it raises is told in the report
            scores[key] = failed(f"{type(exc).__name__}: {exc}")
    return Column(metric, scores)
