"""What is changed is one line that still compiles, and its tests are those nearest to it."""

from __future__ import annotations

import ast

from surefoot_eval.bench.crew import ROOT
from surefoot_eval.studies.mutants import SOURCE, changes, draw, nearest

TEXT = '''"""A module."""
LIMIT = 3


def decide(value: int, most: int = 5) -> bool:
    """Says."""
    if value < most and not value == 2:
        self.count += 1
        log.warning("%d", value + 1)
        return True
    raise ValueError(f"{value + 1} is too large")


def describe() -> str:
    return f"{1 + 1}"
'''


def repository(tmp_path, text):
    (tmp_path / SOURCE / "rules").mkdir(parents=True)
    (tmp_path / SOURCE / "rules" / "one.py").write_text(text)
    return tmp_path


def test_decisions_are_changed_and_words_are_not(tmp_path):
    """Neither settings, nor messages, nor annotations."""
    found = [(one.line, one.after.strip()) for one in changes(repository(tmp_path, TEXT))]
    assert found == [
        (7, "if value < most or not value == 2:"),
        (7, "if value <= most and not value == 2:"),
        (7, "if value < most and value == 2:"),
        (7, "if value < most and not value != 2:"),
        (7, "if value < most and not value == 4:"),
        (8, "pass"),
        (10, "return False"),
    ]


def test_every_change_of_our_own_code_compiles():
    """Else it is noticed by the parser, not by a test."""
    lines: dict[str, list[str]] = {}
    for one in draw(ROOT, 300, seed=5):
        text = lines.setdefault(one.file, (ROOT / one.file).read_text(encoding="utf-8").splitlines())
        assert text[one.line - 1] == one.before != one.after
        ast.parse("\n".join([*text[: one.line - 1], one.after, *text[one.line :]]))


def test_the_same_seed_draws_the_same_and_no_line_twice():
    """So that a survivor can be looked at again."""
    drawn = draw(ROOT, 60, seed=1)
    assert drawn == draw(ROOT, 60, seed=1) != draw(ROOT, 60, seed=2)
    assert len({(one.file, one.line) for one in drawn}) == 60


def test_the_tests_of_its_own_name_come_first():
    """Then those that import it, then those beside it; a private module is found by its name, too."""
    first, *others = nearest(ROOT, f"{SOURCE}/usage/spend.py")
    assert first == ["tests/usage/test_spend.py"]
    assert "tests/layers/guards/test_budget.py" in others[0]
    assert "tests/usage/test_tokens.py" in others[1]
    assert nearest(ROOT, f"{SOURCE}/layers/guards/rate.py")[0] == ["tests/layers/guards/test_rate.py"]
