"""Which test runs which function of our own code, and how long it takes: what `mutants` asks, so that it runs no test in vain.

`instrument` lets every function of a copy of the repository say that it was called, and pytest, with this module as a plugin, notes which
test was running: `record`. The same plugin runs given tests alone, in the order given. It imports nothing of ours: what it counts would be
imported before it counts.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

WRITE, ONLY = "REACH_WRITE", "REACH_ONLY"  # in the environment of pytest: where to write what was reached; which tests to run
EXAMPLES = 5  # of hypothesis, while it is noted: they differ in values, hardly in the functions they reach
ONE_TEST_S = 120  # a change may make a test wait for ever
PRELOADED = (
    "pytest",
    "pytest_asyncio",
    "pytest_timeout",
    "hypothesis.stateful",
    "aiohttp",
    "msgspec",
    "numpy",
    "openai",
    "anthropic",
    "sqlite3",
)
OUTPUT = "pytest.txt"  # what it said last, in the copy
PASSED = (0, 5)  # pytest's codes for no failure, and for no test
NOT_RUN = 70
USAGE_ERROR = 4  # of pytest
UNUSED = (
    "langsmith_plugin",
    "codspeed",
    "benchmark",
    "syrupy",
    "recording",
    "valkey",
    "socket",
    "platformdirs",
    "xdist",
)  # seconds to import
HEAD = "import builtins as _builtins\n_reached = getattr(_builtins, '_reached_functions', set()).add\n"

Reached: TypeAlias = "dict[str, dict[str, Any]]"  # a test's file -> "digest" of its text, "tests": id -> [seconds, functions]

_reached: set[str] = set()
vars(builtins)["_reached_functions"] = _reached
_tests: dict[str, list[Any]] = {}


class _Marker(ast.NodeTransformer):
    """Every function begins with a call that says its name."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._names: list[str] = []

    def _visit_named(self, node: Any) -> Any:
        self._names.append(node.name)
        self.generic_visit(node)
        if not isinstance(node, ast.ClassDef):
            name = f"{self._file}:{'.'.join(self._names)}"
            begin = 1 if ast.get_docstring(node) is not None else 0
            node.body.insert(begin, ast.parse(f"_reached({name!r})").body[0])
        self._names.pop()
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _visit_named  # noqa: N815 - ast looks for these names


def instrument(copy: Path, files: Iterable[str]) -> None:
    """Let every function of `files` below `copy` say when it is called."""
    for file in files:
        tree = _Marker(file).visit(ast.parse((copy / file).read_text(encoding="utf-8")))
        begin = 1 if ast.get_docstring(tree) is not None else 0
        while begin < len(tree.body) and isinstance(tree.body[begin], ast.ImportFrom) and tree.body[begin].module == "__future__":
            begin += 1
        tree.body[begin:begin] = ast.parse(HEAD).body
        (copy / file).write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")


