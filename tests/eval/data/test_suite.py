"""What a suite says is understood, or refused with the line and the nearest word, before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from surefoot.errors import Misconfigured
from surefoot_eval.data.suite import load
from tests.eval.small import SUITE, write

SUITES = sorted((Path(__file__).parents[3] / "eval/surefoot_eval/suites").glob("*.toml"))


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_the_shipped_suites_are_understood(file):
    """Each of them."""
    assert load(file).system


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("in_flight = 1", "in_flihgt = 1", r"line 5: unknown key: 'in_flihgt'; did you mean 'in_flight'"),
        ('"groundedness"', '"groundednes"', r"line 4: unknown metric: 'groundednes'; did you mean 'groundedness'"),
        ('kind = "rag"', 'kind = "rga"', r"line 3: unknown kind: 'rga'; did you mean 'rag'"),
        ('framework = "lexical"', 'framework = "langchian"', r"line 12: unknown framework: 'langchian'; did you mean 'langchain'"),
        ("k = 3", "kk = 3", r"line 13: unknown key in \[\[system\]\]: 'kk'"),
        ("k = 3", 'k = "three"', r"line 13: .*int"),
        ("k = 3", "k = 2", r"nDCG@3 looks at 3 passages, but 'lexical' finds k = 2"),
        ("k = 3", "k = 3\n[system.policy]\nattemps = 2", r"line 15: unknown key in \[system.policy\]: 'attemps'; did you mean 'attempts'"),
        ("k = 3", "k = 3\n[system.policy]\nattempts = true", r"line 15: "),
        ("[[system]]", "[system]", r"line 10: write \[\[system\]\]"),
        ("in_flight = 1", 'gate = ["exact_match"]', r"'exact_match' is not among the metrics of this suite"),
        ("in_flight = 1", "seeds = [1, 1]", r"line 5: seeds is out of its range"),
        ("in_flight = 1", 'slices = ["colour"]', r"line 5: unknown slice: 'colour'"),
        ('path = "questions"', "leave_out = 1.5", r"line 8: leave_out is out of its range"),
        ('name = "small"', "name = ", r"not TOML"),
        ('"groundedness"', '"judged"', r"judged needs a \[judge\]"),
        ("k = 3", "k = 3\n[[schedule]]\nname = 'calm'", r"belong to kind = \"resilience\""),
    ],
)
def test_a_word_nobody_knows_is_refused_with_its_line(tmp_path, old, new, says):
    """Nothing is spent on a typing mistake."""
    assert old in SUITE
    with pytest.raises(Misconfigured, match=says):
        load(write(tmp_path, suite=SUITE.replace(old, new, 1)))


def test_two_systems_of_one_name_are_refused(tmp_path):
    """Their records could not be told apart."""
    again = SUITE + '\n[[system]]\nname = "lexical"\nframework = "lexical"\nk = 3\n'
    with pytest.raises(Misconfigured, match="two are named 'lexical'"):
        load(write(tmp_path, suite=again))


def test_an_unknown_fault_or_provider_is_refused(tmp_path):
    """A schedule that names nothing would rehearse without faults."""
    text = (Path(SUITES[0]).parent / "resilience.toml").read_text(encoding="utf-8")
    for old, new, says in (
        ("stalled = 0.05", "staled = 0.05", "unknown fault: 'staled'; did you mean 'stalled'"),
        ('providers = ["sim:first"]', 'providers = ["sim:frist"]', "unknown provider: 'sim:frist'; did you mean 'sim:first'"),
        ('chat = ["sim:first", "sim:spare"]', 'chat = ["sim:fist"]', "unknown provider: 'sim:fist'"),
        ("passing = 0.2", "passing = 1.2", "rates is out of its range"),
    ):
        file = tmp_path / "resilience.toml"
        file.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(Misconfigured, match=says):
            load(file)
