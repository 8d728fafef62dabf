"""Workers and servers that are killed, stopped and locked out while a job is worked on: what is lost, what is done twice, who goes on when.

Real processes, real kills. A worker puts each call down as it begins, so what a killed one had under way is known: the items it had begun
that have no result in the store when it is dead. Only those may be called twice, and no result may be missing or written twice.
"""

from __future__ import annotations

import signal
import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from surefoot import jobs
from surefoot.jobs.ledger import results
from surefoot.storage.sql import DatabaseAway, Sql
from surefoot_eval.bench.sections.jobs.cost import WorkerProcess
from surefoot_eval.bench.sections.jobs.million import on
from surefoot_eval.bench.sections.jobs.worker import KIND, WaitingKind
from surefoot_eval.bench.stores import PostgresServer, store

WORKERS = 2
CALL_S = 1.0  # on average; from a half to three halves of it
CHUNK = 20
LOT = 200  # items of a job
AWAY_S = 5.0  # a killed server, or a locked file
END_S = 300.0  # a job that is not done by then has lost something
LOOK_S = 0.1
DEAD_S = 4.0  # after which a killed worker counts as dead
OUTLIVES_S = 60.0  # the same where nobody shall count as dead


class Run(Struct):
    """What one job went through."""

    items: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    """Results beyond one an item, and counters that say more than was done."""
    twice: int = 0
    """Calls beyond one an item."""
    under_way: int = 0
    """Items that killed workers had begun and not written, altogether."""
    taken_up_s: float = 0.0
    """The longest from a kill to the first of those being called again."""
    died: int = 0
    """Workers that ended though nobody killed them."""
    sigterm_s: float = 0.0
    """The longest that a worker took to end when it was told to."""
    resumed_s: float = 0.0
    """From the server's or file's return to the next call."""


class Workforce:
    """Workers on jobs that are topped up for as long as they shall be busy, and what they called. Items are numbered across the jobs."""

    def __init__(self, url: str, folder: Path, *, dead_s: float, call_s: float = CALL_S) -> None:
        self.url = url
        self._call_s = call_s
        self._log = folder / "calls"
        self._log.touch()
        self._said = ("--forever", "--log", str(self._log), "--dead-s", str(dead_s), "--chunks-at-once", "2")
        jobs.register(KIND, WaitingKind())
        self.q = jobs.open(url)
        self._jobs: list[str] = []
        self.found = Run()
        self.top_up()
        self.workers: list[WorkerProcess] = []
        for _ in range(WORKERS):
            self.add()
        self.all_at_work()

    def add(self) -> None:
        """Another worker."""
        self.workers.append(WorkerProcess(self.url, *self._said))

    def top_up(self) -> None:
        """Another job, unless there is enough to do."""
        with suppress(DatabaseAway):  # our own connection was cut with the server
            if sum(self.q.status(job).left for job in self._jobs[-2:]) < LOT:
                first = LOT * len(self._jobs)
                self._jobs.append(self.q.submit(KIND, range(first, first + LOT), call_s=self._call_s, varied=True, chunk=CHUNK))

    def rest(self, seconds: float) -> None:
        """Let them work for so long."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.top_up()
            time.sleep(min(LOOK_S, max(0.0, until_s - time.monotonic())))

    def all_at_work(self) -> None:
        """Let them work until every one of them has called something."""
        until_s = time.monotonic() + END_S
        while {one.process.pid for one in self.workers} - {pid for _, pid, _ in self.calls()} and time.monotonic() < until_s:
            self.rest(LOOK_S)

    def calls(self) -> list[tuple[float, int, int]]:
        """(moment, process, item) of every call so far."""
        lines = self._log.read_text(encoding="ascii").splitlines()
        return [(float(at), int(pid), int(n)) for at, pid, n in (line.split() for line in lines)]

    def written(self) -> list[int]:
        """The items that have a result."""

        def read(sql: Sql) -> list[int]:
            return [LOT * lot + n for lot, job in enumerate(self._jobs) for n, _, _ in results(sql, job, 0, LOT + 1)]

        found: list[int] = on(self.url, read)
        return found

    def under_way(self, worker: WorkerProcess) -> set[int]:
        """The items that a worker has begun and that have no result."""
        return {n for _, pid, n in self.calls() if pid == worker.process.pid} - set(self.written())

    def kill(self, victim: WorkerProcess) -> set[int]:
        """Kill -9; the items it had under way."""
        victim.end()
        self.workers.remove(victim)
        under_way = self.under_way(victim)
        self.found.kills += 1
        self.found.under_way += len(under_way)
        return under_way

    def goes_on(self) -> None:
        """The store is back: wait for the next call."""
        back_s, called = time.monotonic(), len(self.calls())
        while len(self.calls()) <= called and time.monotonic() < back_s + END_S:
            self.rest(LOOK_S / 2)
        self.found.resumed_s = max(self.found.resumed_s, time.monotonic() - back_s)

    def end(self) -> None:
        """End all workers, whatever they do: something failed, and nothing is to be waited for."""
        for one in self.workers:
            one.end()

    def close(self) -> Run:
        """Wait until all is done, and count."""
        found = self.found
        until_s = time.monotonic() + END_S
        try:
            while time.monotonic() < until_s:
                with suppress(DatabaseAway):
                    if all(self.q.status(job).is_over for job in self._jobs):
                        break
                time.sleep(LOOK_S)
            found.died = sum(one.process.poll() is not None for one in self.workers)
        finally:
            self.end()
        states, written = [self.q.status(job) for job in self._jobs], self.written()
        found.items = LOT * len(self._jobs)
        found.lost = found.items - len(set(written))
        found.doubled = len(written) - len(set(written)) + sum(abs(one.done - LOT) + one.failed for one in states if one.is_over)
        found.twice = sum(count - 1 for count in Counter(n for _, _, n in self.calls()).values())
        self.q.close()
        return found


def worker_kills(kind: str, *, kills: int, seed: int, dead_s: float = DEAD_S, pause_s: tuple[float, float] = (0.1, 1.0)) -> Run:
    """`kills` times kill a random worker at a random moment of its work, and have another one start."""
    rng = Random(seed)
    killed: list[tuple[float, int, set[int]]] = []
    with tempfile.TemporaryDirectory() as folder, store(kind) as (url, _):
        crew = Workforce(url, Path(folder), dead_s=dead_s)
        try:
            for _ in range(kills):
                crew.all_at_work()
                crew.rest(rng.uniform(*pause_s))
                at_s, victim = time.monotonic(), rng.choice(crew.workers)
                killed.append((at_s, victim.process.pid, crew.kill(victim)))
                crew.add()
        except BaseException:
            crew.end()
            raise
        found = crew.close()
        calls = crew.calls()
    for at_s, pid, under_way in killed:
        again = [moment for moment, other, n in calls if n in under_way and other != pid and moment > at_s]
        if again:
            found.taken_up_s = max(found.taken_up_s, min(again) - at_s)
    return found


def server_kills(*, kills: int, seed: int, away_s: float = AWAY_S) -> Run:
    """`kills` times kill Postgres at a random moment; it is back after `away_s`."""
    rng = Random(seed)
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as server:
        # The leases outlive the outage: what is called twice is then a fault, and nobody's death.
        crew = Workforce(server.url, Path(folder), dead_s=OUTLIVES_S)
        try:
            for _ in range(kills):
                crew.rest(rng.uniform(0.5, 1.5))
                server.kill()
                time.sleep(away_s)
                server.start()
                crew.goes_on()
                crew.found.kills += 1
        except BaseException:
            crew.end()
            raise
        return crew.close()


def locked(*, away_s: float = AWAY_S) -> Run:
    """Somebody else holds the SQLite file's lock for `away_s`."""
    with tempfile.TemporaryDirectory() as folder, store("sqlite") as (url, _):
        crew = Workforce(url, Path(folder), dead_s=OUTLIVES_S)
        try:
            with closing(sqlite3.connect(url.removeprefix("sqlite:"), isolation_level=None, timeout=30)) as other:
                other.execute("BEGIN EXCLUSIVE")
                time.sleep(away_s)
                other.execute("COMMIT")
            crew.goes_on()
        except BaseException:
            crew.end()
            raise
        return crew.close()


