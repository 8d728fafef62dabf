"""An index in a folder, on a Chroma server, or in any vector store of a framework: the same questions, the same passages."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core.vector_stores import SimpleVectorStore

from surefoot.errors import BadRequest, ConnectionLost, Misconfigured
from surefoot_rag.frameworks import framework
from surefoot_rag.retrieval import chroma_backend
from surefoot_rag.retrieval.backends import is_address, place_of
from surefoot_rag.retrieval.dense import nearest
from surefoot_rag.retrieval.fusion import POOL, Fusion
from surefoot_rag.retrieval.lexical import Lexical
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import document, scripted_embed

DENSE = Fusion(other=1.0)
DOCUMENTS = [document(f"{n:03}.txt", f"Locker number {n} belongs to guest {n * 7}.", group=n % 3) for n in range(150)]
MAKERS = {"langchain": lambda name, embeddings: InMemoryVectorStore(embeddings), "llamaindex": lambda name: SimpleVectorStore()}


def found(module, library, question="Whose is locker 31?", **asked):
    return [(one.document_id, one.text) for one in module.retrieve(library, question, **{"k": 7, **asked})]


def both(module, tmp_path, documents=DOCUMENTS):
    """The same documents in Chroma and in a store of the framework's own."""
    _, embed = scripted_embed()
    usual = Library(tmp_path / "chroma", framework=module.FRAMEWORK, embed=embed, create=True)
    other = Library(None, framework=module.FRAMEWORK, embed=embed, create=True, store=module.stored_in(MAKERS[module.FRAMEWORK]))
    for one in (usual, other):
        module.index(one, documents, progress=False)
    return usual, other


def test_another_store_is_a_line(module, tmp_path):
    """It finds what Chroma finds, filtered or not, after additions, replacements and deletions too."""
    usual, other = both(module, tmp_path)
    for library in (usual, other):
        assert module.index(library, DOCUMENTS, progress=False)[:2] == (0, 0)
        changed = [document("007.txt", "Locker number 7 was sold.", group=1), document("new.txt", "Boat 9.", group=2)]
        assert module.add(library, changed)[:2] == (2, 1)
        assert module.delete(library, ["031.txt", "032.txt"]) == 2
        assert library.documents()["new.txt"] == {"title": "", "source": "new.txt", "passages": 1}
    for asked in (
        {},
        {"fusion": DENSE},
        {"where": {"group": 1}},
        {"where": {"group": [0, 2]}, "fusion": DENSE},
        {"where": {"document": "new.txt"}},
    ):
        assert found(module, usual, **asked) == found(module, other, **asked)
        assert found(module, usual, **asked)
    assert "031.txt" not in {name for name, _ in found(module, other)}


def test_a_document_that_is_not_there_is_not_deleted_in_silence(module, tmp_path):
    """Nothing goes, and the nearest name is said."""
    usual, other = both(module, tmp_path, DOCUMENTS[:9])
    for library in (usual, other):
        with pytest.raises(BadRequest, match=r"no document 07\.txt in the index; did you mean 007\.txt\? Nothing was deleted"):
            module.delete(library, ["001.txt", "07.txt"])
        assert library.backend.count() == 9


def test_a_record_is_kept_with_its_store(module, tmp_path):
    """Opened again, what is there costs nothing; another embedding space is refused."""
    _, embed = scripted_embed()
    kept = []

    def store(*given):  # as a server outlives the program: the same vectors, today's embeddings
        fresh = MAKERS[module.FRAMEWORK](*given)
        if kept and module.FRAMEWORK == "langchain":
            fresh.store = kept[0].store
        kept.append(fresh)
        return kept[0] if module.FRAMEWORK == "llamaindex" else fresh

    with pytest.raises(Misconfigured, match="no index in"):
        Library(tmp_path, framework=module.FRAMEWORK, embed=embed, store=module.stored_in(store))
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True, store=module.stored_in(store))
    module.index(library, DOCUMENTS[:20], progress=False)
    provider, again = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=again, store=module.stored_in(store))
    assert module.index(library, DOCUMENTS[:20], progress=False)[:2] == (0, 0)
    assert provider.calls == 0
    assert found(module, library)[0][0]
    with pytest.raises(Misconfigured, match="embedding space"):
        Library(tmp_path, framework=module.FRAMEWORK, embed=scripted_embed(8)[1], store=module.stored_in(store))


@pytest.mark.parametrize("share", [150, 70, 30, 3, 1])
def test_a_filter_takes_the_nearest_of_those_allowed(share, tmp_path):
    """However few they are: by sifting, by naming, one by one; the same as by comparing every vector."""
    _, embed = scripted_embed()
    library = Library(tmp_path, framework="langchain", embed=embed, create=True)
    documents = [document(f"{n:03}.txt", f"Locker {n}.", few=n % 150 < share) for n in range(600)]
    framework("langchain").index(library, documents, progress=False)
    vector = embed.embed_query("Which locker?")
    got = nearest(library.backend, library.lexical, vector, {"few": [True]}, count=10)
    matrix = embed.embed([one.text for one in documents])
    wanted = sorted((-float(row @ vector), one.id) for row, one in zip(matrix, documents, strict=True) if one.metadata["few"])[:10]
    assert [key.partition("#")[0] for key in got] == [key for _, key in wanted]
    assert list(got.values()) == pytest.approx([-score for score, _ in wanted], abs=1e-4)


