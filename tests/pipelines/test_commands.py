"""Every command for people and for programs: one JSON object, the same figures, the same exit codes."""

from __future__ import annotations

import json

import pytest

from surefoot_rag.__main__ import main
from surefoot_rag.frameworks import MODULES
from tests.pipelines.test_pipelines import ENGLISH, PDF_LINES, pdf


@pytest.fixture(params=sorted(MODULES))
def run(request, tmp_path, monkeypatch, capsys):
    """Run a command in a folder of its own; its exit code, what it printed as JSON, and what it said beside."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/allotments.md").write_text(ENGLISH)
    (tmp_path / "docs/festival.pdf").write_bytes(pdf(PDF_LINES))

    def call(command, *arguments):
        own = [] if command == "demo" else ["--framework", request.param]
        code = main([command, *own, *arguments, "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    return call


def test_documents_come_and_go_and_answer(run, tmp_path):
    """Indexed, listed, added, replaced, asked, deleted."""
    (tmp_path / "docs/broken.pdf").write_bytes(b"%PDF-1.4 nothing follows")
    code, said, _ = run("index", "--docs", "docs")
    assert (code, said["documents"], said["added"], said["removed"]) == (3, 2, said["passages"], 0)
    assert [(one["source"], one["kind"]) for one in said["left_out"]] == [("broken.pdf", "unreadable")]
    (tmp_path / "docs/broken.pdf").unlink()
    (tmp_path / "docs/tug.txt").write_text("The captain of the tug is Ada Nkemelu. She sails at dawn.")
    (tmp_path / "docs/other.txt").write_text("Never asked for.")
    code, said, _ = run("add", "docs/tug.txt")
    assert (code, said["added"], said["removed"]) == (0, 1, 0)
    assert [one["id"] for one in run("list")[1]["documents"]] == ["allotments.md", "festival.pdf", "tug.txt"]
    code, said, _ = run("ask", "Who is the captain of the tug?")
    assert code == 0
    assert "Ada Nkemelu" in said["text"]
    assert said["citations"][0]["document_id"] == "tug.txt"
    assert said["verdict"] == "answered"
    code, said, _ = run("ask", "Where does the lantern parade begin?", "--fusion", "ranks", "--dense-share", "0.5", "-k", "2")
    assert (said["citations"][0]["page"], said["citations"][0]["line"], len(said["passages"])) == (1, 2, 2)
    (tmp_path / "docs/tug.txt").write_text("The captain of the tug is Bo Lind.")
    assert run("add", "docs/tug.txt")[1]["removed"] == 1
    assert "Bo Lind" in run("ask", "Who is the captain of the tug?")[1]["text"]
    code, said, _ = run("delete", "tug.txt")
    assert (code, said["removed"]) == (0, 1)
    assert run("ask", "Who is the captain of the tug?")[1]["refused"]


def test_errors_are_json_too(run):
    """And a line for people, as ever."""
    code, said, err = run("ask", "Why?")
    assert (code, said["error"]) == (1, "Misconfigured")
    assert said["message"] in err
    run("index", "--docs", "docs")
    for command, words in (
        (("ask", "Why?", "--dense-share", "2"), "dense share"),
        (("ask", "Why?", "-k", "0"), "k = 0"),
        (("ask", "Why?", "--rewrite"), "--history"),
        (("ask", "Why?", "--prompt", "none.md"), "none.md"),
        (("delete", "alotments.md"), "did you mean allotments.md"),
        (("index", "--docs", "docs", "--chunk-chars", "0"), "size_chars=0"),
        (("index", "--docs", "docs", "--index", "ftp://x"), "want a folder, or http"),
    ):
        code, said, _ = run(*command)
        assert code == 1
        assert words in said["message"]


def test_passages_are_cut_as_asked(run):
    """Smaller ones are more; the usual size again is as before."""
    usual = run("index", "--docs", "docs")[1]["passages"]
    small = run("index", "--docs", "docs", "--chunk-chars", "80", "--overlap-chars", "20")[1]
    assert small["passages"] > usual
    assert run("index", "--docs", "docs")[1]["passages"] == usual
