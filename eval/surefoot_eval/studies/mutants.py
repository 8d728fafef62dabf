"""Would a test notice? Seeded single-line changes of our own code, each against its nearest tests: python -m surefoot_eval mutants

[--count 60] [--seed 1] [--only layers/guards] [--jobs 1]

A change turns a comparison, `and` into `or`, `+` into `-`, `min` into `max`, True into False, drops a `not`, moves a number inside of a
function, or leaves out a statement. What changes nothing but a message, a `describe()` or a `__repr__` is not drawn. The nearest tests are
those of the module's own name; then, of those that import it and those of its folder, the ones that run the changed function (`reach` notes
once which do), the quickest first; all in a copy of the repository. A change that they all pass has survived, and is shown: it is
equivalent, or a test is missing.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

from msgspec import Struct

from surefoot_eval.bench.crew import ROOT
from surefoot_eval.studies.reach import ONLY, Reached, function_at, has_passed, record

FOLDERS = ("rules", "layers", "models", "usage")
SOURCE = "src/surefoot"
KEPT = ".surefoot/reached.json"  # which test runs which function; delete it where the code has changed much
OF_TEXT = {"tests/test_house.py", "tests/test_imports.py", "tests/test_architecture.py"}  # read the code, do not run it
TESTS_S = 60.0  # of tests a change, as long as they took when they were noted
FORGIVEN = {"describe", "__repr__", "__str__", "__rich_repr__"}  # nothing depends on what they say
SAYS = {"warning", "info", "debug", "error", "exception"}  # of a logger
TURNED: dict[type, str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not", ast.IsNot: "is",
    ast.In: "not in", ast.NotIn: "in", ast.And: "or", ast.Or: "and", ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*",
}  # fmt: skip
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
IGNORED = ("__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".venv*", "node_modules", ".surefoot")

_later = itertools.count(2_000_000_000)  # seconds since 1970


class Change(Struct, frozen=True):
    """One line of one file, written otherwise."""

    file: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}\n    - {self.before.strip()}\n    + {self.after.strip()}"


class _Finder(ast.NodeVisitor):
    """Every change that could be made to one file."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._lines = text.splitlines()
        self._depth = 0  # of functions: a constant of the module is a setting, not a decision
        self.found: list[Change] = []

    def _put(self, line: int, begin: int, end: int, text: str) -> None:
        raw = self._lines[line - 1].encode()  # the tree counts bytes
        after = (raw[:begin] + text.encode() + raw[end:]).decode()
        self.found.append(Change(file=self._file, line=line, before=raw.decode(), after=after))

    def _between(self, left: ast.expr, right: ast.expr, text: str) -> None:
        """What stands between two expressions of one line, in place of which `text`."""
        if left.end_lineno == right.lineno and left.end_col_offset is not None:
            gap = self._lines[right.lineno - 1].encode()[left.end_col_offset : right.col_offset].decode()
            if "(" not in gap and ")" not in gap:
                self._put(right.lineno, left.end_col_offset, right.col_offset, f" {text} ")

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """The body alone: annotations and defaults decide nothing at run time, or are settings."""
        if node.name in FORGIVEN:
            return
        self._depth += 1
        for one in node.body:
            self.visit(one)
        self._depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast looks for this name

    def visit_If(self, node: ast.If) -> None:
        """Not what is for type checkers."""
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        """What an error says is tested where it matters."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """States what cannot happen."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """The value alone."""
        if node.value is not None and self._depth:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """A message, mostly."""

    def visit_Expr(self, node: ast.Expr) -> None:
        """A statement of its own, left out."""
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if not isinstance(call, ast.Call) or (isinstance(call.func, ast.Attribute) and call.func.attr in SAYS):
            return
        self._leave_out(node)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """What is remembered, not remembered."""
        if self._depth and isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            self._leave_out(node)
        if self._depth:
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """A count that does not count."""
        self._leave_out(node)

    def _leave_out(self, node: ast.stmt) -> None:
        if self._depth and node.lineno == node.end_lineno and node.end_col_offset is not None:
            self._put(node.lineno, node.col_offset, node.end_col_offset, "pass")

    def visit_Compare(self, node: ast.Compare) -> None:
        """The other side of the bound."""
        if len(node.ops) == 1 and self._depth:
            self._between(node.left, node.comparators[0], TURNED[type(node.ops[0])])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """The first of a row."""
        if self._depth and len(node.values) == 2:
            self._between(node.values[0], node.values[1], TURNED[type(node.op)])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Arithmetic."""
        is_text = any(
            isinstance(one, ast.JoinedStr) or (isinstance(one, ast.Constant) and isinstance(one.value, str)) for one in ast.walk(node)
        )
        if self._depth and type(node.op) in TURNED and not is_text:
            self._between(node.left, node.right, TURNED[type(node.op)])
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Without its `not`."""
        if self._depth and isinstance(node.op, ast.Not) and node.lineno == node.operand.lineno:
            self._put(node.lineno, node.col_offset, node.col_offset + len("not "), "")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """The least for the most."""
        name = node.func
        if self._depth and isinstance(name, ast.Name) and name.id in SWAPPED and name.end_col_offset is not None:
            self._put(name.lineno, name.col_offset, name.end_col_offset, SWAPPED[name.id])
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Another number, the other truth."""
        if not self._depth or node.end_col_offset is None:
            return
        if isinstance(node.value, bool):
            self._put(node.lineno, node.col_offset, node.end_col_offset, str(not node.value))
        elif isinstance(node.value, int | float):
            self._put(node.lineno, node.col_offset, node.end_col_offset, repr(node.value * 2 if node.value else 1))