def function_at(text: str, line: int) -> str:
    """The innermost function of a module around `line`, as `instrument` names it; "" outside of all."""

    def walk(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if child.lineno <= line <= (child.end_lineno or 0):
                    if not isinstance(child, ast.ClassDef):
                        yield (*names, child.name)
                    yield from walk(child, (*names, child.name))
            else:
                yield from walk(child, names)

    found = list(walk(ast.parse(text), ()))
    return ".".join(found[-1]) if found else ""


def run(copy: Path, files: Sequence[str], **environment: str) -> int:
    """Pytest's exit code for test files of a copy of the repository, with its own code and this plugin; in a process of its own.

    It is forked from one that has imported what is not ours, which takes seconds.
    """
    processes = get_context("forkserver")
    processes.set_forkserver_preload(list(PRELOADED))
    process = processes.Process(target=_pytest, args=(str(copy), tuple(files), environment))
    process.start()
    process.join()
    code = process.exitcode or 0
    if code in {USAGE_ERROR, NOT_RUN}:
        raise RuntimeError(f"pytest {' '.join(files)}: {(copy / OUTPUT).read_text(encoding='utf-8')[-500:]}")
    return code


def has_passed(copy: Path, files: Sequence[str], **environment: str) -> bool:
    """Whether all tests of those files pass. Raises RuntimeError where they could not be run."""
    return run(copy, files, **environment) in PASSED


def _pytest(copy: str, files: Sequence[str], environment: dict[str, str]) -> None:
    """Run them and end the process with pytest's code; NOT_RUN where it does not come to that, which is no failed test."""
    code = NOT_RUN
    try:
        code = _run_here(copy, files, environment)
    except BaseException:  # noqa: BLE001 - told by who waits for this process
        (Path(copy) / OUTPUT).write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(code)


def _run_here(copy: str, files: Sequence[str], environment: dict[str, str]) -> int:
    folders = [str(Path(copy) / one) for one in ("src", "integrations", "pipelines", "eval", "")]
    ours = [name for name in sys.modules if name.partition(".")[0] in {"surefoot", "tests"}]
    if ours:
        raise RuntimeError(f"imported before the tests were: {ours}")
    root = Path(__file__).parents[3]
    code = {root / one for one in ("src", "integrations", "pipelines", "eval", "")}  # not an environment that stands below it
    sys.path[:] = [*folders, *(one for one in sys.path if Path(one or ".").resolve() not in code)]
    os.environ.update({"PYTHONPATH": os.pathsep.join(folders), **environment})  # noqa: TID251 - of a process of ours
    sys.dont_write_bytecode = False  # what is compiled once is read by those that come after it
    os.chdir(copy)
    output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    import pytest

    stop = () if WRITE in environment else ("-x",)
    without = [f"-pno:{one}" for one in UNUSED]
    return int(pytest.main(["-q", *stop, *without, "-m", "not heavy", f"--timeout={ONE_TEST_S}", "-p", __name__, *files]))


def digest(path: Path) -> str:
    """Of a file's text."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def record(copy: Path, kept: Path, tests: Sequence[str], files: Sequence[str]) -> Reached:
    """What each test file reaches in `files`; those that have not changed since are read from `kept`."""
    known: Reached = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    originals = {file: (copy / file).read_bytes() for file in files}
    missing = [test for test in tests if known.get(test, {}).get("digest") != digest(copy / test)]
    kept.parent.mkdir(parents=True, exist_ok=True)
    instrument(copy, files)
    try:
        for folder, some in groupby(missing, lambda test: test.rpartition("/")[0]):
            noted, files_of_folder = copy / "reached.json", list(some)
            noted.unlink(missing_ok=True)
            run(copy, files_of_folder, **{WRITE: str(noted)})
            found = json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else {}
            for test in files_of_folder:
                own = {name: one for name, one in found.items() if name.partition("::")[0] == test}
                known[test] = {"digest": digest(copy / test), "tests": own}
            kept.write_text(json.dumps(known), encoding="utf-8")
            print(f"{len(found):4} tests in {folder}", flush=True)
    finally:
        for file, text in originals.items():
            (copy / file).write_bytes(text)
    return {test: known[test] for test in tests}


# The plugin


def pytest_configure() -> None:
    """Few examples, while it is noted what is reached."""
    if WRITE in os.environ:  # noqa: TID251 - of a process of ours
        from hypothesis import settings

        settings.register_profile("reach", max_examples=EXAMPLES, deadline=None)
        settings.load_profile("reach")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """The tests asked for alone, in that order."""
    asked = os.environ.get(ONLY)  # noqa: TID251 - of a process of ours
    if asked is not None:
        by_id = {item.nodeid: item for item in items}
        items[:] = [by_id[one] for one in json.loads(Path(asked).read_text(encoding="utf-8")) if one in by_id]


def pytest_runtest_logstart() -> None:
    """A test begins."""
    _reached.clear()


def pytest_runtest_logreport(report: Any) -> None:
    """A part of it ended: what has been reached so far, and how long it took."""
    noted = _tests.setdefault(report.nodeid, [0.0, []])
    noted[0] += report.duration
    if report.when == "teardown":
        noted[1] = sorted(_reached)


def pytest_sessionfinish() -> None:
    """Write it down."""
    where = os.environ.get(WRITE)  # noqa: TID251 - of a process of ours
    if where is not None:
        Path(where).write_text(json.dumps(_tests), encoding="utf-8")
