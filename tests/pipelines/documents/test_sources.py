"""Several folders live in one index; each is indexed again by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from surefoot_rag.__main__ import main
from surefoot_rag.documents import corpus
from surefoot_rag.documents.sources import FOLDER, DocumentSource
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import document, scripted_embed


def write(root: Path, **texts: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (root / f"{name}.md").write_text(text)
    return root


@pytest.fixture
def add(module, tmp_path):
    """Index a folder or a file into one library; what was said of it, and the library."""
    provider, embed = scripted_embed()
    library = Library(tmp_path / "index", framework=module.FRAMEWORK, embed=embed, create=True)

    def index(path: Path, **how):
        told: list[str] = []
        calls = sum(len(one.texts) for one in provider.requests)
        done = module.index(library, corpus.load(path), source=DocumentSource.of(path, **how), progress=False, say=told.append)
        return done[:2], told, sum(len(one.texts) for one in provider.requests) - calls

    index.library = library
    return index


def ids(library: Library) -> set[str]:
    return {one.document_id for one in library.passages.values()}


def test_a_second_folder_takes_nothing_of_the_first(add, tmp_path):
    """Two README.md stay apart; each folder is brought up to date by itself, and what goes is said beforehand."""
    one = write(tmp_path / "handbook", README="The gate is locked.", rent="The rent is due.")
    two = write(tmp_path / "wiki", README="The ferry leaves.")
    assert add(one) == ((2, 0), [], 2)
    assert add(two) == ((1, 0), [], 1)
    assert ids(add.library) == {"README.md", "rent.md", "wiki/README.md"}
    (one / "rent.md").unlink()
    (two / "README.md").write_text("The ferry sank.")
    assert add(one) == ((0, 1), ["removing 1 documents that are no longer there: rent.md"], 0)
    assert add(two) == ((1, 1), [], 1)
    assert ids(add.library) == {"README.md", "wiki/README.md"}
    assert add(two, replaces_all=True)[0] == (1, 2)
    assert ids(add.library) == {"README.md"}
    assert {str(one.metadata[FOLDER]) for one in add.library.passages.values()} == {str(two.resolve())}


def test_two_folders_of_one_name_stay_apart(add, tmp_path):
    """`a/docs` and `b/docs` are common."""
    for place in ("x", "a", "b"):
        add(write(tmp_path / place / "docs", README=f"The {place} gate is locked."))
    assert ids(add.library) == {"README.md", "docs/README.md", "docs-2/README.md"}
    assert add(tmp_path / "b" / "docs") == ((0, 0), [], 0)


def test_one_file_is_indexed_into_its_folders_place(add, tmp_path):
    """It replaces itself and nothing else; the folder later finds it there."""
    folder = write(tmp_path / "handbook", README="The gate is locked.", rent="The rent is due.")
    add(folder)
    (folder / "rent.md").write_text("The rent is paid.")
    assert add(folder / "rent.md") == ((1, 1), [], 1)
    assert ids(add.library) == {"README.md", "rent.md"}
    assert add(folder) == ((0, 0), [], 0)


def test_text_that_only_moved_is_not_embedded_again(add, tmp_path):
    """A new line on top, a renamed file, a folder that was moved: ids and places change, vectors do not."""
    paragraphs = [f"## Berth {n}\n\n" + f"Berth {n} is kept for ships of line {n}. " * 15 for n in range(6)]
    folder = write(tmp_path / "handbook", berths="\n\n".join(paragraphs))
    assert add(folder) == ((6, 0), [], 6)
    before = add.library.passages
    (folder / "berths.md").write_text("# Harbour\n\nA new line.\n\n" + "\n\n".join(paragraphs))
    assert add(folder)[2] == 1
    after = add.library.passages
    shared = before.keys() & after.keys()
    assert len(shared) == 5 + (before.keys() <= after.keys())
    assert all(after[key].start > before[key].start for key in shared)
    text = corpus.load(folder)[0].text
    assert all(text[one.start : one.end] == one.text for one in after.values())
    (folder / "berths.md").rename(folder / "quays.md")
    assert add(folder)[2] == 0
    assert ids(add.library) == {"quays.md"}
    folder.rename(tmp_path / "manual")
    assert add(tmp_path / "manual", replaces_all=True)[2] == 0


def test_an_index_made_before_folders_were_told_apart_is_taken_over(module, tmp_path):
    """Its passages are this folder's as far as their documents are here; the others stay, and nothing is embedded anew."""
    provider, embed = scripted_embed()
    library = Library(tmp_path / "index", framework=module.FRAMEWORK, embed=embed, create=True)
    folder = write(tmp_path / "handbook", README="The gate is locked.")
    module.index(library, [*corpus.load(folder), document("other.md", "The ferry leaves.")], progress=False)
    calls = provider.calls
    done = module.index(library, corpus.load(folder), source=DocumentSource.of(folder), progress=False)
    assert (done[:2], provider.calls) == ((0, 0), calls)
    assert ids(library) == {"README.md", "other.md"}
    assert next(one for one in library.passages.values() if one.document_id == "README.md").metadata[FOLDER] == str(folder.resolve())


def test_the_command_line_says_what_goes(tmp_path, capsys):
    """Before it goes, on stderr."""
    one, two = write(tmp_path / "a", gate="The gate is locked."), write(tmp_path / "b", ferry="The ferry leaves.")
    shared = ["--index", str(tmp_path / "index")]
    for folder in (one, two):
        assert main(["index", "--docs", str(folder), *shared]) == 0
    assert "removing" not in capsys.readouterr().err
    assert main(["index", "--docs", str(two), "--replace", *shared]) == 0
    said = capsys.readouterr()
    assert "removing 2 documents that are no longer there: b/ferry.md, gate.md" in said.err
    assert "1 documents, 1 passages" in said.out
