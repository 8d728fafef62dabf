"""What a scenario shows: figures beside what they must keep to, with the seed that gave them."""

from __future__ import annotations

import operator
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import force_setattr, replace

BOUNDS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge, "=": operator.eq, "<": operator.lt}


class Figure(Struct, frozen=True):
    """One measured number; `bound` is what it must keep to ("<= 1.45"), "" where it is only reported."""

    name: str
    value: float
    bound: str = ""

    def __post_init__(self) -> None:
        """Counts and truths are numbers too."""
        force_setattr(self, "value", float(self.value))

    @property
    def kept(self) -> bool:
        """True if it keeps to its bound."""
        if not self.bound:
            return True
        relation, _, number = self.bound.partition(" ")
        return BOUNDS[relation](self.value, float(number))

    def __str__(self) -> str:
        shown = f"{self.name} {self.value:.6g}"
        return f"{shown} ({self.bound}{'' if self.kept else ': MISSED'})" if self.bound else shown


class FigureRow(Struct, frozen=True):
    """One scenario's figures. `log` is the digest of its events: the same seed gives the same."""

    scenario: str
    seed: int
    figures: tuple[Figure, ...]
    log: str = ""
    seeds: str = ""  # where it stands for several: "0 to 199"
    note: str = ""  # what the figures do not say, such as what limits them

    @property
    def kept(self) -> bool:
        return all(figure.kept for figure in self.figures)

    def __str__(self) -> str:
        log = f", log {self.log}" if self.log else ""
        return f"{self.scenario} [seed {self.seeds or self.seed}{log}]: " + ", ".join(map(str, self.figures))

    def __getitem__(self, name: str) -> float:
        return next(figure.value for figure in self.figures if figure.name == name)


def check(row: FigureRow) -> None:
    """Print the row; fail if a figure is missed."""
    print(row)
    assert row.kept, str(row)


def worst(rows: list[FigureRow]) -> FigureRow:
    """Many seeds in one row: of each figure the value nearest to, or beyond, its bound; where there is none, the mean."""
    figures = []
    for figures_of_one in zip(*(row.figures for row in rows), strict=True):
        first = figures_of_one[0]
        values = [figure.value for figure in figures_of_one]
        relation = first.bound.partition(" ")[0]
        if relation == ">=":
            value = min(values)
        elif relation in {"<=", "<"}:
            value = max(values)
        elif relation == "=":
            value = max(values, key=lambda one: abs(one - float(first.bound.partition(" ")[2])))
        else:
            value = sum(values) / len(values)
        figures.append(Figure(first.name, value, first.bound))
    seeds = sorted({row.seed for row in rows})
    name = rows[0].scenario if len(seeds) > 1 or len(rows) == 1 else f"{rows[0].scenario}, {len(rows)} runs"
    span = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else ""
    return FigureRow(name, seeds[0], tuple(figures), rows[0].log if len(rows) == 1 else "", span, rows[0].note)


def together(rows: list[FigureRow]) -> FigureRow:
    """As `worst`, and beside it the success and the attempts of all seeds together, for luck evens out."""
    row = worst(rows)
    if len(rows) == 1:
        return row
    sums = (
        Figure("success, all seeds", sum(one["success"] for one in rows) / len(rows), ">= 0.999"),
        Figure("attempts a call, all seeds", sum(one["attempts a call"] for one in rows) / len(rows), "<= 1.45"),
    )
    return replace(row, figures=row.figures + sums)


def markdown(rows: list[FigureRow]) -> str:
    """The rows as a table: scenario, goal, measured, whether all goals were met, seeds. A goal missed is named where it was measured."""
    lines = ["| scenario | goal | measured | met | seeds (log) |", "|---|---|---|---|---|"]
    for row in rows:
        bounded = [figure for figure in row.figures if figure.bound]
        goal = "; ".join(f"{figure.name} {figure.bound}" for figure in bounded) or "reported"
        seen = [f"{one.name} {one.value:.6g}{'' if one.kept else ' **MISSED**'}" for one in bounded]
        seen += [f"({figure.name} {figure.value:.6g})" for figure in row.figures if not figure.bound]
        seeds = (row.seeds or str(row.seed)) + (f" ({row.log})" if row.log else "")
        if row.note:
            seen.append(row.note)
        lines.append(f"| {row.scenario} | {goal} | {'; '.join(seen)} | {'ok' if row.kept else 'MISSED'} | {seeds} |")
    missed = [row.scenario for row in rows if not row.kept]
    return "\n".join([*lines, "", f"missed: {', '.join(missed)}" if missed else "every goal met"])
