"""Indexing pays only for what is new, and survives being killed anywhere."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chromadb.api.models.Collection import Collection
from msgspec.structs import replace

from surefoot import EmbedModel
from surefoot.errors import BadRequest, ContextTooLong
from surefoot.testing import Scripted
from surefoot.types import Traits
from surefoot_rag.documents.corpus import passages
from surefoot_rag.frameworks import MODULES, framework
from surefoot_rag.retrieval.filters import flat
from surefoot_rag.retrieval.fusion import POOL, Fusion
from surefoot_rag.retrieval.indexing import STEP
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import document, scripted_embed

ROOT = Path(__file__).parents[3]
OLD = [document(f"{n:03}.txt", f"Locker number {n} belongs to guest {n * 7}.") for n in range(200)]
NEW = [
    *OLD[:120],  # eighty disappear
    *(replace(one, text=one.text.replace("guest", "visitor")) for one in OLD[120:160]),  # forty change
    *(document(f"new{n:03}.txt", f"Boat number {n} belongs to pilot {n * 3}.") for n in range(150)),
]
DENSE = Fusion(other=1.0)


def held(library: Library) -> dict[str, str]:
    return {one.document_id: one.text for one in library.passages.values()}


def wanted(documents) -> dict[str, str]:
    return {one.id: one.text for one in documents}


def test_only_what_is_new_is_embedded(module, tmp_path):
    """Nothing for what is unchanged, nothing for metadata, nothing for what goes."""
    provider, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    assert module.index(library, OLD, progress=False)[:2] == (200, 0)
    calls = provider.calls
    assert module.index(library, OLD, progress=False)[:2] == (0, 0)
    assert module.index(library, OLD[::-1][:150], progress=False)[:2] == (0, 50)
    assert provider.calls == calls
    assert module.index(library, NEW, progress=False)[:2] == (50 + 40 + 150, 80)
    texts = [text for request in provider.requests[calls:] for text in request.texts]
    assert not set(texts) & {one.text for one in OLD[50:120]}
    assert held(library) == wanted(NEW)


def test_metadata_that_changes_is_corrected_without_a_vector(module, tmp_path):
    """A new title or owner costs no embedding, and filters see it; a field that goes is gone."""
    provider, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    one, other = OLD[1], OLD[2]
    module.index(library, [replace(one, metadata={"type": "text", "draft": True}), other], progress=False)
    calls = provider.calls
    module.index(library, [replace(one, title="Lockers", metadata={"type": "text", "owner": "us"}), other], progress=False)
    assert provider.calls == calls
    (found,) = module.retrieve(Library(tmp_path, framework=module.FRAMEWORK, embed=embed), "locker", where={"owner": "us"}, fusion=DENSE)
    assert (found.title, "draft" in found.metadata) == ("Lockers", False)


def test_a_document_given_twice_is_indexed_once(module, tmp_path):
    """Two paths to one file are common; the store refuses equal ids."""
    _, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    assert module.index(library, [OLD[0], OLD[0]], progress=False)[:2] == (1, 0)


def points() -> list[tuple[str, str, int]]:
    """Where to die, by seed: before and after vectors are made, before and after they are stored, before and after what is gone goes."""
    draw = random.Random(7)
    places = {"langchain": ["embed", "add", "added", "delete"], "llamaindex": ["embedded", "add", "added", "deleted"]}
    return [(name, place, 1 if place.startswith("delete") else draw.randint(1, 190 // STEP)) for name in MODULES for place in places[name]]


@pytest.mark.parametrize(("name", "place", "number"), points())
def test_killed_anywhere_the_index_answers_and_the_next_run_finishes_it(name, place, number, tmp_path):
    """kill -9 by its own hand, at the n-th such moment: what was there and still is can be found; then all is as if nothing had been."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.killed", name, str(tmp_path), place, str(number)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    provider, embed = scripted_embed()
    module, library = framework(name), Library(tmp_path, framework=name, embed=embed)
    before = held(library)
    assert wanted(OLD[:120]).items() <= before.items()
    best = module.retrieve(library, OLD[5].text, k=3)
    assert OLD[5].id in {one.document_id for one in best}
    kept = wanted(NEW).items() & before.items()
    module.index(library, NEW, progress=False)
    assert held(library) == wanted(NEW)
    again = [text for request in provider.requests if request.role == "document" for text in request.texts]
    assert len(again) == len(NEW) - len(kept)  # what was stored before the end is not paid for twice
    assert sum(one.score is not None for one in module.retrieve(library, "boat", fusion=DENSE, k=500)) == POOL  # the vectors are there too


