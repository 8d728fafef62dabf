"""A run's results as a file: every score of every question, the intervals, the groups and slices. All that a comparison needs.

Times are not in it (they stand in the records), so the same answers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from surefoot.errors import Misconfigured
from surefoot_eval.run.fingerprints import Fingerprints
from surefoot_eval.score.metrics import Refusals
from surefoot_eval.score.scores import Column, Score
from surefoot_eval.score.stats import Interval, mean_interval

__all__ = ["Results", "Summary", "SystemResults", "read", "summary", "write"]

FILE = "scores.json"


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one system. `interval` (95 %, by groups) is None for fewer than two groups; `coverage` for nothing applicable."""

    mean: float | None
    interval: Interval | None
    coverage: float | None
    measured: int
    errors: int
    not_applicable: int

    def __str__(self) -> str:
        """With all that stands behind the mean."""
        if self.mean is None:
            return f"none ({self.errors} errors, {self.not_applicable} not applicable)"
        apart = f", {self.errors} ERRORS" if self.errors else ""
        return f"{self.mean:.4f} {self.interval or 'one group, no interval'} n={self.measured}{apart}"


class SystemResults(msgspec.Struct, frozen=True, kw_only=True):
    """One system: scores by metric and question, their summaries, the refusal matrix."""

    scores: Mapping[str, Mapping[str, Score]]
    summaries: Mapping[str, Summary]
    outcomes: Mapping[str, str]
    refusals: Refusals

    @property
    def columns(self) -> dict[str, Column]:
        """The scores as columns."""
        return {name: Column(name, table) for name, table in self.scores.items()}


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run. `groups` and `slices` are by question; `advisory` metrics are shown and decide nothing."""

    suite: str
    kind: str
    metrics: tuple[str, ...]
    gated: tuple[str, ...]
    floors: Mapping[str, float]
    ceilings: Mapping[str, float] = {}
    advisory: tuple[str, ...]
    questions: Mapping[str, str]
    marked: Mapping[str, str]
    groups: Mapping[str, str]
    slices: Mapping[str, Mapping[str, str]]
    systems: Mapping[str, SystemResults]
    marks: Fingerprints


def summary(column: Column, groups: Mapping[str, str]) -> Summary:
    """Mean, interval, and what is not in them."""
    values, errors = column.values, column.errors
    return Summary(
        mean=column.mean,
        interval=mean_interval(values, groups) if values else None,
        coverage=column.coverage,
        measured=len(values),
        errors=len(errors),
        not_applicable=len(column.scores) - len(values) - len(errors),
    )


def write(results: Results, folder: Path) -> Path:
    """As JSON, the same bytes for the same results."""
    file = folder / FILE
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return file


def read(place: Path) -> Results:
    """From a run's folder, or its scores.json. Raises Misconfigured where there is none."""
    file = place / FILE if place.is_dir() else place
    try:
        return msgspec.json.decode(file.read_bytes(), type=Results)
    except OSError as exc:
        raise Misconfigured(f"{file}: cannot be read ({exc.strerror}); name the folder that  python -m surefoot_eval run  printed") from exc
    except msgspec.MsgspecError as exc:
        raise Misconfigured(f"{file}: not the results of a run by this version ({exc})") from exc
