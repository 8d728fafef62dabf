"""Which model answers, and that the samples use public names alone."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import apps
from apps import chat, coder, content, support
from apps.answerer import FILE_BYTES, OFFLINE, find, read_text
from surefoot.errors import InvalidOutput, Misconfigured
from surefoot.testing.wire import OpenAISim

FOLDER = Path(apps.__file__).parent
PUBLIC = {"surefoot", "surefoot.discovery", "surefoot.errors", "surefoot.history"}


class Colour(msgspec.Struct):
    name: str
    parts: tuple[int, ...] = ()


def test_a_key_that_is_found_answers_and_is_said(keyless, monkeypatch):
    """With a key better, without one offline: each says who it is."""
    assert (find().can_write, find().who.split(",")[0]) == (False, OFFLINE)
    with OpenAISim(answer="Merhaba!") as sim:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{sim.url}/v1")
        found = find(behind=(OFFLINE,))
        assert (found.can_write, found.ask("Be kind.", "Hello")) == (True, "Merhaba!")
    assert "OPENAI_API_KEY stands in" in found.who
    assert found.who.endswith(f"with {OFFLINE} behind it")


def test_an_answer_fills_a_record_or_is_refused(sim, online):
    """The schema is closed, as strict vendors want it; what does not fit is no answer."""
    sim.script(['{"name": "red", "parts": [1]}', '{"name": 3, "parts": []}'])
    assert online.fill("Name it.", "red", Colour) == Colour("red", (1,))
    schema = sim.requests[-1].json["response_format"]["json_schema"]["schema"]
    assert (schema["required"], schema["additionalProperties"]) == (["name", "parts"], False)
    with pytest.raises(InvalidOutput):
        online.fill("Name it.", "red", Colour)


def test_files_that_cannot_be_read_are_told_in_a_sentence(tmp_path):
    """Missing, a folder, too large, not UTF-8."""
    (tmp_path / "latin").write_bytes("ğüş".encode("cp1254"))
    (tmp_path / "large").write_bytes(b"x" * (FILE_BYTES + 1))
    (tmp_path / "bom").write_bytes("\ufeffx = 1".encode())
    for name, words in (("none", "cannot be read"), (".", "cannot be read"), ("large", "larger than"), ("latin", "iconv")):
        with pytest.raises(Misconfigured, match=words):
            read_text(tmp_path / name)
    assert read_text(tmp_path / "bom") == "x = 1"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_samples_use_public_names_and_fit_250_lines(path):
    """What a reader copies must not break with the next version."""
    text = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    modules = {one.module or "" for one in nodes if isinstance(one, ast.ImportFrom)}
    modules |= {name.name for one in nodes if isinstance(one, ast.Import) for name in one.names}
    ours = {name for name in modules if name.split(".")[0] == "surefoot"}
    assert ours <= PUBLIC
    private = {name.name for one in nodes if isinstance(one, ast.ImportFrom) for name in one.names if name.name.startswith("_")}
    assert private == set()
    assert len(text.splitlines()) <= 250


@pytest.mark.parametrize(
    ("main", "arguments", "code", "words"),
    [
        (support.main, ["--docs", "nowhere", "--model", OFFLINE], 1, "nowhere: no such folder"),
        (support.main, ["--model", "opnai:gpt-5"], 1, "opnai"),
        (content.main, ["--topic", "Tea", "--keyword", "tea"], 1, "--point"),
        (content.main, ["--topic", "Tea", "--keyword", "tea", "--point", "Hot.", "--link", "ftp://x"], 1, "https://"),
        (
            content.main,
            ["--topic", "Tea", "--keyword", "tea", "--point", "Hot.", "--image", "nowhere:f", "--image-price", "1"],
            1,
            "nowhere",
        ),
        (
            content.main,
            ["--topic", "Tea", "--keyword", "tea", "--point", "Hot.", "--image", "os:getcwd", "--image-price", "free"],
            1,
            "'free'",
        ),
        (coder.main, ["bugs", "nowhere.py", "--model", OFFLINE], 1, "nowhere.py: cannot be read"),
        (coder.main, ["write", "a web server", "--model", OFFLINE], 1, "signature"),
        (chat.main, ["--window", "0", "--model", OFFLINE], 1, "window_tokens = 0"),
        (chat.main, ["--keep", "no/such/folder/chat.db", "--model", OFFLINE], 1, "cannot be opened"),
    ],
)
def test_wrong_use_is_told_in_one_sentence(main, arguments, code, words, keyless, capsys):
    """What is wrong, and what to do; no traceback."""
    assert main(arguments) == code
    err = capsys.readouterr().err.strip().splitlines()
    assert words in err[-1]
    assert "Traceback" not in "".join(err)


def test_each_runs_from_a_clone_and_says_its_usage(monkeypatch, capsys):
    """`python -m apps.NAME --help`, of which one in a process of its own."""
    env = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-m", "apps.coder", "--help"], env=env, capture_output=True, text=True, check=True)
    assert "python -m apps.coder bugs FILE.py" in run.stdout
    for one in (support, content, chat):
        with pytest.raises(SystemExit) as ended:
            one.main(["--help"])
        assert ended.value.code == 0
        assert f"python -m {one.__name__}" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert chat.main(["--model", OFFLINE]) == 0  # standing input ends at once
