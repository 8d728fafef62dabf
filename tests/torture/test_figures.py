"""The table of figures: a goal missed must be seen."""

from __future__ import annotations

import pytest

from surefoot_eval.bench.sections.torture import scenarios, table
from tests.torture.figures import Figure, FigureRow, check, together, worst


def test_a_goal_missed_is_named_in_the_table():
    """Among forty lines nobody finds it otherwise. Truths and counts are numbers; what has no goal is only reported."""
    import msgspec

    good = FigureRow("calm", 1, (Figure("was open", True, "= 1"), Figure("seen", 3)), "abc")
    bad = FigureRow("storm", 2, (Figure("lost", 1, "= 0"),), note="because")
    result = table({"rows": [msgspec.to_builtins(row) for row in (good, bad)]})
    assert "| calm | was open = 1 | was open 1; (seen 3) | ok | 1 (abc) |" in result
    assert "| storm | lost = 0 | lost 1 **MISSED**; because | MISSED | 2 |" in result
    assert result.endswith("missed: storm")
    check(good)
    with pytest.raises(AssertionError):
        check(bad)


def test_many_seeds_show_the_value_nearest_to_its_goal():
    """The mean of nine good seeds and a bad one looks good."""
    rows = [
        FigureRow("s", seed, (Figure("success", 0.9990 + seed / 1000, ">= 0.99"), Figure("attempts a call", seed, "<= 9")))
        for seed in range(3)
    ]
    row = worst(rows)
    assert (row["success"], row["attempts a call"], row.seeds) == (0.999, 2, "0 to 2")
    assert together(rows)["attempts a call, all seeds"] == 1


def test_every_row_of_the_table_can_be_run():
    """Few seeds make a quick look, many the whole proof; both have the same lines."""
    assert len(list(scenarios(5))) == len(list(scenarios(200))) >= 40