def test_what_is_updated_is_what_would_be_built():
    """Added, corrected, removed, in any order: scores, fields and filters as if all had been indexed at once."""
    from tests.pipelines.retrieval.test_lexical import PASSAGES, passage

    draw = np.random.default_rng(3)
    held = {one.id: one for one in PASSAGES[:20]}
    lexical = Lexical(held.values())
    for step in range(12):
        put = [passage(int(n), kind=f"kind{step}", year=step) for n in draw.choice(60, 5, replace=False)]
        gone = [str(key) for key in draw.choice(sorted(held), min(3, len(held)), replace=False)]
        for key in gone:
            held.pop(key)
        held.update((one.id, one) for one in put)
        lexical = lexical.updated(put, gone)
        built = Lexical(held.values())
        for wanted in (None, {"year": [step]}, {"kind": ["old", f"kind{step}"]}):
            assert lexical.search("guest 3 locker 12", wanted=wanted) == pytest.approx(built.search("guest 3 locker 12", wanted=wanted))
        assert lexical.rows() == built.rows()
    assert Lexical([]).updated(list(held.values()), []).rows() == built.rows()
    assert lexical.updated([], list(held)).search("locker") == {}


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("ftp://host", "want a folder, or http"),
        ("http://", "names no host"),
        ("http://127.0.0.1:1/api/v2", "want the server alone, without /api/v2"),
        ("http://127.0.0.1:1?databse=x", "unknown databse"),
        ("https://api.trychroma.com", "wants a key; set CHROMA_API_KEY"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_unasked(index, words, monkeypatch):
    """One line, naming what was wrong."""
    monkeypatch.delenv("CHROMA_API_KEY", raising=False)
    with pytest.raises(Misconfigured, match=words):
        Library(index, framework="langchain", embed=scripted_embed()[1], create=True)


def test_who_asks_stays_out_of_what_is_said():
    """A password in an address shows in no message and in no name."""
    with pytest.raises(ConnectionLost) as caught:
        Library("http://ada:hunter2@127.0.0.1:1", framework="langchain", embed=scripted_embed()[1], create=True)
    assert "hunter2" not in str(caught.value)
    assert "http://127.0.0.1:1: no Chroma server answers there" in str(caught.value)
    assert place_of("http://ada:hunter2@quay:8000") == place_of("http://quay:8000") != place_of("http://quay:8000?tenant=x")
    assert is_address("https://quay")
    assert not is_address(Path("http"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Chroma's own server, the one people run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = tmp_path_factory.mktemp("chroma")
    command = [str(Path(sys.executable).parent / "chroma"), "run", "--path", str(place), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(30)


def opened(address, module, **how):
    """A library on the server, once it answers."""
    _, embed = scripted_embed()
    for left in range(300, -1, -1):
        try:
            return Library(address, framework=module.FRAMEWORK, embed=embed, **how)
        except ConnectionLost:
            if not left:
                raise
            time.sleep(0.1)
    raise AssertionError


def test_a_chroma_server_serves_what_a_folder_would(server, module, tmp_path, monkeypatch):
    """Also to another machine, which keeps its own words and sees what the first one changes."""
    monkeypatch.setattr(chroma_backend, "FRESH_S", 0.0)
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    usual = Library(tmp_path / "folder", framework=module.FRAMEWORK, embed=scripted_embed()[1], create=True)
    with pytest.raises(Misconfigured, match="holds no index"):
        opened(server, module)
    writer = opened(server, module, create=True)
    for library in (usual, writer):
        module.index(library, DOCUMENTS, progress=False)
    monkeypatch.chdir(tmp_path / "there")
    reader = opened(server, module)
    for asked in ({}, {"fusion": DENSE}, {"where": {"group": 1}}, {"where": {"document": "004.txt"}, "fusion": DENSE}):
        assert found(module, usual, **asked) == found(module, writer, **asked) == found(module, reader, **asked)
    module.add(writer, [document("ferry.txt", "The ferry leaves pier nine.")])
    module.delete(writer, ["031.txt"])
    assert found(module, reader, "When does the ferry leave pier nine?", fusion=Fusion(other=0.0))[0][0] == "ferry.txt"
    assert "031.txt" not in {name for name, _ in found(module, reader, k=150)}
    assert len(list((tmp_path / "there/.surefoot/index").rglob("columns.msgpack"))) == 1
    assert POOL < reader.backend.count() == 150
    whose = reader.of("acme", create=True)
    module.index(whose, [document("acme.txt", "Acme owns a tug.")], progress=False)
    assert [name for name, _ in found(module, reader, "Who owns a tug?", tenant="acme")] == ["acme.txt"]
    assert "acme.txt" not in {name for name, _ in found(module, reader, "Who owns a tug?")}
