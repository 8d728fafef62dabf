"""What users' type checkers say of a program of theirs: nothing where it is right, and the line where it is not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("typed_program.py")
WANTED = {number for number, line in enumerate(PROGRAM.read_text(encoding="utf-8").splitlines(), 1) if line.endswith("# error")}

pytestmark = pytest.mark.heavy  # a type checker reads both frameworks: minutes, where it has never done so
SOURCES = [str(ROOT / folder) for folder in ("src", "integrations")]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The program where a user has it, not among our tests, whose types nobody checks."""
    return Path(shutil.copy(PROGRAM, tmp_path))


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.timeout(1200)
def test_mypy_finds_the_errors_and_no_others(program):
    """Strict, with the types that an installed surefoot has."""
    said = run(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program))
    found = {int(line) for line in re.findall(rf"{PROGRAM.name}:(\d+): error", said)}
    assert found == WANTED, said


@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("basedpyright") is None, reason="needs basedpyright, which brings its own node")
def test_pyright_finds_the_errors_and_no_others(program):
    """The same, as editors show it."""
    settings = {"typeCheckingMode": "standard", "extraPaths": SOURCES, "include": [program.name]}
    program.with_name("pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    said = run("basedpyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(program.parent))
    problems = [one for one in json.loads(said)["generalDiagnostics"] if one["severity"] == "error"]
    found = {one["range"]["start"]["line"] + 1 for one in problems}
    assert found == WANTED, "\n".join(f"{one['range']['start']['line'] + 1}: {one['message']}" for one in problems)
