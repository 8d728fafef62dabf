"""ARCHITECTURE.md holds: its folders, orders, contracts, tests, files and functions are those of the code."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from surefoot.core.stack import CALL_ORDER, TARGET_ORDER

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
CODE = ("src", "integrations", "pipelines", "eval")
TRIPS = ("A prompt", "A key", "A deadline", "A cache key", "A cost", "A delta")
MAX_STOPS = 8


def section(title: str, level: int = 2) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    found = re.search(rf"^{'#' * level} {re.escape(title)}\n(.*?)(?=^#{{2,{level}}} |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def block(text: str, number: int = 0) -> list[str]:
    """The lines of a code block."""
    return re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[number].splitlines()


@cache
def names(path: Path) -> set[str]:
    """What a module defines: "function", "Class", "Class.method"; values at the top, too."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


def packages() -> set[str]:
    """Folders that hold modules, as they are."""
    found = {path.parent for top in CODE for path in (ROOT / top).rglob("*.py")}
    return {f"{path.relative_to(ROOT)}/" for path in found}


def test_each_folder_is_named_and_each_name_is_a_folder():
    """A newcomer finds every folder here, and none that has gone."""
    named = [line.split()[0] for line in block(section("The tree"))]
    assert len(named) == len(set(named))
    assert [name for name in named if not (ROOT / name).is_dir()] == []
    assert packages() - set(named) == set()


def test_the_orders_are_those_of_the_stack():
    """The order is an argument; the page must not argue for another one."""
    text = section("The default order, and why")
    assert tuple(block(text, 0)[0].split(" > ")) == CALL_ORDER
    assert tuple(block(text, 1)[0].split(" > ")) == TARGET_ORDER


def test_each_reason_has_its_test():
    """A wrong order that no test shows is an opinion."""
    named = re.findall(r"`(test_\w+)` \|$", section("The default order, and why"), re.MULTILINE)
    assert len(named) >= 10
    assert set(named) <= names(ROOT / "tests/test_compositions.py")


def test_who_may_import_whom_is_the_linters_contract():
    """import-linter holds what pyproject.toml says, so the page must say the same."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["type"] == "layers")
    assert block(section("Who may import whom")) == layers


@pytest.mark.parametrize("title", TRIPS)
def test_each_stop_of_a_trip_exists(title: str):
    """At most eight stops, each a file and a function that are there."""
    lines = re.findall(r"^\d+\. (.*)", section(title, 3), re.MULTILINE)
    assert 3 <= len(lines) <= MAX_STOPS
    for line in lines:
        stop = re.match(r"`([\w./]+): ([\w.]+)` ", line)
        assert stop is not None, line
        path, name = ROOT / stop[1], stop[2]
        assert path.is_file(), line
        assert name in names(path), line


def test_every_path_on_the_page_exists():
    """Also in prose and tables; `x` stands for a name of your own."""
    paths = {one for one in re.findall(r"`([\w./]+/[\w./]*)`", PAGE) if one.startswith((*(f"{top}/" for top in CODE), "tests/"))}
    assert len(paths) > 10
    assert [one for one in sorted(paths) if "/x/" not in one and not (ROOT / one).exists()] == []
