"""The house rules that no linter knows: sizes, mirrored tests, docstrings, light imports, contracts that really bite."""

from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
import sys
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = [ROOT / "src/surefoot", ROOT / "integrations", ROOT / "pipelines", ROOT / "eval"]
MAX_FILE, MAX_FUNCTION, MAX_TEST, MAX_FOLDER = 400, 50, 90, 14
REASON = re.compile(r"#\s*long:\s*\S+")  # the one-line reason that excuses a long file (near its top) or function (on its def line)


def modules() -> list[Path]:
    return sorted(path for folder in CODE for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path):
    """Short tails: no file over 400 lines and no function over 50 without a reason."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_FILE or any(REASON.search(line) for line in lines[:30]), f"{len(lines)} lines"
    assert not long_functions(path, MAX_FUNCTION)


def test_functions_of_the_tests_stay_small():
    """A test that does not fit a screen is several: no function in the tests over 90 lines without a reason."""
    paths = sorted(path for path in (ROOT / "tests").rglob("*.py") if "__pycache__" not in path.parts)
    assert len(paths) > 100
    assert not {str(path.relative_to(ROOT)): found for path in paths if (found := long_functions(path, MAX_TEST))}


def test_long_function_is_found(tmp_path: Path):
    """The rule above can fail; a reason on the line of its `def` excuses it."""
    body = "    pass\n" * 3
    (tmp_path / "one.py").write_text(f"def short():\n{body}\n\nasync def long():\n{body * 2}\n\ndef told():  # long: a table\n{body * 2}")
    assert long_functions(tmp_path / "one.py", 4) == ["long: 7 lines"]


def long_functions(path: Path, most: int) -> list[str]:
    """The functions of a file that have more than `most` lines and no reason."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    sizes = {
        node: (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return [f"{node.name}: {size} lines" for node, size in sizes.items() if size > most and not REASON.search(lines[node.lineno - 1])]


TOGETHER = {  # modules whose promises stand in the tests of a neighbour
    "cli/ask.py": "cli/test_main.py",
    "cli/models.py": "cli/test_main.py",
    "cli/reach.py": "cli/test_doctor.py",
    "cli/tables.py": "cli/test_main.py",
    "backup/copies.py": "backup/test_backup.py",
    "backup/snapshots.py": "backup/test_backup.py",
    "backup/tables.py": "backup/test_backup.py",
    "cli/backup.py": "backup/test_backup.py",
    "cli/usage.py": "cli/test_main.py",
    "core/deltas.py": "core/test_stream.py",
    "jobs/bodies.py": "jobs/test_kinds.py",
    "jobs/chunk.py": "jobs/test_worker.py",
    "jobs/claims.py": "jobs/test_worker.py",
    "jobs/ledger.py": "jobs/test_queue.py",
    "jobs/models.py": "jobs/test_queue.py",
    "jobs/records.py": "jobs/test_queue.py",
    "jobs/submitting.py": "jobs/test_queue.py",
    "models/base.py": "models/test_chat.py",
    "models/batched.py": "jobs/test_batches.py",
    "models/embed.py": "models/test_chat.py",
    "models/streams.py": "models/test_chat.py",
    "providers/http/reading.py": "providers/test_openai.py",
    "providers/http/aws_events.py": "providers/http/test_sdk.py",
    "providers/http/body.py": "providers/test_vendor_tools.py",
    "providers/http/direct.py": "providers/http/test_session.py",
    "providers/http/exchange.py": "providers/http/test_session.py",
    "providers/http/redact.py": "providers/http/test_faults.py",
    "rules/token_bucket/queue.py": "rules/token_bucket/test_fixed.py",
    "runtime/clock.py": "cache/test_envelope.py",
    "usage/accounts.py": "layers/guards/test_budget.py",
}


def test_every_module_has_a_test_of_its_name():
    """tests/ mirrors src/surefoot: `a/b.py` has tests/a/test_b.py, or its folder has one test together (tests/test_a.py)."""
    missing = []
    for path in sorted((ROOT / "src/surefoot").rglob("*.py")):
        place = path.relative_to(ROOT / "src/surefoot")
        if path.stem.startswith("_") or "testing" in place.parts:
            continue
        folder = ROOT / "tests" / place.parent
        if (ROOT / "tests" / TOGETHER.get(str(place), "nowhere")).exists():
            continue
        if not (folder / f"test_{path.stem}.py").exists() and not folder.with_name(f"test_{folder.name}.py").exists():
            missing.append(str(place))
    assert not missing


def test_no_folder_is_crowded():
    """At most 14 modules a folder: a reader sees what there is."""
    folders = {path.parent for path in modules()}
    crowded = {str(one.relative_to(ROOT)): len(list(one.glob("*.py"))) for one in folders if len(list(one.glob("*.py"))) > MAX_FOLDER}
    assert not crowded


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_path_of_a_machine_is_committed(path: Path):
    """The repository speaks of surefoot alone."""
    assert not re.search(r"/(?:work|root|home/\w+)/", path.read_text(encoding="utf-8"))


def test_every_field_of_a_public_record_has_its_docstring():
    """Unit, range and the default's reason stand under the field, where `help()` and documentation sites find them."""
    from tests.repository.test_documented import FOUND, undocumented

    assert {f"{module}.{node.name}": missing for module, node in FOUND if (missing := undocumented(node))} == {}


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
    "downwards only": (
        "rules/load_balance.py",
        "import surefoot.layers.repeat.balance\n",
    ),  # a rule of one layer: two would also meet through it
    "layers are siblings": ("layers/repeat/retry.py", "import surefoot.layers.watch.timeout\n"),
    "providers are siblings": ("providers/anthropic/endpoint.py", "import surefoot.providers.openai.endpoint\n"),
    "rules are siblings": ("rules/breaker.py", "import surefoot.rules.token_bucket\n"),
    "core knows no framework": ("events.py", "import langchain_core\n"),
    "vendor SDKs stay in their provider's folder": ("layers/watch/trace.py", "import openai\n"),
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
    for name in ("src", "integrations", "pipelines", "eval"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    where, line = PLANTS[contract]
    path = tmp_path / "src/surefoot" / where
    text = path.read_text(encoding="utf-8")
    marker = "from __future__ import annotations\n"
    at = text.index(marker) + len(marker) if marker in text else text.index('"""', 3) + 4
    path.write_text(text[:at] + line + text[at:], encoding="utf-8")
    script = (
        "import sys; sys.path[:0] = ['src', 'integrations', 'pipelines', 'eval']; "
        "from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    broken = re.findall(r"^(.+?) BROKEN", done.stdout, re.MULTILINE)
    assert [name.strip() for name in broken] == [contract], done.stdout


PRIVATE_WORDS = {
    # word: the field's term to use instead
    "room": "layer", "rooms": "layers", "door": "endpoint", "doors": "endpoints", "keeper": "(drop)", "steerer": "(drop)",
    "edge": "provider", "edges": "providers", "stranger": "plugin", "strangers": "plugins", "tally": "state", "purse": "spend counter",
    "flight": "shared call", "flights": "shared calls", "seat": "view", "aboard": "waiters", "board": "join",
    "mailbox": "wake-up queue", "headroom": "rate headers", "worth": "calibration", "shelf": "collection", "wish": "options",
    "pour": "stream",
}  # fmt: skip
ALLOWED_NAMES = {
    # identifier: why it stays
    "in_flight": "calls in flight: the field's term", "_in_flight": "the same", "IN_FLIGHT": "the same", "IN_FLIGHT_TUNED": "the same",
    "InFlight": "the same", "max_in_flight": "the same, public", "SingleFlight": "single flight: the field's term",
    "_single_flight": "the same", "single_flight": "the same", "leave_room": "space",
    "_EDGES": "bounds of histogram bins",
}  # fmt: skip
PRIVATE_PROSE = re.compile(
    r"\b(?:rooms|home loop|last words|mailbox|purses?|tally|seats|passengers|on board|aboard|keeper's|steerers?|strangers?"
    r"|(?:the|a|an|one|every|each|this|inner|outermost|cache|batch|coalesce) (?:room(?! for| to| left| between)|door|edge|flight)\b(?!s of)"
    r"|(?:is|was|are|were|until|when|once) settled)\b"
)
ALLOWED_PROSE = {
    # module stem: what may stand in it, and why
    "quantile": r"edge",  # of a histogram's bin
    "corpus": r"edge",  # of a page
    "refusals": r"edge",  # of a word
    "__init__": r"such an edge",  # langchain_surefoot: of the import graph
    "spending": r"settled", "purse": r"settled", "accounts": r"settled", "budget": r"settled",  # a reservation is settled
    "fixed": r"settled", "given": r"settled", "calibration": r"settled", "worth": r"settled", "rate": r"settled",  # likewise
    "gate": r"settle",  # a question is settled by data
}  # fmt: skip
LAYER_TWINS = {
    # class name: why two classes bear it
    "Breaker": "a layer is named as its module, and so is its rule",
    "Semantic": "a layer is named as its module, and so are its public settings",
    "Joke": "the suite's schema is named as the test's: what reaches the wire is compared",
}


def names(path: Path) -> set[str]:
    text = re.sub(r"^(\s*)(?:from [\w.]+ import|import [\w.]+)", r"\1pass;", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = re.sub(r"pass; \(", "_ = (", text)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def parts(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_private_words_do_not_come_back_as_names(path: Path):
    """A name is what a reader who knows the field would type into a search box."""
    bad = {name: PRIVATE_WORDS[part] for name in names(path) - ALLOWED_NAMES.keys() for part in parts(name) if part in PRIVATE_WORDS}
    assert not bad


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_private_words_do_not_come_back_in_prose(path: Path):
    """Docstrings and comments say what a reader of the field understands at once."""
    found = []
    allowed = ALLOWED_PROSE.get(path.stem)
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.string.startswith('"""')):
            text = " ".join(token.string.split())
            found += [match[0] for match in PRIVATE_PROSE.finditer(text) if not (allowed and re.search(allowed, match[0]))]
    assert not found


def test_a_class_name_means_one_thing():
    """Each name once in the code, and no test's helper is named as a class of the code. Classes inside functions do not count."""
    where = defaultdict(list)
    for folder in (*CODE, ROOT / "tests"):
        for path in sorted(folder.rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("Test"):
                    where[node.name].append(str(path.relative_to(ROOT)))
    twice = {
        name: paths
        for name, paths in where.items()
        if len(paths) > 1 and name not in LAYER_TWINS and not all(path.startswith("tests/") for path in paths)
    }
    assert not twice


def test_a_version_is_one_everywhere():
    """The package, the image's tag, the chart and the changelog, whose releases are dated and stand newest first, sorted, nothing twice."""
    from surefoot import __version__

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert releases[0][0] == __version__
    assert [day for _, day in releases] == sorted((day for _, day in releases), reverse=True)
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"surefoot:{__version__}" in (ROOT / "deploy/compose/compose.yaml").read_text(encoding="utf-8")
    assert f'appVersion: "{__version__}"' in (ROOT / "deploy/chart/Chart.yaml").read_text(encoding="utf-8")
    bullets = re.findall(r"^- .+$", changelog, re.MULTILINE)
    assert sorted({one for one in bullets if bullets.count(one) > 1}) == []
    newest = changelog.split("\n## ")[2]
    assert re.findall(r"^### (\w+)$", newest, re.MULTILINE) == ["Added", "Changed", "Fixed"]
