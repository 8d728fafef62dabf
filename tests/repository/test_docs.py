"""docs/: every block of code runs as it is written, what is migrated says the same as before, and names in the tables exist."""

from __future__ import annotations

import difflib
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from surefoot import errors
from surefoot.testing.wire import OpenAISim

DOCS = Path(__file__).resolve().parents[2] / "docs"
MIGRATING = (DOCS / "migrating.md").read_text(encoding="utf-8")
THEIRS = ("langchain_openai", "llama_index.llms.openai", "llama_index.embeddings.openai", "litellm")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


PROGRAMS = [
    pytest.param(code, id=f"{path.stem}-{n}")
    for path in sorted(DOCS.glob("*.md"))
    for n, code in enumerate(blocks(path.read_text(encoding="utf-8"), "python"))
]
PAIRS = list(zip(*[iter(blocks(MIGRATING, "python")[:6])] * 2, strict=True))


def is_here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package
        return False


@pytest.fixture(scope="module")
def provider():
    """One simulated OpenAI for all of them."""
    with OpenAISim() as sim, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-test")
        for variable in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
            patch.setenv(variable, f"{sim.url}/v1")
        yield sim


def run(code: str, capsys: pytest.CaptureFixture[str]) -> str:
    exec(compile(code, "docs", "exec"), {"__name__": "docs"})
    return capsys.readouterr().out


@pytest.mark.parametrize("code", PROGRAMS)
def test_code_runs_as_written(code, provider, capsys):
    """Of others' classes, where their packages are installed."""
    missing = [module for module in THEIRS if f"from {module} import" in code and not is_here(module)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    before = len(provider.requests)
    assert run(code, capsys).strip()
    assert len(provider.requests) > before


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=["langchain", "llamaindex", "litellm"])
def test_a_migrated_program_prints_the_same(before, after, provider, capsys):
    """One line replaced is no promise while nobody has held the two outputs side by side."""
    missing = [module for module in THEIRS if f"from {module} import" in before and not is_here(module)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    assert run(before, capsys) == run(after, capsys)


@pytest.mark.parametrize("number", range(3), ids=["langchain", "llamaindex", "litellm"])
def test_the_difference_is_the_one_shown_and_no_longer(number):
    """At most as many lines as before."""
    before, after = (code.splitlines() for code in PAIRS[number])
    lines = [line for line in difflib.unified_diff(before, after, lineterm="", n=0) if not line.startswith(("---", "+++", "@@"))]
    assert blocks(MIGRATING, "diff")[number].splitlines() == lines
    assert len(after) <= len(before)
    assert f"{len(before)} lines before and {len(after)} after" in MIGRATING


def test_the_errors_of_the_table_exist():
    """A renamed class must not stay in the guide."""
    table = MIGRATING.partition("## Errors")[2].partition("Where several")[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("|")][2:]
    said = [re.findall(r"`(\w+)`", row[-2])[0] for row in rows]
    assert all(issubclass(getattr(errors, name), errors.SurefootError) for name in said)
    assert set(said) >= {one.__name__ for one in (*errors.Transient.__subclasses__(), *errors.Permanent.__subclasses__())} - {
        "InvalidOutput", "Exhausted"
    }  # fmt: skip


def test_langchains_errors_of_the_table_are_those_that_ours_are():
    """`except ModelRateLimitError` goes on catching what it caught."""
    from langchain_surefoot.errors import FAMILIES

    theirs = {ours.__name__: one.__name__ for ours, one in FAMILIES}
    table = MIGRATING.partition("## Errors")[2].partition("Where several")[0]
    for row in [row.split("|") for row in table.splitlines() if row.startswith("|")][2:]:
        name = re.findall(r"`(\w+)`", row[-2])[0]
        family = next((theirs[kind.__name__] for kind in getattr(errors, name).__mro__ if kind.__name__ in theirs), None)
        if family is not None and name != "ContentRefused":
            assert family in row[-3], name
