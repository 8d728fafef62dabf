"""A corpus of short passages indexed by two workers, one of which is killed twice: the same collection as that of an undisturbed run?

    python -m surefoot_eval.bench.sections.jobs.corpus STORE        # a worker

Passages have vectors that cost nothing. Both collections are on one Chroma server, which all workers write at once.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from surefoot import EmbedModel, jobs
from surefoot_eval.bench.crew import ROOT
from surefoot_eval.bench.sections import rag_size

PASSAGES, CHUNK = 100_000, 1_000
DIMENSIONS = 32
DEAD_S = 5.0
KILLS = (1 / 3, 2 / 3)  # of the way, a worker is killed
END_S = 3_600.0
AT_ONCE = 2_000  # rows compared at a time
START_S = 60.0


def documents(count: int) -> Iterator[dict[str, str]]:
    """Each a passage of its own."""
    for n in range(count):
        yield {"id": f"d{n}", "text": f"Passage {n} says that {n * 7919 % 1_000_003} comes before {n * 104_729 % 1_000_003}."}


def model() -> EmbedModel:
    """Vectors that are drawn by their text."""
    rag_size.DIMENSIONS = DIMENSIONS
    return EmbedModel(rag_size.Cheap())


@contextmanager
def chroma(folder: Path) -> Iterator[str]:
    """A Chroma server of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "chroma"), "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + START_S
        while True:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > until_s:
                raise RuntimeError(f"the Chroma server did not start: {' '.join(command)}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _worker(store: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "surefoot_eval.bench.sections.jobs.corpus", store]
    return subprocess.Popen(command, cwd=ROOT / "eval", stderr=subprocess.DEVNULL)


def indexed(store: str, index: str, *, tenant: str, count: int, kills: tuple[float, ...] = ()) -> dict[str, float]:
    """Have two workers index the corpus; one is killed at each of `kills`, and another one started."""
    with jobs.open(store, models=model()) as q:
        job = q.submit("index", documents(count), index=index, chunk=CHUNK, tenant=tenant)
        began_s = time.monotonic()
        workers = [_worker(store) for _ in range(2)]
        try:
            for share in kills:
                while q.status(job).done < share * count:
                    time.sleep(0.1)
                workers[0].kill()
                workers[0].wait()
                workers[0] = _worker(store)
            while q.status(job).state != "done" and time.monotonic() < began_s + END_S:
                time.sleep(0.2)
            status = q.status(job)
        finally:
            for one in workers:
                one.kill()
                one.wait()
        return {"done": status.done, "failed": status.failed, "kills": len(kills), "wall_s": time.monotonic() - began_s}


def digests(index: str, *, tenant: str) -> dict[str, str]:
    """A digest of text and vector of every passage that the collection holds."""
    from surefoot_rag.retrieval.chroma_backend import ChromaBackend
    from surefoot_rag.retrieval.library import Library

    library = Library(index, framework="langchain", embed=model(), tenant=tenant)
    names, found = sorted(library.passages), dict[str, str]()
    for first in range(0, len(names), AT_ONCE):
        for name, (text, vector) in library.backend.vectors(names[first : first + AT_ONCE]).items():
            said = json.dumps([text, [round(float(one), 5) for one in vector]])
            found[name] = blake2b(said.encode(), digest_size=16).hexdigest()
    if isinstance(library.backend, ChromaBackend):
        library.backend.close()
    return found


def measure(count: int = PASSAGES) -> dict[str, Any]:
    """Both runs, and what of their collections differs."""
    with tempfile.TemporaryDirectory() as folder, chroma(Path(folder) / "server") as index:
        disturbed = indexed(f"sqlite:{folder}/killed.db", index, tenant="killed", count=count, kills=KILLS)
        calm = indexed(f"sqlite:{folder}/calm.db", index, tenant="calm", count=count)
        one, other = digests(index, tenant="killed"), digests(index, tenant="calm")
    return {
        "passages": count,
        "disturbed": disturbed,
        "calm": calm,
        "held": len(one),
        "missing": count - len(one),
        "different": sum(one.get(name) != digest for name, digest in other.items()) + len(one.keys() - other.keys()),
    }


async def _work(store: str) -> None:
    await jobs.open(store, models=model()).work(dead_s=DEAD_S, forever=True)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
