"""The words of an index are kept beside it: opening reads no passage, and what another process changed is seen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from surefoot_rag.records import Passage
from surefoot_rag.retrieval.chroma_backend import ChromaBackend
from surefoot_rag.retrieval.fusion import Fusion
from surefoot_rag.retrieval.lexical import Lexical
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import document, scripted_embed

ROOT = Path(__file__).parents[3]
LEXICAL = Fusion(other=0.0)


def passage(number: int, **metadata: str | int | bool) -> Passage:
    text = f"Locker {number} belongs to guest {number % 7}."
    return Passage(
        id=f"{number}.txt#{number}",
        document_id=f"{number}.txt",
        title="Lockers",
        text=text,
        start=0,
        end=len(text),
        source="x",
        metadata=metadata,
    )


PASSAGES = [passage(number, kind="old" if number % 2 else "new", year=number % 3, draft=number % 5 == 0) for number in range(60)]


def test_what_was_kept_finds_what_was_built(tmp_path):
    """With the same scores; also when only some stems are made anew, and when there is nothing to find."""
    built = Lexical(PASSAGES)
    wanted = built.search("guest 3 locker 12")
    built.save(tmp_path / "a")
    loaded = Lexical.load(tmp_path / "a")
    assert loaded.search("guest 3 locker 12") == built.search("guest 3 locker 12") == wanted
    assert loaded.fields == built.fields >= {"kind", "year", "document", "title"}
    renamed = [*PASSAGES[:30], *(replace(one, title="Cupboards") for one in PASSAGES[30:])]
    again = Lexical(renamed, known=loaded)
    assert again.search("cupboards guest 3") == pytest.approx(Lexical(renamed).search("cupboards guest 3"))
    Lexical([]).save(tmp_path / "b")
    assert Lexical.load(tmp_path / "b").search("locker") == {}


def test_a_filter_is_kept_inside_the_search():
    """The best of those allowed, not those allowed of the best; a number is not its text, true is not one."""
    lexical = Lexical(PASSAGES)
    for wanted, expected in (
        (
            {"kind": ["old"], "year": [0, 1]},
            {one.id for one in PASSAGES if one.metadata["kind"] == "old" and one.metadata["year"] in {0, 1}},
        ),
        ({"draft": [True]}, {one.id for one in PASSAGES if one.metadata["draft"]}),
        ({"year": ["1"]}, set()),
        ({"year": [True]}, set()),
        ({"none": ["x"]}, set()),
    ):
        assert lexical.search("locker", wanted=wanted).keys() == expected


def documents(count: int):
    return [document(f"{n:03}.txt", f"Locker number {n} belongs to guest {n * 7}.") for n in range(count)]


def test_opening_an_index_reads_no_passage(module, tmp_path, monkeypatch):
    """At 100,000 passages reading them took the first question half a minute; threads load the words once."""
    _, embed = scripted_embed()
    module.index(Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True), documents(40), progress=False)
    opened = Library(tmp_path, framework=module.FRAMEWORK, embed=embed)
    loads, load = [], Lexical.load
    monkeypatch.setattr(Lexical, "load", lambda folder: loads.append(folder) or load(folder))
    monkeypatch.setattr(ChromaBackend, "_pages", lambda *_, **__: pytest.fail("the whole collection was read"))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: module.retrieve(opened, "locker 31", where={"language": "en"}, fusion=LEXICAL)[0], range(16)))
    assert {one.document_id for one in found} == {"031.txt"}
    assert len(loads) == 1


@pytest.mark.parametrize("damage", ["gone", "torn", "unsettled"])
def test_words_that_cannot_be_trusted_are_made_again(module, tmp_path, damage):
    """A deleted folder, a torn file, a run that was killed: the answer is the same, and the next run mends what is kept."""
    _, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    module.index(library, documents(40), progress=False)
    kept = next((tmp_path / "lexical").glob("*@*"))
    if damage == "gone":
        shutil.rmtree(kept)
    elif damage == "torn":
        (kept / "columns.msgpack").write_bytes(b"\x92\x01")
    else:
        library.words.changing()
    opened = Library(tmp_path, framework=module.FRAMEWORK, embed=embed)
    assert module.retrieve(opened, "locker 31", fusion=LEXICAL)[0].document_id == "031.txt"
    module.index(opened, documents(39), progress=False)
    assert opened.words.is_settled
    assert len(list((tmp_path / "lexical").glob("*@*"))) == 1


OTHER = """
import sys
from surefoot_rag.frameworks import framework
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import document, scripted_embed
_, embed = scripted_embed()
library = Library(sys.argv[2], framework=sys.argv[1], embed=embed)
framework(sys.argv[1]).index(library, [document("new.txt", "The ferry leaves pier nine.")], progress=False)
"""


def test_a_running_server_sees_what_another_process_indexed(module, tmp_path):
    """And serves nothing of what that deleted, by either side of the search."""
    _, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    module.index(library, documents(40), progress=False)
    assert len(module.retrieve(library, "locker 31", k=5)) == 5
    command = [sys.executable, "-c", OTHER, module.FRAMEWORK, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    for fusion in (None, LEXICAL, Fusion(other=1.0)):
        assert [one.document_id for one in module.retrieve(library, "the ferry of locker 31", fusion=fusion)] == ["new.txt"]
