"""The kind `index` of durable jobs: what is in Chroma is the checkpoint, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from surefoot import EmbedModel, jobs
from surefoot.cli.main import main
from surefoot.errors import BadRequest, Misconfigured
from surefoot.testing import Scripted
from surefoot.testing.wire import OpenAISim
from surefoot_rag.retrieval.library import Library

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [{"_id": f"d{n}", "title": f"Title {n}", "text": f"The text of document {n}, about number {n * n}."} for n in range(40)]


def held(index, model, tenant=""):
    """What the index holds: text and vector by id, and what the nearest to a text is."""
    library = Library(index, framework="langchain", embed=model, tenant=tenant)
    rows = library.backend.vectors(list(library.passages))
    found = {key: (text, tuple(round(float(one), 4) for one in vector)) for key, (text, vector) in rows.items()}
    near = {key: next(iter(library.backend.nearest(list(vector), 1))) for key, (_, vector) in list(found.items())[::7]}
    library.backend.close()
    return found, near


def test_a_corpus_is_indexed_once_and_changes_cost_only_themselves(tmp_path):
    """A chunk that is done again embeds nothing; a document that changed replaces its passages."""
    provider = Scripted()
    with jobs.open(f"sqlite:{tmp_path}/jobs.db", models=EmbedModel(provider)) as q:
        index, model = str(tmp_path / "index"), EmbedModel(provider)
        first = q.submit("index", DOCUMENTS, index=index, chunk=15, tenant="acme")
        q.work_sync()
        assert (q.status(first).state, q.status(first).done) == ("done", 40)
        assert [value for _, value in q.results(first)][:2] == ["d0", "d1"]
        calls = provider.calls
        again = q.submit("index", DOCUMENTS, index=index, chunk=40, tenant="acme")
        q.work_sync()
        assert (q.status(again).done, provider.calls) == (40, calls)
        changed = q.submit("index", [DOCUMENTS[3] | {"text": "Now it says something else."}], index=index, tenant="acme")
        q.work_sync()
        assert (q.status(changed).done, provider.calls) == (1, calls + 1)
        found, near = held(index, model, "acme")
        assert len(found) == 40
        assert [text for key, (text, _) in found.items() if key.startswith("d3#")] == ["Now it says something else."]
        assert near == {key: key for key in near}
        library = Library(index, framework="langchain", embed=model, tenant="acme")
        assert {key.partition("#")[0] for key in library.lexical.search("document 17", k=1)} == {"d17"}


def test_a_passage_that_the_model_refuses_is_the_documents_error(tmp_path):
    """All others are in the index."""

    def picky(call):
        if any("number 9" in text for text in call.request.texts):
            raise BadRequest("no such words")
        return "ok"

    with jobs.open(f"sqlite:{tmp_path}/jobs.db", models=EmbedModel(Scripted(picky))) as q:
        job = q.submit("index", DOCUMENTS[:5], index=str(tmp_path / "index"))
        q.work_sync()
        assert (q.status(job).done, q.status(job).failed) == (4, 1)
        error = next(value for _, value in q.results(job) if isinstance(value, Exception))
        assert isinstance(error, BadRequest)
        assert "d3: 1 passages are not in the index" in str(error)


@pytest.mark.heavy
@pytest.mark.parametrize("place", ["folder", "server"])
def test_two_workers_one_killed_leave_the_index_that_one_would(place, tmp_path, monkeypatch):
    """An embedded Chroma is written by one process at a time; a server by all. What was killed is done again, and nothing stands twice."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / one) for one in ("src", "integrations", "pipelines", "eval")))
    with OpenAISim(dimensions=8, latency_s=0.05) as sim, chroma(place, tmp_path) as index:
        (tmp_path / "surefoot.toml").write_text(
            f'[embed.default]\ntargets = ["openai:text-embedding-3-small"]\n[target."openai:text-embedding-3-small"]\n'
            f'base_url = "{sim.url}/v1"\napi_key = "k"\nlane = "direct"\n'
        )
        store = f"sqlite:{tmp_path}/jobs.db"
        command = [sys.executable, "-m", "surefoot", "jobs", "work", "--store", store, "-c", "surefoot.toml", "--dead-s", "2"]
        with jobs.open(store, config=tmp_path / "surefoot.toml") as q:
            job = q.submit("index", DOCUMENTS, index=index, chunk=4)
            workers = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) for _ in range(2)]
            until = time.monotonic() + 120
            while q.status(job).done < 8:
                assert time.monotonic() < until
                time.sleep(0.05)
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()
            workers[1].wait(timeout=120)
            assert (q.status(job).state, q.status(job).done) == ("done", 40)
            alone = q.submit("index", DOCUMENTS, index=str(tmp_path / "alone"))
            q.work_sync()
            assert q.status(alone).done == 40
        from surefoot import load

        model = load(tmp_path / "surefoot.toml").embed()
        found, near = held(index, model)
        assert found == held(str(tmp_path / "alone"), model)[0]
        assert near == {key: key for key in near}


@contextmanager
def chroma(place, tmp_path):
    """Where the index is: a folder, or a Chroma server of its own."""
    if place == "folder":
        yield str(tmp_path / "index")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "chroma"), "run", "--path", str(tmp_path / "server"), "--host", "127.0.0.1"]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < until
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_a_file_of_documents_from_the_command_line(tmp_path, monkeypatch, capsys):
    """A .jsonl, or a folder."""
    with OpenAISim(dimensions=8) as sim:
        (tmp_path / "surefoot.toml").write_text(
            f'[embed.default]\ntargets = ["openai:text-embedding-3-small"]\n[target."openai:text-embedding-3-small"]\n'
            f'base_url = "{sim.url}/v1"\napi_key = "k"\n'
        )
        (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in DOCUMENTS[:3]))
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "a.md").write_text("# A\n\nOne thing.")
        monkeypatch.chdir(tmp_path)
        for source in ("corpus.jsonl", "docs"):
            assert main(["jobs", "submit", "--kind", "index", "--from", source, "-o", "index=my-index"]) == 0
        assert main(["jobs", "work"]) == 0
        capsys.readouterr()
        from surefoot import load

        assert len(held("my-index", load("surefoot.toml").embed())[0]) == 4


WRONG = {
    "an option": ({"indx": "x"}, "unknown option 'indx'"),
    "a framework": ({"framework": "haystack"}, "known are langchain, llamaindex"),
    "sizes": ({"size_chars": 10, "overlap_chars": 10}, "overlap_chars=10"),
    "a password": ({"index": "https://me:secret@chroma.example"}, "keeps no passwords"),
    "an item": ({"inputs": ["text"]}, "item 0: a document is a Document or"),
    "no id": ({"inputs": [{"text": "x"}]}, "item 0: a document has an id"),
    "a field": ({"inputs": [{"id": "x", "text": "x", "colour": 1}]}, "put it into 'metadata'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_told_before_anything_is_written(case, tmp_path):
    """Each in one sentence."""
    said, told = WRONG[case]
    with jobs.open(f"sqlite:{tmp_path}/jobs.db", models=EmbedModel(Scripted())) as q:
        with pytest.raises((BadRequest, Misconfigured), match=told) as caught:
            q.submit(**{"kind": "index", "inputs": DOCUMENTS[:1], **said})
        assert "secret" not in str(caught.value)
        assert q.jobs() == []
