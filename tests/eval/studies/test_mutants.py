"""What is changed is one line that still compiles, and its tests are those nearest to it."""

from __future__ import annotations

import ast
import os

import pytest

from surefoot_eval.bench.crew import ROOT
from surefoot_eval.studies.mutants import SOURCE, Change, changes, draw, nearest, reaching
from surefoot_eval.studies.reach import ONLY, function_at, has_passed, record, run

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
    assert nearest(ROOT, f"{SOURCE}/usage/rows/postgres.py")[0] == ["tests/usage/test_rows.py"]
    assert nearest(ROOT, f"{SOURCE}/rules/token_bucket/queue.py")[0] == ["tests/rules/token_bucket/test_fixed.py"]


COUNTER = '''from __future__ import annotations


class Counter:
    """Counts."""

    def add(self) -> int:
        """One more."""
        def one() -> int:
            return 1

        return one()


def never() -> int:
    return 2
'''
TESTS = """
import pytest
from surefoot.rules.one import Counter

@pytest.mark.parametrize("times", [2, 1])
def test_counts(times):
    assert sum(Counter().add() for _ in range(times)) == times

def test_nothing():
    pass
"""


def small(tmp_path):
    copy = repository(tmp_path, COUNTER)
    for folder in ("src/surefoot", "src/surefoot/rules"):
        (copy / folder / "__init__.py").touch()
    (copy / "tests" / "rules").mkdir(parents=True)
    (copy / "tests" / "rules" / "test_one.py").write_text(TESTS)
    (copy / "eval").symlink_to(ROOT / "eval")
    return copy, f"{SOURCE}/rules/one.py", "tests/rules/test_one.py"


def test_a_line_belongs_to_the_innermost_function():
    """And to none outside of all: its tests are those that run it."""
    assert [function_at(COUNTER, line) for line in (5, 8, 10, 12, 16)] == ["", "Counter.add", "Counter.add.one", "Counter.add", "never"]


def test_what_a_test_reaches_is_noted_once(tmp_path):
    """The code is put back as it was; a file of tests that has not changed is not run again."""
    copy, file, test = small(tmp_path)
    kept = tmp_path / "kept" / "reached.json"
    found = record(copy, kept, [test], [file])
    assert {name: functions for name, (_, functions) in found[test]["tests"].items()} == {
        f"{test}::test_counts[2]": [f"{file}:Counter.add", f"{file}:Counter.add.one"],
        f"{test}::test_counts[1]": [f"{file}:Counter.add", f"{file}:Counter.add.one"],
        f"{test}::test_nothing": [],
    }
    assert (copy / file).read_text() == COUNTER
    written_ns = kept.stat().st_mtime_ns
    assert record(copy, kept, [test], [file]) == found
    assert kept.stat().st_mtime_ns == written_ns


def test_only_tests_that_run_the_changed_function_are_run(tmp_path):
    """The quickest first; a function that no test runs has none."""
    copy, file, test = small(tmp_path)
    reached = {test: {"tests": {f"{test}::a": [2.0, [f"{file}:Counter.add.one"]], f"{test}::b": [1.0, [f"{file}:Counter.add.one"]]}}}
    assert reaching(copy, Change(file=file, line=10, before="", after=""), reached) == [f"{test}::b", f"{test}::a"]
    assert reaching(copy, Change(file=file, line=16, before="", after=""), reached) == []
    asked = tmp_path / "asked.json"
    asked.write_text(f'["{test}::test_nothing"]')
    assert run(copy, [test], **{ONLY: os.fspath(asked)}) == 0
    assert has_passed(copy, [test])
    (copy / file).write_text(COUNTER.replace("return 1", "return 3"))
    assert run(copy, [test], **{ONLY: os.fspath(asked)}) == 0
    assert run(copy, [test]) == 1
    assert not has_passed(copy, [test])
    with pytest.raises(RuntimeError, match="test_missing"):
        run(copy, ["tests/rules/test_missing.py"])
