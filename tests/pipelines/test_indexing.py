"""Indexing pays only for what is new, and survives being killed anywhere."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from pipelines.__main__ import MODULES, framework
from pipelines.indexing import STEP
from pipelines.library import Library
from pipelines.retrieval import POOL, Fusion
from tests.pipelines.conftest import document, scripted_embed

ROOT = Path(__file__).parents[2]
OLD = [document(f"{n:03}.txt", f"Locker number {n} belongs to guest {n * 7}.") for n in range(200)]
NEW = [
    *OLD[:120],  # eighty disappear
    *(replace(one, text=one.text.replace("guest", "visitor")) for one in OLD[120:160]),  # forty change
    *(document(f"new{n:03}.txt", f"Boat number {n} belongs to pilot {n * 3}.") for n in range(150)),
]
DENSE = Fusion(other=1.0)


def held(library: Library) -> dict[str, str]:
    library.refresh()
    return {one.document_id: one.text for one in library.passages.values()}


def wanted(documents) -> dict[str, str]:
    return {one.id: one.text for one in documents}


def test_only_what_is_new_is_embedded(module, tmp_path):
    """Nothing for what is unchanged, nothing for metadata, nothing for what goes."""
    edge, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    assert module.index(library, OLD, progress=False) == (200, 0)
    calls = edge.calls
    assert module.index(library, OLD, progress=False) == (0, 0)
    assert module.index(library, OLD[::-1][:150], progress=False) == (0, 50)
    assert edge.calls == calls
    assert module.index(library, NEW, progress=False) == (50 + 40 + 150, 80)
    texts = [text for request in edge.requests[calls:] for text in request.texts]
    assert not set(texts) & {one.text for one in OLD[50:120]}
    assert held(library) == wanted(NEW)


def test_metadata_that_changes_is_corrected_without_a_vector(module, tmp_path):
    """A new title or owner costs no embedding, and filters see it; a field that goes is gone."""
    edge, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    one, other = OLD[1], OLD[2]
    module.index(library, [replace(one, metadata={"type": "text", "draft": True}), other], progress=False)
    calls = edge.calls
    module.index(library, [replace(one, title="Lockers", metadata={"type": "text", "owner": "us"}), other], progress=False)
    assert edge.calls == calls
    (found,) = module.retrieve(Library(tmp_path, framework=module.FRAMEWORK, embed=embed), "locker", where={"owner": "us"}, fusion=DENSE)
    assert (found.title, "draft" in found.metadata) == ("Lockers", False)


def test_a_document_given_twice_is_indexed_once(module, tmp_path):
    """Two paths to one file are common; the store refuses equal ids."""
    _, embed = scripted_embed()
    library = Library(tmp_path, framework=module.FRAMEWORK, embed=embed, create=True)
    assert module.index(library, [OLD[0], OLD[0]], progress=False) == (1, 0)


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
    edge, embed = scripted_embed()
    module, library = framework(name), Library(tmp_path, framework=name, embed=embed)
    before = held(library)
    assert wanted(OLD[:120]).items() <= before.items()
    best = module.retrieve(library, OLD[5].text, k=3)
    assert OLD[5].id in {one.document_id for one in best}
    kept = wanted(NEW).items() & before.items()
    module.index(library, NEW, progress=False)
    assert held(library) == wanted(NEW)
    again = [text for request in edge.requests if request.role == "document" for text in request.texts]
    assert len(again) == len(NEW) - len(kept)  # what was stored before the end is not paid for twice
    assert sum(one.score is not None for one in module.retrieve(library, "boat", fusion=DENSE, k=500)) == POOL  # the vectors are there too