def changes(root: Path, only: str = "") -> Iterator[Change]:
    """Every change of every file below the folders."""
    for folder in FOLDERS:
        for path in sorted((root / SOURCE / folder).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            if only in file:
                text = path.read_text(encoding="utf-8")
                finder = _Finder(file, text)
                finder.visit(ast.parse(text))
                yield from finder.found


def draw(root: Path, count: int, seed: int, only: str = "") -> list[Change]:
    """`count` of them, no two on one line."""
    rng, drawn = Random(seed), dict[tuple[str, int], Change]()
    every = list(changes(root, only))
    rng.shuffle(every)
    for one in every:
        if len(drawn) < count:
            drawn.setdefault((one.file, one.line), one)
    return list(drawn.values())


def nearest(root: Path, file: str) -> list[list[str]]:
    """The tests to run, in rounds: of the module's name, then those that import it, then those of its folder."""
    module = Path(file).relative_to(SOURCE)
    stem, dotted = module.stem.strip("_"), ".".join(("surefoot", *module.with_suffix("").parts))
    if module.stem == "__init__":
        stem, dotted = module.parent.name, ".".join(("surefoot", *module.parent.parts))
    tests = sorted((root / "tests").rglob("test_*.py"))
    imports = re.compile(rf"\b{re.escape(dotted)}\b|from {re.escape(dotted.rpartition('.')[0])} import .*\b{re.escape(module.stem)}\b")
    folder = f"test_{module.parent.name}"  # a folder may have one test together
    named = [one for one in tests if (stem in one.stem and _is_near(one, root, module)) or one.stem == folder]
    together = root / "tests" / _together(root).get(module.as_posix(), "nowhere")
    named += [together] if together.exists() and together not in named else []
    importing = [one for one in tests if one not in named and imports.search(one.read_text(encoding="utf-8"))]
    beside = [one for one in tests if one not in named + importing and _is_near(one, root, module)]
    return [[one.relative_to(root).as_posix() for one in some] for some in (named, importing, beside)]


def _together(root: Path) -> dict[str, str]:
    """Modules whose tests stand in a neighbour's, as the house rules list them; read, not imported, as tests are imported in a copy."""
    house = root / "tests/test_house.py"
    for node in ast.parse(house.read_text(encoding="utf-8")).body if house.exists() else ():
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "TOGETHER":
            return ast.literal_eval(node.value)  # type: ignore[no-any-return]
    return {}


def _is_near(test: Path, root: Path, module: Path) -> bool:
    folder = root / "tests" / module.parent
    while not folder.is_dir():  # a folder of modules may have no folder of tests
        folder = folder.parent
    return test.is_relative_to(folder)


def reaching(root: Path, change: Change, reached: Reached) -> list[str]:
    """The tests that run the changed function, the quickest first, up to TESTS_S."""
    name = f"{change.file}:{function_at((root / change.file).read_text(encoding='utf-8'), change.line)}"
    of_one = [one for reaches in reached.values() for one in reaches["tests"].items()]
    found = sorted((seconds, test) for test, (seconds, functions) in of_one if name in functions)
    total_s, chosen = 0.0, list[str]()
    for seconds, test in found:
        total_s += seconds
        if total_s <= TESTS_S or not chosen:
            chosen.append(test)
    return chosen


def _is_noticed(copy: Path, change: Change, reached: Reached | None) -> bool:
    """True if a test fails with it: one of the module's own name, or, with `reached`, one of the others that run its function."""
    path, asked = copy / change.file, copy / "asked.json"
    original = path.read_text(encoding="utf-8")
    tests, environment = nearest(copy, change.file)[0], dict[str, str]()  # none where no test is of its name
    if reached is not None:
        tests = reaching(copy, change, reached)
        asked.write_text(json.dumps(tests), encoding="utf-8")
        tests, environment = list(dict.fromkeys(test.partition("::")[0] for test in tests)), {ONLY: str(asked)}
    if not tests:
        return False
    lines = original.splitlines(keepends=True)
    lines[change.line - 1] = change.after + "\n"
    times_ns = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_text("".join(lines), encoding="utf-8")
    later_s = next(_later)
    os.utime(path, (later_s, later_s))  # compiled modules are told apart by whole seconds
    try:
        return not has_passed(copy, tests, **environment)
    finally:
        path.write_text(original, encoding="utf-8")
        os.utime(path, ns=times_ns)


@contextmanager
def _copied() -> Iterator[Path]:
    """A copy of the repository."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*IGNORED), symlinks=True)
        yield copy


def _reached(changed: Sequence[Change]) -> Reached:
    """What the tests that are near to `changed`, but not of its name, run of FOLDERS."""
    files = [one.relative_to(ROOT).as_posix() for folder in FOLDERS for one in sorted((ROOT / SOURCE / folder).rglob("*.py"))]
    tests = {test for one in changed for some in nearest(ROOT, one.file)[1:] for test in some} - OF_TEXT
    with _copied() as copy:
        return record(copy, ROOT / KEPT, sorted(tests), files)


def _share(drawn: Sequence[Change], reached: Reached | None) -> list[Change]:
    """Those that survived, of changes made one after the other in a copy of the repository."""
    survived = []
    with _copied() as copy:
        for change in drawn:
            is_noticed = _is_noticed(copy, change, reached)
            left = "SURVIVED" if reached is not None else "not yet "  # by the tests of its name
            print(f"{'noticed ' if is_noticed else left} {change}", flush=True)
            if not is_noticed:
                survived.append(change)
    return survived


def main(args: argparse.Namespace) -> int:
    """Draw, try, tell; 1 if more than `--allow` survived."""
    drawn = draw(ROOT, args.count, args.seed, args.only)
    survived, reached = drawn, None
    with ThreadPoolExecutor(args.jobs) as pool:
        for is_wider in (False, True):
            if is_wider:
                reached = _reached(survived)
            parts = [survived[i :: args.jobs] for i in range(args.jobs)]
            survived = [one for some in pool.map(partial(_share, reached=reached), parts) for one in some]
    print(f"\n{len(survived)} of {len(drawn)} changes survived (seed {args.seed})")
    for change in survived:
        print(f"  {change}")
    return int(len(survived) > args.allow)