def sigterms(kind: str, *, times: int, seed: int) -> Run:
    """Tell a worker to end in the middle of its work, `times` times."""
    rng = Random(seed)
    with tempfile.TemporaryDirectory() as folder, store(kind) as (url, _):
        crew = Workforce(url, Path(folder), dead_s=OUTLIVES_S)
        try:
            for _ in range(times):
                crew.all_at_work()
                crew.rest(rng.uniform(0.1, 0.6))
                victim = crew.workers.pop(0)
                began_s = time.monotonic()
                victim.process.send_signal(signal.SIGTERM)
                victim.process.wait(END_S)
                crew.found.sigterm_s = max(crew.found.sigterm_s, time.monotonic() - began_s)
                victim.end()
                crew.found.under_way += len(crew.under_way(victim))
                crew.add()
        except BaseException:
            crew.end()
            raise
        return crew.close()


def stopped(kind: str, *, dead_s: float = 3.0) -> Run:
    """A worker stands still for two deadlines, is taken for dead, and comes back."""
    with tempfile.TemporaryDirectory() as folder, store(kind) as (url, _):
        crew = Workforce(url, Path(folder), dead_s=dead_s)
        try:
            crew.workers[0].process.send_signal(signal.SIGSTOP)
            crew.found.under_way = len(crew.under_way(crew.workers[0]))
            crew.rest(2 * dead_s)
            crew.workers[0].process.send_signal(signal.SIGCONT)
        except BaseException:
            crew.end()
            raise
        return crew.close()


def measure(kind: str, *, kills: int, seed: int) -> dict[str, Any]:
    """Everything that can happen to a store of that kind."""
    found = {"workers": worker_kills(kind, kills=kills, seed=seed), "stopped": stopped(kind), "sigterm": sigterms(kind, times=5, seed=seed)}
    found["store"] = server_kills(kills=3, seed=seed) if kind == "postgresql" else locked()
    return {name: msgspec.to_builtins(one) for name, one in found.items()}
