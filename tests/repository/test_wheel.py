"""What is installed works as what is checked out: a built wheel in an environment of its own, away from the repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]  # two environments are filled from a package index
LANGCHAIN = "from langchain_surefoot import ChatSurefoot; print(ChatSurefoot(model='local:extractive').invoke('hello').content)"
LLAMAINDEX = "from llama_index.llms.surefoot import Surefoot; print(Surefoot('local:extractive').complete('hello').text)"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The package as it is published."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(_pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", out, ROOT), check=True, cwd=out)
    return next(out.glob("surefoot-*.whl"))


def _pip(python, command, *words) -> list[str]:
    return [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", command, *map(str, words)]


class Installed:
    """A fresh environment that has the wheel with some extras, and a folder to work in."""

    def __init__(self, wheel: Path, extras: str, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self._bin = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        self._cwd = folder / "elsewhere"
        self._cwd.mkdir()
        wanted = f"surefoot{extras} @ {wheel.as_uri()}"
        uv = Path(sys.executable).with_name("uv")  # the same packages, in a tenth of the time; what only pip's settings reach, pip installs
        with_uv = [str(uv), "pip", "install", "--quiet", "--python", str(self._bin / "python"), wanted]
        if not (uv.exists() and subprocess.run(with_uv, check=False).returncode == 0):
            subprocess.run(_pip(self._bin / "python", "install", wanted), check=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment as a stranger would: in an empty folder, with nothing of the repository in reach."""
        env = {"PATH": str(self._bin), "HOME": str(self._cwd), "SYSTEMROOT": "", "NO_COLOR": "1"}
        return subprocess.run(
            [self._bin / words[0], *words[1:]], cwd=self._cwd, env=env, capture_output=True, text=True, timeout=600, check=False
        )


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory) -> Installed:
    return Installed(wheel, "", tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def full(wheel, tmp_path_factory) -> Installed:
    return Installed(wheel, "[rag,eval,openai,jobs]", tmp_path_factory.mktemp("full"))


def test_the_wheel_holds_what_is_imported_and_nothing_else(wheel):
    """Both adapters, the pipelines and the harness; not the tests, and not what measures this repository."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"surefoot", "langchain_surefoot", "llama_index", "llama_index_suite", "surefoot_rag", "surefoot_eval"}
    assert not [name for name in names if name.startswith(("llama_index/core", "surefoot_eval/bench", "surefoot_eval/studies"))]
    assert {"surefoot/py.typed", "langchain_surefoot/py.typed"} <= set(names)
    assert [name for name in names if name.startswith("surefoot/jobs/migrations/")]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("surefoot", "--help"), 0, "index a folder"),
        (("python", "-m", "surefoot", "--version"), 0, "surefoot"),
        (("surefoot", "ask", "hello", "-m", "local:extractive"), 0, "offline reader"),
        (("surefoot", "rag", "demo"), 1, 'pip install "surefoot[rag]"'),
        (("python", "-m", "surefoot_rag", "demo"), 1, 'pip install "surefoot[rag]"'),
        (("surefoot", "eval", "power", "--runs", "1"), 2, 'pip install "surefoot[eval]"'),
        (("surefoot", "ask", "hello", "-m", "openai:gpt-5-mini"), 1, 'pip install "surefoot[openai]"'),
        (("python", "-c", "import langchain_surefoot"), 1, 'pip install "surefoot[langchain]"'),
        (("python", "-c", "import llama_index.llms.surefoot"), 1, 'pip install "surefoot[llamaindex]"'),
    ],
)
def test_without_extras_it_works_or_says_what_to_install(bare, words, code, said):
    """No traceback of a missing module: the name of the extra."""
    run = bare.run(*words)
    assert (run.returncode, said in run.stdout + run.stderr) == (code, True), run.stdout + run.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("surefoot", "rag", "demo"), 0, "local:extractive"),
        (("surefoot", "rag", "list"), 1, "no index"),
        (("python", "-m", "surefoot_rag", "--help"), 0, "index a folder"),
        (("surefoot", "eval", "power", "--runs", "2"), 0, "1000"),
        (("python", "-m", "surefoot_eval", "--help"), 0, "run a suite"),
        (("surefoot", "eval", "bench"), 2, "in a checkout of the repository"),
        (("surefoot", "eval", "tokens", "--data", "x"), 2, "in a checkout of the repository"),
        (("surefoot", "doctor", "--model", "local:extractive"), 0, ""),
        (("surefoot", "jobs", "list"), 0, "no jobs"),
        (("python", "-c", LANGCHAIN), 0, "reader"),
        (("python", "-c", LLAMAINDEX), 0, "reader"),
    ],
)
def test_what_the_wheel_brings_runs_outside_of_the_repository(full, words, code, said):
    """Data files, entry points and dependencies are in it."""
    run = full.run(*words)
    assert (run.returncode, said in run.stdout + run.stderr) == (code, True), run.stdout + run.stderr


def test_a_folder_is_indexed_and_asked(full, tmp_path):
    """The way of a first user: install, index, ask; the answer cites the file."""
    (tmp_path / "tea.md").write_text("# Tea\n\nThe tea house in Rize closes at 22.00.\n", encoding="utf-8")
    indexed = full.run("surefoot", "rag", "index", "--docs", str(tmp_path))
    assert indexed.returncode == 0, indexed.stdout + indexed.stderr
    asked = full.run("surefoot", "rag", "ask", "When does the tea house in Rize close?")
    assert (asked.returncode, "22.00" in asked.stdout, "tea.md" in asked.stdout) == (0, True, True), asked.stdout + asked.stderr
