"""A comparison says pass, fail or inconclusive, and refuses what cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace

from surefoot_eval.__main__ import main
from surefoot_eval.run.fingerprints import Fingerprints
from surefoot_eval.run.results import Results, SystemResults, summary, write
from surefoot_eval.score.metrics import Refusals
from surefoot_eval.score.scores import Column, failed, score

MARKS = Fingerprints(
    data="d", corpus="c", measures="m", prompts={"answer": "p"}, models={"s": "one", "t": "two"}, versions={"python": "3"}, pipeline="x"
)
NONE = Refusals(answered_right=0, answered_wrong=0, refused_right=0, refused_wrong=0, errors=0, balanced_accuracy=None)


def system(values: Mapping[str, float | None]) -> SystemResults:
    """One metric, `right`; None is a failed question."""
    column = Column("right", {key: failed("broke") if value is None else score(value) for key, value in values.items()})
    cells = {key: "error" if value is None else "answered_right" if value else "answered_wrong" for key, value in values.items()}
    return SystemResults(scores={"right": column.scores}, summaries={"right": summary(column, {})}, outcomes=cells, refusals=NONE)


def results(n: int, right: float, *, tr: float | None = None, **systems: SystemResults) -> Results:
    """`n` questions each of its own document, the first share of each half right; the second half is Turkish."""
    half = n // 2
    keys = [f"q{at:04}" for at in range(n)]
    values = {key: float((at % half) < (right if at < half or tr is None else tr) * half) for at, key in enumerate(keys)}
    return Results(
        suite="s",
        kind="rag",
        metrics=("right",),
        gated=("right",),
        floors={},
        advisory=(),
        questions={key: f"Question {key}?" for key in keys},
        marked={key: f"mark {key}" for key in keys},
        groups={key: key for key in keys},
        slices={key: {"language": "en" if at < half else "tr"} for at, key in enumerate(keys)},
        systems=systems or {"s": system(values)},
        marks=MARKS,
    )


def run(tmp_path, before: Results, after: Results, *options: str) -> int:
    for name, one in (("before", before), ("after", after)):
        (tmp_path / name).mkdir(exist_ok=True)
        write(one, tmp_path / name)
    return main(["compare", str(tmp_path / "before"), str(tmp_path / "after"), "--out", str(tmp_path / "out"), *options])


@pytest.mark.parametrize(("n", "after", "code", "word"), [(1000, 0.8, 0, "PASS"), (1000, 0.6, 1, "FAIL"), (40, 0.8, 3, "INCONCLUSIVE")])
def test_the_exit_code_is_the_verdict(tmp_path, capsys, n, after, code, word):
    """0, 1 and 3; what is inconclusive says how many questions are needed."""
    assert run(tmp_path, results(n, 0.8), results(n, after)) == code
    said = capsys.readouterr().out
    assert f"## s: {word}" in said
    assert ("are needed" in said) == (code == 3)
    case = ET.parse(tmp_path / "out/junit.xml").getroot().find("testsuite/testcase")
    assert [child.tag for child in case] == {0: ["system-out"], 1: ["failure", "system-out"], 3: ["skipped", "system-out"]}[code]


def test_what_got_worse_is_listed_with_the_worst_slice(tmp_path, capsys):
    """Turkish lost, English did not: the mean alone would hide where."""
    assert run(tmp_path, results(1000, 0.8), results(1000, 0.8, tr=0.7)) == 1
    said = capsys.readouterr().out
    assert "Worst slice: **language = tr**, right: fail" in said
    assert "50 questions changed their outcome" in said
    assert "- answered right -> answered wrong: Question q0" in said


def test_a_slice_decides_only_when_asked_to(tmp_path):
    """A loss in Turkish that a gain in English outweighs."""
    before, after = results(1000, 0.7, tr=0.9), results(1000, 0.9, tr=0.8)
    assert run(tmp_path, before, after) == 0
    assert run(tmp_path, before, after, "--gate-slices") == 1


def test_errors_cannot_hide_a_drop(tmp_path):
    """The questions that would be wrong fail instead: the coverage fails."""
    before = results(1000, 0.8)
    column = before.systems["s"].columns["right"].values
    after = results(1000, 0.8, s=system({key: value or None for key, value in column.items()}))
    assert run(tmp_path, before, after) == 1


@pytest.mark.parametrize(
    ("part", "value", "option"),
    [
        ("data", "e", ""), ("corpus", "e", ""), ("measures", "e", ""),
        ("prompts", {"answer": "q"}, "prompts"), ("models", {"s": "other"}, "models"), ("versions", {"python": "4"}, "versions"),
    ],
)  # fmt: skip
def test_different_fingerprints_are_refused_unless_named(tmp_path, capsys, part, value, option):
    """Exit code 2, with what differs; what was changed on purpose may be said so, other data only by --rebaseline."""
    before = results(1000, 0.8)
    after = replace(before, marks=replace(MARKS, **{part: value}))
    assert run(tmp_path, before, after) == 2
    assert f"not comparable: {part}" in capsys.readouterr().err
    if option:
        assert run(tmp_path, before, after, "--changed", option) == 0
    assert run(tmp_path, before, after, "--rebaseline") == 0
    assert f"rebaselined: {part}" in capsys.readouterr().out


def test_the_pipelines_code_may_differ_and_is_told(tmp_path, capsys):
    """That is what changes from commit to commit."""
    before = results(1000, 0.8)
    assert run(tmp_path, before, replace(before, marks=replace(MARKS, pipeline="y"))) == 0
    assert "the pipelines' code differs" in capsys.readouterr().out


def test_rebaselining_compares_what_both_share(tmp_path, capsys):
    """Questions whose text or gold changed are left out, and counted."""
    before = results(1000, 0.8)
    marked = {key: (value if at >= 100 else "other") for at, (key, value) in enumerate(before.marked.items())}
    after = replace(before, marked=marked, marks=replace(MARKS, data="e"))
    assert run(tmp_path, before, after, "--rebaseline") == 0
    assert "900 questions are in both runs" in capsys.readouterr().out
    assert run(tmp_path, before, replace(after, marked=dict.fromkeys(marked, "other")), "--rebaseline") == 2


def test_two_systems_of_one_run_can_be_compared(tmp_path, capsys):
    """Their models are meant to differ."""
    one = results(1000, 0.8)
    both = replace(one, systems={"s": one.systems["s"], "t": results(1000, 0.6).systems["s"]})
    write(both, tmp_path)
    assert main(["compare", f"{tmp_path}:s", f"{tmp_path}:t"]) == 1
    assert "## s -> t: FAIL" in capsys.readouterr().out
    assert main(["compare", f"{tmp_path}:s", f"{tmp_path}:u"]) == 2
    assert "no system 'u'; it has s, t" in capsys.readouterr().err


def test_an_advisory_judge_decides_nothing(tmp_path, capsys):
    """However bad its figures; with nothing else to go by there is no verdict."""
    before, after = results(1000, 0.8), results(1000, 0.2)
    assert run(tmp_path, before, replace(after, advisory=("right",))) == 2
    assert "advisory" in capsys.readouterr().err


def test_options_are_checked(tmp_path, capsys):
    """A typing mistake must not widen what may differ."""
    assert run(tmp_path, results(40, 0.8), results(40, 0.8), "--changed", "data") == 2
    assert "prompts, models, versions" in capsys.readouterr().err
    assert run(tmp_path, results(40, 0.8), results(40, 0.8), "--margin", "3") == 2
    assert main(["compare", str(tmp_path / "nowhere"), str(tmp_path / "before")]) == 2
