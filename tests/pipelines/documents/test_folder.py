"""Any folder is indexed as far as it can be; what is left out is named with its reason."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from surefoot_rag.__main__ import main
from surefoot_rag.commands import LEFT_OUT
from surefoot_rag.documents.corpus import load
from surefoot_rag.documents.folder import Skipped, is_complete, listed, walk
from surefoot_rag.documents.readers import READERS

GOOD = "# Ferry\n\nThe night ferry leaves pier nine at 23:15 and takes forty cars.\n"


def why(skipped: list[Skipped]) -> dict[str, str]:
    return {one.source: one.kind for one in skipped}


def test_links_are_never_followed_out_of_the_folder(tmp_path):
    """A folder that many may write to must not pull in what lies beside it, through a link to a file or to a folder."""
    outside, root = tmp_path / "outside", tmp_path / "docs"
    outside.mkdir()
    root.mkdir()
    (outside / "secret.md").write_text("the vault code")
    (root / "good.md").write_text(GOOD)
    (root / "sub").mkdir()
    (root / "sub" / "deep.md").write_text(GOOD)
    (root / "stolen.md").symlink_to(outside / "secret.md")
    (root / "beside").symlink_to(outside)
    (root / "gone.md").symlink_to(root / "nowhere.md")
    (root / "loop.md").symlink_to(root / "loop.md")
    (root / "again.md").symlink_to(root / "good.md")
    (root / "same").symlink_to(root / "sub")
    docs = load(root)
    assert [one.id for one in docs] == ["good.md", "sub/deep.md"]
    assert why(docs.skipped) == {
        **dict.fromkeys(("stolen.md", "beside", "gone.md", "loop.md"), "link"),
        **dict.fromkeys(("again.md", "same"), "alias"),
    }


def test_a_folder_mounted_by_kubernetes_is_read(tmp_path):
    """There each file is a link into a hidden folder, which is a link itself."""
    data = tmp_path / "..2026_01_01"
    data.mkdir()
    (data / "faq.md").write_text(GOOD)
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "faq.md").symlink_to("..data/faq.md")
    assert [one.id for one in load(tmp_path)] == ["faq.md"]


def test_what_is_no_file_is_not_opened(tmp_path):
    """Opening a pipe waits for ever."""
    os.mkfifo(tmp_path / "pipe.md")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.txt"))
        (tmp_path / "a.md").write_text(GOOD)
        files, skipped = walk(tmp_path, READERS)
    assert [file.name for file in files] == ["a.md"]
    assert why(skipped) == {"pipe.md": "unreadable", "socket.txt": "unreadable"}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    """`os.walk` passes over it in silence. (Root may list everything, so the refusal is played.)"""
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.md").write_text(GOOD)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert load(tmp_path).skipped == (Skipped("locked", "the folder cannot be listed: Permission denied"),)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_text_has_an_id_that_is(tmp_path):
    """A file named in another code page must not end the run."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/k\xfdsa.md")).write_text(GOOD)
    (doc,) = load(tmp_path)
    assert doc.id == r"k\xfdsa.md"
    assert doc.id.encode()


def test_the_list_groups_by_reason_and_names_losses_first():
    """A thousand pictures are one line; what ought to have been indexed stands above them."""
    pictures = [Skipped(f"{n}.png", "files of type .png are not read", "type") for n in range(9)]
    said = listed([*pictures, Skipped("a.md", "it holds no text")], known=[".md"]).splitlines()
    assert said[0] == "left out: 10"
    assert said[1] == "  it holds no text: a.md"
    assert said[2].endswith(".png are not read: 0.png, 1.png, 2.png, 3.png, 4.png and 4 more")
    assert ".md" in said[3]
    assert is_complete(pictures)
    assert not is_complete([Skipped("a.md", "a link to nothing", "link")])


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_a_folder_with_damaged_documents_is_indexed_without_them(framework, tmp_path, capsys):
    """Every good one is found, every bad one is named, and a script can tell by the exit code; `--strict` stops instead."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text(GOOD)
    (docs / "empty.txt").write_text("")
    (docs / "torn.pdf").write_bytes(b"%PDF-1.7 nothing follows")
    (docs / "cyrillic.txt").write_bytes("Обычный текст на русском языке.".encode("cp1251"))
    (docs / "tiles.txt").write_text("🧩🛶⚓🚢" * 300)  # some 1,200 tokens in one word: no passage of it fits the model
    command = ["index", "--docs", str(docs), "--index", str(tmp_path / "index"), "--framework", framework]
    assert main([*command, "--strict"]) == 1
    assert main(command) == LEFT_OUT
    error = capsys.readouterr().err
    assert "left out: 3" in error
    for name in ("empty.txt", "torn.pdf", "cyrillic.txt"):
        assert name in error
    assert "tiles.txt" not in error
    asked = ["ask", "When does the night ferry leave?", "--index", str(tmp_path / "index"), "--framework", framework]
    assert main(asked) == 0
    assert "23:15" in capsys.readouterr().out
    for name in ("empty.txt", "torn.pdf", "cyrillic.txt"):
        (docs / name).unlink()
    assert main(command) == 0
    assert "(0 new, 0 removed)" in capsys.readouterr().out
