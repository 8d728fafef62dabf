"""The examination of the extractive reader: what it learns, and that it says so when it cannot run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surefoot_eval.studies.reader import half_width, main, separation
from surefoot_eval.studies.reader_data import top
from surefoot_eval.studies.reader_fit import Choice, fit_answer, fit_rank, scale_of


def test_ranking_learns_the_feature_that_decides():
    """Of two features one marks the right sentence in both languages, the other is noise."""
    draw = np.random.default_rng(7)
    choices = []
    for number in range(200):
        right = np.eye(5)[number % 5]
        choices.append(Choice(("en", "tr")[number % 2], np.c_[right + draw.normal(0, 0.3, 5), draw.normal(0, 1, 5)], right))
    found = fit_rank(["mark", "noise"], choices, ("en", "tr"), scale_of(choices))
    for weights in found.weights.values():
        assert weights["mark"] > 5 * abs(weights["noise"])
    again = fit_rank(["mark", "noise"], choices, ("en", "tr"), scale_of(choices), start=found.optimum)
    assert again.weights == found.weights


def test_a_coefficient_against_its_sense_is_left_out():
    """A missing name never speaks for an answer, whatever the sample says by chance."""
    rows = [{"expected": float(n % 2), "names_missing": float(n % 2)} for n in range(100)]
    found = fit_answer(rows, np.array([n % 2 for n in range(100)], dtype=float), np.ones(100))
    assert found["expected"] > 0
    assert "names_missing" not in found


def test_what_is_left_out_of_the_index_is_not_found():
    """A leak here would make every refusal figure a lie."""
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    assert top(scores, count=2) == [0, 1]
    assert top(scores, without=np.array([True, False, True, False]), count=2) == [1, 3]


def test_statistics_of_the_table():
    """The area is one half for equals, one for apart; the interval shrinks with more articles."""
    assert separation(np.array([0.5, 0.5]), np.array([0.5])) == 0.5
    assert separation(np.array([0.9, 0.8]), np.array([0.1])) == 1.0
    few, many = np.arange(40) % 4, np.arange(400) % 40
    draw = np.random.default_rng(1)
    assert half_width(draw.random(400), many) < half_width(draw.random(40), few)


def test_missing_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The message says which file was looked for and which option names its folder."""
    assert main(["--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "xquad.en.json" in error
    assert "--data" in error
