"""Nothing in the store is code or a key, and nothing of an engine is loaded before it is needed."""

from __future__ import annotations

import pickle  # noqa: TID251 - what must never be loaded is made here
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from surefoot import ChatModel, EmbedModel, Target, jobs, runtime
from surefoot.errors import SurefootError
from surefoot.jobs.ledger import JOBS
from surefoot.testing import Scripted
from surefoot.testing.wire import OpenAISim

ROOT = Path(__file__).parent.parent.parent
LOADED: list[str] = []


class Planted:
    """Whoever unpickles it runs `LOADED.append`."""

    def __reduce__(self):
        return LOADED.append, ("ran",)


PLANTED = pickle.dumps(Planted(), 0)


def ask(q, statement, values=()):
    """A statement on the store."""

    def go(sql):
        return sql.rows(statement, values) if statement.startswith("SELECT") else sql.change(statement, values)

    return runtime.run(q._database.run(go, JOBS))


COLUMNS = [
    ("sf_job", "spec"), ("sf_job", "kind"), ("sf_job", "reason"), ("sf_job", "key"), ("sf_job", "tenant"), ("sf_input", "body"),
    ("sf_result", "body"), ("sf_chunk", "worker"), ("sf_batch", "items"), ("sf_batch", "batch"),
]  # fmt: skip


def test_a_pickle_in_any_column_is_never_loaded(store, monkeypatch):
    """Every way in is tried: looking, reading, working, resuming, cancelling, forgetting. The engine's rows are its own."""
    monkeypatch.setattr("surefoot.jobs.queue.is_at_hand", lambda: False)
    LOADED.clear()
    models = {"default": ChatModel(Scripted("ok")), "embedder": EmbedModel(Scripted())}
    with jobs.open(store, models=models) as q:
        for table, column in COLUMNS:
            for kind, model in (("chat", "default"), ("embed", "embedder"))[: 1 + (column == "body")]:
                job = q.submit(kind, ["a", "b"], model=model, chunk=1)
                q.work_sync(job)
                ask(q, "INSERT INTO sf_batch (job, no, attempt, items, begun) VALUES (?, 0, 1, '[]', 0)", (job,))
                value = PLANTED if column == "body" else PLANTED.decode("latin-1").replace("\0", "")
                where = "id" if table == "sf_job" else "job"
                assert ask(q, f"UPDATE {table} SET {column} = ? WHERE {where} = ?", (value, job)) or table == "sf_worker"
                enter(store, q, job, models)
    assert LOADED == []


def enter(store, q, job, models):
    """Do with a job all that can be done."""
    ways = [q.status, lambda _: q.jobs(), lambda job: list(q.results(job)), lambda job: list(q.inputs(job)), q.options]
    again = lambda job: jobs.run_chunk_sync(store, job, 0, models=models)  # noqa: E731
    for way in ways:
        with suppress(SurefootError, ValueError):
            way(job)
    ask(q, "UPDATE sf_job SET state = 'open' WHERE id = ?", (job,))
    ask(q, "UPDATE sf_chunk SET state = 'wait', done = 0, failed = 0 WHERE job = ?", (job,))
    for way in (again, lambda job: q.resume(job, failed=True), q.cancel, q.forget):
        with suppress(SurefootError, ValueError):
            way(job)


def test_no_key_is_in_any_row(store):
    """Not of the model, not of the settings, also where a call failed that carried it."""
    key = "sk-very-secret-0123456789abcdef"
    with OpenAISim(expected_key="another") as sim:
        target = Target("openai:m", base_url=f"{sim.url}/v1", api_key=key, lane="direct", headers=(("x-gateway", "gw-secret-42"),))
        with jobs.open(store, models=ChatModel(target)) as q:
            q.submit("chat", ["a"], tags={"team": "blue"}, key="nightly")
            q.submit("chat", ["a"], how="vendor-batch")
            with suppress(SurefootError):
                q.work_sync()
            for table in ("sf_job", "sf_chunk", "sf_input", "sf_result", "sf_worker", "sf_batch"):
                for row in ask(q, f"SELECT * FROM {table}"):
                    said = "".join(bytes(one).decode("latin-1") if isinstance(one, bytes | memoryview) else str(one) for one in row)
                    assert key not in said
                    assert "gw-secret-42" not in said
            assert any(isinstance(value, Exception) for job in q.jobs() for _, value in q.results(job.id))


def test_neither_import_nor_sqlite_loads_an_engine():
    """What Postgres and its engine need is loaded by an address that names them."""
    script = (
        "import sys, surefoot; from surefoot import jobs; q = jobs.open('sqlite:x.db'); q.close(); "
        "print(sorted({one.partition('.')[0] for one in sys.modules} & {'procrastinate', 'psycopg', 'celery', 'ray', 'surefoot_rag', "
        "'surefoot_eval', 'chromadb', 'openai', 'pyarrow'}))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT / "src")
    assert said.stdout == "[]\n"
