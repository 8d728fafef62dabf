"""The README's examples run as they are written, in both languages; only the provider's address is turned to loopback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from surefoot import Policy
from surefoot.testing.wire import OpenAISim

ROOT = Path(__file__).resolve().parents[2]
FILES = ("README.md", "README.tr.md")
SETTINGS = ("docs/settings.md", "docs/tr/settings.md")
MAX_BYTES = 6_000  # more belongs on a page of its own


def blocks(language: str, files: tuple[str, ...] = FILES) -> list[tuple[str, int, str]]:
    found = []
    for name in files:
        text = (ROOT / name).read_text(encoding="utf-8")
        for number, match in enumerate(re.finditer(rf"```{language}\n(.*?)```", text, re.DOTALL)):
            found.append((name, number, match[1]))
    return found


@pytest.fixture(scope="module")
def provider():
    """One simulated provider for all examples: equal targets share one endpoint, as they do in an application."""
    with OpenAISim() as sim, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-test")
        patch.setenv("OPENAI_BASE_URL", f"{sim.url}/v1")
        yield sim


@pytest.mark.parametrize(("name", "number", "code"), blocks("python"), ids=lambda value: str(value)[:12])
def test_python_examples_run_as_written(name, number, code, provider, capsys):
    """An example nobody runs is wrong within a month."""
    before = len(provider.requests)
    exec(compile(code, f"{name}[{number}]", "exec"), {})
    assert len(provider.requests) > before
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(("name", "number", "code"), blocks("toml", SETTINGS), ids=lambda value: str(value)[:12])
def test_toml_examples_load(name, number, code, tmp_path, monkeypatch):
    """The same words as in Python."""
    from surefoot import load

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    path = tmp_path / "surefoot.toml"
    path.write_text(code, encoding="utf-8")
    models = load(path)
    assert models.chat("default").targets == ("openai:gpt-5-mini", "local:extractive")
    assert models.embed("default").targets == ("local:multilingual-e5-small",)


def test_both_readmes_say_the_same():
    """Same headings in number, same commands, same code."""
    english, turkish = ((ROOT / name).read_text(encoding="utf-8") for name in FILES)
    assert len(re.findall(r"^#+ ", english, re.MULTILINE)) == len(re.findall(r"^#+ ", turkish, re.MULTILINE))
    assert len(blocks("python")) % 2 == 0
    assert max(len(text.encode()) for text in (english, turkish)) <= MAX_BYTES
    for command in ("make demo", "make test", "surefoot rag index", "surefoot ask"):
        assert command in english
        assert command in turkish


@pytest.mark.parametrize("name", SETTINGS)
def test_the_table_of_defaults_is_the_policys(name):
    """Every field stands in it, in the order of the code's own words, with the default that the code has."""
    text = (ROOT / name).read_text(encoding="utf-8")
    told: dict[str, str] = {}
    for fields, defaults in re.findall(r"^\| (`[a-z_`, ]+`) \| ([^|]+) \|", text, flags=re.MULTILINE):
        names = re.findall(r"`(\w+)`", fields)
        if set(names) <= set(Policy.__struct_fields__):
            told |= dict(zip(names, [one.strip() for one in defaults.split(", ")], strict=True))
    assert told == {field: repr(getattr(Policy(), field)) for field in Policy.__struct_fields__}
