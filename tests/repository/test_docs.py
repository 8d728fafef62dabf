"""docs/: every block of code runs as it is written, what is migrated says the same as before, and names in the tables exist."""

from __future__ import annotations

import difflib
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from surefoot import Policy, Target, errors, events, load
from surefoot.providers.http.faults import fault
from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim

DOCS = Path(__file__).resolve().parents[2] / "docs"
MIGRATING = (DOCS / "migrating.md").read_text(encoding="utf-8")
THEIRS = ("langchain_openai", "llama_index.llms.openai", "llama_index.embeddings.openai", "litellm")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


FRAGMENTS = {"jobs"}  # pieces of an async program, which tests/jobs runs whole
PROGRAMS = [
    pytest.param(code, id=f"{path.stem}-{n}")
    for path in sorted(DOCS.glob("*.md"))
    if path.stem not in FRAGMENTS
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
    """One simulated OpenAI for all of them, and the other vendors' wires beside it."""
    with OpenAISim() as sim, AnthropicSim() as anthropic, GeminiSim() as google, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-test")
        patch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")
        patch.setenv("ANTHROPIC_BASE_URL", anthropic.url)
        patch.setenv("GEMINI_API_KEY", "test")
        patch.setenv("GOOGLE_GEMINI_BASE_URL", google.url)
        for variable in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
            patch.setenv(variable, f"{sim.url}/v1")
        sim.others = (anthropic, google)
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
    before = asked(provider)
    assert run(code, capsys).strip()
    names_vendor = re.search(r'"(?:openai|anthropic|google):', code) and "OpenAISim" not in code
    is_theirs = any(f"from {module} import" in code for module in THEIRS)
    assert asked(provider) > before or not (names_vendor or is_theirs or code in MIGRATING)


def asked(provider):
    """Requests at all vendors."""
    return sum(len(one.requests) for one in (provider, *provider.others))


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


PAGES = sorted([*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS.parent)))
def test_links_lead_somewhere(page):
    """To files that exist, and to headings that stand in them."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", link):
            continue
        place, _, heading = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in titles}, link


def test_no_page_is_an_orphan():
    """A page that no other page names is not found, and so not written."""
    named = {page: page.read_text(encoding="utf-8") for page in PAGES}
    pages = {path for path in DOCS.rglob("*.md") if path.name != "README.md"}
    assert {page.name for page in pages if not any(page.name in text for other, text in named.items() if other != page)} == set()


def test_every_error_and_status_is_as_the_page_says():
    """The table of classes holds all that are raised, and that of statuses is what the code makes of them."""
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert rows == set(errors.__all__) - {"SurefootError", "Refused", "Fault", "Transient", "Permanent"}
    said = re.findall(r"^\| ([\d, ]+) \| `(\w+)` \| (yes|no) \|", page, re.MULTILINE)
    assert len(said) > 4
    for statuses, name, again in said:
        for status in map(int, statuses.split(", ")):
            error = fault("openai:m", status, {}, b"")
            assert (type(error).__name__, "yes" if error.retryable else "no") == (name, again), status


def test_names_of_the_other_tables_exist():
    """All events; and settings that the layers are set by."""
    told = (DOCS / "observability.md").read_text(encoding="utf-8")
    kinds = {name for name, kind in vars(events).items() if isinstance(kind, type) and issubclass(kind, events.Event)} - {"Event"}
    assert kinds == set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.+?) \|", told, re.MULTILINE))))
    layers = (DOCS / "layers.md").read_text(encoding="utf-8")
    words = {word for row in re.findall(r"^\|.+\| (.+) \|$", layers, re.MULTILINE) for word in re.findall(r"`(\w+)`", row)}
    assert len(words) > 10
    assert words <= {*Policy.__struct_fields__, *Target.__struct_fields__}


def test_settings_of_the_pages_load(tmp_path, monkeypatch):
    """Every block of TOML that describes a model."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    for page in DOCS.glob("*.md"):
        for block in (one for one in blocks(page.read_text(encoding="utf-8"), "toml") if "[chat." in one):
            (tmp_path / "surefoot.toml").write_text(block, encoding="utf-8")
            assert load(tmp_path / "surefoot.toml").names("chat")