class Narrow(Scripted):
    """An embedding model that refuses texts of more than `most` characters, and those that hold "forbidden"."""

    def __init__(self, most: int) -> None:
        super().__init__(dimensions=16, traits=Traits(space="narrow/16", max_batch_texts=64))
        self.most = most

    async def embed(self, call):
        for number, text in enumerate(call.request.texts):
            if len(text) > self.most:
                raise ContextTooLong(f"text {number} is too long", code=f"text:{number}")
            if "forbidden" in text:
                raise BadRequest(f"text {number} is not allowed", code=f"text:{number}")
        return await super().embed(call)


def test_a_passage_too_long_for_the_model_is_indexed_in_parts(module, tmp_path):
    """Only the model knows its tokens; every word is found, spans stay true, and the next run neither asks again nor deletes the parts."""
    text = " ".join(f"Locker {n} belongs to guest {n * 7}." for n in range(60))
    documents = [document("long.txt", text), document("word.txt", "x" * 700), OLD[0]]
    provider = Narrow(120)
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=EmbedModel(provider), create=True)
    done = module.index(library, documents, progress=False)
    assert not done.refused
    of_long = sorted((one for one in library.passages.values() if one.document_id == "long.txt"), key=lambda one: one.start)
    assert all(one.text == text[one.start : one.end] and len(one.text) <= 120 for one in of_long)
    assert " ".join(one.text for one in of_long).split() == text.split()
    assert sum(len(one.text) for one in library.passages.values() if one.document_id == "word.txt") == 700
    calls = provider.calls
    assert module.index(library, documents, progress=False) == (0, 0, ())
    assert provider.calls == calls
    gone = next(one.id for one in of_long)
    library.words.changing()
    library.backend.delete([gone])  # as if the run had been killed between two parts
    assert module.index(library, documents, progress=False).added == 1
    assert gone in library.passages
    assert module.index(library, [OLD[0]], progress=False).added == 0
    assert {one.document_id for one in library.passages.values()} == {OLD[0].id}


def test_a_text_that_the_model_refuses_costs_no_other(module, tmp_path, caplog):
    """It is named; a model that refuses everything is told as the error it is."""
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=EmbedModel(Narrow(9999)), create=True)
    done = module.index(library, [*OLD[:5], document("bad.txt", "This is forbidden.")], progress=False)
    assert done.added == 5
    assert [(one.passage.document_id, "not allowed" in one.reason) for one in done.refused] == [("bad.txt", True)]
    assert "1 passages are not in the index" in caplog.text
    other = Library(tmp_path / "other", framework=module.FRAMEWORK, embed=EmbedModel(Narrow(9999)), create=True)
    with pytest.raises(BadRequest, match="not allowed"):
        module.index(other, [document("bad.txt", "This is forbidden.")], progress=False)


def test_the_store_is_read_in_pages(module, tmp_path, monkeypatch):
    """Chroma names every row of an answer in one statement, and SQLite takes 32,766 names: no read asks for all."""
    monkeypatch.setattr("surefoot_rag.retrieval.chroma_backend.PAGE", 7)
    asked = []
    get = Collection.get

    def spied(self, ids=None, **kwargs):
        asked.append(kwargs.get("limit") or len(ids))
        return get(self, ids, **kwargs)

    monkeypatch.setattr(Collection, "get", spied)
    _, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    module.index(library, OLD[:50], progress=False)
    assert held(library) == wanted(OLD[:50])
    assert module.index(library, OLD[10:50], progress=False) == (0, 10, ())
    module.retrieve(library, "locker", where={"language": "en"})
    assert max(asked) == 7


@pytest.mark.heavy  # 33,000 rows take Chroma half a minute to write
def test_more_passages_than_sqlite_has_variables_are_opened_and_kept(tmp_path):
    """The real number, read, added to and deleted."""
    many = 33_000
    _, embed = scripted_embed(4)
    library = Library(tmp_path, framework="langchain", embed=embed, create=True)
    documents = [document(f"{n:05}.txt", f"Locker {n}.") for n in range(many)]
    held_before = [one for each in documents for one in passages(each)]
    vectors = np.random.default_rng(7).standard_normal((many, 4)).astype(np.float32)
    library.backend.put(held_before, vectors, [flat(one) for one in held_before])
    again = Library(tmp_path, framework="langchain", embed=embed)
    assert again.passages == {one.id: one for one in held_before}
    assert framework("langchain").index(again, [*documents[1:], document("new.txt", "Boat 7.")], progress=False) == (1, 1, ())
    assert framework("langchain").index(again, documents[:1], progress=False) == (1, many, ())
    assert again.backend.count() == len(again.passages) == 1
