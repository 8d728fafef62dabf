"""What a job costs beyond its calls: CPU and memory of a worker, submitting, and what several workers bring."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from surefoot import jobs
from surefoot_eval.bench.crew import ROOT
from surefoot_eval.bench.sections.jobs.worker import KIND, WaitingKind
from surefoot_eval.bench.stores import store

ITEMS = 10_000
CALL_S = 0.02
CHUNK = 100  # as jobs have it by default; a worker has one at a time here, so that so many calls are under way
WORKER = [sys.executable, "-m", "surefoot_eval.bench.sections.jobs.worker"]


class WorkerProcess:
    """A worker in a process of its own."""

    def __init__(self, url: str, *said: str) -> None:
        self.process = subprocess.Popen(
            [*WORKER, url, *said], cwd=ROOT / "eval", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def hear(self) -> dict[str, Any]:
        """Its next line. Raises RuntimeError where it has died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker died with code {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def begin(self) -> None:
        """Let it work."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Be sure that it has ended."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def bare() -> dict[str, float]:
    """CPU of the calls alone, ms each: waiting, and asking a model whose provider waits."""
    worker = WorkerProcess("none", "--items", str(ITEMS), "--call-s", str(CALL_S), "--width", str(CHUNK))
    try:
        return {said["what"]: said["cpu_ms"] for said in (worker.hear(), worker.hear())}
    finally:
        worker.end()


def _submitted(q: jobs.Jobs, what: str) -> str:
    if what == "chat":
        return q.submit("chat", (f"question {n}" for n in range(ITEMS)), chunk=CHUNK)
    return q.submit(KIND, range(ITEMS), call_s=CALL_S, chunk=CHUNK)


def worked(kind: str, what: str, workers: int) -> dict[str, float]:
    """`workers` processes do ITEMS items of kind `what` in a store of that kind: CPU of each item, and so on."""
    jobs.register(KIND, WaitingKind())
    with store(kind) as (url, server), jobs.open(url) as q:
        q.submit(KIND, range(2 * CHUNK * workers), call_s=CALL_S, chunk=CHUNK)  # to warm up
        q.work_sync()
        crew = [WorkerProcess(url, "--warm", "--call-s", str(CALL_S)) for _ in range(workers)]
        try:
            for one in crew:
                one.hear()
            spent = time.process_time()
            job = _submitted(q, what)
            spent = time.process_time() - spent
            server_s = server.cpu_s() if server else 0.0
            begun = time.perf_counter()
            for one in crew:
                one.begin()
            said = [one.hear() for one in crew]
            took = time.perf_counter() - begun
            status = q.status(job)
            results = sum(1 for _ in q.results(job))
        finally:
            for one in crew:
                one.end()
        return {
            "cpu_ms": sum(one["cpu_s"] for one in said) / ITEMS * 1e3,
            "server_ms": (server.cpu_s() - server_s) / ITEMS * 1e3 if server else 0.0,
            "submit_ms": spent / ITEMS * 1e3,
            "per_s": ITEMS / took,
            "grown_mb": max(one["peak_mb"] - one["idle_mb"] for one in said),
            "calls": sum(one["calls"] for one in said) if what == KIND else status.done,
            "done": status.done,
            "results": results,
        }
