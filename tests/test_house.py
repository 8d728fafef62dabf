"""The house rules that no linter knows: sizes, mirrored tests, docstrings, light imports, contracts that really bite."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = [ROOT / "src/surefoot", ROOT / "integrations", ROOT / "pipelines", ROOT / "eval"]
MAX_FILE, MAX_FUNCTION = 400, 60
REASON = re.compile(r"#\s*long:\s*\S+")  # the one-line reason that excuses a long file (near its top) or function (on its def line)


def modules() -> list[Path]:
    return sorted(path for folder in CODE for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path):
    """Short tails: no file over 400 lines and no function over 60 without a reason."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= MAX_FILE or any(REASON.search(line) for line in lines[:30]), f"{len(lines)} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= MAX_FUNCTION or REASON.search(lines[node.lineno - 1]), f"{node.name}: {size} lines"


def test_every_room_has_a_test_of_its_name():
    """tests/ mirrors src/surefoot, so that whoever changes a room knows where its promises stand."""
    missing = []
    for folder in ("", "rules", "layers", "stores", "providers"):
        for path in sorted((ROOT / "src/surefoot" / folder).glob("*.py")):
            if path.stem.startswith("_") or path.stem == "extractive_weights":
                continue
            if not (ROOT / "tests" / folder / f"test_{path.stem}.py").exists():
                missing.append(str(path.relative_to(ROOT)))
    assert not missing


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_path_of_a_machine_is_committed(path: Path):
    """The repository speaks of surefoot alone."""
    assert not re.search(r"/(?:work|root|home/\w+)/", path.read_text(encoding="utf-8"))


def test_import_is_light():
    """`import surefoot` loads no SDK, no framework, not even numpy; the models load none either until they are built."""
    script = "import sys, surefoot; surefoot.ChatModel; print('\\n'.join(sys.modules))"
    loaded = set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())
    heavy = {
        "openai",
        "anthropic",
        "google.genai",
        "langchain_core",
        "llama_index",
        "chromadb",
        "numpy",
        "aiohttp",
        "httpx",
        "httpx2",
        "pydantic",
    }
    assert not heavy & loaded


def test_import_takes_under_100_ms_of_cpu():
    """Measured beyond the interpreter's own start, best of five, CPU time, so that a busy machine does not decide."""
    script = "import time; t = time.process_time(); import surefoot; surefoot.ChatModel; print(time.process_time() - t)"
    runs = [
        float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout) for _ in range(5)
    ]
    print(f"import surefoot and ChatModel: {min(runs) * 1000:.0f} ms")
    bare = "import time; t = time.process_time(); import surefoot; print(time.process_time() - t)"
    plain = [
        float(subprocess.run([sys.executable, "-c", bare], capture_output=True, text=True, check=True, cwd=ROOT).stdout) for _ in range(5)
    ]
    assert min(plain) < 0.1


def test_front_door_is_narrow_and_every_name_opens():
    """At most 30 names, each of which exists."""
    import surefoot

    assert len(surefoot.__all__) <= 30
    for name in surefoot.__all__:
        assert getattr(surefoot, name) is not None


PLANTS = {
    "downwards only": ("rules/pick.py", "import surefoot.layers.balance\n"),  # a rule of one room: two would also meet through it
    "layers are siblings": ("layers/retry.py", "import surefoot.layers.timeout\n"),
    "stores are siblings": ("stores/memory.py", "import surefoot.stores.sqlite\n"),
    "providers are siblings": ("providers/anthropic.py", "import surefoot.providers.openai\n"),
    "rules are siblings": ("rules/breaker.py", "import surefoot.rules.bucket\n"),
    "core knows no framework": ("events.py", "import langchain_core\n"),
    "vendor SDKs stay in their provider's file": ("layers/trace.py", "import openai\n"),
}


def test_import_contracts_hold():
    """Who may import whom: downwards only."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("contract", PLANTS)
def test_a_planted_violation_breaks_exactly_its_contract(contract: str, tmp_path: Path):
    """A contract that cannot fail protects nothing."""
    for name in ("src", "integrations"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    where, line = PLANTS[contract]
    path = tmp_path / "src/surefoot" / where
    text = path.read_text(encoding="utf-8")
    marker = "from __future__ import annotations\n"
    at = text.index(marker) + len(marker) if marker in text else text.index('"""', 3) + 4
    path.write_text(text[:at] + line + text[at:], encoding="utf-8")
    script = (
        "import sys; sys.path[:0] = ['src', 'integrations']; "
        "from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    broken = re.findall(r"^(.+?) BROKEN", done.stdout, re.MULTILINE)
    assert [name.strip() for name in broken] == [contract], done.stdout
