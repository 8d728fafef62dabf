"""Workers side by side: starts each subject's process in its environment, has them take turns, keeps medians and names who is absent.

Peers live in environments of their own, `.venv-peers/NAME`, made by `make peers`; one that is missing is named as absent.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from surefoot_eval.bench.worker import SUBJECTS

ROOT = Path(__file__).resolve().parents[3]
PEERS = ROOT / ".venv-peers"


def python_of(environment: str) -> Path | None:
    """The interpreter of an environment; None where it is not installed."""
    if not environment:
        return Path(sys.executable)
    found = PEERS / environment / "bin" / "python"
    return found if found.exists() else None


class Worker:
    """One subject's process."""

    def __init__(self, name: str) -> None:
        self.name = name
        python = python_of(SUBJECTS[name][0])
        assert python is not None
        self._log = subprocess.DEVNULL
        self._process = subprocess.Popen(
            [python, "-m", "surefoot_eval.bench.worker", name],
            cwd=ROOT / "eval",  # `-m` finds the package there, also in a peer's environment
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def do(self, **job: Any) -> dict[str, Any]:
        """One job; what it measured. Raises RuntimeError where the process died or nothing was answered."""
        self.send(**job)
        return self.receive()

    def send(self, **job: Any) -> None:
        """Hand over a job."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """What came of it."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):  # some peers print
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(
            f"{self.name}: the worker died with code {self._process.wait()}; run  python -m surefoot_eval.bench.worker {self.name!r}"
        )

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Crew:
    """`with Crew(names) as crew:` holds a worker for each subject that is installed; `absent` names the others."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self.absent = [name for name in self.names if python_of(SUBJECTS[name][0]) is None]
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        """Start everybody."""
        self.workers = {name: Worker(name) for name in self.names if name not in self.absent}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End everybody."""
        for worker in self.workers.values():
            worker.stop()

    def rounds(self, jobs: dict[str, dict[str, Any]], *, rounds: int, title: str) -> dict[str, dict[str, float]]:
        """Every job of every worker, `rounds` times, taking turns; medians of CPU-us a unit by subject and job.

        A round of another order each time, so that nobody always follows the same neighbour. A job in which a call failed does not count:
        its subject is shown without that figure.
        """
        from tqdm import tqdm

        samples: dict[str, dict[str, list[float]]] = {name: {} for name in self.workers}
        order = list(self.workers.values())
        with tqdm(total=rounds * len(jobs) * len(order), unit="job", desc=title, dynamic_ncols=True) as bar:
            for turn in range(rounds):
                for what, job in jobs.items():
                    shift = turn % len(order)
                    for worker in order[shift:] + order[:shift]:
                        # Once warm, stays warm: later only connections may have gone.
                        found = worker.do(**(job if not turn else job | {"warm": min(job.get("warm", 0), job["width"])}))
                        if found.get("units") and not found.get("errors"):
                            samples[worker.name].setdefault(what, []).append(found["us"])
                        bar.update()
        return {name: {what: statistics.median(runs) for what, runs in found.items()} for name, found in samples.items()}


def load() -> str:
    """The machine's load, for the record: figures made on a busy machine scatter."""
    return " ".join(f"{one:.1f}" for one in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


def versions(names: Sequence[str]) -> dict[str, str]:
    """What is installed where: the packages that matter, by environment."""
    wanted = "openai aiohttp httpx httpx2 langchain-core langchain-openai llama-index-core llama-index-llms-openai litellm pydantic-ai-slim"
    code = (
        "import importlib.metadata as m\n"
        "def v(n):\n try: return n+' '+m.version(n)\n except m.PackageNotFoundError: return ''\n"
        f"print(', '.join(filter(None, map(v, {wanted.split()!r}))))"
    )
    found: dict[str, str] = {}
    for environment in sorted({SUBJECTS[name][0] for name in names}):
        python = python_of(environment)
        if python is not None:
            out = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
            found[environment or "own"] = out.stdout.strip()
    return found


def ratios(medians: dict[str, dict[str, float]], base: str) -> dict[str, dict[str, float]]:
    """Each figure over `base`'s in the same column."""
    foot = medians.get(base, {})
    return {name: {what: value / foot[what] for what, value in found.items() if what in foot} for name, found in medians.items()}


def grid(medians: dict[str, dict[str, float]], base: str, *, unit: str, digits: int = 0) -> str:
    """Subjects by columns as Markdown, ratios to `base` in brackets."""
    columns = list(dict.fromkeys(what for found in medians.values() for what in found))
    shares = ratios(medians, base)
    lines = [f"| {unit} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, found in medians.items():
        cells = []
        for what in columns:
            share = shares[name].get(what)
            cells.append("-" if what not in found else f"{found[what]:,.{digits}f}" + (f" ({share:.2f}x)" if share is not None else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
