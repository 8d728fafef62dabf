"""What a scenario shows: figures beside what they must keep to, with the seed that gave them."""

from __future__ import annotations

import operator
from collections.abc import Callable

from msgspec import Struct

BOUNDS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge, "=": operator.eq, "<": operator.lt}


class Figure(Struct, frozen=True):
    """One measured number; `bound` is what it must keep to ("<= 1.45"), "" where it is only reported."""

    name: str
    value: float
    bound: str = ""

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


class Row(Struct, frozen=True):
    """One scenario's figures. `log` is the digest of its events: the same seed gives the same."""

    scenario: str
    seed: int
    figures: tuple[Figure, ...]
    log: str = ""

    @property
    def kept(self) -> bool:
        return all(figure.kept for figure in self.figures)

    def __str__(self) -> str:
        return f"{self.scenario} [seed {self.seed}{', log ' + self.log if self.log else ''}]: " + ", ".join(map(str, self.figures))

    def __getitem__(self, name: str) -> float:
        return next(figure.value for figure in self.figures if figure.name == name)


def check(row: Row) -> None:
    """Print the row; fail if a figure is missed."""
    print(row)
    assert row.kept, str(row)


def worst(rows: list[Row]) -> Row:
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
    seeds = len({row.seed for row in rows})
    return Row(f"{rows[0].scenario}, {f'{seeds} seeds' if seeds > 1 else f'{len(rows)} runs'}", rows[0].seed, tuple(figures))
